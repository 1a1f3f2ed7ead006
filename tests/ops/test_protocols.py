"""NumPy's functions and ufuncs on tensors, graph and eager: as on arrays, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import eager
from graphc.errors import GraphError

A = np.random.default_rng(0).normal(size=(4, 3))
B = np.random.default_rng(1).normal(size=(4, 3))
V = np.random.default_rng(2).normal(size=3)

FUNCTIONS: list[Callable[[Any], Any]] = [
    # methods of ufuncs, whose axis is 0 unless said otherwise
    np.add.reduce, np.maximum.reduce, np.minimum.reduce, np.multiply.reduce,
    lambda x: np.logical_and.reduce(x > -2), lambda x: np.logical_or.reduce(x > 2, axis=None),
    lambda x: np.add.reduce(x, axis=1, keepdims=True), lambda x: np.add.reduce(x, 1),
    lambda x: np.add.reduce(x, axis=None), lambda x: np.add.reduce(x > 0, dtype=np.int64),
    lambda x: np.maximum.reduce(x, axis=(0, 1), keepdims=False),
    np.add.accumulate, lambda x: np.add.accumulate(x, axis=1),
    lambda x: np.subtract.outer(x, V), lambda x: np.multiply.outer(V, x), lambda x: np.add.outer(1.0, x),
    lambda x: np.maximum.outer(x, x[0]),
    # arrays on the left, scalars on both sides
    lambda x: B + x, lambda x: B - x, lambda x: V * x, lambda x: B / x, lambda x: B.T @ x, lambda x: np.float64(2) * x,
    lambda x: np.less(B, x), lambda x: np.greater(x, V), lambda x: np.power(2.0, x), lambda x: np.hypot(x, 2.0),
    # defaults of NumPy's own
    lambda x: np.take(x, [0, 5]), lambda x: np.take(x, [1, 0], axis=1), lambda x: np.take(x, [1, 0], 0),
    np.cumsum, lambda x: np.cumsum(x, axis=1), lambda x: np.cumsum(x, 0), np.sort, lambda x: np.sort(x, axis=None),
    lambda x: np.sort(x, 0), np.argsort, lambda x: np.argsort(x, axis=0),
    lambda x: np.dot(x, V), lambda x: np.dot(x.T, B), lambda x: np.dot(x, 2.0), lambda x: np.dot(V, V * x[0]),
    lambda x: np.dot(np.reshape(x, (2, 2, 3)), B.T), lambda x: np.inner(x, B), lambda x: np.inner(x, V),
    lambda x: np.vdot(x, B), lambda x: np.outer(x, V), np.amax, lambda x: np.amin(x, 1, keepdims=True),
    lambda x: np.take_along_axis(x, np.array([[0], [2], [1], [0]]), 1),
    lambda x: np.take_along_axis(x, np.array([3, 1]), None), lambda x: np.split(x, 2)[1],
    lambda x: np.split(x, [1, 2], axis=1)[1], lambda x: np.astype(x, np.float32),
    # arguments in NumPy's order and by NumPy's names
    lambda x: np.sum(x, 1, None, None, True), lambda x: np.sum(x, 0, np.float64), lambda x: np.sum(a=x, axis=-1),
    lambda x: np.sum(x, dtype=None, out=None), lambda x: np.var(x, ddof=1), lambda x: np.std(x, 0, None, None, 1),
    lambda x: np.var(x, axis=0, correction=1), lambda x: np.clip(x, -1, 1), lambda x: np.clip(x, a_min=0, a_max=None),
    lambda x: np.clip(x, min=-0.5, max=0.5), lambda x: np.reshape(x, (3, 4), "C"),
    lambda x: np.reshape(x, shape=(6, 2)),
    lambda x: np.round(x, 0), lambda x: np.mean(x, 1, keepdims=True), lambda x: np.argmax(x, 0, keepdims=True),
    lambda x: np.where(x > 0, x, 0.0), lambda x: np.concatenate((x, B), 1), lambda x: np.concatenate((x, V), axis=None),
    lambda x: np.stack((x, B), -1), lambda x: np.transpose(x, (1, 0)), lambda x: np.einsum("ij,kj->ik", x, B),
    lambda x: np.einsum("ij,kj->ik", x, B, optimize=False), lambda x: np.tensordot(x, B, axes=([0], [0])),
    lambda x: np.zeros_like(x, dtype=np.int64), lambda x: np.swapaxes(x, 0, 1), lambda x: np.moveaxis(x, 0, -1),
    lambda x: np.expand_dims(x, (0, 2)), lambda x: np.squeeze(x[:1], axis=0), lambda x: np.flip(x, 1),
]  # fmt: skip


def supported() -> list[Callable[[Any], Any]]:
    """All but those whose ufunc has no function of that name yet."""
    x = graphc.placeholder("x", A.shape, "float64")
    found = []
    for function in FUNCTIONS:
        try:
            function(x)
        except GraphError as error:
            assert "np.hypot has no counterpart" in str(error)
        else:
            found.append(function)
    return found


def test_graph_and_eager_are_as_numpy():
    functions = supported()
    x, t = graphc.placeholder("x", A.shape, "float64"), eager.asarray(A)
    with graphc.Session(threads=1, backend="reference") as session:
        values = session.run([function(x) for function in functions], {x: A})
    for place, (function, value) in enumerate(zip(functions, values, strict=True)):
        wanted = function(A)
        at_once = function(t)
        for got in (value, np.asarray(at_once)):
            assert got.shape == np.shape(wanted), place
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14, err_msg=str(place))
        assert isinstance(at_once, eager.EagerTensor)


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: np.add(x, 1, out=A.copy()), "np.add of a tensor takes no out="),
    (lambda x: np.add(x, 1, where=A > 0), "np.add of a tensor takes no where="),
    (lambda x: np.add(x, 1, dtype=np.float32), "np.add of a tensor takes no dtype="),
    (lambda x: np.add.reduce(x, initial=3), "np.add.reduce of a tensor takes no initial="),
    (lambda x: np.maximum.reduce(x, where=A > 0), "np.maximum.reduce of a tensor takes no where="),
    (lambda x: np.maximum.reduce(x, dtype=np.float32), "np.maximum.reduce of a tensor takes no dtype="),
    (lambda x: np.add.reduce(x, out=np.zeros(3)), "np.add.reduce of a tensor takes no out="),
    (lambda x: np.subtract.reduce(x), "np.subtract.reduce of a tensor has no counterpart"),
    (lambda x: np.add.reduceat(x, [0, 1]), "np.add.reduceat of a tensor has no counterpart"),
    (lambda x: np.add.at(x, [0], 1), "np.add.at of a tensor has no counterpart"),
    (lambda x: np.add.outer(x, x, dtype=np.float32), "np.add.outer of a tensor takes no dtype="),
    (lambda x: np.spacing(x), "np.spacing has no counterpart"),
    (lambda x: np.sum(x, where=A > 0), "np.sum of a tensor takes no where="),
    (lambda x: np.mean(x, dtype=np.float32), "np.mean of a tensor takes no dtype="),
    (lambda x: np.round(x, 2), "np.round of a tensor takes no decimals="),
    (lambda x: np.take(x, [0], mode="clip"), "np.take of a tensor takes no mode="),
    (lambda x: np.reshape(x, (3, 4), order="F"), "np.reshape of a tensor takes no order="),
    (lambda x: np.concatenate([x, x], dtype=np.float32), "np.concatenate of a tensor takes no dtype="),
    (lambda x: np.fft.fft(x), "np.fft.fft has no counterpart"),
    (lambda x: np.array_equal(x, A), "np.array_equal has no counterpart"),
]  # fmt: skip


@pytest.mark.parametrize("made", [lambda: graphc.placeholder("x", A.shape, "float64"), lambda: eager.asarray(A)])
def test_what_has_no_counterpart_is_refused(made):
    x = made()
    for function, message in REFUSED:
        with pytest.raises(GraphError) as caught:
            function(x)
        assert str(caught.value).startswith(message), caught.value


def test_an_array_is_not_changed_in_place():
    array = A.copy()
    with pytest.raises(GraphError, match="takes no out=") as caught:
        array += graphc.placeholder("x", A.shape, "float64")
    assert "tensors never change: use the result" in str(caught.value)
    np.testing.assert_array_equal(array, A)


def test_outer_and_reductions_work_on_named_dims():
    x, y = graphc.placeholder("x", ("n", 2), "float64"), graphc.placeholder("y", ("m",), "float64")
    outputs = [np.multiply.outer(x, y), np.maximum.reduce(x, axis=1), np.cumsum(x)]
    assert [str(tensor.type) for tensor in outputs] == ["float64[n, 2, m]", "float64[n]", "float64[2*n]"]
    with graphc.Session(threads=1, backend="reference") as session:
        values = session.run(outputs, {x: A[:, :2], y: V})
    wanted = [np.multiply.outer(A[:, :2], V), A[:, :2].max(1), np.cumsum(A[:, :2])]
    for value, want in zip(values, wanted, strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-12)
