"""Compile helpers: kernels come to be whatever becomes of a helper."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from graphc import config
from graphc.codegen.cpu import helpers, jit
from graphc.codegen.cpu.helpers import Request
from graphc.errors import CompileError, GraphcWarning

SOURCE = """\
from graphc.codegen.cpu.intrinsics import load, pointer_float64, store

def kernel(buffers, dims, worker, workers):
    x = pointer_float64(buffers, 0)
    for i in range(dims[0]):
        store(x, i, load(x, i) * {factor})
"""


def requests(count: int) -> list[Request]:
    sources = [SOURCE.format(factor=float(n)) for n in range(count)]
    return [Request(s, f"<kernel {n}>", "kernel", jit.KERNEL_SIGNATURE, f"k{n}") for n, s in enumerate(sources)]


@pytest.fixture
def fake(monkeypatch):
    """Have programs of one's own stand in for the helper, one of them at a time; the list of what was started."""
    started: list[subprocess.Popen[bytes]] = []

    def use(program: str) -> list[subprocess.Popen[bytes]]:
        def start():
            command = [sys.executable, "-c", program]
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            return started[-1]

        monkeypatch.setattr(helpers, "_start", start)
        monkeypatch.setattr(helpers, "count_for", lambda seconds: 1)
        return started

    return use


def test_a_helper_makes_the_same_object_code(monkeypatch):
    wanted = requests(2)
    monkeypatch.setattr(helpers, "count_for", lambda seconds: 1)
    crew = helpers.Helpers(wanted[:1])
    crew.start()
    assert crew.complete(wanted) == 2
    (thread,) = crew._threads.values()
    thread.join()
    crew.close()
    assert crew.failure is None and crew.take() is None
    assert crew.done == {request.export: jit._compile_here(request) for request in wanted}


def test_a_helper_ends_with_its_input():
    process = helpers._start()
    assert process.stdout.readline() == helpers.helper.READY
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


def test_a_killed_helper_leaves_its_work_to_this_process(fake):
    """It takes a request and is killed; everything is compiled all the same, and the user is told why it took long."""
    started = fake(
        "import os, signal, sys\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here: list[str] = []

    def compile_one(request: Request) -> bytes:
        started[0].wait()
        here.append(request.export)
        return request.export.encode()

    with pytest.warns(GraphcWarning) as caught:
        made = helpers.compile_all(requests(4), compile_one)
    assert made == {f"k{n}": b"k%d" % n for n in range(4)} and sorted(here) == sorted(made)
    assert [str(warning.message) for warning in caught] == [
        "a compile helper was ended by signal 9; this process compiled the remaining kernels itself"
    ]
    assert caught[0].filename == __file__  # the user's line


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise SystemExit(3)", "ended with status 3"),
        ("print('ready', flush=True); input(); print('nonsense', flush=True)", "ended with status 0"),
        (
            "print('ready', flush=True); input(); print('nonsense', flush=True)\nwhile input(): pass",
            "ended with status 1",
        ),
        ("print('ready', flush=True); input(); print('9\\nabc', end='', flush=True)", "ended with status 0"),
    ],
)
def test_a_helper_that_fails_is_replaced_by_this_process(fake, program, message):
    started = fake(program)

    def compile_one(request: Request) -> bytes:
        started[0].wait()
        return b"here"

    with pytest.warns(GraphcWarning, match=message):
        made = helpers.compile_all(requests(3), compile_one)
    assert made == dict.fromkeys(("k0", "k1", "k2"), b"here")


def test_what_a_site_prints_when_python_starts_disturbs_nothing(fake):
    fake("print('welcome'); print('ready', flush=True)\nwhile True: input(); print('5\\nthere', end='', flush=True)")

    def compile_one(request: Request) -> bytes:
        deadline = time.monotonic() + 20
        while len(crew.done) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return b"here"

    with closing(helpers.Helpers()) as crew:
        assert helpers.compile_all(requests(3), compile_one, crew) == {"k0": b"here", "k1": b"there", "k2": b"there"}
    assert crew.failure is None


def test_a_helper_that_does_not_start(monkeypatch):
    monkeypatch.setattr(helpers, "count_for", lambda seconds: 1)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.warns(GraphcWarning, match="does not start: .*No such file"):
        made = helpers.compile_all(requests(1), lambda request: b"here")
    assert made == {"k0": b"here"}


