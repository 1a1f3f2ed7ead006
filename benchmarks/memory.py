#!/usr/bin/env python3
"""Compare the memory of a training step: graphc's plan, torch's allocations, and the growth of each process.

    python benchmarks/memory.py [--workloads tiny,mlp] [--engines graphc,torch,jax]

Two views, each in fresh processes:

* From inside, where an engine tells (graphc, torch): ``state`` is what stays between steps, weights and moments;
  ``step`` what comes on top while a step runs, gradients included (memory_engines.py says how each is measured). For
  graphc also the planned peak of its arena over the lower bound, the largest sum of bytes that are alive at once.
* From outside, for all: the growth of the process's peak resident memory over what its imports cost, as in
  training.py, the minimum over rounds. The rounds after the first find compilation caches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import common
from common import Engine, Row, environment, find_engines, run_measured, script, show
from training import ENGINES, Result, resident_peak, row_of
from training import run_rounds as run_steps

TELL = ("graphc", "torch", "torch-compile")
"""Engines that tell what a step holds."""


def inside(engine: Engine, workload: str, threads: int, caches: str) -> Row:
    """What an engine says of one step; nothing where it fails."""
    line = [engine.python, *script("memory_engines.py", engine.name, workload, "--threads", threads)]
    done = run_measured(line, environment(caches))
    if done.status:
        print(f"{engine.name} on {workload}: left out: {done.reason}", file=sys.stderr)
        return {}
    return done.rows()[0]


def measure(engines: list[Engine], args: argparse.Namespace) -> list[Row]:
    """One row an engine and workload."""
    rows: list[Row] = []
    for workload in args.workloads:
        with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
            pairs = [Result(engine, workload, tempfile.mkdtemp(dir=folder)) for engine in engines]
            run_steps(pairs, args)
            for pair in pairs:
                if pair.failure:
                    continue
                told: Row = {}
                if pair.engine.name in TELL:
                    told = inside(pair.engine, workload, args.threads, pair.caches)
                outside = row_of(pair, resident_peak())
                row = {key: outside[key] for key in ("engine", "version", "workload", "threads", "rounds")}
                rows.append(row | told | {"growth_bytes": outside["peak_bytes"], "import_bytes": pair.engine.baseline})
    return rows


def megabytes(row: Row, key: str) -> str:
    """A cell: a number of bytes in MB."""
    value = row.get(key)
    return show(None if value is None else value / 1e6, ",.2f")


def tables(rows: list[Row]) -> str:
    """Every engine's bytes, then graphc's plans beside their lower bounds."""
    columns = ["state_bytes", "step_bytes", "growth_bytes", "import_bytes"]
    heads = ["workload", "engine", "state, MB", "step, MB", "process growth, MB", "imports, MB"]
    text = common.table(heads, [[r["workload"], r["engine"], *(megabytes(r, key) for key in columns)] for r in rows])
    own = [row for row in rows if "planned_bytes" in row]
    if own:
        columns = ["planned_bytes", "lower_bound_bytes", "feed_copy_bytes"]
        heads = ["graphc's plan", "planned peak, MB", "lower bound, MB", "peak / bound", "copies of feeds, MB"]
        lines = []
        for row in own:
            planned, bound, copies = (megabytes(row, key) for key in columns)
            ratio = f"{row['planned_bytes'] / max(1, row['lower_bound_bytes']):.3f}"
            lines.append([row["workload"], planned, bound, ratio, copies])
        text += "\n\n" + common.table(heads, lines)
    return text


def plot(rows: list[Row], path: str) -> None:
    """Step bytes and process growth by workload."""
    made = common.figure(2, 10, 3.4)
    if made is None:
        return
    drawn, panels = made
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    views = (
        ("step_bytes", "held during a step, beside weights and moments"),
        ("growth_bytes", "growth of the process"),
    )
    for axes, (key, title) in zip(panels, views, strict=True):
        series: dict[str, dict[str, float]] = {}
        for row in rows:
            if row.get(key) is not None:
                series.setdefault(row["engine"], {})[row["workload"]] = row[key] / 1e6
        common.bars(axes, workloads, series, ".3g")
        axes.set_yscale("log")
        axes.set_ylabel("MB")
        axes.set_title(f"{title} (lower is better)")
        common.legend_above(axes)
    common.save(drawn, path)


def main() -> int:
    workloads = ("tiny", "mlp", "mlp-large", "transformer")
    parser = argparse.ArgumentParser(description="Compare the memory of a training step.")
    parser.add_argument("--workloads", type=common.names(workloads), default=",".join(workloads))
    parser.add_argument("--engines", type=common.names(ENGINES), default="graphc,torch,torch-compile,jax")
    parser.add_argument("--threads", type=int, default=min(2, common.processors()))
    common.add_common_options(parser, seconds=0.2)
    args = common.parse(parser)
    return common.finish(args, measure(find_engines(args.engines, args.python_for_peers), args), tables, plot)


if __name__ == "__main__":
    sys.exit(main())
