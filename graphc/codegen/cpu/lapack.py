"""Linear algebra of one matrix, as functions that kernels call: LAPACK and BLAS, with what has to be done around them.

graphc keeps matrices row by row, LAPACK column by column, so the memory of a matrix is to LAPACK its transpose. Mostly
that costs nothing: the lower triangle becomes the upper one, and ``A X = B`` becomes ``X' A' = B'``, which BLAS solves
from the right. Only a factorisation whose factors are asked for by name (LU, QR) needs its matrix transposed first.

Every function of LAPACK is called through its address (:mod:`graphc.codegen.cpu.library`) with Fortran's convention:
everything by reference, integers of 32 bits, and for each character its length once more at the end. No function is
called for an empty matrix, and none with a NaN that might keep an iteration from ending.

Names: ``m``, ``n`` rows and columns, ``k`` columns of a right-hand side; ``info`` is LAPACK's report, 0 for success. A
function that can fail takes ``status, kernel, number`` and reports there, as ``fail`` does; -1 stands for a matrix that
is too large.
"""

from __future__ import annotations

import inspect
from math import log
from typing import Any

from llvmlite import ir
from numba.core import errors, types

from graphc.codegen.cpu.frontend import procedure
from graphc.codegen.cpu.integers import cast
from graphc.codegen.cpu.intrinsics import (
    INT64,
    as_float64,
    as_int64,
    as_uint8,
    fabs,
    fail,
    intrinsic,
    kind_of,
    load,
    maximum_int,
    minimum_int,
    stack_int32,
    store,
)
from graphc.codegen.cpu.library import BLOCK
from graphc.codegen.cpu.mathlib import log_float64  # type: ignore[attr-defined]
from graphc.codegen.cpu.scalar import Scalar, convert
from graphc.codegen.source import NO_RESULT

UPPER, LOWER, RIGHT = ord("U"), ord("L"), ord("R")
PLAIN, TRANSPOSED = ord("N"), ord("T")
UNIT, NOT_UNIT = ord("U"), ord("N")
VECTORS, SOME, ALL = ord("V"), ord("S"), ord("A")

NAN = float("nan")

LARGEST = 2**31 - 1
"""Sizes of matrices and of work arrays are numbers of 32 bits."""

LARGE, SMALL = 2.0**256, 2.0**-256
LOG_LARGE = 256 * log(2)

# --- calling Fortran ------------------------------------------------------------------------------


def _fortran(name: str, parameters: str) -> Any:
    """An intrinsic that calls a subroutine at an address, its first argument.

    Pointers are passed as they are; uint8 values, which are characters, other integers, and floats by reference.
    """

    def typing(context: Any, *given: Any) -> Any:
        if len(given) != 1 + len(parameters.split()):
            raise errors.TypingError(f"{name} expects (address {parameters}), got {given}")
        signature = types.void(*(kind if isinstance(kind, types.CPointer) else types.unliteral(kind) for kind in given))

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            passed, lengths = [], []
            for kind, value in zip(signature.args[1:], values[1:], strict=True):
                if isinstance(kind, types.CPointer):
                    passed.append(value)
                    continue
                held = Scalar(builder, value, kind_of(kind))
                if held.kind == "uint8":
                    lengths.append(INT64(1))
                elif held.kind.startswith("int"):
                    held = convert(held, "int32")
                with builder.goto_entry_block():
                    place = builder.alloca(held.value.type)
                builder.store(held.value, place)
                passed.append(place)
            arguments = [*passed, *lengths]
            called = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
            builder.call(builder.inttoptr(values[0], called.as_pointer()), arguments)
            return context.get_dummy_value()

        return signature, lower

    typing.__name__ = typing.__qualname__ = name
    names = ["context", "address", *parameters.split()]  # Numba binds arguments by name
    made = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_OR_KEYWORD) for each in names]
    typing.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    return intrinsic(typing)


