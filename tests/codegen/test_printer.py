"""Kernels built by hand, printed, compiled and run against NumPy, by one worker and by several."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest

from graphc.codegen.cpu import contraction, jit
from graphc.codegen.cpu.printer import emit
from graphc.codegen.source import INDEX_OUT_OF_RANGE, KernelId, KernelSource, MicroKernel, Scratch, Status
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.scalar import INT64, Apply, Literal, Load, Position, Scalar, apply
from graphc.ir.symbolic import Axis, Value, evaluate, floordiv, mod, named, of_atom
from graphc.ir.types import DTYPES, FLOATS, INTEGERS
from graphc.schedule.kernel import Accumulate, Contract, Kernel, Map, Reduce, Routine, Scan

Array = np.ndarray[Any, Any]
GUARD = 64
KERNEL_NUMBER = 7
rng = np.random.default_rng(0)
F32 = np.dtype("float32")


def tensor(shape: Any, dtype: Any = "float32", name: str = "t") -> Tensor:
    """A new symbolic tensor."""
    return REGISTRY["placeholder"](name, shape, dtype)


def at(source: Tensor, *axes: Any) -> Load:
    """An element at loop variables, numbers or expressions."""
    return Load(source, tuple(of_atom(axis) if isinstance(axis, (Axis, Value)) else axis for axis in axes))


class Run:
    """A kernel, ready to be run; every result lies between guard bytes."""

    def __init__(self, kernel: Kernel, values: dict[Tensor, Array], names: dict[str, int]):
        self.kernel, self.values, self.names = kernel, values, names
        self.source = emit(kernel)
        (self.address,) = jit.load([self.source.text])
        self.status = np.zeros(4, "int64")

    def __call__(self, workers: int = 1, in_place: dict[Tensor, Array] | None = None) -> list[Array]:
        """Run all workers, one after another; ``in_place`` gives results an array to be written over."""
        source, results, kept = self.source, {}, []
        words = []
        for argument in source.arguments:
            if isinstance(argument, MicroKernel):
                words.append(contraction.address(argument.name))
                continue
            if isinstance(argument, Status):
                array = self.status
            elif isinstance(argument, Scratch):
                array = _aligned(evaluate(argument.bytes, self.names) * workers)
            elif in_place is not None and argument in in_place:
                array = results[argument] = in_place[argument]
            elif argument in self.values:
                array = np.ascontiguousarray(self.values[argument], argument.dtype)
            else:
                shape = tuple(evaluate(size, self.names) for size in argument.shape)
                nbytes = int(np.prod(shape, dtype=int)) * argument.dtype.itemsize
                raw = np.full(nbytes + 2 * GUARD, 0xAB, "uint8")
                array = raw[GUARD : GUARD + nbytes].view(argument.dtype).reshape(shape)
                results[argument] = array
                kept.append((raw, nbytes))
            kept.append((array, None))
            words.append(array.ctypes.data)
        sizes = [KERNEL_NUMBER if isinstance(s, KernelId) else evaluate(s, self.names) for s in source.sizes]
        buffers, dims = np.array(words or [0], "int64"), np.array(sizes or [0], "int64")
        word = ctypes.c_int64
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, word, word)(self.address)
        for worker in reversed(range(workers)):
            call(buffers.ctypes.data, dims.ctypes.data, worker, workers)
        for raw, nbytes in kept:
            if nbytes is not None:
                outside = np.concatenate([raw[:GUARD], raw[GUARD + nbytes :]])
                assert (outside == 0xAB).all(), "bytes outside of a result are touched"
        return [results[stored] for stored in self.kernel.stored]


def _aligned(nbytes: int) -> Array:
    raw = np.zeros(nbytes + 64, "uint8")
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def run(kernel: Kernel, values: dict[Tensor, Array], **names: int) -> list[Array]:
    """Stored results; equal in every bit for one, two and five workers."""
    ready = Run(kernel, values, names)
    one = ready(1)
    for workers in (2, 5):
        for expected, got in zip(one, ready(workers), strict=True):
            assert expected.tobytes() == got.tobytes()
    assert ready.status[0] == 0
    return one


def numbers(shape: Any, dtype: Any = "float32") -> Array:
    """Random values that suit a dtype."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(size=shape).astype(kind)
    return rng.integers(0 if kind.kind in "ub" else -9, 2 if kind.kind == "b" else 10, size=shape).astype(kind)


# --- maps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 3, 37, 200])
def test_map_with_broadcast_over_a_named_dim(rows: int) -> None:
    i, j = Axis(named("batch")), Axis(10)
    x, b, y = tensor(("batch", 10)), tensor((10,)), tensor(("batch", 10))
    value = apply("tanh", apply("add", at(x, i, j), at(b, j)))
    values = {x: numbers((rows, 10)), b: numbers(10)}
    (got,) = run(Kernel((i, j), (Map((y,), (), value),), (y,)), values, batch=rows)
    np.testing.assert_allclose(got, np.tanh(values[x] + values[b]), rtol=3e-7)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 70), (3, 5000)])
