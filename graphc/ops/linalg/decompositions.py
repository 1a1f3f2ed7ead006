"""Matrices as products: cholesky, qr, eigh, svd.

Functions of symmetric matrices read the lower triangle and take the other for granted. Their derivatives are those
along symmetric changes, so they are symmetric themselves: half of what an element off the diagonal counts is given to
the one across it.

Derivatives: Murray, *Differentiation of the Cholesky decomposition* (2016); Walter and Lehmann, *Algorithmic
differentiation of linear algebra functions with application in optimum experimental design* (2010), for QR; Giles,
*Collected matrix derivative results for forward and reverse mode algorithmic differentiation* (2008), for eigenvalues;
Townsend, *Differentiating the singular value decomposition* (2016).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphc.errors import GradientError, GraphError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import MatrixRoutine, Sample, op
from graphc.ir.symbolic import Size
from graphc.ir.types import TensorType
from graphc.ops.base import given, is_zero, require_bool
from graphc.ops.elementwise import cast, equal, where
from graphc.ops.joining import concat, part
from graphc.ops.linalg.matrices import (
    Array,
    as_diagonal,
    as_matrices,
    dominated,
    each,
    identity,
    lower_triangle,
    on_diagonal,
    require_square,
    rows_of,
    symmetric_part,
)
from graphc.ops.linalg.systems import solve_triangular
from graphc.ops.samples import normal
from graphc.ops.shaping import expand_dims, matrix_transpose
from graphc.ops.sizes import iota, never_negative, size_minimum

Cotangents = tuple[Tensor | None, ...]


class QRResult(NamedTuple):
    """Orthonormal columns, and an upper triangle."""

    Q: Tensor
    R: Tensor


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVDResult(NamedTuple):
    """Left singular vectors in columns, singular values in descending order, right singular vectors in rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


@op
class cholesky(MatrixRoutine):
    """The lower triangle L with ``A = L L'``, for every matrix of a batch.

    Parameters
    ----------
    x : Tensor
        A, symmetric and positive definite: ``(..., n, n)``. The lower triangle is read; integers become float32.
    upper : bool
        Read the upper triangle and return ``U = L'`` instead.

    Returns
    -------
    Tensor
        Of the shape of ``x``; zeros in the other triangle.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    LinAlgError
        When the program runs, if one is not positive definite.
    """

    public = False
    routine = "cholesky"
    complaint = "is not positive definite"
    samples = (Sample(normal(2, 4, 4)), Sample(normal(3, 3)), Sample(normal(3, 3), upper=True))

    def __call__(self, x: Any, *, upper: bool = False) -> Tensor:
        (a,) = as_matrices("cholesky", x)
        require_square("cholesky", a)
        require_bool("cholesky", "upper", upper)
        return matrix_transpose(self.make(matrix_transpose(a))) if upper else self.make(a)

    def infer(self, *inputs: Tensor) -> TensorType:
        return inputs[0].type

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return node.inputs[0].shape[-1:]

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        (x,) = inputs
        return self(x @ x.mT + rows_of(x) * identity(x.shape[-1], x.dtype), **attributes)

    def compute(self, node: Node, *inputs: Array) -> Array:
        (a,) = inputs
        factor = np.empty_like(a)
        for place, matrix, result in each((a, 2), (factor, 2), batch=a.shape[:-2]):
            try:
                result[...] = np.linalg.cholesky(matrix)
            except np.linalg.LinAlgError:
                raise self.refusal(node, place, 0) from None
        return factor

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        """With P the lower triangle of ``L' G``, its diagonal halved: the symmetric part of ``inv(L)' P inv(L)``."""
        (g,), factor = cotangents, node.result
        inner = matrix_transpose(factor) @ g
        half = where(on_diagonal(*inner.shape[-2:]), inner * 0.5, lower_triangle(inner))
        left = _solve_transposed(factor, half)
        return (symmetric_part(_solve_transposed(factor, matrix_transpose(left))),)


