"""Graphs as objects: what they are made of, how they print, what the verifier says of a wrong one."""

import numpy as np
import pytest

import graphc
from graphc import optim
from graphc.errors import GraphError
from graphc.ir import verify
from graphc.ir.node import Node
from graphc.ir.types import TensorType


def test_lists_of_tensors_become_tuples_and_updates_stand_among_outputs_by_a_star():
    x = graphc.placeholder("x", (2,))
    w = graphc.variable(np.ones(2, "float32"), name="w")
    loss = (x * w).sum()
    updates = optim.SGD(0.1).minimize(loss)
    graph = graphc.Graph([x], [loss, *updates])
    assert type(graph.inputs) is type(graph.outputs) is tuple
    assert [node.op.name for node in graph.effects] == ["assign", "assign"]
    with pytest.raises(GraphError, match=r"test_graphs\.py:.*\n  hint: a star puts .*: \(loss, \*updates\)"):
        graphc.Graph((x,), (loss, updates))


def test_an_input_may_be_computed_and_is_printed_as_what_is_given():
    x = graphc.placeholder("x", (2,))
    y = graphc.tanh(x)
    lines = str(graphc.Graph((y,), (y * 2.0,))).splitlines()
    assert lines[0] == "%0: float32[2] = input"
    assert lines[-2].startswith("%4: float32[2] = multiply(%0, %3)") and lines[-1] == "return %4"


def test_the_verifier_shows_how_the_inputs_of_a_wrong_node_were_made():
    y = graphc.tanh(graphc.placeholder("x", (2,)))
    node = (y + y).node
    wrong = Node(node.op, node.inputs, node.attributes, (TensorType((3,), np.dtype("float32")),))
    with pytest.raises(GraphError, match=r"(?s)after test: .*its op infers \['float32\[2\]'\].*= tanh\(%0\)"):
        verify(graphc.Graph((), wrong.results), "test")
