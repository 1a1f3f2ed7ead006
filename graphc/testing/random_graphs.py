"""Random graphs for property tests: hypothesis strategies over the ops of the registry.

A graph is grown: from a few placeholders, each step draws an op, draws operands among what is there already, and adds
the result. Shapes are made of one named dim and small sizes, so that broadcasting, slices, reductions and products
meet often. Functions are taken from the registry; what could leave the range in which errors can be judged (``exp`` of
an ``exp``) is squashed by ``tanh`` first.

How far two computations of one graph may differ is measured, not guessed (:func:`sensitivity`): the graph is computed
again with every rounded result moved by a few units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphc import ops as _ops
from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.symbolic import RUN_SIZES, Dim
from graphc.ir.types import is_float
from graphc.ops.base import Elementwise
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.passes.streams import number_streams
from graphc.runtime.reference import sizes_of
from graphc.testing.compare import ROUNDED, is_exact_node

Array = NDArray[Any]
Draw = Callable[[Any], Any]
ops: Any = _ops
"""Its attributes are made when it is imported, from the registry."""

DIM = "n"
SIZES = (1, 2, 3, 5, DIM)
DTYPES = ("float32", "float64", "int64", "bool")
TAME = frozenset(
    {"tanh", "sigmoid", "sin", "cos", "erf", "abs", "negative", "sign", "relu", "floor", "ceil", "trunc", "round"}
)
"""Functions of one number that keep it about as large as it was."""

RECENT = 4
"""Operands are drawn among so many of the latest tensors that fit."""

ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide", "floor_divide", "remainder", "sqrt"})
"""Functions whose results are rounded, if only in one way."""

MOVED_UNITS = 4
"""Units in the last place by which :func:`sensitivity` moves rounded results."""

TRIALS = 4


@dataclass(frozen=True, eq=False)
class RandomGraph:
    """A graph and arrays to feed it.

    Attributes
    ----------
    inputs, outputs : tuple of Tensor
    arrays : tuple of ndarray
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arrays: tuple[Array, ...]


def unary_names() -> list[str]:
    """Names of the elementwise functions of one tensor and nothing else."""
    ops_of_one = (op for op in REGISTRY.values() if isinstance(op, Elementwise) and op.arguments == ("x",))
    return sorted(op.name for op in ops_of_one if op.public and not any(sample.attributes for sample in op.samples))


def binary_names() -> list[str]:
    """Names of the elementwise functions of two tensors."""
    found = (name for name, op in REGISTRY.items() if isinstance(op, Elementwise) and op.arguments == ("x", "y"))
    return sorted(set(found) - {"power"})


def reduction_names() -> list[str]:
    """Names of the reductions."""
    return sorted(name for name, op in REGISTRY.items() if op.kind == "reduction" and op.public)


