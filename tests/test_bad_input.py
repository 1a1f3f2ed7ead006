"""What users get wrong, and what they are told: the message, the kind of error, and their own line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.errors import (
    DTypeError,
    ExecutionError,
    FeedError,
    GradientError,
    GraphcError,
    GraphcWarning,
    GraphError,
    IndexOutOfRangeError,
    SessionError,
    ShapeError,
)


@pytest.fixture
def session() -> Any:
    with graphc.Session(threads=1) as made:
        yield made


def placeholder(*shape: Any, dtype: Any = "float32", name: str = "x") -> graphc.Tensor:
    return graphc.placeholder(name, shape, dtype)


def zeros(shape: Any) -> np.ndarray:
    """float32 zeros."""
    return np.zeros(shape, np.float32)


def refused(kind: type[GraphcError], function: Callable[[], Any], *parts: str) -> str:
    """The text of the error that a function must raise; ``parts`` must occur in it.

    Lines that an error quotes do not count: they are this file's, and hold the parts that a test looks for.
    """
    with pytest.raises(kind) as caught:
        function()
    error = caught.value
    assert isinstance(error, GraphcError)
    own = re.sub(r"(test_bad_input\.py:\d+): .*", r"\1", str(error))
    for part in parts:
        assert part in own, own
    return str(error)


# -- declarations -------------------------------------------------------------------------------------------------


def test_mismatched_shapes_name_the_op_both_shapes_and_the_line() -> None:
    x = graphc.placeholder("x", ("batch", 784))
    w = graphc.variable(np.zeros((256, 10), np.float32), name="w")
    message = refused(ShapeError, lambda: x @ w, "matmul: inner dimensions differ: (batch, 784) @ (256, 10)")
    assert "declared at test_bad_input.py:" in message
    refused(ShapeError, lambda: placeholder(2, 3) + placeholder(4, 3), "add: shapes (2, 3) and (4, 3) do not broadcast")
    x, y = placeholder(2, 3), placeholder(2, 4)
    refused(ShapeError, lambda: graphc.concat([x, y], axis=0), "concat", "(2, 3)", "(2, 4)")
    refused(ShapeError, lambda: graphc.reshape(x, (4, 2)), "reshape: (2, 3) has 6 elements, (4, 2) has 8")


def test_two_named_dims_that_meet() -> None:
    a, b = placeholder("rows"), placeholder("columns")
    refused(ShapeError, lambda: a * b, "multiply", "two different named dims meet", "rows", "columns")
    refused(ShapeError, lambda: graphc.where(a > 0, a, placeholder("columns")), "where", "rows", "columns")


def test_wrong_dtype() -> None:
    x = placeholder(2, dtype="int64")
    refused(DTypeError, lambda: graphc.placeholder("c", (2,), "complex64"), "expected one of the dtypes", "complex64")
    assert graphc.placeholder("c", (2,), np.array(["int8"])[0]).dtype == np.int8  # NumPy's strings are names, too
    refused(DTypeError, lambda: graphc.constant(["a"]), "expected")
    u = placeholder(2, dtype="uint64")
    refused(DTypeError, lambda: u + x, "add: no integer dtype holds both", "uint64", "int64")
    refused(DTypeError, lambda: graphc.take(placeholder(3), placeholder(2), axis=0), "take", "float32")
    refused(DTypeError, lambda: placeholder(2, dtype="bool") + placeholder(2, dtype="bool"), "add", "bool")


def test_wrong_rank_and_axes() -> None:
    refused(ShapeError, lambda: graphc.sum(placeholder(2, 3), axis=2), "sum: axis 2 is out of range for rank 2")
    refused(ShapeError, lambda: graphc.sum(placeholder(2, 3), axis=(0, -2)), "sum: an axis is named twice")
    refused(ShapeError, lambda: graphc.permute_dims(placeholder(2, 3), (0, 0)), "permute_dims")
    refused(GraphcError, lambda: placeholder() @ placeholder(2, 2), "matmul")
    refused(GraphcError, lambda: placeholder(2)[0, 0], "2 indices for the 1 axes of (2,)")


def test_static_index_out_of_range() -> None:
    refused(GraphcError, lambda: placeholder(3)[3], "3")
    refused(GraphcError, lambda: placeholder(3)[-4], "-4", "declared at test_bad_input.py")


def test_tensors_have_no_value_yet() -> None:
    x = placeholder(3)
    refused(GraphError, lambda: bool(x > 0), "no value until a program runs", "where")
    refused(GraphError, lambda: float(x.sum()), "session.run")
    refused(GraphError, lambda: np.asarray(x), "no value until a program runs")
    refused(GraphError, lambda: list(placeholder("n")), "scan")


def test_operands_that_are_no_arrays() -> None:
    refused(DTypeError, lambda: graphc.exp(None), "expected a tensor, an array or numbers, got NoneType")
    for wrong in ("text", None, object(), {"a": 1}, [[1], [1, 2]]):
        refused(GraphcError, lambda wrong=wrong: graphc.add(placeholder(3), wrong), "expected")  # type: ignore[misc]
        with pytest.raises((TypeError, GraphcError)):  # an operator asks the other operand's type first
            placeholder(3) + wrong


def test_sizes_that_make_no_sense() -> None:
    refused(ShapeError, lambda: placeholder(-1), "at least 0")
    refused(ShapeError, lambda: placeholder(1.5), "expected an integer or the name of a dim")
    refused(ShapeError, lambda: placeholder(None, 3), "hint", "('batch', 3)")
    refused(ShapeError, lambda: placeholder("not a name"), "identifier")
    refused(GraphError, lambda: graphc.placeholder(""), "expected a name")


def test_layers_optimizers_and_loops_made_wrongly() -> None:
    refused(GraphError, lambda: nn.Dense(3, 4), "expected a function as activation, got 4")  # type: ignore[arg-type]
    refused(GraphError, lambda: nn.Sequential([nn.Dense(3)]), "nn.Sequential(*layers)")
    refused(GraphError, lambda: optim.Adam([graphc.variable(1.0)]), "learning rate", "minimize")  # type: ignore[arg-type]
    refused(GraphError, lambda: optim.SGD("x"), "learning rate")  # type: ignore[arg-type]
    refused(GraphError, lambda: optim.SGD(True), "learning rate")
    refused(GraphError, lambda: graphc.scan(0.0, placeholder(3), 0.0), "scan: expected a function")
    refused(GraphError, lambda: graphc.while_loop(lambda a, b: a < b, lambda c: c, (0, 1)), "with one argument")

    class Hasty(nn.Layer):
        def __init__(self) -> None:
            self.part = nn.Dense(1)

    class Bare(nn.Layer):
        def call(self, x: graphc.Tensor) -> graphc.Tensor:
            return x

    refused(GraphError, lambda: Hasty()(placeholder(3)), "Hasty", "super().__init__()")
    refused(GraphError, lambda: Bare()(placeholder(3)), "Bare: a layer of this class has no method forward", "training")


def test_a_name_misspelt_comes_with_what_python_needs_to_suggest_one() -> None:
    with pytest.raises(AttributeError) as raised:
        graphc.gradient  # type: ignore[attr-defined]  # noqa: B018
    assert (raised.value.name, raised.value.obj) == ("gradient", graphc)  # "Did you mean: 'gradients'?"


def test_optimizers_used_wrongly() -> None:
    w, other = graphc.variable(np.ones(3, "float32"), name="w"), graphc.variable(1.0, name="other")
    loss = (w * w).sum()
    slope, sgd = graphc.gradients(loss, w), optim.SGD(0.1)
    for wrong in ([loss], None, 1.0):
        refused(GraphError, lambda wrong=wrong: sgd.minimize(wrong), "minimize: expected a tensor as loss")  # type: ignore[misc]
        refused(GraphError, lambda wrong=wrong: optim.trainable_variables(wrong), "expected a tensor")  # type: ignore[misc]
    for wrong in (w, ["w"], [slope], 3):
        refused(GraphError, lambda wrong=wrong: sgd.minimize(loss, wrong), "expected a sequence of variables")  # type: ignore[misc]
    error = refused(GradientError, lambda: sgd.minimize(loss, [other]), "minimize: the loss does not depend on other")
    assert "zeros_for_disconnected" not in str(error)
    for wrong in ([(w, slope)], [w], w, [(slope,)], None, [(None, w)]):
        refused(GraphError, lambda wrong=wrong: sgd.apply(wrong), "expected pairs of a gradient and a variable")  # type: ignore[misc]
    for returned in (None, "0.1", True, np.ones(3)):
        schedule = optim.Adam(lambda step, returned=returned: returned)  # type: ignore[misc]
        refused(GraphError, lambda schedule=schedule: schedule.minimize(loss), "Adam: expected", "return a tensor")  # type: ignore[misc]


def test_a_schedule_may_return_a_number_of_numpys(session: graphc.Session) -> None:
    w = graphc.variable(np.ones(3, "float32"), name="w")
    session.run(optim.SGD(lambda step: np.float64(0.5)).minimize((w * w).sum()))  # type: ignore[arg-type, return-value]
    np.testing.assert_array_equal(session.get(w), np.zeros(3, "float32"))


# -- gradients ----------------------------------------------------------------------------------------------------


def test_gradients_that_do_not_exist() -> None:
    x, k = placeholder(3), placeholder(3, dtype="int64", name="k")
    refused(GradientError, lambda: graphc.gradients(x * 2, x), "expected a scalar to differentiate", "(3,)", "seed=")
    refused(GradientError, lambda: graphc.gradients(k.sum(), k), "integer", "int64")
    refused(GradientError, lambda: graphc.gradients(x.sum(), k), "integer", "int64")
    y = placeholder(3, name="y")
    refused(GradientError, lambda: graphc.gradients(x.sum(), y), "does not depend on y", "zeros_for_disconnected=True")
    for function in (graphc.jacobian, graphc.hessian):  # have no such parameter
        error = refused(GradientError, lambda f=function: f(x.sum(), y), "does not depend on y")  # type: ignore[misc]
        assert "zeros_for_disconnected" not in str(error)
    for function in (graphc.jacobian, graphc.hessian, graphc.explain_gradient):  # type: ignore[assignment]
        for by in ([x, y], [x], (x,)):
            refused(GraphError, lambda f=function, by=by: f((x * y).sum(), by), "one tensor", "for each")  # type: ignore[misc]
        refused(GraphError, lambda f=function: f(x.sum(), 3), "one tensor to differentiate by, got 3")  # type: ignore[misc]
    refused(GradientError, lambda: graphc.gradients(graphc.stop_gradient(x).sum(), x), "stop_gradient")
    refused(ShapeError, lambda: graphc.gradients(x * 2, x, seed=np.ones(4)), "seed", "(3,)", "(4,)")


# -- feeds --------------------------------------------------------------------------------------------------------


def test_feeds_of_the_wrong_shape(session: graphc.Session) -> None:
    x = placeholder("n", 3)
    for wrong in (zeros((2, 4)), zeros(3), zeros((1, 2, 3)), 1.0):
        refused(FeedError, lambda wrong=wrong: session.run(x * 2, {x: wrong}), "feed 'x': expected shape (n, 3), got")  # type: ignore[misc]


def test_one_name_with_two_sizes(session: graphc.Session) -> None:
    x, y = placeholder("n", name="x"), placeholder("n", name="y")
    message = "named dim 'n' has two sizes in one feed: 2 in 'x' and 3 in 'y'"
    refused(FeedError, lambda: session.run(x + y, {x: zeros(2), y: zeros(3)}), message)
    z = placeholder(x.shape[0] - 3, name="z")
    message = "named dim 'n' has two sizes in one feed: 3 in 'z' and 2 in 'x'"
    refused(FeedError, lambda: session.run(z.sum() + x, {z: zeros(0), x: zeros(2)}), message)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_sizes_that_only_a_run_finds_to_be_none(backend: str) -> None:
    x, y = placeholder("n", name="x"), placeholder("m", name="y")
    n, m = x.shape[0], y.shape[0]
    less, quotient, rest = graphc.ones((n - 3,)), graphc.ones((n // m,)), graphc.ones((n % m,))
    _, sums = graphc.scan(lambda c, row: (c, row + graphc.ones((2 * n - 9,)).sum()), 0, graphc.ones(2))
    with graphc.Session(threads=1, backend=backend) as session:
        for rows in (5, 3):
            np.testing.assert_array_equal(session.run(less, {x: zeros(rows)}), np.ones(rows - 3))
        message = "expected sizes of at least 0, got n-3, which is -1 for n = 2"
        refused(ShapeError, lambda: session.run(less, {x: zeros(2)}), message, "declared at test_bad_input.py")
        refused(ShapeError, lambda: session.run(sums, {x: zeros(4)}), "got 2*n-9, which is -1 for n = 4")
        for tensor, size in ((quotient, "(n)//(m)"), (rest, "(n)%(m)")):
            message = f"got {size}, which divides by 0 for m = 0, n = 4"
            refused(ShapeError, lambda t=tensor: session.run(t, {x: zeros(4), y: zeros(0)}), message)  # type: ignore[misc]
        np.testing.assert_array_equal(session.run(quotient, {x: zeros(4), y: zeros(2)}), np.ones(2))


def test_unknown_named_dim(session: graphc.Session) -> None:
    x = placeholder(3)
    y = graphc.broadcast_to(x, ("n", 3))
    refused(FeedError, lambda: session.run(y, {x: zeros(3)}), "unknown named dim 'n'", "declared at test_bad_input.py")
    z = graphc.placeholder("z", (graphc.placeholder("m", "m").shape[0] * 2,))
    refused(FeedError, lambda: session.run(z + 1, {z: zeros(3)}), "axis 0 is declared as 2*m", "'m'")
    wanted = "unknown named dim 'k'", "declared at test_bad_input.py"
    size = graphc.size_of(graphc.placeholder("w", "k"))
    refused(FeedError, lambda: session.run(size), *wanted)
    _, sums = graphc.scan(lambda c, row: (c, row.sum() + graphc.ones("k").sum()), 0, x)
    refused(FeedError, lambda: session.run(sums, {x: zeros(3)}), *wanted)


def test_a_placeholder_that_is_fed_for_its_sizes_alone(session: graphc.Session) -> None:
    x, y = placeholder("n", 2, name="x"), placeholder(2, name="y")
    nothing = graphc.gradients((y * y).sum(), x, zeros_for_disconnected=True)
    for rows in (3, 0):
        feeds = {y: zeros(2), x: zeros((rows, 2))}
        np.testing.assert_array_equal(session.run(nothing, feeds), zeros((rows, 2)))
        assert session.run(graphc.size_of(x), {x: zeros((rows, 2))}) == 2 * rows
    refused(FeedError, lambda: session.run(nothing, {y: zeros(2)}), "unknown named dim 'n'")
    with graphc.Session(backend="reference") as reference:
        assert reference.run(graphc.size_of(x, 0), {x: zeros((5, 2))}) == 5


def test_missing_and_unknown_feeds(session: graphc.Session) -> None:
    x, y = placeholder(2, name="x"), placeholder(2, name="y")
    refused(FeedError, lambda: session.run(x + y, {x: zeros(2)}), "feed missing for placeholder 'y'", "declared at")
    refused(FeedError, lambda: session.run(x + 1), "feed missing for placeholder 'x'")
    refused(FeedError, lambda: session.run(x + 1, {x: zeros(2), "y": zeros(2)}), "expected placeholders as keys")  # type: ignore[dict-item]
    refused(FeedError, lambda: session.run(x + 1, {x + 1: zeros(2)}), "expected placeholders as keys")
    refused(FeedError, lambda: session.run(x + 1, [zeros(2)]), "expected a mapping")  # type: ignore[arg-type]
    refused(GraphError, lambda: session.run("loss", {}), "fetches")
    refused(FeedError, lambda: graphc.compile([x], x + y), "'y'")
    program = graphc.compile([x], x + 1, session=session)
    refused(FeedError, lambda: program(zeros(2), zeros(2)), "expected 1 arrays (x), got 2")


def test_a_feed_that_nothing_uses_is_allowed(session: graphc.Session) -> None:
    x, y = placeholder(2, name="x"), placeholder(2, name="y")
    np.testing.assert_array_equal(session.run(x + 1, {x: [1, 2], y: [3, 4]}), [2, 3])


def test_a_feed_whose_size_alone_is_needed() -> None:
    # Before: FeedError, as if the feed were not there, or KeyError where the size is used in a body or as a number.
    x, other = (graphc.placeholder(name, ("n",)) for name in "xy")
    flag = graphc.placeholder("f", (), "bool")
    summed = graphc.cond(flag, lambda: graphc.ones_like(x).sum(), lambda: graphc.zeros_like(x).sum())
    fetches = [graphc.ones_like(x).sum(), graphc.size_of(x, 0) * 2, summed]
    for backend in ("compiled", "reference"):
        with graphc.Session(backend=backend) as session:
            assert session.run(fetches, {x: np.ones(3, "float32"), flag: True}) == [3, 6, 3]
            assert session.run(fetches, {flag: True, other: np.ones(4, "float32")}) == [4, 8, 4]
            refused(FeedError, lambda: session.run(fetches[1]), "unknown named dim 'n'")
            refused(FeedError, lambda: session.run(summed, {flag: True}), "unknown named dim 'n'")


def test_lossy_casts(session: graphc.Session) -> None:
    k, b, x = placeholder(2, dtype="int8"), placeholder(2, dtype="bool"), placeholder(2)
    loss = "can't be cast without loss"
    beyond = "without loss: 200 is out of range"  # and no hint to cast it: that would make -56 of it
    assert "hint" not in str(refused(FeedError, lambda: session.run(k + 1, {k: np.array([1, 200])}), beyond))
    refused(FeedError, lambda: session.run(k + 1, {k: np.array([1, -200])}), "-200 is out of range")
    refused(FeedError, lambda: session.run(x, {x: np.array([np.inf, -1e300])}), "-1e+300 is out of range")
    refused(FeedError, lambda: session.run(k + 1, {k: np.array([1, 200])}), "feed 'x': expected int8, got int64", loss)
    refused(FeedError, lambda: session.run(k + 1, {k: np.array([1.0, 2.0])}), "expected int8, got float64", loss)
    refused(FeedError, lambda: session.run(b, {b: np.array([0, 2])}), "expected bool, got int64", loss)
    refused(FeedError, lambda: session.run(x, {x: np.array([1.0, 1e300])}), "expected float32, got float64", loss)
    refused(FeedError, lambda: session.run(x, {x: np.array([1, 2**24 + 1])}), "expected float32, got int64", loss)
    refused(FeedError, lambda: session.run(x, {x: np.array([1j, 0])}), "expected float32", "complex128")
    refused(FeedError, lambda: session.run(x, {x: ["a", "b"]}), "expected float32")
    refused(FeedError, lambda: session.run(x, {x: [[1.0], [1.0, 2.0]]}), "not an array")
    refused(FeedError, lambda: session.run(x, {x: x}), "expected an array, got the tensor")
    np.testing.assert_array_equal(session.run(k + 1, {k: np.array([1, 100])}), [2, 101])


def test_rounding_float64_is_said_once(session: graphc.Session) -> None:
    x = placeholder(2)
    with pytest.warns(GraphcWarning, match="float64 is rounded to float32") as caught:
        for _ in range(3):
            session.run(x * 2, {x: np.array([0.1, 0.2])})
    assert len(caught) == 1


# -- values -------------------------------------------------------------------------------------------------------


def test_empty_arrays(session: graphc.Session) -> None:
    x = placeholder("n", 3)
    w = graphc.constant(np.ones((3, 2)), "float32")
    outputs = [x * 2, x.sum(), x.sum(axis=0), x.sum(axis=1), graphc.concat([x, x], axis=0), x @ w]
    values = session.run(outputs, {x: np.zeros((0, 3), np.float32)})
    expected = [(0, 3), (), (3,), (0,), (0, 3), (0, 2)]
    assert [value.shape for value in values] == expected
    assert values[1] == 0
    assert (values[2] == 0).all()
    y = placeholder(0, 4, name="y")
    assert session.run(y + 1, {y: zeros((0, 4))}).shape == (0, 4)
    np.testing.assert_array_equal(session.run(y.sum(axis=0), {y: zeros((0, 4))}), np.zeros(4))


def test_the_largest_of_nothing_is_refused(session: graphc.Session) -> None:
    refused(ShapeError, lambda: graphc.max(placeholder(0, 4), axis=0), "max")
    x = placeholder("n", 3)
    y = graphc.max(x, axis=0)
    np.testing.assert_array_equal(session.run(y, {x: np.ones((2, 3), np.float32)}), np.ones(3))
    refused(GraphcError, lambda: session.run(y, {x: np.ones((0, 3), np.float32)}), "max", "at least one element")


def test_nan_and_infinity_are_kept(session: graphc.Session) -> None:
    x = placeholder(4)
    value = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    with np.errstate(all="ignore"):
        for got, want in zip(
            session.run([x + 1, x * 0, graphc.maximum(x, 0), x.sum(), graphc.max(x)], {x: value}),
            [value + 1, value * np.float32(0), np.maximum(value, np.float32(0)), value.sum(), value.max()],
            strict=True,
        ):
            np.testing.assert_array_equal(got, want)


def test_integer_division_by_zero(session: graphc.Session) -> None:
    x, y = placeholder(4, dtype="int64", name="x"), placeholder(4, dtype="int64", name="y")
    lowest = np.iinfo(np.int64).min
    a, b = np.array([7, -7, 0, lowest]), np.array([0, 0, 0, -1])
    quotient, rest = session.run([x // y, x % y], {x: a, y: b})
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(quotient, a // b)
        np.testing.assert_array_equal(rest, a % b)


# -- steps that fail ----------------------------------------------------------------------------------------------


def test_index_out_of_range_fails_the_step_and_changes_nothing(session: graphc.Session) -> None:
    table = graphc.variable(np.arange(12, dtype=np.float32).reshape(4, 3), name="table")
    count = graphc.variable(np.zeros((), np.int64), name="count")
    k = placeholder("n", dtype="int64", name="k")
    picked = graphc.take(table, k, axis=0)
    updates = [graphc.assign(table, table * 2), graphc.assign(count, count + 1)]
    for wrong in (4, -5, 2**62, -(2**63)):
        feeds = {k: np.array([0, wrong, 1])}
        message = refused(IndexOutOfRangeError, lambda feeds=feeds: session.run([picked, *updates], feeds))  # type: ignore[misc]
        assert f"take: index {wrong} is out of range for an axis of size 4" in message
        assert "picked = graphc.take" in message
        np.testing.assert_array_equal(session.get(table), np.arange(12).reshape(4, 3))
        assert session.get(count) == 0
        assert session.steps == 0
    value, *_ = session.run([picked, *updates], {k: np.array([-1, 3])})
    np.testing.assert_array_equal(value, [[9, 10, 11]] * 2)
    assert session.get(count) == 1


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_an_unsigned_index_beyond_int64_is_named(backend: str) -> None:
    k = placeholder("n", dtype="uint64", name="k")
    rows = graphc.take(graphc.variable(np.zeros((4, 3), np.float32)), k, axis=0)
    with graphc.Session(threads=1, backend=backend) as session:
        for wrong in (5, 2**63 - 1, 2**63, 2**64 - 1):
            # the kernel knows only that it is too large for int64
            shown = wrong if backend == "reference" or wrong < 2**63 - 1 else "9223372036854775807 or more"
            refused(
                IndexOutOfRangeError, lambda wrong=wrong: session.run(rows, {k: np.array([0, wrong], "uint64")}),
                f"take: index {shown} is out of range for an axis of size 4",
            )  # fmt: skip


def test_scatter_out_of_range(session: graphc.Session) -> None:
    x, k = placeholder(3, name="x"), placeholder(3, dtype="int32", name="k")
    gradient = graphc.gradients((graphc.take(x, k, axis=0) * 2).sum(), x)
    np.testing.assert_array_equal(session.run(gradient, {x: zeros(3), k: np.array([0, 0, -1], np.int32)}), [4, 0, 2])
    refused(IndexOutOfRangeError, lambda: session.run(gradient, {x: zeros(3), k: np.array([0, 3, 1], np.int32)}), "3")


def test_two_assigns_to_one_variable(session: graphc.Session) -> None:
    v = graphc.variable(0.0, name="v")
    both = [graphc.assign(v, v + 1), graphc.assign(v, v * 2)]
    refused(GraphError, lambda: session.run(both), "variable 'v' is assigned twice in one step")
    assert session.get(v) == 0


def test_assign_to_what_is_no_variable() -> None:
    x = placeholder(3)
    refused(GraphError, lambda: graphc.assign(x, x), "assign: expected a variable")
    v = graphc.variable(np.zeros(3, np.float32), name="v")
    refused(ShapeError, lambda: graphc.assign(v, placeholder(4)), "v has shape (3,)", "(4,)")
    refused(DTypeError, lambda: graphc.assign(v, placeholder(3, dtype="float64")), "float32", "float64")


def test_a_closed_session() -> None:
    v = graphc.variable(np.ones(3, np.float32), name="v")
    session = graphc.Session(threads=2)
    program = graphc.compile([], v * 2, session=session)
    session.run(graphc.assign(v, v * 3))
    session.close()
    refused(SessionError, lambda: session.run(v), "closed")
    refused(SessionError, program, "closed")
    refused(SessionError, lambda: graphc.compile([], v, session=session), "closed")
    np.testing.assert_array_equal(session.get(v), [3, 3, 3])
    session.close()


def test_sessions_that_make_no_sense() -> None:
    refused(SessionError, lambda: graphc.Session(device="tpu"), "tpu")
    for threads in (0, -1, 1.5, "2", True, [2]):
        refused(SessionError, lambda count=threads: graphc.Session(threads=count), "threads, at least 1", repr(threads))
    for threads in (1025, 2**40, 2**70, np.int64(100_000)):
        refused(SessionError, lambda count=threads: graphc.Session(threads=count), "at most 1024", "processors")
    refused(SessionError, lambda: graphc.Session(backend="magic"), "magic")
    refused(SessionError, lambda: graphc.Session(seed="x"), "integer seed")  # type: ignore[arg-type]


def test_two_variables_of_one_name(session: graphc.Session) -> None:
    a, b = graphc.variable(1.0, name="w"), graphc.variable(2.0, name="w")
    refused(SessionError, lambda: session.run(a + b), "two variables are named 'w'", "test_bad_input.py")


HOSTILE = [
    "a\"b'c", "two\nlines", "'''", "{x}", "\\", "%s", "__import__('os').abort()", "ünïcode", "x" * 500, "#", "\0",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(session: graphc.Session, name: str) -> None:
    x = graphc.placeholder(name, ("n",))
    v = graphc.variable(np.ones(1, np.float32), name=name)
    value, _ = session.run([x * 2 + v, graphc.assign(v, v + 1)], {x: [1.0, 2.0]})
    np.testing.assert_array_equal(value, [3, 5])
    refused(FeedError, lambda: session.run(x * 2 + v, {}))
    str(graphc.Graph((x,), (x * 2,)))
    assert "digraph" in graphc.draw(x * 2).dot


def test_check_numerics_names_the_op_and_the_line() -> None:
    v = graphc.variable(np.array([1.0, -1.0], np.float32), name="v")
    with graphc.Session(threads=1, check_numerics=True) as session:
        update = graphc.assign(v, graphc.log(v))
        message = refused(ExecutionError, lambda: session.run(update), "check_numerics: log made nan at (1,)")
        assert "update = graphc.assign" in message
        np.testing.assert_array_equal(session.get(v), [1, -1])
        assert session.steps == 0


# -- interrupted and killed steps ---------------------------------------------------------------------------------


def endless(session: graphc.Session) -> tuple[graphc.Tensor, list[graphc.Tensor]]:
    """A variable, and a step of many seconds that writes it."""
    v = graphc.variable(np.ones((64, 64), np.float32), name="v")

    def body(carry: graphc.Tensor, _: Any) -> tuple[graphc.Tensor, None]:
        return graphc.tanh(carry @ carry), None

    last, _ = graphc.scan(body, v, length=10_000_000)
    return v, [graphc.assign(v, last)]


def test_ctrl_c_ends_a_step_and_changes_nothing(session: graphc.Session) -> None:
    v, step = endless(session)
    before = session.get(v)
    session.prepare(step)  # an interrupt amid compiling may hit a callback of Python's, which would swallow it
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    started = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        session.run(step)
    timer.join()
    assert time.perf_counter() - started < 20
    np.testing.assert_array_equal(session.get(v), before)
    assert session.steps == 0
    assert session.run(v.sum()) == 64 * 64  # the session still works


KILLED = """
import numpy as np, graphc, os, signal, threading
v = graphc.variable(np.ones((64, 64), np.float32), name="v")
last, _ = graphc.scan(lambda c, _: (graphc.tanh(c @ c), None), v, length=10_000_000)
with graphc.Session(threads=2) as session:
    session.run(v.sum())
    print("ready", flush=True)
    session.run(graphc.assign(v, last))
"""


def test_a_killed_step_leaves_a_usable_cache() -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    child.kill()
    child.wait(30)
    child.stdout.close()
    x = placeholder(2)
    with graphc.Session(threads=1) as session:
        np.testing.assert_array_equal(session.run(x + 1, {x: [1.0, 2.0]}), [2, 3])


def test_an_index_out_of_range_is_the_callers_though_its_constant_is_known_from_another_line() -> None:
    x = placeholder(2, 3)
    other = graphc.constant(np.array([3]))  # equal whole numbers are one node, of both lines
    refused(IndexOutOfRangeError, lambda: graphc.gather_nd(x, [[1, 3]]), "gather_nd: index 3 is out of range")
    assert other.shape == (1,)
