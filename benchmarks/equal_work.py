#!/usr/bin/env python3
"""Show that graphc and torch do the same work: equal losses and gradients from equal weights and data.

    python benchmarks/equal_work.py                          # graphc beside the trajectories in equal_work.json
    python benchmarks/equal_work.py --engine torch           # torch, as installed here, beside them
    python benchmarks/equal_work.py --engine torch --write   # make equal_work.json anew (graphc is not run)

What is compared
    Weights and data of each workload are drawn in float64 by NumPy from a fixed seed and given to both sides; there is
    no dropout.  In float64 the losses of 20 steps of Adam must agree to a relative 1e-9; in float32 the first loss and
    its gradients by all weights to 1e-5, relative to a gradient's largest element (to its norm, for what is on record).

equal_work.json
    For each workload the float64 losses, and of each first gradient its norm and its sums under fixed random signs: a
    few numbers that no wrong gradient reproduces.  The tests compare with it, so they need no torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from workloads import BLOCKS, HEADS, LAYERS, LENGTH, TOKENS, WIDTH, WORKLOADS

import graphc
from graphc import optim

Array = np.ndarray[Any, Any]

STEPS = 20
RATE = 1e-3
SEED = 20
SIGNS = 3
LIMITS = {"float64": 1e-9, "float32": 1e-5}
FILE = Path(__file__).resolve().parent / "equal_work.json"


@dataclass
class Trajectory:
    """Losses of the steps, and gradients of the first loss by each weight, by its name."""

    losses: list[float]
    gradients: dict[str, Array]


def weights_of(loss: graphc.Tensor) -> dict[str, Array]:
    """float64 values for a workload's weights by name, in order of declaration; none is 0 or equal to another."""
    rng = np.random.default_rng(SEED)
    values = {}
    for v in optim.trainable_variables(loss):
        noise = rng.normal(size=v.shape)
        part = v.name.rpartition("/")[2]
        spread = {"kernel": noise.shape[0] ** -0.5, "table": 0.5, "bias": 0.1, "scale": 0.1}[part]
        values[v.name] = noise * spread + (part == "scale")
    return values


def batch_of(workload: str, dtype: str) -> tuple[Array, Array]:
    """The batch that every step sees."""
    return WORKLOADS[workload].batch(np.random.default_rng(SEED + 1), dtype)


def graphc_losses(workload: str, dtype: str, steps: int = STEPS) -> list[float]:
    """The losses of graphc's training steps."""
    x, labels, loss = WORKLOADS[workload].declare(dtype)
    fetches = [loss, optim.Adam(RATE).minimize(loss)]
    with graphc.Session() as session:
        for v, value in start(loss, dtype):
            session.set(v, value)
        feeds = dict(zip((x, labels), batch_of(workload, dtype), strict=True))
        return [float(session.run(fetches, feeds)[0]) for _ in range(steps)]


def graphc_gradients(workload: str, dtype: str) -> Trajectory:
    """graphc's first loss and its gradients."""
    x, labels, loss = WORKLOADS[workload].declare(dtype)
    variables = optim.trainable_variables(loss)
    with graphc.Session() as session:
        for v, value in start(loss, dtype):
            session.set(v, value)
        feeds = dict(zip((x, labels), batch_of(workload, dtype), strict=True))
        first, gradients = session.run([loss, graphc.gradients(loss, variables)], feeds)
    return Trajectory([float(first)], {v.name: g for v, g in zip(variables, gradients, strict=True)})


def start(loss: graphc.Tensor, dtype: str) -> list[tuple[graphc.Tensor, Array]]:
    """Each weight with its first value."""
    values = weights_of(loss).values()
    return [(v, value.astype(dtype)) for v, value in zip(optim.trainable_variables(loss), values, strict=True)]


