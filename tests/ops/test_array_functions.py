"""Functions of arrays under NumPy's names, against NumPy: values, dtypes, named dims of several sizes, derivatives.

A case is one formula over a namespace, run with ``graphc.ops`` and with NumPy, and the shapes of its arrays. Names
among the sizes are named dims; the formula is also declared with static sizes in their place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import ops
from graphc.ir.types import is_float

SIZES = ({"n": 3, "m": 4}, {"n": 5, "m": 2}, {"n": 1, "m": 1}, {"n": 0, "m": 3}, {"n": 2, "m": 0})
"""Values of the named dims; the first are those of the static form."""

SMALL = {"n": 2, "m": 3}


@dataclass(frozen=True)
class Case:
    """A formula, its arrays' shapes, and what it is tried on: floats, integers, bools by the letters of their kinds."""

    formula: Callable[..., Any]
    shapes: tuple[tuple[int | str, ...], ...]
    kinds: str = "fib"
    named: bool = True
    smooth: bool = True
    empty: bool = True

    def declare(self, dtype: str, sizes: dict[str, int] | None) -> tuple[list[graphc.Tensor], list[graphc.Tensor]]:
        """Inputs and outputs; with ``sizes`` they are static."""
        inputs = [
            ops.placeholder(f"x{place}", tuple((sizes or {}).get(size, size) for size in shape), dtype)
            for place, shape in enumerate(self.shapes)
        ]
        made = self.formula(ops, *inputs)
        return inputs, list(made) if isinstance(made, (tuple, list)) else [made]

    def arrays(self, dtype: str, sizes: dict[str, int]) -> list[np.ndarray]:
        generator = np.random.default_rng(7)
        drawn = [generator.normal(size=tuple(sizes.get(s, s) for s in shape)) * 3 for shape in self.shapes]
        return [array > 0 if dtype == "bool" else array.astype(dtype) for array in drawn]

    def expected(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mean of nothing
            made = self.formula(np, *arrays)
        return [np.asarray(part) for part in (made if isinstance(made, (tuple, list)) else [made])]


MOVING = {
    "roll": Case(lambda xp, x: xp.roll(x, 2, axis=1), (("n", "m"),)),
    "roll of several axes": Case(lambda xp, x: xp.roll(x, (1, -5), axis=(0, 1)), (("n", "m"),)),
    "roll of one axis twice": Case(lambda xp, x: xp.roll(x, (1, 2), axis=(1, 1)), ((3, 4),)),
    "roll of all elements": Case(lambda xp, x: xp.roll(x, -2), (("n", 3),)),
    "tile": Case(lambda xp, x: xp.tile(x, (2, 3)), (("n", "m"),)),
    "tile to a higher rank": Case(lambda xp, x: xp.tile(x, (2, 1, 2)), (("n",),)),
    "tile the last axis": Case(lambda xp, x: xp.tile(x, 2), (("n", "m"),)),
    "tile nothing": Case(lambda xp, x: xp.tile(x, (0, 2)), ((2, "m"),)),
    "repeat": Case(lambda xp, x: xp.repeat(x, 3, axis=0), (("n", "m"),)),
    "repeat of all elements": Case(lambda xp, x: xp.repeat(x, 2), ((2, "m"),)),
    "repeat each": Case(lambda xp, x: xp.repeat(x, [2, 0, 1], axis=1), (("n", 3),)),
    "broadcast_arrays": Case(lambda xp, x, y: xp.broadcast_arrays(x, y), ((3, 1), (4,))),
    "meshgrid": Case(lambda xp, x, y: xp.meshgrid(x, y), (("n",), ("m",))),
    "meshgrid ij": Case(lambda xp, x, y, z: xp.meshgrid(x, y, z, indexing="ij"), (("n",), ("m",), (2,))),
    "diff": Case(lambda xp, x: xp.diff(x), (("n", "m"),)),
    "diff twice": Case(lambda xp, x: xp.diff(x, n=2, axis=0), (("n", 3),)),
    "diff with ends": Case(lambda xp, x, y: xp.diff(x, axis=0, prepend=y, append=y), (("n", "m"), (1, "m"))),
    "diff too often": Case(lambda xp, x: xp.diff(x, n=5), ((2, 3),)),
}
DIAGONALS = {
    "tril": Case(lambda xp, x: xp.tril(x), (("n", "m"),)),
    "tril k": Case(lambda xp, x: xp.tril(x, k=-1), ((2, "n", 4),)),
    "triu": Case(lambda xp, x: xp.triu(x, 1), (("n", "m"),)),
    "diagonal": Case(lambda xp, x: xp.diagonal(x), (("n", "m"),)),
    "diagonal of other axes": Case(lambda xp, x: xp.diagonal(x, 1, 2, 0), ((3, "n", 4),)),
    "diagonal below": Case(lambda xp, x: xp.diagonal(x, offset=-2, axis1=-2, axis2=-1), ((2, 5, "m"),)),
    "diagonal outside": Case(lambda xp, x: xp.diagonal(x, 9), ((2, 5),)),
    "diag of a vector": Case(lambda xp, x: xp.diag(x, 2), (("n",),)),
    "diag below": Case(lambda xp, x: xp.diag(x, -1), (("n",),)),
    "diag of a matrix": Case(lambda xp, x: xp.diag(x), (("n", "n"),)),
    "trace": Case(lambda xp, x: xp.trace(x, 1), (("n", "m"),), "fi"),
    "trace of other axes": Case(lambda xp, x: xp.trace(x, 0, 0, 2), ((3, "n", 2),), "fi"),
}
PRODUCTS = {
    "einsum of one": Case(lambda xp, x: xp.einsum("ij->j", x), (("n", "m"),)),
    "einsum transposes": Case(lambda xp, x: xp.einsum("ba", x), (("n", "m"),)),
    "einsum traces": Case(lambda xp, x: xp.einsum("ii", x), (("n", "n"),)),
    "einsum takes diagonals": Case(lambda xp, x: xp.einsum("iji->ij", x), (("n", "m", "n"),)),
    "einsum of three equal labels": Case(lambda xp, x: xp.einsum("iii->i", x), ((3, 3, 3),)),
    "einsum of an outer product": Case(lambda xp, x, y: xp.einsum("i,j->ji", x, y), (("n",), ("m",))),
    "einsum of diagonals": Case(lambda xp, x, y: xp.einsum("ii,ij->ij", x, y), (("n", "n"), ("n", "m"))),
    "einsum of a chain": Case(lambda xp, x, y, z: xp.einsum("ij,jk,kl->il", x, y, z), ((2, "n"), ("n", "m"), ("m", 3))),
    "einsum of four": Case(
        lambda xp, *xs: xp.einsum("ab,bc,b,c->ca", *xs), ((2, "n"), ("n", 3), ("n",), (3,)),
    ),
    "einsum of six": Case(lambda xp, *xs: xp.einsum("ab,bc,cd,de,ef,f->a", *xs), ((2, 3),) + ((3, 3),) * 4 + ((3,),)),
    "einsum without a result": Case(lambda xp, x, y: xp.einsum("kj,ik", x, y), (("n", 2), (3, "n"))),
    "einsum with an ellipsis": Case(lambda xp, x, y: xp.einsum("...ij,...jk", x, y), ((2, "n", 4), (4, 3))),
    "einsum with two ellipses": Case(lambda xp, x, y: xp.einsum("i...,...i->...", x, y), ((3, "n", 1), (2, 3))),
    "einsum with sizes of 1": Case(lambda xp, x, y: xp.einsum("ij,ij->i", x, y), ((3, 1), (1, 4))),
    "einsum of lone labels": Case(lambda xp, x, y: xp.einsum("ij,kl->ik", x, y), (("n", 2), ("m", 3))),
    "einsum of scalars": Case(lambda xp, x, y: xp.einsum(",", x, y), ((), ())),
    "tensordot": Case(lambda xp, x, y: xp.tensordot(x, y, axes=(0, -1)), (("n", 2), (3, "n"))),
    "tensordot of nothing": Case(lambda xp, x, y: xp.tensordot(x, y, 0), (("n",), (3, 2))),
    "outer": Case(lambda xp, x, y: xp.outer(x, y), (("n",), ("m",))),
    "vecdot": Case(lambda xp, x, y: xp.vecdot(x, y, axis=0), (("n", 2), ("n", 2))),
    "vecdot broadcasts": Case(lambda xp, x, y: xp.vecdot(x, y), ((4, "n"), (3, 1, "n"))),
    "matmul": Case(lambda xp, x, y: xp.matmul(x, y), ((2, "n", 3), (3, "m"))),
    "kron": Case(lambda xp, x, y: xp.kron(x, y), (("n", 2), ("m", 3))),
    "kron of two ranks": Case(lambda xp, x, y: xp.kron(x, y), ((2, "n"), (3,))),
    "cross": Case(lambda xp, x, y: xp.cross(x, y), (("n", 3), (3,)), "fi"),
    "cross along the first axis": Case(lambda xp, x, y: xp.cross(x, y, axis=0), ((3, "n"), (3, 1)), "fi"),
}  # fmt: skip


def norm_of(xp, x, ord, axis=None, keepdims=False):
    """A vector norm; the argument's name and place differ."""
    if xp is np:
        return np.linalg.vector_norm(x, ord=ord, axis=axis, keepdims=keepdims)
    return ops.vector_norm(x, axis, keepdims, ord)


def matrix_norm_of(xp, x, ord):
    return (np.linalg if xp is np else ops).matrix_norm(x, ord=ord)


def running_product(xp, x, axis):
    """Products that begin with 1."""
    if xp is np:
        return np.cumulative_prod(x, axis=axis, include_initial=True)
    return ops.cumulative_prod(x, axis, include_initial=True)


def quantiles_of(xp, x, axis, method):
    """Several of them; to NumPy their list has a dtype of its own, float64."""
    return xp.astype(xp.quantile(x, [0, 0.3, 0.5, 0.9, 1.0], axis=axis, method=method, keepdims=True), x.dtype)


REDUCTIONS = {
    "mean": Case(lambda xp, x: xp.mean(x, axis=1), (("n", "m"),), "f"),
    "var": Case(lambda xp, x: xp.var(x, axis=(0, 1), keepdims=True), (("n", "m"),), "f"),
    "std": Case(lambda xp, x: xp.std(x, axis=0), (("n", 4),), "f", empty=False),
    "any": Case(lambda xp, x: xp.any(x, axis=1), (("n", "m"),), smooth=False),
    "all": Case(lambda xp, x: xp.all(x, axis=(0, 1)), (("n", "m"),), smooth=False),
    "count_nonzero": Case(lambda xp, x: xp.count_nonzero(x, axis=0), (("n", "m"),), smooth=False),
    "argmin": Case(lambda xp, x: xp.argmin(x, axis=1), (("n", 4),), smooth=False),
    "cumulative_sum": Case(lambda xp, x: xp.cumulative_sum(x, axis=0, include_initial=True), (("n", "m"),), "f"),
    "cumulative_prod": Case(lambda xp, x: running_product(xp, x, 1), (("n", "m"),), "f"),
    "norm of one": Case(lambda xp, x: norm_of(xp, x, 1, axis=0), (("n", "m"),), "f"),
    "norm of all": Case(lambda xp, x: norm_of(xp, x, 2, keepdims=True), (("n", "m"),), "f", empty=False),
    "norm of three": Case(lambda xp, x: norm_of(xp, x, 3.0, axis=(0, 1)), ((2, "n", 3),), "f"),
    "norm of a half": Case(lambda xp, x: norm_of(xp, x, 0.5, axis=1), (("n", 3),), "f"),
    "norm of infinity": Case(lambda xp, x: norm_of(xp, x, np.inf, axis=1), (("n", 4),), "f"),
    "norm of minus infinity": Case(lambda xp, x: norm_of(xp, x, -np.inf, axis=1), (("n", 4),), "f"),
    "norm of zero": Case(lambda xp, x: norm_of(xp, x, 0, axis=1), (("n", "m"),), "f", smooth=False),
    "Frobenius norm": Case(lambda xp, x: matrix_norm_of(xp, x, "fro"), ((2, "n", 3),), "f", empty=False),
    "matrix norm of columns": Case(lambda xp, x: matrix_norm_of(xp, x, 1), (("n", 3, 4),), "f"),
    "matrix norm of rows": Case(lambda xp, x: matrix_norm_of(xp, x, -np.inf), (("n", 3, 4),), "f"),
    "median": Case(lambda xp, x: xp.median(x, axis=0), (("n", "m"),), "f"),
    "median of all": Case(lambda xp, x: xp.median(x, keepdims=True), ((2, 3),), "f"),
    "quantile": Case(lambda xp, x: xp.quantile(x, 0.3, axis=1), (("n", 4),), "f"),
    "quantiles": Case(lambda xp, x: quantiles_of(xp, x, (0, 2), "linear"), ((2, 3, 4),), "f"),
    **{
        f"{method} quantiles": Case(lambda xp, x, method=method: quantiles_of(xp, x, 0, method), ((4, "m"),), "f")
        for method in ("lower", "higher", "nearest", "midpoint")
    },
}


def made_of(*calls: Callable[[Any], Any]) -> Callable[..., Any]:
    """Several results that are made of no array."""
    return lambda xp, x: [call(xp) for call in calls]


CREATED = {
    "eye": Case(made_of(lambda xp: xp.eye(3, dtype="int32"), lambda xp: xp.eye(2, 4, 1, dtype="bool"),
                        lambda xp: xp.eye(4, 3, k=-2, dtype="float64")), ((1,),)),
    "linspace": Case(made_of(lambda xp: xp.linspace(-1.5, 2, 7, dtype="float64"),
                             lambda xp: xp.linspace(3, 3, 4, dtype="float64"),
                             lambda xp: xp.linspace(0, 1, 10, endpoint=False, dtype="float64"),
                             lambda xp: xp.linspace(0, 5e-324, 3, dtype="float64"),
                             lambda xp: xp.linspace(-7, 9, 6, dtype="int64"),
                             lambda xp: xp.linspace(2, 9, 1, dtype="float32"),
                             lambda xp: xp.linspace(2, 9, 0, dtype="float32")), ((1,),)),
    "filled": Case(made_of(lambda xp: xp.full((2, 3), 7, dtype="int16"), lambda xp: xp.full(2, True),
                           lambda xp: xp.zeros((0, 2), dtype="bool"), lambda xp: xp.ones((), dtype="float64")),
                   ((1,),)),
    "filled alike": Case(lambda xp, x: [xp.zeros_like(x), xp.ones_like(x), xp.full_like(x, 1), xp.empty_like(x) * 0],
                         (("n", 2),), "fi"),
}  # fmt: skip
CASES = MOVING | DIAGONALS | PRODUCTS | REDUCTIONS | CREATED


def compare(label: str, found: list[Any], expected: list[Any], tolerance: float) -> None:
    assert len(found) == len(expected), label
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape, f"{label}: {got.shape} for {wanted.shape}"
        if is_float(got.dtype):
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance, err_msg=label)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=label)


