"""Kernels of one structure are printed once; what the others get is what printing them would have given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import compiler, nn, optim
from graphc.codegen.cpu import printer
from graphc.codegen.emit import Source, emit
from graphc.codegen.source import KernelSource, Printed
from graphc.codegen.structure import structure_of
from graphc.compiler import compile_graph
from graphc.ir import Graph
from graphc.ir.graph import topological
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.scalar import Apply, Literal, Load, Position, Scalar, apply
from graphc.ir.symbolic import Axis, Size, of_atom
from graphc.schedule.kernel import Kernel, Map
from graphc.testing.fuzzing import Declared
from graphc.testing.growing import Drawn
from graphc.testing.steps import grown

UINT32 = np.dtype("uint32")


def labelled(scores: Tensor) -> Tensor:
    labels = graphc.placeholder("labels", scores.shape[:-1], "int64")
    return nn.softmax_cross_entropy(scores, labels).mean()


def residual_network() -> Tensor:
    h = graphc.placeholder("x", ("batch", 8))
    for _ in range(3):
        h = h + nn.Dense(8)(nn.Dropout(0.5)(nn.relu(nn.Dense(16)(h))))
    return labelled(h)


def transformer() -> Tensor:
    blocks = [nn.TransformerBlock(2, causal=True) for _ in range(2)]
    embeddings = nn.Embedding(11, 8), nn.PositionEmbedding(6)
    x = graphc.placeholder("x", ("batch", 6), "int64")
    return labelled(nn.Sequential(*embeddings, *blocks, nn.LayerNorm(), nn.Dense(11))(x))


def sorted_rows() -> Tensor:
    rows = [graphc.placeholder(name, ("batch", 12)) for name in "xyz"]
    return sum(graphc.sort(graphc.exp(x), axis=-1, descending=True).sum() for x in rows)


def scanned() -> Tensor:
    weights = [graphc.variable(np.eye(3, dtype="float32") * k) for k in (1, 2)]
    h = graphc.placeholder("x", ("time", "batch", 3))
    for w in weights:
        _, h = graphc.scan(lambda carry, row, w=w: (graphc.tanh(carry @ w + row),) * 2, h[0], h)
    return (h * h).sum()


def compiled(loss: Tensor, trained: bool) -> Source:
    updates = optim.Adam(1e-2).minimize(loss) if trained else ()
    outputs = (loss, *updates)
    inputs = [node.result for node in topological(outputs) if node.op.name == "placeholder"]
    return compile_graph(Graph(tuple(inputs), outputs))


@pytest.mark.parametrize("network", [residual_network, transformer, sorted_rows, scanned])
def test_sources_are_those_of_printing_every_kernel(network: Callable[[], Tensor]) -> None:
    source = compiled(network(), trained=network is not sorted_rows)
    known: dict[object, Printed] = {}
    for kernel in source.kernels:
        own, alone = structure_of(kernel), printer.emit(kernel)
        first = known.setdefault(own.key, own.numbered(alone))
        assert own.named(first) == alone
        assert own.named(first).lines == alone.lines != {}
    assert len(known) < len(source.kernels)


def test_equal_structures_of_any_programs_are_printed_alike() -> None:
    """What is kept on disk under a structure's key serves programs that are yet to be written."""
    pipeline = [(name, stage) for name, stage in compiler.PIPELINE if name != "emit"]
    known: dict[str, Printed] = {}
    kernels = 0
    for seed in range(300):
        graph = Declared.of(grown(Drawn(np.random.default_rng(seed)), 20, True))
        product: Any = Graph(graph.inputs, (*graph.outputs, *graph.updates))
        for _, stage in pipeline:
            product = stage(product)
        for kernel in product.kernels():
            own = structure_of(kernel)
            assert is_plain(own.key)
            printed = own.numbered(printer.emit(kernel))
            assert known.setdefault(repr(own.key), printed) == printed
            kernels += 1
    assert len(known) < 0.9 * kernels


def is_plain(key: object) -> bool:
    """Whether something is made of what has one representation as text, in every process."""
    return all(map(is_plain, key)) if type(key) is tuple else type(key) in (int, str, bytes, bool, type(None))


def test_a_structure_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = compiled(residual_network(), trained=True)
    noticed = []
    print_kernel = printer.emit

    def noted(kernel: Kernel) -> KernelSource:
        noticed.append(kernel)
        return print_kernel(kernel)

    monkeypatch.setattr(printer, "emit", noted)
    assert emit(source.schedule).kernels == source.kernels
    keys = [structure_of(kernel).key for kernel in noticed]
    assert len(keys) == len(set(keys)) < len(source.kernels)


def elementwise(value: Callable[..., Scalar], shape: tuple[int, ...] = (4, 4)) -> Kernel:
    """``y[i, j]`` from an element of x; the loop variables are made in the order of the axes."""
    i, j = (Axis(size) for size in shape)
    x, y = (REGISTRY["placeholder"](name, shape, "float32") for name in "xy")
    return Kernel((i, j), (Map((y,), (), value(x, of_atom(i), of_atom(j)), nodes=(y.node,)),), (y,))


def plus(number: float) -> Callable[..., Scalar]:
    return lambda x, i, j: apply("add", Load(x, (i, j)), Literal(number, np.dtype("float32")))


def drawn(*streams: int) -> Callable[..., Scalar]:
    def value(x: Tensor, i: Size, j: Size) -> Scalar:
        words = [Literal(word, UINT32) for word in (1, 2)]
        drawn = [Apply("random_bits", (*words, Position(4 * i + j)), UINT32, (stream,)) for stream in streams]
        return Apply("cast", (apply("add", *drawn),), x.dtype)

    return value


def key(value: Callable[..., Scalar], shape: tuple[int, ...] = (4, 4)) -> object:
    return structure_of(elementwise(value, shape)).key


def test_kernels_that_differ_in_names_have_one_structure() -> None:
    assert key(plus(0.0)) == key(plus(0.0))
    assert key(drawn(3, 5)) == key(drawn(8, 1))


def test_kernels_that_differ_in_anything_printed_have_two() -> None:
    different = [
        key(plus(0.0)),
        key(plus(-0.0)),
        key(plus(np.nan)),
        key(plus(0.0), (4, 5)),
        key(lambda x, i, j: Load(x, (i, j))),
        key(lambda x, i, j: Load(x, (j, i))),
        key(lambda x, i, j: Load(x, (i, (i + j) // 2))),
        key(lambda x, i, j: apply("negative", Load(x, (i, j)))),
        key(drawn(3, 5)),
        key(drawn(3, 3)),
    ]
    assert len(set(different)) == len(different)


def test_the_order_of_loop_variables_counts() -> None:
    def kernel(first: Axis, second: Axis) -> Kernel:
        y = REGISTRY["placeholder"]("y", (4, 4), "float32")
        place = of_atom(first) + of_atom(second)  # sorted by age
        return Kernel((first, second), (Map((y,), (), Position(place), nodes=(y.node,)),), (y,))

    older, newer = Axis(4), Axis(4)
    assert structure_of(kernel(older, newer)).key == structure_of(kernel(Axis(4), Axis(4))).key
    assert structure_of(kernel(older, newer)).key != structure_of(kernel(newer, older)).key
