"""Arenas and slots lie where they should, and requests that cannot be met are refused by name and number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc
from graphc.errors import FeedError, GraphcError, OutOfMemoryError
from graphc.runtime import memory


@pytest.mark.parametrize("nbytes", [0, 1, 64, 1000, 1 << 21])
def test_alignment(nbytes):
    made = memory.aligned_bytes(nbytes)
    assert made.ctypes.data % memory.ALIGNMENT == 0 and made.shape == (nbytes,) and not made.any()


def test_arena_views():
    arena = memory.Arena(256)
    view = arena.view(64, (3, 4), "float32")
    view[:] = 1
    assert view.ctypes.data == arena.address + 64
    assert arena.view(64, (12,), "float32").sum() == 12 and not arena.bytes[:64].any()
    with pytest.raises(GraphcError, match="256"):
        arena.view(224, (3, 4), "float32")


def test_slots_are_aligned_neighbours_that_never_move():
    slots = memory.Slots()
    a, n, b = slots.add([("a", (3, 5), "float32"), ("n", (), "int64"), ("b", (0, 7), "float32")])
    assert (a.chunk, a.offset, b.offset, n.offset) == (0, 0, 64, 0)
    assert a.array.shape == (3, 5) and n.array.shape == () and b.array.shape == (0, 7)
    address = slots["a"].address
    (large,) = slots.add([("large", (memory.CHUNK_BYTES,), "float32")])
    assert large.chunk == 1 and slots["a"].address == address and address % memory.ALIGNMENT == 0
    assert list(slots) == ["a", "n", "b", "large"]
    with pytest.raises(GraphcError, match="'a' exists"):
        slots.add([("c", (), "float32"), ("a", (), "float32")])
    assert "c" not in slots


def test_large_slots_are_not_a_power_of_two_apart():
    slots = memory.Slots()
    made = slots.add((name, (memory.LARGE_SLOT,), "uint8") for name in "abcd")
    last = slots.add([("small", (3,), "uint8"), ("after", (3,), "uint8")])
    assert [slot.chunk for slot in made] == [0] * 4
    for slot, other in itertools.combinations(made, 2):
        beyond = (other.offset - slot.offset) % memory.LARGE_SLOT
        assert 16384 < beyond < memory.LARGE_SLOT - 16384 and beyond % 4096, (slot.name, other.name)
    assert last[1].offset - last[0].offset == memory.ALIGNMENT  # small ones are side by side
    assert not any(slot.array.any() for slot in made)


def test_what_is_available(tmp_path):
    assert memory.available_bytes(tmp_path) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/outer/inner\n")
    assert memory.available_bytes(tmp_path) == 500 * 1024
    inner = tmp_path / "sys/fs/cgroup/outer/inner"
    inner.mkdir(parents=True)
    for folder, limit in ((inner, "max"), (inner.parent, "4000")):
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text("1500\n")
        (folder / "memory.stat").write_text("anon 1000\ninactive_file 500\n")
    assert memory.available_bytes(tmp_path) == 3000
    (tmp_path / "proc/self/limits").write_text(
        "Limit              Soft Limit  Hard Limit  Units\nMax address space  12000       unlimited   bytes\n"
    )
    (tmp_path / "proc/self/status").write_text("Name: python\nVmSize:       10 kB\n")
    assert memory.available_bytes(tmp_path) == 12000 - 10 * 1024


def test_too_large_requests_name_their_bytes():
    message = r"the arena of this program needs 1,125,899,906,842,624 bytes \(1024 TiB\)"
    with pytest.raises(OutOfMemoryError, match=message):
        memory.Arena(1 << 50)


MILLION = 10**6
HUGE = np.broadcast_to(np.float32(1), (MILLION, MILLION))  # 4 bytes


def run(fetches, feeds=None, **options):
    with graphc.Session(threads=1, **options) as session:
        return session.run(fetches, feeds)


def test_a_product_too_large_for_memory_names_its_bytes_and_line():
    x = graphc.placeholder("x", (MILLION, 1))
    with pytest.raises(MemoryError) as caught:  # the built-in error, too
        run(x @ x.mT, {x: np.ones((MILLION, 1), np.float32)})
    text = str(caught.value)
    assert "needs 8,000,000,000,000 bytes (7.276 TiB)" in text  # the arena, and the copy that the caller gets
    assert "the largest tensor is contract: float32[1000000, 1000000], 4,000,000,000,000 bytes (3.638 TiB)" in text
    assert "declared at test_memory.py" in text and "are available" in text


def test_named_dims_that_make_a_step_too_large_are_named():
    x = graphc.placeholder("x", ("n",))
    y = graphc.sort(graphc.outer(x, x))
    with graphc.Session(threads=1) as session:
        assert session.run(y, {x: np.ones(3, np.float32)}).shape == (3, 3)
        with pytest.raises(OutOfMemoryError, match=r"for n = 1000000 needs 20,000,0\d\d,000,000 bytes"):
            session.run(y, {x: np.ones(MILLION, np.float32)})
        assert session.run(y, {x: np.ones(4, np.float32)}).shape == (4, 4)  # and goes on


@pytest.mark.parametrize("shape", [(MILLION, MILLION), ("n", "m"), (MILLION, "m")])
def test_a_feed_whose_copy_is_too_large(shape):
    x = graphc.placeholder("x", shape)
    message = r"feed 'x': a contiguous copy of float32.* needs 4,000,000,000,000 bytes"
    with pytest.raises(OutOfMemoryError, match=message):
        run(x.sum(), {x: HUGE})


def test_a_feed_that_does_not_fit_is_not_copied_to_find_that_out():
    x = graphc.placeholder("x", ("n", 3))
    with pytest.raises(FeedError, match=r"expected shape \(n, 3\), got \(1000000, 1000000\)"):
        run(x + 1, {x: HUGE})


def test_a_cast_counts_what_it_compares():
    x = graphc.placeholder("x", ("n", "m"))
    # float32 (4), cast back to float64 (8), and three truth values: 15 bytes an element
    with pytest.raises(OutOfMemoryError, match="needs 15,000,000,000,000 bytes"):
        run(x + 1, {x: np.broadcast_to(np.float64(1), (MILLION, MILLION))})


def test_variables_and_constants_too_large_for_memory():
    v = graphc.variable(lambda shape, dtype, generator: np.zeros(shape, dtype), shape=(MILLION, MILLION), name="v")
    with pytest.raises(
        OutOfMemoryError, match=r"needs 8,000,000,000,000 bytes .*; the largest is 'v': float32\[1000000, 1000000\]"
    ):
        run(v.sum())
    for declare in (graphc.variable, graphc.constant, lambda array: graphc.constant(np.float32(1)) + array):
        message = r"needs 4,000,000,000,000 bytes \(3.638 TiB\), which the system refuses"
        with pytest.raises(OutOfMemoryError, match=message):
            declare(HUGE)


def test_the_reference_backend_refuses_too():
    x = graphc.placeholder("x", ("n",))
    with pytest.raises(OutOfMemoryError, match="needs 4,000,000,000,000 bytes"):
        run(graphc.outer(x, x), {x: np.ones(MILLION, np.float32)}, backend="reference")


def test_a_tensor_of_more_bytes_than_addresses():
    x = graphc.placeholder("x", ("n", 1, 1))
    with pytest.raises(GraphcError, match="64-bit"):
        run(graphc.broadcast_to(x, ("n", 10**10, 10**10)).sum(), {x: np.ones((1, 1, 1), np.float32)})
