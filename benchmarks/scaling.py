#!/usr/bin/env python3
"""How a step's time grows with workers, batch, depth and width, and compile time with repeated blocks.

    python benchmarks/scaling.py [--families mlp,transformer] [--threads 1,2] [--blocks 10,100,1000]

Steps
    From one base network, one size at a time is varied over four doublings. A row gives the time of a step with each
    number of workers, the ratio of these, and ``growth``: the time over that of the row before, beside how much the
    arithmetic of the contractions grew. Each number of workers is a process of its own, in turn; minima over rounds.
Compile time
    A residual network of 10, 100 and 1,000 equal blocks, each compiled in a fresh process with an empty cache: its
    nodes grow with the blocks, its distinct kernels do not, and only distinct kernels are compiled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import common
from common import Row, environment, over_rounds, run_measured, script

BASE = {"mlp": (256, 3, 512), "transformer": (16, 2, 128)}
"""Batch, depth and width of the network whose sizes are varied."""
AXES = ("batch", "depth", "width")
RESIDUAL_BATCH, RESIDUAL_WIDTH = 32, 64
PARTS = ("build_s", "stages_s", "kernels_s", "step_s")


def networks(family: str, doublings: int, scale: int) -> dict[str, list[str]]:
    """For each axis the networks along it, in the words of scaling_engine.py; the base stands in the middle."""
    found: dict[str, list[str]] = {}
    for place, axis in enumerate(AXES):
        for power in range(doublings + 1):
            sizes = [max(1, size // scale) for size in BASE[family]]
            if axis == "depth":
                sizes[place] = 2**power
            else:
                sizes[place] = max(8, sizes[place] * 2**power // 2 ** (doublings // 2))
            found.setdefault(axis, []).append(":".join(map(str, [family, *sizes])))
    return found


def run_steps(args: argparse.Namespace) -> list[Row]:
    """Times of all networks, each number of workers in turn; a row a network and axis."""
    along = [
        (axis, network)
        for family in args.families
        for axis, chosen in networks(family, args.doublings, args.scale).items()
        for network in dict.fromkeys(chosen)
    ]
    distinct = list(dict.fromkeys(network for _, network in along))
    rows: list[Row] = []
    for number in range(args.rounds):
        for threads in args.threads:
            options = ["step", *distinct, "--threads", threads, "--seconds", args.seconds]
            done = run_measured([sys.executable, *script("scaling_engine.py", *options)], environment())
            if done.status:
                raise SystemExit(f"scaling_engine.py failed: {done.reason}")
            rows += done.rows()
            print(f"round {number + 1}/{args.rounds}  {threads} workers", file=sys.stderr)
    joined = over_rounds(rows)
    name = lambda row: ":".join(str(row[key]) for key in ("family", *AXES))  # noqa: E731
    return [{"axis": axis} | row for axis, network in along for row in joined if name(row) == network]


def run_compilations(args: argparse.Namespace) -> list[Row]:
    """Cold compilations of residual networks, each the fastest of the rounds."""
    rows: list[Row] = []
    for blocks in args.blocks:
        runs: list[Row] = []
        for number in range(args.compile_rounds):
            with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
                network = f"residual:{RESIDUAL_BATCH}:{blocks}:{RESIDUAL_WIDTH}"
                options = ["compile", network, "--threads", max(args.threads)]
                done = run_measured([sys.executable, *script("scaling_engine.py", *options)], environment(folder))
                if done.status:
                    raise SystemExit(f"scaling_engine.py failed: {done.reason}")
                runs += done.rows()
                print(f"round {number + 1}/{args.compile_rounds}  {blocks} blocks", file=sys.stderr)
        rows.append({"axis": "blocks"} | min(runs, key=lambda row: row["seconds"]) | {"rounds": len(runs)})
    return rows


def lines_of(rows: list[Row], family: str, axis: str, threads: list[int]) -> list[list[str]]:
    """The table's lines along one axis."""
    lines: list[list[str]] = []
    before: Row | None = None
    here = [row for row in rows if (row["family"], row["axis"]) == (family, axis)]
    for value in dict.fromkeys(row[axis] for row in here):
        found = {row["threads"]: row for row in here if row[axis] == value}
        fewest, most = found[min(threads)], found[max(threads)]
        line = [f"{family}, {axis} {value:,}", f"{fewest['flop'] / 1e6:,.0f}"]
        line += [f"{found[count]['seconds'] * 1e6:,.0f}" for count in threads]
        line.append(f"{fewest['seconds'] / most['seconds']:.2f}")
        line.append(f"{most['flop'] / most['seconds'] / 1e9:,.0f}")
        line.append("-" if before is None else f"{most['seconds'] / before['seconds']:.2f}")
        line.append("-" if before is None else f"{most['flop'] / before['flop']:.2f}")
        lines.append(line)
        before = most
    return lines


