"""Blocks of a contraction's result C: what workers share out, and what stays in the cache from stage to stage.

C's rows (m) and columns (n) are cut where they are shared axes of the kernel. For ``tanh(x @ w + b)`` with a C of 100
by 1000, columns alone are cut, into blocks of at most 256 that begin at whole register tiles, here of 32 columns::

    first = share(1000, 32, worker, workers)        # the worker's columns: its part of the 1000, in units of 32
    last = share(1000, 32, worker + 1, workers)
    for o0 in range(first, last, 256):              # the blocks of its part: o0 is where one starts,
        c0 = minimum_int(last - o0, 256)            # c0 its length
        contract(..., offset(x1, o0), ..., offset(y0, o0), ..., 100, c0, 128, 0)
        for l0 in range(100):                       # then the other stages, on each element of the block
            for l1 in range(c0):
                j1 = o0 + l1
                ...

1. :func:`block_shape` chooses how many rows and columns a block has at most, from known sizes, the register tile, the
   caches and the number of processors.
2. A :class:`Cut` is one axis cut so. Where a single cut is all that is shared, workers share out its units, and each
   cuts its own part into blocks, as above. Otherwise blocks have numbers, these are shared out together with the other
   shared axes, and a block's start follows from its number: ``share(extent, unit, number, blocks)``, so that all blocks
   have the same number of units, give or take one.
3. :class:`Blocks` opens the loop over the blocks, and inside it the loops over a block's elements, or the axes at
   its first element, for a call. Scratch holds one block, addressed by places in the block (``l0``, ``l1``).

No cut changes a bit: every element of C is a sum of products in an order that k alone decides. So blocks may depend on
the number of workers, and are cut as evenly as whole register tiles allow, lest one worker get twice the work of
another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from graphc.codegen.cpu import machine, streaming, variants
from graphc.codegen.cpu.calls import CallPlan, at_origin, plan_calls
from graphc.codegen.cpu.context import LINE_BYTES, Context
from graphc.codegen.cpu.loops import ZERO
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, coefficient, floordiv, of_atom, product
from graphc.ir.types import NAMES
from graphc.schedule.kernel import Contract, Stage, walk

BLOCKS_A_PROCESSOR = 2
"""Blocks are made smaller until there are so many, so that workers have something to share."""

BLOCK_COLUMNS, LEAST_COLUMNS = 512, 64
"""Columns of a block, at most and at least."""

LEAST_PART_BYTES = 512
"""Least bytes of a worker's part of a row of an update, where workers share out columns."""

LEAST_STRIP_ROWS = 4
"""Least rows of a block of a product of few steps that is cut into rows."""

OPEN_BLOCK_TILES = 19
"""Rows of a block, in register tiles, where other stages go over it, C's number of rows is not known, and its columns
alone do not come out even among workers: with few blocks of rows all would not."""

ROW_BLOCK_TILES = 6
"""Rows of a block, in register tiles, where blocks are whole rows of C, for stages that need whole rows."""

HOT_BLOCK_TILES, HOT_BLOCK_COLUMNS, HOT_PRODUCT = 6, 64, 1 << 18
"""The same where stages go over the block with several other tensors, and C has up to so many elements."""


class Blocks:
    """The blocks that workers share out: of C of the kernel's first contraction, as far as its axes are shared.

    Attributes
    ----------
    m, n : Cut or None
        The cuts of C's rows and columns, where these are shared.
    cuts : list of Cut
        Those of the two that there are.
    points : list of Axis
        What workers share out, outermost first: the other shared axes, then the numbers of the blocks.
    """

    def __init__(self, context: Context, stage: Contract, shared: Sequence[Axis]):
        self.context = context
        before = dict(context.expressions.renamed)
        plan = plan_calls(context, stage, shared)
        rows, columns = block_shape(context, plan, shared)
        context.expressions.renamed = before  # each contraction, this one too, is planned again once there are blocks
        high, wide = _units(plan)
        self.m = Cut(plan.m, rows, high) if plan.m in shared else None
        self.n = Cut(plan.n, columns, wide) if plan.n in shared else None
        self.cuts = [cut for cut in (self.m, self.n) if cut is not None]
        self.points = [axis for axis in shared if axis not in (plan.m, plan.n)]
        by_columns = self.n is not None and _columns_come_out(self.n, context, plan)
        outermost = reversed(self.cuts) if by_columns else self.cuts
        self.points += [cut.blocks for cut in outermost if cut.blocks.extent != 1]

    def plan_of(self, stage: Contract) -> CallPlan | None:
        """How one call computes a block of a contraction; None if the block's cuts are no rows and columns of it."""
        before = dict(self.context.expressions.renamed)
        plan = plan_calls(self.context, stage, [cut.axis for cut in self.cuts])
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
    def at_start(self, plan: CallPlan) -> Iterator[None]:
        """The axes inside a call at the block's first element."""
        firsts = {cut.axis: cut.start for cut in self.cuts} | {cut.local: ZERO for cut in self.cuts}
        with at_origin(self.context, plan), self.context.expressions.bound(firsts):
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


