"""The way into a step: what the compiled gate takes, what it refuses, and that the short way is no different one."""

from __future__ import annotations

import gc
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import graphc
from graphc import optim
from graphc.errors import FeedError, GraphError, SessionError
from graphc.runtime import entry
from graphc.runtime.entry import Feed
from graphc.runtime.layout import FINISHED, MISFIT
from graphc.runtime.memory import aligned_words
from graphc.runtime.table import Cell, Table
from graphc.runtime.workers import Workers

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


@pytest.fixture
def gate():
    """A gate for a (3, 2) and a (4,) array, the words that they go to, and what keeps the workers."""
    words = aligned_words(4)
    feeds = [Feed(FLOAT, (3, 2), [(Cell(words, 0), 8)]), Feed(INT, (4,), [(Cell(words, 1), 0), (Cell(words, 3), -16)])]
    with Workers(1) as workers:
        yield workers.entry(Table([]), feeds), words


def test_addresses_go_into_all_cells_with_their_offsets(gate):
    enter, words = gate
    for _ in range(3):
        a, b = np.zeros((3, 2), FLOAT), np.zeros(4, INT)
        assert enter(a, b) == FINISHED
        assert words.tolist() == [a.ctypes.data + 8, b.ctypes.data, 0, b.ctypes.data - 16]


def test_what_a_builtin_points_to_outlives_the_cache(gate):
    """Threads that start at once make a definition each, of which the cache keeps one."""
    enter, _ = gate
    definition = weakref.ref(entry._interpreter().definition)
    entry._interpreter.cache_clear()
    entry._interpreter()
    gc.collect()
    assert definition() is not None
    assert enter(np.zeros((3, 2), FLOAT), np.zeros(4, INT)) == FINISHED


class Mine(np.ndarray):
    pass


def unaligned(count, dtype):
    return np.zeros(count * dtype.itemsize + 1, np.uint8)[1:].view(dtype)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (np.zeros((3, 2), FLOAT),),
        (np.zeros((3, 2), FLOAT), np.zeros(4, INT), np.zeros(4, INT)),
        (np.zeros((3, 2), FLOAT), None),
        (np.zeros((3, 2), FLOAT), 4),
        (np.zeros((3, 2), FLOAT), [0, 0, 0, 0]),
        (np.zeros((3, 2), FLOAT), np.int64(4)),
        (np.zeros((3, 2), FLOAT), np.zeros(4, np.uint64)),
        (np.zeros((3, 2), FLOAT), np.zeros(4, ">i8")),
        (np.zeros((3, 2), FLOAT), np.zeros(5, INT)),
        (np.zeros((3, 2), FLOAT), np.zeros((), INT)),
        (np.zeros((3, 2), FLOAT), np.zeros((4, 1), INT)),
        (np.zeros((3, 2), FLOAT), np.zeros(8, INT)[::2]),
        (np.zeros((3, 2), FLOAT), unaligned(4, INT)),
        (np.zeros((3, 2), FLOAT), np.zeros(4, INT).view(Mine)),
        (np.zeros((2, 3), FLOAT), np.zeros(4, INT)),
        (np.zeros((2, 3), FLOAT).T, np.zeros(4, INT)),
        (np.zeros((3, 2), np.float64), np.zeros(4, INT)),
        (np.ma.zeros((3, 2), FLOAT), np.zeros(4, INT)),
    ],
    ids=lambda arguments: "-".join(f"{type(a).__name__}{getattr(a, 'shape', '')}" for a in arguments) or "nothing",
)
def test_what_does_not_fit_is_refused_and_nothing_done(gate, arguments):
    enter, words = gate
    words[:] = 7
    assert enter(*arguments) == MISFIT
    assert words.tolist() == [7, 7, 7, 7]


def test_keywords_are_refused(gate):
    with pytest.raises(TypeError):
        gate[0](a=1)


@pytest.fixture
def doubled():
    x, y = graphc.placeholder("x", ("n", 2), "float32"), graphc.placeholder("y", ("n",), "int64")
    with graphc.Session(threads=1) as session:
        yield session, x, y, [(2.0 * x).sum(axis=1), y + 1]


