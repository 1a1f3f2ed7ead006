"""``einsum`` of any number of operands, and the products made of it or of index expressions.

An ``einsum`` is taken apart in four steps:

1. *Labels.* The ellipsis becomes labels of its own, one an axis; a label named twice in an operand is the diagonal of
   its axes, a view; axes of size 1 that meet larger ones are dropped, since they are the same for all places.
2. *Sums of one operand.* A label that only one operand has, and not the result, is summed over before anything else.
3. *Path.* Which two operands to multiply first is chosen by the number of multiplications, exactly for up to
   :data:`MOST_EXACT` operands and greedily for more, by ``numpy.einsum_path``. Named dims count as :data:`NAMED_SIZE`.
4. *Pairs.* Each pair becomes one contraction, or, where nothing is summed over, one elementwise product of views, which
   fuses with what reads it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim, Size
from graphc.ir.types import normalize_axis
from graphc.ops.arithmetic import multiply, subtract
from graphc.ops.base import broadcast, given, promote, require, shown
from graphc.ops.composite import any_
from graphc.ops.contractions import product_of_pair
from graphc.ops.diagonals import last_diagonal
from graphc.ops.logic import logical_and, require_numbers
from graphc.ops.moving import roll
from graphc.ops.reductions import sum_
from graphc.ops.shaping import moveaxis
from graphc.ops.views import permute_dims, reshape

__all__ = ["cross", "einsum", "kron"]

MOST_EXACT = 5
"""Operands up to which all orders of multiplying are compared."""

NAMED_SIZE = 64
"""What a named dim counts as where orders are compared: one order serves all its sizes."""

UNLIMITED = 1 << 62
"""Elements that an intermediate result may have."""

_TERM = re.compile(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*")

Labelled = tuple[Tensor, str]
"""A tensor and a label an axis."""


def einsum(spec: str, *operands: Any) -> Tensor:
    """Tensors multiplied, and summed over the labels that the result lacks.

    Parameters
    ----------
    spec : str
        A letter for each axis of each operand, and of the result: ``"bik,bjk->bij"``. ``...`` stands for any number of
        axes, which broadcast. A letter that an operand has twice is its diagonal. Without ``->`` the result has, after
        the ellipsis, the letters that occur once, in alphabetic order.
    *operands : Tensor or array_like
        Promoted to one dtype, which the result has; integers wrap around, of bools the result says whether any product
        holds.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If the text is no such specification.
    ShapeError
        If it does not fit the operands' ranks or sizes.

    Notes
    -----
    The result does not depend on the order in which operands are multiplied, but its last digits do: it is chosen once,
    by the sizes, when the function is called.
    """
    terms, out = _parsed(spec, len(operands))
    tensors = promote("einsum", operands)
    counts = [_dots(spec, term, tensor) for term, tensor in zip(terms, tensors, strict=True)]
    most = max(counts)
    unused = [letter for letter in string.ascii_letters if letter not in "".join((*terms, out or ""))]
    if len(unused) < most:
        raise GraphError(f"einsum: expected no more than {len(string.ascii_letters)} different axes in {spec!r}")
    dots = "".join(unused[:most])
    labels = [term.replace("...", dots[most - count :]) for term, count in zip(terms, counts, strict=True)]
    if out is None:
        found = Counter("".join(labels))
        result = dots + "".join(sorted(letter for letter in found if found[letter] == 1 and letter not in dots))
    else:
        require("..." in out or not most, GraphError, f"einsum: expected an ellipsis in the result of {spec!r}")
        result = out.replace("...", dots)
    entries = [_without_repeats(spec, entry) for entry in zip(tensors, labels, strict=True)]
    sizes = _sizes(spec, entries)
    entries = [_without_ones(entry, sizes) for entry in entries]
    return _multiplied([_summed(entries, place, result) for place in range(len(entries))], result, sizes)


def _parsed(spec: str, count: int) -> tuple[list[str], str | None]:
    """The terms of a specification, and that of the result if it has one."""
    example = {1: "ij->ji", 2: "ik,kj->ij"}.get(count, "ij,jk,kl->il")
    operands = f"{count} operand{'s' if count != 1 else ''}"
    wanted = f"einsum: expected labels of {operands}, like {example!r}, got {given(spec)}"
    require(isinstance(spec, str) and count > 0, GraphError, wanted)
    left, arrow, out = spec.replace(" ", "").partition("->")
    terms = left.split(",")
    require(len(terms) == count and all(map(_TERM.fullmatch, (*terms, out))), GraphError, wanted)
    twice = [letter for letter, found in Counter(out.replace(".", "")).items() if found > 1]
    require(not twice, GraphError, f"einsum: the result of {spec!r} has the label {''.join(twice[:1])!r} twice")
    unknown = sorted(set(out.replace(".", "")) - set(left))
    require(not unknown, GraphError, f"einsum: no operand of {spec!r} has the result's label {''.join(unknown[:1])!r}")
    return terms, out if arrow else None


def _dots(spec: str, term: str, tensor: Tensor) -> int:
    """How many axes an ellipsis stands for."""
    named = len(term.replace("...", ""))
    fits = tensor.ndim >= named if "..." in term else tensor.ndim == named
    require(fits, ShapeError, f"einsum {spec!r}: the labels {term!r} do not fit the shape {shown(tensor)}", tensor)
    return tensor.ndim - named


def _without_repeats(spec: str, entry: Labelled) -> Labelled:
    """The diagonal of axes that share a label."""
    tensor, labels = entry
    for label in [label for label, count in Counter(labels).items() for _ in range(count - 1)]:
        first = labels.index(label)
        second = labels.index(label, first + 1)
        sizes = tensor.shape[first], tensor.shape[second]
        message = f"einsum {spec!r}: label {label!r} has the sizes {sizes[0]} and {sizes[1]} in {shown(tensor)}"
        require(sizes[0] == sizes[1], ShapeError, message, tensor)
        tensor = last_diagonal(moveaxis(tensor, (first, second), (-2, -1)), 0)
        labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    return tensor, labels


def _sizes(spec: str, entries: Sequence[Labelled]) -> dict[str, Size]:
    """The size of each label, that of an axis of size 1 being any other's."""
    sizes: dict[str, Size] = {}
    for tensor, labels in entries:
        for label, size in zip(labels, tensor.shape, strict=True):
            known = sizes.setdefault(label, 1)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                shapes = ", ".join(shown(each) for each, _ in entries)
                what = f"label {label!r} has" if label in spec else "an axis of the ellipsis has"
                message = f"einsum {spec!r}: {what} the sizes {known} and {size}: {shapes}"
                raise ShapeError(message, operands=(tensor,))
    return sizes


