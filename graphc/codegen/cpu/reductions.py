"""How values are combined: one accumulator, or many side by side, in an order that only extents decide.

==========  ==========================================================================================
serial      one register; for bools, and where there are few values
lanes       ``n`` partial results, element ``j`` into lane ``j % n``, combined in halves at the end. Where order does
            not matter LLVM could find lanes itself, but a loop of few iterations it unrolls into one chain instead
block       one accumulator for each of a block of columns, where the columns are the contiguous axis
==========  ==========================================================================================

**Accuracy.** Where an accumulator may take in more than a few dozen values, those of float32 are float64; more than
a few thousand, those of float64 carry along what their roundings lose (two-sum). Only then, because both cost time.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen.cpu import operators
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.loops import position_in
from graphc.codegen.cpu.writer import Known
from graphc.ir.scalar import Scalar
from graphc.ir.symbolic import Size, product
from graphc.schedule.kernel import Reduce

WIDEN_FROM = 128
"""A float32 sum is kept in float64 from this many values an accumulator on, or where the number is not known."""

COMPENSATE_FROM = 4096
"""The same for float64 sums and two-sum."""

LANE_BYTES = 256
"""Lanes of a sum: four vector registers of AVX-512, so that their additions overlap."""

POSITION_LANES = 16
"""Lanes of argmax and argmin, whose positions take 8 bytes each."""

FLOAT64 = np.dtype("float64")


def may_take(count: Size, limit: int) -> bool:
    """Whether an accumulator may take in ``limit`` values or more."""
    return not isinstance(count, int) or count >= limit


class Accumulator:
    """Combines the values of a :class:`Reduce` while loops run.

    Parameters
    ----------
    context : Context
    stage : Reduce
    width : int
        Number of accumulators; 1 is a register.
    count : Size
        Values that each takes in, at most.
    """

    def __init__(self, context: Context, stage: Reduce, width: int, count: Size):
        self.context, self.stage, self.width = context, stage, width
        self.dtype = stage.value.dtype
        self.by_position = stage.combine in ("argmax", "argmin")
        sums = stage.combine == "add" and self.dtype.kind == "f"
        self.wide = sums and self.dtype.itemsize == 4 and may_take(count, WIDEN_FROM)
        self.compensated = sums and self.dtype.itemsize == 8 and may_take(count, COMPENSATE_FROM)
        self.held = FLOAT64 if self.wide else self.dtype
        self.start = operators.identity(stage.combine, self.held)
        self.name = self._new(self.held.name, self.held.itemsize)
        self.second = ""
        if self.compensated:
            self.second = self._new(self.held.name, self.held.itemsize)
        if self.by_position:
            self.second = self._new("int64", 8)

    def _new(self, dtype: str, itemsize: int) -> str:
        if self.width == 1:
            return self.context.writer.name("a")
        return self.context.scratch(1 << (self.width - 1).bit_length(), dtype, itemsize, "a")

    def begin(self) -> None:
        """Write the lines before the loops."""
        self._set(self.name, self.start)
        if self.second:
            self._set(self.second, "int64(0)" if self.by_position else self.start)

    def _set(self, name: str, value: str) -> None:
        writer = self.context.writer
        if self.width == 1:
            writer.line(f"{name} = {value}")
        else:
            value = "uint8(1)" if value == "True" else "uint8(0)" if value == "False" else value
            writer.line(f"fill({name}, {1 << (self.width - 1).bit_length()}, {value})")

    def _get(self, name: str, lane: str, dtype: str) -> str:
        if self.width == 1:
            return name
        called = "load_bool" if dtype == "bool" else "load"
        return f"{called}({name}, {lane})"

    def _put(self, name: str, lane: str, value: str, dtype: str) -> None:
        if self.width == 1:
            self.context.writer.line(f"{name} = {value}")
        else:
            called = "store_bool" if dtype == "bool" else "store"
            self.context.writer.line(f"{called}({name}, {lane}, {value})")

    def update(self, value_of: Scalar, lane: str = "") -> None:
        """Write the lines of the innermost loop that take in a value: the stage's, or what is the same there."""
        context = self.context
        value = context.expressions.scalar(value_of).text
        held = self._get(self.name, lane, self.held.name)
        if self.by_position:
            self._update_position(lane, value, held)
            return
        value = operators.cast(value, self.dtype, self.held)
        if self.compensated:
            lost = f"{self._get(self.second, lane, self.held.name)} + lost_by_sum({held}, {value})"
            self._put(self.second, lane, lost, self.held.name)
        self._put(self.name, lane, operators.combine(self.stage.combine, held, value, self.held), self.held.name)

    def _update_position(self, lane: str, value: str, held: str) -> None:
        """Take the value and its position if it beats what is held: the first of equals, and of NaNs, stays."""
        writer, context = self.context.writer, self.context
        place = context.expressions.named(context.expressions.rename(position_in(self.stage.reduced)), "p").text
        better, best = writer.name("b"), writer.name("b")
        writer.line(f"{best} = {held}")
        writer.line(f"{better} = {self._beats(value, best)}")
        self._put(self.name, lane, f"select({better}, {value}, {best})", self.dtype.name)
        self._put(self.second, lane, f"select({better}, {place}, {self._get(self.second, lane, 'int64')})", "int64")

    def result(self, lane: str = "") -> Known:
        """Write the line that gives the combined value: of one lane of a block, or of the only register."""
        if self.by_position:
            text = self._get(self.second, lane, "int64")
        else:
            text = self._get(self.name, lane, self.held.name)
            if self.compensated:
                text = f"settle({text}, {self._get(self.second, lane, self.held.name)})"
            text = operators.cast(text, self.held, self.stage.result.dtype)
        name = self.context.writer.name("v")
        self.context.writer.line(f"{name} = {text}")
        return Known(name, self.context.writer.level)

    def fold(self) -> Known:
        """Write the lines after the loops that combine all lanes; the result's name."""
        writer, kind = self.context.writer, self.held.name
        if self.by_position:
            return self._fold_positions()
        if self.compensated:
            lane = writer.name("l")
            with writer.block(f"for {lane} in range({self.width}):"):
                settled = f"settle(load({self.name}, {lane}), load({self.second}, {lane}))"
                self._put(self.name, lane, settled, kind)
        name = writer.name("v")
        text = f"fold_{self.stage.combine}({self.name}, {self.width})"
        writer.line(f"{name} = {operators.cast(text, self.held, self.stage.result.dtype)}")
        return Known(name, writer.level)

    def _fold_positions(self) -> Known:
        """The best of all lanes; of equals, and of NaNs, the one at the first position."""
        writer = self.context.writer
        best, place, lane = writer.name("a"), writer.name("a"), writer.name("l")
        writer.line(f"{best} = {self._get(self.name, '0', self.held.name)}")
        writer.line(f"{place} = load({self.second}, 0)")
        with writer.block(f"for {lane} in range(1, {self.width}):"):
            value, position, wins = writer.name("v"), writer.name("p"), writer.name("b")
            writer.line(f"{value} = {self._get(self.name, lane, self.held.name)}")
            writer.line(f"{position} = load({self.second}, {lane})")
            writer.line(f"{wins} = {self._beats(value, best)} | ({position} < {place}) & ({self._ties(value, best)})")
            writer.line(f"{best} = select({wins}, {value}, {best})")
            writer.line(f"{place} = select({wins}, {position}, {place})")
        return Known(place, writer.level)

    def _beats(self, value: str, best: str) -> str:
        """Whether a value is better than another, NaN being the best there is."""
        sign = ">" if self.stage.combine == "argmax" else "<"
        if self.dtype.kind == "f":
            return f"select({value} != {value}, {best} == {best}, {value} {sign} {best})"
        if self.dtype.kind == "b":
            return f"({value} & ({best} ^ True))" if sign == ">" else f"({best} & ({value} ^ True))"
        return f"({value} {sign} {best})"

    def _ties(self, value: str, best: str) -> str:
        if self.dtype.kind == "f":
            return f"select({value} != {value}, {best} != {best}, {value} == {best})"
        return f"{value} == {best}"


def lanes_for(stage: Reduce, extent: Size) -> int:
    """Number of lanes of a reduction whose innermost loop has an extent; 1 where a register does."""
    dtype = stage.value.dtype
    if stage.combine in ("argmax", "argmin"):
        lanes = POSITION_LANES
    elif dtype.kind != "b":
        lanes = LANE_BYTES // dtype.itemsize
    else:
        return 1
    if isinstance(extent, int):
        while lanes > extent:
            lanes //= 2
    return lanes if lanes >= 8 else 1


def reduced_size(stage: Reduce) -> Size:
    """Number of values that a reduction combines into one."""
    return product(axis.extent for axis in stage.reduced)