class _Grower:
    """Adds nodes to a list of tensors, as a drawing function says."""

    def __init__(self, draw: Draw, tensors: Sequence[Any]):
        self.draw, self.tensors = draw, list(tensors)

    def grow(self) -> None:
        """Try one step; a combination that graphc refuses adds nothing."""
        steps = (
            *[self._unary] * 2, *[self._binary] * 3, self._where, self._reduce, self._move, self._slice, self._product,
            self._cast, self._running, self._take, self._scan, self._choose, self._repeat,
        )  # fmt: skip
        step = self.draw(st.sampled_from(steps))
        try:
            made = step()
        except GraphcError:
            return
        self.tensors += [tensor for tensor in made if tensor.ndim <= 4]

    def pick(self, condition: Callable[[Any], bool] = lambda tensor: True) -> Any:
        """One of the latest tensors, so that graphs grow deep."""
        fitting = [tensor for tensor in self.tensors if condition(tensor)][-RECENT:]
        if not fitting:
            raise GraphcError("no tensor fits")
        return self.draw(st.sampled_from(fitting[::-1]))

    def axis(self, tensor: Any) -> int:
        """One of the axes of a tensor."""
        if not tensor.ndim:
            raise GraphcError("a scalar has no axis")
        return self.draw(st.integers(0, tensor.ndim - 1))

    def _unary(self) -> list[Any]:
        name = self.draw(st.sampled_from(unary_names()))
        x = self.pick()
        return [REGISTRY[name](x if name in TAME or not is_float(x.dtype) else ops.tanh(x) * 2 + 4)]

    def _binary(self) -> list[Any]:
        name = self.draw(st.sampled_from(binary_names()))
        return [REGISTRY[name](self.pick(), self.pick())]

    def _where(self) -> list[Any]:
        return [ops.where(self.pick() > self.pick(), self.pick(), self.pick())]

    def _reduce(self) -> list[Any]:
        name = self.draw(st.sampled_from(reduction_names()))
        x = self.pick()
        axis = self.draw(st.sampled_from([None, *range(x.ndim)]))
        if name in ("prod", "argmax", "argmin") and axis is None and x.ndim:
            axis = 0
        return [REGISTRY[name](ops.tanh(x) if name == "prod" else x, axis=axis, keepdims=self.draw(st.booleans()))]

    def _move(self) -> list[Any]:
        x = self.pick(lambda tensor: tensor.ndim > 0)
        kind = self.draw(st.sampled_from(("permute", "flatten", "concat", "expand", "pad", "flip")))
        if kind == "permute":
            return [ops.permute_dims(x, self.draw(st.permutations(range(x.ndim))))]
        if kind == "flatten":
            return [ops.reshape(x, (-1,))]
        if kind == "concat":
            return [ops.concat([x, x * 2], axis=self.axis(x))]
        if kind == "pad":
            return [ops.pad(x, self.draw(st.integers(0, 2)))]
        return [ops.flip(x, self.axis(x))] if kind == "flip" else [ops.reshape(x, (1, *x.shape))]

    def _slice(self) -> list[Any]:
        x = self.pick(lambda tensor: tensor.ndim > 0)
        bounds = st.one_of(st.none(), st.integers(-4, 4))
        steps = st.sampled_from((None, 1, 2, -1, -2))
        return [x[tuple(slice(self.draw(bounds), self.draw(bounds), self.draw(steps)) for _ in x.shape)]]

    def _product(self) -> list[Any]:
        x, y = (self.pick(lambda tensor: is_float(tensor.dtype) and tensor.ndim > 0) for _ in range(2))
        if x.ndim == y.ndim == 2 and x.shape[1] != y.shape[0]:
            y = ops.permute_dims(y) if x.shape[1] == y.shape[1] else y
        return [ops.matmul(x, y)]

    def _cast(self) -> list[Any]:
        x = self.pick()
        dtype = self.draw(st.sampled_from(DTYPES))
        return [ops.cast(ops.tanh(x) * 5 if is_float(x.dtype) and dtype == "int64" else x, dtype)]

    def _running(self) -> list[Any]:
        x = self.pick()
        return [ops.cumulative_sum(x, axis=self.axis(x))]

    def _take(self) -> list[Any]:
        x = self.pick(lambda tensor: tensor.ndim > 0)
        axis = self.axis(x)
        static = x.shape[axis]
        if isinstance(static, Dim) or static == 0:
            raise GraphcError("indices are drawn for static sizes")
        indices = self.draw(st.lists(st.integers(-static, static - 1), min_size=1, max_size=4))
        return [ops.take(x, np.array(indices), axis=axis)]

    def _scan(self) -> list[Any]:
        x = self.pick(lambda tensor: is_float(tensor.dtype) and tensor.ndim > 0)
        start = ops.sum(x, axis=0) * 0

        def body(carry: Any, row: Any) -> tuple[Any, Any]:
            carry = ops.tanh(carry + row)
            return carry, carry * row

        last, rows = ops.scan(body, start, x)
        return [last, rows]

    def _choose(self) -> list[Any]:
        x, y = self.pick(lambda tensor: is_float(tensor.dtype)), self.pick(lambda tensor: is_float(tensor.dtype))
        holds = ops.any(ops.isfinite(y))  # a comparison could turn out otherwise by a rounding
        condition = ops.logical_not(holds) if self.draw(st.booleans()) else holds
        return [ops.cond(condition, lambda a: ops.sin(a) + a, lambda a: a * 0.5, x)]

    def _repeat(self) -> list[Any]:
        x = self.pick(lambda tensor: is_float(tensor.dtype))
        most = self.draw(st.integers(0, 4))
        return [ops.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, ops.tanh(c[1]) + x), (0, x), most)[1]]


