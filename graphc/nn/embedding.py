"""Embeddings: tables of vectors that are learned, one for each token or each position."""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.errors import DTypeError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim
from graphc.ir.types import as_dtype, format_shape, is_float, is_integer
from graphc.nn import initializers
from graphc.nn.initializers import Initializer
from graphc.nn.layers import Layer, require_axes, require_count, static_sizes
from graphc.ops.indexing import in_range


class Embedding(Layer):
    """The row of a table for each token.

    Parameters
    ----------
    vocabulary : int
        Number of tokens, which are the integers below it.
    width : int
        Size of a row.
    initializer : callable
        Default: normal with standard deviation 1.
    dtype : dtype
        Of the table.
    name : str, optional

    Notes
    -----
    Input ``(...)`` of integers; table ``(vocabulary, width)``; result ``(..., width)``. A token out of range fails the
    step when the program runs, with IndexOutOfRangeError; so does a negative one, which is no index from the end: -1
    stands for padding in many data sets.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        initializer: Initializer | None = None,
        dtype: Any = "float32",
        name: str | None = None,
    ):
        super().__init__(name)
        self.vocabulary = require_count("Embedding", "size of the vocabulary", vocabulary)
        self.width = require_count("Embedding", "width", width)
        self.dtype = as_dtype(dtype)
        if not is_float(self.dtype):
            raise DTypeError(f"Embedding: expected a table of float32 or float64, got {self.dtype}")
        self.initializer = initializers.normal(1.0) if initializer is None else initializer

    def build(self, x: Tensor) -> None:
        self.table = self.variable("table", self.initializer, (self.vocabulary, self.width), self.dtype)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not is_integer(x.dtype):
            raise DTypeError(
                f"Embedding: expected integer tokens, got {x.type}",
                operands=(x,),
                hint='declare the placeholder with dtype "int64"',
            )
        return ops.take(self.table, in_range(x, self.vocabulary), axis=0)


class PositionEmbedding(Layer):
    """Adds to each position of a sequence a vector of its own.

    Parameters
    ----------
    length : int
        Number of positions that have a vector: the longest sequence.
    initializer : callable
        Default: normal with standard deviation 0.02.
    name : str, optional

    Notes
    -----
    Input ``(..., positions, width)`` float, ``width`` static; table ``(length, width)``; result like the input. More
    positions than the table has are a ShapeError, or an IndexOutOfRangeError of the step if their number is a named
    dim.
    """

    def __init__(self, length: int, *, initializer: Initializer | None = None, name: str | None = None):
        super().__init__(name)
        self.length = require_count("PositionEmbedding", "number of positions", length)
        self.initializer = initializers.normal(0.02) if initializer is None else initializer

    def build(self, x: Tensor) -> None:
        (width,) = static_sizes("PositionEmbedding", x, 1)
        self.table = self.variable("table", self.initializer, (self.length, width), x.dtype)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        require_axes("PositionEmbedding", "(..., positions, width)", x)
        count = x.shape[-2]
        if isinstance(count, Dim):
            return x + ops.take(self.table, ops.arange(count), axis=0)
        if count > self.length:
            raise ShapeError(
                f"PositionEmbedding: expected at most {self.length} positions, got {format_shape(x.shape)}",
                operands=(x,),
                hint="the layer was made for a shorter sequence",
            )
        return x + self.table[:count]
