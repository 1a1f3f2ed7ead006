"""Reductions cut into chunks: which are, that nothing but their speed changes, and that workers change no bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc
from graphc.ir.graph import Graph
from graphc.ir.op import Reduction
from graphc.passes.split_long import split_long


def reductions(result: graphc.Tensor, *inputs: graphc.Tensor) -> int:
    """How many reductions compute a tensor once the pass is through."""
    return sum(isinstance(node.op, Reduction) for node in split_long(Graph(inputs, (result,))).nodes)


@pytest.mark.parametrize(
    ("shape", "axis", "dtype", "count"),
    [
        ((512, 256), None, "float32", 2),
        ((512, 256), None, "int64", 2),
        ((4096, 60), 0, "float32", 2),
        ((3, 100000), 1, "float32", 2),
        ((512, 256), 1, "float32", 1),  # 512 results to share
        ((1024, 512), 0, "float32", 2),
        ((16, 256, 512), 1, "float32", 1),  # 16 matrices to share
        ((64, 64), None, "float32", 1),  # short
        ((512, 256), None, "float64", 1),  # would lose what the roundings lose
        ((131071,), None, "float32", 1),  # a prime
    ],
)
def test_what_is_cut(shape: tuple[int, ...], axis: int | None, dtype: str, count: int) -> None:
    x = graphc.variable(np.ones(shape, dtype), name="x")
    assert reductions(x.sum(axis=axis)) == count


def test_argmax_and_run_time_sizes_stay() -> None:
    assert reductions(graphc.argmax(graphc.variable(np.ones((512, 256), "f4"), name="x"))) == 1
    x = graphc.placeholder("x", ("n", 256))
    assert reductions(x.sum(), x) == 1


@pytest.mark.parametrize(
    "reduce",
    [
        lambda x: x.sum(),
        lambda x: x.sum(axis=0),
        lambda x: (x * x).max(axis=0),
        lambda x: x.min(),
        lambda x: x.reshape((2, 4096, 30)).sum(axis=(1, 2)),
        lambda x: graphc.cast(x * 100, "int32").sum(axis=0),
    ],
)
def test_results_and_bits(reduce: Callable) -> None:
    values = np.random.default_rng(0).normal(size=(4096, 60)).astype("f4")
    x = graphc.placeholder("x", values.shape)
    y = reduce(x)
    assert reductions(y, x) == 2
    one, three = (graphc.Session(threads=count).run(y, {x: values}) for count in (1, 3))
    np.testing.assert_array_equal(one, three)
    wide = graphc.placeholder("x", values.shape, "float64")
    if one.dtype == np.float32:
        exact = graphc.Session().run(reduce(wide), {wide: values.astype("f8")})
        np.testing.assert_allclose(one, exact, rtol=2e-7)


def test_infinities_and_nan_pass() -> None:
    values = np.ones((512, 256), "f4")
    values[300, 7] = np.inf
    x = graphc.placeholder("x", values.shape)
    with graphc.Session() as session:
        assert session.run(x.sum(), {x: values}) == np.inf
        values[0, 0] = -np.inf
        assert np.isnan(session.run(x.sum(), {x: values}))
        assert session.run(x.max(), {x: values}) == np.inf
        values[511, 255] = np.nan
        assert np.isnan(session.run(x.max(), {x: values}))
