"""Tensors that have values: conversions, the namespace, errors, memory, threads."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import eager, ops
from graphc.errors import DTypeError, GradientError, GraphcError, GraphError, IndexOutOfRangeError, ShapeError
from graphc.ir import node as nodes

A = np.arange(12.0).reshape(3, 4)


def test_values():
    x = eager.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert (x.dtype, x.shape, x.ndim, x.size, len(x)) == (np.float32, (2, 2), 2, 4, 2)
    assert repr(x) == "tensor([[1., 2.],\n        [3., 4.]], float32)"
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and x.tolist() == [[1, 2], [3, 4]]
    assert float(x[0, 1]) == 2 and int(x[1, 0]) == 3 and x[1, 1].item() == 4 and bool(x[0, 0] == 1)
    assert f"{x.sum():.2f}" == "10.00" and [10, 20, 30][eager.asarray(1)] == 20
    for array in (np.asarray(x), x.numpy(), np.array(x, dtype="float64")):
        np.testing.assert_array_equal(array, [[1, 2], [3, 4]])
    assert np.asarray(x) is x.value and not x.value.flags.writeable and x.numpy().flags.writeable
    assert hash(x) != hash(eager.asarray([[1.0, 2.0], [3.0, 4.0]])) and (x == None) is False  # noqa: E711
    assert eager.asarray(True).dtype == bool and eager.asarray([1]).dtype == np.int64
    assert eager.asarray(np.float64(1)).dtype == np.float64 and eager.asarray(x) is x
    assert eager.asarray([x[0, 0], 2.0]).tolist() == [1, 2] and eager.asarray(x, "int64").dtype == np.int64


def test_copies_and_pickles():
    x = eager.asarray(A) * 2
    assert copy.copy(x) is x and copy.deepcopy([x])[0] is x
    again = pickle.loads(pickle.dumps(x))
    assert type(again) is eager.EagerTensor and not again.node.inputs
    np.testing.assert_array_equal(np.asarray(again), 2 * A)


def test_what_a_tensor_was_made_of_may_change():
    array = A.copy()
    x = eager.asarray(array)
    y = x + array
    array[:] = 7
    np.testing.assert_array_equal(np.asarray(x), A)
    np.testing.assert_array_equal(np.asarray(y), 2 * A)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: bool(x), GraphError, r"truth value: expected a tensor of one element, got float64\[3, 4\]"),
        (lambda x: float(x), GraphError, "float(): expected a tensor of one element"),
        (lambda x: [1, 2][x[0, 0]], GraphError, "index: expected an integer scalar, got float64[]"),
        (lambda x: len(x[0, 0]), GraphError, "len(): expected a tensor with axes, got float64[]"),
        (lambda x: list(x[0, 0]), GraphError, "iteration: expected a tensor with axes"),
        (lambda x: x[np.ones((3, 3), bool)], ShapeError, "x[...]: a mask of shape (3, 3) on axes of sizes (3, 4)"),
        (lambda x: graphc.take(x, eager.asarray([3]), axis=0), IndexOutOfRangeError, ""),
        (lambda x: graphc.take(x, eager.asarray([1]) + 2, axis=0), IndexOutOfRangeError, ""),
        (lambda x: x + graphc.placeholder("p", (4,)), GraphError, "add: the placeholder p has no value, so eager"),
        (lambda x: graphc.scan(lambda c, r: (c, r), graphc.placeholder("p"), x), GraphError, "scan: the placeholder"),
        (lambda x: graphc.Session(threads=1).run(x), GraphError, "fetches: constant_"),
        (lambda x: graphc.compile([], x + 1), GraphError, "compile: add_"),
        (lambda x: eager.asarray(np.ones(2), copy=False), GraphError, "asarray: copy=False"),
        (lambda x: eager.asarray("text"), DTypeError, ""),
        (lambda x: eager.asarray(np.ones(2, complex)), DTypeError, ""),
        (lambda x: eager.placeholder("x", (2,)), GraphError, "the placeholder x has no value"),
        (lambda x: graphc.broadcast_to(x[0, 0], ("n",)), GraphError, "broadcast_to: the result has the type"),
        (lambda x: x * graphc.size_of(graphc.placeholder("p", ("n",))), GraphError, "multiply: the named dim 'n'"),
        (lambda x: eager.random.normal(("n",)), GraphError, "broadcast_to: the result has the type float32[n]"),
        (lambda x: eager.ones((10**6,) * 4), ShapeError, "ones: the result float32[1000000, 1000000, "),
        (lambda x: eager.exp(eager.ones((10**12,))), GraphcError, "exp: the value of exp: float32[1000000000000]"),
        (lambda x: graphc.explain_gradient(x.sum(), x), GraphError, "explain_gradient: expected a tensor of a graph"),
        (lambda x: eager.using(None).__enter__(), GraphError, "eager.using: expected a session"),
        (lambda x: eager.value(1.0), GraphError, "expected a tensor, got 1.0"),
        (lambda x: np.asarray(graphc.placeholder("p", (2,))), GraphError, "np.asarray of a tensor of type float32[2]"),
    ],
)  # fmt: skip
def test_wrong_uses(call, kind, message):
    with pytest.raises(kind) as caught:
        call(eager.asarray(A))
    assert str(caught.value).startswith(message.replace("\\", "")), caught.value


ERRORS = [
    lambda x: x @ x, lambda x: x + x[:, :3], lambda x: x.reshape(5, -1), lambda x: x.sum(axis=2), lambda x: x & x,
    lambda x: x[5], lambda x: x[0, 0, 0], lambda x: graphc.gradients(x, x), lambda x: graphc.gradients(x.sum(), x * 1),
    lambda x: graphc.gradients((x > 0).sum(), x), lambda x: graphc.concat([x, x[0]]), lambda x: np.spacing(x),
    lambda x: graphc.softmax_cross_entropy(x, x[0]), lambda x: graphc.add(x), lambda x: x.astype("complex64"),
    lambda x: graphc.gradients(graphc.stop_gradient(x).sum(), x), lambda x: graphc.custom_gradient(graphc.exp)(x),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(ERRORS)))
def test_errors_are_those_of_the_graph(place):
    """Same class and message; the names of nodes that the user did not name differ by their numbers."""
    found = []
    for x in (graphc.placeholder("x", A.shape, "float64"), eager.asarray(A)):
        with pytest.raises(GraphcError) as caught:
            ERRORS[place](x)
        message = caught.value.message.replace(x.label, "x")
        found.append((type(caught.value), "".join(letter for letter in message if not letter.isdigit())))
    assert found[0] == found[1]


def test_masks_and_indices():
    x = eager.asarray(A)
    for key in (
        A > 4, x > 4, (slice(None), np.array([True, False, True, False])), (A[:, 0] > 3, 1), [True, False, True],
        (..., np.array([False, True, True, False])), (None, A > 7), np.array([2, 0]), (0, eager.asarray([1, 1])), 1,
        (slice(1, None), slice(None, None, -1)), (A[:, 0] > 99,),
    ):  # fmt: skip
        plain = np.asarray(key) if isinstance(key, eager.EagerTensor) else key
        if isinstance(key, tuple):
            plain = tuple(np.asarray(part) if isinstance(part, eager.EagerTensor) else part for part in key)
        np.testing.assert_array_equal(np.asarray(x[key]), A[plain])
    np.testing.assert_array_equal(np.asarray(graphc.gradients((x[x > 4] ** 2).sum(), x)), np.where(A > 4, 2 * A, 0))


def test_one_function_in_both_namespaces():
    def model(x: Any) -> Any:
        xp = x.__array_namespace__()
        return xp.sum(xp.exp(x) * xp.ones(x.shape[1:], dtype=x.dtype)) / xp.mean(x)

    placeholder, x = graphc.placeholder("x", A.shape, "float64"), eager.asarray(A)
    assert placeholder.__array_namespace__() is ops and x.__array_namespace__() is eager
    with graphc.Session(threads=1, backend="reference") as session:
        assert float(model(x)) == session.run(model(placeholder), {placeholder: A})
    assert set(ops.__all__) <= set(eager.__all__) and all(hasattr(eager, name) for name in eager.__all__)
    with pytest.raises(AttributeError):
        _ = eager.no_such_function


def test_namespace_functions_are_eager_without_tensors():
    assert isinstance(eager.zeros((2,)), eager.EagerTensor) and eager.arange(3).tolist() == [0, 1, 2]
    first, second = eager.split(A, 2, axis=1)
    np.testing.assert_array_equal(np.asarray(first + second), A[:, :2] + A[:, 2:])
    total, parts = eager.scan(lambda carry, x: (carry + x, carry), 0.0, np.array([1.0, 2.0, 3.0], np.float32))
    assert float(total) == 6 and parts.tolist() == [0, 1, 3]


def test_bodies_capture_what_has_values():
    x, w = eager.asarray(A), eager.asarray(A.T @ A / 100)

    def loop(x: Any, w: Any) -> Any:
        step = lambda h, row: (graphc.tanh(h @ w + row) * x.sum(), h)  # noqa: E731
        last, history = graphc.scan(step, x[0], x)
        return (last * history).sum()

    inputs = [graphc.placeholder(name, t.shape, t.dtype) for name, t in (("x", x), ("w", w))]
    declared = loop(*inputs)
    with graphc.Session(threads=1, backend="reference") as session:
        wanted = session.run([declared, *graphc.gradients(declared, inputs)], dict(zip(inputs, (x, w), strict=True)))
    made = loop(x, w)
    for got, want in zip([made, *graphc.gradients(made, [x, w])], wanted, strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-12)
    scaled = graphc.custom_gradient(lambda t: t * graphc.stop_gradient(w).sum(), vjp=lambda i, o, g: (g[0] * 7,))
    np.testing.assert_array_equal(np.asarray(graphc.gradients(scaled(x).sum(), x)), 7)


def test_derivatives_have_derivatives():
    x = eager.asarray([0.3, -0.4], "float64")
    y, value = graphc.sin(x).sum(), np.asarray(x)
    for order in range(1, 5):
        y = graphc.gradients(y, x).sum()
        np.testing.assert_allclose(float(y), np.sin(value + order * np.pi / 2).sum(), rtol=1e-12)
    zeros = graphc.gradients(y, [eager.asarray(np.ones(3))], zeros_for_disconnected=True)
    assert isinstance(zeros[0], eager.EagerTensor) and zeros[0].tolist() == [0, 0, 0]
    with pytest.raises(GradientError, match="does not depend on"):
        graphc.gradients(y, eager.asarray(np.ones(3)))


def test_a_tape_goes_with_its_last_tensor():
    """Without the garbage collector: there is no cycle."""
    x = eager.asarray(A)
    gc.collect()
    gc.disable()
    try:
        y, parts = x, []
        for _ in range(20):
            y = graphc.tanh(y) * 2.0 + x
            parts += [weakref.ref(y), weakref.ref(y.node), weakref.ref(y.node.inputs[0].node)]
        slope = graphc.gradients(y.sum(), x)
        parts += [weakref.ref(slope), weakref.ref(slope.node)]
        assert all(part() is not None for part in parts[::3])
        del y, slope
        assert all(part() is None for part in parts)
    finally:
        gc.enable()


def test_nothing_is_left_of_what_was_computed():
    x = eager.asarray(A)

    def use(times: int) -> tuple[int, int]:
        for k in range(times):
            y = graphc.softmax(x * float(k) + np.full(4, k)) + graphc.random.normal((4,), dtype="float64")
            graphc.gradients(graphc.scan(lambda h, row: (h + row, None), y[0], y)[0].sum(), x)
        del y
        gc.collect()
        gc.collect()  # what the first one freed was a key that kept another value
        return len(nodes._interned), len(eager.tape.current()._entered)

    before = use(3)
    after = use(30)
    assert after[0] - before[0] < 5 and after[1] - before[1] < 5


def test_a_long_tape():
    x = eager.asarray(np.ones(2))
    y = x
    for _ in range(5000):
        y = y + x
    assert graphc.gradients(y.sum(), x).tolist() == [5001, 5001]
    del y


def test_equal_tensors_are_not_merged():
    """A derivative by one of two equal tensors is none by the other."""
    makers = [
        lambda: eager.asarray([1.0, 2.0]), lambda: eager.asarray(np.ones(2)), lambda: eager.ones((2,)),
        lambda: eager.zeros_like(eager.ones((2,))), lambda: graphc.ones_like(eager.asarray([3.0, 4.0])),
        lambda: np.zeros_like(eager.asarray([3.0, 4.0])), lambda: eager.cast(eager.arange(2), "float32"),
        lambda: graphc.gradients(eager.asarray(1.0), [eager.ones((2,))], zeros_for_disconnected=True)[0],
    ]  # fmt: skip
    for make in makers:
        a, b = make(), make()
        assert a is not b
        np.testing.assert_array_equal(np.asarray(graphc.gradients((2 * a + 3 * b).sum(), a)), [2, 2])
    x = eager.asarray(A)
    assert graphc.exp(x) is not graphc.exp(x) and graphc.exp(x).node is not graphc.exp(x).node


def test_a_result_that_nobody_held_comes_back():
    x = eager.asarray(A)
    last, _ = graphc.scan(lambda total, row: (total + row, total * 2), x[0], x)
    assert last.node.results[0] is last and last.node.op.name == "scan_loop"
    np.testing.assert_array_equal(np.asarray(last.node.results[1]), 2 * (A[0] + np.vstack([0 * A[0], A.cumsum(0)[:2]])))
    np.testing.assert_array_equal(np.asarray(graphc.gradients(last.sum(), x)), [[2] * 4, [1] * 4, [1] * 4])


def test_threads():
    """Tensors and the session are shared; each thread finds what it finds alone."""
    x = eager.asarray(A)
    with graphc.Session(threads=1, backend="reference") as session, eager.using(session):
        w = eager.variable(A[:, :1].T, name="w")
        noise = graphc.random.normal((3,), dtype="float64")
        alone = [np.asarray(graphc.gradients(graphc.tanh(x @ A.T @ w.T * k).sum(), w)) for k in range(4)]
        found: dict[int, Any] = {}
        draws: dict[int, Any] = {}

        def work(k: int) -> None:
            with eager.using(session):
                for _ in range(10):
                    found[k] = np.asarray(graphc.gradients(graphc.tanh(x @ A.T @ w.T * k).sum(), w))
                draws[k] = np.asarray(noise + x[:, 0])

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for k in range(4):
            np.testing.assert_array_equal(found[k], alone[k])
            np.testing.assert_array_equal(draws[k], draws[0])


def test_a_tape_can_be_drawn(tmp_path):
    x = eager.asarray(A)
    loss = graphc.tanh(x).sum()
    path = tmp_path / "tape.dot"
    assert "tanh" in str(graphc.Graph((), (loss,)))
    graphc.draw(loss, path=str(path))


def test_a_branch_that_is_not_taken_is_not_computed():
    singular, b = eager.asarray(np.zeros((2, 2))), eager.asarray(np.array([1.0, 2.0]))
    for condition, first, second in (
        (singular.sum() > 0, lambda: graphc.linalg.inv(singular) @ b, lambda: b * 2.0),
        (b.sum() > 0, lambda: eager.multiply(b, 2.0), lambda: graphc.linalg.inv(singular) @ b),
    ):
        made = graphc.cond(condition, first, second)
        np.testing.assert_array_equal(np.asarray(made), [2.0, 4.0])
        by_singular, by_b = graphc.gradients(made.sum(), [singular, b])
        np.testing.assert_array_equal(np.asarray(by_singular), np.zeros((2, 2)))
        np.testing.assert_array_equal(np.asarray(by_b), [2.0, 2.0])


def test_a_branch_reads_variables_draws_numbers_and_takes_derivatives():
    x = eager.asarray(np.float64(3.0))
    y, v, w = x * x * x, eager.variable(np.float64(2.0)), graphc.variable(np.float64(5.0))
    assert float(graphc.cond(x > 0, lambda: x * v * w, lambda: x)) == 30
    eager.assign(v, 4.0)
    assert float(graphc.cond(x > 0, lambda: x * v * w, lambda: x)) == 60
    slope = graphc.cond(x > 0, lambda: graphc.gradients(x * y, x), lambda: x)
    assert (float(slope), float(graphc.gradients(slope, x))) == (108, 108)
    taken = lambda: eager.random.uniform((3,), x, x + 1.0, "float64")  # noqa: E731
    drawn = np.asarray(graphc.cond(x > 0, taken, lambda: eager.zeros(3, "float64")))
    assert np.all((drawn >= 3) & (drawn < 4))


def test_counts_of_shifts_are_data():
    made = eager.bitwise_left_shift(eager.asarray([1, 2, 3]), eager.asarray([70, -1, 1]))
    np.testing.assert_array_equal(np.asarray(made), [0, 0, 6])


def test_all_distributions_are_drawn_at_once():
    assert eager.random.__all__ == graphc.random.__all__
    eager.seed(0)
    first, second = (eager.random.randint((50,), 0, 1000) for _ in range(2))
    assert isinstance(first, eager.EagerTensor) and not np.array_equal(first.numpy(), second.numpy())
    assert sorted(eager.random.permutation(5).tolist()) == [0, 1, 2, 3, 4]


def test_a_seed_that_happens_to_be_zero_is_differentiated_by():
    x, seed = eager.asarray(np.array([1.0, 2.0])), eager.asarray(np.float64(0.0))
    y = graphc.cond(x.sum() > 0, lambda: (x * x).sum(), lambda: x.sum())
    slope = graphc.gradients(y, x, seed=seed)
    assert float(graphc.gradients(slope.sum(), seed)) == 6
