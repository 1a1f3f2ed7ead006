#!/usr/bin/env python3
"""Time one training step of graphc on one of the agreed workloads: the counterpart of peers.py.

    python benchmarks/graphc_engine.py WORKLOAD [--threads N] [--seconds S]

The same work (forward, backward, Adam, softmax cross-entropy, float32, inputs in memory), the same windows and the same
JSON line as peers.py; `first_s` is building the graph, compiling and the first step, without imports.  The graphs are
those of workloads.py.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np
from workloads import WORKLOADS

import graphc
from graphc import optim


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
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("--threads", type=int, default=processors)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    if args.threads < processors:
        os.sched_setaffinity(0, range(args.threads))

    workload = WORKLOADS[args.workload]
    inputs, targets = workload.batch(np.random.default_rng(0), "float32")

    start = time.perf_counter()
    x, labels, loss = workload.declare("float32")
    fetches = [loss, optim.Adam(1e-3).minimize(loss)]
    with graphc.Session(threads=args.threads, seed=0) as session:
        built = time.perf_counter() - start
        feeds = {x: inputs, labels: targets}
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
