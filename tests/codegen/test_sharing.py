"""Kernels whose texts differ only in numbers that may be run-time sizes have one text."""

import re

import numpy as np

import graphc
from graphc import nn
from graphc.codegen.cpu import printer
from graphc.codegen.cpu.sharing import with_shared_texts
from graphc.codegen.source import Printed
from graphc.compiler import compile_graph
from graphc.ir.graph import Graph
from graphc.schedule.kernel import Kernel

BLOCKS = """\
from graphc.codegen.cpu.intrinsics import load, pointer_float32, stack_float32, store


def kernel(buffers, dims, worker, workers):
    n0 = dims[0]
    x0 = pointer_float32(buffers, 0)
    t0 = stack_float32({block})
    first = share({units}, 1, worker, workers)
    last = share({units}, 1, worker + 1, workers)
    for i0 in range(first, last):
        i1 = rest_index(i0, {columns})
        contract(float32_product, offset(x0, {width}*i1), {width}, 1, x0, 1, 1, t0, 64, n0, 64, 3, 0)
        for l0 in range(n0):
            o0 = {width}*l0
            for l1 in range({inner}):
                store(x0, {stride}*l1 + o0, load(t0, l1))
"""
ROWS = """\


def kernel(buffers, dims, worker, workers):
    x0 = pointer_float32(buffers, 0)
    first = share({units}, 1, worker, workers)
    for i0 in range(first):
        i1 = rest_index(i0, {columns})
        for l1 in range(7):
            store(x0, l1, load(x0, i1*{width}))
"""
SIZES = {"block": 512, "units": 4, "columns": 2, "width": 128, "inner": 64, "stride": 1}


def shared(template: str, **second: int) -> tuple[Printed, ...]:
    """Two kernels of a template, the second with some other sizes."""
    texts = [template.format(**sizes) for sizes in (SIZES, {**SIZES, **second})]
    # line 6 is the first after the sizes, which are of node 0; the last line is of node 1
    sources = [Printed(text, (), ("n",), places={6: (0,), text.count("\n"): (1,)}) for text in texts]
    return tuple(with_shared_texts(sources))


def test_sizes_of_blocks_are_read_from_dims() -> None:
    first, second = shared(BLOCKS, units=6, columns=3, width=256)
    assert first.text == second.text
    assert (first.sizes, second.sizes) == (("n", 4, 2, 128), ("n", 6, 3, 256))
    before, after = BLOCKS.format(**SIZES).splitlines(), first.text.splitlines()
    assert after[:8] == [*before[:5], "    n1 = dims[1]", "    n2 = dims[2]", "    n3 = dims[3]"]
    expected = BLOCKS.format(**SIZES).replace("share(4,", "share(n1,").replace("(i0, 2)", "(i0, n2)")
    assert after[8:] == re.sub(r"\b128\b", "n3", expected).splitlines()[5:]
    # lines keep the nodes that they were written for
    assert first.places == {9: (0,), len(after): (1,)}
    assert (after[8], after[-1]) == (before[5], before[-1])


def test_arrays_are_as_long_as_the_longest() -> None:
    first, second = shared(BLOCKS, block=448)
    assert first.text == second.text == BLOCKS.format(**SIZES)
    assert first.sizes == second.sizes == ("n",)


def test_what_steers_inner_loops_stays() -> None:
    for change in ({"inner": 10}, {"stride": 2}):
        first, second = shared(BLOCKS, **change)
        assert (first.text, second.text) == (BLOCKS.format(**SIZES), BLOCKS.format(**{**SIZES, **change}))


def test_rows_are_found_by_constant_divisors() -> None:
    first, second = shared(ROWS, columns=3)
    assert first.text != second.text
    first, second = shared(ROWS, units=5)
    assert first.text == second.text and "share(n0, 1, worker, workers)" in first.text


def test_layers_of_different_width_share_a_text_and_compute_their_own() -> None:
    x = graphc.placeholder("x", ("batch", 96))
    layers = [nn.Dense(width) for width in (384, 256, 128)]
    y = x
    for layer in layers:
        y = nn.relu(layer(y))
    source = compile_graph(Graph((x,), (y,)))
    assert len({printer.emit(kernel).text for kernel in source.kernels}) == 3
    assert len(source.texts) == 1
    assert all(isinstance(kernel, Kernel) for kernel in source.kernels)
    array = np.random.default_rng(0).standard_normal((33, 96), dtype=np.float32)
    got = graphc.compile([x], y, session=graphc.Session(threads=2))(array)
    expected = graphc.compile([x], y, session=graphc.Session(backend="reference"))(array)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
