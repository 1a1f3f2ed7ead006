"""What kernels call for whole rows and matrices: sorting and linear algebra, run as the plain Python that they are.

Functions of LAPACK and BLAS are the real ones, called on the real memory. :data:`EXTENTS` says what each touches.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.codegen.cpu import library
from graphc.testing.checked import texts
from graphc.testing.checked.memory import Pointer
from graphc.testing.checked.words import WORDS, cast

FOLDER = library.__file__.rpartition("/")[0]

Touch = tuple[Any, Any, str]
"""A pointer, how many elements behind it, and ``r``, ``w`` or both."""


def _columns(count: int, lead: int, rows: int) -> int:
    """Elements from the first to the last of a matrix that lies column by column."""
    return (count - 1) * lead + rows if count > 0 and rows > 0 else 0


def _gesdd(jobz, m, n, a, lda, s, u, ldu, vt, ldvt, work, lwork, iwork, info) -> Sequence[Touch]:  # type: ignore[no-untyped-def]
    least = min(m, n)
    of_u, of_vt = (m, n) if jobz == ord("A") else (least, least)
    return [
        (a, _columns(n, lda, m), "rw"), (s, least, "w"), (u, _columns(of_u, ldu, m), "w"),
        (vt, _columns(n, ldvt, of_vt), "w"), (work, lwork, "w"), (iwork, 8 * least, "w"), (info, 1, "w"),
    ]  # fmt: skip


EXTENTS: dict[str, Callable[..., Sequence[Touch]]] = {
    "getrf": lambda m, n, a, lda, ipiv, info: [
        (a, _columns(n, lda, m), "rw"), (ipiv, min(m, n), "w"), (info, 1, "w"),
    ],
    "potrf": lambda uplo, n, a, lda, info: [(a, _columns(n, lda, n), "rw"), (info, 1, "w")],
    "trsm": lambda side, uplo, transa, diag, m, n, alpha, a, lda, b, ldb: [
        (a, _columns(n, lda, n), "r"), (b, _columns(n, ldb, m), "rw"),
    ],
    "trsv": lambda uplo, trans, diag, n, a, lda, x, incx: [
        (a, _columns(n, lda, n), "r"), (x, (n - 1) * incx + 1, "rw"),
    ],
    "syevd": lambda jobz, uplo, n, a, lda, w, work, lwork, iwork, liwork, info: [
        (a, _columns(n, lda, n), "rw"), (w, n, "w"), (work, lwork, "w"), (iwork, liwork, "w"), (info, 1, "w"),
    ],
    "geqrf": lambda m, n, a, lda, tau, work, lwork, info: [
        (a, _columns(n, lda, m), "rw"), (tau, min(m, n), "w"), (work, lwork, "w"), (info, 1, "w"),
    ],
    "orgqr": lambda m, n, k, a, lda, tau, work, lwork, info: [
        (a, _columns(k, lda, m), "r"), (a, _columns(n, lda, m), "w"), (tau, k, "r"), (work, lwork, "w"),
        (info, 1, "w"),
    ],
    "gesdd": _gesdd,
}  # fmt: skip
"""By name, without the letter of the dtype: what a call touches, from its arguments. Triangles count as squares."""


class LibraryCall:
    """A function of LAPACK or BLAS that checks what it is about to touch.

    Parameters
    ----------
    name : str
        With the letter of the dtype.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *arguments: Any) -> None:
        for pointer, count, how in EXTENTS[self.name[1:]](*arguments):
            places = pointer.firsts(np.arange(count))
            if "r" in how:
                pointer.buffer.read_all(places, pointer.size)
            if "w" in how:
                pointer.buffer.write_all(places, pointer.size)
        passed: list[int] = []
        lengths: list[int] = []
        kept: list[Any] = []
        for argument in arguments:
            if isinstance(argument, Pointer):
                passed.append(argument.address)
                continue
            value = np.array(argument)  # by reference: integers of 32 bits; of characters, the length once more
            kept.append(value.astype(np.int32) if value.dtype == np.int64 else value)
            passed.append(kept[-1].ctypes.data)
            lengths += [1] if value.dtype == np.uint8 else []
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_size_t] * (len(passed) + len(lengths)))
        kind(library.address(self.name))(*passed, *lengths)


def _like(pointer: Pointer, number: float) -> Any:
    """A float64 as a value of the dtype that a pointer points to."""
    return cast(np.float64(number), np.dtype(pointer.dtype))


def _as_it_is(function: Any) -> Any:
    return function


def _called(at: LibraryCall, *arguments: Any) -> None:
    at(*arguments)


def _add_words() -> None:
    """Run the modules whose functions kernels call, and make these words."""
    own = {"procedure": _as_it_is, "intrinsic": _as_it_is}
    sorting = texts.module_of(f"{FOLDER}/sorting.py", own, ("__future__", "typing"))
    WORDS["sort_row"] = sorting["sort_row"]
    foreign = (
        "__future__", "inspect", "math", "typing", "llvmlite", "graphc.codegen.cpu.integers",
        "graphc.codegen.cpu.library", "graphc.codegen.cpu.scalar", "graphc.codegen.source",
    )  # fmt: skip
    lapack = texts.module_of(f"{FOLDER}/lapack.py", own, foreign)
    lapack |= {"like": _like, **dict.fromkeys(EXTENTS, _called)}
    for name in ("cholesky", "determinant", "eigh", "lu_factor", "qr", "solve", "solve_triangular", "svd"):
        WORDS[name] = lapack[name]


_add_words()
