"""Elementwise ops, reductions, contractions, orderings and composites against NumPy; derivatives by differences."""

import numpy as np
import pytest

from graphc import ops
from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ops.base import as_tensor
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.runtime.reference import evaluate

generator = np.random.default_rng(5)
A, B = generator.normal(size=(2, 3, 4)), generator.normal(size=(2, 3, 4))


def run(*tensors, feeds=None):
    graph = decompose(differentiate(Graph(tuple(feeds or ()), tensors)))
    results = evaluate(graph.outputs, feeds or {})
    for tensor, value in zip(tensors, results, strict=True):
        assert value.dtype == tensor.dtype
        if all(isinstance(size, int) for size in tensor.shape):
            assert value.shape == tensor.shape
    return results if len(results) > 1 else results[0]


def derivative_errors(function, *arrays):
    """Largest error of first and second derivatives along random directions, against central differences."""
    xs = [ops.placeholder(f"x{k}", a.shape, "float64") for k, a in enumerate(arrays)]
    y = function(*xs)
    weights = generator.normal(size=y.shape)
    total = ops.sum(ops.multiply(y, weights))
    first = ops.gradients(total, xs, zeros_for_disconnected=True)
    seeds = [generator.normal(size=a.shape) for a in arrays]
    parts = [ops.sum(ops.multiply(g, s)) for g, s in zip(first, seeds, strict=True)]
    along = sum(parts, start=ops.constant(0.0, "float64"))
    second = ops.gradients(along, xs, zeros_for_disconnected=True)
    steps = [generator.normal(size=a.shape) for a in arrays]

    def at(scale):
        return dict(zip(xs, [a + scale * s for a, s in zip(arrays, steps, strict=True)], strict=True))

    worst = []
    for value, slopes in ((total, first), (along, second)):
        h = 1e-5
        numeric = (run(value, feeds=at(h)) - run(value, feeds=at(-h))) / (2 * h)
        found = [run(g, feeds=at(0.0)) for g in slopes]
        exact = sum(float(np.sum(g * s)) for g, s in zip(found, steps, strict=True))
        worst.append(abs(numeric - exact) / max(1, abs(exact)))
    return worst


def check_derivatives(function, *arrays):
    assert max(derivative_errors(function, *map(np.asarray, arrays))) < 1e-6


ROWS = [
    (lambda x: ops.sum(x, axis=(0, 2)), lambda x: x.sum((0, 2))),
    (lambda x: ops.mean(x, axis=1, keepdims=True), lambda x: x.mean(1, keepdims=True)),
    (lambda x: ops.var(x, axis=-1, correction=1), lambda x: x.var(-1, ddof=1)),
    (lambda x: ops.std(x), lambda x: x.std()),
    (lambda x: ops.prod(x, axis=(0, 2)), lambda x: x.prod((0, 2))),
    (lambda x: ops.max(x, axis=1), lambda x: x.max(1)),
    (lambda x: ops.cumulative_sum(x, axis=1), lambda x: x.cumsum(1)),
    (lambda x: ops.softmax(x, axis=1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (lambda x: ops.log_softmax(x), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    (lambda x: ops.logsumexp(x, axis=(0, 1)), lambda x: np.log(np.exp(x).sum((0, 1)))),
    (lambda x: ops.norm(x, axis=1), lambda x: np.sqrt((x * x).sum(1))),
    (lambda x: ops.gelu(x, "tanh"), lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    (lambda x: ops.elu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1))),
    (lambda x: ops.silu(x), lambda x: x / (1 + np.exp(-x))),
    (lambda x: ops.leaky_relu(x), lambda x: np.where(x > 0, x, 0.01 * x)),
    (lambda x: ops.clip(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7)),
    (lambda x: ops.sort(x, axis=1), lambda x: np.sort(x, 1)),
    (lambda x: ops.sort(x, axis=0, descending=True), lambda x: np.sort(x, 0)[::-1]),
    (lambda x: ops.top_k(x, 2)[0], lambda x: np.sort(x, -1)[..., :-3:-1]),
    (lambda x: ops.stack([x, x * x], axis=-1), lambda x: np.stack([x, x * x], -1)),
    (lambda x: ops.split(x, [1, 3], axis=2)[1], lambda x: np.split(x, [1, 3], 2)[1]),
    (lambda x: ops.unstack(x, axis=1)[2], lambda x: x[:, 2]),
    (lambda x: ops.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1)),
    (lambda x: ops.softplus(x), lambda x: np.log1p(np.exp(x))),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(ROWS)))