class Cut:
    """An axis of C cut into blocks.

    Attributes
    ----------
    axis : Axis
    unit, size : int
        Blocks begin at multiples of the unit, a register tile, and have at most so many elements along the axis: whole
        units, unless a single block has all.
    blocks, local : Axis
        Counts the blocks; counts the places in one, by which scratch is addressed.
    start, length : Known
        Where the block at hand begins and how long it is, once its loop is open.
    """

    def __init__(self, axis: Axis | None, size: int, unit: int):
        assert axis is not None
        self.axis = axis
        self.unit = unit
        size = -(-size // unit) * unit  # whole units, or blocks of whole units would not fit scratch of this size
        self.size = min(size, axis.extent) if isinstance(axis.extent, int) else size
        self.size = max(self.size, 1)
        self.blocks = Axis(floordiv(axis.extent + self.size - 1, self.size))
        self.local = Axis(self.size)
        self.start, self.length = ZERO, ZERO

    def open(self, context: Context) -> None:
        """Write where the block begins and how long it is."""
        expressions, writer = context.expressions, context.writer
        if self.blocks.extent == 1:
            self.length = expressions.named(self.axis.extent)
            return
        number = expressions.size(of_atom(self.blocks))
        if isinstance(self.axis.extent, int) and self.axis.extent % self.size == 0:
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


def block_shape(context: Context, plan: CallPlan, shared: Sequence[Axis]) -> tuple[int, int]:
    """Rows and columns of a block: large, so that copying operands costs little, yet enough blocks for all workers.

    A block is as high as the contraction's own, which stay in L2, so that each panel of B is read and copied once a
    block, whether other stages go over it or not (but see :data:`OPEN_BLOCK_TILES`). Where columns alone are cut two
    blocks suffice, since each worker cuts its own part of them. Of a product that is higher than wide rows alone are
    cut: its few tiles of columns would not come out even. What has too few columns for all workers is cut into rows as
    well: the weights' gradient of a layer with few units. A product of few steps copies nothing, so its rows alone are
    cut if there are some: neighbours in columns would share a line in every row.

    Where other stages read several tensors of C's size, as an optimizer's update does, blocks of small products stay in
    L1 until they come to them; large products lose more by copying operands again for each small block.
    """
    tile = variants.tile_shape(NAMES[plan.stage.result.dtype])
    m, n = (axis.extent if axis is not None else 1 for axis in (plan.m, plan.n))
    cut_m, (high, wide) = plan.m in shared, _units(plan)
    if plan.n not in shared:
        return ROW_BLOCK_TILES * tile.rows, LEAST_COLUMNS
    single = len(context.kernel.stages) == 1
    tiles, columns = tile.block_rows // tile.rows, BLOCK_COLUMNS
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
        columns = _even_columns(n, columns, row_blocks, least, wide)
    if alone and cut_m and isinstance(n, int):
        row_blocks = max(-(-machine.processors() // max(-(-n // columns), 1)), 1)
    if isinstance(m, int):
        return max(-(-m // (row_blocks * high)), 1) * high, columns
    even = isinstance(n, int) and -(-n // columns) % machine.processors() == 0
    return (tiles if single or even else OPEN_BLOCK_TILES) * tile.rows, columns


def _even_columns(n: int, most: int, row_blocks: int, least: int, unit: int) -> int:
    """Columns of a block: the most that make at least so many blocks, and as many for each worker if that can be.

    Halves of ``most`` come first, so that layers of different widths share a text.
    """
    halves = [most >> k for k in range(most.bit_length()) if most >> k >= LEAST_COLUMNS]
    enough = [w for w in (*halves, *range(most, LEAST_COLUMNS - 1, -unit)) if row_blocks * -(-n // w) >= least]
    even = (width for width in enough if row_blocks * -(-n // width) % machine.processors() == 0)
    width = next(even, enough[0] if enough else LEAST_COLUMNS)
    return -(-n // (-(-n // width) * unit)) * unit


def _columns_come_out(n: Cut, context: Context, plan: CallPlan) -> bool:
    """Whether workers share out blocks by columns first: each has a part of every row, and reads its part of B alone.

    For that the blocks across must come out even. An update's parts must not be short, besides: what the processor
    fetches ahead at the end of one, of each tensor, belongs to a worker who is writing it.
    """
    columns, across = n.axis.extent, n.blocks.extent
    if not isinstance(columns, int) or not isinstance(across, int) or across % machine.processors():
        return False
    part = columns * plan.stage.result.dtype.itemsize // machine.processors()
    return part >= LEAST_PART_BYTES or _reads_beside(context, plan.stage) <= 1


def _rows_alone(plan: CallPlan, m: int, n: int) -> bool:
    """Whether a product is cut into rows and not into columns."""
    if variants.steps_of(NAMES[plan.stage.result.dtype] + plan.variant) is not None:
        return m >= LEAST_STRIP_ROWS * machine.processors()
    return n <= min(m, BLOCK_COLUMNS)


def _units(plan: CallPlan) -> tuple[int, int]:
    """Rows and columns are cut at multiples of these."""
    return variants.units(NAMES[plan.stage.result.dtype] + plan.variant)


def _reads_beside(context: Context, stage: Contract) -> int:
    """Tensors of a contraction's size that the kernel reads besides."""
    size = stage.result.type.size
    return sum(tensor.type.size == size for tensor in context.kernel.inputs)
