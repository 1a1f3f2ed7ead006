"""Reductions along a strided axis: sums of columns, gradients of biases, statistics over a batch.

Where the axis that is *kept* is the contiguous one, summing one column after another would step through memory in
large strides. Instead a block of neighbouring columns is summed at once, one accumulator for each, row after row::

    for each block of columns:
        for r in rows:
            for l in block:                      contiguous, vector code
                a[l] = a[l] + x[r, start + l]
        for l in block: y[start + l] = a[l]      and whatever else is made of the sums

Workers share out the blocks. Each column's sum has the order of the rows, so blocks change no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphc.codegen.cpu import formulas
from graphc.codegen.cpu.context import Context, fixed, operand_tensors
from graphc.codegen.cpu.reductions import Accumulator, reduced_size
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, coefficient, floordiv, of_atom
from graphc.schedule.kernel import Map, Reduce, Stage, walk

WIDTHS = (64, 128, 112, 96, 80, 48, 32)
"""Columns of a block, the first that divides their number: whole vectors, few enough for several workers."""

FEWEST_COLUMNS = 4


def suits(context: Context, stages: Sequence[Stage], axis: Axis) -> bool:
    """Whether a kernel is best printed by columns of its last shared axis."""
    if any(stage.axes or not isinstance(stage, (Map, Reduce)) for stage in stages):
        return False
    return prefers_columns(context, [stage for stage in stages if isinstance(stage, Reduce)], axis)


def prefers_columns(context: Context, stages: Sequence[Reduce], axis: Axis) -> bool:
    """Whether more of what some reductions read is contiguous along ``axis`` than along the reduced axes."""
    if isinstance(axis.extent, int) and axis.extent < FEWEST_COLUMNS:
        return False
    votes = 0
    for stage in stages:
        for part in walk(stage.value):
            if isinstance(part, Load) and context.is_kept(part.tensor):
                place = context.flat(part.tensor, part.index)
                along = coefficient(place, axis) == 1
                across = bool(stage.reduced) and coefficient(place, stage.reduced[-1]) == 1
                votes += int(along and not across) - int(across and not along)
    return votes > 0


@dataclass
class _Phase:
    """Reductions that share their loops, and the maps evaluated on their results."""

    reductions: list[Reduce] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)

    @property
    def stages(self) -> list[Stage]:
        """All stages in order."""
        return [*self.reductions, *self.maps]


def _phases(context: Context, stages: Sequence[Stage]) -> list[_Phase]:
    """Stages in an order of execution that goes through memory as few times as it can.

    A reduction joins the first phase that sums over equal extents and comes after all it reads, even past maps that
    were asked for before it: what is read is never what a kernel has written, and a reduction that only later
    stages read writes nothing itself.
    """
    phases = [_Phase()]
    for stage in stages:
        if isinstance(stage, Map):
            phases[-1].maps.append(stage)
            continue
        assert isinstance(stage, Reduce)
        read = operand_tensors(stage.scalars())
        made_in = [any(member.result in read for member in phase.stages) for phase in phases]
        earliest = max((place + 1 for place, made in enumerate(made_in) if made), default=0)
        if context.is_stored(stage.result):
            earliest = max(earliest, len(phases) - (not phases[-1].maps))
        extents = [axis.extent for axis in stage.reduced]
        for phase in phases[earliest:]:
            if all([axis.extent for axis in member.reduced] == extents for member in phase.reductions):
                break
        else:
            phases.append(phase := _Phase())
        phase.reductions.append(stage)
    return phases


class _Block:
    """A block of columns: the loop over it, and what is kept for each column between such loops."""

    def __init__(self, context: Context, axis: Axis, width: int):
        self.context, self.axis, self.width = context, axis, width
        self.start, self.columns = Known("0", 0), Known(str(width), 0)
        self.lane = Known("0", 0)

    @contextmanager
    def over_columns(self) -> Iterator[None]:
        """The loop over the block's columns."""
        writer = self.context.writer
        lane, column = writer.name("l"), writer.name("j")
        with writer.block(f"for {lane} in range({self.columns.text}):", independent=True) as level:
            writer.line(f"{column} = {self.start.text} + {lane}")
            self.lane = Known(lane, level)
            with self.context.expressions.bound({self.axis: Known(column, level)}):
                yield

    def write(self, stages: Sequence[Stage]) -> None:
        """All phases of some stages."""
        phases = _phases(self.context, stages)
        for place, phase in enumerate(phases):
            scalars = [part for other in phases[place + 1 :] for stage in other.stages for part in stage.scalars()]
            self._write_phase(phase, operand_tensors(scalars))

    def _write_phase(self, phase: _Phase, later: set[Tensor]) -> None:
        """The reductions of a phase, then its maps; what ``later`` phases read is kept for each column of the block."""
        context, writer = self.context, self.context.writer
        writer.nodes = tuple(node for stage in phase.stages for node in stage.nodes)
        for stage in phase.stages:
            writer.comment(formulas.stage_formula(context, stage))
        accumulators = self._reduce(phase.reductions) if phase.reductions else []
        columns_kept: dict[Tensor, str] = {}
        before = dict(context.registers)
        pending: list[tuple[Stage, Known]] = []
        with self.over_columns():
            for accumulator in accumulators:
                value = accumulator.result(self.lane.text)
                pending.append((accumulator.stage, value))
                context.registers[accumulator.stage.result] = fixed(value)
            for stage in phase.maps:
                value = context.expressions.scalar(stage.value)
                pending.append((stage, value))
                context.registers[stage.result] = fixed(value)
            for stage, value in pending:
                (tensor,) = stage.results
                if context.is_kept(tensor):
                    context.store(tensor, context.index_of(stage), value)
                if tensor in later:
                    columns_kept[tensor] = self._keep(tensor, value)
        context.registers = before
        for tensor, name in columns_kept.items():
            context.registers[tensor] = self._reader(tensor, name)

    def _keep(self, tensor: Tensor, value: Known) -> str:
        """Keep a value of the column at hand in scratch for all columns of the block; the pointer's name."""
        dtype = tensor.dtype
        name = self.context.scratch(self.width, dtype.name, dtype.itemsize)
        called = "store_bool" if dtype.kind == "b" else "store"
        self.context.writer.line(f"{called}({name}, {self.lane.text}, {value.text})")
        return name

    def _reader(self, tensor: Tensor, name: str) -> Callable[[], Known]:
        """A register that is loaded from there, in whichever loop over the columns is open."""
        return lambda: self.context.load(name, self.lane.text, tensor.dtype.name, self.lane.level)

    def _reduce(self, stages: Sequence[Reduce]) -> list[Accumulator]:
        """The loops of some reductions over equal extents."""
        context = self.context
        accumulators = [Accumulator(context, stage, self.width, reduced_size(stage)) for stage in stages]
        for accumulator in accumulators:
            accumulator.begin()
        with context.joined(stages) as axes, context.loops.over(axes, "r"), self.over_columns():
            for accumulator in accumulators:
                accumulator.update(accumulator.stage.value, self.lane.text)
        return accumulators


