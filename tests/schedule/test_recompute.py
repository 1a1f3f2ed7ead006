"""Recomputation: whatever the backward pass computes again, every result keeps its bits, and less is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.compiler import PIPELINE, compile_graph
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor, interned_apart, make_node
from graphc.nn.attention import gelu_tanh
from graphc.passes.parts import parts_of
from graphc.schedule import recompute
from graphc.schedule.footprint import kept_for_backward
from graphc.testing.compare import same_bits

NEVER = 1 << 62
GENERATOR = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(dtype)


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Recompute whatever can be, or nothing."""
    return lambda wanted: monkeypatch.setattr(recompute, "CACHE_BYTES", 0 if wanted else NEVER)


def simplified(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Graph:
    """A graph as recomputation gets it."""
    graph = Graph(tuple(inputs), tuple(outputs))
    for name, stage in PIPELINE:
        if name == "recompute":
            return graph
        graph = stage(graph)
    raise AssertionError("the pipeline has no stage named recompute")


def copies(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    """How many values the backward pass makes again."""
    with interned_apart(Graph(tuple(inputs), tuple(outputs)).all_nodes()):
        graph = recompute.recompute(simplified(inputs, outputs))
    return sum(node.op.name == "again" for node in graph.nodes)


def run(fetches: Any, feeds: Any, steps: int = 1, **options: Any) -> list[np.ndarray]:
    """What some steps return, one after another."""
    with graphc.Session(**{"threads": 1, "seed": 0} | options) as session:
        found = [session.run(fetches, feeds) for _ in range(steps)]
    return [array for step in found for array in step if array is not None]


def agree(forced: Callable[[bool], None], fetches: Any, feeds: Any, **options: Any) -> None:
    """With and without recomputation, the same bits; and the reference backend's values."""
    forced(False)
    before = run(fetches, feeds, **options)
    expected = run(fetches, feeds, backend="reference", **options)
    forced(True)
    for left, right, wanted in zip(before, run(fetches, feeds, **options), expected, strict=True):
        assert same_bits(left, right)
        np.testing.assert_allclose(right, wanted, rtol=2e-4, atol=2e-5 * np.abs(wanted).max(initial=1))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": graphc.tanh,
    "gelu": gelu_tanh,
    "softmax": graphc.softmax,
    "layer norm": nn.layer_norm,
    "dropout": lambda x: nn.dropout(graphc.tanh(x), 0.4),
}


def perceptron(activation: Callable[[Tensor], Tensor], layers: int = 2) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Input (n, 5), a mean loss, and the variables of dense layers of 6 and 7 units in turn."""
    h = x = graphc.placeholder("x", ("n", 5))
    variables = []
    for place in range(layers):
        layer = nn.Dense(6 + place % 2)
        h = activation(layer(h))
        variables += layer.variables
    return x, (h * h).mean(), variables


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The last tanh is made again from its product. The first one is an operand of a contraction of the backward
        # pass, and nothing beside it is made of the same product: it is kept.
        ("tanh", 1),
        # gelu reads its product several times: both layers have the value and the slope made of it together
        ("gelu", 2),
        # the exponentials are made of a row's maximum, which no map makes again: they are kept, and what they are times
        # the reciprocal of their sum is made again of the two
        ("softmax", 1),
        ("layer norm", 1),
        ("dropout", 1),
    ],
)
def test_values_and_gradients_keep_their_bits(name, expected, forced):
    x, loss, variables = perceptron(ACTIVATIONS[name])
    fetches = [loss, *graphc.gradients(loss, [x, *variables])]
    for n in (9, 0) if name != "dropout" else (9,):
        agree(forced, fetches, {x: normal(n, 5)})
    assert copies([x], fetches) == expected


def test_training_steps_keep_their_bits(forced):
    # the variables that a copy reads are updated in the same step: it must read what they were before
    x, loss, _ = perceptron(graphc.tanh, layers=3)
    agree(forced, [loss, optim.Adam(0.1).minimize(loss)], {x: normal(9, 5)}, steps=3)


def test_a_copy_reads_the_old_bias_though_a_new_one_is_written_in_the_same_step(forced):
    # gelu(x @ w + b) is made again from x @ w and b, while b counts up in a kernel that waits for nothing else
    x, w = graphc.placeholder("x", ("n", 5)), graphc.variable(normal(5, 6))
    b = graphc.variable(normal(6), trainable=False)
    loss = graphc.tanh(gelu_tanh(x @ w + b) @ graphc.variable(normal(6, 3))).mean()
    fetches = [loss, graphc.gradients(loss, w), graphc.assign(b, b + 1)]
    agree(forced, fetches, {x: normal(9, 5)}, steps=2)
    assert copies([x], fetches) == 1


def test_with_random_state_that_moves_on(forced):
    # the mask is drawn again in the backward pass from the state that the forward pass had, in every step
    x, loss, _ = perceptron(ACTIVATIONS["dropout"])
    agree(forced, [loss, optim.SGD(0.1).minimize(loss)], {x: normal(9, 5)}, steps=3)


def test_a_value_that_is_fetched_too(forced):
    x, w = graphc.placeholder("x", ("n", 5)), graphc.variable(normal(5, 6))
    t = graphc.tanh(x @ w)
    u = t * t
    loss = (graphc.tanh(u) @ graphc.variable(normal(6, 3))).sum()
    fetches = [t, u, loss, *graphc.gradients(loss, [w, t])]
    agree(forced, fetches, {x: normal(9, 5)})
    assert copies([x], fetches) == 1


def test_second_derivatives(forced):
    x, w = graphc.placeholder("x", ("n", 5)), graphc.variable(normal(5, 6))
    loss = graphc.tanh(gelu_tanh(x @ w) @ graphc.variable(normal(6, 3))).mean()
    first = graphc.gradients(loss, [x, w])
    second = graphc.gradients((first[0] ** 2).sum() + (first[1] ** 2).sum(), [x, w])
    agree(forced, [loss, *first, *second], {x: normal(3, 5)})
    report = graphc.check_gradients(
        lambda x, w: graphc.tanh(gelu_tanh(x @ w) @ w), [normal(4, 3, dtype="float64"), normal(3, 3, dtype="float64")]
    )
    assert report.second < 1e-5


def attended(x: Tensor, layers: int = 1, causal: bool = True) -> tuple[Tensor, list[Tensor]]:
    """A mean loss of layers of attention, two heads of 4 over (batch, length, 8), and its derivatives."""
    h, variables = x, []
    for _ in range(layers):
        attention = nn.MultiHeadAttention(2, causal=causal)
        h = h + attention(h)
        variables += attention.variables
    loss = (h * h).mean()
    return loss, graphc.gradients(loss, [x, *variables])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_attention_s_weights_are_made_again_of_their_exponentials(causal, layers, forced):
    # The derivative of the values multiplies them, and comes before the derivative of the softmax, which reads the
    # exponentials: it waits for that, and both are one kernel, with the weights in scratch.
    x = graphc.placeholder("x", ("batch", 6, 8))
    loss, slopes = attended(x, layers, causal)
    agree(forced, [loss, *slopes], {x: normal(3, 6, 8)})
    assert copies([x], [loss, *slopes]) == layers
    forced(True)
    schedule = compile_graph(Graph((x,), (loss, *slopes))).schedule
    weights = (2, 6, 6)
    kept = [t for step in schedule.steps for t in step.stored if t.shape[1:] == weights]
    assert len(kept) == layers  # the exponentials


def test_attention_s_weights_that_fill_no_scratch_are_kept(forced, monkeypatch):
    monkeypatch.setattr(recompute, "LARGEST_TILE", 2 * 6 * 6 - 1)
    forced(True)
    x = graphc.placeholder("x", ("batch", 6, 8))
    loss, slopes = attended(x)
    assert copies([x], [loss, *slopes]) == 0


def test_what_a_scan_makes(forced):
    # its rows are kept (no map makes them again), what is made of them is not
    xs, start = graphc.placeholder("xs", ("steps", 4, 5)), graphc.placeholder("start", (4, 5))
    w, v = graphc.variable(normal(5, 5)), graphc.variable(normal(5, 3))
    _, rows = graphc.scan(lambda h, x: (graphc.tanh(h @ w + x),) * 2, start, gelu_tanh(xs @ w))
    loss = graphc.tanh(gelu_tanh(rows) @ v).mean()
    fetches = [loss, *graphc.gradients(loss, [xs, start, w, v])]
    agree(forced, fetches, {xs: normal(6, 4, 5), start: normal(4, 5)})
    assert copies([xs, start], fetches) == 2


def test_a_derivative_written_by_hand(forced):
    def rule(inputs: Any, outputs: Any, cotangents: Any) -> Any:
        return (cotangents[0] * (1 - outputs[0] * outputs[0]) + 0 * inputs[0],)

    own = graphc.custom_gradient(graphc.tanh, vjp=rule)
    x, loss, variables = perceptron(lambda h: own(h) * 2)
    fetches = [loss, *graphc.gradients(loss, [x, *variables])]
    agree(forced, fetches, {x: normal(9, 5)})
    assert copies([x], fetches) == 1


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_workers(threads, forced, monkeypatch):
    from graphc.runtime import executable

    monkeypatch.setattr(executable, "PARALLEL_WORK", 1)
    x, loss, _ = perceptron(gelu_tanh)
    fetches, feeds = [loss, optim.Adam(0.1).minimize(loss)], {x: normal(65, 5)}
    forced(True)
    alone = run(fetches, feeds, steps=2)
    for left, right in zip(alone, run(fetches, feeds, steps=2, threads=threads), strict=True):
        assert same_bits(left, right)
    for left, right in zip(alone, run(fetches, feeds, steps=2, reuse_memory=False), strict=True):
        assert same_bits(left, right)


def kept_bytes(inputs: Sequence[Tensor], outputs: Sequence[Tensor], n: int) -> int:
    schedule = compile_graph(Graph(tuple(inputs), tuple(outputs))).schedule
    return sum(entry.bytes for entry in kept_for_backward(schedule, {"n": n}))


def test_what_is_kept(forced):
    # Before: z = x @ w, the tanh inside gelu, and gelu's value, an operand of the derivative by v: three arrays of
    # n * 16 floats. After: z alone, of which one kernel of the backward pass makes both others again.
    x = graphc.placeholder("x", ("n", 8))
    w, b, v = (graphc.variable(normal(*shape)) for shape in ((8, 16), (16,), (16, 4)))
    loss = (graphc.tanh(gelu_tanh(x @ w + b) @ v) ** 2).mean()
    outputs = [loss, *graphc.gradients(loss, [w, b, v])]
    found = []
    for wanted in (False, True):
        forced(wanted)
        found.append(kept_bytes([x], outputs, 1000))
        with graphc.Session(threads=1) as session:
            session.run(outputs, {x: normal(1000, 8)})
            assert session.programs[0].memory.kept_bytes == found[-1]
    assert found == [3 * 1000 * 16 * 4, 1000 * 16 * 4]


def test_nothing_happens_to_what_a_cache_holds():
    x, loss, variables = perceptron(graphc.tanh)
    graph = simplified([x], [loss, *graphc.gradients(loss, variables)])
    assert recompute.recompute(graph) is graph


def test_other_graphs_change_nothing(forced):
    # Another graph of the user's holds what the derivatives are made of, node by node. Merged with these, the
    # derivatives' nodes counted as forward, and other values were kept.
    forced(True)
    x, loss, variables = perceptron(graphc.tanh, layers=3)
    graph = Graph((x,), (loss, *graphc.gradients(loss, variables)))
    before = compile_graph(graph)
    twins = [make_node(n.op, n.inputs, n.attributes) for n in before.schedule.graph.nodes if n.op.pure and n.inputs]
    after = compile_graph(graph)
    assert len(twins) > 20
    assert parts_in_order(after.schedule.graph) == parts_in_order(before.schedule.graph)
    assert after.texts == before.texts


def parts_in_order(graph: Graph) -> list[tuple[str, str]]:
    parts = parts_of(graph)
    return [(node.op.name, parts[node]) for node in graph.nodes]


def test_nothing_happens_without_derivatives(forced):
    x, loss, _ = perceptron(graphc.tanh)
    forced(True)
    graph = simplified([x], [loss])
    assert recompute.recompute(graph) is graph


@pytest.mark.parametrize("depth", [30, 3000])
def test_a_deep_chain_takes_work_in_proportion(depth, forced, monkeypatch):
    # 3,000 layers tanh(h * w): each copy is made of one layer's maps, however many lie below
    forced(True)
    calls = 0
    counted = recompute.own_cost

    def count(node):
        nonlocal calls
        calls += 1
        return counted(node)

    monkeypatch.setattr(recompute, "own_cost", count)
    h = x = graphc.placeholder("x", ("n", 7))
    w = graphc.variable(normal(7))
    for _ in range(depth):
        h = graphc.tanh(h * w)
    outputs = graphc.gradients(h.sum(), [x, w])
    graph = simplified([x], outputs)
    made = recompute.recompute(graph)
    assert calls <= 10 * depth
    assert len(made.nodes) <= 3 * len(graph.nodes)


def test_a_deep_network(forced):
    # matrix products between the layers: every layer has something that is kept, and something made again
    forced(True)
    h = x = graphc.placeholder("x", ("n", 7))
    w, b = graphc.variable(normal(7, 7)), graphc.variable(normal(7))
    found = []
    for _ in range(2):
        for _ in range(20):
            h = gelu_tanh(h @ w + b)
        found.append(copies([x], graphc.gradients(h.sum(), [x, w, b])))
    assert found[1] - found[0] == 20
