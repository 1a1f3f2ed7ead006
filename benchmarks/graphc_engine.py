#!/usr/bin/env python3
"""Time one training step of graphc on one of the agreed workloads: the counterpart of peers.py.

    python benchmarks/graphc_engine.py WORKLOAD [--threads N] [--seconds S]

The same work (forward, backward, Adam, softmax cross-entropy, float32, inputs in memory), the same windows and the same
JSON line as peers.py; `first_s` is building the graph, compiling and the first step, without imports.  The batch is a
named dim, as in any user's program, so the compiler does not know its size.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np

import graphc
from graphc import nn, optim

BATCH = {"tiny": 32, "mlp": 64, "mlp-large": 512}
SIZES = {"tiny": [2, 16, 16, 2], "mlp": [784, 256, 128, 10], "mlp-large": [784, 1024, 1024, 10]}


def mlp(workload: str) -> tuple[graphc.Tensor, graphc.Tensor, graphc.Tensor]:
    """Declare the network; return its input, its labels and the loss."""
    first, *widths = SIZES[workload]
    activation = graphc.tanh if workload == "tiny" else graphc.relu
    layers: list = []
    for width in widths:
        layers += [nn.Dense(width), activation]
    x = graphc.placeholder("x", ("batch", first), "float32")
    labels = graphc.placeholder("labels", ("batch",), "int64")
    return x, labels, nn.softmax_cross_entropy(nn.Sequential(*layers[:-1])(x), labels).mean()


def measure(step: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Seconds to the first finished step, and best mean seconds per step over windows of at least 0.15 s."""
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    for _ in range(3):
        step()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 0.15:
            step()
            count += 1
        best = min(best, (time.perf_counter() - start) / count)
    return first, best


def main() -> None:
    processors = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="Time one training step of graphc.")
    parser.add_argument("workload", choices=list(SIZES))
    parser.add_argument("--threads", type=int, default=processors)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    if args.threads < processors:
        os.sched_setaffinity(0, range(args.threads))

    rng = np.random.default_rng(0)
    sizes = SIZES[args.workload]
    images = rng.normal(size=(BATCH[args.workload], sizes[0])).astype("float32")
    targets = rng.integers(0, sizes[-1], BATCH[args.workload])

    start = time.perf_counter()
    x, labels, loss = mlp(args.workload)
    fetches = [loss, optim.Adam(1e-3).minimize(loss)]
    with graphc.Session(threads=args.threads, seed=0) as session:
        built = time.perf_counter() - start
        feeds = {x: images, labels: targets}
        first, best = measure(lambda: session.run(fetches, feeds), args.seconds)
    row = {
        "engine": "graphc",
        "workload": args.workload,
        "threads": args.threads,
        "first_s": round(built + first, 2),
        "step_us": round(best * 1e6, 1),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
