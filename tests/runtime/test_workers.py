"""Workers: barriers under random delays, parking, forks, interrupts, and the ends of processes.

Subprocess tests use libc's ``sched_yield`` as a kernel that does nothing: it is compiled code and ignores arguments.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from graphc.errors import SessionError
from graphc.runtime.table import Call, Cell, Commit, Copy, EndLoop, Loop, Table
from graphc.runtime.workers import Workers

NOTHING = np.zeros(1, np.int64)
IDLE = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
WORDS = numba.types.CPointer(numba.types.int64)


@numba.extending.intrinsic
def as_pointer(typingctx, number):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(WORDS))

    return WORDS(numba.types.int64), codegen


@numba.njit
def array_at(number, size):
    return numba.carray(as_pointer(number), size)


@numba.cfunc(numba.types.void(WORDS, WORDS, numba.types.int64, numba.types.int64))
def rotate(buffers, dims, worker, workers):
    """target[i] = 3 * source[(i + 7) % n] + number, after a delay that differs by worker."""
    n, number = dims[0], dims[1]
    source, target = array_at(buffers[0], n), array_at(buffers[1], n)
    state = number * 2654435761 + worker * 40503
    for _ in range(state % dims[2]):
        state = (state * 6364136223846793005 + 1442695040888963407) % 1000003
    begin, end = n * worker // workers, n * (worker + 1) // workers
    for i in range(begin, end):
        target[i] = 3 * source[(i + 7) % n] + number + (state == -1)


def rotations(steps: int, size: int, delay: int, everyone=lambda i: True):
    """A chain in which each kernel reads what other workers wrote, and its expected result."""
    data = np.zeros((2, size), np.int64)
    start = np.arange(size, dtype=np.int64)
    entries = [Copy(data[0].ctypes.data, start.ctypes.data, start.nbytes)]
    expected = start
    for i in range(steps):
        buffers = np.array([data[i % 2].ctypes.data, data[1 - i % 2].ctypes.data])
        entries.append(Call(rotate.address, buffers, np.array([size, i, delay]), everyone(i)))
        expected = 3 * np.roll(expected, -7) + i
    return Table(entries), (data, start), lambda: np.array_equal(data[steps % 2], expected)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_barriers_under_random_delays(count):
    table, _alive, right = rotations(200, 97, 3000, lambda i: i % 5 != 0)
    with Workers(count) as workers:
        for _ in range(20):
            workers.run(table)
            assert right()


def test_no_barrier_where_none_is_asked_for():
    """Worker 0 waits in the first kernel for worker 1 in the second: without overlap they never meet."""
    met = threading.Barrier(2, timeout=10)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    seen = []

    def first(buffers, dims, worker, workers):
        if worker == 0:
            met.wait()
            seen.append("first")

    def second(buffers, dims, worker, workers):
        if worker == 1:
            met.wait()
            seen.append("second")

    kept = [kernel(first), kernel(second)]
    addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in kept]
    with Workers(2) as workers:
        workers.run(Table([Call(a, NOTHING, NOTHING, True, False) for a in addresses]))
    assert sorted(seen) == ["first", "second"]


def test_wakes_after_idling():
    table, _alive, right = rotations(3, 50, 10)
    with Workers(3) as workers:
        for i in range(300):
            time.sleep((0, 1e-4, 4e-4, 1e-3)[i % 4])  # around the moment at which a follower falls asleep
            workers.run(table)
            assert right()


def test_threads_start_only_when_wanted():
    with Workers(2) as workers:
        before = threading.active_count()
        workers.run(Table([Call(IDLE, NOTHING, NOTHING, everyone=False)]))
        assert threading.active_count() == before
        workers.run(Table([Call(IDLE, NOTHING, NOTHING)]))
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [1, 2])
def test_resumes_across_slices(count):
    """A walk longer than two slices, in a loop; other Python threads go on meanwhile, and nothing is lost."""
    seen = Cell(np.zeros(1, np.int64))
    counter = np.zeros(2, np.int64)
    kernel = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

    def nap(buffers, dims, worker, workers):
        counter[worker] += 1
        time.sleep(0.005)

    kept = kernel(nap)
    call = Call(ctypes.cast(kept, ctypes.c_void_p).value, NOTHING, NOTHING)
    with Workers(count) as workers:
        workers.run(Table([Loop(50, (), seen), call, EndLoop(), call]))
    assert seen.value == 50 and list(counter[:count]) == [51] * count


def test_two_sets_of_workers_in_two_threads():
    wrong = []

    def steps():
        table, _alive, right = rotations(100, 64, 500)
        with Workers(2) as workers:
            for _ in range(50):
                workers.run(table)
                if not right():
                    wrong.append(1)

    threads = [threading.Thread(target=steps) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not wrong


def test_one_set_used_from_two_threads():
    results = []
    with Workers(2) as workers:

        def steps():
            table, _alive, right = rotations(20, 64, 100)
            for _ in range(50):
                workers.run(table)
                results.append(right())

        threads = [threading.Thread(target=steps) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(results) == 150 and all(results)


def test_close():
    workers = Workers(2)
    table = Table([Call(IDLE, NOTHING, NOTHING)])
    workers.run(table)
    workers.close()
    workers.close()
    with pytest.raises(SessionError, match="closed"):
        workers.run(table)
    with pytest.raises(SessionError, match="at least 1"):
        Workers(0)


@pytest.mark.parametrize("count", [1, 2])
def test_close_in_the_middle(count):
    workers = Workers(count)
    endless = Table([Loop(1 << 60), Call(IDLE, NOTHING, NOTHING), EndLoop(), Commit()])
    caught = []

    def step():
        try:
            workers.run(endless)
        except SessionError as error:
            caught.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    time.sleep(0.05)
    workers.close()
    thread.join(10)
    assert not thread.is_alive() and "written nothing" in str(caught[0]) and not endless.committed


def test_dropped_workers_end_their_threads():
    before = threading.active_count()
    workers = Workers(2)
    workers.run(Table([Call(IDLE, NOTHING, NOTHING)]))
    del workers
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


PRELUDE = """
import ctypes, os, signal, sys, threading, time
import numpy as np
from graphc.runtime.table import *
from graphc.runtime.workers import Workers
from graphc.errors import SessionError
IDLE = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
NOTHING = np.zeros(1, np.int64)
call = Call(IDLE, NOTHING, NOTHING)
alone = Call(IDLE, NOTHING, NOTHING, everyone=False)
Workers(1).run(Table([]))  # loads the walker, so that times below are those of steps
def interrupt_after(seconds, times=1):
    def send():
        for _ in range(times):
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=send, daemon=True).start()
"""


def python(script: str, **environment: str) -> str:
    """Output of a script in a process of its own, which must end well and soon."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + textwrap.dedent(script)],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


