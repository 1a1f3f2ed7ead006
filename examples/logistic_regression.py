"""Logistic regression on basis functions, fixed and learned.

    python examples/logistic_regression.py [--steps 600] [--out out]

A logistic regression p = sigmoid(w . phi(x) + b) draws a flat boundary in the space of phi. With phi(x) = x that is a
plane among the measurements; other basis functions bend it:

linear     phi(x) = x
fixed      40 Gaussian bumps around training points drawn at random
learned    40 of the same form, whose centres and widths are variables and are trained with w and b

Data: the 569 tumours of the breast-cancer set that scikit-learn carries. Accuracy and cross-entropy are those of five
held-out fifths, in turn, on all 30 measurements; the picture shows the boundaries on two of them. Writes
``logistic_regression.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

import graphc
from graphc import nn, optim

CENTRES = 40
FOLDS = 5
PENALTY = 1e-3
"""Of the squared weights: few examples and many bumps would be learned by heart."""


def load(columns: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Standardised measurements, labels (1 is malignant) and the measurements' names; shuffled."""
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.target))
    chosen = list(range(data.data.shape[1])) if columns is None else list(columns)
    x = data.data[order][:, chosen]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x.astype(np.float32), 1 - data.target[order], [str(data.feature_names[k]) for k in chosen]


class Bumps(nn.Layer):
    """Gaussian bumps, ``exp(-|x - c|^2 / (2 width^2))`` for every centre: [examples, centres].

    The centres are some of the examples to learn from; or they begin there, and they and the widths are learned.
    """

    def __init__(self, examples: np.ndarray, learned: bool):
        super().__init__()
        self.drawn = examples[np.random.default_rng(1).choice(len(examples), CENTRES, replace=False)]
        self.learned = learned

    def build(self, x: graphc.Tensor) -> None:
        self.centres: Any = graphc.constant(self.drawn)
        self.log_width: Any = 0.0
        if self.learned:
            self.centres = self.variable("centres", lambda *_: self.drawn, self.drawn.shape, x.dtype)
            self.log_width = self.variable("log_width", nn.initializers.zeros, (CENTRES,), x.dtype)

    def forward(self, x: graphc.Tensor, training: bool) -> graphc.Tensor:
        distance = ((x[:, None, :] - self.centres) ** 2).mean(axis=2)  # a mean: widths do not depend on the dimension
        return graphc.exp(-distance / (2 * graphc.exp(2 * self.log_width)))


BASES: dict[str, Callable[[np.ndarray], list[nn.Layer]]] = {
    "linear": lambda examples: [],
    "fixed": lambda examples: [Bumps(examples, learned=False)],
    "learned": lambda examples: [Bumps(examples, learned=True)],
}
"""Basis functions, made from the examples to learn from."""


def network(basis: str, examples: np.ndarray) -> nn.Sequential:
    """From measurements to the logarithm of the odds: [examples, 1]."""
    return nn.Sequential(*BASES[basis](examples), nn.Dense(1))


def loss_of(model: nn.Sequential, x: Any, y: Any) -> Any:
    """Mean cross-entropy, and the penalty on the weights w."""
    logits = model(x)[:, 0]
    return nn.sigmoid_cross_entropy(logits, y).mean() + PENALTY * (model.layers[-1].kernel ** 2).sum()


def fit(basis: str, x_train: np.ndarray, y_train: np.ndarray, steps: int) -> Callable[[np.ndarray], np.ndarray]:
    """Train on all examples at once; returns the function from examples to probabilities."""
    x = graphc.placeholder("x", ("n", x_train.shape[1]))
    y = graphc.placeholder("y", ("n",))
    model = network(basis, x_train)
    train = optim.Adam(0.03).minimize(loss_of(model, x, y))
    probabilities = nn.sigmoid(model(x)[:, 0])
    session = graphc.Session(seed=0)
    for _ in range(steps):
        session.run(train, {x: x_train, y: y_train.astype(np.float32)})
    return lambda points: session.run(probabilities, {x: points})


def cross_validate(basis: str, x: np.ndarray, y: np.ndarray, steps: int) -> tuple[float, float]:
    """Accuracy and cross-entropy on the examples left out, each fifth in turn."""
    fold = np.arange(len(y)) % FOLDS
    p = np.empty(len(y))
    for k in range(FOLDS):
        p[fold == k] = fit(basis, x[fold != k], y[fold != k], steps)(x[fold == k])
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(np.mean((p > 0.5) == y)), float(-np.mean(np.where(y == 1, np.log(p), np.log(1 - p))))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.steps < 1:
        parser.error(f"--steps: expected at least 1, got {arguments.steps}")
    x, y, _ = load()
    found = {name: cross_validate(name, x, y, arguments.steps) for name in BASES}
    for name, (accuracy, entropy) in found.items():
        print(f"{name:<8} held-out accuracy {accuracy:.4f}, cross-entropy {entropy:.4f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(arguments.steps, arguments.out / "logistic_regression.png")
    print(f"wrote logistic_regression.png to {arguments.out}/")
    shown = ", ".join(f"{name} {accuracy:.4f}" for name, (accuracy, _) in found.items())
    print(f"held-out accuracy: {shown}")


def plot(steps: int, path: Path) -> None:
    """Probabilities and boundaries on two of the measurements."""
    x, y, names = load((21, 27))  # worst texture, worst concave points
    low, high = x.min(axis=0) - 0.3, x.max(axis=0) + 0.3
    grid = np.meshgrid(*(np.linspace(a, b, 150) for a, b in zip(low, high, strict=True)))
    points = np.stack([part.ravel() for part in grid], axis=1).astype(np.float32)
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained", sharey=True)
    for panel, name in zip(panels, BASES, strict=True):
        p = fit(name, x, y, steps)(points).reshape(grid[0].shape)
        filled = panel.contourf(*grid, p, levels=np.linspace(0, 1, 11), cmap="PuOr_r", alpha=0.8)
        panel.contour(*grid, p, levels=[0.5], colors="black")
        for label, marker, colour in ((0, "o", "#5e3c99"), (1, "^", "#b35806")):
            style = {"markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.4}
            panel.plot(*x[y == label].T, marker, color=colour, **style)
        panel.set(title=name, xlabel=f"{names[0]}, standardised")
    panels[0].set_ylabel(f"{names[1]}, standardised")
    figure.colorbar(filled, ax=panels, label="probability of malignant")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
