"""Linear algebra: values against NumPy, derivatives by differences, failures, workers, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import linalg
from graphc.errors import GradientError, GraphcError, GraphError, LinAlgError, ShapeError
from graphc.ir.origin import Origin, derived_from

generator = np.random.default_rng(11)
A, B = generator.normal(size=(2, 3, 4, 4)), generator.normal(size=(2, 3, 4, 2))
MATRIX, FIRST = A[0, 0], A[:1]
VECTOR = generator.normal(size=4)
POSITIVE = A @ np.swapaxes(A, -1, -2) + 4 * np.eye(4)
SYMMETRIC = A + np.swapaxes(A, -1, -2)
TALL, WIDE = generator.normal(size=(2, 5, 3)), generator.normal(size=(2, 3, 5))
ABOVE = np.triu(np.ones((4, 4), bool), 1)
LOW_RANK = TALL[:, :, :1] @ WIDE[:, :1, :]


@pytest.fixture(scope="module")
def session() -> Iterator[graphc.Session]:
    with graphc.Session(threads=1) as made:
        yield made


def placeholder(shape: Any, dtype: Any = "float64", name: str = "a") -> graphc.Tensor:
    return graphc.placeholder(name, shape, dtype)


def test_namespaces() -> None:
    """All of the array API standard's extension, wherever it is looked for."""
    standard = (
        "cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose "
        "outer pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm"
    )
    assert set(standard.split()) <= set(linalg.__all__)
    space = placeholder((2, 2)).__array_namespace__().linalg
    assert all(getattr(space, name) is getattr(graphc.linalg, name) for name in linalg.__all__)


# -- values -------------------------------------------------------------------------------------------------------

