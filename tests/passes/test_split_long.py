"""Reductions cut into chunks: which are, that nothing but their speed changes, and that workers change no bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc
from graphc import nn
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


def test_argmax_stays() -> None:
    assert reductions(graphc.argmax(graphc.variable(np.ones((512, 256), "f4"), name="x"))) == 1


def test_named_rows_are_cut_where_a_kernel_more_gains_something() -> None:
    x, w = graphc.placeholder("x", ("n", 256)), graphc.variable(np.ones((256, 256), "f4"), name="w")
    assert reductions(x.sum(axis=0), x) == 2
    assert reductions(x.sum(), x) == 3  # of each row, of chunks of these, of everything
    assert reductions((x @ w).sum(axis=0), x) == 1  # a product makes no parts, and 64 rows are few
    assert reductions((x @ w).sum(), x) == 1
    assert reductions(x - x.mean(axis=0), x) == 1  # a statistic: rows may be few, and one kernel does it all
    assert reductions(x[:, :32].sum(axis=0), x) == 1  # narrow
    assert reductions(graphc.cast(x, "float64").sum(axis=0), x) == 1  # would lose what the roundings lose
    assert reductions(x.max(axis=0), x) == 1
    batch, wide = graphc.placeholder("batch", ("n", 32, 64)), graphc.variable(np.ones((64, 256), "f4"), name="wide")
    assert reductions(graphc.tanh(batch @ wide).sum(axis=(0, 1)), batch) == 2  # 2048 rows of a product
    assert reductions((batch @ wide).sum(axis=0), batch) == 1  # 64 rows of 8192


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


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 300])
@pytest.mark.parametrize("of_all", [False, True])
def test_chunks_of_named_rows(rows: int, of_all: bool) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 3, 72)).astype("f4")
    if rows:
        values[rows // 2, 1, :3] = np.inf, np.nan, -np.inf
    x = graphc.placeholder("x", ("n", 3, 72))
    results = [x[:, :, 3:].sum(), x.sum(axis=(0, 1))] if of_all else [graphc.tanh(x), x.sum(axis=0)]
    runs = []
    for count in (1, 2, 3, 5):
        with graphc.Session(threads=count) as session:
            runs.append(session.run(results, {x: values}))
    exact = values[:, :, 3:].sum(dtype="f8") if of_all else np.tanh(values)
    np.testing.assert_allclose(runs[0][0], exact, rtol=1e-6)
    axes = (0, 1) if of_all else 0
    with np.errstate(invalid="ignore"):
        error = np.abs(runs[0][1] - values.sum(axis=axes, dtype="f8"))
        sizes = np.abs(values).sum(axis=axes, dtype="f8")
    finite = np.isfinite(sizes)
    np.testing.assert_array_equal(runs[0][1][~finite], values.sum(axis=axes)[~finite])
    # a block of rows is added up in float32: as good as a sum's terms are large, whatever cancels
    assert (error[finite] <= 2e-7 * sizes[finite]).all()
    for other in runs[1:]:
        for one, many in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(one, many)


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


@pytest.mark.parametrize("rows", [0, 1, 70, 2100])
def test_layer_norm_with_its_gradients_and_named_rows(rows: int) -> None:
    random = np.random.default_rng(rows)
    xs, gs = random.normal(size=(2, rows, 96)).astype("f4")
    x, g = graphc.placeholder("x", ("n", 96)), graphc.placeholder("g", ("n", 96))
    scale, shift = (graphc.variable(random.normal(size=96).astype("f4")) for _ in range(2))
    y = nn.layer_norm(x, scale, shift)
    fetches = [y, *graphc.gradients(y, [x, scale, shift], seed=g)]
    feeds = {x: xs, g: gs}
    with graphc.Session(threads=2) as session:
        found = session.run(fetches, feeds)
    with graphc.Session(backend="reference") as session:
        expected = session.run(fetches, feeds)
    for made, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-6 * max(1, rows) ** 0.5)
