#!/usr/bin/env python3
"""Time first steps with cold and warm caches, imports, and what a call adds to the kernels' own time.

    python benchmarks/compile.py [--workloads tiny,mlp] [--engines graphc,jax,torch-compile]

Each round runs every engine twice in fresh processes: first with compilation caches that are new and empty (*cold*),
then with those it left (*warm*).  A first step is building the graph, compiling it and running one step, without
imports; JAX, which keeps no cache unless told to, compiles in both.  Figures are minima over rounds.

For graphc the seconds are split up (see compile_engine.py), and the cost of a call is measured on programs whose
kernels do next to nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import common
from common import Engine, Row, find_engines, run_measured, script, show
from training import ENGINES

SPLIT = {
    "build_s": "declare",
    "stages_s": "compiler stages",
    "kernels_s": "kernels",
    "step_s": "bind, step",
}
"""Parts of graphc's first step, in the order they pass."""


def command(engine: Engine, workload: str, threads: int) -> list[str]:
    """The command line of one first step."""
    if engine.name == "graphc":
        return [engine.python, *script("compile_engine.py", "first", workload, "--threads", threads)]
    return [engine.python, *script("peers.py", engine.name, workload, "--threads", threads, "--seconds", 0.01)]


def run_rounds(engines: list[Engine], args: argparse.Namespace) -> list[Row]:
    """All first steps of all rounds."""
    rows: list[Row] = []
    missing: set[tuple[str, str]] = set()
    for number in range(args.rounds):
        for workload in args.workloads:
            for engine in engines:
                if (engine.name, workload) in missing:
                    continue
                with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
                    for cache in ("cold", "warm"):
                        done = run_measured(command(engine, workload, args.threads), common.environment(folder))
                        if done.status:
                            print(f"{engine.name} on {workload}: left out: {done.reason}", file=sys.stderr)
                            missing.add((engine.name, workload))
                            break
                        row = done.rows()[0] | {"cache": cache, "version": engine.version}
                        row.pop("step_us", None)
                        rows.append(row)
                        text = f"{workload:<12} {engine.name:<14} {cache}  first step {row['first_s']:.2f} s"
                        print(f"round {number + 1}/{args.rounds}  {text}", file=sys.stderr)
    return rows


def join(rows: list[Row]) -> list[Row]:
    """The fastest round of each engine, workload and cache, with the spread."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["workload"], row["engine"], row["cache"]), []).append(row)
    joined = []
    for group in groups.values():
        best = min(group, key=lambda row: row["first_s"])
        spread = max(row["first_s"] for row in group) / max(best["first_s"], 1e-9)
        imports = {key: min(row[key] for row in group) for key in ("numpy_s", "import_s") if key in best}
        joined.append(best | imports | {"spread": round(spread, 3), "rounds": len(group)})
    return joined


def call_rows(args: argparse.Namespace) -> list[Row]:
    """What a call adds, minima over rounds."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
        for _ in range(args.rounds):
            for threads in sorted({1, args.threads}):
                options = ["call", "--threads", threads, "--seconds", args.seconds]
                line = [sys.executable, *script("compile_engine.py", *options)]
                done = run_measured(line, common.environment(folder))
                if done.status:
                    raise SystemExit(f"compile_engine.py failed: {done.reason}")
                rows += done.rows()
    best: dict[tuple[str, int], Row] = {}
    for row in rows:
        key = row["program"], row["threads"]
        if key not in best or row["overhead_s"] < best[key]["overhead_s"]:
            best[key] = row
    return list(best.values())


def tables(rows: list[Row]) -> str:
    steps = [row for row in rows if "first_s" in row]
    workloads = list(dict.fromkeys(row["workload"] for row in steps))
    engines = list(dict.fromkeys(row["engine"] for row in steps))
    found = {(row["workload"], row["engine"], row["cache"]): row for row in steps}

    def seconds(workload: str, engine: str, cache: str) -> str:
        row = found.get((workload, engine, cache))
        return show(row["first_s"] if row else None, ".2f")

    heads = ["first step, s", *(f"{engine}, {cache}" for engine in engines for cache in ("cold", "warm"))]
    lines = [[w, *(seconds(w, e, c) for e in engines for c in ("cold", "warm"))] for w in workloads]
    parts = [common.table(heads, lines)] if lines else []
    own = [row for row in steps if row["engine"] == "graphc"]
    if own:
        parts += [split_table(own), stages_table(own)]
    calls = [row for row in rows if "overhead_s" in row]
    if calls:
        heads = ["a call of Session.run", "threads", "kernels", "call, us", "kernels alone, us", "added, us"]
        figures = ("run_s", "own_s", "overhead_s")
        lines = [
            [r["program"], str(r["threads"]), str(r["kernels"]), *(f"{r[key] * 1e6:.2f}" for key in figures)]
            for r in calls
        ]
        parts.append(common.table(heads, lines))
    return "\n\n".join(parts)


