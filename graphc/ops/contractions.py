"""Products summed over shared axes: one primitive, and the functions made of it.

``contract(a, b, spec="mk,kn->mn")`` labels the axes of its operands and its result, as ``einsum`` does. A label in
all three is a batch, one in an operand and the result is kept, one in both operands alone is summed over. Every
derivative of a contraction is a contraction with its labels moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Contraction, Sample, op
from graphc.ir.symbolic import Size
from graphc.ir.types import FLOATS, INTEGERS, Shape, TensorType, broadcast_shapes
from graphc.ops.base import promote, require, shown

__all__ = ["einsum", "matmul", "outer", "vecdot"]

_generator = np.random.default_rng(13)
_LETTERS = "bcdefghijlopqrstuvwxyz"


@op
class contract(Contraction):
    """Two tensors multiplied and summed over the labels that the result lacks (``spec``, as in ``einsum``)."""

    public = False
    dtypes = (*INTEGERS, *FLOATS)
    samples = (
        Sample(_generator.normal(size=(2, 3)), _generator.normal(size=(3, 4)), spec="mk,kn->mn"),
        Sample(_generator.normal(size=(3, 2)), _generator.normal(size=(4, 3)), spec="km,nk->mn"),
        Sample(_generator.normal(size=(2, 3, 4)), _generator.normal(size=(2, 4, 5)), spec="bmk,bkn->bmn"),
        Sample(_generator.normal(size=(2, 3)), _generator.normal(size=(2, 3)), spec="mk,mk->m"),
        Sample(_generator.normal(size=3), _generator.normal(size=4), spec="m,n->nm"),
    )

    def __call__(self, a: Any, b: Any, spec: str) -> Tensor:  # type: ignore[override]
        return self.make(*promote("contract", (a, b)), spec=spec)

    def infer(self, a: Tensor, b: Tensor, *, spec: str) -> TensorType:  # type: ignore[override]
        left, right, out = _split(spec)
        require(a.dtype == b.dtype, GraphError, f"contract: expected one dtype, got {a.type} and {b.type}", a, b)
        sizes: dict[str, Size] = {}
        for labels, tensor in ((left, a), (right, b)):
            if len(labels) != tensor.ndim:
                raise ShapeError(f"contract: the labels {labels!r} don't fit shape {shown(tensor)}", origin=tensor.node.origin)
            for label, size in zip(labels, tensor.shape, strict=True):
                if sizes.setdefault(label, size) != size:
                    raise ShapeError(
                        f"contract {spec}: axis {label!r} has sizes {sizes[label]} and {size}: {shown(a)} and {shown(b)}",
                        origin=tensor.node.origin,
                    )
        return TensorType(tuple(sizes[label] for label in out), a.dtype)

    def labels(self, node: Node) -> tuple[str, str, str]:
        return _split(node["spec"])

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with np.errstate(all="ignore"):
            return np.asarray(np.einsum(node["spec"], *inputs)).astype(node.result.dtype, copy=False)

    def vjp(self, node: Node, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b = node.inputs
        left, right, out = _split(node["spec"])
        return _towards(g, out, b, right, a, left), _towards(g, out, a, left, b, right)


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
    a, b = promote("matmul", (a, b))
    require(a.ndim > 0 and b.ndim > 0, ShapeError, f"matmul: expected vectors or matrices, got {shown(a)} @ {shown(b)}", a, b)
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    require(
        a.shape[-1] == inner, ShapeError, f"matmul: inner dimensions differ: {shown(a)} @ {shown(b)}", a, b,
        hint=_transpose_hint(a, b),
    )  # fmt: skip
    left = "mk" if a.ndim > 1 else "k"
    right = "kn" if b.ndim > 1 else "k"
    out = left[:-1] + right[1:]
    batch_a, batch_b = a.shape[:-2], b.shape[:-2]
    if not batch_b:  # one matrix for all: the batch axes are rows like any others
        labels = _LETTERS[: len(batch_a)]
        return contract.make(a, b, spec=f"{labels}{left},{right}->{labels}{out}")
    try:
        batch = broadcast_shapes(batch_a, batch_b)
    except ShapeError as error:
        raise ShapeError(f"matmul: batch {error.message}: {shown(a)} @ {shown(b)}", origin=b.node.origin) from None
    labels = _LETTERS[: len(batch)]
    a_labels, a = _batched(a, batch, labels, len(left))
    b_labels, b = _batched(b, batch, labels, len(right))
    return contract.make(a, b, spec=f"{a_labels}{left},{b_labels}{right}->{labels}{out}")


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


def einsum(spec: str, a: Any, b: Any) -> Tensor:
    """Two tensors multiplied and summed as the labels say, such as ``"bik,bjk->bij"``.

    Raises
    ------
    GraphError, ShapeError
        If the labels are repeated within an operand, or don't fit the shapes.
    """
    if "->" not in spec or spec.count(",") != 1 or "." in spec:
        raise GraphError(f"einsum: expected labels of two operands and a result, like 'ik,kj->ij', got {spec!r}")
    return contract(a, b, spec.replace(" ", ""))


def outer(a: Any, b: Any) -> Tensor:
    """Outer product of two vectors, ``(m,)`` and ``(n,)`` -> ``(m, n)``."""
    a, b = promote("outer", (a, b))
    require(a.ndim == b.ndim == 1, ShapeError, f"outer: expected two vectors, got {shown(a)} and {shown(b)}", a, b)
    return contract.make(a, b, spec="m,n->mn")


def vecdot(a: Any, b: Any) -> Tensor:
    """Dot products along the last axis of two tensors of one shape."""
    a, b = promote("vecdot", (a, b))
    require(a.shape == b.shape and a.ndim > 0, ShapeError, f"vecdot: expected one shape, got {shown(a)} and {shown(b)}", a, b)
    labels = _LETTERS[: a.ndim - 1]
    return contract.make(a, b, spec=f"{labels}k,{labels}k->{labels}")
