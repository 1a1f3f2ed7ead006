"""Universal approximation: one hidden layer, as wide as it takes.

    python examples/universal_approximation.py [--steps 10000] [--out out]

A network f(x) = sum_k a_k tanh(w_k x + b_k) + c comes as close as one likes to any continuous function on an interval,
if it has units enough (Cybenko, 1989; Hornik, 1991). The theorem says that such weights exist; whether training finds
them is another matter, so this example trains: the same target, twice as many units each time, and the error between
the points that were trained on. Writes ``universal_approximation.png``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import graphc
from graphc import nn, optim

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
POINTS = 512


def target(x: np.ndarray) -> np.ndarray:
    """A wave, a kink, and a step that is steep but continuous."""
    return np.sin(6 * x) / 2 + np.abs(x) + np.clip(8 * (x - 0.5), -0.5, 0.5)


def fit(width: int, steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points between those trained on, and the trained network's values there."""
    x = graphc.placeholder("x", ("n", 1), "float64")
    y = graphc.placeholder("y", ("n", 1), "float64")
    initial = nn.initializers.normal(6.0)  # bends all over the interval
    model = nn.Sequential(nn.Dense(width, kernel_initializer=initial, bias_initializer=initial), nn.tanh, nn.Dense(1))
    loss = nn.mean_squared_error(model(x), y)
    half_cosine = lambda count: 0.01 + 0.0099 * graphc.cos(count.astype("float32") * (math.pi / steps))  # noqa: E731
    train = optim.Adam(half_cosine).minimize(loss)
    points = np.linspace(-1, 1, POINTS)[:, None]
    between = (points[1:] + points[:-1]) / 2
    with graphc.Session(seed=seed) as session:
        feeds = {x: points, y: target(points)}
        for _ in range(steps):
            session.run(train, feeds)
        return between[:, 0], session.run(model(x), {x: between})[:, 0]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.steps < 1:
        parser.error(f"--steps: expected at least 1, got {arguments.steps}")
    fits, largest, typical = {}, {}, {}
    for width in WIDTHS:
        x, fits[width] = fit(width, arguments.steps)
        error = fits[width] - target(x)
        largest[width], typical[width] = float(np.abs(error).max()), float(np.sqrt(np.mean(error**2)))
        print(f"{width:3} units: largest error {largest[width]:.4f}, root mean square {typical[width]:.5f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(x, fits, {"largest": largest, "root mean square": typical}, arguments.out / "universal_approximation.png")
    print(f"wrote universal_approximation.png to {arguments.out}/")
    first, last = WIDTHS[0], WIDTHS[-1]
    print(f"root mean square error: {typical[first]:.4f} with {first} unit, {typical[last]:.5f} with {last}")


def plot(x: np.ndarray, fits: dict[int, np.ndarray], errors: dict[str, dict[int, float]], path: Path) -> None:
    """Some of the fits, and the errors of all."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    left.plot(x, target(x), color="black", linewidth=3, alpha=0.3, label="target")
    for width, style in zip(WIDTHS[::2], ("-", "--", "-.", ":"), strict=True):
        left.plot(x, fits[width], style, label=f"{width} unit{'s' if width > 1 else ''}")
    left.set(xlabel="x", ylabel="f(x)")
    left.legend()
    left.set_xticks([-1, -0.5, 0, 0.5, 1])
    for (name, line), marker in zip(errors.items(), "os", strict=True):
        right.plot(list(line), list(line.values()), marker + "-", label=name)
    right.set(xlabel="units", ylabel="error", xscale="log", yscale="log")
    right.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    right.minorticks_off()
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
