"""Threads with small stacks: a clear error below what kernels need, and a step with just that."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import graphc
from graphc.codegen.cpu import context, contraction
from graphc.errors import SessionError
from graphc.runtime import stacks

THREADS = '''
import re, sys, threading
import numpy as np
import graphc

dtype, transposed = sys.argv[1], sys.argv[2] == "transposed"
x = graphc.placeholder("x", (1024, 1024), dtype=dtype)  # rows, or columns, 4 KiB apart: a block of them is copied
w = graphc.variable(np.ones((1024, 200), dtype))
count = graphc.variable(np.zeros((), dtype))
product = (x.T if transposed else x) @ w
session = graphc.Session(threads=2)
step = graphc.compile([x], [product, graphc.assign(count, count + 1)], session=session)
values = np.random.default_rng(0).normal(size=(1024, 1024)).astype(dtype)
found = []


def run():
    try:
        found.append(step(values)[0])
    except graphc.errors.SessionError as error:
        found.append(str(error))


def in_a_thread_of(stack):
    threading.stack_size(stack)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert threading.stack_size() == stack  # workers' threads change it only for themselves
    return found.pop()


said = in_a_thread_of(512 * 1024)
print(said)
need = int(re.search(r"need ([\\d,]+)", said)[1].replace(",", ""))
assert session.get(count) == 0
enough = in_a_thread_of(-(-need // 4096) * 4096)
expected = (values.T if transposed else values).sum(axis=1, keepdims=True, dtype="f8")
np.testing.assert_allclose(enough, np.broadcast_to(expected, (1024, 200)), rtol=0, atol=1e-2)
assert session.get(count) == 1
'''


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["plain", "transposed"])
def test_a_small_stack_is_refused_and_one_of_just_the_size_suffices(dtype, layout):
    command = [sys.executable, "-c", THREADS, dtype, layout]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"this thread's stack has \d{3},\d{3} bytes, and kernels of this program need [\d,]+", done.stdout)
    assert "hint: call threading.stack_size(2097152) before the thread is started" in done.stdout


@pytest.mark.parametrize("name", ["float32", "float64", "float32_edge100", "float64_few4x3", "float32_dots3"])
def test_every_array_on_the_stack_is_counted(name):
    source = contraction.source(name)
    body = source[source.index("def kernel") :]
    assert body.count("stack_") == len(re.findall(stacks._ARRAY, body)) > 0
    assert stacks.bytes_of(source) + 2 * stacks.RESERVE <= stacks.OWN_BYTES  # workers' own threads have enough


def test_a_kernel_is_counted_with_the_functions_that_it_calls():
    x, y = graphc.placeholder("x", ("n", 4096)), graphc.placeholder("y", (40, 64))
    rows, product = x, y @ y.T
    for _ in range(3):
        rows = graphc.sqrt(rows + graphc.sum(rows, axis=-1, keepdims=True))
    with graphc.Session() as session:
        needs = [
            graphc.compile([x, y], wanted, session=session)._executable._stack_bytes - stacks.RESERVE
            for wanted in (rows, product, [rows, product])
        ]
    assert 4096 * 4 <= needs[0] < needs[1] == needs[2]


def test_a_kernel_of_many_stages_keeps_the_rest_in_scratch():
    """Before: 32 KiB a stage, 2.3 MB here, more than the threads of workers had."""
    x = graphc.placeholder("x", ("n", 8192))
    rows = x
    for _ in range(40):
        rows = graphc.sqrt(rows + graphc.sum(rows, axis=-1, keepdims=True))
    with graphc.Session(threads=2) as session:
        program = graphc.compile([x], rows, session=session)
        assert program._executable._stack_bytes <= stacks.RESERVE + context.MOST_STACK_BYTES
        values = np.random.default_rng(0).uniform(size=(3, 8192)).astype("float32")
        expected = values.astype("float64")
        for _ in range(40):
            expected = np.sqrt(expected + expected.sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(program(values), expected, rtol=1e-4)


FORK = """
import os, signal, threading
from graphc.runtime import stacks

changed, forking = threading.Event(), threading.Event()


def start():
    with stacks.own_threads():
        changed.set()
        forking.wait(0.2)


before = threading.stack_size()
threading.Thread(target=start).start()
changed.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    with stacks.own_threads():
        pass
    os._exit(0 if threading.stack_size() == before else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_waits_for_a_thread_that_is_being_started():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_main_thread_is_told_of_its_limit(monkeypatch):
    monkeypatch.setattr(stacks._thread, "stack", 256 * 1024)
    with pytest.raises(SessionError, match="raise the limit before the process is started: ulimit -s 2048"):
        stacks.require(1_500_000)
