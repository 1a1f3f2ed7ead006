"""Loops over ``range`` are lowered by graphc: they count as Python's do."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphc import config
from graphc.codegen.cpu import jit

STEPS = (1, 2, 3, 7, 64, -1, -2, -5)

BOUNDS = [(0, 0), (0, 1), (0, 7), (3, 7), (7, 3), (-9, 5), (5, -9), (0, 64), (1, 65), (64, 0)]

HEAD = """\
from graphc.codegen.cpu.intrinsics import load, pointer_int64, store

def kernel(buffers, dims, worker, workers):
    start, stop = dims[0], dims[1]
    out = pointer_int64(buffers, 0)
"""

LOOP = """\
    for i in range({bounds}):
        store(out, {at}, load(out, {at}) + 1)
        store(out, {at} + 1, (load(out, {at} + 1) * 3 + i) & 0xFFFFFFFF)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path):
    before = config.current()
    config.configure(cache_dir=tmp_path / "kernels")
    yield
    config.configure(cache_dir=before.cache_dir)


def compiled(loops: list[str]):
    """A kernel of loops with these bounds; called, it tells of each how often it ran, and a digest of its values."""
    source = HEAD + "".join(LOOP.format(bounds=bounds, at=2 * at) for at, bounds in enumerate(loops))
    (address,) = jit.load([source])
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address)

    def run(*dims: int) -> list[tuple[int, int]]:
        out, sizes = np.zeros(2 * len(loops), np.int64), np.array([*dims, 0, 0], np.int64)
        table = np.array([out.ctypes.data], np.int64)
        call(table.ctypes.data, sizes.ctypes.data, 0, 1)
        return [(int(count), int(digest)) for count, digest in out.reshape(-1, 2)]

    return run


def expected(values: range) -> tuple[int, int]:
    digest = 0
    for value in values:
        digest = (digest * 3 + value) & 0xFFFFFFFF
    return len(values), digest


def test_bounds_known_when_the_kernel_runs():
    run = compiled([f"start, stop, {step}" for step in STEPS] + ["start, stop", "stop"])
    for start, stop in BOUNDS:
        ranges = [range(start, stop, step) for step in STEPS] + [range(start, stop), range(stop)]
        found = run(start, stop)
        assert found == [expected(values) for values in ranges], (start, stop)


def test_bounds_known_beforehand():
    loops = [(start, stop, step) for start, stop in BOUNDS for step in (1, 3, -2)]
    run = compiled([", ".join(map(str, loop)) for loop in loops])
    assert run() == [expected(range(*loop)) for loop in loops]


def test_the_variable_keeps_its_last_value_and_bounds_are_read_once():
    source = HEAD + (
        "    i = 77\n"
        "    for i in range(start, stop):\n"
        "        stop = 0\n"
        "        if i == 5:\n"
        "            break\n"
        "    store(out, 0, i)\n"
        "    store(out, 1, stop)\n"
    )
    (address,) = jit.load([source])
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address)
    found = []
    for bounds in ((2, 4), (2, 9), (4, 4)):
        out, sizes = np.zeros(2, np.int64), np.array(bounds, np.int64)
        table = np.array([out.ctypes.data], np.int64)
        call(table.ctypes.data, sizes.ctypes.data, 0, 1)
        found.append(out.tolist())
    assert found == [[3, 0], [5, 0], [77, 4]]
