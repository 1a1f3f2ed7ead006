"""Rows on their way from and to memory: asked for ahead of time, and stored past the caches.

A kernel of several loops goes over a row again and again. Between two rows' first loops the hardware sees no stream and
fetches nothing ahead; and a core that computes for as long as memory takes has to do both at once. So the loops ask for
a later row while they work on this one. Each asks for a part of its lines: all at once would be more than a core can
have under way, and it would wait.

A store to a line that is in no cache first reads it. Results too large for any cache would be read for nothing,
and push out of the caches what is still needed. Their rows are made in scratch, which stays in the first
cache, and copied from there with stores that write whole lines past the caches::

    b = size of y >= STREAM_FROM
    for i in points:
        w = scratch if b else row i of y
        ...                                  loops that store to w
        if b: stream(y, place of row i, w, length)

The size decides when the kernel runs; what is computed is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from graphc.codegen.cpu.context import LINE_BYTES, Context
from graphc.codegen.cpu.loops import replaced
from graphc.codegen.cpu.writer import Writer
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, coefficient, product
from graphc.schedule.kernel import walk

PREFETCH_FROM = 1 << 20
"""Bytes of a tensor from which on its rows are asked for ahead of time: about a core's own cache."""

PREFETCH_AHEAD = 2048
"""Bytes ahead, in whole rows (measured for softmax and layer norm over 512 columns)."""

LONGEST_PREFETCH = 8192
"""Bytes of a row; in a longer one the hardware sees the stream, and two of them would crowd the first cache."""

STREAM_FROM = 1 << 25
"""Bytes of a result from which on it is stored past the caches: no cache holds it until it is read."""

SHORTEST_STREAM = 1024
"""Bytes of a row; in a shorter one the lines that it shares with its neighbours count."""


class Row(NamedTuple):
    """The row of a tensor in memory that belongs to a point of the shared axes."""

    tensor: Tensor
    start: Size
    elements: int
    is_result: bool

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return self.elements * self.tensor.dtype.itemsize


def may_fill(tensor: Tensor, nbytes: int) -> bool:
    """Whether a tensor may have that many bytes."""
    size = tensor.type.size
    return not isinstance(size, int) or size * tensor.dtype.itemsize >= nbytes


def rows_in_memory(context: Context, axis: Axis) -> list[Row]:
    """Tensors in memory of which every point of a shared axis has the next row."""
    found: dict[Tensor, Row] = {}
    for stage in context.kernel.stages:
        extents = {own: own.extent for own in stage.loop_axes()}
        row = product(extents.values())
        reads = [(part.tensor, part.index) for part in walk(*stage.scalars()) if isinstance(part, Load)]
        writes = [(tensor, context.index_of(stage)) for tensor in stage.results if context.is_stored(tensor)]
        for tensor, index in [*reads, *writes]:
            if not isinstance(row, int) or tensor in found or not context.in_memory(tensor):
                continue
            place = context.flat(tensor, index)
            if coefficient(place, axis) == row and any(coefficient(place, own) == 1 for own in extents):
                start = replaced(place, dict.fromkeys(extents, 0))
                found[tensor] = Row(tensor, start, row, context.is_stored(tensor))
    return list(found.values())


# --- ahead of time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fetches:
    """What one of several loops over a row asks for: every ``loops``-th line, from the ``number``-th on."""

    places: tuple[tuple[str, str, int], ...] = ()
    """Of each tensor its pointer, where the later row begins, and the elements of a line."""
    number: int = 0
    loops: int = 1

    def write(self, writer: Writer, start: str, elements: int) -> None:
        """Ask for what some elements of the row correspond to."""
        count = 0
        for pointer, first, line in self.places:
            for within in range(0, elements, line):
                if count % self.loops == self.number:
                    writer.line(f"prefetch({pointer}, {first} + {start} + {within})")
                count += 1


NO_FETCHES = Fetches()


def fetches_of(context: Context, rows: Sequence[Row], extent: Size) -> tuple[tuple[str, str, int], ...]:
    """The places that loops over ``extent`` elements ask for: of inputs, whose rows have that length."""
    places = []
    for row in rows:
        wanted = row.elements == extent and LINE_BYTES <= row.nbytes <= LONGEST_PREFETCH
        if wanted and not row.is_result and may_fill(row.tensor, PREFETCH_FROM):
            ahead = row.elements * -(-PREFETCH_AHEAD // row.nbytes)
            first = context.expressions.named(row.start + ahead, "o").text
            places.append((context.pointer(row.tensor), first, LINE_BYTES // row.tensor.dtype.itemsize))
    return tuple(places)


# --- past the caches -----------------------------------------------------------------------------------------------


@contextmanager
def streamed(context: Context, rows: Sequence[Row]) -> Iterator[bool]:
    """While open, rows of large results are made in scratch; behind, they are copied to memory.

    Yields whether there is such a result.
    """
    writer = context.writer
    pending: list[tuple[str, str]] = []
    for row in rows:
        whole = row.tensor.dtype.kind != "b" and row.nbytes <= LONGEST_PREFETCH
        if not (row.is_result and whole and row.nbytes >= SHORTEST_STREAM and may_fill(row.tensor, STREAM_FROM)):
            continue
        pointer, dtype = context.pointer(row.tensor), row.tensor.dtype
        condition = _streams(context, row, rows)
        start = context.expressions.named(row.start, "o").text
        scratch, target = context.scratch(row.elements, dtype.name, dtype.itemsize), writer.name("w")
        with writer.block(f"if {condition}:"):
            writer.line(f"{target} = {scratch}")
        with writer.block("else:"):
            writer.line(f"{target} = offset({pointer}, {start})")
        context.move(row.tensor, target, row.start)
        pending.append((condition, f"stream({pointer}, {start}, {scratch}, {row.elements})"))
    yield bool(pending)
    for condition, copy in pending:
        with writer.block(f"if {condition}:"):
            writer.line(copy)


def _streams(context: Context, row: Row, rows: Sequence[Row]) -> str:
    """Name of the condition under which a result is stored past the caches: large, and not made in place."""
    size = context.expressions.named(row.tensor.type.size).text
    pointer = context.pointer(row.tensor)
    parts = [f"({size} >= {STREAM_FROM // row.tensor.dtype.itemsize})"]
    parts += [
        f"(address({pointer}) != address({context.pointer(other.tensor)}))" for other in rows if not other.is_result
    ]
    return context.writer.let(" & ".join(parts), 0, "b").text