def test_every_form_of_a_feed_gives_the_same_after_the_first_step(doubled):
    session, x, y, fetches = doubled
    rows, labels = np.arange(6, dtype=FLOAT).reshape(3, 2), np.arange(3)
    expected = [[2.0, 10.0, 18.0], [1, 2, 3]]
    longs = labels.view(np.longlong)  # an equal dtype, another object
    forms = [(rows, labels), (rows.tolist(), [0, 1, 2]), (np.asfortranarray(rows), labels), (rows, longs)]
    forms += [
        (rows.view(Mine), labels),
        (rows.astype(np.float16), labels.astype(np.int8)),
        (rows, np.arange(6)[::2] // 2),
    ]
    for a, b in forms + forms[::-1]:
        for feeds in ({x: a, y: b}, {y: b, x: a}, OrderedDict([(y, b), (x, a)])):
            assert [value.tolist() for value in session.run(fetches, feeds)] == expected
    assert len(session.programs) == 1


def test_sizes_may_change_at_every_step(doubled):
    session, x, y, fetches = doubled
    for n in [4, 3, 4, 3, 0, 4, 1]:
        sums, labels = session.run(fetches, {x: np.ones((n, 2), FLOAT), y: np.arange(n)})
        assert sums.tolist() == [4.0] * n and labels.tolist() == list(range(1, n + 1))


def test_an_array_that_changed_in_place_is_looked_at_again(doubled):
    session, x, y, fetches = doubled
    rows, labels = np.ones((4, 2), FLOAT), np.arange(4)
    feeds = {x: rows, y: labels}
    session.run(fetches, feeds)
    rows.resize((500, 2), refcheck=False)
    with pytest.raises(FeedError, match="two sizes"):
        session.run(fetches, feeds)
    labels.resize(500, refcheck=False)
    sums, plus = session.run(fetches, feeds)
    assert sums.tolist() == [4.0] * 4 + [0.0] * 496 and plus.tolist() == [1, 2, 3, 4] + [1] * 496
    rows.shape = (1000,)
    with pytest.raises(FeedError, match="expected shape"):
        session.run(fetches, feeds)


def test_a_list_of_fetches_may_change(doubled):
    session, x, y, fetches = doubled
    feeds = {x: np.ones((2, 2), FLOAT), y: np.arange(2)}
    fetched = list(fetches)
    assert [value.tolist() for value in session.run(fetched, feeds)] == [[4.0, 4.0], [1, 2]]
    fetched.reverse()
    assert [value.tolist() for value in session.run(fetched, feeds)] == [[1, 2], [4.0, 4.0]]
    fetched.append("no tensor")
    with pytest.raises(GraphError):
        session.run(fetched, feeds)


def test_wrong_feeds_are_told_after_a_right_step_too(doubled):
    session, x, y, fetches = doubled
    feeds = {x: np.ones((2, 2), FLOAT), y: np.arange(2)}
    session.run(fetches, feeds)
    with pytest.raises(FeedError, match="expected a mapping"):
        session.run(fetches, [x, y])
    with pytest.raises(FeedError, match="missing"):
        session.run(fetches, {x: feeds[x]})
    with pytest.raises(FeedError, match="expected placeholders"):
        session.run(fetches, {**feeds, "z": 1})
    with pytest.raises(FeedError, match="dtype object"):
        session.run(fetches, {x: None, y: feeds[y]})
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run(fetches, feeds)


def test_nests_of_fetches_come_back_alike():
    variable = graphc.variable(np.zeros(2, FLOAT))
    total = variable.sum()
    with graphc.Session(threads=1) as session:
        train = optim.SGD(0.5).minimize(total)
        for _ in range(3):
            for fetches in (
                total,
                (total, train),
                [train, total],
                [train],
                train,
                (total,),
                {"a": total, "b": [train]},
            ):
                before = float(session.run(total))
                found = session.run(fetches)
                value = np.float32(before)
                match fetches:
                    case dict():
                        expected = {"a": value, "b": [None]}
                    case list() | tuple() if fetches is not train:
                        expected = type(fetches)(None if part is train else value for part in fetches)
                    case _:
                        expected = None if fetches is train else value
                assert found == expected and type(found) in (type(expected), np.ndarray)


def test_what_a_step_gave_stays_as_it_was():
    x = graphc.placeholder("x", ("n",), "float32")
    with graphc.Session(threads=1) as session:
        first = session.run([x + 1.0, x.sum()], {x: np.zeros(3, FLOAT)})
        session.run([x + 1.0, x.sum()], {x: np.ones(3, FLOAT)})
        assert first[0].tolist() == [1.0, 1.0, 1.0] and first[1] == 0.0
        first[0][:] = 5.0


def test_a_named_tuple_of_fetches_keeps_its_names():
    matrix = graphc.placeholder("matrix", (2, 2), "float64")
    with graphc.Session(backend="reference") as session:
        sign, magnitude = session.run(graphc.linalg.slogdet(matrix), {matrix: [[0.0, 2.0], [1.0, 0.0]]})
        found = session.run({"of": graphc.linalg.slogdet(matrix)}, {matrix: [[0.0, 2.0], [1.0, 0.0]]})["of"]
    assert (found.sign, found.logabsdet) == (sign, magnitude) == (-1, np.log(2))
