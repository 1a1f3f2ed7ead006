"""NumPy's own functions on tensors, in the forms that NumPy documents, give what they give on arrays."""

from __future__ import annotations

import numpy as np

import graphc
from graphc.ops.methods import NUMPY_FUNCTIONS
from graphc.ops.numpy_forms import FORMS

SPREAD = 5 * np.eye(3, dtype="f4")
"""Added to a matrix that is to be inverted."""

FORMULAS = {
    "tril": lambda x, v: np.tril(x, -1), "triu": lambda x, v: np.triu(x), "roll": lambda x, v: np.roll(x, 2, axis=1),
    "tile": lambda x, v: np.tile(x, (2, 1)), "repeat": lambda x, v: np.repeat(x, 2, axis=0),
    "diff": lambda x, v: np.diff(x, 1, 0), "diag": lambda x, v: np.diag(v, k=1),
    "diagonal": lambda x, v: np.diagonal(x, 1, 1, 0), "trace": lambda x, v: np.trace(x, offset=1),
    "kron": lambda x, v: np.kron(x, v), "meshgrid": lambda x, v: np.meshgrid(v, v)[1],
    "einsum": lambda x, v: np.einsum("ij,kj,k->i", x, x, x[:, 0], optimize=True),
    "outer": lambda x, v: np.outer(x, v), "cross": lambda x, v: np.cross(x, v),
    "var": lambda x, v: np.var(x, axis=0, ddof=1), "std": lambda x, v: np.std(x, 1, correction=1),
    "cumsum": lambda x, v: np.cumsum(x), "cumprod": lambda x, v: np.cumprod(x, axis=1),
    "cumulative_sum": lambda x, v: np.cumulative_sum(x, axis=0, include_initial=True),
    "cumulative_prod": lambda x, v: np.cumulative_prod(v), "sort": lambda x, v: np.sort(x, axis=None),
    "argsort": lambda x, v: np.argsort(x, 0, kind="stable"), "count_nonzero": lambda x, v: np.count_nonzero(x, axis=1),
    "full_like": lambda x, v: np.full_like(v, 7), "matrix_transpose": lambda x, v: np.matrix_transpose(x),
    "unstack": lambda x, v: np.unstack(x)[1], "linspace": lambda x, v: np.linspace(v[0], v[1], 5),
    "empty_like": lambda x, v: np.empty_like(v) * 0, "astype": lambda x, v: np.astype(x, "float64"),
    "broadcast_arrays": lambda x, v: np.broadcast_arrays(v, x)[0], "swapaxes": lambda x, v: np.swapaxes(x, 0, 1),
    "linalg.norm": lambda x, v: np.linalg.norm(x) + np.linalg.norm(v, 1) + np.linalg.norm(x, np.inf),
    "linalg.norm of rows": lambda x, v: np.linalg.norm(x, axis=1, keepdims=True),
    "linalg.norm of matrices": lambda x, v: np.linalg.norm(np.stack([x, x]), 1, axis=(2, 0), keepdims=True),
    "linalg.vector_norm": lambda x, v: np.linalg.vector_norm(x, axis=0, ord=3),
    "linalg.matrix_norm": lambda x, v: np.linalg.matrix_norm(x, ord=-1),
    "linalg.diagonal": lambda x, v: np.linalg.diagonal(x, offset=1), "linalg.trace": lambda x, v: np.linalg.trace(x),
    "linalg.cross": lambda x, v: np.linalg.cross(v, v[::-1]), "linalg.outer": lambda x, v: np.linalg.outer(v, v),
    "linalg.matmul": lambda x, v: np.linalg.matmul(x, v),
    "linalg.tensordot": lambda x, v: np.linalg.tensordot(x, x, axes=2),
    "linalg.matrix_transpose": lambda x, v: np.linalg.matrix_transpose(x),
    "linalg.norm nuc": lambda x, v: np.linalg.norm(x, "nuc", (1, 0)),
    "linalg.norm 2": lambda x, v: np.linalg.norm(x, 2),
    "linalg.cholesky": lambda x, v: np.linalg.cholesky(SPREAD + (x.T @ x)),
    "linalg.cond": lambda x, v: np.linalg.cond(x),
    "linalg.det": lambda x, v: np.linalg.det(x.T @ x), "linalg.eigh": lambda x, v: np.linalg.eigh(x.T @ x)[0],
    "linalg.eigvalsh": lambda x, v: np.linalg.eigvalsh(x.T @ x),
    "linalg.inv": lambda x, v: np.linalg.inv(x[:3] + SPREAD),
    "linalg.matrix_power": lambda x, v: np.linalg.matrix_power(x.T @ x, 3),
    "linalg.matrix_rank": lambda x, v: np.linalg.matrix_rank(x), "linalg.pinv": lambda x, v: np.linalg.pinv(x),
    "linalg.qr": lambda x, v: np.abs(np.linalg.qr(x)[1]), "linalg.slogdet": lambda x, v: np.linalg.slogdet(x.T @ x)[1],
    "linalg.solve": lambda x, v: np.linalg.solve(x[:3] + SPREAD, v), "linalg.svd": lambda x, v: np.linalg.svd(x)[1],
    "linalg.svdvals": lambda x, v: np.linalg.svdvals(x),
    "linalg.vecdot": lambda x, v: np.linalg.vecdot(x, v), "vecdot": lambda x, v: np.vecdot(x, v),
    "method repeat": lambda x, v: x.repeat(2), "method diagonal": lambda x, v: x.diagonal(1),
    "method trace": lambda x, v: x.trace(),
}  # fmt: skip


def test_values_are_numpy_s():
    x, v = graphc.placeholder("x", (4, 3)), graphc.placeholder("v", (3,))
    arrays = {x: np.random.default_rng(3).normal(size=(4, 3)).astype("f4"), v: np.array([0.5, -2.0, 1.5], "f4")}
    with graphc.Session(backend="reference") as session:
        found = session.run([formula(x, v) for formula in FORMULAS.values()], arrays)
    for (label, formula), value in zip(FORMULAS.items(), found, strict=True):
        wanted = formula(*arrays.values())
        assert np.shape(value) == np.shape(wanted), label
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6, err_msg=label)


def test_every_form_is_tried():
    assert {label for label in FORMULAS if " " not in label} >= set(FORMS)
    for name in NUMPY_FUNCTIONS:
        home, _, last = name.rpartition(".")
        assert callable(getattr(np.linalg if home else np, last)), name