def _without_ones(entry: Labelled, sizes: Mapping[str, Size]) -> Labelled:
    """Axes of size 1 dropped where their label is larger elsewhere."""
    tensor, labels = entry
    kept = [axis for axis, label in enumerate(labels) if tensor.shape[axis] == sizes[label]]
    return reshape(tensor, tuple(tensor.shape[k] for k in kept)), "".join(labels[k] for k in kept)


def _summed(entries: Sequence[Labelled], place: int, result: str) -> Labelled:
    """One of several operands, summed over the labels that neither another one nor the result has."""
    others = {label for k, (_, labels) in enumerate(entries) if k != place for label in labels}
    return _sum_over(entries[place], others | set(result))


def _sum_over(entry: Labelled, needed: Collection[str]) -> Labelled:
    """Summed over all labels that are not needed."""
    tensor, labels = entry
    axes = [axis for axis, label in enumerate(labels) if label not in needed]
    if axes:
        tensor = any_(tensor, axes) if tensor.dtype.kind == "b" else sum_(tensor, axes, dtype=tensor.dtype)
    return tensor, "".join(label for label in labels if label in needed)


def _multiplied(entries: list[Labelled], result: str, sizes: Mapping[str, Size]) -> Tensor:
    """All operands multiplied, two at a time."""
    for places in _path(entries, result, sizes):
        chosen = [entries[place] for place in places]
        entries = [entry for place, entry in enumerate(entries) if place not in places]
        for count in range(len(chosen) - 1, 0, -1):
            # what the rest of the chosen, of the others, or the result has must not be summed over yet
            needed = {label for _, labels in (*chosen[2:], *entries) for label in labels} | set(result)
            last = count == 1 and not entries
            chosen = [_pair(chosen[0], chosen[1], needed, result if last else None), *chosen[2:]]
        entries += chosen
    ((tensor, labels),) = entries
    return permute_dims(tensor, [labels.index(label) for label in result])