VALUES: list[tuple[str, Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...]]] = [
    ("solve", linalg.solve, np.linalg.solve, (A, B)),
    ("solve vector", linalg.solve, lambda a, b: np.linalg.solve(a, b[:, None])[..., 0], (A, VECTOR)),
    ("solve, one matrix", linalg.solve, np.linalg.solve, (MATRIX, B)),
    ("solve, sizes of 1", linalg.solve, np.linalg.solve, (FIRST, B)),
    ("inv", linalg.inv, np.linalg.inv, (A,)),
    ("det", linalg.det, np.linalg.det, (A,)),
    ("sign", lambda a: linalg.slogdet(a).sign, lambda a: np.linalg.slogdet(a).sign, (A,)),
    ("slogdet", lambda a: linalg.slogdet(a).logabsdet, lambda a: np.linalg.slogdet(a).logabsdet, (A,)),
    ("cholesky", linalg.cholesky, np.linalg.cholesky, (POSITIVE,)),
    (
        "cholesky reads one triangle",
        lambda a: linalg.cholesky(graphc.where(ABOVE, 9.0, a)), np.linalg.cholesky, (POSITIVE,),
    ),
    (
        "cholesky, upper",
        lambda a: linalg.cholesky(graphc.where(ABOVE.T, 9.0, a), upper=True),
        lambda a: np.swapaxes(np.linalg.cholesky(a), -1, -2), (POSITIVE,),
    ),
    ("eigvalsh", linalg.eigvalsh, np.linalg.eigvalsh, (SYMMETRIC,)),
    ("svdvals, tall", linalg.svdvals, lambda a: np.linalg.svd(a)[1], (TALL,)),
    ("svdvals, wide", linalg.svdvals, lambda a: np.linalg.svd(a)[1], (WIDE,)),
    ("pinv, tall", linalg.pinv, np.linalg.pinv, (TALL,)),
    ("pinv, wide", linalg.pinv, np.linalg.pinv, (WIDE,)),
    ("pinv, low rank", lambda a: linalg.pinv(a, rtol=1e-4), lambda a: np.linalg.pinv(a, rcond=1e-4), (LOW_RANK,)),
    ("power 0", lambda a: linalg.matrix_power(a, 0), lambda a: np.linalg.matrix_power(a, 0), (A,)),
    ("power 5", lambda a: linalg.matrix_power(a, 5), lambda a: np.linalg.matrix_power(a, 5), (A,)),
    ("power -2", lambda a: linalg.matrix_power(a, -2), lambda a: np.linalg.matrix_power(a, -2), (A,)),
    ("cond", linalg.cond, np.linalg.cond, (TALL,)),
    ("cond -2", lambda a: linalg.cond(a, -2), lambda a: np.linalg.cond(a, -2), (A,)),
    ("cond 1", lambda a: linalg.cond(a, 1), lambda a: np.linalg.cond(a, 1), (A,)),
    *(
        (
            f"matrix_norm {ord}",
            lambda a, ord=ord: linalg.matrix_norm(a, ord=ord),
            lambda a, ord=ord: np.linalg.matrix_norm(a, ord=ord), (TALL,),
        )
        for ord in ("fro", "nuc", 1, -1, 2, np.inf)
    ),
    *(
        (
            f"vector_norm {ord}",
            lambda a, ord=ord: linalg.vector_norm(a, axis=-1, keepdims=True, ord=ord),
            lambda a, ord=ord: np.linalg.vector_norm(a, axis=-1, keepdims=True, ord=ord), (TALL,),
        )
        for ord in (0, 2, 3, 0.5, -1, -np.inf)
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "named"), [("float32", False), ("float64", True)])
def test_values(session: graphc.Session, dtype: str, named: bool) -> None:
    """All functions in one program, in which equal parts are computed once; batches of static and of named sizes."""
    feeds: dict[graphc.Tensor, np.ndarray] = {}
    declared: dict[int, graphc.Tensor] = {}

    def declare(value: np.ndarray) -> graphc.Tensor:
        if id(value) not in declared:
            batch = [f"n{size}" if named and size > 1 else size for size in value.shape[:-2]]
            tensor = placeholder((*batch, *value.shape[-2:]), dtype, f"x{len(feeds)}")
            declared[id(value)], feeds[tensor] = tensor, value.astype(dtype)
        return declared[id(value)]

    outputs = [function(*map(declare, values)) for _, function, _, values in VALUES]
    got = session.run(outputs, feeds)
    for (name, _, reference, values), value in zip(VALUES, got, strict=True):
        wanted = reference(*(array.astype(dtype) for array in values))
        assert value.dtype == dtype, name
        atol = np.abs(wanted).max() * (2e-4 if dtype == "float32" else 1e-11)
        np.testing.assert_allclose(value, wanted, rtol=0, atol=atol, err_msg=name)


def test_named_sizes_of_matrices(session: graphc.Session) -> None:
    """One program for all sizes, 0 and 1 among them, and for empty batches."""
    a, b = placeholder(("batch", "n", "n")), placeholder(("batch", "n", "k"), name="b")
    spd = a @ a.mT + 3 * np.float64(1) * linalg.matrix_power(a, 0)
    values, vectors = linalg.eigh(spd)
    u, s, vh = linalg.svd(b, full_matrices=False)
    q, r = linalg.qr(b)
    outputs = [
        linalg.solve(a, b), linalg.det(a), linalg.cholesky(spd),
        (vectors * graphc.expand_dims(values, -2)) @ vectors.mT,
        (u * graphc.expand_dims(s, -2)) @ vh, q @ r, linalg.matrix_rank(b), linalg.inv(a),
    ]  # fmt: skip
    program = graphc.compile([a, b], outputs, session=session)
    for batch, n, k in ((3, 4, 2), (3, 4, 7), (0, 3, 3), (2, 0, 3), (2, 3, 0), (1, 1, 1), (2, 40, 30)):
        x, y = generator.normal(size=(batch, n, n)), generator.normal(size=(batch, n, k))
        positive = x @ np.swapaxes(x, -1, -2) + 3 * np.eye(n)
        wanted = [
            np.linalg.solve(x, y), np.linalg.det(x), np.linalg.cholesky(positive), positive, y, y,
            np.full(batch, min(n, k)), np.linalg.inv(x),
        ]  # fmt: skip
        for value, expected in zip(program(x, y), wanted, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-10, err_msg=f"{batch, n, k}")


