"""Random numbers as a pure function of where they are drawn.

The primitive is ``random_bits``: uint32 words from the counter-based generator of :mod:`graphc.ir.philox`. A word
depends on the session's seed, the count of training steps, the *stream* (which random node of the program it is)
and the element's number; on nothing else. So the workers need no state, and recomputing a value gives it again.

A node's stream is its place in its program, which is not known while the program is being declared: the attribute
``stream`` is None until the pass :mod:`graphc.passes.streams` numbers the nodes of a program.

Inside a loop the same node runs many times and must give fresh words each time. It then takes a second input, the
``counter`` of the iteration, and draws elements ``counter * size ...`` of its stream instead of the first ones.
Loops announce themselves by :func:`inside_loop` while their bodies are traced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Map, Read, op
from graphc.ir.philox import philox_reference
from graphc.ir.scalar import INT64, Apply, Position, Scalar, apply
from graphc.ir.symbolic import Size, concrete, product
from graphc.ir.types import Shape, TensorType, as_shape, row_major_strides
from graphc.ops.base import as_tensor
from graphc.ops.sizes import dim_size
from graphc.ops.sources import random_state

Array = np.ndarray[Any, Any]
UINT32 = np.dtype("uint32")

APART = 0x9E3779B97F4A7C15 - (1 << 64)
"""The golden section of 2**64, as int64. Its multiples, modulo 2**64, lie about as far from each other as so many
numbers can: runs of iterations that start there do not meet, however long."""

_loops: ContextVar[tuple[tuple[Tensor, Size | None], ...]] = ContextVar("graphc_loops", default=())


@contextmanager
def inside_loop(index: Tensor, length: Size | None) -> Iterator[None]:
    """Random nodes made inside are drawn afresh in each iteration.

    Parameters
    ----------
    index : Tensor
        int64 scalar, the number of the iteration.
    length : int, Dim or None
        Number of iterations, or a bound; None if there is none.
    """
    token = _loops.set((*_loops.get(), (index, length)))
    try:
        yield
    finally:
        _loops.reset(token)


def _counter() -> Tensor | None:
    """The number of the present iteration among those of all enclosing loops; None outside loops."""
    counter: Tensor | None = None
    for index, length in _loops.get():
        if counter is None:
            counter = index
        else:
            span = as_tensor(APART, INT64) if length is None else dim_size(length)
            counter = REGISTRY["add"](REGISTRY["multiply"](counter, span), index)
    return counter


@op
class random_bits(Map):
    """Uniform uint32 words. Inputs: the random state (uint64[2]: seed, step), and in loops the iteration's counter."""

    pure = False
    public = False
    differentiable = False
    dtypes = ("uint64",)

    def __call__(self, shape: Any) -> Tensor:
        counter = _counter()
        inputs = (random_state.make(),) if counter is None else (random_state.make(), counter)
        return self.make(*inputs, shape=as_shape(shape, "random"), stream=None)

    def infer(self, state: Tensor, counter: Tensor | None = None, *, shape: Shape, stream: int | None) -> TensorType:
        if state.type != TensorType((2,), np.dtype("uint64")):
            raise GraphError(f"random_bits: expected a state of type uint64[2], got {state.type}")
        if counter is not None and counter.type != TensorType((), INT64):
            raise ShapeError(f"random_bits: expected an int64 scalar as counter, got {counter.type}")
        return TensorType(shape, UINT32)

    def _stream(self, node: Node) -> int:
        if node["stream"] is None:
            raise GraphError("random_bits: the program's random streams are not numbered yet", origin=node.origin)
        return node["stream"]

    def compute(self, node: Node, *inputs: Array) -> Array:
        shape = concrete(node.result.shape)
        count = int(np.prod(shape, dtype=np.int64))
        first = int(inputs[1]) * count if len(inputs) > 1 else 0
        seed, step = (int(word) for word in inputs[0])
        elements = np.arange(count, dtype=np.uint64).reshape(shape) + np.uint64(first % (1 << 64))  # wraps around
        return philox_reference(seed, self._stream(node), step, elements)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        shape = node.result.shape
        strides = row_major_strides(shape)
        place: Scalar = Position(sum((i * stride for i, stride in zip(index, strides, strict=True)), start=0))
        if len(node.inputs) > 1:
            place = apply("add", apply("multiply", read(1, ()), Position(product(shape))), place)
        return Apply("random_bits", (read(0, (0,)), read(0, (1,)), place), UINT32, static=(self._stream(node),))


def unit(shape: Any, dtype: np.dtype[Any]) -> Tensor:
    """Uniform floats in [0, 1): multiples of 2**-24 (float32, one word) or 2**-53 (float64, two words)."""
    return REGISTRY["multiply"](_whole(shape, dtype, 24, 27), 2.0**-24 if dtype.name == "float32" else 2.0**-53)


def open_unit(shape: Any, dtype: np.dtype[Any]) -> Tensor:
    """Uniform floats in (0, 1), 0 and 1 excluded: odd multiples of 2**-24 (float32) or 2**-53 (float64).

    They lie symmetrically about 1/2, and a logarithm of one, or of 1 minus one, is finite.
    """
    middle = REGISTRY["add"](_whole(shape, dtype, 23, 26), 0.5)
    return REGISTRY["multiply"](middle, 2.0**-23 if dtype.name == "float32" else 2.0**-52)


def _whole(shape: Any, dtype: np.dtype[Any], single: int, high: int) -> Tensor:
    """Uniform whole numbers as floats: of ``single`` bits in float32, of ``high`` bits and 26 more in float64."""
    cast, multiply, add = (REGISTRY[name] for name in ("cast", "multiply", "add"))
    if dtype == np.dtype("float32"):
        return cast(_leading(shape, single), dtype)
    first = cast(_leading(shape, high), dtype)
    return add(multiply(first, 2.0**26), cast(_leading(shape, 26), dtype))


def _leading(shape: Any, count: int) -> Tensor:
    """The first bits of words, as uint32."""
    return REGISTRY["floor_divide"](random_bits(shape), 1 << (32 - count))


def long_words(shape: Any) -> Tensor:
    """Uniform uint64 words."""
    cast, multiply, add = (REGISTRY[name] for name in ("cast", "multiply", "add"))
    high = multiply(cast(random_bits(shape), "uint64"), 1 << 32)
    return add(high, cast(random_bits(shape), "uint64"))