@st.composite
def random_graphs(draw: Draw, *, most_steps: int = 20, derivatives: bool = True) -> RandomGraph:
    """Graphs of up to ``most_steps`` drawn nodes, with derivatives among the outputs half of the time.

    Parameters
    ----------
    most_steps : int
    derivatives : bool
        Whether outputs may hold gradients by the float inputs.
    """
    length = draw(st.sampled_from((1, 2, 4, 7, 17, 40)))
    inputs, arrays = [], []
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    for place in range(draw(st.integers(1, 3))):
        dtype = draw(st.sampled_from(("float32", "float32", "float64", "int64")))
        shape = tuple(draw(st.lists(st.sampled_from(SIZES), max_size=3)))
        inputs.append(ops.placeholder(f"x{place}", shape, dtype))
        values = generator.normal(size=tuple(length if size == DIM else size for size in shape))
        arrays.append(np.asarray(np.round(values * 3) if dtype == "int64" else values).astype(dtype))
    grower = _Grower(draw, inputs)
    for _ in range(draw(st.integers(most_steps // 2, most_steps))):
        grower.grow()
    outputs = list(dict.fromkeys(grower.tensors[-draw(st.integers(1, 3)) :]))
    floats = [tensor for tensor in inputs if is_float(tensor.dtype)]
    smooth = [tensor for tensor in outputs if is_float(tensor.dtype)]
    if derivatives and floats and smooth and draw(st.booleans()):
        outputs += ops.gradients(ops.sum(smooth[0]), floats, zeros_for_disconnected=True)
    return RandomGraph(tuple(inputs), tuple(outputs), tuple(arrays))


def sensitivity(graph: RandomGraph) -> list[Array]:
    """How much each element of the outputs changes when every rounded result on the way changes in its last places.

    Parameters
    ----------
    graph : RandomGraph

    Returns
    -------
    list of ndarray
        The largest change seen, infinite where a value appears or vanishes; float64, of the outputs' shapes.
    """
    expanded = decompose(differentiate(number_streams(Graph(graph.inputs, graph.outputs))))
    feeds = dict(zip(graph.inputs, graph.arrays, strict=True))
    token = RUN_SIZES.set(sizes_of(feeds))
    try:
        with np.errstate(all="ignore"):
            base = _computed(expanded, feeds, None)
            found = [np.zeros(np.shape(value)) for value in base]
            for trial in range(TRIALS):
                moved = _computed(expanded, feeds, np.random.default_rng(trial))
                for change, before, after in zip(found, base, moved, strict=True):
                    np.maximum(change, _distance(before, after), out=change)
    finally:
        RUN_SIZES.reset(token)
    return found


def _computed(graph: Graph, feeds: Mapping[Tensor, Array], generator: np.random.Generator | None) -> list[Array]:
    """The outputs, op by op in NumPy; with a generator, rounded results are moved by a few units."""
    known = dict(feeds)
    for node in graph.nodes:
        if node.results[0] in known:
            continue
        made = node.op.compute(node, *(known[tensor] for tensor in node.inputs))
        for tensor, array in zip(node.results, made if isinstance(made, tuple) else (made,), strict=True):
            rounded = generator is not None and is_float(tensor.dtype) and not is_exact_node(node, ROUNDED | ARITHMETIC)
            known[tensor] = _moved(np.asarray(array), generator) if rounded else np.asarray(array)  # type: ignore[arg-type]
    return [known[tensor] for tensor in graph.outputs]


def _moved(array: Array, generator: np.random.Generator) -> Array:
    units = generator.integers(-MOVED_UNITS, MOVED_UNITS + 1, array.shape)
    return np.asarray(array + units * np.spacing(np.abs(array))).astype(array.dtype)


def _distance(before: Array, after: Array) -> Array:
    """Elementwise; infinite where one is finite and the other is not the same."""
    same = (before == after) | ((before != before) & (after != after))
    step = np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64))
    return np.where(same, 0.0, np.where(np.isnan(step), np.inf, step))
