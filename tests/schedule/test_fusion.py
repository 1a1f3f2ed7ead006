"""What fusion makes of known graphs: how many kernels, how many distinct texts, and which tensors lie in memory.

Nothing is compiled or run here: the schedule and the printed texts say it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from workloads import WORKLOADS

import graphc
from graphc import nn, optim
from graphc.codegen.emit import Source
from graphc.compiler import compile_graph
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Tensor
from graphc.schedule.kernel import Kernel


def compiled(inputs: Sequence[Tensor], outputs: Sequence[Any]) -> Source:
    """The program of some outputs, updates among them."""
    flat = [tensor for each in outputs for tensor in ([each] if isinstance(each, Tensor) else each)]
    return compile_graph(Graph(tuple(inputs), tuple(flat)))


def counts(source: Source) -> tuple[int, int]:
    """How many kernels run, and how many distinct texts they have."""
    return len(source.kernels), len(source.texts)


def stage_kinds(kernel: Kernel) -> list[str]:
    """What each stage of a kernel is, in order."""
    return [type(stage).__name__ for stage in kernel.stages]


def stored(source: Source) -> list[Tensor]:
    """Everything that some kernel writes to memory, in order."""
    return [tensor for kernel in source.schedule.kernels() for tensor in kernel.stored]


def weights(*shape: int) -> Tensor:
    return graphc.variable(np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Forward, loss and backward kernels, the update of each parameter in the kernel of its gradient; equal layers
        # have equal texts, so four transformer blocks take little more than one. Layers that differ in width alone
        # share texts, too: in mlp the two hidden ones theirs of forward and backward, two of its three matrices and
        # two of its three biases those of their updates. The wide ones of mlp-large do not wait for each other; of its
        # matrices one of 784 rows has blocks of equal height, one of 1024 has not. The transformer's biases are sums of
        # 16 parts each.
        ("tiny", (13, 11)),
        ("mlp", (14, 11)),
        ("mlp-large", (14, 11)),
        ("transformer", (117, 29)),
    ],
)
def test_training_steps_of_the_agreed_workloads(name, expected):
    x, labels, loss = WORKLOADS[name].declare("float32")
    assert counts(compiled([x, labels], [loss, optim.Adam(1e-3).minimize(loss)])) == expected


def residual_network(blocks: int) -> Source:
    """A training step of ``h + dense(relu(dense(h)))``, again and again, with Adam."""
    x, y = graphc.placeholder("x", ("b", 32)), graphc.placeholder("y", ("b",), "int64")
    h = x
    for _ in range(blocks):
        h = h + nn.Dense(32)(nn.relu(nn.Dense(64)(h)))
    loss = nn.softmax_cross_entropy(nn.Dense(10)(h), y).mean()
    return compiled([x, y], [loss, optim.Adam(1e-3).minimize(loss)])


def test_more_equal_blocks_need_no_more_texts():
    # A block has six kernels (two forward, two for the gradients of its values, two for those of its matrices, which
    # update them), and three blocks share two for their biases; eight serve all blocks: the step count, scores, loss,
    # its mean, and so on. With 10 blocks one is left over, whose biases need two texts of their own.
    three, ten, thirty = (residual_network(blocks) for blocks in (3, 10, 30))
    assert [counts(source) for source in (three, ten, thirty)] == [(26, 15), (74, 17), (206, 15)]
    assert set(three.texts) == set(thirty.texts)
    assert set(three.texts) < set(ten.texts)


X, Y = graphc.placeholder("x", ("n", 100)), graphc.placeholder("y", ("n",), "int64")
SCALE, SHIFT = weights(100), weights(100)
ROW_WISE = {
    "softmax": (lambda: graphc.softmax(X), [X], 1, 1),
    # the derivatives of scale and shift are sums over rows: one more kernel for both
    "layer norm": (lambda: nn.layer_norm(X, SCALE, SHIFT), [X, SCALE, SHIFT], 1, 2),
    "cross-entropy": (lambda: nn.softmax_cross_entropy(X, Y), [X], 1, 1),
}


@pytest.mark.parametrize("name", ROW_WISE)
def test_row_wise_functions_are_one_kernel(name):
    make, sources, forward, backward = ROW_WISE[name]
    y = make()
    (kernel,) = compiled([X, Y], [y]).kernels
    assert [axis.extent for axis in kernel.axes] == [X.shape[0]]
    assert [tensor.type for tensor in kernel.stored] == [y.type]
    both = compiled([X, Y], graphc.gradients((y * y).sum(), sources))
    assert (1, len(both.kernels)) == (forward, backward)


def attention(*, causal: bool = False) -> tuple[list[Tensor], Tensor]:
    q, k = graphc.placeholder("q", ("n", 4, 64, 32)), graphc.placeholder("k", ("n", 4, 48, 32))
    v = graphc.placeholder("v", ("n", 4, 48, 24))
    return [q, k, v], nn.scaled_dot_product_attention(q, k, v, causal=causal)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_kernel_and_keeps_no_scores(causal):
    inputs, y = attention(causal=causal)
    (kernel,) = compiled(inputs, [y]).kernels
    kinds = stage_kinds(kernel)
    assert (kinds[0], kinds[-1], kinds.count("Contract")) == ("Contract", "Contract", 2)
    assert kinds.count("Reduce") == 2  # largest and sum of the softmax
    assert [tensor.shape for tensor in kernel.stored] == [y.shape]
    assert [axis.extent for axis in kernel.axes] == [y.shape[0], 4, 64]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_derivatives_are_one_kernel_over_batch_and_heads(causal):
    # two contractions forward, and one for each derivative: of the weights, queries, keys and values
    inputs, y = attention(causal=causal)
    (kernel,) = compiled(inputs, graphc.gradients((y * y).sum(), inputs)).kernels
    assert stage_kinds(kernel).count("Contract") == 6
    assert [tensor.shape for tensor in kernel.stored] == [tensor.shape for tensor in inputs]
    assert [axis.extent for axis in kernel.axes] == [y.shape[0], 4]


def test_attention_with_scores_of_unknown_length_is_cut():
    # without a static number of keys a row of scores might not fit scratch
    q, k, v = (graphc.placeholder(name, (3, "length", 8)) for name in "qkv")
    source = compiled([q, k, v], [nn.scaled_dot_product_attention(q, k, v)])
    assert [stage_kinds(kernel).count("Contract") for kernel in source.schedule.kernels()].count(2) == 0
    assert len(source.kernels) == 3  # scores; softmax; result


def test_a_dropout_mask_is_not_stored():
    w = weights(100, 7)
    masked = nn.dropout(X, 0.5)
    source = compiled([X], graphc.gradients(((masked @ w) ** 2).sum(), [X, w]))
    random = [t for t in stored(source) if any(n.op.name == "random_bits" for n in topological([t]))]
    # the masked input, what the loss's derivative is of it, and the two derivatives asked for
    assert [tensor.shape for tensor in random] == [X.shape, (X.shape[0], 7), (100, 7), X.shape]
    assert not any(tensor.dtype.kind in "bu" for tensor in stored(source))
    drawing = [kernel for kernel in source.schedule.kernels() if reads_random_state(kernel)]
    assert len(drawing) == 2  # the forward kernel draws the mask, the backward kernel draws it again


def reads_random_state(kernel: Kernel) -> bool:
    return any(tensor.node.op.name == "random_state" for tensor in kernel.inputs)


def test_derivatives_of_equal_biases_share_a_kernel():
    # three layers of equal width: their biases' gradients are sums over the same domain, updated on the spot
    h = x = graphc.placeholder("x", ("n", 24))
    biases = [weights(24) for _ in range(3)]
    for bias in biases:
        h = graphc.tanh(h @ weights(24, 24) + bias)
    loss = (h * h).mean()
    source = compiled([x], [optim.SGD(0.1).minimize(loss, biases)])
    (kernel,) = [each for each in source.schedule.kernels() if "Reduce" in stage_kinds(each)]
    assert stage_kinds(kernel) == ["Reduce", "Map"] * 3
    assert [tensor.node.inputs[0] for tensor in kernel.stored] == biases


@pytest.mark.parametrize(("dtype", "kind"), [("float32", "ReduceChunks"), ("float64", "Reduce")])
def test_long_derivatives_of_biases_do_not_wait_for_each_other(dtype, kind):
    # in the caches a gradient of 16,384 rows lasts no longer than until the next one is made: each is summed right
    # behind its product, in float32 by chunks of rows, though the updates of all biases run over the same domain
    h = x = graphc.placeholder("x", ("n", 256, 64), dtype)
    biases = [graphc.variable(np.ones(64, dtype)) for _ in range(3)]
    for bias in biases:
        h = graphc.tanh(h @ graphc.variable(np.ones((64, 64), dtype)) + bias)
    source = compiled([x], [graphc.gradients((h * h).sum(), biases)])
    assert [stage_kinds(kernel) for kernel in source.schedule.kernels()].count([kind]) == 3


def test_long_reductions_of_the_same_tensor_share_a_kernel():
    x, g = (graphc.placeholder(name, ("n", 64, 512), "float64") for name in "xg")
    sums = [g.sum(axis=(0, 1)), (x * g).sum(axis=(0, 1)), x.sum(axis=(0, 1))]
    assert [stage_kinds(kernel) for kernel in compiled([x, g], sums).schedule.kernels()] == [["Reduce"] * 3]


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_an_update_is_not_cut_in_two(count):
    # However many variables share kernels, what Adam computes of one gradient (both moments and the new value) is in
    # the kernel of that gradient.
    h = x = graphc.placeholder("x", ("n", 8))
    for _ in range(count):
        h = graphc.tanh(h @ weights(8, 8) + weights(8))
    source = compiled([x], [optim.Adam(1e-3).minimize((h * h).mean())])
    updating = [kernel for kernel in source.schedule.kernels() if any(t.shape in ((8,), (8, 8)) for t in kernel.stored)]
    updates = [tensor.node.op.name for kernel in updating for tensor in kernel.stored]
    assert updates == ["assign"] * 6 * count
    for kernel in updating:
        assert len(kernel.stored) % 3 == 0
        assert "Contract" in stage_kinds(kernel) or "Reduce" in stage_kinds(kernel)


def test_a_residual_sum_is_kept_and_its_addends_are_not():
    # a = x @ u; s = a + (a @ w), read by two contractions: s is stored where a @ w is made, which is not stored
    x = graphc.placeholder("x", ("n", 24))
    u, w, p, r = weights(24, 16), weights(16, 16), weights(16, 5), weights(16, 9)
    a = x @ u
    s = a + graphc.tanh(a @ w)
    source = compiled([x], [s @ p, s @ r])
    assert [tensor.node.op.name for tensor in stored(source)] == ["contract", "add", "contract", "contract"]
    making = next(kernel for kernel in source.schedule.kernels() if s.node in kernel.nodes)
    assert stage_kinds(making) == ["Contract", "Map"]


def layer_norm_and_gradients(*lead):
    """A layer norm's value and all its gradients, of an incoming gradient that is given."""
    x, g = (graphc.placeholder(name, (*lead, 100)) for name in "xg")
    scale, shift = weights(100), weights(100)
    y = nn.layer_norm(x, scale, shift)
    return compiled([x, g], [y, *graphc.gradients(y, [x, scale, shift], seed=g)])


