"""cond, while_loop and scan: against the same control flow in Python, alone and within each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc
from graphc import random
from graphc.errors import GradientError, IndexOutOfRangeError

GENERATOR = np.random.default_rng(0)
VECTOR = GENERATOR.normal(size=3)
MATRIX = GENERATOR.normal(size=(3, 3)) / 2


def values(function, *arrays, backend="compiled", **options):
    """What a function of tensors makes of arrays, by a compiled program or op by op."""
    feeds = {}
    for place, array in enumerate(map(np.asarray, arrays)):
        feeds[graphc.placeholder(f"input{place}", array.shape, array.dtype)] = array
    with graphc.Session(backend=backend, **options) as session:
        return session.run(function(*feeds), feeds)


def both(function, *arrays):
    """The values of the compiled program, after checking that the reference interpreter finds the same."""
    compiled, plain = values(function, *arrays, threads=1), values(function, *arrays, backend="reference")
    for left, right in zip(leaves_of(compiled), leaves_of(plain), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)
    return compiled


def leaves_of(tree):
    if isinstance(tree, (tuple, list)):
        return [leaf for branch in tree for leaf in leaves_of(branch)]
    return [leaf for branch in tree.values() for leaf in leaves_of(branch)] if isinstance(tree, dict) else [tree]


# -- cond -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_cond_runs_one_of_two_functions_on_trees(sign):
    def function(x, w):
        def yes(pair, factor):
            return {"a": pair[0] @ w, "b": (pair[1] * factor, 3)}

        def no(pair, factor):
            return {"a": pair[0] - pair[1], "b": (w[0], x.sum() > 0)}

        return graphc.cond(x[0] > 0, yes, lambda pair, factor: {**no(pair, factor), "b": (w[0], 4)}, (x, x * x), 2.0)

    x = np.abs(VECTOR) * sign
    got = both(function, x, MATRIX)
    expected = (x @ MATRIX, x * x * 2, 3) if sign > 0 else (x - x * x, MATRIX[0], 4)
    for left, right in zip(leaves_of(got), expected, strict=True):
        np.testing.assert_allclose(left, right)


def test_a_branch_not_taken_does_not_run():
    table, x = graphc.constant([1.0, 2.0, 3.0]), graphc.placeholder("x", (), "float64")
    index = graphc.placeholder("index", (), "int64")
    outside = graphc.take(table, index)  # equal to what a branch makes, but made by nothing that is fetched
    endless = lambda: graphc.while_loop(lambda c: c == c, lambda c: c * 0.5, x)  # noqa: E731
    with graphc.Session(threads=1) as session:
        chosen = graphc.cond(x > 0, lambda: graphc.take(table, index) + 1, lambda: graphc.cast(x, "float32"))
        assert session.run(chosen, {x: -2.0, index: 99}) == -2
        assert session.run(chosen, {x: 2.0, index: 1}) == 3
        with pytest.raises(IndexOutOfRangeError, match=r"take: index 99 .*\n.*test_control.py:.*chosen = "):
            session.run(chosen, {x: 2.0, index: 99})
        assert session.run(graphc.cond(x > 0, lambda: x, endless), {x: 1.0}) == 1
        with pytest.raises(IndexOutOfRangeError):
            session.run(outside, {index: 99})


def test_derivatives_of_cond_select():
    """Neither value nor derivative of the branch not taken may turn up, NaN least of all."""
    x = graphc.placeholder("x", (2,), "float64")
    safe = graphc.cond(x.sum() > 0, lambda: graphc.sqrt(x).sum(), lambda: (x * x).sum())
    slope = graphc.gradients(safe, x)
    curvature = graphc.gradients(slope.sum(), x)
    with graphc.Session(threads=1) as session:
        below = session.run([safe, slope, curvature], {x: [-3.0, -4.0]})
        above = session.run([safe, slope, curvature], {x: [4.0, 16.0]})
    for got, expected in zip(
        below + above, [25, [-6, -8], [2, 2], 6, [1 / 4, 1 / 8], [-1 / 32, -1 / 256]], strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_a_known_condition_leaves_one_branch_and_no_choice():
    x = graphc.placeholder("x", (3,), "float64")
    chosen = graphc.cond(True, lambda: graphc.tanh(x), lambda: x / 0.0)
    with graphc.Session(threads=1) as session:
        program = session.prepare([chosen, graphc.gradients(chosen.sum(), x)], [x])
        assert "choice" not in str(program.source.schedule)
        np.testing.assert_allclose(program(VECTOR)[0], np.tanh(VECTOR))


def test_a_branch_may_return_what_it_was_given_or_a_number():
    def function(x, n):
        return graphc.cond(n > 0, lambda a: (a, a, 1), lambda a: (x, 0.0 * x, n), x)

    for n in (0, 1):
        first, second, third = both(function, VECTOR, n)
        np.testing.assert_array_equal(first, VECTOR)
        np.testing.assert_array_equal(second, VECTOR * n)
        assert third == n


def test_layers_may_make_their_variables_in_a_branch():
    x = graphc.placeholder("x", ("batch", 3))
    layer = graphc.nn.Dense(3)
    y = graphc.cond(x.sum() > 0, layer, lambda x: x, x)
    step = graphc.optim.SGD(0.1).minimize((y * y).sum())
    ones = np.ones((2, 3), np.float32)
    with graphc.Session(threads=1, seed=1) as session:
        before = session.run(y, {x: ones})
        session.run(step, {x: -ones})  # the other branch: nothing to learn
        np.testing.assert_array_equal(session.run(y, {x: ones}), before)
        session.run(step, {x: ones})
        assert np.abs(session.run(y, {x: ones})).sum() < np.abs(before).sum()


# -- while_loop -----------------------------------------------------------------------------------------------------


def collatz(n):
    steps = 0
    while n != 1:
        n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
    return steps


def test_while_loop_ends_by_its_condition():
    def function(n):
        def body(carry):
            m, steps = carry
            return graphc.where(m % 2 == 0, m // 2, 3 * m + 1), steps + 1

        def branching(carry):
            return {
                "m": graphc.cond(carry["m"] % 2 == 0, lambda: carry["m"] // 2, lambda: 3 * carry["m"] + 1),
                "steps": carry["steps"] + 1,
            }

        return [
            graphc.while_loop(lambda carry: carry[0] != 1, body, (n, 0))[1],
            graphc.while_loop(lambda carry: carry["m"] != 1, branching, {"m": n, "steps": 0})["steps"],
        ]

    for n in (1, 7, 97):
        assert both(function, n) == [collatz(n)] * 2


def test_a_condition_may_be_a_constant_and_a_new_carry_a_number():
    def function(x):
        always, last = graphc.while_loop(lambda c: True, lambda c: (7, c[1] * x), (0, x), max_iterations=3)
        never = graphc.while_loop(lambda c: False, lambda c: c * x, x)
        return [always, last, never, graphc.while_loop(lambda c: c > 1, lambda c: 0, x)]

    assert both(function, 2.0) == [7, 16, 2, 0]


@pytest.mark.parametrize(("most", "done"), [(0, 0), (3, 3), (7, 5), (5, 5)])
def test_a_bound_ends_the_loop(most, done):
    def function(x, w):
        def condition(carry):
            return carry[1] < 5

        last = graphc.while_loop(condition, lambda c: (graphc.tanh(c[0] @ w), c[1] + 1), (x, 0), max_iterations=most)
        return [*last, condition(last), graphc.gradients(last[0].sum(), [x, w], zeros_for_disconnected=True)]

    last, count, goes_on, (of_x, of_w) = both(function, VECTOR, MATRIX)
    x, slopes = VECTOR, []
    for _ in range(done):
        slopes.append((x, 1 - np.tanh(x @ MATRIX) ** 2))
        x = np.tanh(x @ MATRIX)
    g, by_w = np.ones(3), np.zeros((3, 3))
    for before, slope in reversed(slopes):
        by_w += np.outer(before, g * slope)
        g = MATRIX @ (g * slope)
    assert (count, goes_on) == (done, done < 5)
    for got, expected in ((last, x), (of_x, g), (of_w, by_w)):
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_a_bound_may_be_a_named_dim_of_any_size():
    x, steps = graphc.placeholder("x", ("n",), "float64"), graphc.placeholder("steps", (), "int64")
    last, _ = graphc.while_loop(
        lambda c: c[1] < steps, lambda c: (c[0] * x.sum(), c[1] + 1), (1.0 + x.sum() * 0, 0), max_iterations="n"
    )
    with graphc.Session(threads=1) as session:
        program = session.prepare([last, graphc.gradients(last, x)], [x, steps])
        for size, count in ((3, 2), (0, 2), (5, 9), (2, 0), (1, 1)):
            array = np.arange(1.0, size + 1)
            done, total = min(size, count), array.sum()
            value, slope = program(array, count)
            np.testing.assert_allclose(value, total**done)
            np.testing.assert_allclose(slope, np.full(size, done * total ** (done - 1) if done else 0.0))


def test_a_huge_bound_costs_nothing_where_no_derivative_needs_it():
    x = graphc.placeholder("x", (1000,), "float64")
    last = graphc.while_loop(lambda c: c.sum() > 1, lambda c: c * 0.5, x, max_iterations=10**17)
    with graphc.Session(threads=1) as session:
        assert session.run(last, {x: np.ones(1000)})[0] == 2.0**-10
        assert session.prepare(last, [x]).memory.peak < 100_000


def test_only_a_bounded_loop_has_a_derivative():
    x = graphc.placeholder("x", (), "float64")
    i, last = graphc.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, x))
    message = (
        r"while_loop: a loop without a bound.*\n  declared at .*test_control.py:\d+: i, last = .*\n.*max_iterations="
    )
    for derivative in (lambda: graphc.gradients(last * x, x), lambda: graphc.jvp(last, x, 1.0)):
        with pytest.raises(GradientError, match=message):
            derivative()
    with graphc.Session(threads=1) as session:
        assert session.run([i, last], {x: 2.0}) == [3, 16]
        assert session.run(graphc.gradients(graphc.stop_gradient(last) * x, x), {x: 2.0}) == 16
        hidden, _ = graphc.scan(  # found only when the scan is differentiated
            lambda c, _: (graphc.while_loop(lambda k: k < 9, lambda k: k * x, c), None), x, length=1
        )
        with pytest.raises(GradientError, match=message.replace("i, last", "lambda c, _: .graphc.while_loop.*|.*")):
            session.run(graphc.gradients(hidden, x), {x: 2.0})


# -- within each other, derivatives ---------------------------------------------------------------------------------


def scan_in_cond_in_while(x, w):
    def body(carry):
        i, h = carry

        def yes(h):
            return graphc.scan(lambda q, row: (graphc.tanh(q @ w + row), None), h, graphc.stack([h, x]))[0]

        return i + 1, graphc.cond(i % 2 == 0, yes, lambda h: h * w[0] + x, h)

    return graphc.while_loop(lambda c: c[0] < 5, body, (0, x), max_iterations=8)[1]


def scan_in_cond_in_while_in_numpy(x, w):
    h = x
    for i in range(5):
        if i % 2 == 0:
            q = np.tanh(h @ w + h)
            h = np.tanh(q @ w + x)
        else:
            h = h * w[0] + x
    return h


def while_in_scan(x, w):
    def body(h, i):
        k = graphc.while_loop(lambda c: c[0] < i, lambda c: (c[0] + 1, graphc.tanh(c[1] @ w)), (0, h), max_iterations=4)
        return k[1], k[1] * x

    return list(graphc.scan(body, x, graphc.constant(np.array([0, 3, 1, 9])), reverse=True))


def while_in_scan_in_numpy(x, w):
    h, ys = x, np.zeros((4, 3))
    for place in (3, 2, 1, 0):
        for _ in range(min(4, [0, 3, 1, 9][place])):
            h = np.tanh(h @ w)
        ys[place] = h * x
    return [h, ys]


def whiles_in_cond(x, w):
    def inner(h, most):
        return graphc.while_loop(
            lambda c: c[0] < most, lambda c: (c[0] + 1, graphc.sin(c[1] @ w) + x), (0, h), max_iterations=3
        )[1]

    def outer():
        return graphc.while_loop(
            lambda c: (c[1] * c[1]).sum() < 50.0,
            lambda c: (c[0] + 1, inner(c[1], c[0]) * 1.7),
            (0, x),
            max_iterations=6,
        )[1]

    return [graphc.cond(x.sum() < 100, outer, lambda: x), graphc.cond(x.sum() > 100, outer, lambda: x * 2)]


def whiles_in_cond_in_numpy(x, w):
    h = x
    for count in range(6):
        if not (h * h).sum() < 50:
            break
        for _ in range(min(count, 3)):
            h = np.sin(h @ w) + x
        h = h * 1.7
    return [h, x * 2]


def conds_in_cond(x, w):
    def negative():
        return graphc.exp(x) * x.sum()

    def positive():
        return graphc.cond(x[1] > 0, lambda: x @ w * x, lambda: x * x[0] * x[1])

    return [graphc.cond(first, positive, negative) for first in (x[0] > 0, x[0] <= 0)]


def conds_in_cond_in_numpy(x, w):
    positive, negative = x @ w * x if x[1] > 0 else x * x[0] * x[1], np.exp(x) * x.sum()
    return [positive, negative] if x[0] > 0 else [negative, positive]


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (scan_in_cond_in_while, scan_in_cond_in_while_in_numpy),
        (while_in_scan, while_in_scan_in_numpy),
        (whiles_in_cond, whiles_in_cond_in_numpy),
        (conds_in_cond, conds_in_cond_in_numpy),
    ],
)
def test_constructs_within_each_other(function, plain):
    for got, expected in zip(leaves_of(both(function, VECTOR, MATRIX)), leaves_of(plain(VECTOR, MATRIX)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    graphc.check_gradients(function, [VECTOR, MATRIX])


def test_all_derivatives_go_through_control_flow():
    x, w, v = (
        graphc.placeholder(name, array.shape, "float64")
        for name, array in zip("xwv", (VECTOR, MATRIX, VECTOR), strict=True)
    )

    def looping(x):
        y = graphc.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, graphc.tanh(c[1] @ w)), (0, x), max_iterations=5
        )[1]
        return graphc.cond(y.sum() > 0, lambda: y * y * x, lambda: graphc.sin(y) * x)

    def plain(x):
        y = x
        for _ in range(3):
            y = graphc.tanh(y @ w)
        return graphc.where(y.sum() > 0, y * y * x, graphc.sin(y) * x)

    found = []
    for function in (looping, plain):
        y = function(x)
        loss = (y * y).sum()
        found += [graphc.jvp(y, x, v), graphc.hvp(loss, x, v), graphc.jacobian(y, x), graphc.hessian(loss, x)]
    with graphc.Session(threads=1) as session:
        got = session.run(found, {x: VECTOR, w: MATRIX, v: VECTOR[::-1].copy()})
    for left, right in zip(got[:4], got[4:], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def test_a_derivative_taken_inside_a_body_follows_paths_that_lead_outside():
    x = graphc.placeholder("x", (), "float64")
    square = x * x

    def newton(c, _):
        return c, graphc.gradients(c * square, x)

    carry, slopes = graphc.scan(newton, 2 * x, length=2)
    chosen = graphc.cond(x > 0, lambda: graphc.gradients(square * x, x), lambda: graphc.gradients(square, x))
    with graphc.Session(threads=1) as session:
        carry, slopes, above = session.run([carry, slopes, chosen], {x: 3.0})
        assert (carry, slopes.tolist(), above) == (6, [36, 36], 27)
        assert session.run(chosen, {x: -3.0}) == -6


def test_a_carry_that_nobody_reads_has_no_cotangent_that_could_meet_nan():
    """The final carry is NaN and unused; the derivative of the ys, x itself, is 1, and not 0 * NaN + 1."""
    x = graphc.placeholder("x", ("n",), "float64")
    _, ys = graphc.scan(lambda total, entry: (graphc.tanh(total + entry), entry), 0.0 * graphc.sum(x), x)
    slopes = graphc.gradients(ys.sum(), x)
    for backend in ("reference", "compiled"):
        with graphc.Session(backend=backend, threads=1) as session:
            np.testing.assert_array_equal(session.run(slopes, {x: [1.0, np.nan, 2.0]}), [1, 1, 1])


def test_carries_that_reach_a_y_through_each_other_have_cotangents():
    """After k iterations p is p q (q + x1) ... and y its value before; r is read by nobody."""
    x = graphc.placeholder("x", (3,), "float64")

    def step(carry, entry):
        p, q, r = carry
        return (p * q, q + entry, r * graphc.exp(r)), p

    _, ys = graphc.scan(step, (graphc.sum(x), graphc.mean(x), graphc.max(x)), x)
    graphc.check_gradients(ys.sum(), {x: np.array([1.0, 9.0, 2.0])})


# -- scan: masks, lengths, nothing at all -----------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_masks_of_rows_and_of_iterations(reverse):
    rows = np.array([[1, 1], [1, 0], [0, 0], [1, 1]], bool)
    xs, start = GENERATOR.normal(size=(4, 2, 3)), GENERATOR.normal(size=(2, 3))

    def function(xs, start, w, mask):
        def body(carry, x):
            h, total = carry
            h = graphc.tanh(h @ w + x)
            return (h, total + 1), {"h": h, "first": x[:, 0] > 0}

        return graphc.scan(body, (start, np.zeros((2,), np.int64)), xs, mask=mask, reverse=reverse)

    for mask in (rows, rows[:, 0]):
        (h, total), ys = both(function, xs, start, MATRIX, mask)
        wide = np.broadcast_to(mask.reshape(4, -1), (4, 2))
        state, expected = start, np.zeros((4, 2, 3))
        for place in reversed(range(4)) if reverse else range(4):
            new = np.tanh(state @ MATRIX + xs[place])
            state = np.where(wide[place][:, None], new, state)
            expected[place] = np.where(wide[place][:, None], new, 0)
        np.testing.assert_allclose(h, state)
        np.testing.assert_array_equal(total, wide.sum(axis=0))
        np.testing.assert_allclose(ys["h"], expected)
        np.testing.assert_array_equal(ys["first"], wide & (xs[:, :, 0] > 0))
    graphc.check_gradients(
        lambda xs, start, w: leaves_of(function(xs, start, w, graphc.constant(rows)))[::2],
        [xs, start, MATRIX],
    )


def test_lengths_of_the_rows_of_a_batch_as_a_mask():
    xs, lengths = graphc.placeholder("xs", ("time", "batch", 3)), graphc.placeholder("lengths", ("batch",), "int64")
    mask = graphc.arange(xs.shape[0])[:, None] < lengths
    start = graphc.zeros((xs.shape[1], 3))
    last, ys = graphc.scan(lambda h, x: (graphc.tanh(h * 0.5 + x),) * 2, start, xs, mask=mask)
    fetched = [last, ys, graphc.gradients((last * last).sum() + ys.sum(), xs)]
    with graphc.Session(threads=1) as session, graphc.Session(backend="reference") as plain:
        for time, batch in ((4, 2), (1, 3), (0, 2), (5, 0)):
            counts = GENERATOR.integers(0, time + 1, size=batch)
            feeds = {xs: GENERATOR.normal(size=(time, batch, 3)).astype("float32"), lengths: counts}
            got = session.run(fetched, feeds)
            for left, right in zip(got, plain.run(fetched, feeds), strict=True):
                np.testing.assert_allclose(left, right, rtol=2e-5, atol=1e-6)
            padding = np.arange(time)[:, None] >= counts
            assert not got[1][padding].any() and not got[2][padding].any()


@pytest.mark.parametrize("size", [0, 1, 4])
def test_lengths_down_to_zero(size):
    xs, h = graphc.placeholder("xs", ("n", 3), "float64"), graphc.placeholder("h", (3,), "float64")
    w = graphc.placeholder("w", (3,), "float64")
    made, static = [], np.zeros((size, 3))
    for reverse in (False, True):
        carry, ys = graphc.scan(lambda c, x: (graphc.tanh(c * w + x), c * x), h, xs, reverse=reverse)
        last, _ = graphc.scan(lambda c, _: (c * w, None), h, length="n", reverse=reverse)
        nothing, rows = graphc.scan(lambda c, x: (None, x * w), None, xs, reverse=reverse)
        fixed, _ = graphc.scan(lambda c, _: (c * w, None), h, length=size, reverse=reverse)
        of_static, _ = graphc.scan(lambda c, x: (c * w + x, None), h, static, reverse=reverse)
        assert nothing is None
        loss = sum(t.sum() for t in (carry, ys, last, rows, fixed, of_static))
        made += [carry, ys, last, rows, fixed, of_static, *graphc.gradients(loss, [h, w, xs])]
    feeds = {xs: GENERATOR.normal(size=(size, 3)), h: VECTOR, w: MATRIX[0]}
    with graphc.Session(threads=1) as session, graphc.Session(backend="reference") as plain:
        got, expected = session.run(made, feeds), plain.run(made, feeds)
    for left, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)
    if size == 0:
        for place in (0, 2, 4, 5):
            np.testing.assert_array_equal(got[place], VECTOR)


# -- random programs ------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_shape_of_carries_and_any_number_of_iterations(data):
    """Several carries of several dtypes and shapes that feed each other, zero sizes included."""
    shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)
    carries = data.draw(
        st.lists(st.tuples(shapes, st.sampled_from(["float64", "float32", "int64"])), min_size=1, max_size=3)
    )
    bound = data.draw(st.sampled_from([None, 0, 2, 50]))
    counts = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=3))
    initial = [np.arange(np.prod(shape)).reshape(shape).astype(dtype) + 1 for shape, dtype in carries]
    count = graphc.placeholder("count", (), "int64")
    inputs = [graphc.placeholder(f"c{k}", array.shape, array.dtype) for k, array in enumerate(initial)]

    def body(carry):
        i, *rest = carry
        total = sum(graphc.cast(t.sum(), "float64") for t in rest)
        new = [
            graphc.cond(
                i % 2 == k % 2, lambda t=t: t + 1, lambda t=t: graphc.cast(t * 2 - graphc.cast(total, t.dtype), t.dtype)
            )
            for k, t in enumerate(rest)
        ]
        return (i + 1, *new)

    last = graphc.while_loop(lambda carry: carry[0] < count, body, (0, *inputs), max_iterations=bound)
    with graphc.Session(threads=1) as session, graphc.Session(backend="reference") as plain:
        for number in counts:
            feeds = {count: number, **dict(zip(inputs, initial, strict=True))}
            for left, right in zip(session.run(last, feeds), plain.run(last, feeds), strict=True):
                np.testing.assert_allclose(left, right, rtol=1e-6)


def test_random_numbers_in_branches_and_open_loops():
    x, n = graphc.placeholder("x", (), "float64"), graphc.placeholder("n", (), "int64")

    def draw():
        return random.uniform((3,), dtype="float64")

    before, chosen, after = draw(), graphc.cond(x > 0, draw, lambda: draw() + 1), draw()

    def inner(i):
        start = graphc.zeros((4, 3), dtype="float64")
        return graphc.while_loop(
            lambda c: c[0] < 4,
            lambda c: (c[0] + 1, graphc.where((graphc.arange(4) == c[0])[:, None], draw()[None, :], c[1])),
            (0, start),
        )[1]

    rows = graphc.scan(lambda c, i: (c, inner(i)), 0.0, graphc.arange(5))[1]
    factors = graphc.while_loop(
        lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * draw()), (0, x * np.ones(3)), max_iterations=9
    )[1]
    fetched = [before, chosen, after, rows, factors, graphc.gradients(factors.sum(), x)]
    with graphc.Session(seed=3, threads=1) as session, graphc.Session(seed=3, backend="reference") as plain:
        above, below = (session.run(fetched, {x: sign, n: 5}) for sign in (1.0, -1.0))
        np.testing.assert_array_equal(above[0], below[0])
        np.testing.assert_array_equal(above[2], below[2])
        assert len(np.unique(np.concatenate([*above[:3], below[1] - 1]))) == 12  # streams of their own
        assert len(np.unique(above[3])) == 60
        np.testing.assert_allclose(above[5], above[4].sum())  # the derivative draws the same factors
        for left, right in zip(above, plain.run(fetched, {x: 1.0, n: 5}), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-12)