def _solve_transposed(factor: Tensor, x: Tensor) -> Tensor:
    """``inv(L)' X`` for a lower triangle L."""
    return solve_triangular(factor, x, lower=True, transposed=True)


@op
class qr(MatrixRoutine):
    """``A = Q R`` with orthonormal columns in Q and an upper triangle R, for every matrix of a batch.

    Signs are those of LAPACK: the diagonal of R may be negative.

    Parameters
    ----------
    x : Tensor
        A: ``(..., m, n)``; integers become float32.
    mode : "reduced" or "complete"
        Q has ``min(m, n)`` columns, or m.

    Returns
    -------
    Q : Tensor
        ``(..., m, min(m, n))`` or ``(..., m, m)``.
    R : Tensor
        ``(..., min(m, n), n)`` or ``(..., m, n)``.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    GradientError
        If a derivative is asked for that does not exist: of Q with more columns than A, or where named dims do not tell
        which of m and n is larger.
    """

    public = False
    routine = "qr"
    complaint = "has no QR decomposition"
    samples = (
        Sample(normal(2, 5, 3)),
        Sample(normal(3, 3)),
        Sample(normal(3, 5)),
        Sample(normal(5, 3), mode="complete", differentiable=False),
        Sample(normal(3, 5), mode="complete"),
    )

    def __call__(self, x: Any, *, mode: str = "reduced") -> QRResult:
        (a,) = as_matrices("qr", x)
        if mode not in ("reduced", "complete"):
            raise GraphError(f"qr: expected mode 'reduced' or 'complete', got {given(mode)}")
        return QRResult(*self.make(a, complete=mode == "complete"))

    def infer(self, *inputs: Tensor, complete: bool) -> tuple[TensorType, TensorType]:
        (a,) = inputs
        *batch, m, n = a.shape
        rank = m if complete else size_minimum(m, n)
        return TensorType((*batch, m, rank), a.dtype), TensorType((*batch, rank, n), a.dtype)

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return (2, *node.inputs[0].shape[-1:])

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        return tuple(self(dominated(inputs[0]), **attributes))

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, Array]:
        (a,) = inputs
        finite = np.isfinite(a).all(axis=(-2, -1), keepdims=True)
        q, r = np.linalg.qr(np.where(finite, a, 0), "complete" if node["complete"] else "reduced")
        return np.where(finite, q, np.nan).astype(a.dtype), np.where(finite, r, np.nan).astype(a.dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        """For m >= n: with ``M = R Gr' - Gq' Q`` made symmetric by its lower triangle, ``(Gq + Q M) inv(R)'``.

        For m < n, the first m columns of A are such a matrix, and the others are Q times the others of R.
        """
        (a,), (q, r), (by_q, by_r) = node.inputs, node.results, cotangents
        m, n = a.shape[-2:]
        if q.shape[-1] != size_minimum(m, n):
            raise GradientError(f"qr: Q of shape {q.type} has columns that A does not determine", origin=node.origin)
        if never_negative(m - n):
            return (_by_tall(q, r, by_q, by_r),)
        if not never_negative(n - m):
            raise GradientError(
                f"qr: the derivative needs to know which of the sizes {m} and {n} is larger", origin=node.origin
            )
        first, rest = part(r, -1, 0, m), part(a, -1, m, n - m)
        by_first, by_rest = part(by_r, -1, 0, m), part(by_r, -1, m, n - m)
        by_square = _by_tall(q, first, by_q + rest @ matrix_transpose(by_rest), by_first)
        return (concat([by_square, q @ by_rest], axis=-1),)


def _by_tall(q: Tensor, r: Tensor, by_q: Tensor, by_r: Tensor) -> Tensor:
    """The derivative by a matrix of at least as many rows as columns."""
    inner = r @ matrix_transpose(by_r) - matrix_transpose(by_q) @ q
    lower = lower_triangle(inner)
    mirrored = lower + matrix_transpose(lower_triangle(inner, strict=True))
    return matrix_transpose(solve_triangular(r, matrix_transpose(by_q + q @ mirrored)))


@op
class eigh(MatrixRoutine):
    """Eigenvalues and eigenvectors of symmetric matrices, for every matrix of a batch.

    An eigenvector's sign is LAPACK's choice. Where eigenvalues are equal, their eigenvectors are not determined, and
    have no derivative: what would be infinite is left out, so that functions of the eigenvalues alone are right.

    Parameters
    ----------
    x : Tensor
        ``(..., n, n)``, symmetric. The lower triangle is read; integers become float32.

    Returns
    -------
    eigenvalues : Tensor
        ``(..., n)``, in ascending order.
    eigenvectors : Tensor
        ``(..., n, n)``, in columns. All NaN, as the eigenvalues, for a matrix that is not finite.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    LinAlgError
        When the program runs, if the iteration for a matrix does not converge.
    """

    public = False
    routine = "eigh"
    core = 1
    complaint = "has eigenvalues to which the iteration does not converge"
    samples = (Sample(normal(2, 4, 4)), Sample(normal(3, 3)))

    def __call__(self, x: Any) -> EighResult:
        (a,) = as_matrices("eigh", x)
        require_square("eigh", a)
        return EighResult(*self.make(a))

    def infer(self, *inputs: Tensor) -> tuple[TensorType, TensorType]:
        (a,) = inputs
        return TensorType(a.shape[:-1], a.dtype), a.type

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return (9, node.inputs[0].shape[-1], node.inputs[0].shape[-1])

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        """Eigenvalues about 1 apart, and products of the vectors' elements, which no sign changes."""
        (x,) = inputs
        distinct = as_diagonal(cast(iota((x.shape[-1],)), x.dtype))
        values, vectors = self(symmetric_part(x) * (1 / (4 * rows_of(x) + 1)) + distinct)
        return values, vectors * vectors.sum(axis=-2, keepdims=True)

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, Array]:
        (a,) = inputs
        values, vectors = (np.full(shape, np.nan, a.dtype) for shape in (a.shape[:-1], a.shape))
        for place, matrix, *made in each((a, 2), (values, 1), (vectors, 2), batch=a.shape[:-2]):
            if np.isfinite(matrix).all():
                try:
                    made[0][...], made[1][...] = np.linalg.eigh(matrix)
                except np.linalg.LinAlgError:
                    raise self.refusal(node, place, 0) from None
        return values, vectors

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        """``V (diag(Gw) + F * (V' Gv)) V'``, made symmetric, with ``F[i, j] = 1 / (w[j] - w[i])``."""
        (values, vectors), (by_values, by_vectors) = node.results, cotangents
        vt = matrix_transpose(vectors)
        result = (vectors * expand_dims(by_values, -2)) @ vt
        if not is_zero(by_vectors):
            gaps = _inverse_or_zero(expand_dims(values, -2) - expand_dims(values, -1))
            result = result + vectors @ (gaps * (vt @ by_vectors)) @ vt
        return (symmetric_part(result),)