@pytest.mark.parametrize("lead", [("n",), (1024,), ("n", 7), (32, 64)])
def test_sums_of_columns_are_made_by_the_kernel_of_the_rows(lead):
    # x and g are read once: the derivatives of scale and shift are sums over chunks of the rows, made row by row; one
    # more kernel sums the 16 parts of both.
    rows, sums = layer_norm_and_gradients(*lead).schedule.kernels()
    assert stage_kinds(rows)[-2:] == ["ReduceChunks"] * 2
    assert (rows.chunks, [str(axis.extent) for axis in rows.axes]) == (16, [str(size) for size in lead])
    assert len(rows.stored) == 4 and [tensor.shape for tensor in rows.stored[2:]] == [(16, 100), (16, 100)]
    assert list(sums.inputs) == list(rows.stored[2:])
    assert [tensor.shape for tensor in sums.stored] == [(100,), (100,)]


def test_no_reduction_of_chunks_joins_a_product():
    # a product's points are blocks of its own, so the sum of its static result's rows is cut in a kernel of its own
    x = graphc.placeholder("x", (512, 200))
    product, chunks, sums = compiled([x], [graphc.tanh(x @ weights(200, 256)).sum(axis=0)]).schedule.kernels()
    assert stage_kinds(product)[0] == "Contract"
    assert (stage_kinds(chunks), stage_kinds(sums)[0]) == (["ReduceChunks"], "Reduce")


