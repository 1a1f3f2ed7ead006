"""Maps that read operands transposed: what is turned, in which blocks, and that values and bits are the same."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hand_built import Run, at, numbers, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc
from graphc.codegen.cpu.printer import emit
from graphc.ir.scalar import Load, Scalar, apply
from graphc.ir.symbolic import Axis, named, of_atom
from graphc.schedule.kernel import Kernel, Map

EXTENTS = (1, 2, 3, 7, 8, 9, 16, 33, 63, 64, 65, 100, 130)


def text_of(outputs: Any, *inputs: Any) -> str:
    """The text of a program of one kernel."""
    source = graphc.compile(list(inputs), outputs, session=graphc.Session(threads=1)).source
    assert source is not None
    (text,) = source.texts
    return text


def turned(text: str) -> int:
    """How many blocks a text turns."""
    return len(re.findall(r"^ +turn\(", text, re.MULTILINE))


def test_a_transposed_operand_is_turned_block_by_block() -> None:
    a, b = (graphc.placeholder(name, (1000, 1000)) for name in "ab")
    text = text_of(a.T * 2 + b, a, b)
    assert turned(text) == 1
    assert text.count("for ") == 3  # over blocks, rows, columns
    assert "stack_float32(4096)" in text  # 64 x 64
    assert re.search(r"load\(t0, o\d+ \+ l1\)", text)
    assert re.search(r"load\(x1, o\d+ \+ j0\)", text)  # the other operand is read where it lies


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda a, b: a.T + b.T, 2),
        (lambda a, b: a.T * graphc.exp(a.T), 1),  # once, however often it is read
        (lambda a, b: a.T + a, 1),
        (lambda a, b: a + b, 0),
        (lambda a, b: (a + b).T, 2),  # views are index arithmetic: the sum is made where it is wanted
        (lambda a, b: a[:, :1].T + b, 0),  # a row: contiguous enough
        (lambda a, b: a.T[:2, :] + b[:2, :], 0),  # two rows share no line worth turning
    ],
)
def test_what_is_turned(build: Any, count: int) -> None:
    a, b = (graphc.placeholder(name, (128, 128)) for name in "ab")
    assert turned(text_of(build(a, b), a, b)) == count


def test_small_results_and_small_elements_are_read_where_they_lie() -> None:
    small, bools = graphc.placeholder("a", (60, 60)), graphc.placeholder("b", (100, 100), "bool")
    assert not turned(text_of(small.T * 2, small))
    assert not turned(text_of(graphc.logical_not(bools.T), bools))


def test_colours_are_turned_to_the_last_axis_only() -> None:
    planes, pixels = graphc.placeholder("a", (8, 3, 32, 32)), graphc.placeholder("b", (8, 32, 32, 3))
    assert turned(text_of(graphc.permute_dims(planes, (0, 2, 3, 1)) * 2, planes))
    assert not turned(text_of(graphc.permute_dims(pixels, (0, 3, 1, 2)) * 2, pixels))  # vector code picks them out


@st.composite
def transposed_maps(draw: st.DrawFn) -> tuple[Any, ...]:
    """A result's shape (names are possible) and sizes; orders of operands' axes; a dtype; an axis each to reverse."""
    rank = draw(st.integers(2, 4))
    sizes = tuple(draw(st.sampled_from(EXTENTS if rank == 2 else EXTENTS[:8])) for _ in range(rank))
    shape = tuple(f"n{k}" if draw(st.integers(0, 3)) == 0 else size for k, size in enumerate(sizes))
    orders = [tuple(draw(st.permutations(range(rank)))) for _ in range(draw(st.integers(1, 3)))]
    flips = [draw(st.integers(0, rank - 1)) for _ in orders] if draw(st.booleans()) else []
    return shape, sizes, orders, draw(st.sampled_from(["float32", "float64", "int32", "int64", "int8"])), flips


@settings(max_examples=25, deadline=None)
@given(transposed_maps())
def test_values_and_bits(case: Any) -> None:
    shape, sizes, orders, dtype, flips = case
    axes = [Axis(size if isinstance(size, int) else named(size)) for size in shape]
    names = {name: size for name, size in zip(shape, sizes, strict=True) if isinstance(name, str)}
    y, values, operands = tensor(shape, dtype), {}, []
    loads: list[Scalar] = []
    for k, order in enumerate(orders):
        x = tensor(tuple(shape[place] for place in order), dtype)
        values[x] = numbers(tuple(sizes[place] for place in order), dtype)
        index: list[Any] = [of_atom(axes[place]) for place in order]
        operand = values[x]
        if flips:
            at_axis = flips[k]
            index[at_axis] = axes[order[at_axis]].extent - 1 - index[at_axis]
            operand = np.flip(operand, at_axis)
        operands.append(operand.transpose(np.argsort(order)))
        loads.append(Load(x, tuple(index)))
    value = reduce(lambda a, b: apply("add", a, b), loads)
    expected = reduce(np.add, operands)
    ready = Run(Kernel(tuple(axes), (Map((y,), (), value),), (y,)), values, names)
    for workers in (1, 3):
        np.testing.assert_array_equal(ready(workers)[0], expected)


def test_bits_of_floats_survive() -> None:
    around_infinity = np.arange(0x7F800000 - 5000, 0x7F800000 + 5000, dtype="uint32")  # above lie signalling NaNs
    patterns = around_infinity.reshape(100, 100)
    i, j = Axis(100), Axis(100)
    for dtype in ("float32", "int32"):
        x, y = tensor((100, 100), dtype), tensor((100, 100), dtype)
        kernel = Kernel((i, j), (Map((y,), (), at(x, j, i)),), (y,))
        assert turned(emit(kernel).text)
        (got,) = Run(kernel, {x: patterns.view(dtype)}, {})(2)
        np.testing.assert_array_equal(got.view("uint32"), patterns.T)


def test_a_result_may_overwrite_what_is_read_as_it_lies() -> None:
    i, j = Axis(100), Axis(90)
    a, b, y = tensor((90, 100)), tensor((100, 90)), tensor((100, 90))
    values = {a: numbers((90, 100)), b: numbers((100, 90))}
    ready = Run(Kernel((i, j), (Map((y,), (), apply("subtract", at(a, j, i), at(b, i, j))),), (y,)), values, {})
    expected = values[a].T - values[b]
    np.testing.assert_array_equal(ready(2, in_place={y: values[b]})[0], expected)