def test_vectors_that_are_not_determined(session: graphc.Session) -> None:
    """What completes Q, U and Vh is orthonormal, and changes no product."""
    outputs = []
    for array in (TALL, WIDE):
        x = graphc.constant(array)
        q, r = linalg.qr(x, mode="complete")
        u, s, vh = linalg.svd(x)
        assert (q.shape, r.shape) == ((2, 5, 5), (2, 5, 3)) if array is TALL else ((2, 3, 3), (2, 3, 5))
        assert (u.shape[-1], vh.shape[-2]) == ((5, 3) if array is TALL else (3, 5))
        outputs += [q.mT @ q, u.mT @ u, vh @ vh.mT, q @ r - x, (u[..., :3] * graphc.expand_dims(s, -2)) @ vh[:, :3] - x]
    for k, value in enumerate(session.run(outputs, {})):
        wanted = np.eye(value.shape[-1]) if k % 5 < 3 else 0
        np.testing.assert_allclose(value, np.broadcast_to(wanted, value.shape), atol=1e-12, err_msg=str(k))


def test_integers_become_float32(session: graphc.Session) -> None:
    whole = np.array([[2, 1], [1, 3]])
    outputs = [linalg.det(whole), linalg.solve(whole, [1, 2]), linalg.cholesky(whole), linalg.inv(whole > 1)]
    det, x, factor, inverse = session.run(outputs, {})
    assert all(value.dtype == np.float32 for value in (det, x, factor, inverse))
    np.testing.assert_allclose(det, 5, rtol=1e-6)
    np.testing.assert_allclose(x, [0.2, 0.6], rtol=1e-6)
    np.testing.assert_allclose(factor, np.linalg.cholesky(whole), rtol=1e-6)


def test_determinants_out_of_range(session: graphc.Session) -> None:
    """The product neither overflows nor underflows on the way, and is rounded once where it leaves the range."""
    diagonals = np.array([
        [1e200, 1e200, 1e-300], [1e-200, 1e-200, 1e300], [1e200, 1e200, 1.0], [1e-200, -1e-200, 1.0],
        [5e-324, 1.0, 2.0], [3.0, 0.0, 1e300], [np.nan, 1.0, 1.0], [np.inf, -1.0, 1.0], [-0.0, 1.0, 1.0],
    ])  # fmt: skip
    matrices = np.stack([np.diag(diagonal) for diagonal in diagonals])
    x = placeholder(matrices.shape)
    value, sign, logarithm = session.run([linalg.det(x), *linalg.slogdet(x)], {x: matrices})
    with np.errstate(all="ignore"):
        wanted = np.linalg.slogdet(matrices)
    np.testing.assert_allclose(value, [1e100, 1e-100, np.inf, -0.0, 1e-323, 0, np.nan, -np.inf, 0], rtol=1e-15)
    np.testing.assert_array_equal(sign[~np.isnan(value)], wanted.sign[~np.isnan(value)])
    assert np.isnan(sign[6])  # NumPy says 1
    np.testing.assert_allclose(logarithm, wanted.logabsdet, rtol=1e-15)


def test_nan_and_infinity(session: graphc.Session) -> None:
    """A matrix that is not finite spoils its own results and no others."""
    for bad in (np.nan, np.inf):
        a = POSITIVE.copy()
        a[0, 1, 2, 2] = bad
        x = placeholder(a.shape)
        outputs = [*linalg.eigh(x), *linalg.svd(x), *linalg.qr(x), linalg.pinv(x), linalg.det(x), linalg.solve(x, B)]
        clean = session.run(outputs, {x: POSITIVE})
        for value, before in zip(session.run(outputs, {x: a}), clean, strict=True):
            others = np.ones((2, 3), bool)
            others[0, 1] = False
            np.testing.assert_array_equal(value[others], before[others])
        values, _, _, s, *_ = session.run(outputs, {x: a})
        assert np.isnan(values[0, 1]).all() and np.isnan(s[0, 1]).all()
        np.testing.assert_array_equal(session.run(linalg.matrix_rank(x), {x: a}), [[4, 0, 4], [4, 4, 4]])


