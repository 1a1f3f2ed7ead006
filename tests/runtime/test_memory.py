"""Arenas and slots lie where they should, and requests that cannot be met are refused by name and number."""

from __future__ import annotations

import pytest

from graphc.errors import GraphcError
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


def test_too_large_requests_name_their_bytes():
    with pytest.raises(
        GraphcError, match=r"the arena of this program needs 1,125,899,906,842,624 bytes \(1024 TiB\)"
    ):
        memory.Arena(1 << 50)
