"""Views, indexing, sizes, random bits and loops: what each element is, against NumPy."""

import itertools

import numpy as np
import pytest

from graphc import ops, random
from graphc.errors import DTypeError, GraphError, IndexOutOfRangeError, ShapeError
from graphc.ir import Graph, verify
from graphc.ir.op import REGISTRY, Map, load_scalar
from graphc.ir.philox import philox_reference
from graphc.ir.scalar import Apply, Literal, Load, Position
from graphc.ir.symbolic import RUN_SIZES, Axis, Value, concrete, of_atom, substitute
from graphc.ops.control import evaluate_body
from graphc.ops.randomness import random_bits
from graphc.ops.sources import random_state
from graphc.passes.differentiate import differentiate
from graphc.passes.streams import number_streams

MODULES = ("views", "indexing", "sizes")
MAPS = [
    pytest.param(op, sample, id=f"{op.name}-{place}")
    for op in REGISTRY.values()
    if isinstance(op, Map) and type(op).__module__.rsplit(".", 1)[-1] in MODULES
    for place, sample in enumerate(op.samples)
]


def run(outputs, feeds, **sizes):
    """Values of tensors op by op, after numbering streams and differentiating."""
    token = RUN_SIZES.set(sizes)
    try:
        graph = differentiate(number_streams(Graph(tuple(feeds), tuple(outputs))))
        verify(graph, "test")
        return evaluate_body(graph, [np.asarray(value) for value in feeds.values()])
    finally:
        RUN_SIZES.reset(token)


def element(scalar, axes, arrays):
    """Evaluate a scalar expression at one position."""

    def number(size):
        return substitute(size, lambda atom: number_of(atom))

    def number_of(atom):
        if isinstance(atom, Value):
            return int(element(atom.payload, axes, arrays))
        return axes[atom] if isinstance(atom, Axis) else RUN_SIZES.get()[atom.name]

    if isinstance(scalar, Literal):
        return scalar.value
    if isinstance(scalar, Position):
        return np.int64(number(scalar.size))
    if isinstance(scalar, Load):
        place = tuple(number(size) for size in scalar.index)
        assert all(0 <= p < n for p, n in zip(place, arrays[scalar.tensor].shape, strict=True))
        return arrays[scalar.tensor][place]
    assert isinstance(scalar, Apply)
    values = [element(argument, axes, arrays) for argument in scalar.arguments]
    if scalar.function == "checked_index":
        return values[0] + values[1] * (values[0] < 0)
    if scalar.function == "cast":
        return values[0].astype(scalar.dtype)
    if scalar.function == "random_bits":
        return philox_reference(int(values[0]), scalar.static[0], int(values[1]), values[2])
    return getattr(np, scalar.function)(*values)


def elements(tensor, arrays):
    """All elements of a map's result by its scalar expression, on loop variables."""
    shape = concrete(tensor.shape)
    axes = [Axis(size) for size in tensor.shape]
    scalar = load_scalar(tensor.node)([of_atom(axis) if axis.extent != 1 else 0 for axis in axes])
    result = np.empty(shape, tensor.dtype)
    for place in itertools.product(*map(range, shape)):
        result[place] = element(scalar, dict(zip(axes, place, strict=True)), arrays)
    return result


@pytest.mark.parametrize(("op", "sample"), MAPS)
def test_a_map_and_its_elements_agree(op, sample):
    inputs = [ops.placeholder(f"x{k}", array.shape, array.dtype) for k, array in enumerate(sample.inputs)]
    tensor = op(*inputs, **sample.attributes)
    while not isinstance(tensor.node.op, Map) or tensor.node.op is not op:
        (tensor,) = tensor.node.inputs
    feeds = dict(zip(inputs, sample.inputs, strict=True))
    known = dict(zip(tensor.node.inputs, run(tensor.node.inputs, feeds), strict=True)) if inputs else {}
    (expected,) = run([tensor], feeds)
    np.testing.assert_array_equal(elements(tensor, known), expected)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("n", 6), ("n", 2, 3)),
        (("n", 2, 3), (-1, 3)),
        (("n", 2, 3), ("n", -1)),
        ((4, 6), (3, 8)),
        ((2, 1, 6), (12, 1)),
        (("n", "m"), (-1,)),
        ((0, 3), (5, 0)),
    ],
)
def test_reshape(before, after):
    sizes = {"n": 4, "m": 3}
    x = ops.placeholder("x", before)
    shape = tuple(sizes.get(size, size) for size in before)
    array = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    there = ops.reshape(x, after)
    expected = array.reshape([sizes.get(size, size) for size in after])
    token = RUN_SIZES.set(sizes)
    np.testing.assert_array_equal(elements(there, {x: array}), expected)
    back = ops.reshape(there, x.shape)
    index = [of_atom(Axis(size)) for size in x.shape]
    if 0 not in shape:  # a split and its merge cancel
        position = there.node.op.source(there.node, back.node.op.source(back.node, index))
        assert [p for p, n in zip(position, x.shape, strict=True) if n != 1] == [
            i for i, n in zip(index, x.shape, strict=True) if n != 1
        ]
    RUN_SIZES.reset(token)


