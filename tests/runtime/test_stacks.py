"""Threads with small stacks: a clear error below what kernels need, and a step with just that."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from graphc.codegen.cpu import contraction
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
    assert stacks.bytes_of([source]) + 2 * stacks.RESERVE <= stacks.OWN_BYTES  # workers' own threads have enough


def test_the_largest_of_some_sources_counts():
    sources = ["a = stack_float32(10)\nb = stack_int8(3)", "c = stack_float64(5)"]
    assert stacks.bytes_of(sources) == 43
    assert stacks.bytes_of([]) == 0
