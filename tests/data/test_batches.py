"""graphc.data.batches: coverage of every row, orders, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.data import batches
from graphc.errors import GraphcError, ShapeError


@given(rows=st.integers(0, 50), size=st.integers(1, 20), shuffle=st.booleans(), drop_last=st.booleans())
def test_a_pass_gives_every_row_once(rows, size, shuffle, drop_last):
    x = np.arange(rows)
    parts = batches(x, x * 10, size=size, shuffle=shuffle, drop_last=drop_last)
    seen = list(parts)
    assert len(seen) == len(parts)
    assert all(len(a) == size for a, _ in (seen if drop_last else seen[:-1]))
    rows_seen = np.concatenate([a for a, _ in seen]) if seen else np.array([], int)
    if not drop_last:
        assert sorted(rows_seen) == list(range(rows))
    assert len(set(rows_seen)) == len(rows_seen) == (rows // size * size if drop_last else rows)
    assert all((b == a * 10).all() for a, b in seen)


def test_every_pass_has_its_own_order_and_a_seed_repeats_them():
    x = np.arange(100)

    def passes(seed, count=3):
        parts = batches(x, size=32, shuffle=True, seed=seed)
        return [np.concatenate([a for (a,) in parts]).tolist() for _ in range(count)]

    first, again, other = passes(5), passes(5), passes(6)
    assert first == again
    assert first[0] != first[1] != first[2] and first[0] != other[0]


def test_epoch_continues_an_interrupted_run():
    parts = batches(np.arange(50), size=50, shuffle=True)
    whole = [next(iter(parts))[0].tolist() for _ in range(3)]
    resumed = batches(np.arange(50), size=50, shuffle=True)
    resumed.epoch = 2
    assert next(iter(resumed))[0].tolist() == whole[2]


def test_shuffled_batches_are_contiguous_copies_and_others_are_views():
    x = np.asfortranarray(np.arange(24.0).reshape(6, 4))
    for (part,) in batches(x, size=4, shuffle=True):
        assert part.flags.c_contiguous and not np.shares_memory(part, x)
    for (part,) in batches(x, size=4):
        assert np.shares_memory(part, x)


def test_lists_and_several_ranks():
    (a, b), (c, d) = batches([1, 2, 3], np.zeros((3, 2, 2), "float32"), size=2)
    assert a.tolist() == [1, 2] and b.shape == (2, 2, 2) and c.tolist() == [3] and d.dtype == np.float32


def test_arrays_of_different_length_are_named():
    with pytest.raises(ShapeError, match=r"array 0 of shape \(4, 2\) has 4 rows, array 2 of shape \(3,\) has 3"):
        batches(np.zeros((4, 2)), np.zeros(4), np.zeros(3), size=2)


@pytest.mark.parametrize("arrays", [(), (np.float32(3),), ([[1, 2], [3]],)])
def test_what_has_no_rows_is_refused(arrays):
    with pytest.raises(ShapeError, match="batches: "):
        batches(*arrays, size=2)


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True])
def test_a_bad_size_is_refused(size):
    with pytest.raises(GraphcError, match="size: expected a whole number of at least 1"):
        batches(np.zeros(3), size=size)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(GraphcError, match="seed: expected a whole number of at least 0"):
        batches(np.zeros(3), size=1, seed=seed)