# -- derivatives --------------------------------------------------------------------------------------------------

DERIVATIVES: list[tuple[str, Callable[..., Any], tuple[np.ndarray, ...], int]] = [
    ("log likelihood", lambda a, b: _log_likelihood(a @ a.mT + 4 * np.eye(4), b), (MATRIX, VECTOR), 2),
    ("pinv, tall", linalg.pinv, (TALL,), 2),
    ("pinv, wide", linalg.pinv, (WIDE,), 1),
    ("matrix_power", lambda a: linalg.matrix_power(a, -3), (MATRIX,), 1),
    ("norms", lambda a: [linalg.matrix_norm(a, ord="nuc"), linalg.vector_norm(a, ord=3), linalg.cond(a)], (WIDE,), 1),
]
"""Of what is composed; the registry's tests check the ops."""


def _log_likelihood(covariance: Any, x: Any) -> Any:
    """Of a normal distribution, less a constant: Cholesky, triangular solve, logarithms of a diagonal."""
    factor = linalg.cholesky(covariance)
    z = linalg.solve_triangular(factor, x, lower=True)
    diagonal = graphc.where(np.eye(4, dtype=bool), factor, 1.0)
    return -(z * z).sum() / 2 - graphc.log(diagonal).sum()


@pytest.mark.parametrize(("name", "function", "arrays", "order"), DERIVATIVES, ids=[row[0] for row in DERIVATIVES])
def test_derivatives(name: str, function: Callable[..., Any], arrays: tuple[np.ndarray, ...], order: int) -> None:
    report = graphc.check_gradients(function, arrays, order=order)
    assert max(report.first, report.second if order == 2 else 0) < 1e-5


def test_derivatives_of_symmetric_functions_are_symmetric(session: graphc.Session) -> None:
    """Even where a matrix's own upper triangle is not read."""
    x = placeholder(SYMMETRIC.shape)
    outputs = [graphc.gradients((linalg.cholesky(x + 9 * np.eye(4)) * A).sum(), x)]
    outputs.append(graphc.gradients((linalg.eigh(x)[1] * A).sum(), x))
    for value in session.run(outputs, {x: SYMMETRIC}):
        np.testing.assert_allclose(value, np.swapaxes(value, -1, -2), atol=1e-12)
        assert np.abs(value).max() > 0.01


def test_equal_eigenvalues_and_singular_values(session: graphc.Session) -> None:
    """Functions of the values alone have finite derivatives: that of the trace, as the sum of both, is the identity."""
    x = placeholder((3, 3))
    outputs = [graphc.gradients(total, x) for total in (linalg.eigvalsh(x).sum(), linalg.svdvals(x).sum())]
    for value in session.run(outputs, {x: 2 * np.eye(3)}):
        np.testing.assert_allclose(value, np.eye(3), atol=1e-14)


def test_derivatives_of_what_is_not_determined() -> None:
    x = placeholder((5, 3))
    named = placeholder(("m", "n"))
    for total, part in (
        (linalg.svd(x).U.sum(), "full matrices of a matrix of shape (5, 3) have no derivative"),
        (linalg.qr(x, mode="complete").Q.sum(), "has columns that A does not determine"),
    ):
        with pytest.raises(GradientError, match=part.replace("(", r"\(").replace(")", r"\)")), graphc.Session() as s:
            s.run(graphc.gradients(total, x), {x: np.ones((5, 3))})
    with pytest.raises(GradientError, match="which of the sizes m and n is larger"), graphc.Session() as s:
        s.run(graphc.gradients(linalg.qr(named).Q.sum(), named), {named: np.ones((2, 3))})


def test_derivative_of_the_logarithm_of_a_determinant_out_of_range(session: graphc.Session) -> None:
    x = placeholder((3, 3), "float32")
    large = np.eye(3, dtype="float32") * np.float32(1e20)
    slope = session.run(graphc.gradients(linalg.slogdet(x).logabsdet, x), {x: large})
    np.testing.assert_allclose(slope, 1e-20 * np.eye(3), rtol=1e-6)