getrf = _fortran("getrf", "m n a lda ipiv info")
potrf = _fortran("potrf", "uplo n a lda info")
trsm = _fortran("trsm", "side uplo transa diag m n alpha a lda b ldb")
trsv = _fortran("trsv", "uplo trans diag n a lda x incx")
syevd = _fortran("syevd", "jobz uplo n a lda w work lwork iwork liwork info")
geqrf = _fortran("geqrf", "m n a lda tau work lwork info")
orgqr = _fortran("orgqr", "m n k a lda tau work lwork info")
gesdd = _fortran("gesdd", "jobz m n a lda s u ldu vt ldvt work lwork iwork info")


@intrinsic
def like(context: Any, pointer: Any, number: Any) -> Any:
    """A float64 as a value of the dtype that a pointer points to."""
    kind = kind_of(pointer.dtype)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return cast(Scalar(builder, values[1], "float64"), kind).value

    return pointer.dtype(pointer, types.float64), lower


# --- moving elements ------------------------------------------------------------------------------


@procedure
def copy(target, source, count):
    """Copy elements."""
    for place in range(count):
        store(target, place, load(source, place))


@procedure
def transpose(target, source, rows, columns):
    """Copy a matrix of ``rows`` rows as its transpose."""
    for row in range(rows):
        for column in range(columns):
            store(target, column * rows + row, load(source, row * columns + column))


@procedure
def transpose_square(a, n):
    """Transpose a square matrix where it lies."""
    for row in range(n):
        for column in range(row):
            one, other = load(a, row * n + column), load(a, column * n + row)
            store(a, row * n + column, other)
            store(a, column * n + row, one)


@procedure
def fill_nan(target, count):
    """Set elements to NaN."""
    for place in range(count):
        store(target, place, like(target, NAN))


@procedure
def is_finite(source, count):
    """Whether no element is infinite or NaN."""
    total = as_int64(0)
    for place in range(count):
        value = load(source, place)
        if value - value != like(source, 0.0):
            total += 1
    return total == 0


# --- LU -------------------------------------------------------------------------------------------


@procedure
def lu_factor(getrf_at, a, factors, pivots, n):
    """``A = P L U``: ``factors`` holds L and U column by column, ``pivots`` the row that each row was swapped with,
    from 1. A singular matrix has a 0 on the diagonal of U."""
    transpose(factors, a, n, n)
    if n > 0:
        info = stack_int32(1)
        getrf(getrf_at, n, n, factors, n, pivots, info)


@procedure
def swap_rows(x, pivots, n, k, backward):
    """Interchange rows of x, (n, k), as a factorisation did, or the other way round."""
    for step in range(n):
        row = n - 1 - step if backward else step
        other = as_int64(load(pivots, row)) - 1
        if other != row:
            for column in range(k):
                one, two = load(x, row * k + column), load(x, other * k + column)
                store(x, row * k + column, two)
                store(x, other * k + column, one)


@procedure
def solve_triangle(trsm_at, trsv_at, a, x, n, k, uplo, transposed, unit):
    """Put the solution of ``op(A) X = X`` in the place of X, which lies row by row; A lies column by column."""
    diag = as_uint8(UNIT) if unit else as_uint8(NOT_UNIT)
    if k == 1:
        trans = as_uint8(TRANSPOSED) if transposed else as_uint8(PLAIN)
        trsv(trsv_at, uplo, trans, diag, n, a, n, x, 1)
    else:  # X' op(A)' = B' in columns
        trans = as_uint8(PLAIN) if transposed else as_uint8(TRANSPOSED)
        trsm(trsm_at, as_uint8(RIGHT), uplo, trans, diag, k, n, like(a, 1.0), a, n, x, k)


@procedure
def zero_on_diagonal(a, n):
    """The first place, from 1, of a 0 on a matrix's diagonal; 0 if there is none."""
    for step in range(n):
        if load(a, step * n + step) == like(a, 0.0):
            return step + 1
    return as_int64(0)


