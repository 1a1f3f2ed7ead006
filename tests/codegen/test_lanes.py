"""Lanes: extremes fold as they compare, and loops of few iterations become vector code."""

from __future__ import annotations

import ctypes
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from numba import cfunc, types

from graphc.codegen.cpu import intrinsics, lanes
from graphc.codegen.cpu.independence import independent

TABLE = types.CPointer(types.int64)
SIGNATURE = types.void(TABLE, TABLE, types.int64, types.int64)


def compiled(*lines: str) -> Any:
    """A kernel of some lines over ``buffers``."""
    scope = {**vars(intrinsics), **vars(lanes), "independent": independent}
    exec("\n    ".join(["def kernel(buffers, dims, worker, workers):", *lines]), scope)
    return cfunc(SIGNATURE, error_model="numpy")(scope["kernel"])


def call(kernel: Any, *arrays: np.ndarray) -> None:
    table = np.array([array.ctypes.data for array in arrays])
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)(kernel.address)
    function(table.ctypes.data, table.ctypes.data, 0, 1)


def fold(name: str, values: np.ndarray) -> Any:
    kind, result = values.dtype.name, np.zeros(1, values.dtype)
    kernel = compiled(
        f"x = pointer_{kind}(buffers, 0)",
        f"store(pointer_{kind}(buffers, 1), 0, fold_{name}(x, {len(values)}))",
    )
    call(kernel, values, result)
    return result[0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int32", "uint64", "int64"])
def test_extremes_and_sums(dtype: str) -> None:
    generator = np.random.default_rng(1)
    if dtype.startswith("float"):
        values = generator.normal(size=32).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        values = generator.integers(limits.min, limits.max, 32, dtype)
    for shift in range(0, 32, 5):
        turned = np.roll(values, shift)
        assert fold("maximum", turned) == values.max()
        assert fold("minimum", turned) == values.min()
    assert fold("add", values) == pytest.approx(values.sum(dtype=dtype), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes_of_zeros_infinities_and_nan(dtype: str) -> None:
    def both(*few: float) -> tuple[float, float]:
        values = np.resize(np.array(few, dtype), 16)
        return float(fold("maximum", values)), float(fold("minimum", values))

    for pair in ((0.0, -0.0), (-0.0, 0.0)):
        assert [np.signbit(value) for value in both(*pair)] == [False, True]
    assert both(-inf, -inf) == (-inf, -inf)
    assert both(-3.0, -inf, -5.0) == (-3.0, -inf)
    assert both(2.0, inf) == (inf, 2.0)
    for sign in (1.0, -1.0):
        assert np.isnan(both(1.0, inf, -inf, float(np.copysign(nan, sign)))).all()


@pytest.mark.parametrize("count", [4, 10, 36, 64])
def test_short_loops_become_vector_code(count: int) -> None:
    kernel = compiled(
        "x = pointer_float32(buffers, 0)",
        "y = pointer_float32(buffers, 1)",
        f"for j in range({count}):",
        "    store(y, j, load(x, j) * load(x, j))",
        "independent()",
    )
    assert "x float>" in kernel.inspect_llvm()
    x, y = np.arange(count, dtype="f4"), np.zeros(count + 1, "f4")
    call(kernel, x, y)
    np.testing.assert_array_equal(y, np.append(x * x, 0))