def test_what_reads_parts_does_not_join_their_kernel():
    # x * 2 could share a loop with the sum of x by its shape, but what reads the sum has to wait for all rows
    x = graphc.placeholder("x", (512, 256))
    first, *others = compiled([x], [x * 2, x.sum(axis=0) * 3]).schedule.kernels()
    assert stage_kinds(first) == ["Map", "ReduceChunks"]
    assert all("ReduceChunks" not in stage_kinds(kernel) for kernel in others)


def test_a_residual_sum_of_cheap_reads_is_kept_once_for_its_many_readers():
    # x + y costs one addition but reads two tensors: three readers on other domains would read both of them again
    x, y = (graphc.placeholder(name, ("n", 33)) for name in "xy")
    s = x + y
    source = compiled([x, y], [graphc.softmax(s, axis=-1), s @ weights(33, 3), s.sum(axis=0)])
    readers = [kernel for kernel in source.schedule.kernels() if not {x, y}.isdisjoint(kernel.inputs)]
    assert len(readers) == 1
    assert [tensor.shape for tensor in readers[0].stored] == [s.shape, s.shape]


def test_a_cheap_map_of_one_tensor_is_computed_again_rather_than_kept():
    x = graphc.placeholder("x", ("n", 33))
    s = x * 2
    source = compiled([x], [graphc.softmax(s, axis=-1), s.sum(axis=0)])
    assert [tensor.shape for tensor in stored(source)] == [s.shape, (33,)]


