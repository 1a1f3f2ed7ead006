"""Gathers, scatters, segments and ``x.at`` against NumPy: values on one and two workers, derivatives, wrong input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.errors import DTypeError, GraphcError, GraphError, IndexOutOfRangeError, ShapeError

rng = np.random.default_rng(11)
MERGES: dict[str, Any] = {"set": None, "add": np.add, "max": np.maximum, "min": np.minimum}
ROWS, COLUMNS = np.array([2, 2]), np.array([[1, 0], [3, 1]])


def changed(x: np.ndarray, key: Any, values: Any, name: str) -> np.ndarray:
    """``x`` with ``x[key]`` changed, by NumPy."""
    result = x.copy()
    if name == "set":
        result[key] = values
    else:
        MERGES[name].at(result, key, np.broadcast_to(values, x[key].shape))
    return result


def compare(outputs: Sequence[graphc.Tensor], feeds: dict[Any, Any], expected: Sequence[Any]) -> None:
    """Run all outputs as one program, with one worker and with two."""
    for threads in (1, 2):
        with graphc.Session(threads=threads) as session:
            for k, (got, want) in enumerate(zip(session.run(list(outputs), feeds), expected, strict=True)):
                assert got.dtype == outputs[k].dtype
                np.testing.assert_array_equal(got, want, err_msg=f"output {k}", strict=True)


# -- x.at ---------------------------------------------------------------------------------------------------------

KEYS: list[Any] = [
    0, -1, slice(1, 3), slice(0, 0), (slice(None), slice(None, None, -2)), (..., 2), (2, 3, 4), (None, 2, 3), ...,
    COLUMNS, (ROWS, [0, 4]), (slice(None), ROWS), (ROWS, slice(1, 3), [0, 5]), (slice(None), ROWS, slice(2, None)),
    (slice(None), ROWS, [1, 3]), (1, slice(None), ROWS), (slice(1, 3), None, ROWS), (..., ROWS, slice(None)),
    (np.array(1), slice(None), np.array([[0], [-1]])),
]  # fmt: skip


def merged(keys: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each key to set, and to do one other thing with."""
    others = list(MERGES)[1:]
    return [(key, name) for place, key in enumerate(keys) for name in ("set", others[place % 3])]


def test_at_selects_what_numpy_s_index_does() -> None:
    array = rng.normal(size=(4, 5, 6)).astype("float32")
    x = graphc.placeholder("x", array.shape, "float32")
    cases = [(key, name, rng.normal(size=array[key].shape).astype("float32")) for key, name in merged(KEYS)]
    outputs = [getattr(x.at[key], name)(values) for key, name, values in cases]
    compare(outputs, {x: array}, [changed(array, key, values, name) for key, name, values in cases])


def test_at_with_named_dims_and_fed_indices() -> None:
    array = rng.normal(size=(4, 5, 6)).astype("float32")
    x, i = graphc.placeholder("x", ("n", 5, "m"), "float32"), graphc.placeholder("i", (2,), "int32")
    keys: list[Callable[[Any], Any]] = [
        lambda r: 0, lambda r: slice(1, None), lambda r: (..., -2), lambda r: r, lambda r: (r, [0, 4]),
        lambda r: (slice(None), r), lambda r: (r, slice(1, 3), [0, 5]), lambda r: (1, slice(None), r),
        lambda r: (slice(None, None, 2), slice(None), slice(-2, None)),
    ]  # fmt: skip
    outputs = [getattr(x.at[key(i)], name)(0.5) for key, name in merged(keys)]
    expected = [changed(array, key(ROWS), np.float32(0.5), name) for key, name in merged(keys)]
    compare(outputs, {x: array, i: ROWS}, expected)


