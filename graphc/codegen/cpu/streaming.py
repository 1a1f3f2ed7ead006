"""Rows on their way from and to memory: asked for ahead of time, and stored past the caches.

A kernel of several loops goes over a row again and again. Between two rows' first loops the hardware sees no stream and
fetches nothing ahead; and a core that computes for as long as memory takes has to do both at once. So the loops ask for
a later row while they work on this one. Each asks for a part of its lines: all at once would be more than a core can
have under way, and it would wait.

A store to a line that is in no cache first reads it. Results too large for any cache would be read for nothing,
and push out of the caches what is still needed. Their rows are made in scratch, which stays in the first
cache, and copied from there with stores that write whole lines past the caches, behind the last loop that reads them::

    b = size of y >= STREAM_FROM
    for i in points:
        w = scratch if b else row i of y
        ...                                  loops that store to w or read it
        if b: stream(y, place of row i, w, length)
        ...                                  other loops

A row that a single loop makes, and none reads, is copied by this loop, round by round. The loop is printed twice: with
the choice outside, LLVM sees that a round is scratch's only use, and keeps it in registers (softmax of 32768x1024
float32 on one worker: 2.52 to 2.79 billion elements a second)::

    if b:
        for r in rounds:
            for l in lanes: store(scratch, l, ...)
            stream_lines(y, place of round r, scratch, lanes)
    else:
        for r in rounds:
            for l in lanes: store(y, place of row i + r + l, ...)

The size decides when the kernel runs; what is computed is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphc.codegen.cpu.context import LINE_BYTES, Context, operand_tensors
from graphc.codegen.cpu.loops import replaced
from graphc.codegen.cpu.writer import Writer
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, coefficient, exact_quotient, product
from graphc.schedule.kernel import Stage, walk

PREFETCH_FROM = 1 << 20
"""Bytes of a tensor from which on its rows are asked for ahead of time: about a core's own cache."""

PREFETCH_AHEAD = 16384
"""Bytes ahead, in whole rows: what memory delivers while it answers, a small part of a core's own cache (measured for
softmax and layer norm over 512 and 1024 columns)."""

LONGEST_PREFETCH = 8192
"""Bytes of a row; in a longer one the hardware sees the stream, and scratch for it would crowd the first cache."""

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


class Fetches(NamedTuple):
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


class Copy(NamedTuple):
    """A row that is made in scratch and then copied to memory."""

    tensor: Tensor
    condition: str
    """Name of whether it is: else it is made in memory."""
    memory: str
    start: str
    scratch: str
    target: str
    """Name of the pointer behind which it is made."""
    elements: int
    last: int
    """Place of the last group of stages that makes or reads it."""
    by_rounds: bool
    """Whether each round of that group's loop is copied as soon as it is made, since no other group reads the row."""

    def begin(self, writer: Writer) -> None:
        """Print where a row is made."""
        with writer.block(f"if {self.condition}:"):
            writer.line(f"{self.target} = {self.scratch}")
        with writer.block("else:"):
            self.begin_in_memory(writer)

    def begin_in_memory(self, writer: Writer) -> None:
        """Print that a row is made in memory."""
        writer.line(f"{self.target} = offset({self.memory}, {self.start})")

    def begin_round(self, writer: Writer, before: str) -> None:
        """Print that a round is made in scratch, as if from the row's start, ``before`` elements ahead of it."""
        writer.line(f"{self.target} = offset({self.scratch}, 0 - {before})")

    def write_round(self, writer: Writer, before: str, elements: int) -> None:
        """Print the copy of a round."""
        writer.line(f"stream_lines({self.memory}, {self.start} + {before}, {self.scratch}, {elements})")

    def write(self, writer: Writer) -> None:
        """Print the copy of a row."""
        with writer.block(f"if {self.condition}:"):
            writer.line(f"stream({self.memory}, {self.start}, {self.scratch}, {self.elements})")


def streamed(
    context: Context, rows: Sequence[Row], groups: Sequence[Sequence[Stage]], rounds: Sequence[int]
) -> list[Copy]:
    """From now on rows of large results are made in scratch; the copies that are then due.

    A core has few lines on their way past the caches at once, and waits where many are stored together. So a row that
    one loop makes and none reads is copied by that loop's rounds, of as many elements as ``rounds`` says for each
    group. Another has scratch for all of it, the same as one that has been copied before, for the first cache holds
    few rows.
    """
    copies: list[Copy] = []
    for row in sorted(rows, key=lambda row: _first_and_last(row.tensor, groups)):
        whole = row.tensor.dtype.kind != "b" and row.nbytes <= LONGEST_PREFETCH
        if not (row.is_result and whole and row.nbytes >= SHORTEST_STREAM and may_fill(row.tensor, STREAM_FROM)):
            continue
        memory, dtype = context.pointer(row.tensor), row.tensor.dtype
        start = context.expressions.named(row.start, "o").text
        first, last = _first_and_last(row.tensor, groups)
        lanes, in_line = rounds[last], LINE_BYTES // dtype.itemsize
        fills_lines = lanes > 0 and row.elements % lanes == 0 and lanes % in_line == 0
        by_rounds = first == last and fills_lines and exact_quotient(row.start, in_line) is not None
        condition = _streams(context, row, rows, by_rounds)
        elements = lanes if by_rounds else row.elements
        scratch = _free_scratch(copies, elements, dtype.name, first)
        scratch = scratch or context.scratch(elements, dtype.name, dtype.itemsize)
        copy = Copy(
            row.tensor, condition, memory, start, scratch, context.writer.name("w"), row.elements, last, by_rounds
        )
        if not by_rounds:
            copy.begin(context.writer)
        context.move(row.tensor, copy.target, row.start)
        copies.append(copy)
    return copies


def _first_and_last(tensor: Tensor, groups: Sequence[Sequence[Stage]]) -> tuple[int, int]:
    """Places of the first and the last group that makes or reads a tensor."""
    places = [
        place
        for place, group in enumerate(groups)
        for stage in group
        if tensor in operand_tensors(stage.scalars()).union(stage.results)
    ]
    return min(places), max(places)


def _free_scratch(copies: Sequence[Copy], elements: int, dtype: str, first: int) -> str:
    """Scratch of whole rows that have all been copied before group ``first``; empty if there is none."""
    busy = {copy.scratch for copy in copies if copy.last >= first}
    fitting = (copy for copy in copies if copy.elements == elements and copy.tensor.dtype.name == dtype)
    return next((copy.scratch for copy in fitting if not copy.by_rounds and copy.scratch not in busy), "")


def _streams(context: Context, row: Row, rows: Sequence[Row], by_lines: bool) -> str:
    """Name of the condition under which a result is stored past the caches: large, and not made in place.

    ``by_lines`` asks that it begins with a line, too; the memory plan sees to that.
    """
    size = context.expressions.named(row.tensor.type.size).text
    pointer = context.pointer(row.tensor)
    parts = [f"({size} >= {STREAM_FROM // row.tensor.dtype.itemsize})"]
    parts += [
        f"(address({pointer}) != address({context.pointer(other.tensor)}))" for other in rows if not other.is_result
    ]
    if by_lines:
        parts.append(f"(address({pointer}) & {LINE_BYTES - 1} == 0)")
    return context.writer.let(" & ".join(parts), 0, "b").text
