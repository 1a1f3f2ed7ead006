#!/usr/bin/env python3
"""Time training steps of graphc on networks of given sizes, or compiling them; scaling.py runs this.

    python benchmarks/scaling_engine.py step --threads N FAMILY:BATCH:DEPTH:WIDTH...
    python benchmarks/scaling_engine.py compile --threads N FAMILY:BATCH:DEPTH:WIDTH

Families: ``mlp`` (dense layers with ReLU), ``residual`` (blocks of dense, ReLU, dense, added to their input) and
``transformer`` (causal pre-norm blocks). Prints JSON rows; a step is forward, backward and Adam's update.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from common import Row, best_seconds, limit_processors

CLASSES, LENGTH, HEADS = 10, 64, 4


def mlp(depth: int, width: int) -> tuple[Any, Any, Any]:
    """`depth` hidden layers."""
    import graphc
    from graphc import nn

    x, labels = graphc.placeholder("x", ("batch", width)), graphc.placeholder("labels", ("batch",), "int64")
    layers: list[Any] = []
    for _ in range(depth):
        layers += [nn.Dense(width), graphc.relu]
    return x, labels, nn.softmax_cross_entropy(nn.Sequential(*layers, nn.Dense(CLASSES))(x), labels).mean()


def residual(depth: int, width: int) -> tuple[Any, Any, Any]:
    """`depth` equal blocks: distinct kernels do not grow with their number."""
    import graphc
    from graphc import nn

    x, labels = graphc.placeholder("x", ("batch", width)), graphc.placeholder("labels", ("batch",), "int64")
    value = x
    for _ in range(depth):
        value = value + nn.Dense(width)(graphc.relu(nn.Dense(width)(value)))
    return x, labels, nn.softmax_cross_entropy(nn.Dense(CLASSES)(value), labels).mean()


def transformer(depth: int, width: int) -> tuple[Any, Any, Any]:
    """`depth` blocks over sequences of tokens."""
    import graphc
    from graphc import nn

    x, labels = (graphc.placeholder(name, ("batch", LENGTH), "int64") for name in ("x", "labels"))
    blocks = [nn.TransformerBlock(HEADS, causal=True) for _ in range(depth)]
    embeddings = nn.Embedding(LENGTH, width), nn.PositionEmbedding(LENGTH)
    scores = nn.Sequential(*embeddings, *blocks, nn.LayerNorm(), nn.Dense(LENGTH))(x)
    return x, labels, nn.softmax_cross_entropy(scores, labels).mean()


FAMILIES: dict[str, Callable[[int, int], tuple[Any, Any, Any]]] = {
    "mlp": mlp,
    "residual": residual,
    "transformer": transformer,
}


def batch_of(family: str, batch: int, width: int) -> tuple[Any, Any]:
    """Arrays for the input and the labels."""
    import numpy as np

    generator = np.random.default_rng(0)
    if family == "transformer":
        return tuple(generator.integers(0, LENGTH, (2, batch, LENGTH)))
    return generator.standard_normal((batch, width), np.float32), generator.integers(0, CLASSES, batch)


def flops(family: str, batch: int, depth: int, width: int) -> float:
    """Operations of the contractions of a step: forward and both gradients, two for each multiply-add."""
    if family == "transformer":
        tokens = batch * LENGTH
        block = 12 * width * width + 2 * LENGTH * width  # projections and feed-forward; scores and mixing
        return 6.0 * tokens * (depth * block + width * LENGTH)
    layers = 2 * depth if family == "residual" else depth
    return 6.0 * batch * width * (layers * width + CLASSES)


def run(text: str, threads: int, seconds: float | None) -> Row:
    """Build and compile one network, and time its steps if told for how long."""
    import graphc
    from graphc import compiler, optim

    family, *sizes = text.split(":")
    batch, depth, width = map(int, sizes)
    stages: dict[str, float] = {}
    compiler.OBSERVERS[:] = [lambda name, product, spent: stages.update({name: spent})]
    arrays = batch_of(family, batch, width)
    clock = time.perf_counter
    start = clock()
    x, labels, loss = FAMILIES[family](depth, width)
    fetches = [loss, optim.Adam(1e-3).minimize(loss)]
    session = graphc.Session(threads=threads, seed=0)
    build_s, start = clock() - start, clock()
    program = graphc.compile([x, labels], fetches, session=session)
    compile_s, start = clock() - start, clock()
    program(*arrays)
    first_s = clock() - start
    assert program.source is not None
    row = {
        "family": family,
        "batch": batch,
        "depth": depth,
        "width": width,
        "threads": threads,
        "flop": flops(family, batch, depth, width),
        "nodes": len(program.graph.nodes),
        "kernels": program.kernels,
        "distinct": len(set(program.source.texts)),
    }
    if seconds is None:
        parts = {"build_s": build_s, "stages_s": sum(stages.values())}
        row |= parts | {"kernels_s": compile_s - parts["stages_s"], "step_s": first_s}
        return row | {"seconds": build_s + compile_s + first_s}
    row["seconds"] = best_seconds(lambda: program(*arrays), seconds, window=min(0.1, seconds / 2))
    session.close()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Time steps, or compiling, of networks of given sizes.")
    parser.add_argument("what", choices=["step", "compile"])
    parser.add_argument("networks", nargs="+", metavar="FAMILY:BATCH:DEPTH:WIDTH")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3)
    args = parser.parse_args()
    limit_processors(args.threads)
    seconds = args.seconds if args.what == "step" else None
    print(json.dumps([run(network, args.threads, seconds) for network in args.networks]))


if __name__ == "__main__":
    main()