def test_values_in_several_dtypes():
    """Static shapes in one program a dtype, that of float32 compiled; the dtypes of the results are NumPy's."""
    for dtype, backend in (("float32", "compiled"), ("int32", "reference"), ("bool", "reference")):
        kept = {label: case for label, case in CASES.items() if dtype[0] in case.kinds}
        declared = {label: case.declare(dtype, SIZES[0]) for label, case in kept.items()}
        inputs = [x for xs, _ in declared.values() for x in xs]
        session = graphc.Session(backend=backend)
        program = graphc.compile(inputs, [y for _, ys in declared.values() for y in ys], session=session)
        arrays = {label: case.arrays(dtype, SIZES[0]) for label, case in kept.items()}
        found = program(*(array for each in arrays.values() for array in each))
        for label, case in kept.items():
            own = [found.pop(0) for _ in declared[label][1]]
            expected = case.expected(arrays[label])
            compare(f"{label}, {dtype}", own, expected, 2e-5)
            assert [a.dtype for a in own] == [a.dtype for a in expected], f"{label}, {dtype}"


def test_named_dims_of_several_sizes():
    """One compiled program for all sizes, 0 and 1 among them; no kernel is compiled anew."""
    kept = {label: case for label, case in CASES.items() if case.named}
    declared = {label: case.declare("float64", None) for label, case in kept.items()}
    inputs = [x for xs, _ in declared.values() for x in xs]
    program = graphc.compile(inputs, [y for _, ys in declared.values() for y in ys])
    before = program.compilations
    for sizes in SIZES:
        arrays = {label: case.arrays("float64", sizes) for label, case in kept.items()}
        found = program(*(array for each in arrays.values() for array in each))
        for label, case in kept.items():
            own = [found.pop(0) for _ in declared[label][1]]
            if case.empty or all(sizes.values()):
                compare(f"{label}, {sizes}", own, case.expected(arrays[label]), 1e-12)
    assert program.compilations == before


