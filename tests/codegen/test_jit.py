"""Kernel sources become addresses: from memory, disk or the compiler, always through one loader."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest

from graphc import config
from graphc.codegen.cpu import cache, jit
from graphc.errors import CompileError, GraphcWarning

DOUBLE = """\
from graphc.codegen.cpu.intrinsics import load, pointer_float64, store

def kernel(buffers, dims, worker, workers):
    x, y = pointer_float64(buffers, 0), pointer_float64(buffers, 1)
    for i in range(dims[0]):
        store(y, i, load(x, i) * 2.0)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path):
    before = config.current()
    config.configure(cache_dir=tmp_path / "kernels")
    yield tmp_path / "kernels"
    config.configure(cache_dir=before.cache_dir)


def run(address: int, *arrays: np.ndarray, dims=()) -> None:
    table = np.array([a.ctypes.data for a in arrays] or [0], np.int64)
    sizes = np.array(list(dims) or [0], np.int64)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address)
    call(table.ctypes.data, sizes.ctypes.data, 0, 1)


def check_double(address: int) -> None:
    x, y = np.arange(37.0), np.zeros(38)
    run(address, x, y, dims=[37])
    assert (y[:37] == 2 * x).all() and y[37] == 0


def fresh(source: str, tag: object) -> str:
    """The source with another text, so that this process has not seen it."""
    return f"{source}# {tag} {os.getpid()}\n"


def test_compiled_then_memory_then_disk(monkeypatch):
    events: list[jit.KernelEvent] = []
    source = fresh(DOUBLE, "kinds")
    first, second = jit.load([source, source], on_event=events.append)
    assert first == second
    monkeypatch.setattr(jit, "_addresses", {})  # as a new process would begin
    (third,) = jit.load([source], on_event=events.append)
    assert [event.kind for event in events] == ["compiled", "memory", "disk"]
    assert len({event.key for event in events}) == 1 and all(event.seconds >= 0 for event in events)
    check_double(first), check_double(third)


def test_the_warm_path_imports_no_numba(folder):
    program = (
        "import sys, numpy\n"
        "from graphc.codegen.cpu import jit\n"
        "events = []\n"
        "jit.load([sys.argv[1]], on_event=events.append)\n"
        "print(events[0].kind, 'numba' in sys.modules)\n"
    )
    source = fresh(DOUBLE, "warm")
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(folder)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, source], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs == [["compiled", "True"], ["disk", "False"]]


def test_two_processes_compile_at_once(folder):
    program = "import sys\nfrom graphc.codegen.cpu import jit\nassert jit.load([sys.argv[1]])[0]\n"
    source, environment = fresh(DOUBLE, "two"), {**os.environ, "GRAPHC_CACHE_DIR": str(folder)}
    both = [subprocess.Popen([sys.executable, "-c", program, source], env=environment) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(cache.entries()) == 1


def test_a_damaged_entry_is_compiled_again(folder, monkeypatch):
    source, events = fresh(DOUBLE, "damaged"), []
    jit.load([source])
    (path,) = folder.glob("*.obj")
    path.write_bytes(path.read_bytes()[:-50])
    monkeypatch.setattr(jit, "_addresses", {})
    (address,) = jit.load([source], on_event=events.append)
    assert events[0].kind == "compiled"
    check_double(address)
    assert cache.load(events[0].key, source) is not None


def test_without_a_usable_folder_it_warns_and_works(folder, monkeypatch):
    monkeypatch.setattr(cache, "_said", {})
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.warns(GraphcWarning, match="writable by other users"):
        (address,) = jit.load([fresh(DOUBLE, "no folder")])
    check_double(address)


def test_the_source_is_kept_readable(folder):
    source = fresh(DOUBLE, "readable")
    jit.load([source])
    assert [path.read_text() for path in folder.glob("*.py")] == [source]
    (entry,) = cache.entries()
    assert entry.source.read_text() == source


def test_other_signatures_and_results():
    source = "def walk(a, b):\n    return a * 2.0 + b\n"
    (address,) = jit.load([source], symbol="walk", signature="float64(float64, int64)")
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)(address)(1.5, 4) == 7.0


def test_procedures_and_libm_link():
    source = """\
from numba import types
from graphc.codegen.cpu.frontend import procedure
from graphc.codegen.cpu.intrinsics import load, pointer_float64, store

erf = types.ExternalFunction("erf", types.float64(types.float64))

@procedure
def inner(x):
    return erf(x) + 1.0

def kernel(buffers, dims, worker, workers):
    y = pointer_float64(buffers, 0)
    for i in range(dims[0]):
        store(y, i, inner(load(y, i)))
"""
    y = np.zeros(5)
    run(jit.load([source])[0], y, dims=[5])
    assert (y == 1.0).all()


BODIES = {
    "Numba refuses the kernel: .*raise": "    if dims[0] > 3:\n        raise ValueError('no')\n",
    "can raise an exception": "    for i in range(0, 9, dims[0]):\n        buffers[0] = i\n",
    "Numba refuses": "    return undefined_name\n",
    "does not compile|Numba refuses|needs symbols": "    x = [1]\n    x.append(dims[0])\n    buffers[0] = len(x)\n",
}


@pytest.mark.parametrize("message", BODIES)
def test_unsuitable_kernels_are_refused(message):
    source = "def kernel(buffers, dims, worker, workers):\n" + BODIES[message]
    with pytest.raises(CompileError, match=message) as caught:
        jit.load([source])
    assert cache.source_name(source) in str(caught.value)


@pytest.mark.parametrize("source", ["def kernel(:\n", "import no_such_module_here\n", "other = 1\n"])
def test_unsuitable_modules_are_refused(source):
    with pytest.raises(CompileError, match=cache.source_name(source)):
        jit.load([source])


def test_unresolved_symbols_are_named():
    source = """\
from numba import types
outside = types.ExternalFunction("no_such_function_anywhere", types.void())
def kernel(buffers, dims, worker, workers):
    outside()
"""
    with pytest.raises(CompileError, match="no_such_function_anywhere"):
        jit.load([source])


def test_threads_compile_a_kernel_once():
    source, events = fresh(DOUBLE, "threads"), []
    threads = [threading.Thread(target=lambda: jit.load([source], on_event=events.append)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event.kind for event in events) == ["compiled", "memory", "memory", "memory"]


def test_addresses_stay_valid_after_fork():
    (address,) = jit.load([fresh(DOUBLE, "fork")])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check_double(address)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_another_numba_is_refused_by_name(monkeypatch):
    """What is cached still runs; what has to be compiled is an error that says which version would do."""
    assert jit.load([DOUBLE])
    monkeypatch.setattr(config, "version_of", lambda distribution: "0.99.1")
    assert jit.load([DOUBLE])
    with pytest.raises(CompileError, match=r"Numba 0\.68.*found 0\.99\.1[\s\S]*pip install"):
        jit.load([DOUBLE + "# never compiled\n"])


def test_the_package_asks_for_the_numba_that_it_knows():
    requirements = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"numba=={jit.NUMBA_SERIES}.*" in requirements


FORK = """
import os, signal, threading, time
from graphc.codegen.cpu import jit
import logging

holds = threading.Event()


def compiling():
    with jit._lock:
        holds.set()
        time.sleep(0.3)
        logging.getLogger("numba")  # what importing Numba does


signal.alarm(20)
threading.Thread(target=compiling).start()
holds.wait()
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_waits_for_a_thread_that_imports_numba():
    """Before: the fork held the lock of logging, and waited for the thread, which waited for that."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
