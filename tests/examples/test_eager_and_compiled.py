"""The model of every example has the same values and gradients when it is compiled and when it runs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import eager, nn

for package in ("matplotlib", "sklearn", "sympy"):
    pytest.importorskip(package)


@dataclass
class Case:
    """A scalar function of tensors, arrays to call it with, and the layers whose variables it reads.

    It is differentiated by these variables and by its float arguments. The tolerance is relative to the largest
    element.
    """

    function: Callable[..., Any]
    arrays: Sequence[np.ndarray]
    layers: Sequence[nn.Layer] = field(default=())
    tolerance: float = 1e-10


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def codes(below: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(below).integers(0, below, shape)


def multiple_paths() -> list[Case]:
    example = import_module("multiple_paths")
    return [
        Case(lambda a: example.function(a)[1], [np.array(0.7)]),
        Case(lambda a: example.chain(a, 12), [np.array(0.7)]),
    ]


def four_ways_to_a_derivative() -> list[Case]:
    return [Case(import_module("four_ways_to_a_derivative").declared, [numbers(5)])]


def static_vs_dynamic() -> list[Case]:
    example = import_module("static_vs_dynamic")
    model = example.network()
    arrays = [numbers(7, example.PIXELS), codes(example.CLASSES, 7)]
    return [Case(lambda x, labels: example.loss_of(model, x, labels), arrays, [model])]


def logistic_regression() -> list[Case]:
    example = import_module("logistic_regression")
    x, y = numbers(60, 4), codes(2, 60).astype(float)
    models = [example.network(basis, x) for basis in example.BASES]
    return [Case(lambda x, y, model=model: example.loss_of(model, x, y), [x, y], [model]) for model in models]


def universal_approximation() -> list[Case]:
    example = import_module("universal_approximation")
    x = np.linspace(-1, 1, 20)[:, None]
    slopes, centres, _ = example.initial(8)
    units = lambda x, y, slopes, centres: graphc.square(  # noqa: E731
        example.linalg.pinv(example.hidden(x, slopes, centres)) @ y
    ).mean()
    return [
        Case(example.loss_of, [x, example.target(x), slopes, centres, numbers(9, 1)]),
        Case(units, [x, example.target(x), slopes[:3], centres[:3]], tolerance=1e-8),  # the condition of H enters
    ]


def vanishing_gradients() -> list[Case]:
    example = import_module("vanishing_gradients")
    u, zeros = numbers(example.SIZE), np.zeros((6, example.SIZE))
    found = [
        Case(lambda zeros, f=activation: example.last_state(1.1, f, zeros, u), [zeros])
        for activation in (lambda h: h, graphc.tanh)
    ]
    for network in example.NETWORKS:
        layers = example.layers_of(network, 3)
        mean = lambda x, network=network, layers=layers: (  # noqa: E731
            example.outputs_of(network, layers, x)[-1] * u
        ).mean()
        found.append(Case(mean, [numbers(4, example.SIZE)], layers))
    return found


def digits_mlp() -> list[Case]:
    """Tested and trained."""
    example = import_module("digits_mlp")
    model, arrays = example.network(), [numbers(5, 64), codes(10, 5)]
    return [
        Case(lambda x, labels, on=on: example.loss_of(model(x, training=on), labels), arrays, [model])
        for on in (False, True)
    ]


def char_transformer() -> list[Case]:
    """In float32, the dtype of an embedding."""
    example = import_module("char_transformer")
    model = example.network(30)
    arrays = [codes(30, 2, example.LENGTH), codes(29, 2, example.LENGTH)]
    return [
        Case(lambda x, y, on=on: example.bits_of(model(x, training=on), y, 3), arrays, [model], 1e-5)
        for on in (False, True)
    ]


EXAMPLES = [
    multiple_paths, four_ways_to_a_derivative, static_vs_dynamic, logistic_regression, universal_approximation,
    vanishing_gradients, digits_mlp, char_transformer,
]  # fmt: skip


def test_every_example_is_compared() -> None:
    folder = Path(__file__).parents[2] / "examples"
    assert {make.__name__ for make in EXAMPLES} == {path.stem for path in folder.glob("*.py")}


def results(case: Case, tensors: Sequence[graphc.Tensor]) -> list[graphc.Tensor]:
    """The function's value and its gradients."""
    value = case.function(*tensors)
    floats = [tensor for tensor in tensors if tensor.dtype.kind == "f"]
    by = [*floats, *(variable for layer in case.layers for variable in layer.variables)]
    return [value, *graphc.gradients(value, by)]


def compiled(cases: Sequence[Case]) -> list[list[np.ndarray]]:
    """All of them as one program."""
    feeds: dict[graphc.Tensor, np.ndarray] = {}
    fetches = []
    for case in cases:
        inputs = [graphc.placeholder("x", array.shape, array.dtype) for array in case.arrays]
        feeds |= zip(inputs, case.arrays, strict=True)
        fetches.append(results(case, inputs))
    with graphc.Session(threads=1, seed=0) as session:
        return session.run(fetches, feeds)


def at_once(cases: Sequence[Case]) -> list[list[np.ndarray]]:
    with graphc.Session(backend="reference", seed=0) as session, eager.using(session):
        return [[part.numpy() for part in results(case, [*map(eager.asarray, case.arrays)])] for case in cases]


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda make: make.__name__)
def test_values_and_gradients_are_equal(make: Callable[[], list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
    if make is char_transformer:
        for name, value in {"WIDTH": 16, "BLOCKS": 1, "LENGTH": 8}.items():
            monkeypatch.setattr(import_module("char_transformer"), name, value)
    # Which of a step's random numbers a dropout layer gets depends on the program it is in: here the masks are given.
    masks = np.random.default_rng(0).random(10_000)
    given = lambda p, shape: graphc.constant(np.resize(masks, shape) < p)  # noqa: E731
    monkeypatch.setattr(graphc.random, "bernoulli", given)
    cases = make()
    for case, ours, theirs in zip(cases, compiled(cases), at_once(cases), strict=True):
        assert len(ours) == len(theirs) > 1
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.dtype == other.dtype
            scale = np.abs(other).max()
            assert np.isfinite(scale)
            np.testing.assert_allclose(mine, other, rtol=0, atol=case.tolerance * max(scale, 1e-3))
        assert any(np.abs(other).max() > 1e-6 for other in theirs[1:])
