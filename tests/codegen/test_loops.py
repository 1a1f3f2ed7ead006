"""Which axes run as one and which are cut: every collapse must visit the same points, in the same order, all linear."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import graphc
from graphc.codegen.cpu.loops import collapse, replaced
from graphc.compiler import compile_graph
from graphc.ir.graph import Graph
from graphc.ir.symbolic import Atom, Axis, Name, Size, coefficient, is_linear, named, of_atom, substitute


def value(size: Size, known: dict[Atom, int]) -> int:
    """An expression's value, its axes and names given."""
    result = substitute(size, lambda atom: known[atom])
    assert isinstance(result, int)
    return result


def points(axes: Sequence[Axis], names: dict[Atom, int]) -> list[dict[Atom, int]]:
    """Every point of a nest of loops, the last axis fastest."""
    ranges = [range(value(axis.extent, names)) for axis in axes]
    return [dict(zip(axes, point, strict=True)) | names for point in itertools.product(*ranges)]


def check(axes: Sequence[Axis], offsets: Sequence[Size], names: dict[Atom, int]) -> list[Axis]:
    """Collapse; before and after must visit the same offsets in the same order."""
    kept, renamed = collapse(axes, offsets)
    assert not any(axis.extent == 1 for axis in kept)
    assert set(renamed).isdisjoint(kept)
    before, after = points(axes, names), points(kept, names)
    assert [[value(size, point) for size in offsets] for point in before] == [
        [value(replaced(size, renamed), point) for size in offsets] for point in after
    ]
    return kept


def extents(axes: Sequence[Axis]) -> list[str]:
    return [str(axis.extent) for axis in axes]


N = named("n")
NAMES: dict[Atom, int] = {Name("n"): 3}


def single(extent: Size) -> tuple[Axis, Size]:
    axis = Axis(extent)
    return axis, of_atom(axis)


