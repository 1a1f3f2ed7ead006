"""What a step means under stress: random updates, sizes that come and go, interrupts, forks, threads, bad caches."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import Tensor, config
from graphc.codegen.cpu import cache, jit
from graphc.errors import (
    FeedError,
    GraphcError,
    GraphcWarning,
    GraphError,
    IndexOutOfRangeError,
    SessionError,
    ShapeError,
)
from graphc.runtime import executable
from graphc.runtime.memory import Slots


def floats(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """float32 normals."""
    return generator.normal(size=shape).astype(np.float32)


@pytest.fixture
def parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel is shared out."""
    monkeypatch.setattr(executable, "PARALLEL_WORK", 1)


# -- updates ------------------------------------------------------------------------------------------------------

UNARY: list[Callable[[Tensor], Tensor]] = [
    lambda t: graphc.flip(t, axis=0),
    lambda t: graphc.flip(t, axis=1),
    lambda t: t.T,
    lambda t: t[::-1] + t,
    lambda t: graphc.concat([t[1:], t[:1]], axis=0),
    lambda t: t @ t * 0.1,
    lambda t: t - 0.1 * (t @ (t.T @ t)),
    lambda t: graphc.cumulative_sum(t, axis=0),
    lambda t: graphc.sort(t, axis=0),
    lambda t: graphc.take_along_axis(t, graphc.argsort(t, axis=1), axis=1),
    lambda t: graphc.broadcast_to(t[0], t.shape),
    lambda t: t - t.mean(axis=-1, keepdims=True),
    lambda t: graphc.softmax(t, axis=-1),
    lambda t: graphc.pad(t[1:], [(1, 0), (0, 0)]),
    lambda t: graphc.where(t > 0, t, graphc.flip(t, axis=0)),
    lambda t: graphc.scan(lambda c, row: (c * 0.5 + row, c + row), t[0], t)[1],
    lambda t: graphc.scan(lambda c, row: (c * 0.5 + row, c + row), t[0], t, reverse=True)[1],
    lambda t: graphc.scan(lambda c, _: (graphc.flip(c, axis=0) * 0.5 + t, None), t, length=3)[0],
    lambda t: graphc.gradients((graphc.cumulative_sum(t, axis=0) ** 2).sum() * 0.1, t),
]

BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda a, b: a + b,
    lambda a, b: a * b * 0.1,
    lambda a, b: a - graphc.flip(b, axis=0),
    lambda a, b: a @ b * 0.1,
    lambda a, b: graphc.where(b > 0.2, a, b),
]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("parallel")
def test_random_updates(seed: int) -> None:
    """Variables, updates of them and fetches at random: compiled, on 1 to 3 workers, in bytes of their own or not."""
    choose, generator = random.Random(seed), np.random.default_rng(seed)
    size = choose.choice([1, 4, 7, 17, 33])
    variables = [graphc.variable(floats(generator, size, size), name=f"v{k}") for k in range(choose.randint(1, 3))]
    x = graphc.placeholder("x", (size, size))
    pool = [*variables, x]
    for _ in range(choose.randint(2, 7)):
        if choose.random() < 0.6:
            pool.append(choose.choice(UNARY)(choose.choice(pool)))
        else:
            pool.append(choose.choice(BINARY)(choose.choice(pool), choose.choice(pool)))
    fetches = []
    for variable in choose.sample(variables, choose.randint(1, len(variables))):
        fetches.append(graphc.assign(variable, choose.choice(pool[len(variables) :])))
        pool.append(fetches[-1])  # the new value, read in the step that makes it
    fetches += choose.choices(pool, k=3)
    choose.shuffle(fetches)
    feeds = [{x: floats(generator, size, size)} for _ in range(2)]
    found = []
    for options in ({"backend": "reference"}, {"threads": 1}, {"threads": 2}, {"threads": 3, "reuse_memory": False}):
        with graphc.Session(**options) as session:  # type: ignore[arg-type]
            outputs = [value for feed in feeds for value in session.run(fetches, feed) if value is not None]
            found.append([*outputs, *map(session.get, variables)])
    for name, others in (("reference", found[:1]), ("compiled", found[2:])):
        for other in others:
            for got, want in zip(found[1], other, strict=True):
                if name == "compiled":
                    np.testing.assert_array_equal(got, want)
                elif np.abs(want).max() < 1e4:
                    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.usefixtures("parallel")
