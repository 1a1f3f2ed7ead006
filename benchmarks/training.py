#!/usr/bin/env python3
"""Time training steps of graphc and its peers side by side.

    python benchmarks/training.py --workloads tiny,transformer --engines graphc,torch,jax,pytensor --json out.json

How it measures
    The engines run alternately, each in a process of its own (``graphc_engine.py``, ``peers.py``), `--rounds` times.
    Environment variables that could hold a BLAS back (``OPENBLAS_*``) are unset for all of them.  An engine that is not
    installed, or that has no such workload, is named and left out.

What the columns (and the keys of the JSON rows) are
    step_us
        Microseconds a step: the minimum over the rounds of each process's best window.  `step_us_spread` is
        the slowest round over the fastest.
    first_s
        Seconds to build, compile and run the first step, imports excluded, in the first round, whose compilation caches
        are new and empty (graphc's, TorchInductor's, PyTensor's).
    warm_first_s
        The same in the later rounds, which find the first round's caches: their minimum; null with one round.
    peak_bytes
        Growth of the process's peak resident memory over what its imports cost: the maximum resident set of the
        benchmark process less that of a process which only imports the engine and NumPy; of a process with helper
        subprocesses, the largest of them.  The minimum over the rounds, so compilation counts only where no cache
        avoids it.  Null where it cannot be told: the system starts a child's peak at this script's own, so a
        process that stays below that shows nothing.
    ratio (table only)
        The fastest peer's step_us over graphc's: above 1, graphc is faster.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import common
from common import WORKLOADS, Engine, Row, environment, find_engines, run_measured, script, show

ENGINES = ("graphc", "torch", "torch-compile", "jax", "pytensor")


@dataclass
class Result:
    """What the rounds of one engine on one workload gave."""

    engine: Engine
    workload: str
    caches: str  # folder of this pair's compilation caches: empty in the first round, warm after
    rounds: list[Row] = field(default_factory=list)
    failure: str = ""

    def command(self, threads: int, seconds: float) -> list[str]:
        """The command line of one round."""
        start = ["graphc_engine.py"] if self.engine.name == "graphc" else ["peers.py", self.engine.name]
        options = ["--threads", threads, "--seconds", seconds]
        return [self.engine.python, *script(*start, self.workload, *options)]


def run_rounds(results: list[Result], args: argparse.Namespace) -> None:
    """Run every round of one workload, the engines taking turns within each."""
    for number in range(args.rounds):
        for result in results:
            if result.failure:
                continue
            done = run_measured(result.command(args.threads, args.seconds), environment(result.caches))
            if done.status != 0:
                result.failure = done.reason
                print(f"{result.engine.name} on {result.workload}: left out: {done.reason}", file=sys.stderr)
                continue
            row = done.rows()[0] | {"peak": done.peak}
            result.rounds.append(row)
            print(
                f"round {number + 1}/{args.rounds}  {result.workload:<12} {result.engine.name:<14}"
                f"{row['step_us']:>12,.1f} us/step   first step {row['first_s']:.2f} s",
                file=sys.stderr,
            )


def row_of(result: Result, own_resident: int) -> Row:
    """The JSON row of one engine on one workload."""
    steps = [row["step_us"] for row in result.rounds]
    warm = [row["first_s"] for row in result.rounds[1:]]
    peak = min(row["peak"] for row in result.rounds)
    known = min(peak, result.engine.baseline) > own_resident
    return {
        "engine": result.engine.name,
        "workload": result.workload,
        "threads": result.rounds[0]["threads"],
        "first_s": result.rounds[0]["first_s"],
        "step_us": min(steps),
        "peak_bytes": max(0, peak - result.engine.baseline) if known else None,
        "warm_first_s": min(warm) if warm else None,
        "step_us_spread": round(max(steps) / min(steps), 3),
        "rounds": len(steps),
        "version": result.engine.version,
    }


def ratios(rows: list[Row]) -> Iterator[tuple[str, str, float]]:
    """(workload, fastest peer, its step time over graphc's) where both were measured."""
    for workload in dict.fromkeys(row["workload"] for row in rows):
        here = [row for row in rows if row["workload"] == workload]
        own = [row["step_us"] for row in here if row["engine"] == "graphc"]
        peers = [(row["step_us"], row["engine"]) for row in here if row["engine"] != "graphc"]
        if own and peers:
            best, name = min(peers)
            yield workload, name, best / own[0]


def tables(rows: list[Row]) -> str:
    """The rows, then the ratios."""
    heads = ["workload", "engine", "threads", "us a step", "spread", "first step, s", "warm, s", "peak growth, MB"]
    lines = []
    for row in rows:
        peak = None if row["peak_bytes"] is None else row["peak_bytes"] / 1e6
        figures = [f"{row['step_us']:,.1f}", f"{row['step_us_spread']:.2f}", f"{row['first_s']:.2f}"]
        figures += [show(row["warm_first_s"], ".2f"), show(peak, ".1f")]
        lines.append([row["workload"], row["engine"], str(row["threads"]), *figures])
    text = common.table(heads, lines)
    compared = [[workload, name, f"{ratio:.2f}"] for workload, name, ratio in ratios(rows)]
    if compared:
        text += "\n\n" + common.table(["workload", "fastest peer", "its time / graphc's"], compared)
    return text


def plot(rows: list[Row], path: str) -> None:
    """Step times as bars, grouped by workload, on a logarithmic axis."""
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    made = common.figure(1, 3 + 2 * len(workloads), 4)
    if made is None:
        return
    drawn, (axes,) = made
    series: dict[str, dict[str, float]] = {}
    for row in rows:
        series.setdefault(row["engine"], {})[row["workload"]] = row["step_us"]
    common.bars(axes, workloads, series, ",.0f")
    axes.set_yscale("log")
    axes.set_ylabel("microseconds a training step")
    axes.set_title(f"training step, {rows[0]['threads']} threads (lower is better)")
    common.legend_above(axes)
    common.save(drawn, path)


def resident_peak() -> int:
    """Peak resident bytes of this process; the kernel starts a child's count from it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description="Time training steps of graphc and its peers side by side.")
    parser.add_argument("--workloads", type=common.names(WORKLOADS), default="tiny,mlp,mlp-large,transformer")
    parser.add_argument("--engines", type=common.names(ENGINES), default="graphc,torch,jax,pytensor")
    parser.add_argument("--threads", type=int, default=min(2, common.processors()))
    common.add_common_options(parser, seconds=2.0)
    args = common.parse(parser)
    engines = find_engines(args.engines, args.python_for_peers)
    results: list[Result] = []
    for workload in args.workloads:
        with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
            pairs = [Result(engine, workload, tempfile.mkdtemp(dir=folder)) for engine in engines]
            run_rounds(pairs, args)
            results += pairs
    own_resident = resident_peak()
    rows = [row_of(result, own_resident) for result in results if result.rounds and not result.failure]
    return common.finish(args, rows, tables, plot)


if __name__ == "__main__":
    sys.exit(main())