def parts_of(row: Row) -> dict[str, float]:
    """Seconds of the parts of graphc's first step."""
    return {name: sum(row["stages"].values()) if key == "stages_s" else row[key] for key, name in SPLIT.items()}


def split_table(rows: list[Row]) -> str:
    heads = ["graphc", "cache", "import, s", "with NumPy", *(f"{name}, s" for name in SPLIT.values())]
    heads += ["first step, s", "kernels", "distinct", "compiled", "loaded"]
    lines = []
    for row in rows:
        line = [row["workload"], row["cache"], f"{row['import_s']:.3f}", f"{row['import_s'] + row['numpy_s']:.3f}"]
        line += [f"{seconds:.3f}" for seconds in parts_of(row).values()]
        line += [f"{row['first_s']:.3f}", *(str(row[key]) for key in ("kernels", "distinct", "compiled", "loaded"))]
        lines.append(line)
    return common.table(heads, lines)


def stages_table(rows: list[Row]) -> str:
    """Milliseconds of each stage of the compiler, from the warm runs."""
    warm = [row for row in rows if row["cache"] == "warm"]
    stages = list(dict.fromkeys(name for row in warm for name in row["stages"] if row["stages"][name]))
    lines = [[row["workload"], *(show(row["stages"].get(name, 0) * 1e3, ".1f") for name in stages)] for row in warm]
    return common.table(["compiler stages, ms", *stages], lines) if lines else ""


def plot(rows: list[Row], path: str) -> None:
    """Cold first steps by engine, and the parts of graphc's."""
    steps = [row for row in rows if "first_s" in row]
    made = common.figure(2, 10, 3.6)
    if made is None:
        return
    drawn, (left, right) = made
    workloads = list(dict.fromkeys(row["workload"] for row in steps))
    series: dict[str, dict[str, float]] = {}
    for row in steps:
        if row["cache"] == "cold":
            series.setdefault(row["engine"], {})[row["workload"]] = row["first_s"]
    common.bars(left, workloads, series, ".2g")
    left.set_yscale("log")
    left.set_ylabel("seconds")
    left.set_title("first step, empty caches (lower is better)")
    common.legend_above(left)
    own = [row for row in steps if row["engine"] == "graphc"]
    bottoms = [0.0] * len(own)
    labels = [f"{row['workload']}\n{row['cache']}" for row in own]
    for name in SPLIT.values():
        heights = [parts_of(row)[name] for row in own]
        right.bar(range(len(own)), heights, bottom=bottoms, label=name)
        bottoms = [a + b for a, b in zip(bottoms, heights, strict=True)]
    right.set_xticks(range(len(own)), labels, fontsize=7, rotation=45, ha="right", rotation_mode="anchor")
    right.set_ylabel("seconds")
    right.set_title("graphc's first step by its parts")
    common.legend_above(right)
    common.save(drawn, path)


def main() -> int:
    workloads = ("tiny", "mlp", "mlp-large", "transformer")
    parser = argparse.ArgumentParser(description="Time first steps, imports, and what a call adds.")
    parser.add_argument("--workloads", type=common.names(workloads), default=",".join(workloads))
    parser.add_argument("--engines", type=common.names(ENGINES), default="graphc,jax,torch-compile,pytensor")
    parser.add_argument("--threads", type=int, default=min(2, common.processors()))
    common.add_common_options(parser, seconds=0.5)
    args = common.parse(parser)
    engines = find_engines(args.engines, args.python_for_peers)
    rows = join(run_rounds(engines, args))
    if any(engine.name == "graphc" for engine in engines):
        rows += call_rows(args)
    return common.finish(args, rows, tables, plot)


if __name__ == "__main__":
    sys.exit(main())
