"""The reference interpreter: op by op in NumPy, in the plainest way. It is the oracle of every test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import FeedError
from graphc.ir.graph import topological
from graphc.ir.node import Tensor
from graphc.ir.symbolic import RUN_SIZES, Dim, Name, terms_of

Array = NDArray[Any]


def sizes_of(values: Mapping[Tensor, Array]) -> dict[str, int]:
    """Values of the named dims, read off the shapes of fed arrays."""
    sizes: dict[str, int] = {}
    for tensor, array in values.items():
        for declared, size in zip(tensor.shape, np.shape(array), strict=True):
            if isinstance(declared, Dim):
                ((monomial, factor), *rest) = terms_of(declared)
                if not rest and factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Name):
                    sizes[monomial[0].name] = size
    return sizes


def evaluate(tensors: Sequence[Tensor], values: Mapping[Tensor, Array]) -> list[Array]:
    """Values of tensors.

    Parameters
    ----------
    tensors : sequence of Tensor
    values : mapping of Tensor to ndarray
        A value for every leaf: placeholders, variables, the random state. Constants carry their own.

    Returns
    -------
    list of ndarray

    Raises
    ------
    FeedError
        If a leaf has no value.
    """
    known: dict[Tensor, Array] = {tensor: np.asarray(array) for tensor, array in values.items()}
    token = RUN_SIZES.set(sizes_of(values))
    try:
        for node in topological(tensors, stop=lambda node: node.results[0] in known):
            if node.results[0] in known:
                continue
            if node.op.kind == "source" and node.op.name != "constant":
                raise FeedError(f"no value for {node.result.name!r}", origin=node.origin)
            if node.op.kind == "effect":
                known[node.result] = known[node.inputs[1]]
                continue
            made = node.op.compute(node, *(known[tensor] for tensor in node.inputs))
            results = made if isinstance(made, tuple) else (made,)
            for tensor, array in zip(node.results, results, strict=True):
                known[tensor] = np.asarray(array)
    finally:
        RUN_SIZES.reset(token)
    return [known[tensor] for tensor in tensors]