def _cofactors(a: np.ndarray) -> np.ndarray:
    """By minors."""
    n = len(a)
    minors = [[np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)] for i in range(n)]
    return np.array(minors) * (-1.0) ** np.add.outer(range(n), range(n))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_derivative_of_a_determinant_is_the_cofactors_at_every_rank(backend: str, dtype: str) -> None:
    """In one batch, regular matrices beside singular ones; the second derivative of these is refused."""
    batch = np.concatenate([
        [generator.normal(size=(4, rank)) @ generator.normal(size=(rank, 4)) for rank in range(5)],
        [generator.integers(-3, 4, (4, rank)) @ generator.integers(-3, 4, (rank, 4)) for rank in range(5)],
        [np.eye(4, k=1), np.diag([1e-8, 0, 2e-8, -1e-8]), np.ones((4, 4)), np.diag([0, 1, 1e8, 1])],
    ]).astype(dtype)  # fmt: skip
    x = placeholder(("batch", "n", "n"), dtype)
    slopes = graphc.gradients(linalg.det(x).sum(), x)
    with graphc.Session(threads=1, backend=backend) as session:
        found = session.run(slopes, {x: batch})
        for slope, a in zip(found, batch.astype("float64"), strict=True):
            error = 100 * np.finfo(dtype).eps * np.abs(a).max() ** 3
            np.testing.assert_allclose(slope, _cofactors(a), rtol=0, atol=error, err_msg=str(a))
        np.testing.assert_allclose(session.run(slopes, {x: np.zeros((2, 1, 1), dtype)}), np.ones((2, 1, 1)))
        assert session.run(slopes, {x: np.zeros((3, 0, 0), dtype)}).shape == (3, 0, 0)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_large_columns_do_not_spoil_the_cofactors_of_small_ones(backend: str) -> None:
    """What stands for a zero of U is small beside its column, whatever the others are; and nothing overflows."""
    batch = np.array([
        # expected of NumPy, which takes exponentials: hence the tolerance
        np.diag([0, 1, 1e30]), np.diag([1e100, 0, 1e-100]), np.diag([1e200, 0, 1]), np.diag([0, 0, 1e30]),
        [[1e-20, 1e-20, 0], [1, 1, 0], [0, 0, 1e20]], np.diag([0, 1e-30, 1e-30]),
    ])  # fmt: skip
    x = placeholder(("batch", "n", "n"))
    with graphc.Session(threads=1, backend=backend) as session:
        for slope, a in zip(session.run(graphc.gradients(linalg.det(x).sum(), x), {x: batch}), batch, strict=True):
            expected = _cofactors(a)
            error = 1e-13 * (np.abs(expected).max() or np.abs(a).max() ** 2)
            np.testing.assert_allclose(slope, expected, rtol=0, atol=error, err_msg=str(a))


def test_factors_are_shared(session: graphc.Session) -> None:
    """One factorisation for all that is asked of a matrix, derivatives included, in a Jacobian's loop as well."""
    a, b = placeholder((4, 4)), placeholder((4,), name="b")
    x = linalg.solve(a, b)
    assert linalg.det(a).node is linalg.slogdet(a).sign.node
    slopes = graphc.gradients(x.sum() + linalg.slogdet(a).logabsdet, [a, b])
    outputs = [x, linalg.det(a), *slopes, graphc.jacobian(x, a)]
    program = graphc.compile([a, b], outputs, session=session)
    texts = [source.text for source in program.source.kernels.values()]
    assert sum("lu_factor(dgetrf" in text for text in texts) == 1
    value, by_a = program(MATRIX, VECTOR)[0], program(MATRIX, VECTOR)[-1]
    inverse = np.linalg.inv(MATRIX)
    np.testing.assert_allclose(by_a, -inverse[:, :, None] * value[None, None, :], rtol=1e-10)


# -- failures -----------------------------------------------------------------------------------------------------

SINGULAR = A.copy()
SINGULAR[1, 2] = 1.0