def _path(entries: Sequence[Labelled], result: str, sizes: Mapping[str, Size]) -> list[tuple[int, ...]]:
    """Places of the operands to multiply next, again and again; a product comes behind those that are left."""
    if len(entries) < 3:
        return [tuple(range(len(entries)))]
    extents = {label: NAMED_SIZE if isinstance(size, Dim) else max(size, 1) for label, size in sizes.items()}
    # arrays of one element each, which only have the sizes
    arrays = [np.broadcast_to(np.float32(0), [extents[label] for label in labels]) for _, labels in entries]
    method = "optimal" if len(entries) <= MOST_EXACT else "greedy"
    spec = f"{','.join(labels for _, labels in entries)}->{result}"
    path, _ = np.einsum_path(spec, *arrays, optimize=(method, UNLIMITED))
    return [tuple(places) for places in path[1:]]


def _pair(left: Labelled, right: Labelled, needed: Collection[str], order: str | None) -> Labelled:
    """Two operands multiplied and summed over what they share and nothing needs."""
    left = _sum_over(left, {*needed, *right[1]})
    right = _sum_over(right, {*needed, *left[1]})
    both = dict.fromkeys(left[1] + right[1])
    out = "".join(label for label in both if label in needed) if order is None else order
    if len(out) < len(both):
        return product_of_pair(left[0], right[0], f"{left[1]},{right[1]}->{out}"), out
    factors = [_spread_out(entry, out) for entry in (left, right)]
    times = logical_and if left[0].dtype.kind == "b" else multiply
    return times(*factors), out


def _spread_out(entry: Labelled, out: str) -> Tensor:
    """Axes in the order of ``out``, with size 1 for those that are missing."""
    tensor, labels = entry
    kept = permute_dims(tensor, [labels.index(label) for label in out if label in labels])
    sizes = iter(kept.shape)
    return reshape(kept, tuple(next(sizes) if label in labels else 1 for label in out))


def kron(a: Any, b: Any) -> Tensor:
    """Kronecker product: each element of ``a`` times all of ``b``.

    Parameters
    ----------
    a, b : Tensor or array_like
        Of any ranks; the lower one gets axes of size 1 in front.

    Returns
    -------
    Tensor
        Along each axis of the product of both sizes.
    """
    a, b = promote("kron", (a, b))
    rank = max(a.ndim, b.ndim)
    of_a, of_b = ([1] * (rank - tensor.ndim) + list(tensor.shape) for tensor in (a, b))
    blocks = reshape(a, [part for size in of_a for part in (size, 1)])
    inside = reshape(b, [part for size in of_b for part in (1, size)])
    times = logical_and if a.dtype.kind == "b" else multiply
    return reshape(times(blocks, inside), [outer * inner for outer, inner in zip(of_a, of_b, strict=True)])


def cross(a: Any, b: Any, axis: int = -1) -> Tensor:
    """Cross products of the vectors of three elements along an axis.

    Parameters
    ----------
    a, b : Tensor or array_like
        Broadcast together.
    axis : int
        Of the broadcast tensors.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If the size along the axis is not 3 in both, or the shapes do not broadcast.
    DTypeError
        For bools.
    """
    a, b = promote("cross", (a, b))
    require_numbers("cross", a)
    for tensor in (a, b):
        three = tensor.shape[normalize_axis(axis, tensor.ndim, "cross")] == 3
        require(three, ShapeError, f"cross: expected the size 3 along axis {axis}, got {shown(tensor)}", tensor)
    a, b = broadcast("cross", (a, b))
    next_of_a, next_of_b, third_of_a, third_of_b = (roll(x, shift, axis) for shift in (-1, -2) for x in (a, b))
    return subtract(multiply(next_of_a, third_of_b), multiply(third_of_a, next_of_b))
