"""Kernels with stages of their own axes: softmax, normalisation, sums of rows.

One loop runs over a worker's part of the shared axes' points. Inside it the stages run one after another, and
adjacent stages over equal axes share a loop::

    for i in points:                     softmax, in three loops over a row:
        for j: m = max(m, x[i, j])           its largest element
        for j: e = exp(x[i, j] - m)          the exponentials, kept in scratch, and their sum
               s = s + e
        for j: y[i, j] = e / s               the result

Values without axes of their own are registers. A result that only its own loop reads is a register there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.codegen.cpu import chunks, columns, formulas, index_sets, lane_rounds, streaming
from graphc.codegen.cpu.context import Context, fixed, operand_tensors, space
from graphc.codegen.cpu.loops import collapse
from graphc.codegen.cpu.reductions import Accumulator, lanes_for, reduced_size
from graphc.codegen.cpu.scans import write_scan
from graphc.codegen.cpu.streaming import NO_FETCHES, Copy, Fetches
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, of_atom, product
from graphc.schedule.kernel import Map, Reduce, ReduceChunks, Scan, Stage, walk

SHORT_ROW = 256
"""Bytes of results a point: below, workers take points in units that fill cache lines."""

COPIED_AT_ONCE = 64
"""Elements that a loop without lanes makes before they are copied past the caches."""


def write_rows(context: Context) -> None:
    """Print a kernel whose stages are maps, reductions and scans."""
    stages = context.kernel.stages
    groups = group_stages(context, stages)
    keep_results(context, groups)
    if context.kernel.chunks:
        with chunks.shared_out(context) as axes:
            streams = _write_points(context, groups, axes)
        if streams:
            context.writer.line("drain()")
        return
    axes, renamed = collapse(context.kernel.axes, context.accesses(stages))
    context.expressions.renamed.update(renamed)
    if axes and columns.suits(context, stages, axes[-1]):
        columns.write_columns(context, axes)
        return
    with context.loops.shared_out(axes, row_unit(context)):
        streams = _write_points(context, groups, axes)
    if streams:
        context.writer.line("drain()")


def _write_points(context: Context, groups: Sequence[Sequence[Stage]], axes: Sequence[Axis]) -> bool:
    """The loops of one point; where there are several, rows are fetched ahead and stored past the caches.

    Returns whether the latter may happen.
    """
    rows = streaming.rows_in_memory(context, axes[-1]) if axes and len(groups) > 1 else []
    laned = [place for place, group in enumerate(groups) if _lanes_of(group)]
    copies = streaming.streamed(context, rows, groups, [_lanes_of(group) or _round_of(group) for group in groups])
    for place, group in enumerate(groups):
        fetches = NO_FETCHES
        if place in laned:
            wanted = streaming.fetches_of(context, rows, space(group[0])[0].extent)
            fetches = Fetches(wanted, laned.index(place), len(laned))
        done = [copy for copy in copies if copy.last == place]
        write_group(context, group, fetches, [copy for copy in done if copy.by_rounds])
        for copy in done:
            if not copy.by_rounds:
                copy.write(context.writer)
    return bool(copies)


def _round_of(group: Sequence[Stage]) -> int:
    """Elements after which a loop over one axis of static length, without lanes, may stop to copy them; 0 if none."""
    axes = space(group[0])
    return COPIED_AT_ONCE if len(axes) == 1 and isinstance(axes[0].extent, int) and _fusible(group[0]) else 0


def _lanes_of(group: Sequence[Stage]) -> int:
    """Lanes of a group that is one loop, of static length, with reductions; 0 for others."""
    axes = space(group[0])
    sums = [stage for stage in group if isinstance(stage, Reduce) and not stage.axes]
    if len(axes) != 1 or not sums or not isinstance(axes[0].extent, int):
        return 0
    lanes = max(lanes_for(stage, axes[0].extent) for stage in sums)
    return lanes if lanes > 1 else 0


def row_unit(context: Context) -> int:
    """Points that workers take at once, so that two of them do not write one cache line again and again."""
    sizes = [product(axis.extent for axis in stage.axes) * t.dtype.itemsize
             for stage in context.kernel.stages for t in stage.results if context.is_stored(t)]  # fmt: skip
    least = min((size for size in sizes if isinstance(size, int)), default=SHORT_ROW)
    return 1 if least >= SHORT_ROW else 64 // max(1, min(64, least))


def group_stages(context: Context, stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages in the order of execution; those of one list share a loop.

    Parts of chunks are read by no stage here, so they are added to in whichever loop reads most of the same rows.
    """
    groups: list[list[Stage]] = []
    for stage in stages:
        if isinstance(stage, ReduceChunks):
            continue
        if groups and _joins(context, stage, groups[-1]):
            groups[-1].append(stage)
        else:
            groups.append([stage])
    for stage in stages:
        if isinstance(stage, ReduceChunks):
            _place_chunks(context, stage, groups)
    return groups


