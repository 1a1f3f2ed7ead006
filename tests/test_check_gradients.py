"""The gradient checker that users call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc.errors import GradientError, GraphError
from graphc.ir import topological
from graphc.testing.gradients import GradientReport, in_float64


def test_a_function_of_arrays() -> None:
    arrays = [np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(0, 1, 12).reshape(3, 4)]
    report = graphc.check_gradients(lambda x, w: graphc.tanh(x @ w).mean(), arrays)
    assert report.first < 1e-7
    assert report.second < 1e-6
    assert report.probes == 2 * (6 + 12)


def test_the_copy_in_float64_keeps_constants_apart_and_knows_where_nodes_come_from() -> None:
    c, x = graphc.constant(2.0), graphc.placeholder("x", ())
    slope = graphc.gradients(c * c * x + 2.0 * c * x, c)
    (copied,) = in_float64([slope], {})
    (fed,) = (node.result for node in topological([copied]) if node.op.name == "placeholder")
    with graphc.Session(threads=1) as session:
        assert session.run(copied, {fed: 1.0}) == 6
    m = graphc.placeholder("m", (2, 2))
    with pytest.raises(graphc.linalg.LinAlgError, match=r"^inv: the matrix is singular"):
        graphc.check_gradients(graphc.linalg.inv(m), {m: np.ones((2, 2))})


def test_a_float32_tensor_with_variables_is_checked_in_float64() -> None:
    x = graphc.placeholder("x", ("batch", 3))
    k = graphc.placeholder("k", ("batch",), "int64")
    w = graphc.variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), name="w")
    scores = graphc.log_softmax(graphc.tanh(x @ w), axis=-1)
    loss = -graphc.take_along_axis(scores, graphc.expand_dims(k, 1), axis=1).mean()
    report = graphc.check_gradients(loss, {x: np.ones((5, 3)), k: np.arange(5) % 4})
    assert report.first < 1e-6
    with graphc.Session(threads=1) as session:
        session.set(w, np.zeros((3, 4)))
        assert graphc.check_gradients(loss, {x: np.ones((5, 3)), k: np.arange(5) % 4}, session=session).first < 1e-6


def test_a_scan() -> None:
    def total(x: graphc.Tensor) -> graphc.Tensor:
        return graphc.scan(lambda carry, row: (graphc.tanh(carry + row), carry * row), x[0] * 0, x)[1]

    assert graphc.check_gradients(total, [np.linspace(-1, 1, 8).reshape(4, 2)]).second < 1e-6


def test_a_derivative_that_is_0_but_for_rounding() -> None:
    arrays = [np.array([0.3, -1.2, 0.7])]
    constant = [lambda x: (x - x.mean()).sum(), lambda x: graphc.softmax(x).sum() - 1.0]
    for function in constant:
        assert graphc.check_gradients(function, arrays) == GradientReport(0.0, 0.0, 6)
        with pytest.raises(GradientError, match=r"order [12] by 'input0'"):
            graphc.check_gradients(function, arrays, absolute=0.0)
    wrong = graphc.custom_gradient(lambda x: 1e-6 * x, vjp=lambda inputs, outputs, gs: (2e-6 * gs[0],))
    with pytest.raises(GradientError, match=r"relative error 5.0e-01"):
        graphc.check_gradients(wrong, arrays)


def test_large_inputs_are_moved_along_directions() -> None:
    report = graphc.check_gradients(lambda x: graphc.sin(x), [np.linspace(-3, 3, 1000)])
    assert report.probes < 100


def test_first_order_only() -> None:
    report = graphc.check_gradients(lambda x: x * x, [np.ones(3)], order=1)
    assert np.isnan(report.second)


def test_several_tensors_of_a_graph() -> None:
    x, y = graphc.placeholder("x", (2,)), graphc.placeholder("y", ())
    report = graphc.check_gradients([x * y, graphc.sin(y)], {x: [1.0, 2.0], y: 0.5})
    assert report.first < 1e-6 and report.second < 1e-6


def wrong_rule(inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """A derivative that is right everywhere but for negative elements."""
    (x,), (g,) = inputs, cotangents
    return (graphc.where(x < 0, g, g * 2 * x),)


def test_a_wrong_derivative_is_named() -> None:
    square = graphc.custom_gradient(lambda x: x * x, vjp=wrong_rule)
    with pytest.raises(GradientError) as caught:
        graphc.check_gradients(square, [np.array([[1.0, 2.0], [-3.0, 4.0]])])
    text = str(caught.value)
    assert "order 1 by 'input0', element (1, 0)" in text
    assert "central differences give" in text


def test_what_cannot_be_checked() -> None:
    x = graphc.placeholder("x", (3,), "int64")
    with pytest.raises(GraphError, match="expected a float output"):
        graphc.check_gradients(x * 2, {x: np.arange(3)})
    with pytest.raises(GraphError, match="no value is given for placeholder 'x'"):
        graphc.check_gradients(x * 2.0, {})
    with pytest.raises(GraphError, match="order 1 or 2"):
        graphc.check_gradients(x * 2.0, {x: np.arange(3)}, order=3)
    with pytest.raises(GraphError, match="expected a mapping"):
        graphc.check_gradients(x * 2.0, [np.arange(3)])