def test_middles_of_infinities_and_nan():
    rows = np.array([[1, np.inf, 2, -np.inf], [1, np.nan, 2, 3], [np.inf] * 4, [-3, -3, 1e30, -1e30]], "f4")
    x = ops.placeholder("x", (4, "n"))

    def formulas(xp: Any, x: Any) -> list[Any]:
        return [xp.median(x, axis=1), xp.quantile(x, 0.5, axis=1), xp.quantile(x, 1, axis=1, method="lower")]

    with graphc.Session() as session, np.errstate(all="ignore"):
        for found, wanted in zip(session.run(formulas(ops, x), {x: rows}), formulas(np, rows), strict=True):
            np.testing.assert_array_equal(found, wanted)
        for found in session.run(formulas(ops, x), {x: rows[:, :0]}):
            assert np.isnan(found).all()


@pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.smooth and label not in CREATED])
def test_derivatives(label):
    case = CASES[label]

    def flat(*inputs: graphc.Tensor) -> graphc.Tensor:
        made = case.formula(ops, *inputs)
        parts = made if isinstance(made, (tuple, list)) else [made]
        return ops.concat([ops.reshape(part, (-1,)) for part in parts])

    with graphc.Session(backend="reference") as session:
        report = graphc.check_gradients(flat, case.arrays("float64", SMALL), session=session)
        assert max(report.first, report.second) < 1e-5


