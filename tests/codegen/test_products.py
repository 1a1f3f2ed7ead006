"""Several contractions in one kernel, and what lies between them: values, derivatives, workers, memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.codegen.cpu import machine, variants
from graphc.codegen.cpu.blocks import Cut
from graphc.compiler import compile_graph
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Axis
from graphc.runtime import executable
from graphc.testing.compare import same_bits

Function = Callable[..., Tensor]
UNITS = {"float32": 2e-5, "float64": 1e-13}
"""Differences that are allowed, relative to the largest element of a result."""


@pytest.fixture(autouse=True)
def small_kernels_are_shared(monkeypatch):
    monkeypatch.setattr(executable, "PARALLEL_WORK", 1)


def arrays_of(shapes: Sequence[Sequence[int]], dtype: str) -> list[np.ndarray]:
    generator = np.random.default_rng(len(shapes))
    return [generator.normal(size=tuple(shape)).astype(dtype) for shape in shapes]


def declare(shapes: Sequence[Sequence[Any]], dtype: str) -> list[Tensor]:
    return [graphc.placeholder(f"x{place}", tuple(shape), dtype) for place, shape in enumerate(shapes)]


def run(inputs: Sequence[Tensor], outputs: Sequence[Tensor], arrays: Sequence[np.ndarray], **options: Any):
    with graphc.Session(**{"threads": 1} | options) as session:
        return session.run(list(outputs), dict(zip(inputs, arrays, strict=True)))


def check(
    function: Function,
    shapes: Sequence[Sequence[Any]],
    sizes: Sequence[int] = (0,),
    *,
    dtype: str = "float32",
    derivatives: bool = True,
    workers: Sequence[int] = (2,),
) -> int:
    """Compiled against the reference, for each size of the dim n; other workers and no reuse bitwise.

    Returns
    -------
    int
        The number of kernels.
    """
    inputs = declare(shapes, dtype)
    y = function(*inputs)
    slopes = graphc.gradients((graphc.sin(y) * y).sum(), inputs) if derivatives else []
    outputs = [y, *slopes]
    for n in sizes:
        arrays = arrays_of([[n if size == "n" else size for size in shape] for shape in shapes], dtype)
        got, wanted = run(inputs, outputs, arrays), run(inputs, outputs, arrays, backend="reference")
        for left, right in zip(got, wanted, strict=True):
            assert (left.dtype, left.shape) == (right.dtype, right.shape)
            np.testing.assert_allclose(left, right, rtol=0, atol=UNITS[dtype] * np.abs(right).max(initial=1))
        for options in ({"reuse_memory": False}, *({"threads": count} for count in workers)):
            for left, right in zip(got, run(inputs, outputs, arrays, **options), strict=True):
                assert same_bits(left, right), options
    return len(compile_graph(Graph(tuple(inputs), tuple(outputs))).kernels)


attention = nn.scaled_dot_product_attention


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1, 3, 17, 33, 64, 65, 200])
def test_attention_of_lengths_that_fill_no_vectors(length, dtype):
    shapes = [("n", 3, length, 8)] * 3
    assert check(attention, shapes, (2,), dtype=dtype, derivatives=length in (3, 65)) >= 1


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_any_batch(causal):
    shapes = [("n", 2, 17, 5), ("n", 2, 17, 5), ("n", 2, 17, 6)]
    check(lambda q, k, v: attention(q, k, v, causal=causal), shapes, (0, 1, 2, 5), workers=(2, 3))


@pytest.mark.parametrize("source", [1, 4, 70])
def test_cross_attention(source):
    shapes = [("n", 2, 19, 5), ("n", 2, source, 5), ("n", 2, source, 7)]
    check(attention, shapes, (3,))


@pytest.mark.parametrize("width", [1, 2, 3, 16, 33])
def test_attention_of_any_width(width):
    check(attention, [("n", 2, 9, width), ("n", 2, 11, width), ("n", 2, 11, width + 1)], (3,))


def test_keys_and_values_that_all_heads_share():
    check(attention, [("n", 4, 9, 5), ("n", 1, 11, 5), ("n", 1, 11, 6)], (0, 3))
    check(attention, [("n", 4, 9, 5), (11, 5), (11, 6)], (3,))


def test_masks():
    def masked(q, k, v, m):
        return attention(q, k, v, m > 0, causal=True)

    check(masked, [("n", 3, 9, 5), ("n", 3, 11, 5), ("n", 3, 11, 6), ("n", 1, 9, 11)], (2,), derivatives=False)
    q, k, v, m = inputs = declare([("n", 3, 9, 5), ("n", 3, 11, 5), ("n", 3, 11, 6), ("n", 1, 9, 11)], "float64")
    y = masked(q, k, v, m)
    outputs = [y, *graphc.gradients((y * y).sum(), [q, k, v])]
    arrays = arrays_of([(2, 3, 9, 5), (2, 3, 11, 5), (2, 3, 11, 6), (2, 1, 9, 11)], "float64")
    arrays[3][1, 0, 4] = -1  # a query that no key is for
    for left, right in zip(
        run(inputs, outputs, arrays), run(inputs, outputs, arrays, backend="reference"), strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-13)


def test_heads_from_one_projection():
    # as in a transformer block: heads are strided views of one stored product, and the result's heads lie side by side
    def block(x, w, p):
        joint = (x @ w).reshape((-1, 9, 3, 2, 4))
        q, k, v = (graphc.permute_dims(joint[:, :, place], (0, 2, 1, 3)) for place in range(3))
        return graphc.permute_dims(attention(q, k, v, causal=True), (0, 2, 1, 3)).reshape((-1, 9, 8)) @ p

    check(block, [("n", 9, 8), (8, 24), (8, 8)], (0, 1, 5), workers=(2, 3))


def test_three_in_a_chain():
    shapes = [("n", 7, 5), ("n", 5, 9), ("n", 9, 4), ("n", 4, 6)]
    assert check(lambda a, b, c, d: a @ b @ c @ d, shapes, (0, 1, 3), derivatives=False) == 1
    check(lambda a, b, c, d: graphc.tanh(a @ b) @ c @ d, shapes, (3,), workers=(2, 3))


CHAINS: dict[str, tuple[Function, list[tuple[Any, ...]]]] = {
    "an operand made by maps": (
        lambda a, b, c: (a @ b) @ graphc.tanh(c * c),
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 4)],
    ),
    "an operand made by maps and transposed": (
        lambda a, b, c: graphc.matrix_transpose(graphc.tanh(a @ b)) @ graphc.exp(c),
        [("n", 7, 5), ("n", 5, 9), ("n", 7, 4)],
    ),
    "both operands from one product": (
        lambda a, b: (lambda s: graphc.sin(s) @ graphc.matrix_transpose(graphc.cos(s)))(a @ b),
        [("n", 7, 5), ("n", 5, 9)],
    ),
    "a product with itself": (
        lambda a, b: (lambda s: s @ graphc.matrix_transpose(s))(a @ b),
        [("n", 7, 5), ("n", 5, 9)],
    ),
    "after a sum that keeps its axis": (
        lambda a, b, c: (lambda s: (s / (1 + (s * s).sum(axis=-1, keepdims=True))) @ c)(a @ b),
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 4)],
    ),
    "after a sum over rows": (
        lambda a, b, c: (lambda s: (s - s.mean(axis=-2, keepdims=True)) @ c)(a @ b),
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 4)],
    ),
    "of a sum alone": (
        lambda a, b, c: (a @ b).sum(axis=-1, keepdims=True) @ c,
        [("n", 7, 5), ("n", 5, 9), ("n", 1, 4)],
    ),
    "with a running sum between": (
        lambda a, b, c: graphc.cumulative_sum(a @ b, axis=-1) @ c,
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 4)],
    ),
    "with a reversed view between": (
        lambda a, b, c: graphc.flip(a @ b, axis=-1) @ c,
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 4)],
    ),
    "with a slice between": (
        lambda a, b, c: (a @ b)[:, 1:, ::2] @ c,
        [("n", 7, 5), ("n", 5, 9), ("n", 5, 4)],
    ),
    "with a reshape between": (
        lambda a, b, c: (a @ b).reshape((-1, 3, 21)) @ c,
        [("n", 7, 5), ("n", 5, 9), ("n", 21, 4)],
    ),
    "rows of another product": (
        lambda a, b, c, d: graphc.concat([a @ b, c], axis=-1) @ d,
        [("n", 7, 5), ("n", 5, 9), ("n", 7, 2), ("n", 11, 4)],
    ),
    "two that follow one": (
        lambda a, b, c, d: (lambda s: (s @ c).sum() + graphc.softmax(s) @ d)(graphc.tanh(a @ b)),
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 4), ("n", 9, 3)],
    ),
    "a vector and matrices": (
        lambda a, b, c: (lambda s: graphc.softmax(s) @ c)(a @ b),
        [("n", 1, 5), ("n", 5, 9), ("n", 9, 4)],
    ),
    "results of one column": (
        lambda a, b, c: graphc.softmax(a @ b) @ c,
        [("n", 7, 5), ("n", 5, 9), ("n", 9, 1)],
    ),
    "depth 1": (lambda a, b, c: graphc.softmax(a @ b) @ c, [("n", 7, 1), ("n", 1, 9), ("n", 9, 4)]),
    "depth 0": (lambda a, b, c: graphc.softmax(a @ b) @ c, [("n", 7, 0), ("n", 0, 9), ("n", 9, 4)]),
    "no columns between": (lambda a, b, c: graphc.tanh(a @ b) @ c, [("n", 7, 5), ("n", 5, 0), ("n", 0, 4)]),
    "no rows": (lambda a, b, c: graphc.tanh(a @ b) @ c, [("n", 0, 5), ("n", 5, 9), ("n", 9, 4)]),
    "two batch axes in another order": (
        lambda a, b, c: graphc.permute_dims(graphc.softmax(a @ b), (1, 0, 2, 3)) @ c,
        [("n", 2, 7, 5), ("n", 2, 5, 9), (2, "n", 9, 4)],
    ),
    "one shared operand": (
        lambda a, b, c: graphc.softmax(a @ b) @ c,
        [("n", 7, 5), ("n", 5, 9), (9, 4)],
    ),
    "rows of more than a block": (
        lambda a, b, c: graphc.softmax(a @ b) @ c,
        [("n", 171, 3), ("n", 3, 90), ("n", 90, 130)],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_contractions_that_follow_each_other(name):
    function, shapes = CHAINS[name]
    check(function, shapes, (3,), dtype="float64")


@pytest.mark.parametrize("name", ["after a sum over rows", "two batch axes in another order", "one shared operand"])
def test_contractions_that_follow_each_other_in_float32_and_any_batch(name):
    function, shapes = CHAINS[name]
    check(function, shapes, (0, 1, 5), workers=(2, 3))


@pytest.mark.parametrize("name", ["after a sum that keeps its axis", "both operands from one product", "depth 1"])
def test_derivatives_of_first_and_second_order(name):
    function, shapes = CHAINS[name]
    arrays = arrays_of([[2 if size == "n" else (size + 1) // 2 for size in shape] for shape in shapes], "float64")
    report = graphc.check_gradients(function, arrays)
    assert report.first < 1e-5 and report.second < 1e-5


def test_derivatives_of_causal_attention():
    arrays = arrays_of([(2, 2, 3, 2), (2, 2, 4, 2), (2, 2, 4, 3)], "float64")
    report = graphc.check_gradients(lambda q, k, v: attention(q, k, v, causal=True), arrays)
    assert report.first < 1e-5 and report.second < 1e-5


@pytest.mark.parametrize("shapes", [[(0, 3), (3, 4)], [(4, 3), (3, 0)], [(2, 0), (0, 4)], [(2, 0, 3), (2, 3, 4)]])
def test_products_of_a_static_size_0(shapes):
    # Before: no rows were cut into no blocks, and rows a block were found by a division by zero.
    check(lambda a, b: a @ b, shapes)
    check(lambda a, b: graphc.tanh(a @ b) + 1, shapes)


@pytest.mark.parametrize("rows", [15, 29, 85])
def test_a_last_block_of_fewer_rows_than_columns(rows):
    # Before: softmax of an 85x32x3 product was wrong by 0.99 in its last row, 29x32x3 alone by 13.
    check(lambda x, w: x @ w, [(rows, 32), (32, 3)])
    check(lambda x, w: graphc.softmax(x @ w), [(rows, 32), (32, 3)])


OPERANDS: dict[str, Function] = {
    "gathered columns": lambda x, i, j: graphc.take(x, i, axis=1),
    "gathered rows, reversed": lambda x, i, j: graphc.take(x, i, axis=0)[::-1],
    "gathered along": lambda x, i, j: graphc.take_along_axis(x, j, axis=1),
    "gathered, transposed": lambda x, i, j: graphc.take(x, i, axis=1).T,
    "chosen": lambda x, i, j: graphc.where(j > 1, x, graphc.take(x, i[:1], axis=0)),
    "padded": lambda x, i, j: graphc.pad(x, [(1, 2), (0, 1)]),
    "rolled": lambda x, i, j: graphc.roll(x, 2, axis=1),
    "one-hot": lambda x, i, j: graphc.one_hot(i, 5, dtype=x.dtype.name),
}


@pytest.mark.parametrize(("name", "rows"), [*((name, 4) for name in OPERANDS), ("gathered columns", "n")])
def test_operands_that_are_no_tensors_in_memory(name, rows):
    # Before: a gather of few elements was read as if all its places were the first one.
    inputs = [graphc.placeholder(*each) for each in (("x", (rows, 5)), ("i", (8,), "int32"), ("j", (rows, 5), "int64"))]
    x = OPERANDS[name](*inputs)
    outputs = [graphc.tanh(x @ x.T), x.T @ x, attention(x, x, x, causal=True)]
    if rows == "n":
        total = sum((graphc.sin(value).sum() for value in outputs), start=graphc.sum(inputs[0]))
        outputs += graphc.gradients(total, [inputs[0]])
    generator = np.random.default_rng(3)
    arrays = [
        generator.normal(size=(4, 5)).astype("float32"),
        np.array([3, -1, 1, 1, 0, -4, 2, 2], "int32"),
        generator.integers(-5, 5, (4, 5)),
    ]
    got, wanted = run(inputs, outputs, arrays), run(inputs, outputs, arrays, backend="reference")
    for left, right in zip(got, wanted, strict=True):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, rtol=0, atol=2e-6 * np.abs(right).max(initial=1))


SHAPES = [
    (40, 100, 18), (30, 70, 20), (50, 64, 17), (9, 70, 17),  # sixteen columns and a tail; too few rows for one
    (40, 3, 130), (5, 14, 97), (20, 1, 90),  # few steps
    (40, 30, 97), (15, 20, 278), (25, 23, 118), (17, 57, 94), (12, 1024, 90),  # odd columns, some rows
    (60, 40, 5), (7, 40, 60), (60, 40, 2), (100, 30, 75), (130, 90, 32),
    (75, 4, 137), (40, 30, 272), (30, 20, 400),  # few steps cut into rows; half a tile at the end; columns cut
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_any_static_shape(dtype):
    """One program: each in three layouts, with a function of it in the same kernel, by one worker and by two."""
    inputs, outputs, arrays = [], [], []
    for place, (m, k, n) in enumerate(SHAPES):
        for form, shapes in enumerate([((m, k), (k, n)), ((k, m), (k, n)), ((m, k), (n, k))]):
            a, b = (graphc.placeholder(f"x{place}_{form}_{side}", shapes[side], dtype) for side in (0, 1))
            y = (a.T if form == 1 else a) @ (b.T if form == 2 else b)
            inputs += [a, b]
            outputs += [y if place % 2 else graphc.tanh(y)]
            arrays += arrays_of(shapes, dtype)
    got, wanted = run(inputs, outputs, arrays), run(inputs, outputs, arrays, backend="reference")
    for left, right in zip(got, wanted, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=UNITS[dtype] * np.abs(right).max())
    for left, right in zip(got, run(inputs, outputs, arrays, threads=2), strict=True):
        assert same_bits(left, right)


def test_the_contraction_that_suits_a_product():
    """Static sizes and the layout decide: rows of A one behind the other, columns of B contiguous, if not said."""
    cases = {
        (100, 390, 18): ("_few100x16", 2),  # sixteen columns in whole vectors and two by dot products
        (None, 390, 18): ("_fewx16", 2),
        (9, 390, 18): ("_few9x18", 0),
        (100, None, 18): ("_few100x18", 0),
        (100, 390, 5): ("_dots5", 0),
        (100, 12, 5): ("_few100x5", 0),
        (100, 4, 885): ("_shallow4", 0),
        (100, 4, 75): ("_few100x75", 0),
        (12, 1024, 200): ("_few12x200_aliased", 0),
        (25, 1024, 320): ("", 0),
        (25, 100, 300): ("_few25x300", 0),
        (100, 100, 139): ("_edge139", 0),
        (100, 100, 784): ("_edge784", 0),
        (100, 100, 1100): ("", 0),
        (100, 100, 128): ("", 0),
        (100, 100, None): ("", 0),
    }
    batch = graphc.placeholder("x", ("n",)).shape[0]
    for sizes, expected in cases.items():
        m, k, n = (batch if size is None else size for size in sizes)
        assert variants.suited("float32", m, k, n, (k, 1), (n, 1)) == expected, sizes
    assert variants.suited("float32", 100, 390, 18, (1, 100), (18, 1)) == ("_few100x18", 0)
    assert variants.suited("float32", 100, 390, 18, (390, 1), (1, 390)) == ("", 0)
    assert variants.suited("float32", 100, 390, 180, (390, 1), (1, 390)) == ("_edge180", 0)
    assert variants.suited("float32", 5, 390, 200, (390, 1), (1, 390)) == ("_dots5", 0)
    assert variants.units("float32_shallow4")[0] == 1  # strips have no height
    assert variants.units("float32_edge180") == variants.units("float32")


@pytest.mark.parametrize("processors,blocks", [(1, 1), (2, 2), (4, 4)])
def test_a_weight_gradient_of_few_columns_is_cut_into_rows(monkeypatch, processors, blocks):
    """Before: one block, so that one worker did it while the others waited."""
    monkeypatch.setattr(machine, "processors", lambda: processors)
    x, g = (graphc.placeholder(name, ("batch", width)) for name, width in (("x", 128), ("g", 32)))
    w = graphc.placeholder("w", (128, 32))
    (source,) = compile_graph(Graph((x, g, w), (w - 0.1 * (x.T @ g),))).kernels.values()
    (scratch,) = re.findall(r"stack_float32\((\d+)\)", source.text)
    assert int(scratch) == 128 * 32 // blocks


@pytest.mark.parametrize("columns,by_columns", [(128, False), (256, True)])
def test_workers_share_out_columns_first_where_their_parts_of_a_row_are_not_short(monkeypatch, columns, by_columns):
    """Before: each of two workers had 64 of 128 columns, and the processor fetched what the other was writing."""
    monkeypatch.setattr(machine, "processors", lambda: 2)
    x, g = (graphc.placeholder(name, ("batch", width)) for name, width in (("x", 256), ("g", columns)))
    w, m = (graphc.placeholder(name, (256, columns)) for name in "wm")
    (source,) = compile_graph(Graph((x, g, w, m), (w - m * (x.T @ g),))).kernels.values()
    rest, quotient = (
        re.search(rf"(\w+) = {word}_index\(i0, \d+\)", source.text)[1] for word in ("rest", "divide")
    )
    assert (f"share(256, 14, {rest}," in source.text) == by_columns
    assert (f"share(256, 14, {quotient}," in source.text) == (not by_columns)


@pytest.mark.parametrize(
    "rows,function,asked",
    [
        ("n", lambda x, w, z, b: x @ w + z, 1),
        ("n", lambda x, w, z, b: z * graphc.softmax(x @ w), 1),  # a row at a time
        ("n", lambda x, w, z, b: x @ w + b, 0),  # the same row again
        ("n", lambda x, w, z, b: x @ w, 0),
        (64, lambda x, w, z, b: x @ w + z, 0),  # stays in a core's own cache
    ],
)
def test_a_later_row_of_what_is_read_beside_a_product_is_asked_for(rows, function, asked):
    """Line after line of 16 elements, of each tensor that may not fit a core's own cache and moves with the rows."""
    inputs = declare([(rows, 24), (24, 256), (rows, 256), (256,)], "float32")
    (kernel,) = compile_graph(Graph(tuple(inputs), (function(*inputs),))).kernels.values()
    assert kernel.text.count("prefetch(x") == asked
    assert kernel.text.count(", 16):\n") == asked