KEYS = [
    np.s_[1:], np.s_[:-1], np.s_[::-1], np.s_[::2], np.s_[-3:], np.s_[:2, 1:3], np.s_[-3:-1], np.s_[3:1], np.s_[1:99:3],
    np.s_[-99:2], np.s_[::-2], np.s_[4:1:-1], np.s_[-2::-2], np.s_[..., 0], np.s_[None, ..., None], np.s_[-4::3],
    np.s_[0], np.s_[-1], np.s_[:, 2], np.s_[0, 3], np.array([[0, 1], [0, -1]]), np.s_[:, [0, 1, 1]],
    (np.array([0, 1]), np.array([2, 3])), np.s_[1:, np.array([0, 1]), ::2], np.s_[0, :, np.array([1, 0])],
    np.s_[:, 0, np.array([1, 0])], np.s_[np.array([1, 0]), :, np.array([1, 2])], np.s_[None, [1, 0], None, 2],
]  # fmt: skip


@pytest.mark.parametrize("first", [5, "n"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_subscripts_are_numpy_s(first, count):
    array = np.arange(count * 12, dtype="float64").reshape(count, 4, 3)
    x = ops.placeholder("x", (count if first == 5 else "n", 4, 3), "float64")
    for key in KEYS:
        try:
            expected = array[key]
        except IndexError:
            with pytest.raises(IndexOutOfRangeError):
                run([x[key]], {x: array}, n=count)
            continue
        (value,) = run([x[key]], {x: array}, n=count)
        np.testing.assert_array_equal(value, expected, err_msg=str(key))
        token = RUN_SIZES.set({"n": count})
        assert concrete(x[key].shape) == expected.shape, key
        RUN_SIZES.reset(token)


def test_neighbouring_slices_have_one_size():
    x = ops.placeholder("x", ("n", 3))
    assert (x[1:] - x[:-1]).shape == x[1:].shape


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (GraphError, np.array([True, False])),
        (GraphError, 1.5),
        (GraphError, "a"),
        (GraphError, slice(0, 3, 0)),
        (GraphError, slice(0.5)),
        (GraphError, (..., ...)),
        (ShapeError, (0, 0, 0)),
        (IndexOutOfRangeError, (slice(None), 4)),
        (IndexOutOfRangeError, (slice(None), [0, 4])),
    ],
)
def test_subscripts_that_fail(kind, key):
    with pytest.raises(kind):
        ops.placeholder("x", ("n", 4))[key]


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (IndexOutOfRangeError, lambda x: ops.take(x, [4], axis=1)),
        (DTypeError, lambda x: ops.take(x, [0.5], axis=1)),
        (ShapeError, lambda x: ops.reshape(x, (-1, 3))),
        (ShapeError, lambda x: ops.reshape(x, (-1, -1))),
        (ShapeError, lambda x: ops.concat([x, np.zeros((2, 3))])),
        (ShapeError, lambda x: ops.pad(x, ((0, -1), (0, 0)))),
        (ShapeError, lambda x: ops.permute_dims(x, (0, 0))),
        (ShapeError, lambda x: ops.broadcast_to(x, (3, 4))),
        (ShapeError, lambda x: ops.take_along_axis(np.zeros((2, 3)), np.zeros((3, 1), int), axis=1)),
        (DTypeError, lambda x: ops.one_hot(x, 3)),
        (GraphError, lambda x: ops.arange(0, 3, 0)),
        (GraphError, lambda x: np.subtract.reduce(x)),
        (GraphError, lambda x: np.add(x, x, where=False)),
        (DTypeError, lambda x: x & x),
    ],
)
def test_calls_that_fail(kind, call):
    with pytest.raises(kind):
        call(ops.placeholder("x", ("n", 4)))


