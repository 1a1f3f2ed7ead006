"""Kernels with contractions: matmul, batched or not, attention, with prologue and epilogue on the block that is hot.

``C[b.., m.., n..] = sum over k.. of A[b.., m.., k..] * B[b.., k.., n..]``, all operands strided views of memory. One
axis of each kind goes to the compiled contraction (:mod:`graphc.codegen.cpu.contraction`); the others become
loops around its call, those of k adding to what is there. Of the axes of C, the contiguous one must be n: if it
comes from A, the operands change places.

Workers share out blocks of C. Cutting m and n changes no bit, since every element is a sum of products in
an order that k alone decides. So blocks are cut as evenly as whole register tiles allow, lest one worker get twice the
work of another; and where rows alone are cut, each worker cuts its own part of them.
The stages of a kernel are *segments*, contractions and what lies between them, and follow each other on a block while
it is in the cache; what one segment makes for another lies in scratch, a block of it, or where its reader's result
will::

    for block in blocks of (m, n):                  for block in blocks of m:
        contract(A[m0:], B[:, n0:], tile)               contract(A[m0:], B, tile)
        for i in rows of the block:                     for i in rows of the block:
            for j in its columns:                           softmax, normalisation ... of row i
                y[i, j] = tanh(tile[i, j] + b[j])       contract(softmaxed rows, V, output)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

from graphc.codegen.cpu import formulas, machine, rows, streaming, variants
from graphc.codegen.cpu.context import LINE_BYTES, Context, operand_tensors
from graphc.codegen.cpu.loops import ZERO, collapse
from graphc.codegen.cpu.maps import write_body
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load, apply
from graphc.ir.symbolic import Axis, Size, coefficient, floordiv, of_atom, product
from graphc.ir.types import NAMES, flat_offset, is_float
from graphc.schedule.kernel import Contract, Kernel, Map, Reduce, Stage, walk
from graphc.schedule.lower import is_strided
from graphc.schedule.order import overwrites

BLOCKS_A_PROCESSOR = 2
"""Blocks are made smaller until there are so many, so that workers have something to share."""

BLOCK_COLUMNS, LEAST_COLUMNS = 512, 64
"""Columns of a block, at most and at least."""

LEAST_STRIP_ROWS = 4
"""Least rows of a block of a product of few steps that is cut into rows."""

SHARED_BLOCK_TILES = 19
"""Rows of a block, in register tiles, where other stages go over it."""

ROW_BLOCK_TILES = 6
"""Rows of a block, in register tiles, where blocks are whole rows of C, for stages that need whole rows."""

HOT_BLOCK_TILES, HOT_BLOCK_COLUMNS, HOT_PRODUCT = 6, 64, 1 << 18
"""The same where stages go over the block with several other tensors, and C has up to so many elements."""


class Plan(NamedTuple):
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


def with_compiled_products(kernel: Kernel) -> Kernel:
    """The kernel with every contraction that is not to be compiled calls rewritten as a sum of products.

    The compiled contraction takes one float dtype and operands that lie in memory or scratch and are linear in every
    axis. Integers, bools and all others take the general path of reductions, and so do dot products, which have
    neither rows nor columns to share loads among.
    """

    def compiled(stage: Contract) -> bool:
        return _is_strided(kernel, stage) and not _is_dot(kernel, stage)

    return replace(kernel, stages=tuple(
        _as_reduction(stage) if isinstance(stage, Contract) and not compiled(stage) else stage
        for stage in kernel.stages
    ))  # fmt: skip


def _as_reduction(stage: Contract) -> Reduce:
    value = apply("multiply", stage.left, stage.right)
    return Reduce(stage.results, stage.axes, stage.reduced, "add", value, nodes=stage.nodes)


def _is_strided(kernel: Kernel, stage: Contract) -> bool:
    """Whether the compiled contraction can read both operands and write the result."""
    loads, dtype = (stage.left, stage.right), stage.result.dtype
    if not is_float(dtype) or any(load.dtype != dtype for load in loads):
        return False
    axes = (*kernel.axes, *stage.axes, *stage.reduced)
    return all(is_strided(load, axes) for load in loads)


def _is_dot(kernel: Kernel, stage: Contract) -> bool:
    """Whether every axis of the result is one of both operands (a batch), or of neither."""
    places = [load.offset for load in (stage.left, stage.right)]
    axes = [axis for axis in (*kernel.axes, *stage.axes) if axis.extent != 1]
    return not any((coefficient(places[0], axis) == 0) != (coefficient(places[1], axis) == 0) for axis in axes)


def _plan(context: Context, stage: Contract, shared: Sequence[Axis]) -> Plan:
    """Choose the axes of the calls among the shared ones and the stage's own, which it collapses."""
    own, reduced = (_collapsed(context, stage, axes) for axes in (stage.axes, stage.reduced))
    left, right = stage.left, stage.right
    out = _logical(context, stage)

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
    return Plan(stage, left, right, m, n, k, loops, tuple(reduced[:-1]), variant, tail)


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
    kept, renamed = collapse(axes, _places(context, stage, set()))
    context.expressions.renamed.update(renamed)
    return kept