@procedure
def solve(trsm_at, trsv_at, factors, pivots, b, x, n, k, transposed, status, kernel, number):
    """``A X = B``, or ``A' X = B`` if ``transposed``, from the factors of A."""
    place = zero_on_diagonal(factors, n) if k <= LARGEST else as_int64(-1)
    if place != 0:
        fail(status, NO_RESULT, kernel, number, place)
        return
    copy(x, b, n * k)
    if n == 0 or k == 0:
        return
    lower, upper = as_uint8(LOWER), as_uint8(UPPER)
    if transposed:
        solve_triangle(trsm_at, trsv_at, factors, x, n, k, upper, True, False)
        solve_triangle(trsm_at, trsv_at, factors, x, n, k, lower, True, True)
        swap_rows(x, pivots, n, k, True)
    else:
        swap_rows(x, pivots, n, k, False)
        solve_triangle(trsm_at, trsv_at, factors, x, n, k, lower, False, True)
        solve_triangle(trsm_at, trsv_at, factors, x, n, k, upper, False, False)


@procedure
def scaled_exponent(value):
    """How many times a finite value other than 0 must be divided by 2**256 to be between 2**-256 and 2**256."""
    exponent = as_int64(0)
    size = fabs(value)
    while size > LARGE:
        size *= SMALL
        exponent += 1
    while size < SMALL:
        size *= LARGE
        exponent -= 1
    return exponent


@procedure
def scaled(value, exponent):
    """A value divided by 2**256 as many times as said."""
    while exponent > 0:
        value *= SMALL
        exponent -= 1
    while exponent < 0:
        value *= LARGE
        exponent += 1
    return value


@procedure
def determinant(factors, pivots, value, sign, logarithm, n):
    """The determinant of a matrix from its factors, its sign, and the logarithm of its size.

    The product of U's diagonal is kept apart from its exponent, so that it neither overflows nor underflows on the way.
    """
    product, exponent = 1.0, as_int64(0)
    for step in range(n):
        factor = as_float64(load(factors, step * n + step))
        if as_int64(load(pivots, step)) != step + 1:
            factor = -factor
        if factor - factor == 0.0 and factor != 0.0:
            shift = scaled_exponent(factor)
            factor, exponent = scaled(factor, shift), exponent + shift
        product *= factor
        if product - product == 0.0 and product != 0.0:
            shift = scaled_exponent(product)
            product, exponent = scaled(product, shift), exponent + shift
    size = fabs(product)
    sign_of = product  # NaN
    if product > 0.0:
        sign_of = 1.0
    elif product < 0.0:
        sign_of = -1.0
    elif product == 0.0:  # of either sign
        product, sign_of, exponent = 0.0, 0.0, as_int64(0)
    store(value, 0, like(value, scaled(product, maximum_int(minimum_int(-exponent, 8), -8))))
    store(sign, 0, like(sign, sign_of))
    store(logarithm, 0, like(logarithm, log_float64(size) + as_float64(exponent) * LOG_LARGE))


# --- triangles and Cholesky -----------------------------------------------------------------------


@procedure
def solve_triangular(trsm_at, trsv_at, a, b, x, n, k, lower, transposed, unit_diagonal, status, kernel, number):
    """``A X = B``, or ``A' X = B``, of whose matrix one triangle is read."""
    place = as_int64(0) if k <= LARGEST else as_int64(-1)
    if place == 0 and not unit_diagonal:
        place = zero_on_diagonal(a, n)
    if place != 0:
        fail(status, NO_RESULT, kernel, number, place)
        return
    copy(x, b, n * k)
    if n > 0 and k > 0:
        uplo = as_uint8(UPPER) if lower else as_uint8(LOWER)  # of A', which lies column by column
        solve_triangle(trsm_at, trsv_at, a, x, n, k, uplo, not transposed, unit_diagonal)


