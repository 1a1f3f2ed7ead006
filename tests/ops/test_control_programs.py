"""What control flow does beside computing: interrupts, failures, workers, memory, texts, what is refused."""

import os
import re
import signal
import threading
import time

import numpy as np
import pytest

import graphc
from graphc.errors import DTypeError, FeedError, GraphcError, GraphError, IndexOutOfRangeError, ShapeError
from graphc.profile import median
from graphc.schedule.fuse import ControlStep
from graphc.visual.schedules import draw_schedule

GENERATOR = np.random.default_rng(0)
VECTOR = GENERATOR.normal(size=3)


# -- at run time ----------------------------------------------------------------------------------------------------


def loop_of_update(v):
    return graphc.assign(v, graphc.while_loop(lambda c: c[0] >= 0, lambda c: c * 0.5 + 1.0, v))


def loop_after_update(v):
    """The loop needs the new value, so the kernel that makes it comes first; it must not write the variable yet."""
    new = graphc.exp(v) + 1
    return [graphc.assign(v, new), graphc.while_loop(lambda c: c[0] >= 0, lambda c: c * 0.5 + 1.0, new)]


@pytest.mark.parametrize("make", [loop_of_update, loop_after_update])
@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_ctrl_c_ends_an_endless_loop_and_changes_nothing(make, backend):
    v = graphc.variable(np.ones(3), name="v")
    step = make(v)
    with graphc.Session(threads=1, backend=backend) as session:
        session.prepare(step, [])

        def interrupt():
            while not session._in_step:
                time.sleep(0.001)
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            session.run(step)
        thread.join()
        np.testing.assert_array_equal(session.get(v), np.ones(3))
        assert session.run(v.sum()) == 3


def test_an_index_that_fails_inside_names_its_line_and_changes_nothing():
    table = graphc.variable(np.arange(4.0), name="table")
    _, last = graphc.while_loop(
        lambda c: c[0] < 9,
        lambda c: (c[0] + 1, c[1] + graphc.take(table, c[0])),  # the line at fault
        (0, 0.0 * table[0]),
        max_iterations=20,
    )
    step = graphc.assign(table, table + last)
    with graphc.Session(threads=1) as session:
        with pytest.raises(IndexOutOfRangeError, match=r"take: index 4 is out of range.*\n.*the line at fault"):
            session.run([step, last])
        np.testing.assert_array_equal(session.get(table), np.arange(4.0))


def test_bits_do_not_depend_on_the_number_of_workers():
    x = GENERATOR.normal(size=(400, 400))

    def function(x):
        def body(carry):
            h, i = carry
            h = graphc.cond(
                i % 2 == 0,
                lambda: graphc.sin(h @ x) + h.sum(axis=0),
                lambda: h * x + h.mean(),
            )
            return h, i + 1

        last = graphc.while_loop(lambda c: (c[1] < 6) & (graphc.abs(c[0]).sum() > 0), body, (x, 0), max_iterations=8)[0]
        return [last, graphc.gradients((last * last).mean(), x)]

    found = []
    for threads in (1, 2, 2):
        fed = graphc.placeholder("x", x.shape, "float64")
        with graphc.Session(threads=threads) as session:
            found.append(session.run(function(fed), {fed: x}))
    for results in found[1:]:
        for left, right in zip(found[0], results, strict=True):
            np.testing.assert_array_equal(left, right)


def test_memory_does_not_grow_with_iterations_and_branches_share_theirs():
    x = graphc.placeholder("x", (128, 128))  # 64 KiB

    def long(h):
        return graphc.tanh(graphc.tanh(h @ x) @ x)

    chosen = graphc.cond(x.sum() > 0, lambda: long(x) + 1, lambda: long(x * 2) + 2)
    looped = graphc.while_loop(lambda c: c.sum() > 0, long, x)
    size = 128 * 128 * 4
    with graphc.Session(threads=1) as session:
        for tensor, tensors in ((chosen, 3), (looped, 5)):
            program = session.prepare(tensor, [x])
            program(np.zeros((128, 128), np.float32))
            scratch = sum(bytes_ for _, bytes_ in program.memory.plan.scratch.values())
            assert program.memory.peak <= tensors * size + scratch + 4096