def test_contiguous_axes_become_one_loop(shape: tuple[int, ...]) -> None:
    axes = tuple(Axis(size) for size in shape)
    x, y = tensor(shape), tensor(shape)
    kernel = Kernel(axes, (Map((y,), (), apply("multiply", at(x, *axes), at(x, *axes))),), (y,))
    value = numbers(shape)
    np.testing.assert_array_equal(run(kernel, {x: value})[0], value * value)
    assert emit(kernel).text.count("for ") <= 1
    assert emit(kernel).text.count("load(x0") == 1  # one element is read once


def test_long_rows_over_named_dims_are_cut_between_workers() -> None:
    i, j = Axis(3), Axis(named("n"))
    x, b, y = tensor((3, "n")), tensor((3,)), tensor((3, "n"))
    kernel = Kernel((i, j), (Map((y,), (), apply("subtract", at(x, i, j), at(b, i))),), (y,))
    for size in (0, 1, 65, 1000):
        values = {x: numbers((3, size)), b: numbers(3)}
        np.testing.assert_array_equal(run(kernel, values, n=size)[0], values[x] - values[b][:, None])


def test_views_are_index_arithmetic() -> None:
    i, j = Axis(6), Axis(4)
    x, y, z = tensor((4, 6)), tensor((6, 4)), tensor((24,))
    p = Axis(24)
    value = numbers((4, 6))
    (got,) = run(Kernel((i, j), (Map((y,), (), at(x, j, 5 - of_atom(i))),), (y,)), {x: value})
    np.testing.assert_array_equal(got, value.T[::-1])
    flat = of_atom(p)
    (got,) = run(Kernel((p,), (Map((z,), (), at(x, mod(flat, 4), floordiv(flat, 4))),), (z,)), {x: value})
    np.testing.assert_array_equal(got, value.T.ravel())


@pytest.mark.parametrize("columns", [70, 64, "n"])
def test_transposes_run_in_blocks(columns: Any) -> None:
    size = columns if isinstance(columns, int) else 45
    b, i, j = Axis(2), Axis(50), Axis(columns if isinstance(columns, int) else named("n"))
    x, y = tensor((2, columns, 50)), tensor((2, 50, columns))
    value = numbers((2, size, 50))
    kernel = Kernel((b, i, j), (Map((y,), (), apply("exp", at(x, b, j, i))),), (y,))
    np.testing.assert_allclose(run(kernel, {x: value}, n=size)[0], np.exp(value.transpose(0, 2, 1)), rtol=3e-7)


def test_stages_share_registers_and_common_parts() -> None:
    i = Axis(100)
    x, y, z = tensor((100,)), tensor((100,)), tensor((100,))
    stages = (
        Map((y,), (), apply("exp", at(x, i))),
        Map((z,), (), apply("add", at(y, i), apply("exp", at(x, i)))),
    )
    value = numbers(100)
    got, total = run(Kernel((i,), stages, (y, z)), {x: value})
    np.testing.assert_allclose(got, np.exp(value), rtol=3e-7)
    np.testing.assert_array_equal(total, got + got)
    assert emit(Kernel((i,), stages, (y, z))).text.count("exp_float32(") == 1


def test_results_may_overwrite_inputs() -> None:
    i, j = Axis(named("n")), Axis(100)
    w, m, g = (tensor(("n", 100)) for _ in range(3))
    moment, weight = tensor(("n", 100)), tensor(("n", 100))
    total = apply("add", at(m, i, j), at(g, i, j))
    step = apply("subtract", at(w, i, j), apply("multiply", at(moment, i, j), Literal(0.1, F32)))
    kernel = Kernel((i, j), (Map((moment,), (), total), Map((weight,), (), step)), (moment, weight))
    values = {w: numbers((7, 100)), m: numbers((7, 100)), g: numbers((7, 100))}
    ready = Run(kernel, values, {"n": 7})
    apart = ready(2)
    together = ready(2, in_place={moment: values[m], weight: values[w]})
    assert [value.tobytes() for value in together] == [value.tobytes() for value in apart]
    assert ready.source.text.count("independent()") == 1  # there is one loop, and it is vector code without a test