@pytest.mark.parametrize("n", [0, 1, 37, 300])
def test_rows_that_are_asked_for_change_no_bit(n):
    check(lambda x, w, z: graphc.tanh(x @ w) * z, [("n", 24), (24, 200), ("n", 200)], [n], workers=(2, 3))


@pytest.mark.parametrize("n", [0, 5])
def test_a_reduction_beside_a_product_asks_for_no_later_row(n):
    """It reads a row for each place of what it reduces, none of which is known before its loop."""
    a, b = inputs = declare([("n", 9, 9)] * 2, "float64")  # of float32 the sum is cut into chunks, apart
    outputs = [graphc.einsum("nij,nkj->ik", a, b), (a * graphc.sin(b)).sum(axis=0)]
    assert len(compile_graph(Graph(tuple(inputs), tuple(outputs))).kernels) == 1
    arrays = arrays_of([(n, 9, 9)] * 2, "float64")
    for options in ({}, {"threads": 2}):
        for left, right in zip(
            run(inputs, outputs, arrays, **options), run(inputs, outputs, arrays, backend="reference"), strict=True
        ):
            np.testing.assert_allclose(left, right, rtol=0, atol=UNITS["float64"] * np.abs(right).max(initial=1))


@pytest.mark.parametrize(
    ("function", "within"),
    [
        (lambda x, w, z, b: x @ w + b, True),
        (lambda x, w, z, b: graphc.softmax(x @ w + b), False),  # the exponentials' argument is not stored
        (lambda x, w, z, b: x @ w + z, False),  # the result may overwrite z
        (lambda x, w, z, b: x @ w + z.T, True),  # z is read elsewhere
        (lambda x, w, z, b: (x @ w)[:, ::-1] + b, False),
    ],
)
def test_a_product_lies_where_its_map_s_result_will(function, within):
    inputs = declare([(200, 24), (24, 200), (200, 200), (200,)], "float32")
    texts = [kernel.text for kernel in compile_graph(Graph(tuple(inputs), (function(*inputs),))).kernels.values()]
    (call,) = [line for text in texts for line in text.splitlines() if line.lstrip().startswith("contract(")]
    assert ("y0" in call) is within
    check(function, [tensor.shape for tensor in inputs], derivatives=False, workers=(2, 3))