def tables(rows: list[Row]) -> str:
    parts = []
    steps = [row for row in rows if row["axis"] != "blocks"]
    if steps:
        threads = sorted({row["threads"] for row in steps})
        heads = ["a step", "MFLOP", *(f"workers {count}, us" for count in threads)]
        heads += [f"time with {min(threads)} / with {max(threads)}", "GFLOP/s", "growth", "of arithmetic"]
        lines = []
        for family in dict.fromkeys(row["family"] for row in steps):
            for axis in AXES:
                lines += lines_of(steps, family, axis, threads)
        parts.append(common.table(heads, lines))
    blocks = [row for row in rows if row["axis"] == "blocks"]
    if blocks:
        heads = ["residual blocks", "nodes", "kernels", "distinct"]
        heads += ["declare, s", "stages, s", "kernels, s", "bind, step, s", "first step, s"]
        lines = [
            [*(f"{row[key]:,}" for key in ("depth", "nodes", "kernels", "distinct"))]
            + [f"{row[part]:.2f}" for part in (*PARTS, "seconds")]
            for row in blocks
        ]
        parts.append(common.table(heads, lines))
    return "\n\n".join(parts)


def plot(rows: list[Row], path: str) -> None:
    """A panel an axis: step time by size, a line a family and number of workers; then compile time by blocks."""
    steps = [row for row in rows if row["axis"] != "blocks"]
    blocks = [row for row in rows if row["axis"] == "blocks"]
    axes_names = list(dict.fromkeys(row["axis"] for row in steps)) + ["blocks"] * bool(blocks)
    made = common.figure(len(axes_names), 3.4 * len(axes_names), 3.2)
    if made is None:
        return
    drawn, panels = made
    for panel, axis in zip(panels, axes_names, strict=True):
        panel.set_xscale("log", base=2 if axis != "blocks" else 10)
        panel.set_yscale("log")
        panel.set_xlabel(axis)
        if axis == "blocks":
            for part in ("seconds", "kernels_s", "stages_s"):
                label = {"seconds": "first step", "kernels_s": "kernels", "stages_s": "compiler stages"}[part]
                panel.plot([row["depth"] for row in blocks], [row[part] for row in blocks], "o-", label=label)
            panel.set_ylabel("seconds, empty cache")
        else:
            for family, threads in dict.fromkeys((row["family"], row["threads"]) for row in steps):
                line = [r for r in steps if (r["axis"], r["family"], r["threads"]) == (axis, family, threads)]
                style = "o-" if threads == max(row["threads"] for row in steps) else "o--"
                colour = f"C{list(BASE).index(family)}"
                times = [row["seconds"] * 1e6 for row in line]
                panel.plot(
                    [row[axis] for row in line], times, style, color=colour, label=f"{family}, workers {threads}"
                )
            panel.set_ylabel("microseconds a step")
        if panel is panels[0] or axis == "blocks":  # the others have the first one's lines
            common.legend_above(panel, columns=2 if axis != "blocks" else 0)
    common.save(drawn, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="How steps and compilation grow.")
    parser.add_argument("--families", type=common.names(BASE), default=",".join(BASE))
    parser.add_argument("--threads", type=common.numbers(), default=sorted({1, common.processors()}))
    parser.add_argument("--blocks", type=common.numbers(), default="10,100,1000")
    parser.add_argument("--compile-rounds", type=int, default=1, help="rounds of the compilations, which take long")
    parser.add_argument("--doublings", type=int, default=4, help="how often each size is doubled")
    parser.add_argument("--scale", type=int, default=1, help="divide the base network's sizes by this")
    common.add_common_options(parser, seconds=0.3, peers=False)
    args = common.parse(parser)
    return common.finish(args, run_steps(args) + run_compilations(args), tables, plot)


if __name__ == "__main__":
    sys.exit(main())