ARITHMETIC = [
    ("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("minimum", np.minimum),
    ("maximum", np.maximum), ("floor_divide", np.floor_divide), ("remainder", np.remainder),
]  # fmt: skip
SPECIAL = np.array([0.0, -0.0, 1.5, -2.0, 3.25, np.inf, -np.inf, np.nan, 1e30, -7.0])


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_arithmetic_is_numpys(dtype: str) -> None:
    if dtype in FLOATS:
        left, right = (grid.ravel().astype(dtype) for grid in np.meshgrid(SPECIAL, SPECIAL))
    else:
        limits = np.iinfo(dtype)
        edge = np.array([limits.min, limits.max, 0, 1, 2, 7, limits.max - 1, limits.min + 1], dtype)
        left, right = (grid.ravel() for grid in np.meshgrid(edge, edge))
    names = [*ARITHMETIC, ("less", np.less), ("equal", np.equal), ("greater_equal", np.greater_equal)]
    i, a, b = Axis(len(left)), tensor(left.shape, dtype), tensor(left.shape, dtype)
    results = [tensor(left.shape, "bool" if k >= len(ARITHMETIC) else dtype) for k in range(len(names))]
    stages = tuple(Map((r,), (), apply(name, at(a, i), at(b, i))) for r, (name, _) in zip(results, names, strict=True))
    got = run(Kernel((i,), stages, tuple(results)), {a: left, b: right})
    with np.errstate(all="ignore"):
        for (name, function), value in zip(names, got, strict=True):
            np.testing.assert_array_equal(value, function(left, right), err_msg=name)


@pytest.mark.parametrize("source", DTYPES)
def test_casts_to_every_dtype(source: str) -> None:
    value = numbers(50, source)
    i, x = Axis(50), tensor((50,), source)
    results = [tensor((50,), dtype) for dtype in DTYPES]
    stages = tuple(Map((r,), (), Apply("cast", (at(x, i),), r.dtype)) for r in results)
    for result, got in zip(results, run(Kernel((i,), stages, tuple(results)), {x: value}), strict=True):
        if np.dtype(source).kind == "f" and result.dtype.kind == "u":
            continue  # negative floats: NumPy leaves the value open
        np.testing.assert_array_equal(got, value.astype(result.dtype))


def test_bools_and_choice() -> None:
    i, x, y = Axis(40), tensor((40,)), tensor((40,))
    number = apply("logical_not", apply("isnan", at(x, i)))
    flag = apply("logical_and", apply("greater", at(x, i), Literal(-1, F32)), number)
    kernel = Kernel((i,), (Map((y,), (), apply("where", flag, at(x, i), Literal(np.nan, F32))),), (y,))
    value = numbers(40)
    value[3] = np.nan
    np.testing.assert_array_equal(run(kernel, {x: value})[0], np.where(value > -1, value, np.nan))


def test_positions_and_random_bits() -> None:
    i, j = Axis(5), Axis(40)
    state, place, words = tensor((2,), "uint64"), tensor((5, 40), "int64"), tensor((5, 40), "uint32")
    flat = Position(40 * of_atom(i) + of_atom(j))
    bits = Apply("random_bits", (at(state, 0), at(state, 1), flat), np.dtype("uint32"), (3,))
    kernel = Kernel((i, j), (Map((place,), (), flat), Map((words,), (), bits)), (place, words))
    got, drawn = run(kernel, {state: np.array([1, 2], "uint64")})
    np.testing.assert_array_equal(got.ravel(), np.arange(200))
    assert len(np.unique(drawn)) == 200
    assert 3 in emit(kernel).sizes  # the stream is no part of the text: equal layers stay equal


# --- indices that are data --------------------------------------------------------------------------


def checked(index: Scalar, extent: Any) -> Any:
    return of_atom(Value(Apply("checked_index", (index, Position(extent)), INT64), extent))


def gather_kernel(extent: Any) -> tuple[Kernel, Tensor, Tensor]:
    i, j = Axis(4), Axis(3)
    x, index, y = tensor((extent, 3)), tensor((4,), "int64"), tensor((4, 3))
    place = checked(at(index, i), named(extent) if isinstance(extent, str) else extent)
    return Kernel((i, j), (Map((y,), (), at(x, place, j)),), (y,)), x, index


def test_gather_counts_negative_indices_from_the_end() -> None:
    kernel, x, index = gather_kernel(6)
    value = numbers((6, 3))
    places = np.array([0, -1, 5, -6])
    np.testing.assert_array_equal(run(kernel, {x: value, index: places})[0], value[places])


@pytest.mark.parametrize(("extent", "bad"), [(6, 6), (6, -7), (0, 0)])
def test_an_index_out_of_range_is_reported(extent: int, bad: int) -> None:
    kernel, x, index = gather_kernel("rows")
    ready = Run(kernel, {x: numbers((extent, 3)), index: np.array([0, bad, 0, 0])}, {"rows": extent})
    ready(1)
    assert ready.status.tolist() == [INDEX_OUT_OF_RANGE, KERNEL_NUMBER, extent, bad]


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_accumulation_into_rows_and_along_an_axis(rows: int) -> None:
    n, d, v, e = Axis(named("n")), Axis(20), Axis(9), Axis(20)
    index, update, result = tensor(("n",), "int32"), tensor(("n", 20)), tensor((9, 20))
    cast = Apply("cast", (at(index, n),), INT64)
    place, zero = (checked(cast, 9), of_atom(d)), Literal(0, np.dtype("float32"))
    stage = Accumulate((result,), (v, e), (n, d), place, at(update, n, d), "add", zero)
    values = {index: rng.integers(-9, 9, rows).astype("int32"), update: numbers((rows, 20))}
    (got,) = run(Kernel((), (stage,), (result,)), values, n=rows)
    expected = np.zeros((9, 20), "float32")
    np.add.at(expected, values[index], values[update])
    np.testing.assert_array_equal(got, expected)


def test_accumulation_where_every_place_is_data() -> None:
    n, v = Axis(100), Axis(12)
    index, update, result = tensor((100,), "int64"), tensor((100,), "int64"), tensor((12,), "int64")
    place, zero = (checked(at(index, n), 12),), Literal(0, INT64)
    stage = Accumulate((result,), (v,), (n,), place, at(update, n), "add", zero)
    values = {index: rng.integers(0, 12, 100), update: numbers(100, "int64")}
    (got,) = run(Kernel((), (stage,), (result,)), values)
    np.testing.assert_array_equal(got, np.bincount(values[index], values[update], 12).astype("int64"))


@pytest.mark.parametrize("combine", ["maximum", "minimum", "set"])
def test_accumulation_from_a_start(combine: str) -> None:
    n, v, e = Axis(50), Axis(7), Axis(20)
    index, update, first, result = tensor((50,), "int64"), tensor((50, 20)), tensor((7, 20)), tensor((7, 20))
    d = Axis(20)
    place = (checked(at(index, n), 7), of_atom(d))
    stage = Accumulate((result,), (v, e), (n, d), place, at(update, n, d), combine, at(first, v, e))
    values = {index: rng.integers(-7, 7, 50), update: numbers((50, 20)), first: numbers((7, 20))}
    (got,) = run(Kernel((), (stage,), (result,)), values)
    expected = values[first].copy()
    if combine == "set":
        expected[values[index]] = values[update]
    else:
        getattr(np, combine).at(expected, values[index], values[update])
    np.testing.assert_array_equal(got, expected)


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


# --- the text ---------------------------------------------------------------------------------------


def layer(name: str) -> Kernel:
    """A dense layer's epilogue, with names of the user's."""
    i, j = Axis(named("batch")), Axis(64)
    x, b, y = (tensor(shape, name=f"{name}_{k}") for k, shape in enumerate((("batch", 64), (64,), ("batch", 64))))
    value = apply("maximum", apply("add", at(x, i, j), at(b, j)), Literal(0, F32))
    return Kernel((i, j), (Map((y,), (), value, nodes=(y.node,)),), (y,))


def test_equal_kernels_have_one_text_without_names() -> None:
    one, two = emit(layer("encoder")), emit(layer("decoder'; import os"))
    assert one.text == two.text
    assert not re.search("encoder|decoder|batch|test_printer", one.text)


def test_provenance_lies_beside_the_text() -> None:
    source = emit(layer("encoder"))
    assert isinstance(source, KernelSource)
    lines = source.text.splitlines()
    known = [number for number, line in enumerate(lines, start=1) if "maximum(" in line]
    assert known
    for number in known:
        assert source.lines[number][0].filename == __file__


@pytest.mark.parametrize("form", ["map", "rows", "columns"])
def test_hot_loops_become_vector_code(form: str) -> None:
    import numba
    from numba import types

    i, j, x, y = Axis(named("n")), Axis(256), tensor(("n", 256)), tensor(("n", 256))
    s, c = tensor(("n",)), tensor((256,))
    kernels = {
        "map": Kernel((i, j), (Map((y,), (), apply("tanh", at(x, i, j))),), (y,)),
        "rows": Kernel((i,), (Reduce((s,), (), (j,), "add", apply("exp", at(x, i, j))),), (s,)),
        "columns": Kernel((j,), (Reduce((c,), (), (i,), "add", at(x, i, j)),), (c,)),
    }
    namespace: dict[str, Any] = {}
    exec(emit(kernels[form]).text, namespace)
    word = types.CPointer(types.int64)
    compiled = numba.cfunc(types.void(word, word, types.int64, types.int64), error_model="numpy")(namespace["kernel"])
    assert re.search(r"f(add|mul|ma).*<\d+ x (float|double)>", compiled.inspect_llvm())