def test_compiled_products_of_bools_and_small_integers():
    """Bools say whether any product holds, however many do; int8 wraps around, as in NumPy."""
    p, q = graphc.placeholder("p", (3, "n"), "bool"), graphc.placeholder("q", ("n", 4), "bool")
    i, j = graphc.placeholder("i", (3, "n"), "int8"), graphc.placeholder("j", ("n", 4), "int8")

    def formulas(xp: Any, p: Any, q: Any, i: Any, j: Any) -> list[Any]:
        return [p @ q, xp.einsum("ab,bc,ab->c", p, q, p), xp.outer(p[:, 0], q[0]), xp.tensordot(p, q, 1),
                i @ j, xp.einsum("ab,bc->ca", i, j), xp.vecdot(i, i), p @ j]  # fmt: skip

    with graphc.Session() as session:
        outputs = formulas(ops, p, q, i, j)
        for length in (1, 7, 600):
            generator = np.random.default_rng(length)
            left, right = generator.random((3, length)) < 0.5, generator.random((length, 4)) < 0.02
            whole = [generator.integers(-100, 100, size=a.shape).astype("int8") for a in (left, right)]
            arrays = (left, right, *whole)
            found = session.run(outputs, dict(zip((p, q, i, j), arrays, strict=True)))
            for place, (got, wanted) in enumerate(zip(found, formulas(np, *arrays), strict=True)):
                assert got.dtype == wanted.dtype, place
                np.testing.assert_array_equal(got, wanted, err_msg=str(place))
