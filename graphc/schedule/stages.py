"""A root as a stage: what its op computes, over loop variables, as scalar expressions of what is loaded.

:class:`~graphc.schedule.lower.Lowering` says which tensors are roots and what an element of any tensor is. A stage is
that element at loop variables: of the root itself for a map, of the operand for a reduction, and so on for each kind.

All loop variables come from one :class:`Pool`, by place in a result's shape and extent. Stages that run over equal
sizes so have the same variables, and whether one reads another *at the same point* is equality of expressions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.errors import CompileError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import (
    AxisScan,
    ChunkedReduction,
    Contraction,
    Effect,
    IndexedAccumulation,
    Map,
    MatrixRoutine,
    Reduction,
    RowRoutine,
    Source,
)
from graphc.ir.scalar import Load, Scalar
from graphc.ir.symbolic import Axis, Size, of_atom
from graphc.ir.types import Shape
from graphc.schedule import kernel as form
from graphc.schedule.kernel import Stage
from graphc.schedule.lower import Lowering, is_strided


class Pool:
    """Loop variables, one for each place of results' shapes and extent: all stages of all kernels take theirs here."""

    def __init__(self) -> None:
        self._axes: dict[tuple[int, Size], Axis] = {}
        self._shapes: dict[Shape, tuple[tuple[Axis, ...], tuple[Size, ...]]] = {}

    def axis(self, place: int, extent: Size) -> Axis:
        """The loop variable for a place of results' shapes."""
        axis = self._axes.get((place, extent))
        if axis is None:
            axis = self._axes[place, extent] = Axis(extent)
        return axis

    def axes(self, shape: Shape) -> tuple[Axis, ...]:
        """Loop variables over a shape."""
        return self._over(shape)[0]

    def index(self, shape: Shape) -> tuple[Size, ...]:
        """The same as an index of a tensor of that shape."""
        return self._over(shape)[1]

    def _over(self, shape: Shape) -> tuple[tuple[Axis, ...], tuple[Size, ...]]:
        found = self._shapes.get(shape)
        if found is None:
            axes = tuple([self.axis(place, extent) for place, extent in enumerate(shape)])
            found = self._shapes[shape] = axes, tuple(map(of_atom, axes))
        return found


def build_stage(lowering: Lowering, node: Node, pool: Pool, made: Collection[Tensor] = ()) -> Stage:
    """The stage that computes a root's node, in a kernel that makes some tensors already.

    Its ``axes`` are all axes of the result; those that the kernel comes to share are cut off at the end.
    """
    result = node.results[0]
    axes, index = pool.axes(result.shape), pool.index(result.shape)
    op = node.op
    nodes = _inlined_nodes(lowering, node, made)

    def read(place: int, at: Sequence[Size]) -> Scalar:
        return lowering.element(node.inputs[place], at, made)

    if isinstance(op, (Map, Effect)):
        return form.Map(node.results, axes, lowering.inlined(result, index, made), nodes=nodes)
    if isinstance(op, ChunkedReduction):
        axes = pool.axes(node.inputs[0].shape)
        value = read(0, [of_atom(axis) for axis in axes])
        return form.ReduceChunks(node.results, axes, node["chunks"], op.combine, value, nodes=nodes)
    if isinstance(op, Reduction):
        reduced = tuple(pool.axis(place, node.inputs[0].shape[place]) for place in node["axes"])
        reduced = tuple(Axis(axis.extent) if axis in axes else axis for axis in reduced)
        value = read(0, _merge(index, reduced, node["axes"]))
        return form.Reduce(node.results, axes, reduced, op.combine, value, nodes=nodes)
    if isinstance(op, Contraction):
        return _contraction(lowering, node, axes, nodes)
    if isinstance(op, AxisScan):
        value = read(0, index)
        return form.Scan(node.results, axes, axes[node["axis"]], op.combine, value, nodes=nodes)
    if isinstance(op, IndexedAccumulation):
        where = tuple(Axis(extent) for extent in op.contributions(node))
        destination, value = op.contribute(node, [of_atom(axis) for axis in where], read)
        start = op.start(node, index, read)
        return form.Accumulate(node.results, axes, where, tuple(destination), value, op.combine, start, nodes=nodes)
    if isinstance(op, RowRoutine):
        return _routine(node, pool, nodes)
    raise CompileError(f"op {op.name!r} of kind {op.kind!r} reached the scheduler", origin=node.origin)


def _merge(index: Sequence[Size], reduced: Sequence[Axis], places: Sequence[int]) -> list[Size]:
    """An index of a reduction's input: the kept positions with the reduced axes put in between."""
    kept, inner = iter(index), iter(reduced)
    rank = len(index) + len(reduced)
    return [of_atom(next(inner)) if place in places else next(kept) for place in range(rank)]


def _contraction(lowering: Lowering, node: Node, axes: tuple[Axis, ...], nodes: tuple[Node, ...]) -> Stage:
    op = node.op
    assert isinstance(op, Contraction)
    left_labels, right_labels, out_labels = op.labels(node)
    by_label = dict(zip(out_labels, axes, strict=True))
    for labels, tensor in ((left_labels, node.inputs[0]), (right_labels, node.inputs[1])):
        for label, extent in zip(labels, tensor.shape, strict=True):
            by_label.setdefault(label, Axis(extent))
    reduced = tuple(axis for label, axis in by_label.items() if label not in out_labels)
    operands: list[Load] = []
    for labels, tensor in ((left_labels, node.inputs[0]), (right_labels, node.inputs[1])):
        index = [of_atom(by_label[label]) for label in labels]
        load = lowering.element(tensor, index)
        if not is_strided(load, tuple(by_label.values())):  # a repeatable root: a gather, random numbers
            load = Load(tensor, index)
        operands.append(load)
    return form.Contract(node.results, axes, reduced, operands[0], operands[1], nodes=nodes)


def _routine(node: Node, pool: Pool, nodes: tuple[Node, ...]) -> Stage:
    op, shape = node.op, node.results[0].shape
    assert isinstance(op, RowRoutine)
    batch = pool.index(shape)[: len(shape) - op.core]
    values = []
    for place, (tensor, core) in enumerate(zip(node.inputs, op.input_cores, strict=True)):
        if place in op.awaited:
            continue
        own = pool.index(tensor.shape)
        outer = batch[len(batch) - (tensor.ndim - core) :] if tensor.ndim > core else ()
        outer = tuple(0 if size == 1 else at for at, size in zip(outer, tensor.shape, strict=False))
        values.append(Load(tensor, (*outer, *own[tensor.ndim - core :])))
    repeated = tuple(Axis(extent) for extent in op.repeats(node))
    checked = isinstance(op, MatrixRoutine) and bool(op.complaint)
    return form.Routine(
        node.results, pool.axes(shape), op.routine, tuple(values), dict(node.attributes), repeated, checked, nodes=nodes
    )


def _inlined_nodes(lowering: Lowering, node: Node, made: Collection[Tensor]) -> tuple[Node, ...]:
    """A root's node and the maps that are inlined into it."""
    found: dict[Node, None] = {}
    stack = [node]
    while stack:
        current = stack.pop()
        if current in found:
            continue
        found[current] = None
        for tensor in current.inputs:
            if not isinstance(tensor.node.op, Source) and not lowering.is_loaded(tensor, made):
                stack.append(tensor.node)
    return tuple(found)