@pytest.mark.parametrize("columns", [1, 2, 17])
def test_what_follows_reads_the_map_s_result_and_not_the_product_that_lay_there(columns):
    """Over a single column there is no loop whose end forgets what was read."""
    inputs = declare([(6, 3), (3, columns), (columns,)], "float32")
    h = inputs[0] @ inputs[1] + inputs[2]
    arrays = [np.random.default_rng(k).normal(size=t.shape).astype("float32") for k, t in enumerate(inputs)]
    with graphc.Session(threads=1) as session:
        whole, centred = session.run((h, h - h.sum(axis=1, keepdims=True)), dict(zip(inputs, arrays, strict=True)))
    np.testing.assert_allclose(whole, arrays[0] @ arrays[1] + arrays[2], rtol=0, atol=1e-5)
    np.testing.assert_allclose(centred, whole - whole.sum(axis=1, keepdims=True), rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit", [1, 4, 8, 9, 14])
def test_no_block_is_longer_than_the_scratch_that_holds_one(unit):
    # blocks are whole units, shared out evenly, so a size of 36 or 84 would come to 40 or 90 with units of 8 or 9
    for size in (36, 84, 266):
        for extent in (1, 35, 84, 560, 840, 1023):
            cut = Cut(Axis(extent), size, unit)
            blocks, units = cut.blocks.extent, -(-extent // unit)
            starts = [min(units * number // blocks * unit, extent) for number in range(blocks + 1)]
            lengths = [end - start for start, end in pairwise(starts)]
            assert max(lengths) <= cut.size, (size, extent)