def test_at_keeps_the_dtype_and_other_elements_bit_by_bit() -> None:
    array = np.array([-0.0, np.nan, 3.0, 4.0], "float32")
    bits = np.array([True, False, True])
    x, b = graphc.constant(array), graphc.constant(bits)
    of_bools = [b.at[[0, 1]].set([False, True]), b.at[1].max(True), b.at[[0, 1]].min(False)]
    with graphc.Session(threads=1) as session:
        (got, scalar), flipped = session.run([[x.at[2:].add(1), x[3].at[...].set(7)], of_bools])
    np.testing.assert_array_equal(got, [-0.0, np.nan, 4.0, 5.0])
    assert np.signbit(got[0])
    assert scalar == 7
    assert [value.tolist() for value in flipped] == [[False, True, True], [True, True, True], [False, False, True]]


# -- functions ----------------------------------------------------------------------------------------------------


def segments(data: Any, ids: Any, count: int, combine: Any, empty: Any) -> np.ndarray:
    rows = [data[ids == k] for k in range(count)]
    return np.stack([combine(part, 0) if len(part) else np.full(data.shape[ids.ndim :], empty) for part in rows])


def test_functions_are_numpy_s() -> None:
    array, numbers = rng.normal(size=(4, 5)), rng.integers(-9, 9, (4, 5)).astype("int16")
    updates, ids = rng.normal(size=(6, 2)), np.array([3, 0, 3, 1, 0, 0])
    bits = rng.random(6) < 0.5
    x, i, u = (graphc.placeholder(name, shape, dtype) for name, shape, dtype in
               (("x", (4, "c"), "float64"), ("i", (2, 3), "int64"), ("u", ("e", 2), "float64")))  # fmt: skip
    s = graphc.placeholder("s", ("e",), "uint8")
    places = np.array([[0, 3, 3], [1, -1, 0]])
    along = np.array([[1, -1], [0, 0], [2, 3], [4, 0]])
    pairs = np.stack([ids, ids[::-1]], 1)
    put = array.copy()
    np.put_along_axis(put, along, 7.0, 1)
    table: list[tuple[Any, Any]] = [
        (graphc.scatter_add(x, (i[0], i[1]), 1.5), changed(array, tuple(places), 1.5, "add")),
        (graphc.scatter_max(x, i, 0.25, axis=1), changed(array, (slice(None), places), 0.25, "max")),
        (graphc.scatter_min(numbers, i[0], np.int16(-3)), changed(numbers, places[0], -3, "min")),
        (graphc.scatter_set(x, i[0], [[1.0], [2.0], [3.0]]), changed(array, places[0], [[1.0], [2.0], [3.0]], "set")),
        (graphc.scatter_max(bits, [0, 1], True), changed(bits, [0, 1], True, "set")),
        (graphc.gather_nd(x, graphc.permute_dims(i)), array[tuple(places)]),
        (graphc.gather_nd(x, [[0], [-1]]), array[[0, -1]]),
        (graphc.gather_nd(array, [[[0, 1], [3, -1]]]), array[[[0, 3]], [[1, -1]]]),
        (graphc.put_along_axis(x, along, 7.0, axis=1), put),
        (graphc.put_along_axis(array, np.ones((1, 5), int), -1.0, axis=0), changed(array, 1, -1.0, "set")),
        (graphc.segment_sum(u, s, 5), segments(updates, ids, 5, np.sum, 0)),
        (graphc.segment_mean(u, s, 5), segments(updates, ids, 5, np.mean, 0)),
        (graphc.segment_max(u, s, 5), segments(updates, ids, 5, np.max, -np.inf)),
        (graphc.segment_min(u, s, "c"), segments(updates, ids, 5, np.min, np.inf)),
        (graphc.segment_sum(updates, pairs, 4), segments(updates, pairs, 4, np.sum, 0)),
        (graphc.segment_max(numbers, [0, 0, 2, 0], 3), segments(numbers, np.array([0, 0, 2, 0]), 3, np.max, -32768)),
        (graphc.segment_sum(bits, ids, 5), segments(bits, ids, 5, np.sum, 0)),
        (graphc.segment_max(bits, ids, 5), segments(bits, ids, 5, np.max, False)),
        (graphc.bincount(s, length=6), np.bincount(ids, minlength=6)),
        (np.bincount(s, u[:, 0], 4), np.bincount(ids, updates[:, 0], 4)),
        (graphc.bincount(3, length=5), [0, 0, 0, 1, 0]),
        (graphc.segment_sum(np.zeros((0, 3)), np.zeros(0, int), 2), np.zeros((2, 3))),
        (graphc.scatter_set(array, np.zeros(0, int), np.zeros((0, 5))), array),
    ]
    for threads in (1, 2):
        with graphc.Session(threads=threads) as session:
            for k, got in enumerate(session.run([t for t, _ in table], {x: array, i: places, u: updates, s: ids})):
                np.testing.assert_allclose(got, table[k][1], rtol=1e-12, err_msg=f"row {k}")