STEPS = """
table = Table([call] * 100)
with Workers(3) as workers:
    start = time.perf_counter()
    for i in range(30):
        workers.run(table)
        if i % 10 == 0:
            time.sleep(0.002)
    assert time.perf_counter() - start < 60  # a hang, not a measurement
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_one_processor():
    assert python("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + STEPS) == "done"


def test_processors_taken_away_later():
    script = """
    table = Table([call] * 20)
    workers = Workers(2)
    workers.run(table)
    one = {min(os.sched_getaffinity(0))}
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), one)
    for _ in range(50):
        workers.run(table)
    print("done")
    """
    assert python(script) == "done"


def test_a_warm_start_imports_no_compiler():
    assert python("print('numba' in sys.modules)") == "False"  # this module's other tests have filled the cache


def test_openmp_limit():
    assert python(STEPS, OMP_THREAD_LIMIT="1", OMP_NUM_THREADS="1") == "done"


@pytest.mark.parametrize("idle", [0, 0.05])
def test_exit_without_close(idle):
    """The followers spin or sleep when the interpreter ends."""
    script = f"""
    workers = Workers(3)
    table = Table([call] * 5)
    workers.run(table)
    kept = [workers, table]
    kept.append(kept)
    time.sleep({idle})
    print("done")
    """
    assert python(script) == "done"


def test_exit_during_a_step():
    script = """
    workers = Workers(2)
    endless = Table([Loop(1 << 60), call, EndLoop(), Commit()])
    def step():
        try:
            workers.run(endless)
        except SessionError:
            print("left")
    threading.Thread(target=step, daemon=True).start()
    time.sleep(0.05)
    """
    assert python(script) == "left"


def test_fork():
    """Parent and child go on, each with threads of its own; the fork happens while another thread holds the lock."""
    script = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    workers = Workers(3)
    table, long = Table([call] * 20), Table([Loop(4000), call, EndLoop()])
    workers.run(table)
    thread = threading.Thread(target=workers.run, args=(long,))
    thread.start()
    time.sleep(0.002)
    child = os.fork()
    for _ in range(20):
        workers.run(table)
    if child == 0:
        workers.close()
        os._exit(7)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    print("done")
    """
    assert python(script) == "done"


@pytest.mark.parametrize("count", [1, 2])
def test_interrupt_before_the_commit(count):
    script = f"""
    workers = Workers({count})
    one, variable, counter = np.ones(1, np.int64), np.zeros(1, np.int64), Cell(np.zeros(1, np.int64))
    times = Cell(np.array([1 << 60]))
    write = Copy(variable.ctypes.data, one.ctypes.data, 8)
    table = Table([Loop(times), call, EndLoop(), Commit(), write], counter=counter)
    interrupt_after(0.15)
    start = time.perf_counter()
    try:
        workers.run(table)
    except KeyboardInterrupt:
        assert time.perf_counter() - start < 1
        assert not table.committed and variable[0] == 0 and counter.value == 0
        times.array[0] = 3
        assert workers.run(table).committed and variable[0] == 1 and counter.value == 1
        print("interrupted")
    """
    assert python(script) == "interrupted"


@pytest.mark.parametrize("count", [1, 2])
def test_interrupts_after_the_commit(count):
    script = f"""
    workers = Workers({count})
    one, variable, counter = np.ones(1, np.int64), np.zeros(1, np.int64), Cell(np.zeros(1, np.int64))
    write = Copy(variable.ctypes.data, one.ctypes.data, 8)
    table = Table([Commit(), Loop(1_000_000), alone, EndLoop(), write], counter=counter)
    for task in range(3):
        variable[0] = 0
        interrupt_after(0.02, times=3)
        try:
            workers.run(table)
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            assert table.committed and variable[0] == 1 and counter.value == task + 1
        try:
            time.sleep(0.2)
        except KeyboardInterrupt:
            pass
    print("done")
    """
    assert python(script) == "done"


def test_signal_handlers_within_a_step():
    """A handler may not start a step of the same session; it may close it, which ends the step under way."""
    script = """
    workers = Workers(2)
    endless = Table([Loop(1 << 60), call, EndLoop()])
    def handler(number, frame):
        try:
            workers.run(Table([call]))
        except SessionError as error:
            print(str(error).split(" of the")[0])
        workers.close()
    signal.signal(signal.SIGINT, handler)
    interrupt_after(0.05)
    try:
        workers.run(endless)
    except SessionError as error:
        print(error)
    assert threading.active_count() <= 2
    """
    first, second = python(script).splitlines()
    assert first == "a step was started from within a step" and "closed during a step" in second
