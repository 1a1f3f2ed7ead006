"""Products summed over shared axes: one primitive, and the functions made of it.

``contract(a, b, spec="mk,kn->mn")`` labels the axes of its operands and its result, as ``einsum`` does. A label in
all three is a batch, one in an operand and the result is kept, one in both operands alone is summed over. Every
derivative of a contraction is a contraction with its labels moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Contraction, Sample, op
from graphc.ir.symbolic import Size
from graphc.ir.types import (
    FLOATS,
    INTEGERS,
    NAMES,
    Shape,
    TensorType,
    broadcast_shapes,
    is_whole,
    normalize_axis,
    ordered_axes,
)
from graphc.ops.base import given, promote, require, shown
from graphc.ops.logic import cast, not_equal, require_numbers
from graphc.ops.samples import integers, normal

__all__ = ["matmul", "outer", "tensordot", "vecdot"]

_LETTERS = "bcdefghijlopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@op
class contract(Contraction):
    """Two tensors multiplied and summed over the labels that the result lacks (``spec``, as in ``einsum``)."""

    public = False
    dtypes = (*INTEGERS, *FLOATS)
    samples = (
        Sample(normal(2, 3), normal(3, 4), spec="mk,kn->mn"),
        Sample(normal(3, 2), normal(4, 3), spec="km,nk->mn"),
        Sample(normal(2, 3, 4), normal(2, 4, 5), spec="bmk,bkn->bmn"),
        Sample(normal(2, 3), normal(2, 3), spec="mk,mk->m"),
        Sample(normal(3), normal(4), spec="m,n->nm"),
        Sample(normal(2, 5, 3), normal(2, 3), spec="bmk,bk->m"),
        Sample(integers(2, 3), integers(3, 4), spec="mk,kn->mn", differentiable=False),
    )

    def __call__(self, a: Any, b: Any, spec: str) -> Tensor:
        a, b = _operands("contract", a, b)
        require_numbers("contract", a)
        return self.make(a, b, spec=spec)

    def infer(self, *inputs: Tensor, spec: str) -> TensorType:
        a, b = inputs
        left, right, out = _split(spec)
        if a.dtype != b.dtype or NAMES[a.dtype] not in self.dtypes:
            raise DTypeError(f"contract: expected numbers of one dtype, got {a.type} and {b.type}", operands=(a, b))
        sizes: dict[str, Size] = {}
        for labels, tensor in ((left, a), (right, b)):
            if len(labels) != tensor.ndim:
                raise ShapeError(
                    f"contract: the labels {labels!r} don't fit the shape {shown(tensor)}", operands=(tensor,)
                )
            for label, size in zip(labels, tensor.shape, strict=True):
                if sizes.setdefault(label, size) != size:
                    raise ShapeError(
                        f"contract {spec}: axis {label!r} has sizes {sizes[label]} and {size}: "
                        f"{shown(a)} and {shown(b)}",
                        operands=(tensor,),
                    )
        return TensorType(tuple(sizes[label] for label in out), a.dtype)

    def labels(self, node: Node) -> tuple[str, str, str]:
        return _split(node["spec"])

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with np.errstate(all="ignore"):
            return np.asarray(np.einsum(node["spec"], *inputs)).astype(node.result.dtype, copy=False)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (a, b), (g,) = node.inputs, cotangents
        left, right, out = _split(node["spec"])
        return _towards(g, out, b, right, a, left), _towards(g, out, a, left, b, right)


def _operands(name: str, a: Any, b: Any) -> list[Tensor]:
    """Two tensors of one dtype."""
    return promote(name, (a, b))


def product_of_pair(a: Tensor, b: Tensor, spec: str) -> Tensor:
    """:class:`contract` of any dtype: of bools, whether any product holds.

    Bools are counted in float32, which has the fast kernels: a sum of ones and zeros is 0 only if all are 0.
    """
    if a.dtype.kind != "b":
        return contract.make(a, b, spec=spec)
    counted = contract.make(cast(a, "float32"), cast(b, "float32"), spec=spec)
    return not_equal(counted, 0)


def _split(spec: str) -> tuple[str, str, str]:
    operands, _, out = spec.partition("->")
    left, _, right = operands.partition(",")
    for labels in (left, right, out):
        if len(set(labels)) != len(labels):
            raise GraphError(f"contract: a label occurs twice in {labels!r} of {spec!r}")
    if not set(out) <= set(left + right):
        raise GraphError(f"contract: the result's labels are not all in the operands of {spec!r}")
    return left, right, out


def _towards(g: Tensor, out: str, other: Tensor, other_labels: str, target: Tensor, labels: str) -> Tensor:
    """Cotangent of one operand: contract with the other, then repeat along labels that only this operand had."""
    known = "".join(label for label in labels if label in out + other_labels)
    result = contract.make(g, other, spec=f"{out},{other_labels}->{known}")
    if known == labels:
        return result
    shape = tuple(size if label in known else 1 for label, size in zip(labels, target.shape, strict=True))
    return REGISTRY["broadcast_to"](REGISTRY["reshape"](result, shape), target.shape)


def matmul(a: Any, b: Any) -> Tensor:
    """Matrix product with NumPy's rules: vectors, matrices, and batches that broadcast.

    Parameters
    ----------
    a : Tensor
        ``(..., m, k)``, or ``(k,)``.
    b : Tensor
        ``(..., k, n)``, or ``(k,)``.

    Returns
    -------
    Tensor
        ``(..., m, n)``, without the axes of vectors.

    Raises
    ------
    ShapeError
        If the inner dimensions differ, an operand is a scalar, or the batches do not broadcast.
    """
    a, b = _operands("matmul", a, b)
    both = f"{shown(a)} @ {shown(b)}"
    require(a.ndim > 0 and b.ndim > 0, ShapeError, f"matmul: expected vectors or matrices, got {both}", a, b)
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    require(
        a.shape[-1] == inner, ShapeError, f"matmul: inner dimensions differ: {both}", a, b,
        hint=_transpose_hint(a, b),
    )  # fmt: skip
    left = "mk" if a.ndim > 1 else "k"
    right = "kn" if b.ndim > 1 else "k"
    out = left[:-1] + right[1:]
    batch_a, batch_b = a.shape[:-2], b.shape[:-2]
    if not batch_b:  # one matrix for all: the batch axes are rows like any others
        labels = _LETTERS[: len(batch_a)]
        return product_of_pair(a, b, f"{labels}{left},{right}->{labels}{out}")
    try:
        batch = broadcast_shapes(batch_a, batch_b)
    except ShapeError as error:
        raise ShapeError(f"matmul: batch {error.said}: {both}", operands=(b,)) from None
    labels = _LETTERS[: len(batch)]
    a_labels, a = _batched(a, batch, labels, len(left))
    b_labels, b = _batched(b, batch, labels, len(right))
    return product_of_pair(a, b, f"{a_labels}{left},{b_labels}{right}->{labels}{out}")


def _batched(tensor: Tensor, batch: Shape, labels: str, core: int) -> tuple[str, Tensor]:
    """Labels of an operand's batch axes; axes of size 1 that meet larger ones are dropped instead of repeated."""
    own = tensor.shape[: tensor.ndim - core]
    pairs = list(zip(labels[len(labels) - len(own) :], own, batch[len(batch) - len(own) :], strict=True))
    kept = [(label, size) for label, size, full in pairs if size == full]
    if len(kept) < len(own):
        tensor = REGISTRY["reshape"](tensor, (*(size for _, size in kept), *tensor.shape[tensor.ndim - core :]))
    return "".join(label for label, _ in kept), tensor