def test_loops_that_share_a_body() -> None:
    """A loop's backward pass runs the loop's body again; each run has its own places in memory."""
    x = graphc.placeholder("x", ("t", "d"))

    def rows(carry: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        inner, _ = graphc.scan(lambda c, a: (graphc.tanh(c + a), None), carry, row)
        (p, q), ys = graphc.scan(lambda c, a: ((c[1], c[0] + a), c[0]), (carry, inner), row)
        return p + q, ys

    last, ys = graphc.scan(rows, x.sum() * 0, x)
    slope = graphc.gradients(last * last + (ys * ys).sum(), x)
    curve = graphc.gradients((slope**2).sum(), x)
    generator = np.random.default_rng(0)
    with graphc.Session(threads=2) as session, graphc.Session(backend="reference") as reference:
        for shape in [(3, 4), (1, 1), (0, 2), (5, 2)]:
            feeds = {x: floats(generator, *shape) * np.float32(0.3)}
            for got, want in zip(session.run([slope, curve], feeds), reference.run([slope, curve], feeds), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_index_errors_name_every_line_they_may_mean() -> None:
    x, i, j = graphc.placeholder("x", (5, 3)), *(graphc.placeholder(name, ("n",), "int64") for name in "ij")
    first = graphc.take(x, i, axis=0)
    second = graphc.take(x, j, axis=0)
    third = graphc.take(x.T, j, axis=0).sum()
    v = graphc.variable(0.0, name="v")
    with graphc.Session(threads=1) as session:
        fetches = [(first + second).sum(), graphc.assign(v, v + 1)]
        with pytest.raises(IndexOutOfRangeError, match="index 5 is out of range for an axis of size 5") as caught:
            session.run(fetches, {i: [5], j: [0], x: np.zeros((5, 3), np.float32)})
        assert "first = " in str(caught.value)
        assert "or at" in str(caught.value)
        assert "second = " in str(caught.value)
        with pytest.raises(IndexOutOfRangeError, match="third = ") as caught:
            session.run([third, fetches[1]], {j: [3], x: np.zeros((5, 3), np.float32)})
        assert "or at" not in str(caught.value)
        assert session.get(v) == session.steps == 0


# -- memory -------------------------------------------------------------------------------------------------------


def test_a_size_that_does_not_fit_leaves_a_program_that_runs() -> None:
    x = graphc.placeholder("x", ("n",))
    total = graphc.cumulative_sum(graphc.outer(x, x), axis=0).sum()
    with graphc.Session(threads=1) as session:
        assert session.run(total, {x: np.ones(10, np.float32)}) == 550
        with pytest.raises(GraphcError, match=r"needs [\d,]+ bytes .* but only"):
            session.run(total, {x: np.ones(3_000_000, np.float32)})
        assert session.run(total, {x: np.ones(100, np.float32)}) == 505_000


def test_variables_that_do_not_fit_are_refused_before_they_are_made() -> None:
    big = graphc.variable(lambda *_: pytest.fail("was asked for values"), shape=(10**8, 10**6), name="big")
    with graphc.Session(threads=1) as session, pytest.raises(GraphcError, match="bytes"):
        session.run(big.sum())


def test_a_plan_serves_other_sizes_only_if_its_loops_fit() -> None:
    """A backward loop keeps a row in front of its history: a longer row does not fit where more, shorter rows did."""
    x, start = graphc.placeholder("x", ("t", "d")), graphc.placeholder("start", ("d",))
    last, _ = graphc.scan(lambda c, row: (graphc.tanh(c * 0.9 + row), None), start, x)
    slope = graphc.gradients((last * last).sum(), x)
    curves = graphc.gradients((slope**2).sum(), [x, start])
    generator = np.random.default_rng(0)
    with graphc.Session(threads=1) as session, graphc.Session(backend="reference") as reference:
        for t, d in [(10, 3), (2, 16), (2, 15), (1, 3)]:
            feeds = {x: floats(generator, t, d), start: floats(generator, d)}
            for got, want in zip(session.run(curves, feeds), reference.run(curves, feeds), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_two_dims_that_grow_in_turn_share_a_plan_unless_it_is_wasteful() -> None:
    x = graphc.placeholder("x", ("n", "m"))
    y = graphc.cumulative_sum(x, axis=0)
    with graphc.Session(threads=1) as session:
        plans = []
        for shape in [(8, 8), (16, 8), (8, 16), (16, 8), (8, 16), (1, 1000), (1000, 1)]:
            np.testing.assert_array_equal(session.run(y, {x: np.ones(shape, np.float32)})[-1], [shape[0]] * shape[1])
            report = session.programs[0].memory
            assert report is not None
            plans.append(report.plan)
        assert plans[2] is plans[3] is plans[4]
        assert plans[-1].peak < 4 * 4 * 2 * 1000 * 2  # not 1000 by 1000


class Interrupting(np.ndarray):
    """An array the first write to which is interrupted."""

    countdown = 1

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if self.countdown:
            self.countdown -= 1
            raise KeyboardInterrupt


# -- feeds and programs -------------------------------------------------------------------------------------------


def test_feeds_of_any_layout() -> None:
    x = graphc.placeholder("x", ("n", "m"))
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    misaligned = np.frombuffer(bytearray(25), np.float32, offset=1, count=6).reshape(2, 3)
    misaligned[...] = values
    frozen = values.copy()
    frozen.setflags(write=False)
    layouts = [
        frozen, misaligned, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2], values[::-1][::-1],
        values.astype(">f4"), values.view(Interrupting), values.astype(np.float16), np.ma.masked_array(values),
        values.tolist(),
    ]  # fmt: skip
    with graphc.Session(threads=1) as session:
        for layout in layouts:
            same, twice, again = session.run([x, x * 2, x], {x: layout})
            np.testing.assert_array_equal(same, values)
            np.testing.assert_array_equal(twice, values * 2)
            assert not np.shares_memory(same, again)
            assert not np.shares_memory(same, layout) if isinstance(layout, np.ndarray) else True
            same[...] = -1
        with pytest.raises(FeedError, match="masked"):
            session.run(x, {x: np.ma.masked_greater(values, 3)})


def test_the_order_of_feeds_makes_no_program() -> None:
    x, y, z = (graphc.placeholder(name) for name in "xyz")
    with graphc.Session(threads=1) as session:
        for feeds in ({x: 1, y: 2}, {y: 2, x: 1}, {z: 0, x: 1, y: 2}):
            assert session.run(x + y, feeds) == 3
        assert len(session.programs) == 1


def test_an_initializer_of_another_kind_is_refused() -> None:
    v = graphc.variable(lambda shape, *_: np.full(shape, 1.5), shape=(2,), dtype="int64", name="v")
    made = r"made float64\(2,\), expected int64\[2\]"
    with graphc.Session(threads=1) as session, pytest.raises(GraphError, match=made):
        session.run(v)


# -- interrupts, threads, forks -----------------------------------------------------------------------------------


def long_step() -> tuple[Tensor, Tensor, Tensor]:
    """A placeholder, a variable, and an update that takes some tenths of a second."""
    x = graphc.placeholder("x", (1000,))
    v = graphc.variable(np.zeros(1000, np.float32), name="v")
    last, _ = graphc.scan(lambda c, _: (c * 0.5 + x, None), v, length=2_000_000)
    return x, v, graphc.assign(v, last)


def alarm_within_a_step(session: graphc.Session) -> None:
    """Send this process an alarm once a step is under way."""
    while not session._in_step:
        time.sleep(0.001)
    time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGALRM)


def test_a_signal_handler_cannot_change_the_step_it_interrupts() -> None:
    x, v, update = long_step()
    said: list[str] = []
    with graphc.Session(threads=1) as session:

        def handler(*_: Any) -> None:
            for call in (
                lambda: session.run(update, {x: np.full(1000, 7, np.float32)}),
                lambda: session.set(v, np.full(1000, 9, np.float32)),
            ):
                with pytest.raises(SessionError, match="within a step") as caught:
                    call()
                said.append(str(caught.value))
            assert set(session.get(v).tolist()) in ({0.0}, {2.0})  # not begun to be written, or wholly

        before = signal.signal(signal.SIGALRM, handler)
        try:
            session.prepare(update, [x])
            alarm = threading.Thread(target=alarm_within_a_step, args=(session,))
            alarm.start()
            session.run(update, {x: np.ones(1000, np.float32)})
            alarm.join()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert len(said) == 2
        np.testing.assert_array_equal(session.get(v), np.full(1000, 2))


def test_the_reference_backend_commits_all_or_nothing() -> None:
    a, b = (graphc.variable(np.ones(3, np.float32), name=name) for name in "ab")
    with graphc.Session(backend="reference") as session:
        step = [graphc.assign(a, a + 1), graphc.assign(b, a + b)]
        session.run([a, b])
        session._variables[b] = session._variables[b].view(Interrupting)
        with pytest.raises(KeyboardInterrupt):
            session.run(step)
        np.testing.assert_array_equal([session.get(a), session.get(b)], np.ones((2, 3)))
        assert session.steps == 0
        session.run(step)
        np.testing.assert_array_equal([session.get(a), session.get(b)], np.full((2, 3), 2))


def test_slots_that_were_given_up_can_be_asked_for_again() -> None:
    slots = Slots()
    slots.add([("w", (3,), np.float32)])
    slots.forget(["w"])
    (slot,) = slots.add([("w", (5,), np.float32)])
    assert slot.array.shape == (5,)


@pytest.mark.usefixtures("parallel")
def test_threads_share_a_session_and_compile_once() -> None:
    x, v = graphc.placeholder("x", ("n",)), graphc.variable(np.zeros(8, np.float32), name="v")
    fetches = [x * 2 + 1, graphc.assign(v, v + 1)]
    wrong: list[object] = []

    def work(session: graphc.Session, seed: int) -> None:
        generator = np.random.default_rng(seed)
        try:
            for _ in range(40):
                fed = floats(generator, int(generator.integers(0, 200)))
                np.testing.assert_array_equal(session.run(fetches, {x: fed})[0], fed * 2 + 1)
        except BaseException as error:
            wrong.append(error)

    with graphc.Session(threads=2) as first, graphc.Session(threads=3) as second:
        threads = [threading.Thread(target=work, args=((first, second)[k % 2], k)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        for session in (first, second):
            assert session.steps == session.get(v)[0] == 80
            assert len(session.programs) == 1


FORKS = """
import os, signal, threading, time, warnings
import numpy as np, graphc
warnings.simplefilter("ignore", DeprecationWarning)
x = graphc.placeholder("x", (1000,))
v = graphc.variable(np.zeros(1000, np.float32), name="v")
last, _ = graphc.scan(lambda c, _: (c * 0.5 + x, None), v, length=10**12)
session, idle = graphc.Session(threads=2), graphc.Session(threads=2)
print("before", session.run(v.sum()), idle.run(v.sum()))
def step():
    try:
        session.run(graphc.assign(v, last), {x: np.ones(1000, np.float32)})
    except graphc.GraphcError as error:
        print("parent", type(error).__name__, flush=True)
thread = threading.Thread(target=step)
thread.start()
time.sleep(1.0)
child = os.fork()
if child == 0:
    signal.alarm(60)
    for call in (lambda: session.run(v.sum()), lambda: session.get(v)):
        try:
            call()
        except graphc.GraphcError as error:
            print("child", type(error).__name__, str(error)[:22], flush=True)
    print("child", idle.run(v.sum() + 1), idle.run((v * 3).sum() + 2), flush=True)
    idle.close()
    os._exit(0)
print("status", os.waitpid(child, 0)[1], flush=True)
session.close()
thread.join()
print("parent", idle.run(v.sum() + 3))
"""


def test_forks_while_a_step_runs() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "before 0.0 0.0",
        "child SessionError the process was forked",
        "child SessionError the process was forked",
        "child 1.0 2.0",
        "status 0",
        "parent SessionError",
        "parent 3.0",
    ], done.stderr


def test_a_long_chain_is_built_and_deleted() -> None:
    x = graphc.placeholder("x", (4,))
    y = x
    for k in range(20_000):
        y = graphc.tanh(y) if k % 2 else y * 0.99
    slope = graphc.gradients(y.sum(), x)
    assert len(graphc.Graph((x,), (slope,)).nodes) > 20_000
    del y, slope


# -- the cache and errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/proc/nothing/here", "/dev/null/cache"])
def test_a_cache_that_cannot_be_made_is_said_once(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = config.current()
    monkeypatch.setattr(cache, "_said", {})
    try:
        config.configure(cache_dir=type(before.cache_dir)(place))
        with pytest.warns(GraphcWarning, match="are not kept on disk") as caught:
            for _ in range(2):
                assert cache.load("0" * 64, "text") is None
                assert not cache.store("0" * 64, "text", "symbol", b"code")
        assert [warning.filename for warning in caught] == [__file__]  # the user's line, not the cache's
        monkeypatch.setattr(cache, "_said", {})
        config.configure(helpers=0)
        with pytest.warns(GraphcWarning, match="are not kept on disk") as caught, jit.begun([jit.Wanted("text")]):
            pass
        assert [warning.filename for warning in caught] == [__file__]  # nor that of what enters context managers
    finally:
        config.configure(cache_dir=before.cache_dir, helpers=before.helpers)


def test_errors_of_declaration_name_the_failing_line_and_the_operands() -> None:
    w = graphc.variable(np.zeros((256, 10), np.float32), name="w'\n{x}")
    h = graphc.relu(graphc.placeholder("x", ("batch", 784)))
    with pytest.raises(ShapeError) as caught:
        graphc.matmul(h, w)  # the line at fault
    message, at, first, second = str(caught.value).split("\n")
    assert message == "matmul: inner dimensions differ: (batch, 784) @ (256, 10)"
    assert at.startswith("  declared at test_robustness.py:")
    assert at.endswith("graphc.matmul(h, w)  # the line at fault")
    assert first.startswith("  operand relu: float32[batch, 784], from test_robustness.py:")
    assert second.startswith('  operand "w\'\\n{x}": float32[256, 10], from test_robustness.py:')
    with pytest.raises(GraphError, match=r"declared at test_robustness.py:\d+: graphc.placeholder\(3\)"):
        graphc.placeholder(3)  # type: ignore[arg-type]
