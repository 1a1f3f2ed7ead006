"""Systems of linear equations, and what else comes of the factors L and U: the inverse, determinants.

``lu_factor`` is a node of its own, so that all that is asked of one matrix, derivatives included, shares its factors.
Ops that read the factors have the matrix itself among their inputs, too: nothing of it is read, but it is what they are
functions of, and what they are differentiated by. The factors have no derivative.

Derivatives are those of Giles, *Collected matrix derivative results for forward and reverse mode algorithmic
differentiation* (2008).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import MatrixRoutine, Sample, op
from graphc.ir.symbolic import Size
from graphc.ir.types import TensorType, broadcast_shapes
from graphc.ops.base import is_zero, promote, require, require_bool, shown
from graphc.ops.derivatives import custom_gradient
from graphc.ops.elementwise import abs_, equal, logical_and, maximum, multiply, where
from graphc.ops.linalg.matrices import (
    Array,
    as_matrices,
    batched,
    dominated,
    each,
    identity,
    lower_triangle,
    on_diagonal,
    product_over_batch,
    require_square,
    rows_of,
    upper_triangle,
)
from graphc.ops.reductions import min_, sum_
from graphc.ops.samples import normal
from graphc.ops.shaping import expand_dims, matrix_transpose, squeeze

Cotangents = tuple[Tensor | None, ...]


class SlogdetResult(NamedTuple):
    """Sign of a determinant, and the natural logarithm of its magnitude."""

    sign: Tensor
    logabsdet: Tensor


@op
class lu_factor(MatrixRoutine):
    """Factors L (unit lower) and U (upper) of a matrix with its rows interchanged: ``A = P L U``.

    The first result holds both *column by column*, as LAPACK has them: its transpose is ``L - I + U``. The second says
    with which row, from 1, each row in turn was interchanged.
    """

    public = False
    differentiable = False
    routine = "lu_factor"
    samples = (Sample(normal(2, 5, 5)), Sample(normal(3, 3)))

    def __call__(self, x: Any) -> tuple[Tensor, Tensor]:
        (x,) = as_matrices("lu_factor", x)
        return self.make(x)

    def infer(self, *inputs: Tensor) -> tuple[TensorType, TensorType]:
        (x,) = inputs
        require_square("lu_factor", x)
        return x.type, TensorType(x.shape[:-1], np.dtype("int32"))

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return node.inputs[0].shape[-1:]

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        return self(dominated(inputs[0]))

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, Array]:
        (x,) = inputs
        factors = np.array(np.swapaxes(x, -1, -2))
        pivots = np.zeros(x.shape[:-1], np.int32)
        with np.errstate(all="ignore"):
            for _, columns, swaps in each((factors, 2), (pivots, 1), batch=x.shape[:-2]):
                _factor(columns.T, swaps)
        return factors, pivots

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (None,)


def _factor(a: Array, swaps: Array) -> None:
    """Gauss's elimination with partial pivoting, in place."""
    for step in range(len(a)):
        other = step + int(np.argmax(np.abs(a[step:, step])))
        swaps[step] = other + 1
        a[[step, other]] = a[[other, step]]
        if a[step, step] != 0:
            a[step + 1 :, step] /= a[step, step]
        a[step + 1 :, step + 1 :] -= np.outer(a[step + 1 :, step], a[step, step + 1 :])


