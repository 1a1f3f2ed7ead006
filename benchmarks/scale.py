#!/usr/bin/env python3
"""How the time to build and compile grows with the number of nodes.

    python benchmarks/scale.py [--sizes 1000,10000,100000] [--json out.json]

Two families of graphs, each with its gradient by the input:

chain   every node reads the one before it and the input: the deepest graph there is, whose derivative by the input
        is a sum over as many paths as there are links
wide    independent branches from one input, summed in pairs: the widest graph

For each size it times declaring the graph (``build``, the gradient's declaration included) and every stage of
``graphc.compiler.PIPELINE`` up to the schedule, then prints seconds, microseconds for each declared node, and the
growth from size to size: a growth of 10 from 1,000 to 10,000 nodes is linear.  A stage that fails is shown as failed,
with the reason.  The exit status is 0 whatever the figures say.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import common
from common import Row

import graphc
from graphc.compiler import PIPELINE
from graphc.ir import Graph
from graphc.passes.collector import collector_paused

LAST_STAGE = "schedule"
VECTOR = 64  # elements of the input: small, since only compile time is measured


def chain(nodes: int) -> Graph:
    """About `nodes` nodes in a row: tanh and add in turn."""
    x = graphc.placeholder("x", (VECTOR,), "float32")
    value = x
    for _ in range(nodes // 2):
        value = graphc.tanh(value) + x
    return with_gradient(x, value)


def wide(nodes: int) -> Graph:
    """About `nodes` nodes side by side: constant, broadcast, multiply, tanh a branch, and an add to join two."""
    x = graphc.placeholder("x", (VECTOR,), "float32")
    count = max(1, nodes // 5)
    row = [graphc.tanh(x * (1 + k / count)) for k in range(count)]
    while len(row) > 1:
        pairs = [a + b for a, b in zip(row[::2], row[1::2], strict=False)]
        row = pairs + row[len(pairs) * 2 :]
    return with_gradient(x, row[0])


def with_gradient(x: Any, value: Any) -> Graph:
    """The graph that computes the sum of `value` and its gradient by `x`."""
    loss = graphc.sum(value)
    (gradient,) = graphc.gradients(loss, [x])
    return Graph((x,), (loss, gradient))


FAMILIES: dict[str, Callable[[int], Graph]] = {"chain": chain, "wide": wide}


def time_stages(family: str, size: int) -> Row:
    """Seconds of every stage for one graph; the stage that failed, if one did, and why."""
    row: Row = {"family": family, "size": size, "nodes": None, "seconds": {}, "failed": None}
    stages: list[tuple[str, Callable[[Any], Any]]] = [("build", lambda _: FAMILIES[family](size)), *PIPELINE]
    product: Any = None
    for name, stage in stages:
        gc.collect()  # of the stage before, so that each pays for its own garbage
        start = time.perf_counter()
        try:
            if name == "build":
                product = stage(product)
            else:
                with collector_paused():  # as compile_graph does
                    product = stage(product)
        except Exception as error:  # a measurement reports what happened; it never stops the others
            row["failed"] = f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            break
        row["seconds"][name] = time.perf_counter() - start
        if name == "build":
            row["nodes"] = len(product.nodes)
        if name == LAST_STAGE:
            break
    if row["failed"] is None:
        row["seconds"]["total"] = sum(row["seconds"].values())
    return row


def family_table(rows: list[Row]) -> str:
    """The table of a family: a line a stage; for each size seconds, microseconds a node, growth."""
    heads = [rows[0]["family"]]
    for number, row in enumerate(rows):
        heads += [f"{row['nodes'] or row['size']:,} nodes, s", "us a node"] + (["growth"] if number else [])
    lines = []
    for stage in dict.fromkeys(name for row in rows for name in row["seconds"]):
        cells = [stage]
        before: float | None = None
        for number, row in enumerate(rows):
            seconds = row["seconds"].get(stage)
            if seconds is None:
                cells += ["-", "-"] + (["-"] if number else [])
            else:
                cells += [f"{seconds:.4f}", f"{seconds / row['nodes'] * 1e6:.2f}"]
                if number:
                    cells.append(f"{seconds / before:.1f}" if before else "-")
            before = seconds
        lines.append(cells)
    failed = [f"\n{row['size']:,} nodes failed in {row['failed']}" for row in rows if row["failed"]]
    return "\n".join([common.table(heads, lines), *failed])


def tables(rows: list[Row]) -> str:
    families = dict.fromkeys(row["family"] for row in rows)
    return "\n\n".join(family_table([row for row in rows if row["family"] == family]) for family in families)


def plot(rows: list[Row], path: str) -> None:
    """Microseconds a node by size, a line a family: level where growth is linear."""
    made = common.figure(1, 4.5, 3.2)
    if made is None:
        return
    drawn, (axes,) = made
    for family in dict.fromkeys(row["family"] for row in rows):
        line = [row for row in rows if row["family"] == family and not row["failed"]]
        heights = [row["seconds"]["total"] / row["nodes"] * 1e6 for row in line]
        axes.plot([row["nodes"] for row in line], heights, "o-", label=family)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("nodes")
    axes.set_ylabel("microseconds a node")
    axes.set_title("declare and compile, up to the schedule")
    common.legend_above(axes)
    common.save(drawn, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time building and compiling as graphs grow.")
    parser.add_argument("--sizes", type=common.numbers(2), default="1000,10000,100000", help="nodes, between commas")
    common.add_file_options(parser)
    args = parser.parse_args()
    rows = []
    for family in FAMILIES:
        for size in args.sizes:
            print(f"{family} of {size:,} nodes", file=sys.stderr)
            rows.append(time_stages(family, size))
    return common.finish(args, rows, tables, plot)


if __name__ == "__main__":
    sys.exit(main())
