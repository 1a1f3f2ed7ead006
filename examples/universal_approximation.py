"""Universal approximation: one hidden layer, as wide as it takes.

    python examples/universal_approximation.py [--steps 6000] [--out out]

A network f(x) = sum_k a_k tanh(w_k (x - c_k)) + d comes as close as one likes to any continuous function on an
interval, if it has units enough (Cybenko, 1989; Hornik, 1991). The theorem says that such weights exist; whether
training finds them is another matter, so this example trains: the same target, twice as many units each time, and the
error between the points that were trained on.

Training has two parts. Adam moves all weights; then the output layer, in which f is linear, is put at its optimum: the
least-squares solution a = pinv(H) y for the hidden layer's values H at all points. How far Adam alone gets is shown
beside it. Writes ``universal_approximation.png``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import graphc
from graphc import linalg, nn, optim

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
POINTS = 512


def target(x: np.ndarray) -> np.ndarray:
    """A wave, a kink, and a step that is steep but continuous."""
    return np.sin(6 * x) / 2 + np.abs(x) + np.clip(8 * (x - 0.5), -0.5, 0.5)


def initial(width: int, seed: int = 0) -> list[np.ndarray]:
    """Slopes w, centres c, and output weights (a, d). Where there are more units, each may bend more sharply."""
    slopes = np.random.default_rng(seed).normal(0, max(4.0, width / 2), width)
    return [slopes, np.linspace(-1, 1, width + 2)[1:-1], np.zeros((width + 1, 1))]


def hidden(x: Any, slopes: Any, centres: Any) -> Any:
    """The units' values, and a column of ones, by which d is one of the output weights: [points, units + 1]."""
    return graphc.concat([graphc.tanh(slopes * (x - centres)), graphc.ones_like(x)], axis=1)


def loss_of(x: Any, y: Any, slopes: Any, centres: Any, weights: Any) -> Any:
    """Mean squared error of the network."""
    return nn.mean_squared_error(hidden(x, slopes, centres) @ weights, y)


def fit(width: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points between those trained on, and the network's values there: after Adam, and after least squares."""
    x = graphc.placeholder("x", ("n", 1), "float64")
    y = graphc.placeholder("y", ("n", 1), "float64")
    slopes, centres, weights = (graphc.variable(array) for array in initial(width))
    half_cosine = lambda count: 0.00505 + 0.00495 * graphc.cos(count.astype("float32") * (math.pi / steps))  # noqa: E731
    train = optim.Adam(half_cosine).minimize(loss_of(x, y, slopes, centres, weights))
    units = hidden(x, slopes, centres)
    best = linalg.pinv(units) @ y

    points = np.linspace(-1, 1, POINTS)[:, None]
    between = (points[1:] + points[:-1]) / 2
    with graphc.Session(seed=0) as session:
        feeds = {x: points, y: target(points)}
        for _ in range(steps):
            session.run(train, feeds)
        by_adam = session.run(units @ weights, {x: between})
        session.run(graphc.assign(weights, best), feeds)
        return between[:, 0], by_adam[:, 0], session.run(units @ weights, {x: between})[:, 0]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.steps < 1:
        parser.error(f"--steps: expected at least 1, got {arguments.steps}")
    fits: dict[int, np.ndarray] = {}
    errors: dict[str, dict[int, float]] = {"Adam": {}, "then least squares": {}}
    for width in WIDTHS:
        x, by_adam, fits[width] = fit(width, arguments.steps)
        for line, values in zip(errors.values(), (by_adam, fits[width]), strict=True):
            line[width] = float(np.sqrt(np.mean((values - target(x)) ** 2)))
        adam, both = (line[width] for line in errors.values())
        print(f"{width:3} units: root mean square error {adam:.5f} by Adam, then {both:.5f} by least squares")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(x, fits, errors, arguments.out / "universal_approximation.png")
    print(f"wrote universal_approximation.png to {arguments.out}/")
    first, last = errors["then least squares"][WIDTHS[0]], errors["then least squares"][WIDTHS[-1]]
    print(f"root mean square error: {first:.4f} with {WIDTHS[0]} unit, {last:.5f} with {WIDTHS[-1]}")


def plot(x: np.ndarray, fits: dict[int, np.ndarray], errors: dict[str, dict[int, float]], path: Path) -> None:
    """Some of the fits, and the errors of all."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    left.plot(x, target(x), color="black", linewidth=3, alpha=0.3, label="target")
    for width, style in zip(WIDTHS[::2], ("-", "--", "-.", ":"), strict=False):
        left.plot(x, fits[width], style, label=f"{width} unit{'s' if width > 1 else ''}")
    left.set(xlabel="x", ylabel="f(x)")
    left.legend()
    left.set_xticks([-1, -0.5, 0, 0.5, 1])
    for (name, line), marker in zip(errors.items(), "os", strict=True):
        right.plot(list(line), list(line.values()), marker + "-", label=name)
    right.set(xlabel="units", ylabel="root mean square error", xscale="log", yscale="log")
    right.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    right.minorticks_off()
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