def _block_shape(context: Context, plan: Plan, shared: Sequence[Axis]) -> tuple[int, int]:
    """Rows and columns of a block: large, so that copying operands costs little, yet enough blocks for all workers.

    A block is as high as the contraction's own, which stay in L2, so that each panel of B is read and copied once a
    block. Where columns alone are cut two blocks suffice, since each worker cuts its own part of them. Of a product
    that is higher than wide rows alone are cut: its few tiles of columns would not come out even. What has too few
    columns for all workers is cut into rows as well: the weights' gradient of a layer with few units. A product of few
    steps copies nothing, so its rows alone are cut if there are some: neighbours in columns would share a line in every
    row.

    Where other stages read several tensors of C's size, as an optimizer's update does, blocks of small products stay in
    L1 until they come to them; large products lose more by copying operands again for each small block.
    """
    tile = variants.tile_shape(NAMES[plan.stage.result.dtype])
    m, n = (axis.extent if axis is not None else 1 for axis in (plan.m, plan.n))
    cut_m, (high, wide) = plan.m in shared, _units(plan)
    if plan.n not in shared:
        return ROW_BLOCK_TILES * tile.rows, LEAST_COLUMNS
    single = len(context.kernel.stages) == 1
    tiles, columns = tile.block_rows // tile.rows if single else SHARED_BLOCK_TILES, BLOCK_COLUMNS
    if _reads_beside(context, plan.stage) > 1 and isinstance(m, int) and isinstance(n, int) and m * n <= HOT_PRODUCT:
        tiles, columns = HOT_BLOCK_TILES, HOT_BLOCK_COLUMNS
    elif single and cut_m and isinstance(m, int) and isinstance(n, int) and _rows_alone(plan, m, n):
        rows = min(tiles * tile.rows // high, -(-m // (machine.processors() * high)))
        return max(rows, 1) * high, max(n, 1)
    row_blocks = max(-(-m // (tiles * tile.rows)), 1) if cut_m and isinstance(m, int) else 1
    alone = isinstance(m, int) and row_blocks == 1 and all(axis in (plan.m, plan.n) for axis in shared)
    if isinstance(n, int) and n * plan.left.dtype.itemsize <= variants.FEW_BYTES:
        columns = max(n, 1)
    elif isinstance(n, int):
        least = 2 if single and alone else BLOCKS_A_PROCESSOR * machine.processors()
        while columns > LEAST_COLUMNS and row_blocks * -(-n // columns) < least:
            columns //= 2
        columns = -(-n // (-(-n // columns) * wide)) * wide
    if alone and cut_m and isinstance(n, int):
        row_blocks = max(-(-machine.processors() // max(-(-n // columns), 1)), 1)
    rows = -(-m // (row_blocks * high)) * high if isinstance(m, int) else tiles * tile.rows
    return max(rows, high), columns


def _rows_alone(plan: Plan, m: int, n: int) -> bool:
    """Whether a product is cut into rows and not into columns."""
    if variants.steps_of(NAMES[plan.stage.result.dtype] + plan.variant) is not None:
        return m >= LEAST_STRIP_ROWS * machine.processors()
    return n <= min(m, BLOCK_COLUMNS)


def _units(plan: Plan) -> tuple[int, int]:
    """Rows and columns are cut at multiples of these."""
    return variants.units(NAMES[plan.stage.result.dtype] + plan.variant)


def _reads_beside(context: Context, stage: Contract) -> int:
    """Tensors of a contraction's size that the kernel reads besides."""
    size = stage.result.type.size
    return sum(tensor.type.size == size for tensor in context.kernel.inputs)


class _Blocks:
    """The blocks that workers share out: of C of the kernel's first contraction, as far as its axes are shared.

    Attributes
    ----------
    m, n : _Cut or None
        The cuts of C's rows and columns, where these are shared.
    cuts : list of _Cut
        Those of the two that there are.
    points : list of Axis
        What workers share out, outermost first: the other shared axes, then the numbers of the blocks.
    """

    def __init__(self, context: Context, stage: Contract, shared: Sequence[Axis]):
        self.context = context
        before = dict(context.expressions.renamed)
        plan = _plan(context, stage, shared)
        rows, columns = _block_shape(context, plan, shared)
        context.expressions.renamed = before
        high, wide = _units(plan)
        self.m = _Cut(plan.m, rows, high) if plan.m in shared else None
        self.n = _Cut(plan.n, columns, wide) if plan.n in shared else None
        self.cuts = [cut for cut in (self.m, self.n) if cut is not None]
        self.points = [axis for axis in shared if axis not in (plan.m, plan.n)]
        across = self.n.blocks.extent if self.n else 1
        outermost = reversed(self.cuts) if isinstance(across, int) and across % 2 == 0 else self.cuts
        self.points += [cut.blocks for cut in outermost if cut.blocks.extent != 1]

    def plan_of(self, stage: Contract) -> Plan | None:
        """How one call computes a block of a contraction; None if the block's cuts are no rows and columns of it."""
        before = dict(self.context.expressions.renamed)
        plan = _plan(self.context, stage, [cut.axis for cut in self.cuts])
        fits = self.m is None or plan.m is self.m.axis
        if fits and (self.n is None or plan.n is self.n.axis):
            return plan
        self.context.expressions.renamed = before
        return None

    def keep_in_scratch(self, tensor: Tensor, own: Sequence[Axis]) -> None:
        """Give a result a place that holds one block."""
        size = product(axis.extent for axis in own)
        steps: list[tuple[Axis, Size]] = []
        for cut in reversed(self.cuts):
            steps.append((cut.local, size))
            size = size * cut.size
        self.context.keep(tensor, own, tuple(steps), size)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The loop over a worker's blocks; inside, every cut knows where its block begins and how long it is."""
        context = self.context
        only = next((cut for cut in self.cuts if self.points == [cut.blocks]), None)
        with context.loops.shared_out(self.points, 1) if only is None else only.opened_by_parts(context):
            for cut in self.cuts:
                if cut is not only:
                    cut.open(context)
            yield

    @contextmanager
    def at_start(self, plan: Plan) -> Iterator[None]:
        """The axes inside a call at the block's first element."""
        firsts = {cut.axis: cut.start for cut in self.cuts} | {cut.local: ZERO for cut in self.cuts}
        with self.inside(plan), self.context.expressions.bound(firsts):
            yield

    @contextmanager
    def inside(self, plan: Plan) -> Iterator[None]:
        """The axes inside a call at their first places."""
        inner = (plan.m, plan.n, plan.k)
        with self.context.expressions.bound({axis: ZERO for axis in inner if axis is not None}):
            yield

    @contextmanager
    def over_elements(self, independent: bool, stages: Sequence[Stage] = ()) -> Iterator[None]:
        """Loops over the block's rows and columns, as far as they are shared axes.

        ``independent`` promises that there are no further loops inside, and elements touch no others. What ``stages``
        will read of a later row is asked for.
        """
        context, writer = self.context, self.context.writer
        with ExitStack() as stack:
            for cut in self.cuts:
                local, place = writer.name("l"), writer.name("j")
                header, promise = f"for {local} in range({cut.length.text}):", independent and cut is self.cuts[-1]
                level = stack.enter_context(writer.block(header, promise))
                writer.line(f"{place} = {cut.start.text} + {local}")
                variables = {cut.axis: Known(place, level), cut.local: Known(local, level)}
                stack.enter_context(context.expressions.bound(variables))
                if cut is self.m:
                    self._ask_ahead(stages)
            yield

    def _ask_ahead(self, stages: Sequence[Stage]) -> None:
        """Ask for what some stages will read of a later row from memory.

        While a block is computed nobody reads these rows, and of a tensor that has long been pushed out of the caches
        the hardware fetches too little by itself: parts of rows are no stream.
        """
        context, writer = self.context, self.context.writer
        asked: set[Tensor] = set()
        for stage in stages:
            axes = (*([self.n.axis] if self.n else []), *stage.loop_axes())
            for part in walk(*stage.scalars()):
                if not isinstance(part, Load) or part.tensor in asked or context.made_here(part.tensor):
                    continue
                if not streaming.may_fill(part.tensor, streaming.PREFETCH_FROM):
                    continue
                row = self._row_of(context.flat(part.tensor, part.index), part.tensor, axes)
                if row is None:
                    continue
                asked.add(part.tensor)
                place, length = row
                within, line = writer.name("f"), max(LINE_BYTES // part.dtype.itemsize, 1)
                with writer.block(f"for {within} in range(0, {length}, {line}):"):
                    writer.line(f"prefetch({context.pointer(part.tensor)}, {place} + {within})")

    def _row_of(self, place: Size, tensor: Tensor, axes: Sequence[Axis]) -> tuple[str, str] | None:
        """Where a block's later row of a tensor begins, and its length; None if a row is not contiguous, or no other.

        It is so many rows later as :data:`~graphc.codegen.cpu.streaming.PREFETCH_AHEAD` says.
        """
        assert self.m is not None
        expressions, step = self.context.expressions, coefficient(place, self.m.axis)
        if len(axes) != 1 or step is None or step == 0 or coefficient(place, axes[0]) != 1:
            return None
        columns = self.n.size if self.n else axes[0].extent
        if not isinstance(columns, int) or columns == 0:
            return None
        start, length = (self.n.start, self.n.length) if self.n else (ZERO, Known(str(columns), 0))
        rows = -(-streaming.PREFETCH_AHEAD // (columns * tensor.dtype.itemsize))
        row = expressions.named(of_atom(self.m.axis))
        # by its number, not by a distance, which is a product of sizes: texts of several widths would differ in it
        later = self.context.writer.let(f"{row.text} + {rows}", row.level, "j")
        with expressions.bound({self.m.axis: later, axes[0]: start}):
            return expressions.named(place, "o").text, length.text


class _Cut:
    """An axis of C cut into blocks.

    Attributes
    ----------
    axis : Axis
    unit, size : int
        Blocks begin at multiples of the unit, a register tile, and have at most so many elements along the axis.
    blocks, local : Axis
        Counts the blocks; counts the places in one, by which scratch is addressed.
    start, length : Known
        Where the block at hand begins and how long it is, once its loop is open.
    """

    def __init__(self, axis: Axis | None, size: int, unit: int):
        assert axis is not None
        self.axis = axis
        self.unit = unit
        self.size = min(size, axis.extent) if isinstance(axis.extent, int) else size
        self.size = max(self.size, 1)
        self.blocks = Axis(floordiv(axis.extent + self.size - 1, self.size))
        self.local = Axis(self.size)
        self.start, self.length = ZERO, ZERO

    def open(self, context: Context) -> None:
        """Write where the block begins and how long it is."""
        expressions, writer = context.expressions, context.writer
        whole = isinstance(self.axis.extent, int) and self.axis.extent % self.size == 0
        if self.blocks.extent == 1:
            self.length = expressions.named(self.axis.extent)
            return
        number = expressions.size(of_atom(self.blocks))
        if whole:
            self.start = writer.let(f"{self.size}*{number.text}", number.level, "o")
            self.length = Known(str(self.size), 0)
            return
        extent, count = (expressions.named(size).text for size in (self.axis.extent, self.blocks.extent))
        self.start = writer.let(f"share({extent}, {self.unit}, {number.text}, {count})", number.level, "o")
        end = f"share({extent}, {self.unit}, {number.text} + 1, {count})"
        self.length = writer.let(f"{end} - {self.start.text}", number.level, "c")

    @contextmanager
    def opened_by_parts(self, context: Context) -> Iterator[None]:
        """A loop over the blocks of a worker's part of the axis; a product alone makes the part one block."""
        context.loops.part_of(self.axis.extent, self.unit)
        if len(context.kernel.stages) == 1:
            self.start = Known("first", context.writer.level)
            self.length = context.writer.let("last - first", self.start.level, "c")
            yield
            return
        start = Known(context.writer.name("o"), context.writer.level + 1)
        with context.writer.block(f"for {start.text} in range(first, last, {self.size}):"):
            self.start = start
            self.length = context.writer.let(f"minimum_int(last - {start.text}, {self.size})", start.level, "c")
            yield


def write_products(context: Context) -> None:
    """Print a kernel with contractions that the compiled one can do."""
    stages = context.kernel.stages
    segments = _segments(stages)
    crossing = _crossing(context, segments)
    for tensor, result in _in_results(context).items():
        context.place_in(tensor, result)
    groups = {}
    for segment in segments:
        if not isinstance(segment[0], Contract):
            groups[segment[0]] = rows.group_stages(context, segment)
            rows.keep_results(context, groups[segment[0]], apart=crossing)
    expressions = context.expressions
    offsets = context.accesses([stage for stage in stages if not isinstance(stage, Contract)])
    offsets += [place for stage in stages for place in _places(context, stage, crossing)]
    shared, renamed = collapse(context.kernel.axes, offsets)
    expressions.renamed.update(renamed)
    blocks = _Blocks(context, next(stage for stage in stages if isinstance(stage, Contract)), shared)
    for stage in stages:
        for tensor in stage.results:
            if tensor in crossing:
                blocks.keep_in_scratch(tensor, stage.axes)
    with blocks.opened():
        for segment in segments:
            before = dict(context.registers)
            if isinstance(segment[0], Contract):
                _write_contraction(context, segment[0], blocks)
            else:
                _write_others(context, segment, groups[segment[0]], blocks)
            context.registers = before


def _segments(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Contractions, each by itself, and what lies between them: parts that follow each other on a whole block."""
    segments: list[list[Stage]] = []
    for stage in stages:
        if isinstance(stage, Contract) or not segments or isinstance(segments[-1][0], Contract):
            segments.append([stage])
        else:
            segments[-1].append(stage)
    return segments


def _crossing(context: Context, segments: Sequence[Sequence[Stage]]) -> set[Tensor]:
    """Results that are not stored and that another segment reads: a block of each is kept in scratch."""
    maker = {t: place for place, segment in enumerate(segments) for stage in segment for t in stage.results}
    read = {
        tensor
        for place, segment in enumerate(segments)
        for stage in segment
        for tensor in operand_tensors(stage.scalars())
        if maker.get(tensor, place) != place
    }
    return {tensor for tensor in read if not context.is_stored(tensor)}


def _in_results(context: Context) -> dict[Tensor, Tensor]:
    """Products that lie where a result will, and that result: of the map that alone reads them, element by element.

    So the lines of the result are asked for while the product is computed, and scratch does not pass through the
    caches. Not where the result may overwrite an input, which is hot then, and read when the product is there already.
    """
    kernel = context.kernel
    found: dict[Tensor, Tensor] = {}
    taken: set[Tensor] = set()
    for stage in kernel.stages:
        reads = kernel.loads.get(stage.results[0], ())
        if not isinstance(stage, Contract) or context.is_stored(stage.result) or len(reads) != 1:
            continue
        place, load = reads[0]
        reader = kernel.stages[place]
        if not isinstance(reader, Map) or not context.is_stored(reader.result) or reader.result in taken:
            continue
        if load.index != tuple(context.index_of(reader)) or stage.result.type != reader.result.type:
            continue
        if reader.axes == stage.axes and not any(overwrites(kernel, reader.result, source) for source in kernel.inputs):
            found[stage.result] = reader.result
            taken.add(reader.result)
    return found


def _write_contraction(context: Context, stage: Contract, blocks: _Blocks) -> None:
    """A contraction of a whole block by one call; if the block's rows are not its rows, a call for each of them."""
    before = dict(context.expressions.renamed)
    context.writer.nodes = stage.nodes
    context.writer.comment(formulas.stage_formula(context, stage))
    plan = blocks.plan_of(stage)
    if plan is not None:
        with context.loops.over(plan.loops), blocks.at_start(plan):
            _write_call(context, plan, blocks)
    else:
        with blocks.over_elements(False):
            plan = _plan(context, stage, ())
            with context.loops.over(plan.loops), blocks.inside(plan):
                _write_call(context, plan, None)
    context.expressions.renamed = before


def _write_others(
    context: Context, stages: Sequence[Stage], groups: Sequence[Sequence[Stage]], blocks: _Blocks
) -> None:
    """Maps, reductions and scans on each element of a block."""
    maps_alone = all(isinstance(stage, Map) and not stage.axes for stage in stages)
    with blocks.over_elements(maps_alone, stages):
        if maps_alone:
            write_body(context, stages)
        else:
            for group in groups:
                rows.write_group(context, group)


def _places(context: Context, stage: Stage, crossing: set[Tensor]) -> list[Size]:
    """Offsets, as if all lay in memory row-major, of what has no place yet, and of all that contractions touch."""
    found: list[Size] = []
    for part in walk(*stage.scalars()):
        if isinstance(part, Load) and (isinstance(stage, Contract) or part.tensor in crossing):
            found.append(context.expressions.rename(part.offset))
    if isinstance(stage, Contract) or any(tensor in crossing for tensor in stage.results):
        found.append(_logical(context, stage))
    return found


def _logical(context: Context, stage: Stage) -> Size:
    """Offset in the result as a row-major array."""
    return context.expressions.rename(flat_offset(stage.result.shape, context.index_of(stage)))


def _write_call(context: Context, plan: Plan, blocks: _Blocks | None) -> None:
    """The call that computes a block, in a loop where there are several reduced axes.

    Without ``blocks`` no axis of the call is cut.
    """
    expressions, writer, stage = context.expressions, context.writer, plan.stage
    cuts = {cut.axis: cut for cut in blocks.cuts} if blocks else {}
    with ExitStack() as stack:
        again, depth = "0", expressions.named(plan.k.extent).text if plan.k else "1"
        for axis in plan.sums:  # one round even over nothing, with depth 0, to write the zeros
            variable, extent = writer.name("r"), expressions.named(axis.extent).text
            if not isinstance(axis.extent, int) or axis.extent == 0:
                depth = f"select({extent} > 0, {depth}, 0)"
                extent = f"maximum_int({extent}, 1)"
            level = stack.enter_context(writer.block(f"for {variable} in range({extent}):"))
            stack.enter_context(expressions.bound({axis: Known(variable, level)}))
            again = variable if again == "0" else f"{again} + {variable}"
        left, right = (context.flat(load.tensor, load.index) for load in (plan.left, plan.right))
        out = context.flat(stage.result, context.index_of(stage))
        dtype = NAMES[stage.result.dtype]
        rows, columns = (_length(context, axis, cuts) for axis in (plan.m, plan.n))
        parts = [(plan.variant, 0, columns)]
        if plan.tail:
            assert plan.n is not None and isinstance(plan.n.extent, int)
            before = plan.n.extent - plan.tail
            parts = [(plan.variant, 0, str(before)), (f"{variants.DOTS}{plan.tail}", before, str(plan.tail))]
        for variant, first, count in parts:
            operands = [
                context.micro_kernel(dtype + variant),
                *_matrix(context, plan.left.tensor, left, (plan.m, plan.k), cuts),
                *_matrix(context, plan.right.tensor, right, (plan.k, plan.n), cuts, first),
                *_matrix(context, stage.result, out, (plan.m,), cuts, first),
                rows, count, depth, again,
            ]  # fmt: skip
            writer.line(f"contract({', '.join(operands)})")


def _matrix(
    context: Context, tensor: Tensor, place: Size, axes: Sequence[Axis | None], cuts: dict[Axis, _Cut], column: int = 0
) -> list[str]:
    """A matrix as arguments of the call: pointer to a column's first element, then the strides of some axes.

    What lies in scratch holds one block, and moves with the places in the block instead of the cut axes.
    """
    first = context.expressions.size(place + column).text
    strides: list[Size] = []
    for axis in axes:
        if axis in cuts and context.is_scratch(tensor):
            axis = cuts[axis].local
        stride = coefficient(place, axis) if axis is not None else 1
        strides.append(1 if stride is None else stride)
    pointer = context.pointer(tensor)
    texts = [context.expressions.size(stride).text for stride in strides]
    return [pointer if first == "0" else f"offset({pointer}, {first})", *texts]


def _length(context: Context, axis: Axis | None, cuts: dict[Axis, _Cut]) -> str:
    """How far a call goes along an axis: the block, where it is cut."""
    if axis in cuts:
        return cuts[axis].length.text
    return context.expressions.named(axis.extent).text if axis is not None else "1"