def torch_model(workload: str) -> Any:
    """The network of peers.py as a sequence, so that its parameters come in the order of graphc's weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    if workload in LAYERS:
        layers: list[Any] = []
        for fan_in, fan_out in zip(LAYERS[workload], LAYERS[workload][1:], strict=False):
            layers += [nn.Linear(fan_in, fan_out), nn.Tanh() if workload == "tiny" else nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    class Position(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(LENGTH, WIDTH))

        def forward(self, x: Any) -> Any:
            return x + self.table

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.qkv, self.projection = (
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH),
            )  # fmt: skip
            self.norm2, self.up, self.down = (
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            rows, length, width = x.shape
            parts = self.qkv(self.norm1(x)).view(rows, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(*parts.unbind(0), is_causal=True)
            x = x + self.projection(mixed.transpose(1, 2).reshape(rows, length, width))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    blocks = [Block() for _ in range(BLOCKS)]
    return nn.Sequential(
        nn.Embedding(TOKENS, WIDTH), Position(), *blocks, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS)
    )


def torch_trajectory(workload: str, dtype: str, steps: int = STEPS) -> Trajectory:
    """What torch makes of a workload."""
    import torch
    from torch.nn import functional as F

    model = torch_model(workload).to(getattr(torch, dtype))
    weights = weights_of(WORKLOADS[workload].declare(dtype)[2])
    # torch keeps the kernel of a Linear transposed
    turned = [
        isinstance(module, torch.nn.Linear) and parameter.ndim == 2
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    ]
    parameters = list(model.parameters())
    with torch.no_grad():
        for parameter, value, turn in zip(parameters, weights.values(), turned, strict=True):
            parameter.copy_(torch.from_numpy(value.T.copy() if turn else value))
    inputs, targets = (torch.from_numpy(array) for array in batch_of(workload, dtype))
    optimizer = torch.optim.Adam(parameters, RATE)
    losses, gradients = [], {}
    for step in range(steps):
        optimizer.zero_grad()
        scores = model(inputs)
        loss = F.cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1))
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            found = (parameter.grad.numpy().copy() for parameter in parameters)
            gradients = {n: g.T if turn else g for n, g, turn in zip(weights, found, turned, strict=True)}
        optimizer.step()
    return Trajectory(losses, gradients)


def digest(gradient: Array) -> list[float]:
    """A gradient's norm, and its sums under random signs."""
    flat = gradient.astype(np.float64).ravel()
    rng = np.random.default_rng(SEED + 2)
    signs = (rng.choice((-1.0, 1.0), flat.size) for _ in range(SIGNS))
    return [float(np.linalg.norm(flat)), *(float(sign @ flat) for sign in signs)]


def difference_of_losses(found: list[float], expected: list[float]) -> float:
    """Largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def difference_of_gradients(found: dict[str, Array], expected: dict[str, Array]) -> float:
    """Largest difference of an element, relative to the largest element of its gradient."""
    return max(float(np.abs(found[name] - g).max() / np.abs(g).max()) for name, g in expected.items())


def difference_of_digests(found: dict[str, Array], expected: dict[str, list[float]]) -> float:
    """Largest difference of a norm or a signed sum, relative to the norm."""
    worst = 0.0
    for name, numbers in expected.items():
        worst = max(worst, float(np.abs(np.subtract(digest(found[name]), numbers)).max()) / numbers[0])
    return worst


def compare(engine: str, workload: str, recorded: dict[str, Any]) -> bool:
    """Run an engine beside the recorded trajectory; print the differences, and say whether they are within limits."""
    if engine == "torch":
        losses, first = torch_trajectory(workload, "float64").losses, torch_trajectory(workload, "float32", 1)
    else:
        losses, first = graphc_losses(workload, "float64"), graphc_gradients(workload, "float32")
    rows = {
        f"{STEPS} losses": ("float64", difference_of_losses(losses, recorded["losses"])),
        "first loss": ("float32", difference_of_losses(first.losses, recorded["losses"][:1])),
        "its gradients": ("float32", difference_of_digests(first.gradients, recorded["gradients"])),
    }
    for what, (dtype, difference) in rows.items():
        print(f"{workload:<12} {dtype}  {what:<14} {difference:.1e}  (limit {LIMITS[dtype]:.0e})")
    return all(difference <= LIMITS[dtype] for dtype, difference in rows.values())


def write(workloads: list[str]) -> None:
    """Replace equal_work.json by what torch makes here."""
    import torch

    made = f"torch {torch.__version__}, float64: python benchmarks/equal_work.py --engine torch --write"
    table = {}
    for workload in workloads:
        found = torch_trajectory(workload, "float64")
        table[workload] = {"losses": found.losses, "gradients": {n: digest(g) for n, g in found.gradients.items()}}
        print(f"{workload}: first loss {found.losses[0]:.6f}, last {found.losses[-1]:.6f}")
    FILE.write_text(json.dumps({"made": made, "workloads": table}, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare losses and gradients of the workloads with torch's.")
    parser.add_argument("--engine", choices=("graphc", "torch"), default="graphc")
    parser.add_argument("--write", action="store_true", help="make equal_work.json anew, with torch")
    args = parser.parse_args()
    if args.engine == "torch" and importlib.util.find_spec("torch") is None:
        parser.error("--engine torch needs torch, which the extra [bench] installs")
    if args.write:
        if args.engine != "torch":
            parser.error("--write goes with --engine torch: the reference is not graphc's own")
        write(list(WORKLOADS))
        return 0
    recorded = json.loads(FILE.read_text())["workloads"]
    equal = [compare(args.engine, workload, recorded[workload]) for workload in WORKLOADS]
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