def test_what_a_helper_cannot_compile_is_this_process_error(fake, monkeypatch):
    started = fake("print('ready', flush=True); input(); print(-1, flush=True)")
    bad = Request("def kernel(:\n", "<bad>", "kernel", jit.KERNEL_SIGNATURE, "bad")

    def compile_one(request: Request) -> bytes:
        started[0].wait()
        return jit._compile_here(request) if request is bad else b""

    with pytest.raises(CompileError, match="SyntaxError"):
        helpers.compile_all([bad, *requests(1)], compile_one)


def test_an_interrupt_ends_the_helpers(fake):
    started = fake("print('ready', flush=True); input(); input()")

    def compile_one(request: Request) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        helpers.compile_all(requests(3), compile_one)
    assert started[0].poll() is not None


def test_how_many_helpers(monkeypatch):
    before = config.current()
    try:
        monkeypatch.setattr(config, "available_processors", lambda: 8)
        config.configure(helpers=7)
        assert [helpers.count_for(seconds) for seconds in (0.0, 0.4, 0.5, 0.9, 100.0)] == [0, 0, 1, 2, 7]
        config.configure(helpers=1)
        assert helpers.count_for(100.0) == 1
        config.configure(helpers=0)
        assert helpers.count_for(100.0) == 0
        monkeypatch.setattr(config, "available_processors", lambda: 1)
        config.configure(helpers=7)
        assert helpers.count_for(100.0) == 0
    finally:
        config.configure(helpers=before.helpers)


def test_a_bar_on_a_terminal_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with helpers._Progress(4, helpers.LONG_SECONDS) as progress:
            progress.show(4)
        assert ("compiling kernels" in stream.getvalue()) is shown


def test_helpers_begin_with_what_is_known_early(monkeypatch):
    """Before the rest is known a helper has compiled the early one; the caller begins with the others."""
    monkeypatch.setattr(helpers, "count_for", lambda seconds: 1)
    early, *others = requests(3)
    crew = helpers.Helpers([early])
    crew.start()
    while early.export not in crew.done:
        time.sleep(0.01)
    here: list[str] = []

    def compile_one(request: Request) -> bytes:
        here.append(request.export)
        return jit._compile_here(request)

    with closing(crew):
        made = helpers.compile_all([early, *others], compile_one, crew)
    assert sorted(made) == ["k0", "k1", "k2"] and early.export not in here


def test_helpers_that_are_not_needed_after_all_are_ended(monkeypatch):
    """A pass fails while a helper starts: no process is left, and the next program is compiled as any other."""
    monkeypatch.setattr(helpers, "count_for", lambda seconds: 1)
    crews: list[helpers.Helpers] = []
    start = helpers.Helpers.start
    monkeypatch.setattr(helpers.Helpers, "start", lambda self: (crews.append(self), start(self)))
    wanted = jit.Wanted(SOURCE.format(factor=time.time()))
    with pytest.raises(ZeroDivisionError), jit.begun([wanted]):
        raise ZeroDivisionError
    (process,) = crews[0]._threads
    assert process.poll() is not None and jit._begun is None
    with jit.begun([wanted]):
        jit.prepare([wanted])
    assert jit.load([wanted.source])[0] and jit._begun is None


def test_nothing_is_begun_while_another_thread_compiles_where_the_caller_must_not_wait(monkeypatch):
    """The caller holds a lock that the other thread may want; later, without it, it does wait."""
    monkeypatch.setattr(helpers.Helpers, "start", lambda self: None)
    wanted = jit.Wanted(SOURCE.format(factor=time.time()))
    compiling, done, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with jit._lock:
            compiling.set()
            done.wait()

    thread = threading.Thread(target=other)
    thread.start()
    compiling.wait()
    with jit.begun([wanted], wait=False):
        seen.append(jit._begun)
        done.set()
        with jit.begun([wanted]):
            seen.append(jit._begun)
            with jit.begun([wanted], wait=False):  # of the same thread: nothing to do
                seen.append(jit._begun)
    thread.join()
    assert seen[0] is None and seen[1] is not None and seen[2] is seen[1] and jit._begun is None