def _transpose_hint(a: Tensor, b: Tensor) -> str | None:
    if b.ndim > 1 and a.shape[-1] == b.shape[-1]:
        return "transpose the right operand: b.mT"
    if a.ndim > 1 and b.ndim > 1 and a.shape[-2] == b.shape[-2]:
        return "transpose the left operand: a.mT"
    return None


def tensordot(a: Any, b: Any, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """Two tensors multiplied and summed over pairs of axes.

    Parameters
    ----------
    a, b : Tensor or array_like
    axes : int or (sequence of int, sequence of int)
        The last so many axes of ``a`` with the first of ``b``, or the axes of each that go together (or one axis each).

    Returns
    -------
    Tensor
        The remaining axes of ``a``, then those of ``b``.

    Raises
    ------
    ShapeError
        If the axes are out of range, named twice, or differ in number or size.
    """
    a, b = _operands("tensordot", a, b)
    if is_whole(axes):
        enough = 0 <= axes <= min(a.ndim, b.ndim)
        require(enough, ShapeError, f"tensordot: {shown(a)} and {shown(b)} do not have {axes} axes each", a, b)
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    elif not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise ShapeError(f"tensordot: expected a number of axes or a pair of lists of them, got {given(axes)}")
    else:
        left, right = (
            list(ordered_axes(own, tensor.ndim, "tensordot")) for own, tensor in zip(axes, (a, b), strict=True)
        )
    require(
        len(left) == len(right) and all(a.shape[i] == b.shape[j] for i, j in zip(left, right, strict=True)), ShapeError,
        f"tensordot: axes {left} of {shown(a)} do not go with axes {right} of {shown(b)}", a, b,
    )  # fmt: skip
    labels = _LETTERS[: a.ndim + b.ndim]
    of_a, of_b = list(labels[: a.ndim]), list(labels[a.ndim :])
    for i, j in zip(left, right, strict=True):
        of_b[j] = of_a[i]
    kept = [x for k, x in enumerate(of_a) if k not in left] + [x for k, x in enumerate(of_b) if k not in right]
    return product_of_pair(a, b, f"{''.join(of_a)},{''.join(of_b)}->{''.join(kept)}")


def outer(a: Any, b: Any) -> Tensor:
    """Outer product of two vectors, ``(m,)`` and ``(n,)`` -> ``(m, n)``."""
    a, b = _operands("outer", a, b)
    require(a.ndim == b.ndim == 1, ShapeError, f"outer: expected two vectors, got {shown(a)} and {shown(b)}", a, b)
    return product_of_pair(a, b, "m,n->mn")


def vecdot(a: Any, b: Any, axis: int = -1) -> Tensor:
    """Dot products along an axis of two tensors.

    Parameters
    ----------
    a, b : Tensor or array_like
        Of one size along ``axis``; the other axes broadcast.
    axis : int
        Negative, if the ranks differ.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If the axis is out of range, its sizes differ, or the other axes do not broadcast.
    """
    a, b = _operands("vecdot", a, b)
    left, right = (_with_last("vecdot", tensor, axis) for tensor in (a, b))
    if left.shape[-1] != right.shape[-1]:
        raise ShapeError(f"vecdot: expected one size along axis {axis}, got {shown(a)} and {shown(b)}", operands=(a, b))
    try:
        batch = broadcast_shapes(left.shape[:-1], right.shape[:-1])
    except ShapeError as error:
        raise ShapeError(f"vecdot: besides axis {axis}, {error.said}", operands=(a, b)) from None
    labels = _LETTERS[: len(batch)]
    (of_left, left), (of_right, right) = (_batched(tensor, batch, labels, 1) for tensor in (left, right))
    return product_of_pair(left, right, f"{of_left}k,{of_right}k->{labels}")


def _with_last(name: str, tensor: Tensor, axis: int) -> Tensor:
    """An axis moved behind the others."""
    place = normalize_axis(axis, tensor.ndim, name)
    return REGISTRY["permute_dims"](tensor, (*(k for k in range(tensor.ndim) if k != place), place))
