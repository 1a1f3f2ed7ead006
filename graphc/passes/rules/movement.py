"""Ops that move elements: one instead of two, none instead of one that changes nothing."""

from __future__ import annotations

from graphc.ir.node import Node, Tensor
from graphc.ops.joining import concat
from graphc.ops.views import broadcast_to, pad, permute_dims, reshape, strided_slice
from graphc.passes.rules.registry import Example, made_by, rule, sample


@rule("reshape", "broadcast_to", example=lambda: Example(reshape.make(sample(), shape=(2, 3)), {}))
def drop_move_to_same_shape(node: Node) -> Tensor | None:
    """reshape(x, shape of x) -> x, and so for broadcast_to"""
    return node.inputs[0] if node.inputs[0].shape == node.result.shape else None


@rule("reshape", example=lambda: Example(reshape(reshape(sample(), (6,)), (3, 2)), {"reshape": 1}))
def merge_reshapes(node: Node) -> Tensor | None:
    """reshape(reshape(x)) -> reshape(x)"""
    inner = made_by(node.inputs[0], "reshape")
    return reshape(inner.inputs[0], node.result.shape) if inner else None


def _broadcast_of_broadcast() -> Example:
    return Example(broadcast_to(broadcast_to(sample(), (4, 2, 3)), (5, 4, 2, 3)), {"broadcast_to": 1})


@rule("broadcast_to", example=_broadcast_of_broadcast)
def merge_broadcasts(node: Node) -> Tensor | None:
    """broadcast(broadcast(x)) -> broadcast(x)"""
    inner = made_by(node.inputs[0], "broadcast_to")
    return broadcast_to(inner.inputs[0], node.result.shape) if inner else None


def _broadcast_of_row() -> Example:
    return Example(broadcast_to(reshape(sample(shape=(3,)), (1, 3)), (2, 3)), {"broadcast_to": 1})


@rule("broadcast_to", example=_broadcast_of_row)
def drop_reshape_that_broadcast_does(node: Node) -> Tensor | None:
    """broadcast(reshape(x)) -> broadcast(x) where the reshape only adds axes of size 1 in front"""
    inner = made_by(node.inputs[0], "reshape")
    if inner is None:
        return None
    (x,), shape = inner.inputs, inner.result.shape
    added = len(shape) - x.ndim
    if added < 0 or shape[added:] != x.shape or any(size != 1 for size in shape[:added]):
        return None
    return broadcast_to(x, node.result.shape)


@rule("permute_dims", example=lambda: Example(permute_dims(permute_dims(sample(), (1, 0)), (1, 0)), {}))
def merge_permutations(node: Node) -> Tensor | None:
    """permute(permute(x)) -> permute(x), or x if the axes come back to their places"""
    inner = made_by(node.inputs[0], "permute_dims")
    if inner is None:
        return None
    return permute_dims(inner.inputs[0], [inner["axes"][axis] for axis in node["axes"]])


@rule("permute_dims", example=lambda: Example(permute_dims.make(sample(), axes=(0, 1)), {}))
def drop_identical_permutation(node: Node) -> Tensor | None:
    """permute(x, (0, 1, ...)) -> x"""
    return node.inputs[0] if node["axes"] == tuple(range(node.inputs[0].ndim)) else None


@rule("permute_dims", example=lambda: Example(permute_dims(sample(shape=(1, 3)), (1, 0)), {"reshape": 1}))
def reshape_instead_of_permuting_ones(node: Node) -> Tensor | None:
    """permute(x) -> reshape(x) where only axes of size 1 change their order"""
    (x,) = node.inputs
    moved = [axis for axis in node["axes"] if x.shape[axis] != 1]
    return reshape(x, node.result.shape) if moved == sorted(moved) else None


def _whole_slice() -> Example:
    return Example(strided_slice.make(sample(), starts=(0, 0), sizes=(2, 3), steps=(1, 1)), {})


@rule("strided_slice", example=_whole_slice)
def drop_slice_of_all(node: Node) -> Tensor | None:
    """x[:] -> x"""
    return _if_whole(node, node.inputs[0])


def _slice_of_slice() -> Example:
    inner = strided_slice(sample(shape=(9,)), (1,), (4,), (2,))
    return Example(strided_slice(inner, (1,), (3,), (1,)), {"strided_slice": 1})


@rule("strided_slice", example=_slice_of_slice)
def merge_slices(node: Node) -> Tensor | None:
    """x[a:][b:] -> x[a + b:], with steps"""
    inner = made_by(node.inputs[0], "strided_slice")
    if inner is None:
        return None
    places = zip(inner["starts"], inner["steps"], node["starts"], node["steps"], strict=True)
    starts, steps = zip(*((a + s * b, s * t) for a, s, b, t in places), strict=True) if node["starts"] else ((), ())
    return strided_slice(inner.inputs[0], starts, node.result.shape, steps)


def _slice_of_pad() -> Example:
    return Example(strided_slice(pad(sample(), 2), (2, 2), (2, 3), (1, 1)), {})


@rule("strided_slice", example=_slice_of_pad)
def drop_slice_that_undoes_pad(node: Node) -> Tensor | None:
    """pad(x)[where x is] -> x"""
    inner = made_by(node.inputs[0], "pad")
    if inner is None or (node["starts"], node["steps"]) != (inner["starts"], inner["steps"]):
        return None
    return inner.inputs[0] if inner.inputs[0].shape == node.result.shape else None


def _slice_of_concat() -> Example:
    joined = concat([sample(shape=(2, 3)), sample("y", shape=(4, 3))], axis=0)
    return Example(strided_slice(joined, (2, 0), (4, 3), (1, 1)), {})


@rule("strided_slice", example=_slice_of_concat)
def drop_slice_that_undoes_concat(node: Node) -> Tensor | None:
    """concat([x, y])[where y is] -> y"""
    inner = made_by(node.inputs[0], "concat")
    if inner is None or any(step != 1 for step in node["steps"]):
        return None
    for part, start in zip(inner.inputs, concat.offsets(inner), strict=True):
        starts = tuple(start if axis == inner["axis"] else 0 for axis in range(part.ndim))
        if node["starts"] == starts and part.shape == node.result.shape:
            return part
    return None


def _empty_pad() -> Example:
    return Example(pad.make(sample(), shape=(2, 3), starts=(0, 0), steps=(1, 1), value=0.0), {})


@rule("pad", example=_empty_pad)
def drop_empty_pad(node: Node) -> Tensor | None:
    """pad(x, 0) -> x"""
    return _if_whole(node, node.inputs[0])


def _if_whole(node: Node, x: Tensor) -> Tensor | None:
    """``x`` if a slice or pad keeps its shape and every element's place."""
    stays = all(start == 0 for start in node["starts"]) and all(step == 1 for step in node["steps"])
    return x if stays and x.shape == node.result.shape else None