CUTS = {
    # extent, offsets as a function of the axis, extents after
    "no division": (12, lambda i: [i], ["12"]),
    "quotient and remainder": (12, lambda i: [i // 4 + 3 * (i % 4)], ["3", "4"]),
    "quotient alone": (12, lambda i: [i // 4], ["3", "4"]),
    "remainder alone": (12, lambda i: [i % 4], ["3", "4"]),
    "remainder of a quotient": (24, lambda i: [(i // 2) % 3], ["4", "3", "2"]),
    "quotient of a remainder": (24, lambda i: [(i % 6) // 2], ["4", "3", "2"]),
    "three parts": (24, lambda i: [i // 6 + 4 * ((i // 2) % 3) + 12 * (i % 2)], ["4", "3", "2"]),
    "two reads that cut alike": (24, lambda i: [i // 4, 5 * (i % 4)], ["6", "4"]),
    "divisors that nest": (24, lambda i: [i // 4, i % 2 + i // 2 * 7], ["6", "2", "2"]),
    "divisors that do not nest": (24, lambda i: [i // 4 + i % 4 * 9, i // 6], ["6", "4"]),
    "a divisor of no part of the extent": (10, lambda i: [i // 4], ["10"]),
    "a divisor beside one of no part": (20, lambda i: [i // 8, i % 4], ["5", "4"]),
    "the extent itself": (12, lambda i: [i // 12 + i % 12], ["12"]),
    "a shifted axis": (12, lambda i: [(i + 1) // 4], ["12"]),
    "a scaled axis": (12, lambda i: [(3 * i) // 2], ["12"]),
    "a named extent": (4 * N, lambda i: [i // 4 + N * (i % 4)], ["n", "4"]),
    "a named extent with no such factor": (N, lambda i: [i // 4], ["n"]),
    "a named divisor": (4 * N, lambda i: [i // N + 4 * (i % N)], ["4*n"]),
    "a named divisor inside": (8 * N, lambda i: [(i // N) % 2], ["8*n"]),
    "extent 1": (1, lambda i: [i // 4 + i % 4], []),
    "extent 0": (0, lambda i: [i // 4 + i % 4], ["0"]),
}


@pytest.mark.parametrize("name", CUTS)
def test_an_axis_is_cut_where_it_is_divided(name):
    extent, make, expected = CUTS[name]
    axis, place = single(extent)
    assert extents(check([axis], make(place), NAMES)) == expected


def test_what_was_cut_is_linear():
    # before: i // 6, (i // 2) % 3 and i % 2 of one axis; after: one step along each of three
    axis, i = single(24)
    offsets = [i // 6 + 4 * ((i // 2) % 3) + 12 * (i % 2), i]
    kept, renamed = collapse([axis], offsets)
    steps = [[coefficient(replaced(size, renamed), part) for part in kept] for size in offsets]
    assert steps == [[1, 4, 12], [6, 2, 1]]


def test_a_cut_part_merges_with_the_axis_before_it():
    # 2 * 12 points in memory in their order, and a row of 4 that is read again and again: loops of 6 and 4
    (outer, i), (inner, j) = single(2), single(12)
    assert extents(check([outer, inner], [i * 12 + j, j % 4], {})) == ["6", "4"]


def test_a_cut_that_another_axis_makes_needless_is_still_right():
    (outer, i), (inner, j) = single(6), single(4)
    offsets = [i // 2 + j * 3, i % 2 + 2 * j]
    assert extents(check([outer, inner], offsets, {})) == ["3", "2", "4"]


@pytest.mark.parametrize(
    "sizes", [(2, 3, 4), (1, 3, 4), (2, 1, 4), (2, 3, 1), (0, 3, 4), (2, 0, 4), (2, 3, 0), (N, 3, 2)]
)
def test_contiguous_axes_run_as_one(sizes):
    axes, steps = [Axis(size) for size in sizes], (sizes[1] * sizes[2], sizes[2], 1)
    place: Size = 0
    for axis, step in zip(axes, steps, strict=True):
        place = place + of_atom(axis) * step
    kept = check(axes, [place], NAMES)
    assert len(kept) <= 1 or 0 in sizes


@pytest.mark.parametrize("count", range(1, 7))
def test_axes_of_transposed_data_stay_apart(count):
    # an outer axis that moves by 1 and inner ones that move further: nothing merges
    axes = [Axis(2 + place) for place in range(count)]
    place, step = 0, 1
    for axis in axes:
        place, step = place + of_atom(axis) * step, step * axis.extent
    assert len(check(axes, [place], {})) == count


@st.composite
def nests(draw):
    """Loops and places that divide them, once or twice, by what divides their extents or by what does not."""
    axes = [Axis(draw(st.sampled_from((0, 1, 2, 3, 4, 6, 12, 5)))) for _ in range(draw(st.integers(1, 3)))]
    offsets: list[Size] = []
    for _ in range(draw(st.integers(1, 3))):
        total: Size = 0
        for axis in axes:
            part: Size = of_atom(axis)
            for kind in draw(st.lists(st.sampled_from(("quotient", "remainder")), max_size=2)):
                divisor = draw(st.sampled_from((1, 2, 3, 4, 6)))
                part = part // divisor if kind == "quotient" else part % divisor
            total = total + part * draw(st.sampled_from((0, 1, 2, 3, 12)))
        offsets.append(total)
    return axes, offsets


@hypothesis.given(nests())
@hypothesis.settings(max_examples=300)
def test_any_nest_visits_the_same_points(nest):
    check(*nest, {})


@pytest.mark.parametrize("n", [0, 1, 3])
def test_heads_side_by_side(n):
    # (n, heads, length, width) -> (n, length, heads * width), as after attention: the last axis is read by quotient and
    # remainder, and runs as two loops; nothing divides in the innermost
    x = graphc.placeholder("x", ("n", 3, 5, 4))
    y = graphc.tanh(graphc.permute_dims(x, (0, 2, 1, 3)).reshape((-1, 5, 12)))
    (text,) = compile_graph(Graph((x,), (y,))).texts
    body = text.split('"""')[-1]
    assert "% 4" not in body and "// 4" not in body
    array = np.random.default_rng(0).normal(size=(n, 3, 5, 4)).astype(np.float32)
    with graphc.Session(threads=1, backend="reference") as reference, graphc.Session(threads=1) as session:
        expected = reference.run(y, {x: array})
        np.testing.assert_allclose(session.run(y, {x: array}), expected, rtol=1e-6)
        np.testing.assert_allclose(expected, np.tanh(array.transpose(0, 2, 1, 3).reshape(n, 5, 12)), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "strides", "linear"),
    [
        (lambda i, j: 7, (0, 0), True),
        (lambda i, j: 6 * i + j + 2, (6, 1), True),
        (lambda i, j: i * j, "each by the other", True),
        (lambda i, j: i * named("n") + j, (named("n"), 1), True),
        (lambda i, j: i * i + j, (None, 1), False),
        (lambda i, j: i // 2 + 3 * j, (None, 3), False),
        (lambda i, j: i % 2 + j, (None, 1), False),
        (lambda i, j: named("n") // 2 + i, (1, 0), True),
    ],
)
def test_linear_is_what_has_a_stride_along_each_axis(make, strides, linear):
    axes = Axis(8), Axis(4)
    i, j = map(of_atom, axes)
    size = make(i, j)
    found = tuple(coefficient(size, axis) for axis in axes)
    assert found == ((j, i) if strides == "each by the other" else strides)
    assert is_linear(size, axes) == linear == (None not in found)