def _place_chunks(context: Context, stage: ReduceChunks, groups: list[list[Stage]]) -> None:
    """Add a reduction of chunks to one of the groups behind those that make what it reads, or to a new one."""
    wanted = operand_tensors(stage.scalars())
    made = [place for place, group in enumerate(groups) if any(wanted.intersection(each.results) for each in group)]
    fitting = [group for group in groups[max(made, default=0) :] if _joins(context, stage, group)]
    if not fitting:
        groups.append([stage])
        return
    common = [len(wanted & operand_tensors([s for each in group for s in each.scalars()])) for group in fitting]
    fitting[common.index(max(common))].append(stage)


def _fusible(stage: Stage) -> bool:
    """Whether a stage can share its loop with others; :func:`space` then says over which axes."""
    if isinstance(stage, ReduceChunks):
        return True
    return (isinstance(stage, Map) and bool(stage.axes)) or (isinstance(stage, Reduce) and not stage.axes)


def _joins(context: Context, stage: Stage, group: Sequence[Stage]) -> bool:
    """Whether a stage can run in a group's loop: equal extents, and all that it reads of the loop is made by then."""
    if not _fusible(stage) or not _fusible(group[0]):
        return False
    own = space(stage)
    if [axis.extent for axis in own] != [axis.extent for axis in space(group[0])]:
        return False
    mapped = {tensor for member in group if isinstance(member, Map) for tensor in member.results}
    reduced = {tensor for member in group if isinstance(member, Reduce) for tensor in member.results}
    here = tuple(of_atom(axis) for axis in (*context.kernel.axes, *own))
    for part in walk(*stage.scalars()):
        if isinstance(part, Load) and (part.tensor in reduced or (part.tensor in mapped and part.index != here)):
            return False
    return True


def keep_results(context: Context, groups: Sequence[Sequence[Stage]], apart: Collection[Tensor] = ()) -> None:
    """Give scratch to results with axes that another group reads, except those that are kept ``apart``."""
    readers: dict[Tensor, set[int]] = {}
    for place, group in enumerate(groups):
        for stage in group:
            for tensor in operand_tensors(stage.scalars()):
                readers.setdefault(tensor, set()).add(place)
    for place, group in enumerate(groups):
        for stage in group:
            for tensor in stage.results:
                if stage.axes and tensor not in apart and readers.get(tensor, set()) - {place}:
                    context.keep(tensor, stage.axes)


def write_group(
    context: Context, group: Sequence[Stage], fetches: Fetches = NO_FETCHES, copies: Sequence[Copy] = ()
) -> None:
    """Print stages that run together at one point of the shared axes."""
    first = group[0]
    if isinstance(first, Scan):
        write_scan(context, first)
    elif isinstance(first, Reduce) and first.axes:
        _write_nested(context, first)
    elif isinstance(first, Map) and not first.axes:
        _announce(context, group)
        value = context.expressions.scalar(first.value)
        finish_scalar(context, first, value)
    else:
        write_loop(context, group, fetches, copies)


def _announce(context: Context, group: Sequence[Stage]) -> None:
    """A comment for each stage; lines from here on are for the nodes of all."""
    context.writer.nodes = tuple(node for stage in group for node in stage.nodes)
    for stage in group:
        context.writer.comment(formulas.stage_formula(context, stage))


def finish_scalar(context: Context, stage: Stage, value: Known) -> None:
    """Store a result if it has a place; if it has no axes of its own, later stages find it in its register."""
    (tensor,) = stage.results
    if context.is_kept(tensor):
        context.store(tensor, context.index_of(stage), value)
    if not stage.axes:
        context.registers[tensor] = fixed(value)


def write_loop(
    context: Context, group: Sequence[Stage], fetches: Fetches = NO_FETCHES, copies: Sequence[Copy] = ()
) -> None:
    """Print the loop of maps with axes and reductions without."""
    _announce(context, group)
    with context.joined(group) as axes:
        extent = axes[-1].extent if axes else 1
        sums = [stage for stage in group if isinstance(stage, Reduce)]
        lanes = max((lanes_for(stage, extent) for stage in sums), default=COPIED_AT_ONCE if copies else 1)
        accumulators = [_accumulator(context, stage, extent, lanes) for stage in sums]
        for accumulator in accumulators:
            accumulator.begin()
        before = dict(context.registers)
        with context.loops.over(axes[:-1]):
            if not axes:
                _write_body(context, group, accumulators, "")
            elif lanes == 1:
                for piece in index_sets.split(context.expressions, group, axes[-1]):
                    with piece.loop(context.loops):
                        _write_body(context, piece.stages, accumulators, "")
            else:
                _LaneLoop(context, group, accumulators, axes[-1], lanes).write(fetches, copies)
        context.registers = before
        for accumulator in accumulators:
            value = accumulator.fold() if accumulator.width > 1 else accumulator.result()
            finish_scalar(context, accumulator.stage, value)


