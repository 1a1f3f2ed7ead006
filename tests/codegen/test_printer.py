"""Maps and indices that are data in kernels built by hand, run against NumPy; and the text of kernels."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from hand_built import F32, KERNEL_NUMBER, Run, at, numbers, rng, run, tensor

from graphc.codegen.cpu.printer import emit
from graphc.codegen.source import INDEX_OUT_OF_RANGE, KernelSource
from graphc.ir.node import Tensor
from graphc.ir.scalar import INT64, Apply, Literal, Position, Scalar, apply
from graphc.ir.symbolic import Axis, Value, floordiv, mod, named, of_atom
from graphc.ir.types import DTYPES, FLOATS, INTEGERS
from graphc.schedule.kernel import Accumulate, Kernel, Map, Reduce

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
def test_what_maps_read_across_by_uneven_steps_runs_in_blocks_of_columns(columns: Any) -> None:
    size = columns if isinstance(columns, int) else 45
    i, j = Axis(50), Axis(columns if isinstance(columns, int) else named("n"))
    x, y = tensor((columns, 100)), tensor((50, columns))
    value = numbers((size, 100))
    kernel = Kernel((i, j), (Map((y,), (), apply("exp", at(x, j, 2 * of_atom(i)))),), (y,))
    np.testing.assert_allclose(run(kernel, {x: value}, n=size)[0], np.exp(value[:, ::2].T), rtol=3e-7)
    assert ", 32)" in emit(kernel).text.split("for ")[1]
    assert "turn(" not in emit(kernel).text


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
    assert not re.search("encoder|decoder|batch|hand_built", one.text)


def test_provenance_lies_beside_the_text() -> None:
    source = emit(layer("encoder"))
    assert isinstance(source, KernelSource)
    lines = source.text.splitlines()
    known = [number for number, line in enumerate(lines, start=1) if "maximum(" in line]
    assert known
    for number in known:
        assert source.lines[number][0].filename == inspect.getfile(tensor)


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