def refused(message: str, kind: type[GraphcError], function: Callable[[], Any]) -> None:
    with pytest.raises(kind) as caught:
        function()
    found = str(caught.value).splitlines()
    assert found[0] == message
    assert any("test_linalg.py" in line for line in found[1:]), found


def test_wrong_operands() -> None:
    square, matrix, row = placeholder((3, 3)), placeholder((3, 4)), placeholder((3,))
    n, m = placeholder(("n", "n")), placeholder(("n", "m"))
    cases: list[tuple[str, type[GraphcError], Callable[[], Any]]] = [
        ("inv: expected square matrices, got (3, 4)", ShapeError, lambda: linalg.inv(matrix)),
        ("det: expected square matrices, got (n, m)", ShapeError, lambda: linalg.det(m)),
        ("cholesky: expected square matrices, got (3, 4)", ShapeError, lambda: linalg.cholesky(matrix)),
        ("eigh: expected square matrices, got (3, 4)", ShapeError, lambda: linalg.eigh(matrix)),
        ("solve: expected square matrices, got (3, 4)", ShapeError, lambda: linalg.solve(matrix, row)),
        ("qr: expected a matrix, or a batch of matrices, got the shape (3,)", ShapeError, lambda: linalg.qr(row)),
        ("svd: expected a matrix, or a batch of matrices, got the shape (3,)", ShapeError, lambda: linalg.svd(row)),
        (
            "solve: expected a matrix, or a batch of matrices, got the shape (3,)", ShapeError,
            lambda: linalg.solve(row, square),
        ),
        (
            "solve: expected as many rows in B as columns in A, got A (n, n) and B (3, 4)", ShapeError,
            lambda: linalg.solve(n, matrix),
        ),
        (
            "solve: expected as many rows in B as columns in A, got A (3, 3) and B ()", ShapeError,
            lambda: linalg.solve(square, 1.0),
        ),
        (
            "solve_triangular: expected as many rows in B as columns in A, got A (3, 3) and B (4, 3)", ShapeError,
            lambda: linalg.solve_triangular(square, matrix.mT),
        ),
        (
            "solve: batch shapes (2,) and (5,) do not broadcast: sizes differ: 2 and 5 on axis -1: "
            "A (2, 3, 3) and B (5, 3, 1)", ShapeError,
            lambda: linalg.solve(placeholder((2, 3, 3)), placeholder((5, 3, 1))),
        ),
        ("qr: expected mode 'reduced' or 'complete', got 'r'", GraphError, lambda: linalg.qr(square, mode="r")),
        ("matrix_power: n: expected an integer, got 0.5", GraphError, lambda: linalg.matrix_power(square, 0.5)),
        (
            "matrix_norm: expected ord to be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got 3", GraphError,
            lambda: linalg.matrix_norm(square, ord=3),
        ),
        ("vector_norm: expected ord to be a number, got 'fro'", GraphError, lambda: linalg.vector_norm(row, ord="fro")),
    ]  # fmt: skip
    for message, kind, function in cases:
        refused(message, kind, function)


def _slope(y: Any, x: graphc.Tensor) -> graphc.Tensor:
    """The derivative of the sum of squares."""
    found: graphc.Tensor = graphc.gradients((y * y).sum(), x)
    return found


def test_matrices_without_a_result() -> None:
    """The error names the function, the matrix and the user's line; both backends say the same."""
    indefinite = POSITIVE.copy()
    indefinite[0, 1] -= 100 * np.eye(4)
    end = "; no variable was changed"
    x = placeholder(A.shape)
    cases = [
        (f"solve: the matrix at index (1, 2) is singular{end}", linalg.solve(x, B), SINGULAR),
        (f"inv: the matrix at index (1, 2) is singular{end}", linalg.inv(x), SINGULAR),
        (f"slogdet: the matrix at index (1, 2) is singular{end}", _slope(linalg.slogdet(x).logabsdet, x), SINGULAR),
        (f"det: the matrix at index (1, 2) is singular{end}", _slope(_slope(linalg.det(2 * x), x), x), SINGULAR),
        (f"inv: the matrix is singular{end}", linalg.inv(x[1, 2]), SINGULAR),
        (f"cholesky: the matrix at index 1 is not positive definite{end}", linalg.cholesky(x[0]), indefinite),
        (
            f"solve_triangular: the matrix at index (1, 2) is singular{end}",
            linalg.solve_triangular(x - graphc.constant(SINGULAR)[1, 2], B), SINGULAR,
        ),
    ]  # fmt: skip
    for backend in ("compiled", "reference"):
        with graphc.Session(threads=1, backend=backend) as session:
            for message, tensor, value in cases:
                refused(message, LinAlgError, lambda t=tensor, v=value: session.run(t, {x: v}))
    assert issubclass(LinAlgError, ValueError)


