"""Searching in sorted sequences against NumPy; what is refused because its shape would depend on data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc.errors import DTypeError, GraphError, ShapeError

rng = np.random.default_rng(3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_is_numpy_s(side: Any) -> None:
    sequence = np.sort(rng.integers(0, 20, 30).astype("float64"))
    sequence[-3:] = np.nan
    values = np.concatenate([rng.uniform(-1, 21, 50), np.arange(21), [np.nan, np.inf, -np.inf, -0.0]])
    shuffled = rng.permutation(sequence)
    s, named, v = (graphc.placeholder(name, shape, "float64") for name, shape in
                   (("s", (30,)), ("named", ("k",)), ("v", ("m",))))  # fmt: skip
    whole = np.sort(rng.integers(0, 9, 12)).astype("int16")
    outputs = [
        graphc.searchsorted(s, v, side),
        graphc.searchsorted(s, values.reshape(5, -1), side),
        np.searchsorted(shuffled, v, side, sorter=graphc.argsort(shuffled)),
        graphc.searchsorted(whole, np.arange(-1, 11), side),
        graphc.searchsorted(np.zeros(0), v, side),
        graphc.searchsorted(s, 5.0, side),
    ]
    expected = [
        np.searchsorted(sequence, values, side),
        np.searchsorted(sequence, values, side).reshape(5, -1),
        np.searchsorted(sequence, values, side),
        np.searchsorted(whole, np.arange(-1, 11), side),
        np.zeros(75, int),
        np.searchsorted(sequence, 5.0, side),
    ]
    of_named = graphc.searchsorted(named, v, side)
    with graphc.Session(threads=2) as session:
        for got, want in zip(session.run(outputs, {s: sequence, v: values}), expected, strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.dtype == np.int64
        for length in (0, 1, 2, 7, 8, 9, 30):
            got = session.run(of_named, {named: sequence[:length], v: values})
            np.testing.assert_array_equal(got, np.searchsorted(sequence[:length], values, side), err_msg=str(length))


def test_numpy_s_orderings_build_graph() -> None:
    x = graphc.placeholder("x", (3, "n"), "float32")
    array = rng.normal(size=(3, 5)).astype("float32")
    outputs = [np.sort(x), np.argsort(x, axis=0), np.take_along_axis(x, x.argsort(1), 1)]
    with graphc.Session(threads=1) as session:
        got = session.run(outputs, {x: array})
    for value, want in zip(got, [np.sort(array), np.argsort(array, axis=0), np.sort(array)], strict=True):
        np.testing.assert_array_equal(value, want)


def test_histogram_is_numpy_s() -> None:
    array, weights = rng.normal(size=(40, 50)), rng.random((40, 50))
    array[0, :4] = [np.max(array), -9, 2.0, -2.0]
    x = graphc.placeholder("x", ("n", 50), "float64")
    edges = [-1.0, 0.0, 0.5, 2.0]
    got = [
        np.histogram(x, 20, (-2, 2)), graphc.histogram(array, 20, (-2, 2), weights), graphc.histogram(x, 13),
        graphc.histogram(x, edges), graphc.histogram(np.full(5, 2.0), 3),
        graphc.histogram([1.0, np.nan, 2.0], 2, (0, 2)),
    ]  # fmt: skip
    expected = [
        np.histogram(array, 20, (-2, 2)), np.histogram(array, 20, (-2, 2), weights=weights), np.histogram(array, 13),
        np.histogram(array, edges), np.histogram(np.full(5, 2.0), 3), np.histogram([1.0, 2.0], 2, (0, 2)),
    ]  # fmt: skip
    with graphc.Session(threads=2) as session:
        for pair, wanted in zip(session.run(got, {x: array}), expected, strict=True):
            for value, want in zip(pair, wanted, strict=True):
                np.testing.assert_allclose(value, want, rtol=1e-12)
                assert value.dtype.kind == want.dtype.kind


def test_wrong_input() -> None:
    x = graphc.placeholder("x", (3, 4), "float32")
    cases: list[tuple[type[Exception], Any, str]] = [
        (ShapeError, lambda: graphc.searchsorted(x, 1.0),
         "searchsorted: expected a sequence of rank 1, got the shape (3, 4)"),
        (GraphError, lambda: graphc.searchsorted(x[0], 1.0, "middle"),
         "searchsorted: expected side to be 'left' or 'right', got 'middle'"),
        (DTypeError, lambda: graphc.searchsorted(x[0], 1.0, sorter=x[0]), "expected integer indices, got float32[4]"),
        (GraphError, lambda: graphc.histogram(x, 0), "histogram: expected at least one bin, got 0"),
        (ShapeError, lambda: graphc.histogram(x, [1.0]), "or at least two edges in rank 1, got (1,)"),
        (GraphError, lambda: graphc.histogram(x, 3, (2, 1)), "finite numbers in ascending order, got 2.0 and 1.0"),
        (GraphError, lambda: graphc.histogram(x, 3, 5), "histogram: expected range to be two numbers, got 5"),
        (ShapeError, lambda: graphc.histogram(x, 3, weights=x[0]), "expected weights of shape (3, 4), got (4,)"),
        (GraphError, lambda: np.nonzero(x), "nonzero: the shape of the result would depend on data"),
        (GraphError, lambda: np.flatnonzero(x), "flatnonzero: the shape"),
        (GraphError, lambda: np.argwhere(x), "argwhere: the shape"),
        (GraphError, lambda: np.unique(x, return_counts=True), "unique: the shape"),
    ]  # fmt: skip
    for kind, call, message in cases:
        with pytest.raises(kind) as caught:
            call()
        assert message in caught.value.message
        assert "declared at test_searching.py" in str(caught.value)
