"""The agreed workloads as graphc graphs and as batches of data: what graphc_engine.py times and equal_work.py compares.

Each does the work of its namesake in peers.py. The batch is a named dim, as in any user's program, so the compiler
does not know its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc
from graphc import nn

TOKENS, LENGTH, WIDTH, HEADS, BLOCKS = 64, 64, 128, 4, 4
LAYERS = {"tiny": [2, 16, 16, 2], "mlp": [784, 256, 128, 10], "mlp-large": [784, 1024, 1024, 10]}


@dataclass(frozen=True)
class Workload:
    """A network with its loss, and a batch for it.

    Attributes
    ----------
    declare : callable
        From the dtype of the weights to input, labels and mean loss.
    batch : callable
        From a generator and that dtype to an array for the input and one for the labels.
    """

    declare: Callable[[str], tuple[graphc.Tensor, graphc.Tensor, graphc.Tensor]]
    batch: Callable[[np.random.Generator, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def perceptron(name: str, rows: int) -> Workload:
    """Dense layers with tanh (tiny) or ReLU between them."""
    first, *widths = LAYERS[name]

    def declare(dtype: str) -> tuple[graphc.Tensor, graphc.Tensor, graphc.Tensor]:
        activation = nn.tanh if name == "tiny" else nn.relu
        layers = [nn.Dense(width, activation) for width in widths[:-1]]
        x = graphc.placeholder("x", ("batch", first), dtype)
        labels = graphc.placeholder("labels", ("batch",), "int64")
        scores = nn.Sequential(*layers, nn.Dense(widths[-1]))(x)
        return x, labels, nn.softmax_cross_entropy(scores, labels).mean()

    def batch(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return rng.normal(size=(rows, first)).astype(dtype), rng.integers(0, widths[-1], rows)

    return Workload(declare, batch)


def transformer(rows: int) -> Workload:
    """Predict each character from those before it: embeddings, causal pre-norm blocks, a norm and a projection."""

    def declare(dtype: str) -> tuple[graphc.Tensor, graphc.Tensor, graphc.Tensor]:
        x, labels = (graphc.placeholder(name, ("batch", LENGTH), "int64") for name in ("x", "labels"))
        blocks = [nn.TransformerBlock(HEADS, causal=True) for _ in range(BLOCKS)]
        embeddings = nn.Embedding(TOKENS, WIDTH, dtype=dtype), nn.PositionEmbedding(LENGTH)
        scores = nn.Sequential(*embeddings, *blocks, nn.LayerNorm(), nn.Dense(TOKENS))(x)
        return x, labels, nn.softmax_cross_entropy(scores, labels).mean()

    def batch(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return rng.integers(0, TOKENS, (rows, LENGTH)), rng.integers(0, TOKENS, (rows, LENGTH))

    return Workload(declare, batch)


WORKLOADS = {
    "tiny": perceptron("tiny", rows=32),
    "mlp": perceptron("mlp", rows=64),
    "mlp-large": perceptron("mlp-large", rows=512),
    "transformer": transformer(rows=16),
}
