"""The call table: control flow, patches, copies, the commit and its checks, each with one and two workers.

Kernels here are Python functions behind C callbacks, so that they can log what they see.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphc.errors import GraphcError
from graphc.runtime.table import (
    Call,
    Cell,
    Commit,
    Copy,
    EndLoop,
    FillZero,
    Jump,
    JumpIfZero,
    Label,
    Loop,
    Patch,
    Table,
)
from graphc.runtime.workers import Workers

NOTHING = np.zeros(1, np.int64)
KERNEL = ctypes.CFUNCTYPE(
    None, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_int64), ctypes.c_int64, ctypes.c_int64
)


class Recorder:
    """Makes kernels that log the first words of their buffer table; worker 0 logs, everyone takes part."""

    def __init__(self):
        self.log = []
        self._alive = []

    def call(self, name, cells=NOTHING, words=0, everyone=True, act=None):
        def kernel(buffers, dims, worker, workers):
            if worker == 0:
                self.log.append((name, *(buffers[i] for i in range(words))))
                if act is not None:
                    act()

        self._alive.append(KERNEL(kernel))
        return Call(ctypes.cast(self._alive[-1], ctypes.c_void_p).value, cells, NOTHING, everyone)


@pytest.fixture(params=[1, 2])
def workers(request):
    with Workers(request.param) as made:
        yield made


@pytest.fixture
def recorder():
    return Recorder()


def test_runs_in_order_and_again(workers, recorder):
    table = Table([recorder.call(i, everyone=i % 3 != 0) for i in range(10)])
    for _ in range(3):
        recorder.log.clear()
        outcome = workers.run(table)
        assert outcome.failure is None and not outcome.committed
        assert recorder.log == [(i,) for i in range(10)]


def test_empty_table(workers):
    assert workers.run(Table([])).failure is None


@pytest.mark.parametrize("count", [0, -1, 1, 5])
def test_loop_counts(workers, recorder, count):
    cells = np.array([-1, count], np.int64)
    table = Table(
        [Loop(Cell(cells, 1), (), Cell(cells, 0)), recorder.call("body", cells, 1), EndLoop(), recorder.call("end")]
    )
    workers.run(table)
    assert recorder.log == [("body", t) for t in range(count)] + [("end",)]
    assert cells[0] == max(count, 0)


def test_patch_forms(workers, recorder):
    cells = np.zeros(4, np.int64)
    patches = [
        Patch(Cell(cells, 0), 1000, 8),
        Patch(Cell(cells, 1), 1000, 8, parity=True),
        Patch(Cell(cells, 2), 1000, 8, reverse=True),
        Patch(Cell(cells, 3), 1000, 8, parity=True, reverse=True),
    ]
    workers.run(Table([Loop(4, patches), recorder.call("body", cells, 4), EndLoop()]))
    assert recorder.log == [
        ("body", 1000, 1000, 1024, 1008),
        ("body", 1008, 1008, 1016, 1000),
        ("body", 1016, 1000, 1008, 1008),
        ("body", 1024, 1008, 1000, 1000),
    ]


def test_nested_loops_move_the_inner_base(workers, recorder):
    cells, stride = np.zeros(2, np.int64), np.array([10], np.int64)
    table = Table(
        [
            Loop(3, [Patch(Cell(cells, 0), 500, 100)]),
            Loop(2, [Patch(Cell(cells, 1), Cell(cells, 0), Cell(stride))]),
            recorder.call("body", cells, 2),
            EndLoop(),
            EndLoop(),
        ]
    )
    for step in (10, 7):  # a stride in a cell may change from step to step
        recorder.log.clear()
        stride[0] = step
        workers.run(table)
        assert recorder.log == [("body", 500 + 100 * i, 500 + 100 * i + step * j) for i in range(3) for j in range(2)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_carry_in_two_buffers(workers, count):
    """carry -> next carry by a copy into the other buffer; after the loop the read cell holds the final one."""
    buffers, history, final = np.array([7, -1], np.int64), np.zeros(3, np.int64), np.zeros(1, np.int64)
    read, write, out = (Cell(np.zeros(1, np.int64)) for _ in range(3))
    patches = [
        Patch(read, buffers.ctypes.data, 8, parity=True),
        Patch(write, buffers.ctypes.data + 8, -8, parity=True),
        Patch(out, history.ctypes.data, 8),
    ]
    table = Table(
        [
            Loop(Cell(np.array([count])), patches),
            Copy(write, read, 8),
            Copy(out, write, 8),
            EndLoop(),
            Copy(final.ctypes.data, read, 8),
        ]
    )
    workers.run(table)
    assert final[0] == 7
    assert list(history) == [7] * count + [0] * (3 - count)


def test_copy_and_fill(workers):
    a, b = np.arange(10, dtype=np.int64), np.full(10, 5, np.int64)
    size = Cell(np.array([24]))
    workers.run(Table([Copy(b.ctypes.data, a.ctypes.data, size), FillZero(b.ctypes.data + 32, 16)]))
    assert list(b) == [0, 1, 2, 5, 0, 0, 5, 5, 5, 5]


@pytest.mark.parametrize("dtype", [np.bool_, np.int64])
@pytest.mark.parametrize("truth", [0, 1])
def test_cond(workers, recorder, dtype, truth):
    flag = np.array([truth, 1 - truth], dtype)  # its neighbour must not be read
    table = Table(
        [
            JumpIfZero(flag.ctypes.data, "else", flag.itemsize),
            recorder.call("then"),
            Jump("end"),
            Label("else"),
            recorder.call("else"),
            Label("end"),
            recorder.call("after"),
        ]
    )
    workers.run(table)
    assert recorder.log == [("then" if truth else "else",), ("after",)]


def test_while_and_break_out_of_a_loop(workers, recorder):
    left = np.array([4], np.int64)

    def count_down():
        left[0] -= 1

    body = recorder.call("body", act=count_down)
    flag = JumpIfZero(left.ctypes.data, "end", 8)
    workers.run(Table([Label("again"), flag, body, Jump("again"), Label("end")]))
    assert len(recorder.log) == 4
    left[0] = 3
    workers.run(Table([Loop(1 << 60), flag, body, EndLoop(), Label("end"), recorder.call("after")]))
    assert recorder.log[4:] == [("body",)] * 3 + [("after",)]


def test_failure_stops_before_the_commit(workers, recorder):
    variable, counter = np.zeros(1, np.int64), Cell(np.zeros(1, np.int64))
    failing = True

    def fail():
        if failing:
            table.status[:] = 3, 14, 15, 92

    one = np.ones(1, np.int64)
    write = Copy(variable.ctypes.data, one.ctypes.data, 8)
    table = Table(
        [recorder.call("a"), recorder.call("b", act=fail), recorder.call("c"), Commit(), write], counter=counter
    )
    outcome = workers.run(table)
    assert outcome.failure == (3, 14, 15, 92) and not outcome.committed and not table.committed
    assert recorder.log == [("a",), ("b",)] and variable[0] == 0 and counter.value == 0
    failing = False
    outcome = workers.run(table)
    assert outcome.failure is None and outcome.committed and variable[0] == 1 and counter.value == 1


def test_counter_needs_a_commit(workers):
    counter = Cell(np.zeros(1, np.int64))
    workers.run(Table([], counter=counter))
    assert counter.value == 0


def test_tables_that_are_wrong():
    cell = Cell(np.zeros(1, np.int64))
    for entries, text in [
        ([Loop(1)], "does not end"),
        ([EndLoop()], "not begun"),
        ([Jump("x")], "unknown label"),
        ([Label("x"), Label("x")], "two labels"),
        ([Jump("x"), Loop(1), Label("x"), EndLoop()], "enters a loop"),
        ([Label("x"), Commit(), JumpIfZero(cell, "x")], "crosses the commit"),
        ([Commit(), Commit()], "commits once"),
        ([Loop(1), Commit(), EndLoop()], "commits once"),
        ([Label("x"), JumpIfZero(cell, "x", 4)], "1 or 8 bytes"),
        ([Call(1, np.zeros(1, np.int32), NOTHING)], "int64"),
    ]:
        with pytest.raises(GraphcError, match=text):
            Table(entries)
    with pytest.raises(GraphcError, match="word 3"):
        Cell(np.zeros(2, np.int64), 3)
    assert Table([Label("x")]).parallel is False
