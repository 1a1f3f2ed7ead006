"""Train a multilayer perceptron on the handwritten digits, and draw what was compiled.

    python examples/digits_mlp.py [--epochs 40] [--threads N] [--out out] [--profile]

Data: the 1,797 images of 8 x 8 pixels that scikit-learn carries; every fourth is held out. Prints a progress bar,
where the kernels came from, and the held-out accuracy; writes ``forward.svg``, ``backward.svg`` and
``training.png`` to the output folder. With ``--profile`` it trains no further than the profiler needs, prints where
the time of a training step goes, and writes ``profile.json``, a trace for Perfetto or chrome://tracing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

import graphc
from graphc import nn, optim
from graphc.profile import median

PROFILED_STEPS = 200
"""Steps whose median times make the profile."""


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, held-out images and labels; pixels between -1 and 1."""
    digits = load_digits()
    images = (digits.data / 8 - 1).astype(np.float32)
    held_out = np.arange(len(images)) % 4 == 0
    return images[~held_out], digits.target[~held_out], images[held_out], digits.target[held_out]


def network() -> nn.Layer:
    """Two hidden layers, each with dropout."""
    return nn.Sequential(
        nn.Dense(256), nn.relu, nn.Dropout(0.3),
        nn.Dense(128), nn.relu, nn.Dropout(0.3),
        nn.Dense(10),
    )  # fmt: skip


def loss_of(scores: Any, labels: Any) -> Any:
    """Mean cross-entropy."""
    return nn.softmax_cross_entropy(scores, labels).mean()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--profile", action="store_true", help="show where the time of a training step goes")
    arguments = parser.parse_args(argv)
    if arguments.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {arguments.epochs}")
    images, targets, test_images, test_targets = load()

    # The graph: declared once, before there is any data.
    x = graphc.placeholder("x", ("batch", 64), "float32")
    labels = graphc.placeholder("labels", ("batch",), "int64")
    model = network()
    loss = loss_of(model(x, training=True), labels)
    train = optim.Adam(2e-3).minimize(loss)
    scores = model(x)  # the inference graph over the same variables
    test_loss = loss_of(scores, labels)
    accuracy = (graphc.argmax(scores, axis=1) == labels).astype("float32").mean()

    if arguments.profile:
        with graphc.Session(threads=arguments.threads, seed=0) as session:
            batch = {x: images[:64], labels: targets[:64]}
            profile = median([session.run([loss, train], batch, profile=True)[1] for _ in range(PROFILED_STEPS)])
        print(profile)
        arguments.out.mkdir(parents=True, exist_ok=True)
        print(f"wrote {profile.save(arguments.out / 'profile.json')}")
        return

    history: dict[str, list[float]] = {"training loss": [], "held-out loss": [], "held-out accuracy": []}
    with graphc.Session(threads=arguments.threads, seed=0) as session:
        start = time.perf_counter()
        training = session.prepare([loss, train], [x, labels])
        testing = session.prepare([test_loss, accuracy], [x, labels])
        origins = [event.kind for program in (training, testing) for event in program.events]
        compiled = origins.count("compiled")
        source = f"{compiled} compiled, {len(origins) - compiled} loaded from the cache"
        if not compiled:
            source = f"all {len(origins)} loaded from a warm cache"
        print(f"kernels: {source}, in {time.perf_counter() - start:.2f} s")

        batches = graphc.data.batches(images, targets, size=64, shuffle=True, seed=0)
        with tqdm(total=arguments.epochs, unit="epoch") as bar:
            for _ in range(arguments.epochs):
                losses = [session.run([loss, train], {x: xb, labels: yb})[0] for xb, yb in batches]
                held_out, right = session.run([test_loss, accuracy], {x: test_images, labels: test_targets})
                for name, value in zip(history, (np.mean(losses), held_out, right), strict=True):
                    history[name].append(float(value))
                bar.set_postfix(loss=f"{history['training loss'][-1]:.4f}", accuracy=f"{right:.4f}")
                bar.update()

    arguments.out.mkdir(parents=True, exist_ok=True)
    graphc.draw(test_loss).save(arguments.out / "forward.svg")
    graphc.draw(train).save(arguments.out / "backward.svg")
    plot(history, arguments.out / "training.png")
    print(f"wrote forward.svg, backward.svg and training.png to {arguments.out}/")
    print(f"test accuracy: {history['held-out accuracy'][-1]:.4f}")


def plot(history: dict[str, list[float]], path: Path) -> None:
    """Losses and accuracy over the epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for name in ("training loss", "held-out loss"):
        left.plot(history[name], label=name)
    left.set(xlabel="epoch", ylabel="cross-entropy", yscale="log")
    left.legend()
    right.plot(history["held-out accuracy"], color="tab:green")
    right.set(xlabel="epoch", ylabel="held-out accuracy")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
