"""Four ways to a derivative: by hand, numerically, symbolically, automatically.

    python examples/four_ways_to_a_derivative.py [--most 64] [--out out]

The function has W parameters w_1 ... w_W and is a loop of W steps over a vector h of 64 numbers::

    h = x;   for each w:  h = h + sin(w * h) / W;   f = mean(h * h)

Each step uses h twice, so that there are 2 ** W paths from x to f. The four ways:

by hand        formulas worked out on paper, one pass forward and one backward, in NumPy
numerically    central differences: the program is run twice for each parameter, so the work grows as W ** 2
symbolically   an expression in w_1 ... w_W, differentiated by rules (SymPy) and written out; without names for what is
               shared it doubles with every step
automatically  graphc's backward graph: each node once

Prints counts of operations and times for growing W, and how far the four are apart; writes
``four_ways_to_a_derivative.png``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import sympy

import graphc
from graphc.passes.differentiate import differentiate
from graphc.passes.simplify import simplify

X = np.linspace(-2.0, 2.0, 64)
MOST_SYMBOLIC = 8
"""Parameters up to which the expression is written out: each more doubles it."""

WAYS = ("by hand", "numerically", "symbolically", "automatically")
Row = dict[str, Any]


def value(w: np.ndarray) -> float:
    """The function, in NumPy."""
    h = X
    for weight in w:
        h = h + np.sin(weight * h) / len(w)
    return float(np.mean(h * h))


def by_hand(w: np.ndarray) -> np.ndarray:
    """With s = sin(w h): dh'/dh = 1 + w cos(w h) / W, dh'/dw = h cos(w h) / W, df/dh = 2 h / n."""
    states = [X]
    for weight in w:
        states.append(states[-1] + np.sin(weight * states[-1]) / len(w))
    g = 2 * states[-1] / len(X)
    slopes = np.empty_like(w)
    for k in reversed(range(len(w))):
        c = np.cos(w[k] * states[k]) / len(w)
        slopes[k] = np.sum(g * states[k] * c)
        g = g * (1 + w[k] * c)
    return slopes


def numerically(w: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences: two runs of the program for each parameter."""
    moves = step * np.eye(len(w))
    return np.array([(value(w + move) - value(w - move)) / (2 * step) for move in moves])


def symbolically(count: int) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """The derivatives as written-out expressions: a function of w, and how many operations stand in them."""
    x, *weights = sympy.symbols(f"x w1:{count + 1}")
    h = x
    for weight in weights:
        h = h + sympy.sin(weight * h) / count
    slopes = [sympy.diff(h * h, weight) for weight in weights]
    functions = [sympy.lambdify((x, *weights), slope, "numpy") for slope in slopes]
    operations = sum(int(sympy.count_ops(slope)) for slope in slopes)
    return lambda w: np.array([np.mean(function(X, *w)) for function in functions]), operations


def declared(w: Any) -> Any:
    """The function of a tensor."""
    h: Any = graphc.constant(X)
    for k in range(w.shape[0]):
        h = h + graphc.sin(w[k] * h) / w.shape[0]
    return (h * h).mean()


def automatically(count: int, session: graphc.Session) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """graphc's gradient: a function of w, and how many operations its graph has, forward and backward."""
    w = graphc.placeholder("w", (count,), "float64")
    slopes = graphc.gradients(declared(w), w)
    backward = simplify(differentiate(simplify(graphc.Graph((w,), (slopes,)))))
    operations = sum(node.op.kind in ("map", "reduction", "contraction") for node in backward.nodes)
    return graphc.compile([w], slopes, session=session), operations


def best_time(function: Callable[[], Any], seconds: float) -> float:
    """The shortest of several runs, in seconds of the processor: all are on one thread."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def measure(count: int, session: graphc.Session, seconds: float) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Operations, and seconds to derive and to evaluate, of each way; and the derivatives that each finds."""
    w = np.random.default_rng(count).normal(size=count)
    # On paper: 4 operations a step forward, 8 backward; a run of the program is 4 a step.
    ways: dict[str, Callable[[], tuple[Callable[[np.ndarray], np.ndarray], int]]] = {
        "by hand": lambda: (by_hand, 12 * count),
        "numerically": lambda: (numerically, 2 * count * 4 * count),
        "symbolically": lambda: symbolically(count),
        "automatically": lambda: automatically(count, session),
    }
    rows, found = [], {}
    for way, derive in ways.items():
        if way == "symbolically" and count > MOST_SYMBOLIC:
            continue
        start = time.perf_counter()
        function, operations = derive()
        found[way] = np.asarray(function(w))
        derived = time.perf_counter() - start
        row = {"way": way, "W": count, "operations": operations, "derive_s": derived}
        rows.append(row | {"run_s": best_time(partial(function, w), seconds)})
    return rows, found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=64, help="most parameters")
    parser.add_argument("--seconds", type=float, default=0.2, help="time spent to measure one evaluation")
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.most < 2:
        parser.error(f"--most: expected at least 2, got {arguments.most}")

    counts = [count for count in (2, 4, 6, 8, 16, 32, 64, 128, 256) if count <= arguments.most]
    rows: list[Row] = []
    apart = 0.0
    print(f"{'W':>5} {'way':<14} {'operations':>12} {'to derive':>12} {'to evaluate':>13}")
    with graphc.Session(threads=1) as session:
        for count in counts:
            own, found = measure(count, session, arguments.seconds)
            for row in own:
                shown = f"{row['derive_s'] * 1e3:9.1f} ms {row['run_s'] * 1e6:10.1f} us"
                print(f"{count:5} {row['way']:<14} {row['operations']:12,} {shown}")
            scale = np.abs(found["by hand"]).max()
            apart = max(apart, *(np.abs(slopes - found["by hand"]).max() / scale for slopes in found.values()))
            rows += own

    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(rows, arguments.out / "four_ways_to_a_derivative.png")
    print(f"wrote four_ways_to_a_derivative.png to {arguments.out}/")
    last = {row["way"]: row for row in rows if row["W"] == counts[-1]}
    ratio = last["numerically"]["run_s"] / last["automatically"]["run_s"]
    print(f"all agree to {apart:.0e}; {counts[-1]} parameters: automatic is {ratio:,.0f} times faster than numerical")


def plot(rows: list[Row], path: Path) -> None:
    """Operations and times over the number of parameters."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for panel, key, label in zip(panels, ("operations", "run_s"), ("operations", "seconds to evaluate"), strict=True):
        for way, marker in zip(WAYS, "osd^", strict=True):
            line = [row for row in rows if row["way"] == way]
            panel.plot([row["W"] for row in line], [row[key] for row in line], marker + "-", label=way, markersize=4)
        panel.set(xlabel="parameters", ylabel=label, xscale="log", yscale="log")
        counts = sorted({row["W"] for row in rows})
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.minorticks_off()
    panels[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