@pytest.mark.parametrize("shape", [(0,), (3,), (0, 3), (3, 0), (0, 0), (0, 3, 0), (2, 0, 3)])
def test_indices_of_empty_axes_are_refused_where_numpy_refuses_them(shape):
    x, array = ops.placeholder("x", shape), np.zeros(shape)
    for indices, axis in itertools.product([(), (0,), (1,), (0, 2), (2, 2)], range(len(shape))):
        key = (slice(None),) * axis
        places = ops.placeholder("places", indices, "int64")
        try:
            expected = array[(*key, np.zeros(indices, "int64"))].shape
        except IndexError:
            for call in (lambda: ops.take(x, places, axis=axis), lambda: x[(*key, places)]):  # noqa: B023
                with pytest.raises(IndexOutOfRangeError, match="take: any index is out of range for an axis of size 0"):
                    call()
        else:
            assert ops.take(x, places, axis=axis).shape == x[(*key, places)].shape == expected


def test_two_indices_of_an_empty_axis():
    x, one, none = ops.placeholder("x", (0, 0)), *(ops.placeholder("k", (size,), "int64") for size in (1, 0))
    assert x[one, none].shape == x[none, one].shape == (0,)  # no place is meant by them
    with pytest.raises(IndexOutOfRangeError, match="axis of size 0"):
        x[one, one]


