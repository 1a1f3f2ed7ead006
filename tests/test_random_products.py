"""Random graphs of products, softmaxes and views: what becomes kernels of several contractions agrees with NumPy.

Every tensor has three axes, the first of them a batch that is named or static, and each operand is made to fit, so that
no graph is lost. The environment variable ``RANDOM_GRAPHS`` sets how many are tried, drawn afresh at each run.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import graphc
from graphc.ir.node import Tensor
from graphc.runtime import executable
from graphc.testing.compare import same_bits
from graphc.testing.fuzzing import Declared

SEARCH = "RANDOM_GRAPHS" in os.environ
COUNT = int(os.environ.get("RANDOM_GRAPHS", "12"))
PHASES = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if SEARCH else [])]
SIZES = (1, 2, 3, 5, 9)
TOLERANCE = 1e-9
"""Of float64 results, relative to the largest element; every function here is smooth and keeps numbers small."""


def product(draw: Any, x: Tensor, leaf: Any) -> Tensor:
    """Of a tensor with another of the same batch, or with a matrix that all of the batch share."""
    width = x.shape[-1]
    batch = () if draw(st.booleans()) else (x.shape[0],)
    other = leaf((*batch, width, draw(st.sampled_from(SIZES))))
    return x @ (graphc.tanh(other) if draw(st.booleans()) else other)


def with_itself(draw: Any, x: Tensor, leaf: Any) -> Tensor:
    """A product with its own transpose, from one side or the other."""
    turned = graphc.matrix_transpose(graphc.sin(x))
    return graphc.tanh(x @ turned if draw(st.booleans()) else turned @ x)


def regrouped(draw: Any, x: Tensor, leaf: Any) -> Tensor:
    """The last two axes as one, in either order, and cut in another place."""
    rows, width = x.shape[1:]
    flat = (graphc.matrix_transpose(x) if draw(st.booleans()) else x).reshape((x.shape[0], rows * width))
    return flat.reshape((x.shape[0], width, rows))


def sliced(draw: Any, x: Tensor, leaf: Any) -> Tensor:
    """Every other row, backwards, or all columns but the first."""
    ways = (lambda: x[:, ::2], lambda: x[:, ::-1], lambda: x[:, :, 1:] if x.shape[2] > 1 else x)
    return draw(st.sampled_from(ways))()


def centred(draw: Any, x: Tensor, leaf: Any) -> Tensor:
    """Less the mean of rows or columns."""
    return x - x.mean(axis=draw(st.sampled_from([1, 2])), keepdims=True)


def gathered(draw: Any, x: Tensor, leaf: Any) -> Tensor:
    """Rows or columns at places that are data."""
    axis, places = draw(st.sampled_from([1, 2])), leaf((draw(st.sampled_from(SIZES)),))
    return graphc.take(x, graphc.floor(100 * places).astype("int64") % x.shape[axis], axis=axis)


STEPS = {
    "product": product,
    "with itself": with_itself,
    "softmax": lambda draw, x, leaf: graphc.softmax(x, axis=draw(st.sampled_from([-1, -2]))),
    "transpose": lambda draw, x, leaf: graphc.matrix_transpose(x),
    "regrouped": regrouped,
    "sliced": sliced,
    "joined": lambda draw, x, leaf: graphc.concat([x, graphc.sin(x)], axis=draw(st.sampled_from([1, 2]))),
    "centred": centred,
    "gathered": gathered,
    "residual": lambda draw, x, leaf: x + graphc.tanh(x) * leaf(x.shape[1:]),
}


@st.composite
def stacks_of_products(draw: Any) -> Declared:
    """A chain of up to eight steps, every other one a product, with its derivatives by all leaves."""
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    batch = draw(st.sampled_from(("n", 3)))
    length = draw(st.sampled_from((0, 1, 2, 5))) if batch == "n" else 3
    inputs: list[Tensor] = []
    arrays: list[np.ndarray] = []

    def leaf(shape: Any) -> Tensor:
        inputs.append(graphc.placeholder(f"x{len(inputs)}", tuple(shape), "float64"))
        sizes = [size if isinstance(size, int) else length for size in shape]
        arrays.append(generator.normal(size=sizes) / 2)
        return inputs[-1]

    x = leaf((batch, draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))))
    for _ in range(draw(st.integers(1, 4))):
        x = product(draw, x, leaf)
        x = STEPS[draw(st.sampled_from(sorted(STEPS)))](draw, x, leaf)
    slopes = graphc.gradients((graphc.sin(x) * x).sum(), inputs, zeros_for_disconnected=True)
    return Declared(tuple(inputs), (x, *slopes), (), tuple(arrays))


def run(graph: Declared, **options: Any) -> list[np.ndarray]:
    with graphc.Session(**{"threads": 1} | options) as session:
        return session.run(list(graph.outputs), dict(zip(graph.inputs, graph.arrays, strict=True)))


@hypothesis.given(graph=stacks_of_products())
@hypothesis.settings(
    max_examples=COUNT, derandomize=not SEARCH, phases=PHASES, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_products_and_what_lies_between_them(graph: Declared) -> None:
    expected, compiled = run(graph, backend="reference"), run(graph)
    for left, right in zip(compiled, expected, strict=True):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, rtol=0, atol=TOLERANCE * np.abs(right).max(initial=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executable, "PARALLEL_WORK", 1)
        for options in ({"threads": 2}, {"threads": 3}, {"reuse_memory": False}):
            for left, right in zip(compiled, run(graph, **options), strict=True):
                assert same_bits(left, right), options
