"""Vanishing and exploding gradients: powers of a matrix, saturating activations, depth.

    python examples/vanishing_gradients.py [--depth 50] [--out out]

A gradient that passes t layers is multiplied by t Jacobians. Three views of what becomes of it:

powers        h_t = W h_(t-1), the same W each time: dL/dh_0 = (W^T)^t dL/dh_t goes as the power t of W's largest
              eigenvalue
saturation    the same with h_t = tanh(W h_(t-1)): a derivative of at most 1 pulls down what W pushes up
depth         the gradient by each layer's output in a network of many layers, by activation and initial weights, and
              with residual connections

All gradients come from graphc: a ``scan`` for the recurrences, layers for the networks. Writes
``vanishing_gradients.png``.
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

import graphc
from graphc import nn

SIZE = 32
STEPS = 60
RADII = (0.9, 1.0, 1.1)
"""Largest absolute eigenvalues."""


def matrix(radius: float) -> np.ndarray:
    """A random matrix with that largest absolute eigenvalue."""
    drawn = np.random.default_rng(0).normal(size=(SIZE, SIZE))
    return drawn * (radius / np.abs(np.linalg.eigvals(drawn)).max())


def last_state(radius: float, activation: Callable[[Any], Any], zeros: Any, u: np.ndarray) -> Any:
    """``h_T . u``. A zero is added at each time: the derivative by it is the derivative by the state at that time."""
    w = graphc.constant(matrix(radius))

    def step(h: Any, zero: Any) -> tuple[Any, None]:
        return activation(w @ (h + zero)), None

    last, _ = graphc.scan(step, graphc.constant(np.random.default_rng(1).normal(size=SIZE)), zeros)
    return (last * graphc.constant(u)).sum()


def through_time(radius: float, activation: Callable[[Any], Any], session: graphc.Session) -> np.ndarray:
    """Norm of the gradient of ``h_T . u`` by h_(T-t), for t = 0 ... T, by that of u."""
    zeros = graphc.placeholder("zeros", (STEPS, SIZE), "float64")
    u = np.random.default_rng(2).normal(size=SIZE)
    slopes = graphc.gradients(last_state(radius, activation, zeros, u), zeros)
    found = session.run(slopes, {zeros: np.zeros((STEPS, SIZE))})
    return np.linalg.norm(found[::-1], axis=1) / np.linalg.norm(u)


Network = tuple[str, Callable[[Any], Any], Any, bool]
NETWORKS: tuple[Network, ...] = (
    ("sigmoid", nn.sigmoid, nn.initializers.xavier_normal, False),
    ("tanh", nn.tanh, nn.initializers.xavier_normal, False),
    ("relu, weights too small", nn.relu, nn.initializers.normal(0.1), False),
    ("relu, He's weights", nn.relu, nn.initializers.he_normal, False),
    ("tanh, residual", nn.tanh, nn.initializers.xavier_normal, True),
)
"""What it is called, activation, initial weights, and whether each layer adds its input."""


def layers_of(network: Network, depth: int) -> list[nn.Dense]:
    """Layers of the network."""
    _, activation, initializer, _ = network
    return [nn.Dense(SIZE, activation, kernel_initializer=initializer) for _ in range(depth)]


def outputs_of(network: Network, layers: Sequence[nn.Dense], x: Any) -> list[Any]:
    """What each layer makes of what the one before has made."""
    *_, residual = network
    outputs = [x]
    for layer in layers:
        h = outputs[-1]
        outputs.append(layer(h) + h if residual else layer(h))
    return outputs[1:]


def through_layers(network: Network, depth: int) -> np.ndarray:
    """Root mean square of the gradient of ``h_L . u`` by each layer's output, from the first layer to the last."""
    rng = np.random.default_rng(2)
    inputs, seed = rng.normal(size=(64, SIZE)), rng.normal(size=(64, SIZE))
    x = graphc.placeholder("x", ("n", SIZE), "float64")
    u = graphc.placeholder("u", ("n", SIZE), "float64")
    outputs = outputs_of(network, layers_of(network, depth), x)
    slopes = graphc.gradients(outputs[-1], outputs, seed=u)
    with graphc.Session(seed=0) as session:
        return np.array([np.sqrt(np.mean(slope**2)) for slope in session.run(slopes, {x: inputs, u: seed})])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.depth < 2:
        parser.error(f"--depth: expected at least 2, got {arguments.depth}")
    times: dict[str, dict[float, np.ndarray]] = {}
    with graphc.Session() as session:
        for name, activation in (("h = W h", lambda h: h), ("h = tanh(W h)", graphc.tanh)):
            times[name] = {radius: through_time(radius, activation, session) for radius in RADII}
            for radius, norms in times[name].items():
                print(
                    f"{name}, largest eigenvalue {radius}: after {STEPS} steps {norms[-1]:.1e} of the gradient is left"
                )
    layers = {network[0]: through_layers(network, arguments.depth) for network in NETWORKS}
    for name, norms in layers.items():
        print(f"{name}: by the output of layer 1 of {arguments.depth}, {norms[0]:.1e} of the gradient is left")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(times, layers, arguments.out / "vanishing_gradients.png")
    print(f"wrote vanishing_gradients.png to {arguments.out}/")
    ratios = ", ".join(f"{name} {norms[0]:.0e}" for name, norms in layers.items())
    print(f"left of the gradient after {arguments.depth} layers: {ratios}")


def plot(times: dict[str, dict[float, np.ndarray]], layers: dict[str, np.ndarray], path: Path) -> None:
    """Norms over time steps, and over layers."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for panel, (name, lines) in zip(panels, times.items(), strict=False):
        for (radius, norms), style in zip(lines.items(), ("--", "-", ":"), strict=True):
            panel.plot(np.arange(1, STEPS + 1), norms, style, label=f"largest eigenvalue {radius}")
        panel.set(title=name, xlabel="steps back in time", ylabel="norm of the gradient", yscale="log")
        panel.legend(fontsize=8)
    for (name, norms), style in zip(layers.items(), ("-", "--", "-.", ":", "-"), strict=True):
        panels[2].plot(np.arange(1, len(norms) + 1), norms, style, label=name)
    panels[2].set(title="depth", xlabel="layer", ylabel="gradient by its output", yscale="log")
    panels[2].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
