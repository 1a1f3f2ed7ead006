"""Multiple paths: the chain rule where a value is used more than once.

    python examples/multiple_paths.py [--at 0.5] [--most 64] [--out out]

The derivative of c by a is a sum over all paths from a to c; along a path the derivatives of its steps multiply. For
example::

    b = exp(a);   c = b * sin(b) + a * b

Here a is used twice and b three times, which makes four paths. This program lists them with the derivative along
each, adds these up, and compares the sum with the backward graph's result and with a central difference.

Nobody lists paths to differentiate, for there can be too many: in a chain of n steps h = h + sin(h) / n each step
doubles them. A backward graph visits every node once and adds up what arrives at it before it goes on, so it grows by
the same few nodes a step. Both are counted. Writes ``multiple_paths.svg``: every edge with the value that flows forward
along it, the derivative of its step, and the derivative of c that flows back.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.passes.differentiate import differentiate
from graphc.passes.explain import Explanation
from graphc.passes.simplify import simplify


def function(a: Any) -> tuple[Any, Any]:
    """b and c: there are four paths from a to c."""
    b = graphc.exp(a)
    return b, b * graphc.sin(b) + a * b


def chain(a: Any, steps: int) -> Any:
    """``2 ** steps`` paths from a to the result."""
    h = a
    for _ in range(steps):
        h = h + graphc.sin(h) / steps
    return h


def derivatives(explanation: Explanation, at: float) -> tuple[np.ndarray, float, float]:
    """The derivative along each path; the whole derivative by the backward graph, and by a central difference."""
    y, x = explanation.y, explanation.x
    along = [path.contribution for path in explanation.paths]
    step = 1e-5
    with graphc.Session(threads=1) as session:
        parts, whole = session.run([along, explanation.total], {x: at})
        above, below = (session.run(y, {x: at + move}) for move in (step, -step))
    return np.array(parts), float(whole), float(above - below) / (2 * step)


def growth(steps: int) -> tuple[int, int, int, float]:
    """Of a chain: its paths, its nodes, the nodes of forward and backward graph together, and its derivative at 1."""
    a = graphc.placeholder("a", (), "float64")
    h = chain(a, steps)
    paths = graphc.explain_gradient(h, a, limit=0).count
    slope = graphc.gradients(h, a)
    forward = simplify(graphc.Graph((a,), (h,)))
    backward = simplify(differentiate(graphc.Graph((a,), (slope,))))
    with graphc.Session(threads=1) as session:
        return paths, len(forward.nodes), len(backward.nodes), float(session.run(slope, {a: 1.0}))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at", type=float, default=0.5, help="the a at which to differentiate")
    parser.add_argument("--most", type=int, default=64, help="most steps of the chain")
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if not abs(arguments.at) <= 5:
        parser.error(f"--at: expected a number from -5 to 5, got {arguments.at}")
    if arguments.most < 1:
        parser.error(f"--most: expected at least 1, got {arguments.most}")

    a = graphc.placeholder("a", (), "float64")
    b, c = function(a)
    explanation = graphc.explain_gradient(c, a)
    parts, by_graph, numerically = derivatives(explanation, arguments.at)
    b_value, c_value = graphc.compile([a], [b, c])(arguments.at)
    print(f"{explanation}\n\nat a = {arguments.at:g}, where b = {b_value:.6f} and c = {c_value:.6f}, along")
    for number, part in enumerate(parts, 1):
        print(f"  path {number}  {part:10.6f}")
    print(f"  sum     {parts.sum():10.6f}\n")

    print("a chain of n steps h = h + sin(h) / n:")
    print(f"{'n':>5} {'paths':>27} {'nodes forward':>14} {'with backward':>14} {'derivative at 1':>16}")
    for steps in [2**k for k in range(int(math.log2(arguments.most)) + 1)]:
        paths, forward, backward, slope = growth(steps)
        print(f"{steps:5} {paths:27,} {forward:14} {backward:14} {slope:16.6g}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = graphc.draw(c, values={a: arguments.at}, backward=True)
    picture.save(arguments.out / "multiple_paths.svg")
    print(f"wrote multiple_paths.svg to {arguments.out}/")
    print(
        f"dc/da at {arguments.at:g}: by {len(parts)} paths {parts.sum():.10f}, by the backward graph {by_graph:.10f}, "
        f"numerically {numerically:.10f}"
    )


if __name__ == "__main__":
    main()