@op
class solve(MatrixRoutine):
    """The solution X of ``A X = B``, for every matrix of a batch.

    Parameters
    ----------
    x1 : Tensor
        A, square: ``(..., n, n)``.
    x2 : Tensor
        B: ``(..., n, k)``, or a vector ``(n,)``. Batches broadcast; integers become float32.

    Returns
    -------
    Tensor
        ``(..., n, k)``, or ``(..., n)`` for a vector.

    Raises
    ------
    ShapeError
        If A is not square, B has not as many rows, or the batches do not broadcast.
    LinAlgError
        When the program runs, if a matrix is singular.
    """

    public = False
    routine = "solve"
    input_cores = (2, 2, 1, 2)
    awaited = (0,)
    complaint = "is singular"
    samples = (
        Sample(normal(2, 4, 4), normal(2, 4, 3)),
        Sample(normal(3, 3), normal(3, 2)),
        Sample(normal(3, 3), normal(3)),
        Sample(normal(2, 1, 3, 3), normal(4, 3, 2)),
    )

    def __call__(self, x1: Any, x2: Any) -> Tensor:
        a, b = promote("solve", (x1, x2), minimum="float")
        (a,) = as_matrices("solve", a)
        require_square("solve", a)
        vector = b.ndim == 1
        if vector:
            b = expand_dims(b, -1)
        a, b = matched("solve", a, b)
        x = self.make(a, *lu_factor(a), b, transposed=False)
        return squeeze(x, -1) if vector else x

    def infer(self, *inputs: Tensor, transposed: bool) -> TensorType:
        return inputs[3].type

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return node.inputs[0].shape[-1:]

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        return self(dominated(inputs[0]), inputs[1])

    def compute(self, node: Node, *inputs: Array) -> Array:
        _, factors, pivots, b = inputs
        x = np.array(b)
        for place, columns, swaps, result in each((factors, 2), (pivots, 1), (x, 2), batch=b.shape[:-2]):
            try:
                _substitute(columns.T, swaps, result, node["transposed"])
            except np.linalg.LinAlgError:
                raise self.refusal(node, place, 0) from None
        return x

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        """For ``X = inv(A) B``: that of B is ``inv(A)' G``, and that of A is minus this times ``X'``."""
        (a, factors, pivots, _), (g,), x = node.inputs, cotangents, node.result
        transposed = node["transposed"]
        by_b = self.make(a, factors, pivots, g, transposed=not transposed)
        left, right = (x, by_b) if transposed else (by_b, x)
        by_a = product_over_batch(left, right, a.shape)
        return -by_a, None, None, by_b


def _substitute(factors: Array, swaps: Array, x: Array, transposed: bool) -> None:
    """The solution from the factors, in place of the right-hand side."""
    lower, upper = np.tril(factors, -1) + np.eye(len(factors), dtype=factors.dtype), np.triu(factors)
    interchanges = [[step, other - 1] for step, other in enumerate(swaps)]
    if transposed:
        x[...] = np.linalg.solve(lower.T, np.linalg.solve(upper.T, x))
        for rows in reversed(interchanges):
            x[rows] = x[rows[::-1]]
    else:
        for rows in interchanges:
            x[rows] = x[rows[::-1]]
        x[...] = np.linalg.solve(upper, np.linalg.solve(lower, x))


