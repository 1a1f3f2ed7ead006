"""Kernels with contractions: matmul, batched or not, attention, with prologue and epilogue on the block that is hot.

Workers share out blocks of the first contraction's result (:mod:`graphc.codegen.cpu.blocks`). The stages of a kernel
are *segments*, contractions and what lies between them, and follow each other on a block while it is in the cache; what
one segment makes for another lies in scratch, a block of it, or where its reader's result will::

    for block in blocks of (m, n):                  for block in blocks of m:
        contract(A[m0:], B[:, n0:], tile)               contract(A[m0:], B, tile)
        for i in rows of the block:                     for i in rows of the block:
            for j in its columns:                           softmax, normalisation ... of row i
                y[i, j] = tanh(tile[i, j] + b[j])       contract(softmaxed rows, V, output)

A contraction is a call of the compiled one on the block (:mod:`graphc.codegen.cpu.calls` says which axes go inside), a
call for each of its rows where these are no rows of C, or no call at all but a reduction like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from graphc.codegen.cpu import formulas, rows, variants
from graphc.codegen.cpu.blocks import Blocks, Cut
from graphc.codegen.cpu.calls import CallPlan, at_origin, plan_calls, row_major_offsets
from graphc.codegen.cpu.context import Context, operand_tensors
from graphc.codegen.cpu.loops import collapse
from graphc.codegen.cpu.maps import write_body
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import apply
from graphc.ir.symbolic import Axis, Size, coefficient
from graphc.ir.types import NAMES, is_float
from graphc.schedule.kernel import Contract, Kernel, Map, Reduce, Stage
from graphc.schedule.lower import is_strided
from graphc.schedule.order import overwrites


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
    """The sum of products that a contraction is."""
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


def write_products(context: Context) -> None:
    """Print a kernel with contractions that the compiled one can do."""
    stages = context.kernel.stages
    segments = _segments(stages)
    crossing = _crossing(context, segments)

    # where values lie that do not cross: in results, or in scratch for a single point of the shared axes
    for tensor, result in _in_results(context).items():
        context.place_in(tensor, result)
    groups = {}
    for segment in segments:
        if not isinstance(segment[0], Contract):
            groups[segment[0]] = rows.group_stages(context, segment)
            rows.keep_results(context, groups[segment[0]], apart=crossing)

    # the shared axes, merged as far as every stage allows
    offsets = context.accesses([stage for stage in stages if not isinstance(stage, Contract)])
    offsets += [place for stage in stages for place in row_major_offsets(context, stage, crossing)]
    shared, renamed = collapse(context.kernel.axes, offsets)
    context.expressions.renamed.update(renamed)
    blocks = Blocks(context, next(stage for stage in stages if isinstance(stage, Contract)), shared)
    for stage in stages:  # only now is it known how large a block is
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


def _write_contraction(context: Context, stage: Contract, blocks: Blocks) -> None:
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
            plan = plan_calls(context, stage, ())
            with context.loops.over(plan.loops), at_origin(context, plan):
                _write_call(context, plan, None)
    context.expressions.renamed = before


def _write_others(context: Context, stages: Sequence[Stage], groups: Sequence[Sequence[Stage]], blocks: Blocks) -> None:
    """Maps, reductions and scans on each element of a block."""
    maps_alone = all(isinstance(stage, Map) and not stage.axes for stage in stages)
    with blocks.over_elements(maps_alone, stages):
        if maps_alone:
            write_body(context, stages)
        else:
            for group in groups:
                rows.write_group(context, group)


def _write_call(context: Context, plan: CallPlan, blocks: Blocks | None) -> None:
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
    context: Context, tensor: Tensor, place: Size, axes: Sequence[Axis | None], cuts: dict[Axis, Cut], column: int = 0
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


def _length(context: Context, axis: Axis | None, cuts: dict[Axis, Cut]) -> str:
    """How far a call goes along an axis: the block, where it is cut."""
    if axis in cuts:
        return cuts[axis].length.text
    return context.expressions.named(axis.extent).text if axis is not None else "1"