def test_a_contraction_that_all_points_share_an_operand_with_stays_apart():
    # (h @ u) @ w: every row reads all of w, so the second product is cut into blocks of its own
    x = graphc.placeholder("x", ("n", 24))
    source = compiled([x], [(x @ weights(24, 16)) @ weights(16, 5)])
    assert [stage_kinds(kernel) for kernel in source.schedule.kernels()] == [["Contract"], ["Contract"]]


def test_scalars_gather_in_the_prelude():
    # step + 1, one over the number of elements, the two corrections of Adam: the first kernel, so that no other kernel
    # waits for one of its own. The step's update follows in a kernel that is no part of it.
    x = graphc.placeholder("x", ("n", 8))
    source = compiled([x], [optim.Adam(1e-3).minimize(graphc.tanh(x @ weights(8, 3)).mean())])
    first, *others = source.schedule.kernels()
    assert (first.axes, stage_kinds(first)) == ((), ["Map"] * 4)
    assert [[t.node.op.name for t in kernel.stored] for kernel in others if not kernel.axes] == [["assign"]]
    assert sum(stage_kinds(kernel).count("Contract") for kernel in others) == 2


def test_a_gather_of_one_value_waits_for_its_indices() -> None:
    """Computed again, all elements of z are one and need no index; loaded from z's kernel, they do, and the indices are
    made by a later kernel."""
    x, y = graphc.placeholder("x"), graphc.placeholder("y", (2, 1, 3))
    z = graphc.atan2(x, graphc.gradients(graphc.sum(y), y))
    source = compiled([x, y], [graphc.random.permutation(z, axis=2)])
    known: set[Tensor] = set()
    made = set(stored(source))
    for kernel in source.schedule.kernels():
        assert made.intersection(kernel.inputs) <= known
        known.update(kernel.stored)
