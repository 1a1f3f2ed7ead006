"""Reductions, scans, sorting and contractions in kernels built by hand, run against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_built import F32, at, numbers, rng, run, tensor

from graphc.ir.node import Tensor
from graphc.ir.scalar import Apply, Load, Position, apply
from graphc.ir.symbolic import Axis, named, of_atom
from graphc.ir.types import DTYPES, FLOATS
from graphc.schedule.kernel import Contract, Kernel, Map, Reduce, Routine, Scan

# --- reductions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [0, 1, 5, 8, 17, 64, 100, 784, 5000])
@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_rows(columns: int, dtype: str) -> None:
    i, j = Axis(named("batch")), Axis(columns)
    x, m, e, s, y = (tensor(shape, dtype) for shape in
                     (("batch", columns), ("batch",), ("batch", columns), ("batch",), ("batch", columns)))  # fmt: skip
    stages = (
        Reduce((m,), (), (j,), "maximum", at(x, i, j)),
        Map((e,), (j,), apply("exp", apply("subtract", at(x, i, j), at(m, i)))),
        Reduce((s,), (), (j,), "add", at(e, i, j)),
        Map((y,), (j,), apply("divide", at(e, i, j), at(s, i))),
    )
    value = numbers((7, columns), dtype)
    got, total = run(Kernel((i,), stages, (y, s)), {x: value}, batch=7)
    if columns == 0:
        assert (total == 0).all()
        return
    power = np.exp(value.astype("float64") - value.max(1, keepdims=True))
    np.testing.assert_allclose(got, power / power.sum(1, keepdims=True), rtol=2e-6 if dtype == "float32" else 1e-13)


REDUCTIONS = {
    "add": np.sum, "multiply": np.prod, "maximum": np.max, "minimum": np.min, "argmax": np.argmax, "argmin": np.argmin,
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [5, 70])
def test_reductions_of_every_dtype(dtype: str, axis: int, size: int) -> None:
    shape = (size, 23) if axis == 0 else (23, size)
    value = numbers(shape, dtype)
    kept, reduced, x = Axis(23), Axis(size), tensor(shape, dtype)
    element = at(x, *((kept, reduced) if axis == 1 else (reduced, kept)))
    names = [name for name in REDUCTIONS if dtype != "bool" or name not in ("add", "multiply")]  # bools are cast first
    results = [tensor((23,), "int64" if name.startswith("arg") else dtype) for name in names]
    stages = tuple(Reduce((r,), (), (reduced,), name, element) for r, name in zip(results, names, strict=True))
    for name, result, got in zip(names, results, run(Kernel((kept,), stages, tuple(results)), {x: value}), strict=True):
        with np.errstate(all="ignore"):
            expected = REDUCTIONS[name](value, axis=axis)
        if dtype in FLOATS and name in ("add", "multiply"):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(got, expected.astype(result.dtype), err_msg=name)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_wins(axis: int, dtype: str) -> None:
    value = numbers((20, 20), dtype)
    value[3, 5] = value[4, 5] = value[3, 9] = np.nan
    value[7, :] = np.inf
    value[:, 8] = -np.inf
    names = ["maximum", "minimum", "argmax", "argmin", "add"]
    kept, reduced, x = Axis(20), Axis(named("n")), tensor((20, "n") if axis == 1 else ("n", 20), dtype)
    element = at(x, *((kept, reduced) if axis == 1 else (reduced, kept)))
    results = [tensor((20,), "int64" if name.startswith("arg") else dtype) for name in names]
    stages = tuple(Reduce((r,), (), (reduced,), name, element) for r, name in zip(results, names, strict=True))
    for name, got in zip(names, run(Kernel((kept,), stages, tuple(results)), {x: value}, n=20), strict=True):
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(got, REDUCTIONS[name](value, axis=axis), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [600, 100_000])
def test_long_sums_are_accurate(dtype: str, axis: int, size: int) -> None:
    value = (rng.random((size, 4) if axis == 0 else (4, size)) + 1).astype(dtype)
    value[0, 0] = 1e8
    kept, reduced = Axis(4), Axis(named("n"))
    x, result = tensor(("n", 4) if axis == 0 else (4, "n"), dtype), tensor((4,), dtype)
    index = (kept, reduced) if axis == 1 else (reduced, kept)
    kernel = Kernel((kept,), (Reduce((result,), (), (reduced,), "add", at(x, *index)),), (result,))
    (got,) = run(kernel, {x: value}, n=size)
    exact = value.astype(np.longdouble).sum(axis=axis)
    assert np.abs((got - exact) / exact).max() <= 2 * np.finfo(dtype).eps
    value[:] = np.inf
    assert (run(kernel, {x: value}, n=size)[0] == np.inf).all()


def test_sum_of_everything_and_of_nothing() -> None:
    i, j, x, s = Axis(30), Axis(named("n")), tensor((30, "n")), tensor(())
    kernel = Kernel((), (Reduce((s,), (), (i, j), "add", at(x, i, j)),), (s,))
    value = numbers((30, 41))
    np.testing.assert_allclose(run(kernel, {x: value}, n=41)[0], value.sum(dtype="float64"), rtol=1e-6)
    assert run(kernel, {x: np.zeros((30, 0))}, n=0)[0] == 0


def test_reduction_over_outer_and_inner_axes() -> None:
    c, n, h = Axis(5), Axis(6), Axis(50)
    x, s, p = tensor((6, 5, 50)), tensor((5,)), tensor((5,), "int64")
    stages = (Reduce((s,), (), (n, h), "add", at(x, n, c, h)), Reduce((p,), (), (n, h), "argmax", at(x, n, c, h)))
    value = numbers((6, 5, 50))
    total, place = run(Kernel((c,), stages, (s, p)), {x: value})
    np.testing.assert_allclose(total, value.sum((0, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(place, np.moveaxis(value, 1, 0).reshape(5, -1).argmax(1))


@pytest.mark.parametrize("channels", [3, 10, 784, "c"])
def test_statistics_of_columns(channels: Any) -> None:
    size = channels if isinstance(channels, int) else 130
    extent = channels if isinstance(channels, int) else named(channels)
    r, c = Axis(named("batch")), Axis(extent)
    x, s, mean, v, y = tensor(("batch", channels)), *(tensor((channels,)) for _ in range(4))
    half = Apply("cast", (Position(named("batch")),), F32)
    centred = apply("subtract", at(x, r, c), at(mean, c))
    stages = (
        Reduce((s,), (), (r,), "add", at(x, r, c)),
        Map((mean,), (), apply("divide", at(s, c), half)),
        Reduce((v,), (), (r,), "add", apply("multiply", centred, centred)),
        Map((y,), (), apply("sqrt", apply("add", at(v, c), at(mean, c)))),
    )
    value = numbers((33, size)) + 2
    mean_, got = run(Kernel((c,), stages, (mean, y)), {x: value}, batch=33, c=size)
    np.testing.assert_allclose(mean_, value.mean(0, dtype="float64"), rtol=1e-6)
    expected = np.sqrt(((value - value.mean(0)) ** 2).sum(0) + value.mean(0))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_reduction_with_axes_of_its_own(axis: int) -> None:
    b, i, j = Axis(4), Axis(6), Axis(50)
    shape = (4, 50, 6) if axis == 1 else (4, 6, 50)
    x, s, y = tensor(shape), tensor((4, 6)), tensor((4, 6))
    stages = (
        Reduce((s,), (i,), (j,), "add", at(x, b, j, i) if axis == 1 else at(x, b, i, j)),
        Map((y,), (i,), apply("multiply", at(s, b, i), at(s, b, 5 - of_atom(i)))),
    )
    value = numbers(shape)
    (got,) = run(Kernel((b,), stages, (y,)), {x: value})
    total = value.sum(axis, dtype="float64")
    np.testing.assert_allclose(got, total * total[:, ::-1], rtol=1e-4, atol=1e-5)


def test_scratch_over_a_named_axis() -> None:
    i, j = Axis(3), Axis(named("n"))
    x, e, y = tensor((3, "n"), "float64"), tensor((3, "n"), "float64"), tensor((3, "n"), "float64")
    stages = (
        Map((e,), (j,), apply("exp", at(x, i, j))),
        Map((y,), (j,), apply("add", at(e, i, j), at(e, i, named("n") - 1 - of_atom(j)))),
    )
    value = numbers((3, 77), "float64")
    (got,) = run(Kernel((i,), stages, (y,)), {x: value}, n=77)
    np.testing.assert_allclose(got, np.exp(value) + np.exp(value[:, ::-1]), rtol=1e-14)


@pytest.mark.parametrize("combine", ["add", "multiply", "maximum"])
@pytest.mark.parametrize("axis", [0, 1])
def test_scans(combine: str, axis: int) -> None:
    i, j, x, y = Axis(9), Axis(31), tensor((9, 31), "float64"), tensor((9, 31), "float64")
    shared, own = ((i,), (j,)) if axis == 1 else ((), (i, j))
    kernel = Kernel(shared, (Scan((y,), own, (i, j)[axis], combine, at(x, i, j)),), (y,))
    value = numbers((9, 31), "float64")
    function = {"add": np.add, "multiply": np.multiply, "maximum": np.maximum}[combine]
    np.testing.assert_allclose(run(kernel, {x: value})[0], function.accumulate(value, axis=axis), rtol=1e-14)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64"])
@pytest.mark.parametrize("size", [0, 1, 16, 17, 500])
def test_sort(descending: bool, dtype: str, size: int) -> None:
    i, j = Axis(4), Axis(named("n"))
    x, values, order = tensor((4, "n"), dtype), tensor((4, "n"), dtype), tensor((4, "n"), "int64")
    stage = Routine((values, order), (j,), "sort", (at(x, i, j),), {"descending": descending})
    value = numbers((4, size), dtype)
    if dtype in FLOATS:
        value = np.round(value)
        value[:, ::7] = np.nan
    got, places = run(Kernel((i,), (stage,), (values, order)), {x: value}, n=size)
    expected = np.argsort(value, axis=1, kind="stable")
    if descending:
        keys = value.astype("float64")
        expected = np.argsort(np.where(np.isnan(keys), np.inf, -keys), axis=1, kind="stable")
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(got, np.take_along_axis(value, expected, 1))


# --- contractions -----------------------------------------------------------------------------------


def product_kernel(m: Any, k: Any, n: Any, dtype: str = "float32", form: str = "nn") -> tuple[Kernel, Tensor, Tensor]:
    sizes = [named(size) if isinstance(size, str) else size for size in (m, k, n)]
    i, r, j = (Axis(size) for size in sizes)
    left = tensor((m, k) if form[0] == "n" else (k, m), dtype)
    right = tensor((k, n) if form[1] == "n" else (n, k), dtype)
    result = tensor((m, n), dtype)
    operands = at(left, *((i, r) if form[0] == "n" else (r, i))), at(right, *((r, j) if form[1] == "n" else (j, r)))
    return Kernel((i, j), (Contract((result,), (), (r,), *operands),), (result,)), left, right


@pytest.mark.parametrize("form", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("rows", [0, 1, 37, 200])
def test_products(form: str, dtype: str, rows: int) -> None:
    kernel, left, right = product_kernel("m", 33, 70, dtype, form)
    a, b = numbers((rows, 33), dtype), numbers((33, 70), dtype)
    values = {left: a if form[0] == "n" else a.T, right: b if form[1] == "n" else b.T}
    np.testing.assert_allclose(run(kernel, values, m=rows)[0], a @ b, rtol=1e-5, atol=1e-5)


def test_an_empty_sum_of_products_is_zero() -> None:
    kernel, left, right = product_kernel(5, "k", 7)
    assert (run(kernel, {left: np.zeros((5, 0)), right: np.zeros((0, 7))}, k=0)[0] == 0).all()


@pytest.mark.parametrize("keep", [False, True])
def test_product_with_epilogue(keep: bool) -> None:
    i, r, j = Axis(named("batch")), Axis(50), Axis(300)
    shapes = (("batch", 50), (50, 300), (300,), ("batch", 300), ("batch", 300))
    x, w, b, y, z = (tensor(shape) for shape in shapes)
    stages = (
        Contract((y,), (), (r,), at(x, i, r), at(w, r, j)),
        Map((z,), (), apply("tanh", apply("add", at(y, i, j), at(b, j)))),
    )
    values = {x: numbers((91, 50)), w: numbers((50, 300)), b: numbers(300)}
    got = run(Kernel((i, j), stages, (y, z) if keep else (z,)), values, batch=91)
    product_ = values[x].astype("float64") @ values[w]
    np.testing.assert_allclose(got[-1], np.tanh(product_ + values[b]), atol=1e-5)
    if keep:
        np.testing.assert_allclose(got[0], product_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep", [False, True])
def test_product_with_softmax_of_its_rows(keep: bool) -> None:
    i, r, j = Axis(named("batch")), Axis(20), Axis(10)
    x, w = tensor(("batch", 20)), tensor((20, 10))
    y, m, e, s, z = (tensor(shape) for shape in (("batch", 10), ("batch",), ("batch", 10), ("batch",), ("batch", 10)))
    stages = (
        Contract((y,), (j,), (r,), at(x, i, r), at(w, r, j)),
        Reduce((m,), (), (j,), "maximum", at(y, i, j)),
        Map((e,), (j,), apply("exp", apply("subtract", at(y, i, j), at(m, i)))),
        Reduce((s,), (), (j,), "add", at(e, i, j)),
        Map((z,), (j,), apply("divide", at(e, i, j), at(s, i))),
    )
    values = {x: numbers((100, 20)), w: numbers((20, 10))}
    got = run(Kernel((i,), stages, (y, z) if keep else (z,)), values, batch=100)[-1]
    power = np.exp(values[x].astype("float64") @ values[w])
    np.testing.assert_allclose(got, power / power.sum(1, keepdims=True), rtol=1e-4)


def test_batched_products_and_vectors() -> None:
    h, i, r, j = Axis(3), Axis(5), Axis(4), Axis(7)
    a, b, c = tensor((5, 3, 4)), tensor((3, 7, 4)), tensor((3, 5, 7))
    values = {a: numbers((5, 3, 4)), b: numbers((3, 7, 4))}
    kernel = Kernel((h, i, j), (Contract((c,), (), (r,), at(a, i, h, r), at(b, h, j, r)),), (c,))
    expected = np.einsum("ihr,hjr->hij", values[a], values[b])
    np.testing.assert_allclose(run(kernel, values)[0], expected, rtol=1e-4, atol=1e-5)
    v, w, d = tensor((4,)), tensor((7, 4)), tensor((7,))
    values = {v: numbers(4), w: numbers((7, 4))}
    kernel = Kernel((j,), (Contract((d,), (), (r,), at(w, j, r), at(v, r)),), (d,))
    np.testing.assert_allclose(run(kernel, values)[0], values[w] @ values[v], rtol=1e-4, atol=1e-5)
    s, u = tensor(()), tensor((4,))
    values = {v: numbers(4), u: numbers(4)}
    kernel = Kernel((), (Contract((s,), (), (r,), at(v, r), at(u, r)),), (s,))
    np.testing.assert_allclose(run(kernel, values)[0], values[v] @ values[u], rtol=1e-4, atol=1e-5)


def test_convolution_adds_over_several_reduced_axes() -> None:
    n, h, w, o, ky, kx, c = (Axis(size) for size in (2, 6, 7, 5, 3, 3, 4))
    x, k, y = tensor((2, 8, 18, 4)), tensor((3, 3, 4, 5)), tensor((2, 6, 7, 5))
    place = (of_atom(n), of_atom(h) + of_atom(ky), 2 * of_atom(w) + of_atom(kx), of_atom(c))
    kernel = Kernel((n, h, w, o), (Contract((y,), (), (ky, kx, c), Load(x, place), at(k, ky, kx, c, o)),), (y,))
    values = {x: numbers((2, 8, 18, 4)), k: numbers((3, 3, 4, 5))}
    expected = sum(values[x][:, a : a + 6, b : b + 14 : 2] @ values[k][a, b] for a in range(3) for b in range(3))
    np.testing.assert_allclose(run(kernel, values)[0], expected, rtol=1e-4, atol=1e-5)