def _width(extent: Size) -> int:
    """Columns of a block: a function of their number only."""
    if not isinstance(extent, int):
        return WIDTHS[0]
    if extent <= WIDTHS[0]:
        return extent
    return next((width for width in WIDTHS if extent % width == 0), WIDTHS[0])


def write_columns(context: Context, axes: Sequence[Axis]) -> None:
    """Print a kernel of maps and reductions without axes of their own, by blocks of the last shared axis."""
    *outer, last = axes
    block = _Block(context, last, _width(last.extent))
    blocks = Axis(floordiv(last.extent + block.width - 1, block.width))
    with context.loops.shared_out([*outer, blocks], 1):
        number = context.expressions.size(of_atom(blocks))
        _open_block(context, block, context.writer.let(f"{number.text}*{block.width}", number.level, "o"))
        block.write(context.kernel.stages)


def write_nested(context: Context, stage: Reduce, axes: Sequence[Axis]) -> None:
    """A reduction with axes of its own, by blocks of the last of these."""
    *outer, last = axes
    block = _Block(context, last, _width(last.extent))
    with context.loops.over(outer):
        start = context.writer.name("o")
        extent = context.expressions.named(last.extent).text
        with context.writer.block(f"for {start} in range(0, {extent}, {block.width}):") as level:
            _open_block(context, block, Known(start, level))
            block.write([stage])


def _open_block(context: Context, block: _Block, start: Known) -> None:
    """Set where a block starts and how many columns it has."""
    extent = block.axis.extent
    block.start = start
    if not isinstance(extent, int) or extent % block.width:
        size = context.expressions.named(extent).text
        text = f"minimum_int({size} - {start.text}, {block.width})"
        block.columns = context.writer.let(text, start.level, "c")
