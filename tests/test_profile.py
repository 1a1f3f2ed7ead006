"""Profiles: counts are exact, times are sound (never compared with a figure), and a profiled step is a step."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.errors import FeedError, GraphcError, GraphError, IndexOutOfRangeError, SessionError
from graphc.profile import KernelProfile, Limits, Profile, median
from graphc.profile import limits as limits_module
from graphc.profile.costs import Cost
from graphc.runtime import executable, timing
from graphc.runtime.table import Call, Commit, Copy, EndLoop, Loop, Table
from graphc.runtime.workers import Workers

ROWS, WIDTH = 32, 48


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits from little memory and few windows, measured anew: no test needs good ones."""
    monkeypatch.setattr(limits_module, "LARGEST", 256 * 1024)
    monkeypatch.setattr(limits_module, "PEAK_WINDOWS", 5)
    monkeypatch.setattr(limits_module, "_known", {})


@pytest.fixture
def parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel is shared out."""
    monkeypatch.setattr(executable, "PARALLEL_WORK", 1)


def floats(*shape: int) -> np.ndarray:
    """float32 normals, the same at each call."""
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def rows() -> graphc.Tensor:
    """A placeholder of named rows."""
    return graphc.placeholder("x", ("rows", WIDTH), "float32")


def profile_of(fetches, feeds=None, threads: int = 1) -> Profile:
    with graphc.Session(threads=threads) as session:
        return session.run(fetches, feeds, profile=True)[1]


def only(profile: Profile) -> KernelProfile:
    """The one kernel of a profile."""
    (kernel,) = profile.kernels
    return kernel


# -- what is counted ----------------------------------------------------------------------------------------------


def test_a_matrix_product_is_two_operations_an_element_of_its_iteration_space() -> None:
    x, w = rows(), graphc.variable(floats(WIDTH, 24), name="w")
    kernel = only(profile_of(x @ w, {x: floats(ROWS, WIDTH)}))
    assert kernel.operations == 2 * ROWS * WIDTH * 24
    assert kernel.read_bytes == 4 * (ROWS * WIDTH + WIDTH * 24)
    assert kernel.written_bytes == 4 * ROWS * 24
    assert kernel.stored == ("float32[32, 24]",)
    assert (kernel.number, kernel.calls, kernel.workers) == (0, 1, 1)


def test_a_row_wise_softmax_counts_row_values_once_a_row() -> None:
    x = rows()
    kernel = only(profile_of(graphc.softmax(x, axis=-1), {x: floats(ROWS, WIDTH)}))
    an_element = 1 + 1 + 12 + 1 + 1  # maximum, subtraction, exponential, sum, product
    a_row = 1 + 1 + 1 + 4  # where the maximum is finite: magnitude, comparison, choice; and the sum's reciprocal
    assert kernel.operations == ROWS * (WIDTH * an_element + a_row)
    assert kernel.read_bytes == kernel.written_bytes == 4 * ROWS * WIDTH


def test_an_update_by_adam_reads_and_writes_three_arrays() -> None:
    w = graphc.variable(floats(50, 20), name="w")
    profile = profile_of(optim.Adam(1e-3).minimize((w * w).sum()))
    (kernel,) = [kernel for kernel in profile.kernels if kernel.written_bytes > 100]
    first, second = 2 + 1 + 1, 2 + 2 + 1  # the gradient is w * 2, in each of them
    step = 4 + 4 + 4  # a division and a root; two products, a sum, a difference
    assert kernel.operations == 50 * 20 * (first + second + step)
    assert kernel.read_bytes == 3 * 4 * 50 * 20 + 2 * 4  # and the two corrections for bias
    assert kernel.written_bytes == 3 * 4 * 50 * 20


def test_only_what_is_touched_of_a_tensor_counts() -> None:
    table, index = graphc.variable(floats(1000, 8), name="table"), graphc.placeholder("index", ("n",), "int64")
    few = only(profile_of(graphc.take(table, index, axis=0), {index: [3, 1, 4]}))
    assert few.read_bytes == 3 * 8 + 3 * 8 * 4
    many = only(profile_of(graphc.take(table, index, axis=0), {index: np.zeros(5000, np.int64)}))
    assert many.read_bytes == 5000 * 8 + 1000 * 8 * 4  # no more than there is
    x = rows()
    assert only(profile_of(x[:4] + x[:4] * 2.0, {x: floats(ROWS, WIDTH)})).read_bytes == 4 * WIDTH * 4


def test_sorts_sums_and_running_sums_count_by_element() -> None:
    x = rows()
    feeds = {x: floats(ROWS, WIDTH)}
    assert only(profile_of(graphc.sort(x, axis=1), feeds)).operations == ROWS * WIDTH * 6  # 2**6 is the next power
    assert only(profile_of(graphc.cumulative_sum(x, axis=1), feeds)).operations == ROWS * WIDTH
    assert only(profile_of(x.sum(), feeds)).operations == ROWS * WIDTH


def test_a_value_that_is_fetched_as_it_is_takes_bytes_and_no_operations() -> None:
    kernel = only(profile_of(graphc.variable(floats(5), name="w")))
    assert (kernel.operations, kernel.bytes, kernel.bound) == (0, 2 * 20, "memory")


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_in_a_loop_are_summed_over_its_iterations(parallel: None, threads: int) -> None:
    x, w = rows(), graphc.variable(floats(WIDTH, WIDTH), name="w")
    steps = graphc.placeholder("steps", ("time", 3), "float32")

    def body(state, step):
        after = graphc.tanh(state @ w)
        return after, after.sum() + step.sum()

    last, sums = graphc.scan(body, x, steps)
    feeds = {x: floats(ROWS, WIDTH), steps: floats(17, 3)}
    with graphc.Session(threads=threads) as session, graphc.Session(threads=threads) as plain:
        values, profile = session.run([last, sums], feeds, profile=True)
        for value, expected in zip(values, plain.run([last, sums], feeds), strict=True):
            assert np.array_equal(value, expected)
    inside = [kernel for kernel in profile.kernels if kernel.calls == 17]
    product = max(inside, key=lambda kernel: kernel.operations)
    assert product.operations == 17 * (2 * ROWS * WIDTH * WIDTH + 12 * ROWS * WIDTH)
    assert product.workers == threads
    copies = [kernel for kernel in profile.kernels if kernel.number is None]
    assert {kernel.name for kernel in copies} == {"copy (scan_loop)"}
    assert all(kernel.calls == 1 and kernel.bytes == 2 * 4 * ROWS * WIDTH for kernel in copies)
    assert len(profile.events) == sum(kernel.calls for kernel in profile.kernels)


def test_an_update_that_is_copied_at_the_end_is_shown() -> None:
    w = graphc.variable(floats(40, 30), name="w")
    profile = profile_of(graphc.assign(w, w.T.reshape((40, 30))))
    kernel, copy = profile.kernels
    assert (kernel.number, copy.number, copy.name) == (0, None, "copy (assign)")
    assert copy.bytes == kernel.bytes == 2 * 4 * 40 * 30
    assert copy.stored == ("float32[40, 30]",)
    assert len(copy.lines) == 1 and "test_profile.py" in copy.lines[0]


# -- a profiled step is a step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_training_steps_are_the_same_bit_for_bit(parallel: None, threads: int) -> None:
    x, labels = rows(), graphc.placeholder("labels", ("rows",), "int64")
    model = nn.Sequential(nn.Dense(16), nn.relu, nn.Dropout(0.3), nn.Dense(5))
    loss = nn.softmax_cross_entropy(model(x, training=True), labels).mean()
    fetches = {"loss": loss, "train": [optim.Adam(0.01).minimize(loss)]}
    with graphc.Session(threads=threads, seed=3) as session, graphc.Session(threads=threads, seed=3) as plain:
        for step, size in enumerate((20, 20, 7, 33, 20), start=1):
            feeds = {x: floats(size, WIDTH), labels: np.arange(size) % 5}
            start = time.perf_counter()
            values, profile = session.run(fetches, feeds, profile=True)
            wall_us = (time.perf_counter() - start) * 1e6
            expected = plain.run(fetches, feeds)
            assert values["train"] == [None]
            assert values["loss"] == expected["loss"]
            assert session.steps == plain.steps == step
            assert profile.sizes == {"rows": size}
            assert 0 < profile.kernels_us < profile.step_us < wall_us
            assert all(kernel.time_us >= 0 and kernel.workers in (1, threads) for kernel in profile.kernels)
            assert all(kernel.calls == 1 and len(kernel.busy_us) == kernel.workers for kernel in profile.kernels)
            assert any(kernel.workers == threads for kernel in profile.kernels)
            assert sum(profile.by_line().values()) == pytest.approx(profile.kernels_us)
        (program,) = session.programs
        for variable in (node.result for node in program.graph.nodes if node.op.name == "variable"):
            assert np.array_equal(session.get(variable), plain.get(variable))


def test_numbers_and_lines_are_those_of_the_schedule() -> None:
    x = rows()
    y = graphc.tanh(x @ graphc.constant(floats(WIDTH, 8)))  # the marked line
    with graphc.Session(threads=1) as session:
        _, profile = session.run(graphc.sort(y), {x: floats(4, WIDTH)}, profile=True)
        text = str(session.programs[0].source.schedule)
    for kernel in profile.kernels:
        assert f"kernel {kernel.number}: {kernel.formulas[0]}" in text
        assert all(line in text for line in kernel.formulas[1:])
    marked = [kernel for kernel in profile.kernels if any("the marked line" in line for line in kernel.lines)]
    assert [kernel.name for kernel in marked] == ["contract tanh"]
    assert any("the marked line" in line for line in profile.by_line())


def test_a_step_that_fails_leaves_variables_as_they_were() -> None:
    w, index = graphc.variable(floats(9), name="w"), graphc.placeholder("index", ("n",), "int64")
    update = graphc.assign(w, w + graphc.take(w, index, axis=0).sum())
    with graphc.Session(threads=1) as session:
        with pytest.raises(IndexOutOfRangeError):
            session.run(update, {index: [9]}, profile=True)
        assert np.array_equal(session.get(w), floats(9)) and session.steps == 0
        session.run(update, {index: [8]}, profile=True)
        assert session.steps == 1


def test_what_cannot_be_profiled_says_so() -> None:
    x = rows()
    with graphc.Session(backend="reference") as session, pytest.raises(SessionError, match="'reference'"):
        session.run(x.sum(), {x: floats(2, WIDTH)}, profile=True)
    with graphc.Session(threads=1) as session:
        with pytest.raises(FeedError, match="feed missing"):
            session.run(x.sum(), profile=True)
        with pytest.raises(GraphError, match="fetches"):
            session.run("loss", profile=True)
        with pytest.raises(SessionError, match="profile"):
            session.run(x.sum(), {x: floats(2, WIDTH)}, profile="yes")
        assert session.run([], profile=True)[1].kernels == ()
    with pytest.raises(SessionError, match="closed"):
        session.run(x.sum(), {x: floats(2, WIDTH)}, profile=True)


def test_checked_numerics_can_be_profiled() -> None:
    x = rows()
    with graphc.Session(threads=1, check_numerics=True) as session:
        value, profile = session.run(x.sum(), {x: floats(2, WIDTH)}, profile=True)
    assert np.isfinite(value) and only(profile).name == "sum"


# -- medians, text, files -----------------------------------------------------------------------------------------


def test_a_median_takes_each_time_by_itself() -> None:
    x = rows()
    feeds = {x: floats(ROWS, WIDTH)}
    with graphc.Session(threads=1) as session:
        profiles = [session.run(graphc.tanh(x), feeds, profile=True)[1] for _ in range(3)]
        other = session.run(graphc.exp(x), feeds, profile=True)[1]
    together = median(profiles)
    assert together.steps == 3
    assert only(together).time_us == sorted(only(profile).time_us for profile in profiles)[1]
    assert together.step_us == sorted(profile.step_us for profile in profiles)[1]
    with pytest.raises(GraphcError, match="at least one"):
        median([])
    with pytest.raises(GraphcError, match="one program"):
        median([*profiles, other])
    for wrong in (profiles[0], [profiles[0], 3]):
        with pytest.raises(GraphcError, match="expected a list of profiles"):
            median(wrong)  # type: ignore[arg-type]


def test_laying_out_the_timed_table_is_no_part_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, timer = 0.2, executable.Timer

    def laid_out_slowly(*arguments: Any) -> timing.Timer:
        time.sleep(slow)
        return timer(*arguments)

    monkeypatch.setattr(executable, "Timer", laid_out_slowly)
    x = rows()
    with graphc.Session(threads=1) as session:
        before = time.perf_counter()
        _, profile = session.run(graphc.tanh(x), {x: floats(ROWS, WIDTH)}, profile=True)
        whole = time.perf_counter() - before
    assert profile.step_us * 1e-6 <= whole - slow


def test_the_table_shows_the_slowest_first_and_sums_up_the_rest() -> None:
    x = rows()
    profile = profile_of([graphc.sort(x), x @ x.T, x.sum()], {x: floats(ROWS, WIDTH)})
    text = str(profile)
    times = [float(line.split()[0]) for line in text.splitlines() if " arithmetic " in line or " memory  " in line]
    assert len(times) == len(profile.kernels) and times == sorted(times, reverse=True)
    assert all(len(line) <= 120 for line in text.splitlines())
    assert "test_profile.py" in text and "rows = 32" in text
    assert f"in {len(profile.kernels) - 1} more" in profile.table(1)
    assert repr(profile).startswith(f"<Profile: {len(profile.kernels)} kernels")
    for wrong in (-1, 1.5, "all"):
        with pytest.raises(GraphcError, match="whole number of kernels"):
            profile.table(wrong)  # type: ignore[arg-type]


def test_a_saved_profile_is_a_trace(tmp_path: Path) -> None:
    x = rows()
    profile = profile_of(graphc.sort(x @ x.T), {x: floats(ROWS, WIDTH)})
    saved = json.loads(profile.save(tmp_path / "profile.json").read_text())
    whole = [event["name"] for event in saved["traceEvents"] if event["tid"] == 0]
    assert whole == [kernel.name for kernel in profile.kernels]
    assert {event["tid"] for event in saved["traceEvents"]} <= set(range(1 + profile.workers))
    assert all(event["ph"] == "X" and event["ts"] >= 0 and event["dur"] >= 0 for event in saved["traceEvents"])
    assert saved["otherData"] == json.loads(json.dumps(profile.to_json()))
    with pytest.raises(GraphcError, match="can't be written"):
        profile.save(tmp_path)


# -- limits and stamps --------------------------------------------------------------------------------------------


def test_a_kernel_is_bound_by_the_limit_that_takes_longer() -> None:
    known = Limits(1, {"float32": 2e9, "float64": 1e9}, ((1000, 4e9), (100_000, 1e9)))
    assert known.arithmetic_s(Cost({"float32": 3000}, {"float64": 500})) == pytest.approx(3e-6 + 1e-6)
    assert known.bandwidth(10) == known.bandwidth(1000) == 4e9
    assert known.bandwidth(10_000) == pytest.approx(2.5e9)
    assert known.bandwidth(10**9) == 1e9
    assert known.memory_s(0) == 0 and known.memory_s(500) == 500 / 4e9


@pytest.mark.parametrize("count", [1, 2])
def test_limits_are_measured_once(count: int) -> None:
    with Workers(2) as workers:
        found = limits_module.limits(workers, count)
        assert limits_module.limits(workers, count) is found
    assert found.workers == count
    assert all(rate > 0 for rate in found.peak.values()) and set(found.peak) == {"float32", "float64"}
    sizes = [size for size, _ in found.streams]
    assert sizes == sorted(set(sizes)) and all(rate > 0 for _, rate in found.streams)


def test_what_one_worker_can_do_two_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another process held one of the processors while two were measured."""
    found = {1: 100.0, 2: 60.0}
    monkeypatch.setattr(limits_module, "_peak", lambda workers, everyone, dtype: found[1 + everyone])
    monkeypatch.setattr(limits_module, "_streams", lambda workers, count: [(count * 16, found[count]), (1024, 30.0)])
    with Workers(2) as workers:
        two = limits_module.limits(workers, 2)
        assert two.peak == limits_module.limits(workers, 1).peak == {"float32": 100.0, "float64": 100.0}
    assert two.streams[0][0] == 32 and two.streams[0][1] > 60 and two.streams[1] == (1024, 30.0)


