"""Orders: each one offered is valid, the chosen one has the lowest peak, and repeated checks keep no update waiting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.compiler import PIPELINE
from graphc.ir import Graph
from graphc.schedule.fuse import fuse
from graphc.schedule.memory import live_bytes
from graphc.schedule.order import failing, in_place_updates, orders, updates_of
from graphc.schedule.schedule import Schedule, schedule


def lowered(inputs, outputs):
    """The graph that the scheduler gets."""
    made = Graph(tuple(inputs), tuple(outputs))
    for name, stage in PIPELINE:
        if name == "schedule":
            return made
        made = stage(made)
    raise AssertionError("no schedule in the pipeline")


def variable(*shape):
    return graphc.variable(np.ones(shape, np.float32))


def deep(layers=4, width=32):
    """A training step of tanh layers, all of one width."""
    x = graphc.placeholder("x", ("n", width))
    h = x
    for _ in range(layers):
        h = graphc.tanh(h @ variable(width, width))
    return lowered([x], optim.SGD(0.1).minimize((h * h).sum()))


def embedding():
    """Rows of a table that indices name, and the update of the table."""
    x = graphc.placeholder("x", ("n",), "int64")
    h = graphc.tanh(graphc.take(variable(10, 4), x, axis=0) @ variable(4, 4))
    return lowered([x], optim.SGD(0.1).minimize((h * h).sum()))


def is_valid(steps):
    """Whether everything is made before it is read."""
    made = {tensor for step in steps for tensor in step.stored}
    known = set()
    for step in steps:
        if any(tensor in made and tensor not in known for tensor in step.inputs):
            return False
        known.update(step.stored)
    return known == made


@pytest.mark.parametrize("graph", [deep, embedding])
def test_every_order_is_valid_and_keeps_the_rules(graph):
    steps = fuse(graph())
    found = list(orders(steps, {"n": 64}))
    assert len(found) == 3
    for order in found:
        assert sorted(map(id, order)) == sorted(map(id, steps)) and is_valid(order)
        writing = [place for place, step in enumerate(order) if updates_of(step)]
        assert max(failing(order), default=-1) < writing[0]
        assert in_place_updates(order) == {tensor for place in writing for tensor in order[place].stored}


def test_the_chosen_order_has_the_lowest_peak():
    graph = deep()
    chosen = live_bytes(schedule(graph), {"n": 64})
    offered = [
        live_bytes(Schedule(graph, tuple(steps), in_place_updates(steps)), {"n": 64})
        for steps in orders(fuse(graph), {"n": 64})
    ]
    assert chosen == min(offered) and len(set(offered)) > 1


@dataclass(eq=False)
class Made:
    """A step as far as orders look at it."""

    inputs: tuple[graphc.Tensor, ...]
    stored: tuple[graphc.Tensor, ...]
    can_fail: bool = False


def test_what_frees_memory_comes_early():
    # Four large tensors, each read by one step that makes a small one. As given all large ones are made first.
    x = graphc.placeholder("x", (64,))
    large = [graphc.broadcast_to(x * float(k), (64, 64)) for k in range(1, 5)]
    small = [tensor.sum() for tensor in large]
    makers, readers = [Made((x,), (t,)) for t in large], [Made((t,), (s,)) for t, s in zip(large, small, strict=True)]
    as_given, freeing, depth_first = orders([*makers, *readers], {})
    assert as_given == [*makers, *readers]
    assert freeing == depth_first == [step for pair in zip(makers, readers, strict=True) for step in pair]


def test_a_repeated_check_of_indices_does_not_fail():
    steps = fuse(embedding())
    able = [step for step in steps if step.can_fail]
    assert len(able) > 1 and len(failing(steps)) == 1


def test_a_check_of_other_elements_or_of_another_extent_can_fail():
    x = graphc.placeholder("x", ("n",), "int64")
    table, longer = variable(10, 4), variable(12, 4)
    whole = graphc.sort(graphc.take(table, x, axis=0), axis=0)
    part = graphc.sort(graphc.take(table, x[:1], axis=0), axis=0)
    other = graphc.sort(graphc.take(longer, x, axis=0), axis=0)
    assert len(failing(fuse(lowered([x], [part])))) == 1  # nobody checks all elements
    steps = fuse(lowered([x], [whole, other]))
    able = {place for place, step in enumerate(steps) if step.can_fail}
    assert failing(steps) == able and able


def test_an_index_out_of_range_changes_nothing_under_early_updates():
    x, y = graphc.placeholder("x", ("n",), "int64"), graphc.placeholder("y", ("n",), "int64")
    table, w = variable(10, 4), variable(4, 3)
    loss = nn.softmax_cross_entropy(graphc.take(table, x, axis=0) @ w, y).mean()
    updates = optim.Adam(0.1).minimize(loss)
    with graphc.Session(threads=1) as session:
        session.run([loss, updates], {x: [0, 9], y: [0, 2]})
        before = [session.get(v).copy() for v in (table, w)]
        for wrong in ({x: [0, 10], y: [0, 2]}, {x: [0, 1], y: [0, 3]}):
            with pytest.raises(graphc.GraphcError, match="out of range"):
                session.run([loss, updates], wrong)
        for v, value in zip((table, w), before, strict=True):
            np.testing.assert_array_equal(session.get(v), value)


def messages():
    """Sums of neighbours' rows, from an edge list, with the updates of the weights before and behind."""
    source, target = (graphc.placeholder(name, ("edges",), "int64") for name in ("source", "target"))
    x, w, v = graphc.placeholder("x", (5, 8)), variable(8, 16), variable(16, 3)
    gathered = graphc.take(x @ w, source, axis=0)
    loss = (graphc.tanh(graphc.segment_sum(gathered, target, 6)) @ v).sum()
    gradients = graphc.gradients(loss, [w, v])
    updates = [graphc.assign(kept, kept - 0.1 * g) for kept, g in zip((w, v), gradients, strict=True)]
    return [source, target, x], [loss, *updates], [w, v]


def test_the_backward_pass_of_a_sum_over_edges_repeats_its_checks():
    inputs, outputs, _ = messages()
    steps = fuse(lowered(inputs, outputs))
    able = [step for step in steps if step.can_fail]
    assert len(able) == 2 and len(failing(steps)) == 1


def test_an_edge_out_of_range_changes_nothing_under_early_updates():
    (source, target, x), outputs, kept = messages()
    rows = np.ones((5, 8), np.float32)
    with graphc.Session(threads=2) as session:
        session.run(outputs, {source: [0, 4, -1], target: [5, 0, 0], x: rows})
        before = [session.get(v).copy() for v in kept]
        for edge in ((5, 1), (4, 6), (4, -1)):
            with pytest.raises(graphc.GraphcError, match="out of range"):
                session.run(outputs, {source: [0, edge[0]], target: [0, edge[1]], x: rows})
        for v, value in zip(kept, before, strict=True):
            np.testing.assert_array_equal(session.get(v), value)