def matched(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A square matrix and a right-hand side whose batch has all axes of both.

    Raises
    ------
    ShapeError
        If they do not fit.
    """
    both = f"A {shown(a)} and B {shown(b)}"
    fits = b.ndim >= 2 and b.shape[-2] == a.shape[-1]
    require(fits, ShapeError, f"{name}: expected as many rows in B as columns in A, got {both}", a, b)
    try:
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ShapeError as error:
        raise ShapeError(f"{name}: batch {error.said}: {both}", operands=(a, b)) from None
    return a, batched(b, batch)


def inv(x: Any) -> Tensor:
    """The inverse of every square matrix of a batch.

    Parameters
    ----------
    x : Tensor
        ``(..., n, n)``; integers become float32.

    Returns
    -------
    Tensor
        Of the shape of ``x``.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    LinAlgError
        When the program runs, if one is singular.
    """
    (a,) = as_matrices("inv", x)
    require_square("inv", a)
    return _inverse(a)


def _inverse(a: Tensor, transposed: bool = False) -> Tensor:
    ones = batched(identity(a.shape[-1], a.dtype), a.shape[:-2])
    return solve.make(a, *lu_factor(a), ones, transposed=transposed)


@op
class determinant(MatrixRoutine):
    """Determinants of matrices, their signs, and the logarithms of their magnitudes, from factors."""

    public = False
    routine = "determinant"
    core = 0
    input_cores = (2, 2, 1)
    awaited = (0,)
    samples = (Sample(normal(2, 4, 4)), Sample(normal(3, 3)))

    def __call__(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        (a,) = as_matrices("determinant", x)
        require_square("determinant", a)
        return self.make(a, *lu_factor(a))

    def infer(self, *inputs: Tensor) -> tuple[TensorType, ...]:
        a = inputs[0]
        return (TensorType(a.shape[:-2], a.dtype),) * 3

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return node.inputs[0].shape[-1:]

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        return self(dominated(inputs[0]))

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, ...]:
        _, factors, pivots = inputs
        diagonal = np.diagonal(factors, axis1=-2, axis2=-1)
        odd = np.count_nonzero(pivots != np.arange(1, pivots.shape[-1] + 1), axis=-1) % 2
        turned = np.where(odd, -1, 1).astype(factors.dtype)
        with np.errstate(all="ignore"):
            sign = turned * np.prod(np.sign(diagonal), axis=-1)
            return turned * np.prod(diagonal, axis=-1), sign, np.log(np.abs(diagonal)).sum(axis=-1)

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        """The derivative of ``log |det A|`` is the transposed inverse, and that of ``det A`` are the cofactors."""
        (a, factors, pivots), (g, _, by_log) = node.inputs, cotangents
        parts = []
        if not is_zero(g):
            parts.append(expand_dims(g, (-2, -1)) * _cofactors(a, factors, pivots))
        if not is_zero(by_log):
            parts.append(expand_dims(by_log, (-2, -1)) * _inverse(a, transposed=True))
        return (sum(parts[1:], parts[0]) if parts else None), None, None


def _made_regular(factors: Tensor) -> Tensor:
    """Factors in which rounding errors stand in the place of zeros on the diagonal of U.

    They are those of the column, so that large columns do not spoil what small ones say. A column of zeros has none:
    any number gives its cofactors, and the smaller, the less it disturbs those of other columns; so it has the
    smallest error of another column.
    """
    n, limits = factors.shape[-1], np.finfo(factors.dtype)
    upper = abs_(lower_triangle(factors))  # column by column
    error = sum_(multiply(upper, float(limits.eps)), -1, keepdims=True) / rows_of(factors)
    smallest = min_(where(equal(error, 0), math.inf, error), -2, keepdims=True)
    error = where(equal(error, 0), where(equal(smallest, math.inf), 0, smallest), error)
    zero = logical_and(on_diagonal(n, n), equal(factors, 0))
    return where(zero, maximum(error, float(limits.tiny)), factors)


def _cofactors_from(a: Tensor, factors: Tensor, pivots: Tensor) -> Tensor:
    """The matrix of cofactors, ``det A`` times the transposed inverse.

    It is continuous in A. That of a singular matrix is therefore the one of a regular matrix next to it, which differs
    from it no more than A differs from the product of its factors.
    """
    factors = _made_regular(factors)
    ones = batched(identity(a.shape[-1], a.dtype), a.shape[:-2])
    inverse: Tensor = solve.make(a, factors, pivots, ones, transposed=True)
    return expand_dims(determinant.make(a, factors, pivots)[0], (-2, -1)) * inverse


def _derivative_of_cofactors(inputs: Any, outputs: Any, cotangents: Any) -> tuple[Tensor | None, ...]:
    """For ``C = det(A) B`` with the transposed inverse B: ``det(A) (sum(G * B) B - B G' B)``.

    Regular matrices next to a singular one say nothing here: their terms are large, and cancel.
    """
    (a, factors, pivots), (g,) = inputs, cotangents
    inverse = _inverse(a, transposed=True)
    value = expand_dims(determinant.make(a, factors, pivots)[0], (-2, -1))
    along = sum_(g * inverse, (-2, -1), keepdims=True)
    return value * (along * inverse - inverse @ matrix_transpose(g) @ inverse), None, None


_cofactors = custom_gradient(_cofactors_from, vjp=_derivative_of_cofactors)


def det(x: Any) -> Tensor:
    """The determinant of every square matrix of a batch; 1 of an empty matrix.

    Its derivative is the matrix of cofactors, at singular matrices, too (NaN at large strictly triangular ones, of
    order 6 in float32 and 20 in float64). The derivative of that is made of the inverse, so second derivatives are
    asked for at regular matrices only.

    Parameters
    ----------
    x : Tensor
        ``(..., n, n)``; integers become float32.

    Returns
    -------
    Tensor
        ``(...)``.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    LinAlgError
        When the program runs, if a second derivative is asked for and a matrix is singular.
    """
    return determinant(x)[0]


def slogdet(x: Any) -> SlogdetResult:
    """Sign and logarithm of the magnitude of :func:`det`, which may be out of the range of its dtype.

    Parameters
    ----------
    x : Tensor
        ``(..., n, n)``; integers become float32.

    Returns
    -------
    sign : Tensor
        ``(...)``: -1, 0 or 1; it has no derivative.
    logabsdet : Tensor
        ``(...)``; minus infinity for a singular matrix.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    LinAlgError
        When the program runs, if the derivative is asked for and a matrix is singular.
    """
    return SlogdetResult(*determinant(x)[1:])


@op
class solve_triangular(MatrixRoutine):
    """The solution X of ``A X = B`` for triangular matrices A.

    Parameters
    ----------
    x1 : Tensor
        A, square: ``(..., n, n)``. The other triangle is not read.
    x2 : Tensor
        B: ``(..., n, k)``, or a vector ``(n,)``. Batches broadcast; integers become float32.
    lower : bool
        Which triangle A is; the upper one by default.
    transposed : bool
        Solve ``A' X = B`` instead; ``lower`` still speaks of A.
    unit_diagonal : bool
        Take the diagonal to be ones, without reading it.

    Returns
    -------
    Tensor
        ``(..., n, k)``, or ``(..., n)`` for a vector.

    Raises
    ------
    ShapeError
        If A is not square, B has not as many rows, or the batches do not broadcast.
    LinAlgError
        When the program runs, if there is a 0 on a diagonal.
    """

    public = False
    routine = "solve_triangular"
    input_cores = (2, 2)
    complaint = "is singular"
    samples = (
        Sample(normal(2, 4, 4), normal(2, 4, 3), lower=True),
        Sample(normal(3, 3), normal(3, 2)),
        Sample(normal(2, 4, 4), normal(2, 4, 3), transposed=True),
        Sample(normal(3, 3), normal(2, 3, 2), lower=True, transposed=True),
        Sample(normal(3, 3), normal(3), lower=True, unit_diagonal=True),
        Sample(normal(3, 3), normal(3), unit_diagonal=True, transposed=True),
        Sample(normal(3, 3), normal(3), lower=True, transposed=True),
    )

    def __call__(
        self, x1: Any, x2: Any, *, lower: bool = False, transposed: bool = False, unit_diagonal: bool = False
    ) -> Tensor:
        a, b = promote("solve_triangular", (x1, x2), minimum="float")
        (a,) = as_matrices("solve_triangular", a)
        require_square("solve_triangular", a)
        vector = b.ndim == 1
        if vector:
            b = expand_dims(b, -1)
        a, b = matched("solve_triangular", a, b)
        flags = {"lower": lower, "transposed": transposed, "unit_diagonal": unit_diagonal}
        flags = {what: require_bool("solve_triangular", what, flag) for what, flag in flags.items()}
        x = self.make(a, b, **flags)
        return squeeze(x, -1) if vector else x

    def infer(self, *inputs: Tensor, lower: bool, transposed: bool, unit_diagonal: bool) -> TensorType:
        return inputs[1].type

    def repeats(self, node: Node) -> tuple[Size, ...]:
        return node.inputs[0].shape[-1:]

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        if attributes.get("unit_diagonal"):  # solutions that do not grow with every row
            return self(inputs[0] * 0.1 / (1 + rows_of(inputs[0])), inputs[1], **attributes)
        return self(dominated(inputs[0], shifted=False), inputs[1], **attributes)

    def compute(self, node: Node, *inputs: Array) -> Array:
        a, b = inputs
        x = np.empty_like(b)
        a = np.tril(a) if node["lower"] else np.triu(a)
        if node["unit_diagonal"]:
            a = np.where(np.eye(a.shape[-1], dtype=bool), 1, a).astype(a.dtype)
        if node["transposed"]:
            a = np.swapaxes(a, -1, -2)
        for place, matrix, right, result in each((a, 2), (b, 2), (x, 2), batch=b.shape[:-2]):
            try:
                result[...] = np.linalg.solve(matrix, right)
            except np.linalg.LinAlgError:
                raise self.refusal(node, place, 0) from None
        return x

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (a, _), (g,), x = node.inputs, cotangents, node.result
        attributes = {**node.attributes, "transposed": not node["transposed"]}
        by_b = self.make(a, g, **attributes)
        left, right = (x, by_b) if node["transposed"] else (by_b, x)
        by_a = product_over_batch(left, right, a.shape)
        triangle = lower_triangle if node["lower"] else upper_triangle
        return -triangle(by_a, strict=node["unit_diagonal"]), by_b
