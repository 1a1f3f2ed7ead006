"""The CPU printer: a kernel of the schedule -> readable Python source for Numba.

A kernel's stages decide its shape:

=================  ======================================================================================
maps only          one loop over all elements, cut between workers (:mod:`graphc.codegen.cpu.maps`)
a contraction      blocks of its result, then the other stages on each (:mod:`graphc.codegen.cpu.products`)
maps, reductions,  a loop over the shared axes' points with loops inside (:mod:`~graphc.codegen.cpu.rows`), or
scans              blocks of columns (:mod:`~graphc.codegen.cpu.columns`)
an accumulation    a start, then contributions in order (:mod:`~graphc.codegen.cpu.accumulations`)
a row routine      a call for each row (:mod:`~graphc.codegen.cpu.routines`)
=================  ======================================================================================

Names say what they are, and carry a number in order of use: ``x`` inputs, ``y`` stored results, ``t`` scratch, ``a``
accumulators, ``n`` run-time sizes, ``e`` extents and ends, ``i`` points that workers share, ``j`` elements, ``r``
reduced positions, ``l`` lanes and places in a block, ``c`` lengths of blocks, and chunks, ``o`` offsets, ``p``
positions, and parts of chunks, ``q`` sums on their way to these, ``s`` starts of a chunk's blocks, ``f`` places that
are prefetched, ``w`` rows of results, ``b`` choices, and begins of chunks, ``v`` values. ``product`` and ``turn`` are
compiled functions that are called by address.

The text uses words of ``intrinsics``, ``mathlib``, ``indexing``, ``independence``, ``lanes``, ``division``, ``lapack``,
``sorting``, ``tiles`` and ``turning``. It imports them by name; nothing imports them here, because they need Numba, and
a program that is new may have no kernel that is. The commonest is ``share(total, unit, worker, workers)``: where a
worker's part of ``total`` items begins; the next worker's is its end.
"""

from __future__ import annotations

import re
from collections import Counter
from textwrap import shorten, wrap

from graphc.codegen.cpu.accumulations import write_accumulation
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.maps import write_maps
from graphc.codegen.cpu.operators import MATHLIB
from graphc.codegen.cpu.products import with_compiled_products, write_products
from graphc.codegen.cpu.routines import write_routine
from graphc.codegen.cpu.rows import write_rows
from graphc.codegen.cpu.writer import INDENT, Line
from graphc.codegen.source import KernelSource
from graphc.ir.op import View
from graphc.ir.types import DTYPES
from graphc.schedule.kernel import Accumulate, Contract, Kernel, Map, Routine

_MODULES = {
    "graphc.codegen.cpu.division": ("floor_divide_float", "fmod_float", "remainder_float"),
    "graphc.codegen.cpu.independence": ("independent", "rolled"),
    "graphc.codegen.cpu.indexing": ("checked_index", "checked_position", "divide_index", "rest_index", "share"),
    "graphc.codegen.cpu.lanes": (
        "fill", "fold_add", "fold_maximum", "fold_minimum", "fold_multiply", "lost_by_sum", "settle",
    ),
    "graphc.codegen.cpu.lapack": (
        "cholesky", "determinant", "eigh", "lu_factor", "qr", "solve", "solve_triangular", "svd",
    ),
    "graphc.codegen.cpu.sorting": ("sort_row",),
    "graphc.codegen.cpu.tiles": ("contract",),
    "graphc.codegen.cpu.turning": ("turn",),
}  # fmt: skip
_HOME = {name: module for module, names in _MODULES.items() for name in names}
LONGEST_LINE = 120
_BUILTIN = {"range", "kernel"}
_MATHLIB = re.compile(rf"({'|'.join(MATHLIB)})_float(32|64)")
_COMMENT = re.compile(r"#.*")
_CALLED = re.compile(r"\b([a-z_][a-z_0-9]*+)\(")


def emit(kernel: Kernel) -> KernelSource:
    """Print a kernel.

    Parameters
    ----------
    kernel : Kernel

    Returns
    -------
    KernelSource
        Its text defines ``kernel(buffers, dims, worker, workers)``, which computes the part of ``worker`` of the
        stored results. Results do not depend on the number of workers, in any bit.

    Raises
    ------
    CompileError
        If a stage applies a function to a dtype for which it has no meaning.
    """
    kernel = with_compiled_products(kernel)
    context = Context(kernel)
    first = kernel.stages[0]
    if isinstance(first, Accumulate):
        write_accumulation(context)
    elif isinstance(first, Routine):
        write_routine(context)
    elif any(isinstance(stage, Contract) for stage in kernel.stages):
        write_products(context)
    elif all(isinstance(stage, Map) and not stage.axes for stage in kernel.stages):
        write_maps(context)
    else:
        write_rows(context)
    body = context.writer.lines()
    prologue = [Line(text, ()) for text in context.prologue()]
    code = [Line("def kernel(buffers, dims, worker, workers):", ()), *(
        Line(INDENT + line.text, line.nodes) for line in [*prologue, *body]
    )]  # fmt: skip
    head = [f'"""{_summary(kernel)}"""', *_imports("\n".join(line.text for line in code)), "", ""]
    nodes = kernel.nodes
    number_of = {node: number for number, node in enumerate(nodes)}
    numbers = {found: tuple(number_of[node] for node in found) for found in dict.fromkeys(line.nodes for line in code)}
    places = {number: numbers[line.nodes] for number, line in enumerate(code, start=len(head) + 1) if line.nodes}
    text = "\n".join([*head, *(line.text for line in code)]) + "\n"
    return KernelSource(text, tuple(context.arguments), tuple(context.sizes), nodes, places)


def _summary(kernel: Kernel) -> str:
    """The ops of a kernel, in order, in a line; views, which are index arithmetic, only if there is nothing else."""
    nodes = [node for node in kernel.nodes if not isinstance(node.op, View)] or kernel.nodes
    counts = Counter(node.op.name for node in nodes)
    words = [name if count == 1 else f"{name} ({count} times)" for name, count in counts.items()]
    summary = f"Computes {', '.join(words) or 'values'}."
    return summary if len(summary) <= LONGEST_LINE else shorten(summary, LONGEST_LINE, placeholder=" ...")


def _imports(code: str) -> list[str]:
    """Import lines for everything that some code calls."""
    wanted: dict[str, set[str]] = {}
    for name in dict.fromkeys(_CALLED.findall(_COMMENT.sub("", code))):
        if name in DTYPES:
            wanted.setdefault("numba", set()).add(name)
        elif name not in _BUILTIN:
            if _MATHLIB.fullmatch(name):
                home = "graphc.codegen.cpu.mathlib"
            else:
                home = _HOME.get(name, "graphc.codegen.cpu.intrinsics")
            wanted.setdefault(home, set()).add(name)
    constants = [name for name in ("inf", "nan") if f"{name})" in code and re.search(rf"\b{name}\)", code)]
    if constants:
        wanted["math"] = set(constants)
    lines: list[str] = []
    for module, names in sorted(wanted.items()):
        line = f"from {module} import {', '.join(sorted(names))}"
        if len(line) > LONGEST_LINE:
            listed = wrap(f"{', '.join(sorted(names))},", LONGEST_LINE, initial_indent=INDENT, subsequent_indent=INDENT)
            lines += [f"from {module} import (", *listed, ")"]
        else:
            lines.append(line)
    return lines