def test_what_a_derivative_made_first_is_named_by_the_function_that_is_called_later() -> None:
    """Equal nodes are one node, whose errors speak of what the user called."""
    x = placeholder((3, 3))
    with derived_from(Origin("elsewhere.py", 1), "gradient of something"):
        made = linalg.inv(x)
    assert linalg.inv(x).node is made.node and made.node.caller == "inv"


def test_a_step_that_fails_changes_nothing() -> None:
    """Although what is assigned does not depend on what fails; also in a loop."""
    x = placeholder((3, 2, 2))
    count = graphc.variable(np.zeros(()), name="count")
    update = graphc.assign(count, count + 1)

    def step(carry: Any, matrix: Any) -> tuple[Any, Any]:
        return carry, linalg.inv(matrix)

    _, inverses = graphc.scan(step, graphc.constant(0.0), x)
    good, bad = np.stack([np.eye(2)] * 3), np.stack([np.eye(2), np.ones((2, 2)), np.eye(2)])
    with graphc.Session(threads=2) as session:
        for wanted in (linalg.solve(x, np.ones((2, 1))), inverses, linalg.cholesky(x - 0.6)):
            before = session.get(count)
            with pytest.raises(LinAlgError):
                session.run([wanted, update], {x: bad})
            assert session.get(count) == before
        session.run([inverses, update], {x: good})
        assert session.get(count) == 1


# -- workers, threads, processes ----------------------------------------------------------------------------------


def test_workers_share_out_a_batch() -> None:
    """The same bits from one worker, two and three, and from sessions that run at once."""
    a = generator.normal(size=(120, 24, 24))
    x = placeholder(a.shape)
    outputs = [linalg.solve(x, a[:, :, :5]), linalg.det(x), *linalg.eigh(x + x.mT), *linalg.svd(x), *linalg.qr(x)]
    found: list[list[np.ndarray]] = []

    def run(threads: int) -> None:
        with graphc.Session(threads=threads) as session:
            found.extend(session.run(outputs, {x: a}) for _ in range(3))

    run(1)
    others = [threading.Thread(target=run, args=(threads,)) for threads in (2, 3)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    assert len(found) == 9
    for values in found[1:]:
        for value, first in zip(values, found[0], strict=True):
            np.testing.assert_array_equal(value, first)


SCRIPT = """
import os, sys
import numpy as np
import graphc

x = graphc.placeholder("x", (4, 3, 3), "float64")
a = np.random.default_rng(0).normal(size=(4, 3, 3))
with graphc.Session(threads=2) as session:
    session.run(x + 1, {x: a})
    assert not any("scipy_openblas32" in line for line in open("/proc/self/maps")), "loaded too early"
    before = session.run(graphc.linalg.inv(x), {x: a})
assert os.environ.get("OPENBLAS_NUM_THREADS") is None
child = os.fork()
with graphc.Session(threads=2) as session:
    after = session.run(graphc.linalg.inv(x), {x: a})
assert (before == after).all()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert not [name for name in sys.modules if name.startswith("numba")] or len(sys.argv) == 1
print("done", np.allclose(after @ a, np.eye(3)))
"""


def test_processes() -> None:
    """The library is loaded when it is needed; a child of a fork can use it; a warm start imports no Numba."""
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    for arguments in ([], ["warm"]):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["done", "True"]