def test_sizes_and_positions():
    x = ops.placeholder("x", ("n", 4))
    outputs = [ops.size_of(x, 0), ops.size_of(x), ops.arange(x.shape[0]), ops.arange(5, 0, -2)]
    outputs += [ops.arange(0, 1, 0.25), ops.one_hot([0, 2, 3, -1], 3)]
    outputs += [ops.scatter_add(np.zeros(3), [0, 0, -1], 1.0)]
    expected = [3, 12, np.arange(3), np.arange(5, 0, -2), np.arange(0, 1, 0.25), np.eye(4, 3)[[0, 2, 3, 3]], [2, 0, 1]]
    for value, wanted in zip(run(outputs, {x: np.zeros((3, 4))}, n=3), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_numpy_s_protocols_build_graph():
    x = ops.placeholder("x", (3,))
    array = np.array([0.5, -1.0, 2.0], "float32")
    outputs = [np.tanh(x), np.add(array, x), array * x, 1 - x, ~(x > 0) | (x == 2), x.reshape(3, 1).T]
    expected = [np.tanh(array), array * 2, array * array, 1 - array, ~(array > 0) | (array == 2), array[None]]
    for value, wanted in zip(run(outputs, {x: array}), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert x.__array_namespace__().tanh is ops.tanh


def test_numpy_s_functions_build_graph_with_numpy_s_defaults():
    x = ops.placeholder("x", (4, 3))
    array = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    functions = [
        np.sum, np.mean, np.std, np.max, np.argmax, np.all, np.transpose, np.zeros_like, np.round, np.squeeze, np.flip,
        lambda a: np.sum(a, axis=1, keepdims=True), lambda a: np.where(a > 0, a, 0), lambda a: np.clip(a, 0, 1),
        lambda a: np.concatenate([a, array]), lambda a: np.stack([a, a], axis=1), lambda a: np.reshape(a, (-1,)),
        lambda a: np.einsum("ij,kj->ik", a, a), lambda a: np.tensordot(a, array.T, 1), lambda a: np.moveaxis(a, 0, 1),
        lambda a: np.broadcast_to(a, (2, 4, 3)), lambda a: np.expand_dims(a, 0),
    ]  # fmt: skip
    for value, function in zip(run([function(x) for function in functions], {x: array}), functions, strict=True):
        np.testing.assert_allclose(value, function(array), rtol=1e-6, err_msg=str(function))
    assert np.shape(x) == (4, 3) and np.ndim(x) == 2 and np.size(x) == 12
    with pytest.raises(GraphError, match=r"np.array_equal has no counterpart"):
        np.array_equal(x, array)


def test_random_bits_do_not_depend_on_how_they_are_computed():
    state = random_state.make()
    array = np.array([7, 3], "uint64")
    first, second = random_bits((2, 3)), random_bits((2, 3))
    graph = number_streams(Graph((state,), (first, second)))
    values = evaluate_body(graph, [array])
    assert not np.array_equal(*values)
    for tensor, value in zip(graph.outputs, values, strict=True):
        np.testing.assert_array_equal(elements(tensor, {state: array}), value)


def test_random_numbers():
    state = random_state.make()
    outputs = [random.uniform((1000,), -1, 3, dtype) for dtype in ("float32", "float64")]
    outputs += [random.normal((1000,), 2.0, 0.5, "float64"), random.bernoulli(0.25, (1000,))]
    narrow, wide, normal, chosen = run(outputs, {state: np.array([1, 0], "uint64")})
    for values in (narrow, wide):
        assert -1 <= values.min() < -0.9 and 2.9 < values.max() < 3 and abs(values.mean() - 1) < 0.15
    assert abs(normal.mean() - 2) < 0.08 and abs(normal.std() - 0.5) < 0.05
    assert abs(chosen.mean() - 0.25) < 0.05


def test_every_iteration_draws_its_own_numbers_and_the_derivative_sees_the_same():
    state, x = random_state.make(), ops.placeholder("x", (), "float64")

    def body(carry, _):
        inner = ops.scan(lambda c, _: (c, random.uniform((2,), dtype="float64")), 0.0, length=3)[1]
        factor = random.uniform(dtype="float64")
        return carry * factor, (inner, factor)

    last, (inner, factors) = ops.scan(body, x, length=4)
    feeds = {x: np.float64(2), state: np.array([1, 0], "uint64")}
    inner, factors, slope = run([inner, factors, ops.gradients(last, x)], feeds)
    assert len(np.unique(inner)) == inner.size == 24 and len(np.unique(factors)) == 4
    np.testing.assert_allclose(slope, np.prod(factors))


def slopes(function, array, step=1e-6):
    result = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        shift = np.zeros_like(array)
        shift[place] = step
        result[place] = (function(array + shift) - function(array - shift)) / (2 * step)
    return result


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_and_its_derivatives(reverse):
    h, w = ops.placeholder("h", (3,), "float64"), ops.placeholder("w", (3,), "float64")
    xs, counts = ops.placeholder("xs", ("n", 3), "float64"), ops.placeholder("counts", ("n",), "int64")

    def body(carry, slices):
        state, place = carry["h"], carry["place"]
        new = ops.tanh(state * w + slices[0]) * slices[1]
        return {"h": new, "place": place + 1}, (new * state, place)

    carry, (ys, places) = ops.scan(body, {"h": h, "place": 0}, (xs, counts), reverse=reverse)
    generator = np.random.default_rng(0)
    inputs = [h, w, xs]
    arrays = [generator.normal(size=shape) for shape in ((3,), (3,), (4, 3))]
    feeds = {**dict(zip(inputs, arrays, strict=True)), counts: np.array([1, 2, 1, 1])}
    loss = (carry["h"] * carry["h"]).sum() + (ys * ys).sum()
    first = ops.gradients(loss, inputs)
    square = sum((g * g).sum() for g in first)
    second = ops.gradients(square, inputs)
    order, *found = run([places, *first, *second], feeds, n=4)
    assert order.tolist() == [3, 2, 1, 0] if reverse else [0, 1, 2, 3]
    for of, derivatives in ((loss, found[:3]), (square, found[3:])):
        for tensor, array, derivative in zip(inputs, arrays, derivatives, strict=True):
            expected = slopes(lambda a, of=of, t=tensor: float(run([of], {**feeds, t: a}, n=4)[0]), array)
            np.testing.assert_allclose(derivative, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ShapeError, (lambda c, x: (c, c), 0.0)),
        (ShapeError, (lambda c, x: (c, x), 0.0, (np.zeros(3), np.zeros(4)))),
        (ShapeError, (lambda c, x: (c, x), 0.0, np.float32(1))),
        (GraphError, (lambda c, x: ((c, c), c), 0.0, None, 2)),
        (GraphError, (lambda c, x: (c.reshape(1), c), 0.0, None, 2)),
        (GraphError, (lambda c, x: ({"a": c["a"].astype("float64")}, None), {"a": 0.0}, None, 2)),
        (GraphError, (lambda c, x: c, 0.0, None, 2)),
        (GraphError, (lambda c, x: (ops.assign(ops.variable(1.0), c), None), 0.0, None, 2)),
    ],
)
def test_loops_that_fail(kind, arguments):
    with pytest.raises(kind, match="scan: "):
        ops.scan(*arguments)