def _accumulator(context: Context, stage: Reduce, extent: Size, lanes: int) -> Accumulator:
    """A reduction's accumulator: as many lanes as its loop has, if its order matters."""
    width = lanes if lanes_for(stage, extent) > 1 else 1
    count = reduced_size(stage)
    return Accumulator(context, stage, width, count // width if isinstance(count, int) else count)


class _LaneLoop:
    """The innermost loop of a group in whole rounds of lanes, then what is left.

    Parameters
    ----------
    context : Context
    group : sequence of Stage
    accumulators : sequence of Accumulator
        Of the group's reductions.
    axis : Axis
    lanes : int
        Elements of a round.
    """

    def __init__(
        self, context: Context, group: Sequence[Stage], accumulators: Sequence[Accumulator], axis: Axis, lanes: int
    ):
        self.context, self.accumulators, self.axis, self.lanes = context, accumulators, axis, lanes
        self.start, self.lane, self.variable = (context.writer.name(prefix) for prefix in "rlj")
        self.cut = lane_rounds.cut_rounds(context, group, axis, lanes, self.start)

    def write(self, fetches: Fetches, copies: Sequence[Copy]) -> None:
        """Print the loop; rows are fetched ahead, and what lies where it can be is copied past the caches."""
        writer, extent = self.context.writer, self.axis.extent
        if copies:
            with writer.block(f"if {' & '.join(dict.fromkeys(copy.condition for copy in copies))}:"):
                self._write_rounds(fetches, copies)
            with writer.block("else:"):
                for copy in copies:
                    copy.begin_in_memory(writer)
                self._write_rounds(fetches, ())
        else:
            self._write_rounds(fetches, ())
        if isinstance(extent, int) and extent % self.lanes:
            fetches.write(writer, self.cut.whole, extent % self.lanes)
        self._write_elements(self.cut.rest, self.cut.whole)

    def _write_rounds(self, fetches: Fetches, copies: Sequence[Copy]) -> None:
        """The whole rounds."""
        writer, start = self.context.writer, self.start
        for rounds in self.cut.rounds:
            with writer.block(f"for {start} in range({rounds.first}, {rounds.last}, {self.lanes}):"):
                fetches.write(writer, start, self.lanes)
                for copy in copies:
                    copy.begin_round(writer, start)
                self._write_elements(rounds.parts, start)
                for copy in copies:
                    copy.write_round(writer, start, self.lanes)
            if fetches.places or copies:
                writer.line("rolled()")

    def _write_elements(self, parts: Sequence[lane_rounds.LanePart], first: str) -> None:
        """The elements of a round that begins at ``first``, or of what is left."""
        writer, expressions = self.context.writer, self.context.expressions
        for part in parts:
            with writer.block(f"for {self.lane} in {part.lanes}:", independent=True) as level:
                writer.line(f"{self.variable} = {first} + {self.lane}")
                with expressions.bound({self.axis: Known(self.variable, level)}):
                    _write_body(self.context, part.stages, self.accumulators, self.lane)


def _write_body(context: Context, group: Sequence[Stage], accumulators: Sequence[Accumulator], lane: str) -> None:
    """One element of each stage; what is stored is written last, after everything has been read."""
    by_stage = {accumulator.stage.result: accumulator for accumulator in accumulators}
    pending: list[tuple[Stage, Known]] = []
    for stage in group:
        if isinstance(stage, Reduce):
            by_stage[stage.result].update(stage.value, lane)
            continue
        if isinstance(stage, ReduceChunks):
            pending.append((stage, chunks.combined(context, stage)))
            continue
        assert isinstance(stage, Map)
        value = context.expressions.scalar(stage.value)
        context.registers[stage.result] = fixed(value)
        if context.is_kept(stage.result):
            pending.append((stage, value))
    for stage, value in pending:
        context.store(stage.result, context.index_of(stage), value)


def _write_nested(context: Context, stage: Reduce) -> None:
    """A reduction with axes of its own: for each of their points, one as if they were shared."""
    before = dict(context.expressions.renamed)
    axes, renamed = collapse(stage.axes, context.accesses([stage]))
    context.expressions.renamed.update(renamed)
    if axes and columns.prefers_columns(context, [stage], axes[-1]):
        columns.write_nested(context, stage, axes)
    else:
        with context.loops.over(axes):
            write_loop(context, [stage])
    context.expressions.renamed = before
