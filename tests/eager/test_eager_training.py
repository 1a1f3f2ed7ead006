"""Models and training steps at once and compiled: the same layers, losses and optimizers, and the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc import eager, nn, optim
from graphc.errors import GradientError, GraphError, SessionError, ShapeError

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(8, 5))
LABELS = GENERATOR.integers(0, 3, 8)
STEPS = 5


@pytest.fixture(autouse=True)
def own_session():
    """Variables and seed of each test are its own."""
    with graphc.Session(threads=1, backend="reference", seed=3) as session, eager.using(session):
        yield session


def perceptron(name: str | None = None) -> nn.Sequential:
    return nn.Sequential(
        nn.Dense(7), nn.relu, nn.LayerNorm(), nn.Dense(6, graphc.tanh), nn.Dropout(0.5), nn.Dense(3), name=name
    )


def compiled_losses(models: list[nn.Sequential], optimizers: list[optim.Optimizer]) -> np.ndarray:
    """One program trains all models at once."""
    x, labels = graphc.placeholder("x", ("batch", 5), "float64"), graphc.placeholder("labels", ("batch",), "int64")
    losses = [nn.softmax_cross_entropy(model(x), labels).mean() for model in models]
    train = [optimizer.minimize(loss) for optimizer, loss in zip(optimizers, losses, strict=True)]
    with graphc.Session(threads=1, seed=3) as session:
        return np.array([session.run([losses, train], {x: IMAGES, labels: LABELS})[0] for _ in range(STEPS)]).T


def eager_losses(model: nn.Layer, optimizer: optim.Optimizer) -> list[float]:
    found = []
    for _ in range(STEPS):
        loss = nn.softmax_cross_entropy(model(eager.asarray(IMAGES)), eager.asarray(LABELS)).mean()
        found.append(float(loss))
        eager.minimize(optimizer, loss)
    return found


OPTIMIZERS = (
    lambda: optim.SGD(0.1), lambda: optim.Momentum(0.1), lambda: optim.Momentum(0.05, classical=True, nesterov=True),
    lambda: optim.RMSProp(0.01), lambda: optim.Adam(0.01),
    lambda: optim.Adam(lambda count: 0.1 / graphc.cast(count, "float64")),
)  # fmt: skip


def test_losses_are_those_of_a_compiled_program():
    names = [f"model{place}" for place in range(len(OPTIMIZERS))]
    wanted = compiled_losses([perceptron(name) for name in names], [make() for make in OPTIMIZERS])
    assert (wanted[:, -1] < wanted[:, 0]).all()
    for name, make, losses in zip(names, OPTIMIZERS, wanted, strict=True):
        np.testing.assert_allclose(eager_losses(perceptron(name), make()), losses, rtol=1e-12, err_msg=name)


def test_one_model_both_ways():
    """The same layers are called on placeholders and on eager tensors; one session serves both."""
    model = perceptron()
    (wanted,) = compiled_losses([model], [optim.Adam(0.01)])
    np.testing.assert_allclose(eager_losses(model, optim.Adam(0.01)), wanted, rtol=1e-12)
    x = graphc.placeholder("x", ("batch", 5), "float64")
    scores = model(x)
    trained = np.asarray(model(eager.asarray(IMAGES)))
    np.testing.assert_allclose(eager.session().run(scores, {x: IMAGES}), trained, rtol=1e-12)


def test_a_compiled_session_trains_what_is_computed_at_once():
    """Updates run in whatever session is in use; here they are compiled."""
    (wanted,) = compiled_losses([perceptron()], [optim.Adam(0.01)])
    with graphc.Session(threads=1, seed=3) as session, eager.using(session):
        np.testing.assert_allclose(eager_losses(perceptron(), optim.Adam(0.01)), wanted, rtol=1e-12)
        assert session.steps == STEPS


def test_a_transformer_at_once():
    """Embeddings, attention with a mask, normalisation: values and gradients of all variables."""
    words = GENERATOR.integers(0, 11, (2, 6))
    embed = nn.Sequential(nn.Embedding(11, 8, dtype="float64"), nn.PositionEmbedding(6), name="embed")
    block = nn.TransformerBlock(2, name="block")

    def loss_of(ids: Any) -> Any:
        return graphc.mean(graphc.square(block(embed(ids), mask=np.tri(6, dtype=bool))))

    ids = graphc.placeholder("ids", (2, 6), "int64")
    loss = loss_of(ids)
    variables = embed.variables + block.variables
    assert len(variables) > 10
    wanted = eager.session().run([loss, *graphc.gradients(loss, variables)], {ids: words})
    at_once = loss_of(eager.asarray(words))
    for got, want in zip([at_once, *graphc.gradients(at_once, variables)], wanted, strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-10, atol=1e-12)


def test_dropout_draws_afresh_and_from_the_seed():
    x, layer = eager.asarray(np.ones(64)), nn.Dropout(0.5)
    first, second = (layer(x, training=True).numpy() for _ in range(2))
    assert set(first) == {0.0, 2.0} and not np.array_equal(first, second)
    eager.seed(3)
    np.testing.assert_array_equal(layer(x, training=True).numpy(), first)
    eager.seed(4)
    assert not np.array_equal(layer(x, training=True).numpy(), first)
    with pytest.raises(SessionError, match="expected an integer seed"):
        eager.seed("x")


def test_random_numbers_are_drawn_once():
    """A tensor of random numbers is one draw, however often it is used; its derivative sees the same numbers."""
    noise = graphc.random.normal((50,), dtype="float64")
    x = eager.asarray(np.ones(50))
    np.testing.assert_allclose(np.asarray((x + noise) - (noise + x)), 0)
    assert np.std(np.asarray(eager.random.normal((1000,)))) == pytest.approx(1, abs=0.1)
    y = (x * noise * x).sum()
    np.testing.assert_array_equal(np.asarray(graphc.gradients(y, x)), np.asarray(2 * (x * noise)))


def test_random_numbers_of_a_loop_are_the_same_in_its_derivative():
    def step(total: Any, x: Any) -> tuple[Any, Any]:
        noise = graphc.random.normal((), dtype="float64")
        return total + x * noise, noise

    xs = eager.asarray(GENERATOR.normal(size=6))
    total, noises = graphc.scan(step, eager.asarray(0.0, "float64"), xs)
    assert len(set(noises.tolist())) == 6
    np.testing.assert_array_equal(np.asarray(graphc.gradients(total, xs)), np.asarray(noises))
    again, _ = graphc.scan(step, eager.asarray(0.0, "float64"), xs)
    assert float(again) != float(total)


def test_variables_are_read_when_they_are_used():
    w = graphc.variable(np.array([1.0, 2.0]), name="w")
    x = eager.asarray([3.0, 4.0], "float64")
    before = (x * w).sum()
    eager.assign(w, [10.0, 20.0])
    after = (x * w).sum()
    assert (float(before), float(after)) == (11.0, 110.0)
    np.testing.assert_array_equal(eager.session().get(w), [10, 20])
    np.testing.assert_array_equal(np.asarray(graphc.gradients(after, w)), [3, 4])
    with pytest.raises(GradientError, match="does not depend on w") as caught:
        graphc.gradients(before, w)
    assert "w has changed since" in str(caught.value)
    eager.session().set(w, np.zeros(2))
    assert float((x * w).sum()) == 0


def test_expressions_of_variables_alone_enter_where_they_meet_values():
    w = graphc.variable(np.array([1.0, 2.0]), name="w")
    penalty = (w * w).sum()  # graph
    assert type(penalty) is graphc.Tensor
    loss = eager.asarray(1.0, "float64") + 0.5 * penalty
    assert float(loss) == 3.5
    np.testing.assert_array_equal(np.asarray(graphc.gradients(loss, w)), [1, 2])
    assert float(eager.sum(eager.square(w))) == 5
    eager.minimize(optim.SGD(0.5), penalty)
    np.testing.assert_array_equal(np.asarray(eager.asarray(w)), [0, 0])
    assert float(eager.value(penalty)) == 0


def test_variables_of_eager():
    w = eager.variable(np.array([1.0, 2.0]), name="w")
    assert repr(w) == "tensor([1., 2.], float64)" and isinstance((w * w).sum(), eager.EagerTensor)
    sgd = optim.SGD(0.25)
    for _ in range(3):
        eager.minimize(sgd, (w * w).sum())
    np.testing.assert_array_equal(np.asarray(w), [0.125, 0.25])
    written = eager.assign(w, w + 1)
    np.testing.assert_array_equal(written.numpy(), eager.session().get(w))
    eager.session().set(w, [0, 0])
    assert w.tolist() == [0, 0]
    _, ys = graphc.scan(lambda carry, x: (carry, x * w), None, eager.asarray(np.eye(2)))
    np.testing.assert_array_equal(np.asarray(ys), np.zeros((2, 2)))


def test_several_optimizers_keep_apart():
    w, v = (eager.variable(1.0, name=name, dtype="float64") for name in "wv")
    first, second = optim.Momentum(0.1), optim.Momentum(0.1)
    for _ in range(3):
        eager.minimize(first, w * w)
        eager.minimize(second, v * v)
    assert float(w) == float(v)
    eager.minimize(second, w * w)  # starts without velocity
    assert float(w) != float(v)


def test_learning_rates_that_change():
    w, rate = eager.variable(8.0, dtype="float64"), graphc.variable(0.25, dtype="float64", trainable=False)
    sgd = optim.SGD(rate)
    eager.minimize(sgd, w * w)
    assert float(w) == 4
    eager.assign(rate, 0.125)
    eager.minimize(sgd, w * w)
    assert float(w) == 3
    fixed = optim.SGD(0.25)
    eager.minimize(fixed, w * w)
    fixed.learning_rate = 0.5
    with pytest.raises(GraphError, match=r"SGD.learning_rate was 0.25 at the first step and is 0.5 now"):
        eager.minimize(fixed, w * w)
    assert float(w) == 1.5


def test_apply_gradients_takes_what_was_made_of_them():
    w = eager.variable(np.array([3.0, 4.0]))
    gradient = graphc.gradients((w * w).sum(), w)
    clipped = gradient / graphc.norm(gradient)
    eager.apply_gradients(optim.SGD(1.0), [(clipped, w)])
    np.testing.assert_allclose(np.asarray(w), [2.4, 3.2])


def test_value_and_gradients():
    def function(weights: Any, x: Any, power: int, *, scale: float = 1.0) -> Any:
        return scale * ((weights["w"] * x + weights["b"]) ** power).sum()

    weights = {"w": np.array([1.0, 2.0]), "b": 0.5, "labels": np.array([1])}
    value, found = eager.value_and_gradients(function)(weights, np.array([3.0, 4.0]), 2, scale=2.0)
    by_weights, by_x, by_power = found
    assert float(value) == 2 * (3.5**2 + 8.5**2)
    np.testing.assert_allclose(np.asarray(by_weights["w"]), 4 * np.array([3.5 * 3, 8.5 * 4]))
    assert by_weights["b"] is None and by_weights["labels"] is None and by_power is None
    np.testing.assert_allclose(np.asarray(by_x), 4 * np.array([3.5, 17]))
    slope = eager.value_and_gradients(lambda x: eager.value_and_gradients(lambda y: (y**3).sum())(x)[1].sum())
    np.testing.assert_allclose(np.asarray(slope(np.array([2.0]))[1]), [12.0])
    w = eager.variable(2.0, dtype="float64")
    value, (by_w,) = eager.value_and_gradients(lambda x: (x * w).sum(), [w])(np.array([3.0]))
    assert float(by_w) == 3
    with pytest.raises(GradientError, match="no argument is a float tensor"):
        eager.value_and_gradients(lambda n: n)(np.array(3))


def test_updates_are_refused_where_they_would_be_lost():
    w = graphc.variable(np.ones(2), name="w")
    loss = (eager.asarray(np.ones(2)) * w).sum()
    with pytest.raises(GraphError, match="assign: the value is an eager tensor") as caught:
        optim.SGD().minimize(loss)
    assert "graphc.eager.minimize(optimizer, loss) is a step" in str(caught.value)
    with pytest.raises(GradientError, match="no trainable variable"):
        eager.minimize(optim.SGD(), eager.asarray(1.0))
    with pytest.raises(GraphError, match=r"expected an optimizer of graphc\.optim"):
        eager.minimize(0.1, loss)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="expected variables to update, got tensor"):
        eager.apply_gradients(optim.SGD(), [(loss, loss)])
    with pytest.raises(ShapeError, match="assign: w has shape"):
        eager.assign(w, eager.asarray(np.ones(3)))
    with pytest.raises(GraphError, match="assign: expected a variable"):
        eager.assign(eager.asarray(1.0), 2.0)
    eager.assign(w, np.zeros(2))
    with pytest.raises(GradientError, match="has changed since"):
        eager.minimize(optim.SGD(), loss, [w])
    np.testing.assert_array_equal(eager.session().get(w), [0, 0])