def test_one_operand(place):
    function, expected = ROWS[place]
    np.testing.assert_allclose(run(function(ops.constant(A, "float64"))), expected(A), rtol=1e-12)
    check_derivatives(function, A)


SHAPES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
          ((5, 1, 2, 3), (6, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((0, 3), (3, 2)), ((3,), (5, 3, 2)),
          ((5, 2, 3), (1, 3, 4)), ((2, 0), (0, 3)), ((2, 1), (1, 3))]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_matmul_follows_numpy(left, right):
    a, b = generator.normal(size=left), generator.normal(size=right)
    found = run(ops.matmul(ops.constant(a), ops.constant(b)))
    np.testing.assert_allclose(found, a @ b, rtol=1e-12, atol=1e-12)
    check_derivatives(ops.matmul, a, b)


def test_other_products():
    a, b = generator.normal(size=(2, 3, 4)), generator.normal(size=(4, 3, 5))
    np.testing.assert_allclose(run(ops.tensordot(a, b, axes=([2, 1], [0, 1]))), np.tensordot(a, b, ([2, 1], [0, 1])))
    np.testing.assert_allclose(run(ops.einsum("abc,cbd->da", a, b)), np.einsum("abc,cbd->da", a, b))
    np.testing.assert_allclose(run(ops.einsum("abc,cfd->fd", a, b)), np.einsum("abc,cfd->fd", a, b))
    check_derivatives(lambda x, y: ops.einsum("abc,cfd->fd", x, y), a, b)
    np.testing.assert_allclose(run(ops.outer(a[0, 0], b[0, 0])), np.outer(a[0, 0], b[0, 0]))
    np.testing.assert_allclose(run(ops.vecdot(a, a)), (a * a).sum(-1))
    assert run(ops.matmul(np.array([[1, 2]], "int8"), np.array([[100], [100]], "int8"))).item() == 44  # wraps


def test_products_have_derivatives_at_zeros():
    for x in ([[2.0, 0.0, 3.0]], [[0.0, 0.0, 3.0]], [[0.0, 0.0, 0.0]]):
        check_derivatives(lambda t: ops.prod(t, axis=1), np.array(x))


def test_ties_share_the_derivative():
    x = ops.placeholder("x", (4,), "float64")
    feeds = {x: np.array([1.0, 3.0, 3.0, 2.0])}
    np.testing.assert_array_equal(run(ops.gradients(ops.max(x), x), feeds=feeds), [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(run(ops.gradients(ops.sum(ops.maximum(x, 3.0)), x), feeds=feeds), [0, 0.5, 0.5, 0])


def test_kinks():
    x = ops.placeholder("x", (3,), "float64")
    feeds = {x: np.array([-1.0, 0.0, 1.0])}
    np.testing.assert_array_equal(run(ops.gradients(ops.sum(ops.relu(x)), x), feeds=feeds), [0, 0, 1])
    np.testing.assert_array_equal(run(ops.gradients(ops.sum(ops.abs(x)), x), feeds=feeds), [-1, 0, 1])
    np.testing.assert_allclose(run(ops.gradients(ops.sum(ops.power(x, 0)), x), feeds=feeds), [0, 0, 0])
    np.testing.assert_allclose(run(ops.gradients(ops.norm(x * 0.0), x), feeds=feeds), [0, 0, 0])


def test_infinities_in_softmax_family():
    rows = np.array([[-np.inf, -np.inf], [0.0, -np.inf], [np.inf, 0.0], [np.nan, 0.0], [1e4, 1e4]])
    found = run(ops.logsumexp(ops.constant(rows), axis=1))
    np.testing.assert_allclose(found, [-np.inf, 0, np.inf, np.nan, 1e4 + np.log(2)])
    np.testing.assert_allclose(run(ops.softmax(ops.constant(rows[[1, 4]]))), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_classes_and_of_probabilities(smoothing):
    logits, classes = generator.normal(size=(4, 3)), np.array([2, 0, 1, 1])
    target = np.eye(3)[classes] * (1 - smoothing) + smoothing / 3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for labels in (classes, np.eye(3)[classes], np.eye(3, dtype="int64")[classes]):
        x = ops.placeholder("x", (4, 3), "float64")
        losses = ops.softmax_cross_entropy(x, ops.constant(labels), label_smoothing=smoothing)
        found, slope = run(losses, ops.gradients(ops.sum(losses), x), feeds={x: logits})
        np.testing.assert_allclose(found, -(target * np.log(p)).sum(1), rtol=1e-12)
        np.testing.assert_allclose(slope, p - target, atol=1e-12)
    check_derivatives(lambda z: ops.softmax_cross_entropy(z, classes, label_smoothing=smoothing), logits)


def test_binary_cross_entropy_is_stable():
    z, y = np.array([-800.0, -1.0, 0.0, 2.0, 800.0, 40.0]), np.array([0.0, 1.0, 1.0, 0.3, 1.0, 1.0])
    x = ops.placeholder("x", (6,), "float64")
    losses = ops.sigmoid_cross_entropy(x, y)
    found, slope = run(losses, ops.gradients(ops.sum(losses), x), feeds={x: z})
    s = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    plain = -y[1:4] * np.log(s[1:4]) - (1 - y[1:4]) * np.log(1 - s[1:4])
    np.testing.assert_allclose(found[1:4], plain)
    np.testing.assert_allclose(found[[0, 4, 5]], [0, 0, np.exp(-40.0)])
    np.testing.assert_allclose(slope, s - y, atol=1e-15)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64"])
def test_integers_are_numpys(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max, 0, 5, 7], dtype)
    y = np.array([info.max, info.max, 0, 2, 0], dtype)
    with np.errstate(all="ignore"):
        for name in ("add", "subtract", "multiply", "floor_divide", "remainder", "maximum"):
            np.testing.assert_array_equal(run(getattr(ops, name)(x, y)), getattr(np, name)(x, y), err_msg=name)
        np.testing.assert_array_equal(run(ops.power(x, y % 5)), np.power(x, y % 5))
        for name in ("negative", "abs", "sign", "square", "floor"):
            np.testing.assert_array_equal(run(getattr(ops, name)(x)), getattr(np, name)(x), err_msg=name)
    widened = np.int64 if info.min else np.uint64
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(ops.sum(x)), np.sum(x, dtype=widened))
    assert ops.divide(x, y).dtype == np.float32


def test_integer_powers():
    base, exponent = np.array([2, 1, -1, -1, 0, 5]), ops.placeholder("e", (6,), "int64")
    found = run(ops.power(base, exponent), feeds={exponent: np.array([-1, -2, -2, -3, -1, 2])})
    np.testing.assert_array_equal(found, [0, 1, 1, -1, 0, 25])
    for wrong in (-1, np.array([1, 2, 3, 4, 5, -6])):
        with pytest.raises(DTypeError, match="negative power"):
            ops.power(base, wrong)


def test_named_dims():
    x = ops.placeholder("x", ("batch", 3), "float64")
    a = generator.normal(size=(5, 3))
    y = ops.mean(x, axis=0)
    assert x.shape == ops.softmax(x).shape and isinstance(y, Tensor)
    np.testing.assert_allclose(run(y, feeds={x: a}), a.mean(0))
    loss = ops.mean(ops.softmax_cross_entropy(x, ops.zeros("batch", "int64")))
    found = run(ops.gradients(loss, x), feeds={x: a})
    p = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    np.testing.assert_allclose(found, (p - np.eye(3)[0]) / 5)
    np.testing.assert_allclose(run(ops.prod(x, axis=0), feeds={x: a}), a.prod(0))
    np.testing.assert_allclose(run(ops.full(("batch", 2), 7), x, feeds={x: a})[0], np.full((5, 2), 7))


def test_orderings_are_stable_with_nan_last():
    x = np.array([2.0, np.nan, -np.inf, 2.0, np.nan, np.inf, 0.0])
    assert run(ops.argsort(x)).tolist() == [2, 6, 0, 3, 5, 1, 4]
    assert run(ops.argsort(x, descending=True)).tolist() == [5, 0, 3, 6, 2, 1, 4]
    assert run(ops.argmax(x)).item() == 1 == run(ops.argmin(x)).item()
    assert run(ops.sort(np.array([True, False, True]))).tolist() == [False, True, True]
    assert run(ops.argmax(np.array([[False, True], [True, True]]), axis=1)).tolist() == [1, 0]
    lowest = np.array([0, -128, 127], "int8")
    assert run(ops.sort(lowest, descending=True)).tolist() == [127, 0, -128]


def test_empty_and_scalar():
    empty = np.zeros((0, 3))
    assert run(ops.sum(empty, axis=0)).tolist() == [0, 0, 0] and run(ops.prod(empty)).item() == 1
    assert run(ops.any(empty)).item() is False and run(ops.all(empty)).item() is True
    assert run(ops.max(2.5)).item() == 2.5 and run(ops.argmax(np.float64(1))).item() == 0
    assert run(ops.sort(np.zeros((2, 0)))).shape == (2, 0)
    assert run(ops.cumulative_sum(np.zeros(0))).shape == (0,)
    for function in (ops.max, ops.min, ops.argmax):
        with pytest.raises(ShapeError, match="at least one element"):
            function(empty, axis=0)


WRONG = [
    (lambda: ops.matmul(ops.placeholder("x", ("batch", 784)), ops.zeros((256, 10))), ShapeError,
     r"matmul: inner dimensions differ: \(batch, 784\) @ \(256, 10\)"),
    (lambda: ops.add(np.zeros(3), np.zeros(4)), ShapeError, "add: shapes"),
    (lambda: ops.add(np.zeros(3, bool), np.zeros(3, bool)), DTypeError, "add: expected numbers"),
    (lambda: ops.matmul(1.0, np.zeros(3)), ShapeError, "matmul"),
    (lambda: ops.softmax_cross_entropy(np.zeros((4, 3)), np.zeros(4)), DTypeError, "integer class numbers"),
    (lambda: ops.softmax_cross_entropy(np.zeros((4, 3)), np.zeros(3, int)), ShapeError, "labels"),
    (lambda: ops.mean_squared_error(np.zeros((4, 1)), np.zeros(4)), ShapeError, "one shape"),
    (lambda: ops.top_k(np.zeros(3), 4), ShapeError, "top_k"),
    (lambda: ops.sum(np.zeros(3), axis=1), ShapeError, "out of range"),
    (lambda: ops.squeeze(np.zeros((2, 1)), axis=0), ShapeError, "squeeze"),
    (lambda: ops.split(np.zeros(5), 2), ShapeError, "split"),
    (lambda: ops.cast(np.zeros(3), "complex64"), DTypeError, "complex64"),
    (lambda: ops.exp(), GraphcError, "operands"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(WRONG)))
def test_errors_name_the_op(place):
    call, kind, text = WRONG[place]
    with pytest.raises(kind, match=text):
        call()


@pytest.mark.parametrize("number", [0.0, -0.0, float("nan"), -float("nan"), float("inf")])
def test_a_number_keeps_its_sign(number):
    for made in (as_tensor(number), as_tensor(number, "float64")):
        assert np.signbit(made.node["value"]) == np.signbit(number)
