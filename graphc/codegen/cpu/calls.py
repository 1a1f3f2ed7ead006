"""How a contraction becomes calls of the compiled one: a matrix product inside, loops around it ("loops over GEMM").

``C[b.., m.., n..] = sum over k.. of A[b.., m.., k..] * B[b.., k.., n..]``. The compiled contraction
(:mod:`graphc.codegen.cpu.contraction`) computes ``C[m, n] (+)= A[m, k] @ B[k, n]`` of strided matrices, for one axis of
each kind. So of every kind one axis goes into the call, and the others become loops around it:

- axes of b, and what is left of m and n, say which part of C a call computes;
- of k, the last goes inside; the calls of the others add to what is there.

Axes are collapsed first, so that most products have one of each kind and no loops. Of the axes of C, the contiguous one
must be n. If it comes from the left operand, the operands change places: ``C[i, j] = sum over r of X[j, r] * Y[i, r]``
is called with A = Y, B = X, m = i, n = j, k = r. That ``B[k, n]`` is ``X[n, k]`` is a matter of its strides; nothing is
transposed in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from graphc.codegen.cpu import variants
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.loops import ZERO, collapse
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, coefficient
from graphc.ir.types import NAMES, flat_offset
from graphc.schedule.kernel import Contract, Stage, walk


class CallPlan(NamedTuple):
    """How a contraction maps to calls of the compiled one.

    Attributes
    ----------
    stage : Contract
    left, right : Load
        A and B, exchanged where C's contiguous axis comes from the stage's left operand.
    m, n, k : Axis or None
        The axes inside a call; a missing one has extent 1.
    loops : tuple of Axis
        Own axes of the result around the call.
    sums : tuple of Axis
        Reduced axes around the call.
    variant : str
        Ending of the name of the compiled contraction.
    tail : int
        Columns at the end that another call computes, by dot products.
    """

    stage: Contract
    left: Load
    right: Load
    m: Axis | None
    n: Axis | None
    k: Axis | None
    loops: tuple[Axis, ...]
    sums: tuple[Axis, ...]
    variant: str
    tail: int


def plan_calls(context: Context, stage: Contract, shared: Sequence[Axis]) -> CallPlan:
    """Choose the axes of the calls among the shared ones and the stage's own, which it collapses."""
    own, reduced = (_collapsed(context, stage, axes) for axes in (stage.axes, stage.reduced))
    left, right = stage.left, stage.right
    out = _row_major_result(context, stage)

    def only_in(one: Load, other: Load) -> list[Axis]:
        # as if in memory: a block in scratch moves with places in the block, and would seem not to move with a cut axis
        near, far = (context.expressions.rename(load.offset) for load in (one, other))
        return [axis for axis in (*shared, *own) if coefficient(near, axis) != 0 and coefficient(far, axis) == 0]

    rows_axes, column_axes = only_in(left, right), only_in(right, left)
    if any(coefficient(out, axis) == 1 for axis in rows_axes):
        left, right, rows_axes, column_axes = right, left, column_axes, rows_axes
    n = next((axis for axis in reversed(column_axes) if coefficient(out, axis) == 1), None)
    m = max(rows_axes, key=lambda axis: (axis in shared, rows_axes.index(axis)), default=None)
    k = reduced[-1] if reduced else None
    loops = tuple(axis for axis in own if axis not in (m, n))
    variant, tail = _variant(context, left, right, (m, k, n))
    return CallPlan(stage, left, right, m, n, k, loops, tuple(reduced[:-1]), variant, tail)


def _variant(
    context: Context, left: Load, right: Load, axes: tuple[Axis | None, Axis | None, Axis | None]
) -> tuple[str, int]:
    """The ending of the name of the contraction that suits a product, and how many columns others do better.

    Known sizes alone decide: no cut into blocks and no size of a run may change the order of a sum.
    """
    m, k, n = axes
    a_flat, b_flat = (context.flat(load.tensor, load.index) for load in (left, right))

    def stride(place: Size, axis: Axis | None) -> Size | None:
        return coefficient(place, axis) if axis is not None else None

    rows, depth, columns = (axis.extent if axis is not None else 1 for axis in axes)
    of_a, of_b = (stride(a_flat, m), stride(a_flat, k)), (stride(b_flat, k), stride(b_flat, n))
    return variants.suited(NAMES[left.dtype], rows, depth, columns, of_a, of_b)


def _collapsed(context: Context, stage: Contract, axes: Sequence[Axis]) -> list[Axis]:
    """Some axes of a contraction, merged as far as its operands and its result allow."""
    kept, renamed = collapse(axes, row_major_offsets(context, stage, set()))
    context.expressions.renamed.update(renamed)
    return kept


@contextmanager
def at_origin(context: Context, plan: CallPlan) -> Iterator[None]:
    """The axes inside a call at their first places."""
    inner = (plan.m, plan.n, plan.k)
    with context.expressions.bound({axis: ZERO for axis in inner if axis is not None}):
        yield


def row_major_offsets(context: Context, stage: Stage, crossing: set[Tensor]) -> list[Size]:
    """Offsets, as if all lay in memory row-major, of what has no place yet, and of all that contractions touch."""
    found: list[Size] = []
    for part in walk(*stage.scalars()):
        if isinstance(part, Load) and (isinstance(stage, Contract) or part.tensor in crossing):
            found.append(context.expressions.rename(part.offset))
    if isinstance(stage, Contract) or any(tensor in crossing for tensor in stage.results):
        found.append(_row_major_result(context, stage))
    return found


def _row_major_result(context: Context, stage: Stage) -> Size:
    """Offset in the result as a row-major array."""
    return context.expressions.rename(flat_offset(stage.result.shape, context.index_of(stage)))
