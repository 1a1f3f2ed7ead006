"""Row routines: kernels that hand each row, or each matrix of a batch, to a library function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from graphc.codegen.cpu import formulas
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.library import BLOCK
from graphc.errors import CompileError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Size, of_atom
from graphc.ir.types import flat_offset
from graphc.ops.sizes import size_maximum
from graphc.schedule.kernel import Routine

ITEM_BYTES = {"int32": 4, "int64": 8, "float32": 4, "float64": 8}


class Call(NamedTuple):
    """How the text of a kernel calls a routine, whose name is that of the stage.

    The arguments are: addresses of the ``library``'s functions, the values, the results, scratch, ``sizes``, the
    attributes named by ``flags``, and, if the stage is checked, where failures are reported.

    Attributes
    ----------
    word : str
        The procedure.
    sizes : callable
        From the stage to the sizes that are passed.
    library : tuple of str
        Names in LAPACK or BLAS, without the letter of the dtype.
    scratch : callable
        From those sizes to dtypes (empty for that of the first value) and numbers of elements.
    flags : tuple of str
    """

    word: str
    sizes: Callable[[Routine], Sequence[Size]]
    library: tuple[str, ...] = ()
    scratch: Callable[..., Sequence[tuple[str, Size]]] = lambda *sizes: ()
    flags: tuple[str, ...] = ()


def _rows(stage: Routine) -> Sequence[Size]:
    return (stage.axes[-1].extent,)


def _square(stage: Routine) -> Sequence[Size]:
    return stage.sources[0].shape[-1:]


def _matrix(stage: Routine) -> Sequence[Size]:
    return stage.sources[0].shape[-2:]


def _result(stage: Routine) -> Sequence[Size]:
    return stage.results[0].shape[-2:]


def _qr_sizes(stage: Routine) -> Sequence[Size]:
    """Rows and columns of the matrix, columns of Q, and how many columns of scratch hold them all."""
    (m, n), rank = _matrix(stage), stage.results[0].shape[-1]
    return m, n, rank, size_maximum(n, rank)


def _qr_scratch(m: Size, n: Size, rank: Size, width: Size) -> Sequence[tuple[str, Size]]:
    return [("", m * width), ("", width), ("", BLOCK * width)]


def _svd_sizes(stage: Routine) -> Sequence[Size]:
    """Rows and columns of the matrix, columns of U, rows of Vh, and what the library needs."""
    (m, n), (u, values, vh) = _matrix(stage), stage.results
    least = values.shape[-1]
    return m, n, u.shape[-1], vh.shape[-2], 4 * least * least + 7 * least + (BLOCK + 1) * (m + n)


def _svd_scratch(m: Size, n: Size, rows: Size, columns: Size, length: Size) -> Sequence[tuple[str, Size]]:
    return [("", m * n), ("", length), ("int32", 8 * (m + n))]


CALLS = {
    "sort": Call("sort_row", _rows, scratch=lambda n: [("int64", n)], flags=("descending",)),
    "lu_factor": Call("lu_factor", _square, ("getrf",)),
    "solve": Call("solve", _result, ("trsm", "trsv"), flags=("transposed",)),
    "determinant": Call("determinant", _square),
    "solve_triangular": Call(
        "solve_triangular", _result, ("trsm", "trsv"), flags=("lower", "transposed", "unit_diagonal")
    ),
    "cholesky": Call("cholesky", _square, ("potrf",)),
    "qr": Call("qr", _qr_sizes, ("geqrf", "orgqr"), _qr_scratch),
    "eigh": Call("eigh", _square, ("syevd",), lambda n: [("", 1 + 6 * n + 2 * n * n), ("int32", 3 + 5 * n)]),
    "svd": Call("svd", _svd_sizes, ("gesdd",), _svd_scratch),
}
"""By name of the routine."""


def write_routine(context: Context) -> None:
    """Print a kernel that is one routine: rows or matrices are shared out, one call each.

    Raises
    ------
    CompileError
        If there is no such routine.
    """
    (stage,) = context.kernel.stages
    assert isinstance(stage, Routine)
    call = CALLS.get(stage.routine)
    if call is None:
        raise CompileError(f"expected a routine among {', '.join(sorted(CALLS))}, got {stage.routine!r}")
    sizes = call.sizes(stage)
    functions = [context.library_function(_letter(stage.sources[0]) + name) for name in call.library]
    scratch = []
    for dtype, elements in call.scratch(*sizes):
        kind = dtype or stage.sources[0].dtype.name
        scratch.append(context.scratch(elements, kind, ITEM_BYTES[kind]))
    context.writer.nodes = stage.nodes
    axes = context.kernel.axes
    with context.loops.shared_out(axes, 1):
        context.writer.comment(formulas.stage_formula(context, stage))
        point = [of_atom(axis) for axis in axes]
        first = [(load.tensor, [at if at in point else 0 for at in load.index]) for load in stage.values]
        first += [(tensor, [*point, *[0] * (tensor.ndim - len(point))]) for tensor in stage.results]
        pointers = [_start(context, tensor, index) for tensor, index in first]
        extents = [context.expressions.named(size).text for size in sizes]
        flags = [str(bool(stage.attributes.get(flag))) for flag in call.flags]
        arguments = [*functions, *pointers, *scratch, *extents, *flags]
        if stage.checked:
            number = context.expressions.size(flat_offset([axis.extent for axis in axes], point)).text
            arguments += ["status", context.kernel_number(), number]
        context.writer.line(f"{call.word}({', '.join(arguments)})")


def _start(context: Context, tensor: Tensor, index: Sequence[Size]) -> str:
    """The pointer to a row or matrix, by the index of its first element."""
    return f"offset({context.pointer(tensor)}, {context.expressions.size(context.flat(tensor, index)).text})"


def _letter(tensor: Tensor) -> str:
    """What the names of LAPACK's functions begin with."""
    return "s" if tensor.dtype.name == "float32" else "d"