@pytest.mark.parametrize("count", [1, 2])
def test_stamps_count_every_call_of_every_worker(count: int) -> None:
    words, sums = timing.words_of(1), timing.words_of(*[0] * 64)
    target, source = np.zeros(2, np.int64), np.arange(2, dtype=np.int64)
    copy = Copy(target.ctypes.data, source.ctypes.data, 16)
    shared = Call(
        timing.probe("read"), timing.words_of(sums.ctypes.data, words.ctypes.data), timing.words_of(1, 1), count > 1
    )
    timer = timing.Timer([Loop(5), shared, EndLoop(), Commit(), copy], {shared: "read", copy: "copy"}, count)
    table = Table(timer.entries)
    with Workers(count) as workers:
        for _ in range(2):
            timer.clear()
            outcome = workers.run(table)
            assert outcome.failure is None and outcome.committed
            looped, last = timer.intervals()
            assert (looped.what, looped.calls, len(looped.worker_ns)) == ("read", 5, count)
            assert (last.what, last.calls, len(last.worker_ns)) == ("copy", 1, 1)
            assert [event.number for event in timer.events()] == [0] * 5 + [1]
            begins = [event.begin for event in timer.events()]
            assert begins == sorted(begins) and all(event.end >= event.begin for event in timer.events())
            own = timer.worker_events()
            for worker in range(count):
                of_worker = [event for event in own if event.worker == worker]
                assert [event.number for event in of_worker] == [0] * 5 + [1] * (worker == 0)
                spent = [event.end - event.begin for event in of_worker[:5]]
                assert min(spent) >= 0 and sum(spent) >= looped.worker_ns[worker]
            assert [event.begin for event in own] == sorted(event.begin for event in own)
            whole = timer.events()[4]
            last_calls = [event for event in own if event.number == 0][-count:]
            assert all(whole.begin <= event.begin <= event.end <= whole.end for event in last_calls)
    assert np.array_equal(target, source)
    assert timing.stamp_ns() >= 0


def test_run_py_profiles_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    specification = importlib.util.spec_from_file_location("run_py", Path(__file__).resolve().parent.parent / "run.py")
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(script, "ensure_environment", lambda: None)
    monkeypatch.setattr(script, "ensure_installed", lambda extras: None)
    monkeypatch.setattr(script, "run", lambda *arguments: started.append(arguments) or 0)
    assert script.main(["profile", "--threads", "1"]) == 0
    assert script.main([]) == 0
    example = str(Path("examples") / "digits_mlp.py")
    assert started == [(example, "--profile", "--threads", "1"), (example,)]
    assert script.main(["profiles"]) == 2