def test_only_what_is_read_is_computed_and_kept():
    x, w = graphc.placeholder("x", (3,), "float64"), graphc.placeholder("w", (3,), "float64")

    def body(carry):
        count, h, waste, more = carry
        return count + 1, graphc.tanh(h * w), waste + more * graphc.exp(h), more + waste

    _, h, _, _ = graphc.while_loop(lambda c: c[0] < 4, body, (0, x, w * 0, w), max_iterations=9)
    first, _ = graphc.cond(x.sum() > 0, lambda: (h * 2, graphc.exp(h)), lambda: (h, graphc.exp(w)))
    loss = first.sum()
    with graphc.Session(threads=1) as session:
        program = session.prepare([loss, *graphc.gradients(loss, [x, w])], [x, w])
        text = str(program.source.schedule)
        assert "exp" not in re.sub("#.*", "", text)
        controls = [step for step in program.source.schedule.steps if isinstance(step, ControlStep)]
        found = [(step.node.op.name, len(step.inputs), len(step.stored)) for step in controls]
        assert found == [  # of the first loop h, its history and the number of iterations; of its derivative two slopes
            ("while_loop", 3, 3),
            ("cond", 2, 1),
            ("cond", 1, 1),
            ("scan_loop", 5, 2),
        ]
        value, of_x, of_w = program(VECTOR, VECTOR)
    expected, slope, by_w = VECTOR, np.ones(3), np.zeros(3)
    for _ in range(4):
        new = np.tanh(expected * VECTOR)
        by_w = (1 - new**2) * (by_w * VECTOR + expected)
        slope = slope * (1 - new**2) * VECTOR
        expected = new
    factor = 2 if VECTOR.sum() > 0 else 1
    for got, wanted in ((value, expected.sum()), (of_x, slope), (of_w, by_w)):
        np.testing.assert_allclose(got, factor * wanted)


# -- what is said about it ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described():
    x = graphc.placeholder("x", (3,), "float64")
    y = graphc.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, graphc.tanh(c[1])), (0, x), max_iterations=4)[1]
    return x, graphc.cond(y.sum() > 0, lambda: y * x, lambda: y + x).sum()


def test_printed_and_drawn(described):
    x, loss = described
    with graphc.Session(threads=1) as session:
        program = session.prepare([loss, graphc.gradients(loss, x)], [x])
        text = str(program.source.schedule)
    for part in ("loop while_loop:", "condition:", "choice cond:", "true_body:", "false_body:", "loop scan_loop:"):
        assert part in text
    printed = str(graphc.ir.Graph((x,), (loss,)))
    assert "while_loop(" in printed and "limit=4" in printed and "false_body:" in printed
    dot = graphc.draw(loss, backward=True).dot
    for title in ("condition of while_loop", "body of while_loop", "true body of cond", "false body of cond"):
        assert title in dot
    assert "at most 4 iterations" in dot
    assert "choice cond" in draw_schedule(program.source.schedule).dot


def test_explained_and_profiled(described):
    x, loss = described
    assert "cond" in str(graphc.explain_gradient(loss, x))
    with graphc.Session(threads=1) as session:
        fetched = [loss, graphc.gradients(loss, x)]
        profiles = [
            session.run(fetched, {x: array}, profile=True)[1] for array in (VECTOR, np.abs(VECTOR), -abs(VECTOR))
        ]
        assert "cond" in str(median(profiles))  # other branches, the same program
        profile = profiles[0]
        calls = {kernel.name: kernel.calls for kernel in profile.kernels}
    assert calls["less"] == 3  # the condition, once more than the body
    assert calls["copy (scan_loop)"] == max(calls["copy (scan_loop)"], 1)


# -- what is refused ------------------------------------------------------------------------------------------------


def flag():
    return graphc.placeholder("flag", (), "bool")


def real(*shape):
    return graphc.placeholder("x", shape)