@procedure
def cholesky(potrf_at, a, factor, n, status, kernel, number):
    """``A = L L'``; the lower triangle of A is read."""
    for row in range(n):
        for column in range(n):
            value = load(a, row * n + column) if column <= row else like(a, 0.0)
            store(factor, row * n + column, value)
    if n > 0:
        info = stack_int32(1)
        potrf(potrf_at, as_uint8(UPPER), n, factor, n, info)
        if load(info, 0) > 0:
            fail(status, NO_RESULT, kernel, number, as_int64(load(info, 0)))


# --- QR, eigenvalues, singular values -------------------------------------------------------------


@procedure
def qr(geqrf_at, orgqr_at, a, q, r, columns, tau, work, m, n, rank, width, status, kernel, number):
    """``A = Q R`` by Householder's reflections: q is (m, rank), r is (rank, n).

    ``columns`` and ``tau`` hold the reflections, ``width`` columns of m elements at most; ``work`` what the library
    needs.
    """
    if m > LARGEST or BLOCK * width > LARGEST:
        fail(status, NO_RESULT, kernel, number, -1)
        return
    if not is_finite(a, m * n):
        fill_nan(q, m * rank)
        fill_nan(r, rank * n)
        return
    steps = minimum_int(m, n)
    transpose(columns, a, m, n)
    info = stack_int32(1)
    if steps > 0:
        geqrf(geqrf_at, m, n, columns, m, tau, work, BLOCK * n, info)
    for row in range(rank):
        for column in range(n):
            value = load(columns, column * m + row) if row <= column else like(a, 0.0)
            store(r, row * n + column, value)
    if rank > 0 and m > 0:
        orgqr(orgqr_at, m, rank, steps, columns, m, tau, work, BLOCK * width, info)
    transpose(q, columns, rank, m)


@procedure
def eigh(syevd_at, a, values, vectors, work, integers, n, status, kernel, number):
    """Ascending eigenvalues and, in columns, eigenvectors of a symmetric matrix, of which the lower triangle counts."""
    copy(vectors, a, n * n)
    length = 1 + 6 * n + 2 * n * n
    if length > LARGEST:
        fail(status, NO_RESULT, kernel, number, -1)
    elif not is_finite(a, n * n):
        fill_nan(values, n)
        fill_nan(vectors, n * n)
    elif n > 0:
        info = stack_int32(1)
        syevd(
            syevd_at, as_uint8(VECTORS), as_uint8(UPPER), n, vectors, n, values,
            work, length, integers, 3 + 5 * n, info,
        )  # fmt: skip
        if load(info, 0) > 0:
            fail(status, NO_RESULT, kernel, number, as_int64(load(info, 0)))
        transpose_square(vectors, n)


@procedure
def svd(gesdd_at, a, u, values, vh, spoilt, work, integers, m, n, rows, columns, length, status, kernel, number):
    """``A = U S Vh``: u is (m, rows), vh is (columns, n); ``length`` is that of ``work``.

    The transpose of A, which is what the library sees, has Vh's transpose on the left and U's on the right.
    """
    least = minimum_int(m, n)
    if length > LARGEST:
        fail(status, NO_RESULT, kernel, number, -1)
    elif not is_finite(a, m * n):
        fill_nan(u, m * rows)
        fill_nan(values, least)
        fill_nan(vh, columns * n)
    elif least > 0:
        copy(spoilt, a, m * n)
        info = stack_int32(1)
        job = as_uint8(ALL) if rows + columns > 2 * least else as_uint8(SOME)
        gesdd(gesdd_at, job, n, m, spoilt, n, values, vh, n, u, rows, work, length, integers, info)
        if load(info, 0) != 0:
            fail(status, NO_RESULT, kernel, number, as_int64(load(info, 0)))
    else:
        identity(u, m, rows)
        identity(vh, columns, n)


@procedure
def identity(target, rows, columns):
    """Ones where row and column are the same, zeros elsewhere."""
    for row in range(rows):
        for column in range(columns):
            store(target, row * columns + column, like(target, 1.0) if row == column else like(target, 0.0))
