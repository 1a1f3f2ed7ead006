"""A model trains: the same bits for any workers and any memory plan, at any batch size, without recompiling."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.runtime import executable


def make_data(count: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 20)).astype(np.float32), rng.integers(0, 5, count)


def make_model(dtype: str = "float32", rate: float = 0.2):
    """Placeholders, loss, updates and scores of a small classifier."""
    x = graphc.placeholder("x", ("batch", 20), dtype)
    labels = graphc.placeholder("labels", ("batch",), "int64")
    model = nn.Sequential(nn.Dense(33), nn.relu, nn.Dropout(rate), nn.Dense(17, nn.tanh), nn.Dense(5))
    loss = nn.softmax_cross_entropy(model(x, training=True), labels).mean()
    return x, labels, loss, optim.Adam(1e-2).minimize(loss), model(x)


def losses(steps: int, graph, **session_options) -> tuple[np.ndarray, list[np.ndarray]]:
    """Losses of some steps, and the trainable variables after them."""
    x, labels, loss, train, _ = graph
    images, targets = make_data()
    with graphc.Session(seed=3, **session_options) as session:
        found = np.array([session.run([loss, train], {x: images, labels: targets})[0] for _ in range(steps)])
        return found, [session.get(v) for v in optim.trainable_variables(loss)]


def test_same_bits_for_any_workers_and_memory_plan(monkeypatch):
    """100 steps; every kernel is shared out, however small, so that two workers really split the work."""
    monkeypatch.setattr(executable, "PARALLEL_WORK", 1)
    graph = make_model()
    first, weights = losses(100, graph, threads=1)
    assert first[-1] < 0.5 * first[0]
    plain = ({"threads": 2}, {"threads": 3})
    without_reuse = ({"threads": 1, "reuse_memory": False}, {"threads": 2, "reuse_memory": False})
    for options in (*plain, *without_reuse):
        again, others = losses(100, graph, **options)
        assert again.tobytes() == first.tobytes(), options
        assert all(a.tobytes() == b.tobytes() for a, b in zip(weights, others, strict=True)), options


def test_compiled_training_follows_the_reference_interpreter():
    graph = make_model("float64")
    x, labels, loss, train, _ = graph
    images, targets = make_data()
    found = []
    for backend in ("compiled", "reference"):
        with graphc.Session(seed=3, backend=backend) as session:
            feeds = {x: images.astype(np.float64), labels: targets}
            found.append([float(session.run([loss, train], feeds)[0]) for _ in range(20)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


def test_any_batch_size_without_compiling():
    x, labels, loss, train, scores = make_model()
    with graphc.Session() as session:
        program = session.prepare([loss, train, scores], [x, labels])
        before = program.compilations
        assert before > 0
        for count in (64, 37, 1, 1000):
            images, targets = make_data(count)
            value, update, made = session.run([loss, train, scores], {x: images, labels: targets})
            assert np.isfinite(value) and update is None and made.shape == (count, 5)
            with graphc.Session(backend="reference") as oracle:
                for variable in optim.trainable_variables(loss):
                    oracle.set(variable, session.get(variable))
                expected = oracle.run(scores, {x: images})
            got = session.run(scores, {x: images})
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        assert program.compilations == before
        assert session.steps == 4


def test_evaluation_does_not_advance_the_random_stream():
    x, labels, loss, train, _ = make_model()
    images, targets = make_data()
    feeds = {x: images, labels: targets}
    with graphc.Session(seed=1) as session:
        first, second = session.run(loss, feeds), session.run(loss, feeds)
        assert first == second
        session.run(train, feeds)
        assert session.run(loss, feeds) != first


def test_kernels_and_planned_bytes_of_a_training_step():
    """What fusion makes of a step: the numbers change only when fusion or the memory plan does."""
    x = graphc.placeholder("x", ("batch", 20))
    labels = graphc.placeholder("labels", ("batch",), "int64")
    logits = nn.Sequential(nn.Dense(32, nn.relu), nn.Dense(10))(x)
    loss = nn.softmax_cross_entropy(logits, labels).mean()
    train = optim.SGD(0.1).minimize(loss)
    images, targets = make_data()
    with graphc.Session(threads=1) as session:
        session.run([loss, train], {x: images, labels: targets})
        (program,) = session.programs
        # prelude; dense+relu; dense+softmax+its gradient; loss and step; hidden gradient; two weights; two biases
        assert program.kernels == 9
        assert program.memory.peak <= 1.1 * program.memory.lower_bound


def formula_sgd(w, g, state, t):
    return w - 0.1 * g


def formula_momentum(w, g, state, t):
    state["v"] = 0.9 * state.get("v", 0) + 0.1 * g
    return w - 0.1 * state["v"]


def formula_classical(w, g, state, t):
    state["v"] = 0.9 * state.get("v", 0) + g
    return w - 0.1 * state["v"]


def formula_nesterov(w, g, state, t):
    state["v"] = 0.9 * state.get("v", 0) + g
    return w - 0.1 * (0.9 * state["v"] + g)


def formula_rmsprop(w, g, state, t):
    state["e"] = 0.9 * state.get("e", 0) + 0.1 * g * g
    return w - 0.1 * g / np.sqrt(state["e"] + 1e-8)


def formula_adam(w, g, state, t):
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g * g
    return w - 0.1 * (state["m"] / (1 - 0.9**t)) / (np.sqrt(state["v"] / (1 - 0.999**t)) + 1e-8)


@pytest.mark.parametrize(
    ("optimizer", "formula"),
    [
        (optim.SGD(0.1), formula_sgd),
        (optim.Momentum(0.1), formula_momentum),
        (optim.Momentum(0.1, classical=True), formula_classical),
        (optim.Momentum(0.1, classical=True, nesterov=True), formula_nesterov),
        (optim.RMSProp(0.1), formula_rmsprop),
        (optim.Adam(0.1), formula_adam),
    ],
    ids=["sgd", "momentum", "classical", "nesterov", "rmsprop", "adam"],
)
def test_optimizers_follow_their_formulas(optimizer, formula):
    target = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
    start = np.array([[0.3, 0.1, -0.2], [1.0, 2.0, 0.7]])
    w = graphc.variable(start)
    loss = ((w - target) ** 2).sum() / 2
    train = optimizer.minimize(loss)
    expected, state = start.copy(), {}
    with graphc.Session() as session:
        for t in range(1, 8):
            session.run(train)
            expected = formula(expected, expected - target, state, t)
            np.testing.assert_allclose(session.get(w), expected, rtol=1e-12, atol=1e-15)


def test_a_layer_of_layers_knows_their_variables():
    class Residual(nn.Layer):
        def __init__(self):
            super().__init__()
            self.inner, self.others = nn.Dense(4, nn.tanh), [nn.Dense(4), nn.Sequential(nn.relu, nn.Dense(4))]

        def forward(self, x, training):
            x = x + self.inner(x)
            for layer in self.others:
                x = layer(x, training=training)
            return x

    layer = Residual()
    assert layer.variables == []
    layer(graphc.placeholder("x", ("batch", 4)))
    assert [variable.shape for variable in layer.variables] == [(4, 4), (4,)] * 3
    assert layer.variables[-2:] == layer.others[1].variables


@pytest.mark.parametrize(
    ("name", "variance"),
    [("he_normal", 2 / 300), ("he_uniform", 2 / 300), ("xavier_normal", 2 / 700), ("xavier_uniform", 2 / 700)],
)
def test_initial_weights_have_their_variance(name, variance):
    weights = getattr(nn.initializers, name)((300, 400), np.dtype("float32"), np.random.default_rng(0))
    assert weights.shape == (300, 400) and weights.dtype == np.float32
    assert abs(weights.mean()) < 0.01 * variance**0.5 and weights.var() == pytest.approx(variance, rel=0.02)


def test_a_learning_rate_of_numpy_is_like_python_s():
    w = graphc.variable(np.float32(1.0))
    _, update = optim.SGD(np.float64(0.1)).minimize(w * w)
    assert all(tensor.dtype != "float64" for node in graphc.Graph((), (update,)).nodes for tensor in node.results)


def test_a_schedule_is_graph_and_compiles_once():
    w = graphc.variable(np.array([8.0]))
    train = optim.SGD(lambda step: 1.0 / graphc.cast(step, "float64")).minimize(w.sum())
    with graphc.Session() as session:
        for _ in range(4):
            session.run(train)
        assert len(session.programs) == 1
        np.testing.assert_allclose(session.get(w), 8 - (1 + 1 / 2 + 1 / 3 + 1 / 4))


def test_updates_read_old_values_and_take_effect_together():
    a, b = graphc.variable(np.array([1.0, 2.0])), graphc.variable(np.array([10.0, 20.0]))
    swap = [graphc.assign(a, b), graphc.assign(b, a + b)]
    with graphc.Session() as session:
        old, *_ = session.run([a, *swap])
        np.testing.assert_array_equal(old, [1.0, 2.0])
        np.testing.assert_array_equal(session.get(a), [10.0, 20.0])
        np.testing.assert_array_equal(session.get(b), [11.0, 22.0])


@pytest.mark.parametrize("optimizer", [optim.Adam(), optim.Momentum()], ids=lambda one: type(one).__name__)
def test_the_state_of_variables_too_large_for_memory_is_refused_by_the_session(optimizer):
    """No array of that size is made to declare it, nor to run it."""
    w = graphc.variable(lambda *_: pytest.fail("was asked for values"), shape=(10**7, 10**7), name="w")
    update = optimizer.minimize((w * w).sum())
    with graphc.Session(threads=1) as session, pytest.raises(graphc.GraphcError, match=r"'w': .* bytes"):
        session.run(update)


class Layerwise(optim.Adam):
    """A rate for each variable."""

    def rate(self, variable, count):
        return {"low": 0.1, "high": 0.5}[variable.node["name"]]


def test_adam_corrects_for_bias_once_a_dtype():
    variables = [graphc.variable(np.ones(3, dtype), name="w") for dtype in ("float32", "float64", "float32", "float64")]
    loss = sum(graphc.cast(w * w, "float32").sum() for w in variables)
    count = graphc.placeholder("count", (), "int64")
    updates = optim.Adam().minimize(loss)
    powers = [node for node in graphc.Graph((), tuple(updates)).nodes if node.op.name == "power"]
    assert len(powers) == 4 and {node.origin.scope for node in powers} == {(("adam", 0),)}
    # an update that is asked for by itself brings its corrections
    alone = optim.Adam().update(variables[0], graphc.gradients(loss, [variables[0]])[0], count)
    assert sum(node.op.name == "power" for node in graphc.Graph((count,), tuple(alone)).nodes) == 2


def test_one_adam_builds_two_graphs_at_once():
    waits, goes_on = threading.Event(), threading.Event()

    class Slow(optim.Adam):
        """Waits in its first update until another thread has built a whole step."""

        def update(self, variable, gradient, count):
            if threading.current_thread() is first:
                waits.set()
                assert goes_on.wait(10)
            return super().update(variable, gradient, count)

    found = {}

    def build(key):
        found[key] = adam.minimize((weights[key] ** 2).sum())

    adam = Slow()
    weights = {key: graphc.variable(np.ones(2, "float32"), name=f"w{key}") for key in range(2)}
    first = threading.Thread(target=build, args=(0,))
    first.start()
    assert waits.wait(10)
    build(1)
    gc.collect()  # what nobody holds any more is not found again by chance
    goes_on.set()
    first.join()
    for key in found:
        made = [node for node in graphc.Graph((), tuple(found[key])).nodes if node.op.name == "power"]
        corrections = [node for node in made if str(node.inputs[0].type) == "float32[]"]
        scopes = {tuple(name for name, _ in node.origin.scope) for node in corrections}
        assert len(corrections) == 2 and scopes == {("slow",)}, "once a dtype, and outside of any variable's scope"
    assert not any(type(value) is dict and value for value in vars(adam).values()), "what a step needs is forgotten"


def test_a_step_ends_if_it_has_begun():
    """``end`` may rely on what ``begin`` has made, and hides no error of it."""

    class Noting(optim.SGD):
        def __init__(self, failing):
            super().__init__()
            self.failing, self.made, self.ended = failing, {}, 0

        def begin(self, variable, count):
            if variable.dtype.name in self.failing:
                raise RuntimeError("no way to begin")
            self.made.setdefault(count, []).append(variable.dtype.name)

        def update(self, variable, gradient, count):
            if "update" in self.failing:
                raise RuntimeError("no way to update")
            return super().update(variable, gradient, count)

        def end(self, count):
            del self.made[count]
            self.ended += 1

    pairs = [(w * 2, w) for w in (graphc.variable(np.ones(2, dtype), name="w") for dtype in ("float32", "float64"))]
    for failing, ended in (((), 1), (("float32",), 0), (("float64",), 1), (("update",), 1)):
        optimizer = Noting(failing)
        if failing:
            with pytest.raises(RuntimeError, match="no way to"):
                optimizer.apply(pairs)
        else:
            optimizer.apply(pairs)
        assert (optimizer.made, optimizer.ended) == ({}, ended), failing
    optimizer = Noting(())
    optimizer.apply([])
    assert optimizer.ended == 0


def test_adam_asks_for_the_rate_of_each_variable():
    low, high = (graphc.variable(np.ones(3, "float64"), name=name) for name in ("low", "high"))
    train = Layerwise().minimize((low * low + high * high).sum())
    with graphc.Session() as session:
        session.run(train)
        # the first step of Adam is the rate long, whatever the gradient
        np.testing.assert_allclose(session.get(low), 0.9, rtol=1e-6)
        np.testing.assert_allclose(session.get(high), 0.5, rtol=1e-6)