REFUSED = [
    (
        lambda: graphc.cond(real(3) > 0, lambda: 1, lambda: 2),
        ShapeError,
        "cond: expected the condition to be one bool, got bool[3]",
        "reduce it by .any() or .all(); graphc.where chooses element by element",
    ),
    (
        lambda: graphc.cond(real(), lambda: 1, lambda: 2),
        DTypeError,
        "cond: expected the condition to be one bool, got float32[]",
        "compare it with a number, such as x != 0",
    ),
    (
        lambda: graphc.cond((True,), int, int),
        GraphError,
        "cond: expected the condition to be one bool, got tuple",
        None,
    ),
    (
        lambda: graphc.cond(None, int, int),
        GraphError,
        "cond: expected the condition to be one bool, got NoneType",
        None,
    ),
    (
        lambda: graphc.cond(flag(), real(), lambda: 1),
        GraphError,
        "cond: expected a function for the branch taken if true, got Tensor",
        None,
    ),
    (
        lambda: graphc.cond(flag(), lambda: 1, 2),
        GraphError,
        "cond: expected a function for the branch taken if false, got int",
        None,
    ),
    (
        lambda: graphc.cond(flag(), lambda: (1, 2), lambda: {"a": 1}),
        GraphError,
        "cond: the branches differ in structure: (*, *) if true, {'a': *} if false",
        None,
    ),
    (
        lambda: graphc.cond(flag(), lambda: real(3), lambda: None),
        GraphError,
        "cond: the branches differ in structure: * if true, None if false",
        None,
    ),
    (
        lambda: graphc.cond(flag(), lambda: {"a": real(3)}, lambda: {"a": real("n", 4)}),
        ShapeError,
        "cond: the branches differ: result['a'] is float32[3] if true, float32[n, 4] if false",
        "broadcast or reshape one of them",
    ),
    (
        lambda: graphc.cond(flag(), lambda: (1, real()), lambda: (1, real() > 0)),
        DTypeError,
        "cond: the branches differ: result[1] is float32[] if true, bool[] if false",
        "cast one of them",
    ),
    (
        lambda: graphc.cond(flag(), lambda: graphc.assign(graphc.variable(1.0), 2.0), lambda: 1.0),
        GraphError,
        "cond: a body may not assign to a variable",
        None,
    ),
    (
        lambda: graphc.while_loop(1, int, 0),
        GraphError,
        "while_loop: expected a function of the carry as condition, got int",
        None,
    ),
    (
        lambda: graphc.while_loop(int, 1, 0),
        GraphError,
        "while_loop: expected a function of the carry as body, got int",
        None,
    ),
    (
        lambda: graphc.while_loop(lambda c: c, lambda c: c, 0),
        DTypeError,
        "while_loop: expected the condition's result to be one bool, got int64[]",
        "compare it with a number, such as x != 0",
    ),
    (
        lambda: graphc.while_loop(lambda c: c > 0, lambda c: c, real("n")),
        ShapeError,
        "while_loop: expected the condition's result to be one bool, got bool[n]",
        "reduce it by .any() or .all(); graphc.where chooses element by element",
    ),
    (
        lambda: graphc.while_loop(lambda c: (c > 0, c), lambda c: c, 0),
        GraphError,
        "while_loop: expected the condition's result to be one bool, got tuple",
        None,
    ),
    (
        lambda: graphc.while_loop(lambda c: True, lambda c: None, None),
        GraphError,
        "while_loop: expected a carry with at least one tensor, for the condition to depend on",
        None,
    ),
    (
        lambda: graphc.while_loop(lambda c: c > 0, lambda c: (c, c), 0),
        GraphError,
        "while_loop: the carry changes its structure: it was *, it becomes (*, *)",
        None,
    ),
    (
        lambda: graphc.while_loop(lambda c: c[0] > 0, lambda c: [c[0], c[1].astype("float64")], [0, real(2)]),
        GraphError,
        "while_loop: carry[1] changes its type: it was float32[2], it becomes float64[2]",
        "cast or reshape it, or start from a carry of that type",
    ),
    (
        lambda: graphc.while_loop(lambda c: c > 0, lambda c: 0.5, 1),
        GraphError,
        "while_loop: carry changes its type: it was int64[], it becomes float32[]",
        "cast or reshape it, or start from a carry of that type",
    ),
    (
        lambda: graphc.while_loop(lambda c: c["a"].sum() > 0, lambda c: {"a": c["a"].sum()}, {"a": real("n")}),
        GraphError,
        "while_loop: carry['a'] changes its type: it was float32[n], it becomes float32[]",
        "cast or reshape it, or start from a carry of that type",
    ),
    (
        lambda: graphc.while_loop(lambda c: c > 0, lambda c: graphc.assign(graphc.variable(1), c), 0),
        GraphError,
        "while_loop: a body may not assign to a variable",
        None,
    ),
    (
        lambda: graphc.while_loop(lambda c: c > 0, lambda c: c, 0, max_iterations=-1),
        ShapeError,
        "while_loop: max_iterations: expected sizes of at least 0, got -1",
        "a size that only the data know has a name: ('batch', 3)",
    ),
    (
        lambda: graphc.while_loop(lambda c: c > 0, lambda c: c, 0, max_iterations=2.5),
        ShapeError,
        "while_loop: max_iterations: expected an integer or the name of a dim, got 2.5",
        "a size that only the data know has a name: ('batch', 3)",
    ),
    (
        lambda: graphc.scan(lambda c, x: (c, x), 0.0, real(4), mask=np.ones(4)),
        DTypeError,
        "scan: expected a mask of bools, got float64[4]",
        None,
    ),
    (
        lambda: graphc.scan(lambda c, x: (c, x), 0.0, real(4), mask=True),
        ShapeError,
        "scan: expected a mask of rank 1 or more, got a scalar",
        None,
    ),
    (
        lambda: graphc.scan(lambda c, x: (c, x), 0.0, real(4), mask=np.ones(3, bool)),
        ShapeError,
        "scan: the lengths of xs differ: 4 and 3 of (3,)",
        None,
    ),
    (
        lambda: graphc.scan(lambda c, x: (c, x), real(3), real(4, 2), mask=np.ones((4, 2), bool)),
        ShapeError,
        "scan: expected leading axes (2,) as the mask's, got (3,)",
        None,
    ),
]


@pytest.mark.parametrize(("call", "kind", "message", "hint"), REFUSED, ids=[message for _, _, message, _ in REFUSED])
def test_what_is_refused(call, kind, message, hint):
    with pytest.raises(GraphcError) as caught:
        call()
    assert (type(caught.value), caught.value.message, caught.value.hint) == (kind, message, hint)
    assert "test_control_programs.py" in str(caught.value)


def test_a_dim_that_no_feed_determines():
    last = graphc.while_loop(lambda c: c < 3, lambda c: c + 1, 0, max_iterations="nowhere")
    with graphc.Session(threads=1) as session, pytest.raises(FeedError, match="unknown named dim 'nowhere'"):
        session.run(last)
