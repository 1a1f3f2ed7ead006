"""Random numbers: distributions by tests of goodness of fit, derivatives, seeds and workers, wrong input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import graphc
from graphc import random
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.random.quantile import normal_quantile

COUNT = 50_000
UNLIKELY = 1e-4
"""Below this probability a sample is not of its distribution. Seeds are fixed, so a test that passes, passes."""

CONTINUOUS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "uniform": (lambda d: random.uniform((COUNT,), -1.0, 3.0, d), stats.uniform(-1, 4)),
    "normal": (lambda d: random.normal((COUNT,), -1.0, 3.0, d), stats.norm(-1, 3)),
    "exponential": (lambda d: random.exponential((COUNT,), 2.0, d), stats.expon(scale=2)),
    "gumbel": (lambda d: random.gumbel((COUNT,), 1.0, 0.5, d), stats.gumbel_r(1, 0.5)),
    "laplace": (lambda d: random.laplace((COUNT,), 1.0, 0.5, d), stats.laplace(1, 0.5)),
    "truncated": (lambda d: random.truncated_normal((COUNT,), dtype=d), stats.truncnorm(-2, 2)),
    "upper tail": (lambda d: random.truncated_normal((COUNT,), 5, 7, 1.0, 2.0, d), stats.truncnorm(5, 7, 1, 2)),
    "one side": (
        lambda d: random.truncated_normal((COUNT,), -0.5, np.inf, dtype=d), stats.truncnorm(-0.5, np.inf),
    ),
}  # fmt: skip


def run(tensors: Any, feeds: Any = None, threads: int = 1, seed: int = 4) -> Any:
    with graphc.Session(seed=seed, threads=threads) as session:
        return session.run(tensors, feeds or {})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_continuous_distributions(dtype: str) -> None:
    tensors = [make(dtype) for make, _ in CONTINUOUS.values()]
    alone, shared = run(tensors), run(tensors, threads=2)
    for (name, (_, wanted)), values, again in zip(CONTINUOUS.items(), alone, shared, strict=True):
        np.testing.assert_array_equal(values, again, err_msg=name)
        assert values.dtype == dtype and np.isfinite(values).all(), name
        assert stats.kstest(values, wanted.cdf).pvalue > UNLIKELY, name
        low, high = wanted.support()
        assert low <= values.min() and values.max() <= high, name


def test_the_far_tail_keeps_its_digits() -> None:
    values = run(random.truncated_normal((COUNT,), -np.inf, -30.0, dtype="float64"))
    mirrored = run(random.truncated_normal((COUNT,), 30.0, np.inf, dtype="float64"))
    np.testing.assert_array_equal(values, -mirrored)
    assert values.max() < -30
    assert stats.kstest(values, lambda t: np.exp(special.log_ndtr(t) - special.log_ndtr(-30.0))).pvalue > UNLIKELY


def test_the_normal_quantile_is_as_exact_as_float64() -> None:
    p = np.concatenate([10.0 ** -np.arange(1, 290, 3.3), np.linspace(1e-6, 1 - 1e-6, 10_001), [0.5, 1 - 2.0**-53]])
    x = graphc.placeholder("p", ("n",), "float64")
    np.testing.assert_allclose(run(normal_quantile(x), {x: p}), special.ndtri(p), rtol=3e-15, atol=1e-16)


def counts_fit(values: Any, probabilities: Any) -> bool:
    observed = np.bincount(np.asarray(values).ravel(), minlength=len(probabilities))
    expected = np.asarray(probabilities) * np.size(values)
    assert not observed[expected == 0].any()
    possible = expected > 0
    return bool(stats.chisquare(observed[possible], expected[possible]).pvalue > UNLIKELY)


def test_discrete_distributions() -> None:
    p = np.array([0.1, 0.0, 0.2, 0.7])
    with np.errstate(divide="ignore"):
        logits = np.log(p) + 3
    rows = graphc.placeholder("rows", ("n", 4), "float32")
    columns = graphc.placeholder("columns", (4, "n"), "float64")
    weights = graphc.placeholder("weights", (4,), "float64")
    n = graphc.placeholder("n", ("m",), "float32")
    tensors = {
        "one row": random.categorical(logits, (COUNT,)),
        "many rows": random.categorical(rows),
        "along an axis": random.categorical(columns, axis=0),
        "shapes": random.categorical(np.stack([logits, logits]), (COUNT // 2, 2)),
        "choice": random.choice(4, (COUNT,), p=p),
        "unnormalised": random.choice(4, (COUNT // 2, 2), p=weights),
        "bernoulli": graphc.cast(random.bernoulli(0.3, (COUNT,)), "int64"),
        "randint": random.randint((COUNT,), -3, 4) + 3,
        "whole dtype": graphc.cast(random.randint((COUNT,), -128, 128, "int8"), "int64") + 128,
        "named": random.randint((COUNT,), 0, "m"),
        "even": random.choice(7, (COUNT,)),
    }
    same = [1 / 7] * 7
    expected = dict.fromkeys(tensors, p) | {
        "bernoulli": [0.7, 0.3], "randint": same, "named": same, "even": same, "whole dtype": [1 / 256] * 256,
    }  # fmt: skip
    feeds = {
        rows: np.tile(logits, (COUNT, 1)).astype("float32"),
        columns: np.tile(logits[:, None], (1, COUNT)), weights: 5 * p,
        n: np.zeros(7, "float32"),
    }  # fmt: skip
    values = run([*tensors.values(), n], feeds)[:-1]
    again = run([*tensors.values(), n], feeds, threads=2)[:-1]
    for name, drawn, other in zip(tensors, values, again, strict=True):
        np.testing.assert_array_equal(drawn, other, err_msg=name)
        assert drawn.dtype == np.int64 and counts_fit(drawn, expected[name]), name
    assert values[3].shape == (COUNT // 2, 2)


def test_every_order_is_as_likely() -> None:
    """Orders of four, drawn in a loop: each iteration draws its own."""
    p = np.array([0.1, 0.2, 0.3, 0.4])

    def draws(carry: Any, _: Any) -> Any:
        pairs = [random.choice(4, (2,), replace=False, p=weights) for weights in (p, None)]
        return carry, (random.permutation(4), *pairs)

    orders, weighted, even = run(graphc.scan(draws, 0.0, length=12_000)[1])
    assert stats.chisquare(np.unique(orders, axis=0, return_counts=True)[1]).pvalue > UNLIKELY
    assert len(np.unique(orders, axis=0)) == 24
    pairs = list(permutations(range(4), 2))
    for drawn, likely in ((weighted, [p[a] * p[b] / (1 - p[a]) for a, b in pairs]), (even, [1 / 12] * 12)):
        assert counts_fit([pairs.index((a, b)) for a, b in drawn], likely)


def test_permutations_and_choices_of_tensors() -> None:
    x = graphc.placeholder("x", ("n", 3), "float32")
    array = np.arange(30, dtype="float32").reshape(10, 3)
    tensors = [
        random.permutation("n"), random.permutation(x), random.permutation(x, axis=1), random.choice(x, (2, 2)),
        random.choice(array, (10,), replace=False), random.choice(x, (4,), p=[0, 1, 0], axis=1),
        random.choice(array, (2,), replace=False, p=[0.5, 0.5] + [0] * 8), random.permutation(0),
        random.choice(0, (0,)), random.choice("n", ("n",), replace=False),
    ]  # fmt: skip
    order, rows, columns, some, all_, second, both, none, nothing, whole = run([*tensors], {x: array})
    assert sorted(order) == sorted(whole) == list(range(10)) and list(order) != list(range(10))
    assert {tuple(row) for row in rows} == {tuple(row) for row in all_} == {tuple(row) for row in array}
    np.testing.assert_array_equal(np.sort(columns, axis=1), array)
    assert len({tuple(np.argsort(row)) for row in columns}) == 1
    assert some.shape == (2, 2, 3) and {tuple(row) for row in some.reshape(4, 3)} <= {tuple(row) for row in array}
    np.testing.assert_array_equal(second, np.repeat(array[:, 1:2], 4, axis=1))
    assert sorted(both[:, 0]) == [0, 3]
    assert none.shape == nothing.shape == (0,)


def test_derivatives_by_parameters() -> None:
    a, b = graphc.placeholder("a", (5,), "float64"), graphc.placeholder("b", (5,), "float64")
    ones = graphc.ones((5,), "float64")
    pairs = [
        (random.laplace((5,), a, b, "float64"), True), (random.gumbel((5,), a, b, "float64"), True),
        (random.truncated_normal((5,), -1, 1, a, b, "float64"), True), (random.exponential((5,), b, "float64"), False),
    ]  # fmt: skip
    values: dict[Any, Any] = {a: np.full(5, 0.5), b: np.full(5, 2.0)}
    fetched: list[Any] = []
    for drawn, shifted in pairs:
        slopes = graphc.gradients((drawn * ones).sum(), [a, b], zeros_for_disconnected=True)
        fetched += [drawn, *slopes]
        assert shifted or slopes
    found = run(fetched, values)
    for k, (_, shifted) in enumerate(pairs):
        drawn, by_a, by_b = found[3 * k : 3 * k + 3]
        np.testing.assert_array_equal(by_a, np.full(5, float(shifted)))
        np.testing.assert_allclose(by_b, (drawn - 0.5 * shifted) / 2, rtol=1e-12)


def test_draws_change_with_steps_and_seeds_only() -> None:
    w = graphc.variable(np.float32(0), name="w")
    drawn = [random.categorical(np.zeros(50), (9,)), random.permutation(20), random.gumbel((9,))]
    step = graphc.assign(w, w + 1)
    with graphc.Session(seed=1) as session, graphc.Session(seed=1) as same, graphc.Session(seed=2) as other:
        first, _ = session.run((drawn, step))
        second, _ = session.run((drawn, step))
        again, _ = same.run((drawn, step))
        differs, _ = other.run((drawn, step))
    for k in range(3):
        np.testing.assert_array_equal(first[k], again[k])
        assert not np.array_equal(first[k], second[k]) and not np.array_equal(first[k], differs[k])


WRONG: list[tuple[type[GraphcError], Callable[[], Any], str]] = [
    (GraphError, lambda: random.bernoulli(1.5), "bernoulli: expected probabilities between 0 and 1, got 1.5"),
    (GraphError, lambda: random.bernoulli(np.array([0.5, np.nan])), "between 0 and 1, got nan"),
    (GraphError, lambda: random.exponential((2,), -1.0), "exponential: expected scale of at least 0, got -1.0"),
    (GraphError, lambda: random.gumbel((2,), scale=[1.0, -2.0]), "gumbel: expected scale of at least 0, got -2.0"),
    (DTypeError, lambda: random.laplace((2,), dtype="int64"), "laplace: expected float32 or float64, got int64"),
    (GraphError, lambda: random.truncated_normal((2,), 1.0, 1.0),
     "truncated_normal: expected low < high, got 1.0 and 1.0"),
    (GraphError, lambda: random.truncated_normal((2,), np.nan, 1.0), "truncated_normal: expected low < high"),
    (GraphError, lambda: random.truncated_normal((2,), graphc.constant(1.0), 2.0), "expected numbers as bounds"),
    (GraphError, lambda: random.truncated_normal((2,), 40, 50), "between 40 and 50 there is no probability"),
    (GraphError, lambda: random.randint((2,), 3, 3), "randint: expected low < high, got 3 and 3"),
    (GraphError, lambda: random.randint((2,), 0, 300, "uint8"),
     "randint: uint8 does not hold the numbers from 0 to 300"),
    (GraphError, lambda: random.randint((2,), 0.0, 3), "randint: expected integers or dims as bounds, got 0.0"),
    (DTypeError, lambda: random.randint((2,), 0, 3, "float32"), "randint: expected an integer dtype, got float32"),
    (ShapeError, lambda: random.randint((-2,), 0, 3), "expected sizes of at least 0, got -2"),
    (ShapeError, lambda: random.categorical(0.5), "categorical: expected logits with an axis of classes, got a scalar"),
    (ShapeError, lambda: random.categorical(np.zeros((2, 0))), "categorical: expected at least one class, got (2, 0)"),
    (ShapeError, lambda: random.categorical(np.zeros((2, 3)), (5,)),
     "categorical: logits of shape (2,) without axis 1 do not broadcast to (5,)"),
    (ShapeError, lambda: random.permutation(-1), "permutation: expected sizes of at least 0, got -1"),
    (ShapeError, lambda: random.choice(0, (2,)), "choice: expected something to draw from, got none for (2,) draws"),
    (ShapeError, lambda: random.choice(3, (4,), replace=False),
     "choice: (4,) draws without replacement do not fit 3 entries"),
    (ShapeError, lambda: random.choice("n", (4,), replace=False),
     "(4,) draws without replacement do not fit n entries"),
    (ShapeError, lambda: random.choice(3, p=[0.5, 0.5]),
     "choice: expected one probability for each of 3 entries, got (2,)"),
    (GraphError, lambda: random.choice(2, p=[0.5, 0.6]),
     "choice: expected probabilities that sum to 1, got a sum of 1.1"),
    (GraphError, lambda: random.choice(2, p=[1.5, -0.5]), "choice: expected probabilities between 0 and 1, got 1.5"),
    (ShapeError, lambda: random.choice(3, (2,), False, [1.0, 0.0, 0.0]),
     "choice: 2 draws without replacement, but only 1 probabilities are not 0"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "call", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_input(kind: type[GraphcError], call: Callable[[], Any], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in caught.value.message
    assert "declared at test_distributions.py" in str(caught.value)
