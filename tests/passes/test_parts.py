"""Parts of a training graph: a function of that graph alone."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.compiler import PIPELINE
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor, interned_apart
from graphc.ops.sources import assign
from graphc.passes.parts import BACKWARD, FORWARD, UPDATE, parts_of


def after(stage: str, *outputs: Tensor) -> Graph:
    """A graph after one of the pipeline's stages."""
    graph = Graph((), outputs)
    with interned_apart(graph.all_nodes()):
        for name, run in PIPELINE:
            graph = run(graph)
            if name == stage:
                return graph
    raise AssertionError(f"the pipeline has no stage named {stage}")


def ops_of(graph: Graph, part: str) -> list[str]:
    """Names of the ops of a part, sorted; constants and broadcasts left out."""
    found = [node.op.name for node, own in parts_of(graph).items() if own == part]
    return sorted(name for name in found if name not in ("constant", "broadcast_to"))


STAGES = ("differentiate", "simplify_all", "split_long", "recompute", "materialize_outputs")


@pytest.fixture
def w() -> Tensor:
    return graphc.variable(np.ones(3, "float32"), name="w")


@pytest.mark.parametrize("stage", STAGES)
def test_before_and_after_every_pass(w, stage):
    loss = graphc.exp(graphc.tanh(w)).sum()
    slope = graphc.gradients(loss, w)
    update = assign(w, w - 0.5 * slope)
    declared = Graph((), (loss, update))
    assert ops_of(declared, BACKWARD) == ["gradient"]
    graph = after(stage, loss, update)
    assert ops_of(graph, FORWARD) == ["exp", "sum", "tanh", "variable"]
    assert ops_of(graph, UPDATE) == ["assign", "multiply", "subtract"]
    assert set(ops_of(graph, BACKWARD)) >= {"multiply", "subtract"}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_derivative_and_the_user_need_is_forward(w, stage):
    # the derivative of exp is exp itself, and that of a product its other factor
    other = graphc.tanh(w)
    slope = graphc.gradients((w * graphc.stop_gradient(other)).sum(), w)
    graph = after(stage, other, graphc.gradients(graphc.exp(w).sum(), w), slope)
    assert {"tanh", "variable"} <= set(ops_of(graph, FORWARD))
    assert "tanh" not in ops_of(graph, BACKWARD)


@pytest.mark.parametrize("stage", STAGES[1:])
@pytest.mark.parametrize("same", [lambda g: 1 * g, lambda g: g - 0, lambda g: (g * 1) / 1])
def test_a_derivative_stays_one_where_the_user_changes_nothing_of_it(w, same, stage):
    slope = graphc.gradients(graphc.tanh(w).sum(), w)
    graph = after(stage, assign(w, w - same(slope)))
    assert parts_of(graph)[graph.outputs[0].node.inputs[1].node.inputs[1].node] == BACKWARD
    assert ops_of(graph, UPDATE) == ["assign", "subtract"]


@pytest.mark.parametrize("stage", STAGES)
def test_derivatives_of_derivatives(w, stage):
    first = graphc.gradients(graphc.tanh(w).sum(), w)
    graph = after(stage, graphc.gradients(graphc.exp(first).sum(), w))
    # tanh is declared, and exp of the derivative; all else is a derivative's
    assert {"exp", "tanh"} <= set(ops_of(graph, FORWARD))
    assert not {"exp", "tanh"} & set(ops_of(graph, BACKWARD))
    assert "multiply" in ops_of(graph, BACKWARD)


def test_a_formula_that_another_graph_declares_is_still_a_derivative_here(w):
    # 1 - square(t) after simplification: here a part of a derivative, there the user's own
    t = graphc.tanh(w)
    own = 1 - graphc.square(t)
    there, here = after("simplify_all", own), after("simplify_all", graphc.gradients(t.sum(), w))
    assert ops_of(here, BACKWARD) == ["square", "subtract"]
    assert ops_of(there, BACKWARD) == [] and ops_of(there, FORWARD) == ["square", "subtract", "tanh", "variable"]