def _inverse_or_zero(x: Tensor) -> Tensor:
    """``1 / x``, but 0 of 0."""
    zero = equal(x, 0)
    return where(zero, 0, 1 / where(zero, 1, x))


@op
class svd(MatrixRoutine):
    """``A = U diag(S) Vh``, the singular value decomposition, for every matrix of a batch.

    The sign of a pair of vectors is LAPACK's choice. Where singular values are equal, or 0, their vectors are not
    determined, and have no derivative: what would be infinite is left out, so that functions of the singular values
    alone are right.

    Parameters
    ----------
    x : Tensor
        A: ``(..., m, n)``; integers become float32.
    full_matrices : bool
        All m columns of U and n rows of Vh, instead of ``min(m, n)`` each. They have no derivative unless m is n.

    Returns
    -------
    U : Tensor
        ``(..., m, m)`` or ``(..., m, min(m, n))``.
    S : Tensor
        ``(..., min(m, n))``, in descending order.
    Vh : Tensor
        ``(..., n, n)`` or ``(..., min(m, n), n)``. All three are NaN for a matrix that is not finite.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    LinAlgError
        When the program runs, if the iteration for a matrix does not converge.
    GradientError
        If a derivative of full matrices is asked for that are not square.
    """

    public = False
    routine = "svd"
    complaint = "has singular values to which the iteration does not converge"
    samples = (
        Sample(normal(2, 5, 3), full_matrices=False),
        Sample(normal(3, 3)),
        Sample(normal(3, 5), full_matrices=False),
    )

    def __call__(self, x: Any, *, full_matrices: bool = True) -> SVDResult:
        (a,) = as_matrices("svd", x)
        return SVDResult(*self.make(a, full=require_bool("svd", "full_matrices", full_matrices)))

    def infer(self, *inputs: Tensor, full: bool) -> tuple[TensorType, ...]:
        (a,) = inputs
        *batch, m, n = a.shape
        least = size_minimum(m, n)
        left, right = (m, n) if full else (least, least)
        shapes = (*batch, m, left), (*batch, least), (*batch, right, n)
        return tuple(TensorType(shape, a.dtype) for shape in shapes)

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return (9, *node.inputs[0].shape[-1:])

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        """Singular values about 1 apart, and products of the vectors' elements, which no sign changes."""
        (x,) = inputs
        m, n = x.shape[-2:]
        distinct = where(on_diagonal(m, n), cast(iota((m, n), -1) + 1, x.dtype), 0)
        u, s, vh = self(x * (1 / (4 * (rows_of(x) + rows_of(x.mT)) + 1)) + distinct, **attributes)
        left, right = u.sum(axis=-2, keepdims=True), vh.sum(axis=-1, keepdims=True)
        return u * left, s, vh * right, (u * expand_dims(s, -2)) @ vh

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, ...]:
        (a,) = inputs
        *batch, m, n = a.shape
        least = min(m, n)
        left, right = (m, n) if node["full"] else (least, least)
        shapes = (*batch, m, left), (*batch, least), (*batch, right, n)
        u, s, vh = (np.full(shape, np.nan, a.dtype) for shape in shapes)
        for place, matrix, *made in each((a, 2), (u, 2), (s, 1), (vh, 2), batch=batch):
            if np.isfinite(matrix).all():
                try:
                    made[0][...], made[1][...], made[2][...] = np.linalg.svd(matrix, full_matrices=node["full"])
                except np.linalg.LinAlgError:
                    raise self.refusal(node, place, 0) from None
        return u, s, vh

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (a,), (u, s, vh), (by_u, by_s, by_vh) = node.inputs, node.results, cotangents
        m, n = a.shape[-2:]
        least = s.shape[-1]
        if u.shape[-1] != least or vh.shape[-2] != least:
            raise GradientError(
                f"svd: full matrices of a matrix of shape ({m}, {n}) have no derivative", origin=node.origin,
                hint="pass full_matrices=False",
            )  # fmt: skip
        if is_zero(by_u) and is_zero(by_vh):
            return ((u * expand_dims(by_s, -2)) @ vh,)
        v, by_v = matrix_transpose(vh), matrix_transpose(by_vh)
        row, column = expand_dims(s, -1), expand_dims(s, -2)
        gaps = _inverse_or_zero((column - row) * (column + row))
        inner = as_diagonal(by_s) + gaps * _skew(u, by_u) * column + row * gaps * _skew(v, by_v)
        result = u @ inner @ vh
        if m != least:
            result = result + _apart_from(u, by_u) * _inverse_or_zero(column) @ vh
        if n != least:
            result = result + (u * _inverse_or_zero(column)) @ matrix_transpose(_apart_from(v, by_v))
        return (result,)


def _skew(vectors: Tensor, by_vectors: Tensor) -> Tensor:
    """What a turn of the vectors among themselves does."""
    turn = matrix_transpose(vectors) @ by_vectors
    return turn - matrix_transpose(turn)


def _apart_from(vectors: Tensor, x: Tensor) -> Tensor:
    """What is orthogonal to all of some orthonormal columns."""
    return x - vectors @ (matrix_transpose(vectors) @ x)