def test_the_last_of_equal_indices_wins_for_any_number_of_workers() -> None:
    x = graphc.placeholder("x", ("n", 3), "float32")
    i, u = graphc.placeholder("i", ("k",), "int64"), graphc.placeholder("u", ("k", 3), "float32")
    set_, largest = graphc.scatter_set(x, i, u), graphc.scatter_max(x, i, u)
    (slope,) = graphc.gradients((set_ * set_).sum(), [u])
    places, updates = rng.integers(0, 500, 20_000), rng.normal(size=(20_000, 3)).astype("float32")
    array = rng.normal(size=(600, 3)).astype("float32")
    put = changed(array, places, updates, "set")
    last = np.full(600, -1)
    last[places] = np.arange(20_000)
    won = last[places] == np.arange(20_000)
    expected = [put, changed(array, places, updates, "max"), np.where(won[:, None], 2 * put[places], 0)]
    compare([set_, largest, slope], {x: array, i: places, u: updates}, expected)


# -- derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, u: graphc.scatter_set(x, [1, 0, 1, 3], u * u), ((4, 2), (4, 2))),
        (lambda x, u: graphc.scatter_set(x, ([1, 1, 0], [0, 0, 1]), u * u, axis=1) * x, ((2, 3, 4), (2, 3))),
        (lambda x, u: graphc.scatter_max(x, [1, 0, 1], graphc.exp(u), axis=1), ((2, 3), (2, 3))),
        (lambda x, u: graphc.scatter_min(x * x, ([0, 1, 0], [2, 2, 2]), u) * u.sum(), ((2, 3), (3,))),
        (lambda x, u: graphc.put_along_axis(x, [[0, 0], [2, 1]], u * x[:, :2], axis=1), ((2, 3), (2, 2))),
        (lambda x, u: x.at[1:, ::2].set(u * u) * x, ((3, 4), (2, 2))),
        (lambda x, u: x.at[0].max(u) * x.at[..., 1].add(u[0]), ((2, 3), (3,))),
        (lambda x, u: x.at[:, [1, 0, 1]].set(u * u) * x, ((2, 3), (2, 3))),
        (lambda x, u: graphc.segment_sum(x * u, [1, 0, 1], 3) ** 2, ((3, 2), (2,))),
        (lambda x, u: graphc.segment_mean(x * x, [1, 0, 1], 3) * u, ((3, 2), (2,))),
        (lambda x, u: graphc.segment_max(x * x, [2, 0, 2], 3)[graphc.constant([0, 2])] * u, ((3, 2), (2,))),
        (lambda x, u: graphc.gather_nd(x * x, [[0, 1], [1, 1], [0, 1]]) * u, ((2, 3), (3,))),
    ],
)
def test_derivatives(function: Any, shapes: Any) -> None:
    report = graphc.check_gradients(function, [rng.normal(size=shape) for shape in shapes])
    assert report.first < 1e-6 and report.second < 1e-5


