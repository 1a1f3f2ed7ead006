"""What a kernel must do at least: operations and bytes, counted from its formulas and the sizes of a run.

Operations
    A contraction does two an element of its iteration space, a multiplication and an addition. Everything else is
    counted in additions, by the costs in :data:`graphc.ir.scalar.FUNCTIONS`: 1 for an addition, 4 for a division, 12
    for an exponential. A part of a formula counts once for each position of the axes it depends on, so that a factor
    which is the same for a whole row counts once a row. Reductions and running combinations add one an element that
    is combined; a sort of n elements, n log2 n comparisons. Routines of linear algebra are counted as the loops that
    their op declares, which is right in order of magnitude.

Bytes
    Each element that is read from memory and each that is stored counts once, however often the kernel reads it
    (compulsory traffic; the roofline model of Williams, Waterman and Patterson, 2009). Of a tensor that is read in
    part (a slice, rows of an embedding) as many elements count as there are positions to read from, at most all.
    Scratch does not count: it is meant to stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from graphc.ir.node import Tensor
from graphc.ir.scalar import FUNCTIONS, Apply, Load, Position, Scalar
from graphc.ir.symbolic import Axis, Size, atoms_of, evaluate, product
from graphc.schedule.kernel import (
    Accumulate,
    Contract,
    Kernel,
    Reduce,
    ReduceChunks,
    Routine,
    Scan,
    Stage,
    operands_of,
    walk,
)


@dataclass
class Cost:
    """What one call of a kernel does.

    Attributes
    ----------
    multiply_adds : dict of str to int
        Multiplications each with an addition, by the float type whose vectors they fill: ``"float32"`` for types of
        up to 4 bytes, ``"float64"`` for types of 8.
    others : dict of str to int
        Other operations, in additions, by type.
    read_bytes, written_bytes : int
    """

    multiply_adds: dict[str, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    read_bytes: int = 0
    written_bytes: int = 0

    @property
    def operations(self) -> int:
        """All operations; a multiply-add is two."""
        return 2 * sum(self.multiply_adds.values()) + sum(self.others.values())

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes


def cost_of(kernel: Kernel, sizes: Mapping[str, int]) -> Cost:
    """What one call of a kernel does, for given values of the named dims."""
    total = Cost(read_bytes=_read_bytes(kernel, sizes))
    total.written_bytes = sum(evaluate(tensor.type.bytes, sizes) for tensor in kernel.stored)
    for stage in kernel.stages:
        made = stage_cost(kernel, stage, sizes)
        for counts, more in ((total.multiply_adds, made.multiply_adds), (total.others, made.others)):
            for dtype, count in more.items():
                counts[dtype] = counts.get(dtype, 0) + count
    return total


def stage_cost(kernel: Kernel, stage: Stage, sizes: Mapping[str, int]) -> Cost:
    """Operations of one stage in one call; its bytes are the kernel's, and stay 0."""
    made = Cost()
    loops = frozenset((*kernel.axes, *stage.loop_axes()))
    points = _count(loops, sizes)
    if isinstance(stage, Contract):
        made.multiply_adds[_lanes_of(stage.result.dtype)] = points
    elif isinstance(stage, Routine) and stage.repeated:
        made.multiply_adds[_lanes_of(stage.results[0].dtype)] = points
    elif isinstance(stage, Routine):
        row = evaluate(stage.axes[-1].extent, sizes)
        _add(made, stage.results[0].dtype, points * max(0, row - 1).bit_length())
    elif isinstance(stage, (Reduce, ReduceChunks, Scan, Accumulate)):
        (first, *_) = stage.scalars()
        _add(made, first.dtype, points)
    depends = _dependence(stage.scalars())
    for part in walk(*stage.scalars()):
        if isinstance(part, Apply):
            widest = max((part.dtype, *(argument.dtype for argument in part.arguments)), key=lambda d: d.itemsize)
            _add(made, widest, FUNCTIONS[part.function][2] * _count(depends[id(part)] & loops, sizes))
    return made


def _add(made: Cost, dtype: np.dtype, count: int) -> None:
    lanes = _lanes_of(dtype)
    made.others[lanes] = made.others.get(lanes, 0) + count


def _lanes_of(dtype: np.dtype) -> str:
    """The float type with as many elements in a vector; narrow types are computed in 4 bytes."""
    return "float64" if dtype.itemsize == 8 else "float32"


def _count(axes: Iterable[Axis], sizes: Mapping[str, int]) -> int:
    return evaluate(product(axis.extent for axis in axes), sizes)


def _dependence(scalars: Iterable[Scalar]) -> dict[int, frozenset[Axis]]:
    """The axes that the value of each part depends on, by the part's id."""
    found: dict[int, frozenset[Axis]] = {}
    for part in walk(*scalars):  # operands come first
        own = frozenset(axis for size in _sizes_in(part) for axis in atoms_of(size) if isinstance(axis, Axis))
        found[id(part)] = own.union(*(found[id(operand)] for operand in operands_of(part)))
    return found


def _sizes_in(part: Scalar) -> tuple[Size, ...]:
    if isinstance(part, Load):
        return part.index
    return (part.size,) if isinstance(part, Position) else ()


def _read_bytes(kernel: Kernel, sizes: Mapping[str, int]) -> int:
    """Bytes of the elements that a kernel reads from memory."""
    own = set(kernel.made)
    places: dict[Tensor, dict[tuple[Size, ...], int]] = {}  # by where an element is read: how many such there are
    for stage in kernel.stages:
        depends = _dependence(stage.scalars())
        for part in walk(*stage.scalars()):
            if isinstance(part, Load) and part.tensor not in own:
                places.setdefault(part.tensor, {})[part.index] = _count(depends[id(part)], sizes)
    total = 0
    for tensor, counts in places.items():
        total += min(sum(counts.values()) * tensor.dtype.itemsize, evaluate(tensor.type.bytes, sizes))
    return total