def test_what_ties_shares_the_derivative_and_nan_takes_it() -> None:
    x, u = graphc.placeholder("x", (3,), "float64"), graphc.placeholder("u", (4,), "float64")
    largest = graphc.scatter_max(x, [0, 0, 1, 2], u)
    slopes = graphc.gradients(largest.sum(), [x, u])
    of_segments = graphc.gradients(graphc.segment_min(u, [0, 0, 1, 2], 5)[:3].sum(), u)
    with graphc.Session(threads=1) as session:
        values = session.run([*slopes, of_segments], {x: [2.0, 1.0, 0.0], u: [2.0, 2.0, 0.0, np.nan]})
    np.testing.assert_allclose(values[0], [1 / 3, 1, 0])
    np.testing.assert_allclose(values[1], [1 / 3, 1 / 3, 0, 1])
    np.testing.assert_allclose(values[2], [0.5, 0.5, 1, 1])


# -- wrong input --------------------------------------------------------------------------------------------------


def x_of(*shape: Any, dtype: str = "float32") -> Any:
    return graphc.placeholder("x", shape, dtype)


WRONG: list[tuple[type[GraphcError], Callable[[], Any], str]] = [
    (DTypeError, lambda: graphc.scatter_add(x_of(3), [0.5], 1),
     "scatter_add: expected integer indices, got float32[1]"),
    (DTypeError, lambda: graphc.scatter_set(x_of(3), np.array([True]), 1), "scatter_set: expected integer indices"),
    (IndexOutOfRangeError, lambda: graphc.scatter_max(x_of(3), [0, 3], 1),
     "scatter_max: index 3 is out of range for an axis of size 3"),
    (IndexOutOfRangeError, lambda: x_of(3, 2).at[:, [0, -3]].set(1), "index -3 is out of range for an axis of size 2"),
    (IndexOutOfRangeError, lambda: x_of(3).at[3].set(1),
     "x[...]: index 3 is out of range for an axis of size 3 of (3,)"),
    (ShapeError, lambda: graphc.scatter_set(x_of(3, 2), [0, 1], np.zeros((2, 3))),
     "scatter_set: expected updates that broadcast to (2, 2), got (2, 3)"),
    (ShapeError, lambda: graphc.scatter_set(x_of("n"), [0, 1], np.zeros(3)), "broadcast to (2,), got (3,)"),
    (ShapeError, lambda: graphc.scatter_min(x_of(3), ([0], [0]), 1),
     "scatter_min: 2 index tensors do not fit (3,) from axis 0 on"),
    (ShapeError, lambda: graphc.scatter_add(x_of(3), [0], 1, axis=1), "scatter_add: axis 1 is out of range for rank 1"),
    (ShapeError, lambda: x_of(3, 2).at[0].set(np.zeros(3)),
     "x.at[...].set: expected values that broadcast to (2,), got (3,)"),
    (ShapeError, lambda: x_of(3).at[0, 0].add(1), "x[...]: 2 indices for the 1 axes of (3,)"),
    (GraphError, lambda: x_of(3).at[x_of(3) > 0].set(0),
     "x[...]: a mask cannot index (3,): the shape of the result would depend on data"),
    (ShapeError, lambda: graphc.put_along_axis(x_of(3, 2), [0], 1),
     "put_along_axis: expected indices of rank 2, got (1,)"),
    (ShapeError, lambda: graphc.put_along_axis(x_of(3, 2), [[0], [1]], 1),
     "put_along_axis: expected indices that broadcast to (3, 1), got (2, 1)"),
    (ShapeError, lambda: graphc.gather_nd(x_of(3), [[0, 0]]),
     "gather_nd: expected indices of (3,) with a last axis of at least 1 and at most 1 coordinates, got (1, 2)"),
    (IndexOutOfRangeError, lambda: graphc.gather_nd(x_of(3, 2), [[0, 2]]),
     "index 2 is out of range for an axis of size 2"),
    (ShapeError, lambda: graphc.segment_sum(x_of(3), [0, 1], 2),
     "segment_sum: expected segment ids of the shape of the first axes of the data (3,), got (2,)"),
    (ShapeError, lambda: graphc.segment_max(x_of(2), [0, 1], -1),
     "segment_max: num_segments: expected sizes of at least 0, got -1"),
    (IndexOutOfRangeError, lambda: graphc.segment_mean(x_of(2), [0, -1], 4),
     "segment_mean: index -1 is out of range for an axis of size 4"),
    (DTypeError, lambda: graphc.segment_min(x_of(2), [0.0, 1.0], 4),
     "segment_min: expected integer indices, got float32[2]"),
    (DTypeError, lambda: graphc.scatter_add(x_of(2, dtype="bool"), [0], True),
     "scatter_add: expected numbers, got bool[2]"),
    (GraphError, lambda: np.bincount(x_of(2, dtype="int64")), "bincount: expected length="),
    (ShapeError, lambda: graphc.bincount([0, 1], [1.0], length=2),
     "bincount: expected weights of shape (2,), got (1,)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "call", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_input(kind: type[GraphcError], call: Callable[[], Any], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in caught.value.message
    assert "test_scatter.py" in str(caught.value)


@pytest.mark.parametrize(("name", "index", "function"), [
    ("scatter_set", 4, lambda x, i: graphc.scatter_set(x, i, 1.0)),
    ("scatter_max or take", -5, lambda x, i: x.at[i].max(1.0)),
    ("scatter_add or take", 4, lambda x, i: x.at[:, i].add(1.0)),
    ("segment_sum", -1, lambda x, i: graphc.segment_sum(x[:1], i, 4)),
    ("segment_max", 4, lambda x, i: graphc.segment_max(x[:1], i, 4)),
    ("bincount", -1, lambda x, i: graphc.bincount(i, length=4)),
])  # fmt: skip
def test_a_fed_index_out_of_range_changes_nothing(name: str, index: int, function: Any) -> None:
    kept = graphc.variable(np.ones((4, 4), np.float32), name="kept")
    i = graphc.placeholder("i", (1,), "int64")
    step = graphc.assign(kept, kept + graphc.take(kept, [0], axis=0) + function(kept, i))
    with graphc.Session(threads=2) as session:
        with pytest.raises(IndexOutOfRangeError) as caught:
            session.run(step, {i: [index]})
        np.testing.assert_array_equal(session.get(kept), np.ones((4, 4)))
    wanted = f"{name}: index {index} is out of range for an axis of size 4; no variable was changed"
    assert caught.value.message == wanted
    assert "declared at test_scatter.py" in str(caught.value)


def test_a_check_for_segments_is_not_taken_for_one_that_counts_from_the_end() -> None:
    """A gather that accepts -1 comes first; the segment sum that refuses it must still stop the step."""
    kept = graphc.variable(np.ones(3, np.float32), name="kept")
    i, x = graphc.placeholder("i", (2,), "int64"), graphc.placeholder("x", (3,), "float32")
    gathered = graphc.take(x, i)
    step = graphc.assign(kept, kept + gathered.sum())
    with graphc.Session(threads=1) as session:
        with pytest.raises(IndexOutOfRangeError, match="index -1 is out of range"):
            session.run([step, graphc.segment_sum(gathered, i, 3)], {i: [0, -1], x: [1.0, 2.0, 3.0]})
        np.testing.assert_array_equal(session.get(kept), np.ones(3))


def test_constant_numbers_of_as_many_segments_as_a_named_dim():
    """Before: a KeyError, for the number of segments was asked for while constants were folded."""
    rows, other = graphc.placeholder("rows", (2, 3)), graphc.placeholder("other", ("k",))
    sums = graphc.segment_sum(rows, [0, 1], "k") + other[:, None]
    feeds = {rows: np.ones((2, 3), np.float32), other: np.zeros(3, np.float32)}
    with graphc.Session() as session:
        np.testing.assert_array_equal(session.run(sums, feeds), [[1, 1, 1], [1, 1, 1], [0, 0, 0]])
        with pytest.raises(graphc.errors.IndexOutOfRangeError, match="index 1 is out of range for an axis of size 1"):
            session.run(sums, feeds | {other: np.zeros(1, np.float32)})
