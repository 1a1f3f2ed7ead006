"""Loops cut where a choice by position changes: what is printed then, and that no bit of any result knows of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hand_built import numbers, run
from hypothesis import strategies as st

import graphc
from graphc.codegen.cpu import index_sets
from graphc.codegen.cpu import texts as kept
from graphc.codegen.cpu.facts import Facts
from graphc.compiler import compile_graph
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Axis, named, of_atom

CHOICES = re.compile(r"select\(|(minimum|maximum)_int\([^)]*\bj\d| [<>=]=? ?int64| [<>]=? [ijn]\d")


def texts(*results: Tensor, inputs: tuple[Tensor, ...]) -> list[str]:
    """The code of each kernel, without what it imports."""
    return [text.split('"""')[-1].partition("def kernel")[2] for text in compile_graph(Graph(inputs, results)).texts]


def x(*shape: Any, name: str = "x") -> Tensor:
    return graphc.placeholder(name, shape, "float32")


# --- what is printed ----------------------------------------------------------------------------------

A, B, N, V, WIDE = x(30, 100), x(30, 60, name="b"), x("n", "m", name="n"), x(5000, name="v"), x(300, 300, name="w")

SHORT, TALL = x(30, 30, name="s"), x(50, 320, name="t")

CUT: dict[str, tuple[tuple[Tensor, ...], Tensor, int]] = {
    # inputs, result, innermost loops (each followed by a promise)
    "concat": ((A, B), graphc.concat([A, B], axis=1), 2),
    "concat of eight": ((A,), graphc.concat([A * k for k in range(8)], axis=1), 8),
    "concat of vectors, cut between workers": ((V,), graphc.concat([V, V + 1]), 2),
    "concat over a named dim": ((N,), graphc.concat([N, -N], axis=1), 2),
    "pad": ((A,), graphc.pad(A, ((0, 0), (2, 3))), 3),
    "pad at one end": ((A,), graphc.pad(A, ((0, 0), (0, 3))), 2),
    "pad of a named dim": ((N,), graphc.pad(N, ((0, 0), (2, 3))), 3),
    "roll": ((A,), graphc.roll(A, 3, axis=1), 2),
    "roll of a named dim": ((N,), graphc.roll(N, 3, axis=1), 2),
    "mask by the row": ((WIDE,), graphc.tril(WIDE), 2),
    "diagonal": ((), graphc.eye(300), 3),
    "every second of a concat": ((A, B), graphc.concat([A, B], axis=1)[:, ::2], 2),
    "in reverse": ((A, B), graphc.concat([A, B], axis=1)[:, ::-1], 2),
    "two cuts at one place": ((A, B), graphc.concat([A, B], axis=1) * graphc.concat([A + 1, B + 1], axis=1), 2),
    "places of columns": ((A, B), graphc.stack([A, A * 2, A * 3], axis=-1), 1),
    "overlapping slices' gradients": (
        (A,), graphc.gradients(graphc.exp(A[:, :60]).sum() + graphc.exp(A[:, 40:]).sum(), [A])[0], 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_ranges_choose_nothing(name: str) -> None:
    inputs, result, loops = CUT[name]
    (code,) = texts(result, inputs=inputs)
    assert code.count("independent()") == loops
    assert not CHOICES.search(re.sub(r"#.*|for .*|e\d+ = .*", "", code)), code


def test_sums_keep_whole_rounds_of_lanes() -> None:
    # 64 lanes: rounds of a alone, the round from 64 to 128 in two parts, and what is left of b
    (code,) = texts(graphc.concat([A, B], axis=1).sum(axis=1), inputs=(A, B))
    assert "select" not in code
    heads = re.findall(r"for [rl]\d+ in (range\(.*?\)):", code)
    assert heads == [
        "range(0, 64, 64)", "range(64)", "range(64, 128, 64)", "range(36)", "range(36, 64)", "range(32)",
    ]  # fmt: skip


def test_what_is_masked_away_is_not_computed() -> None:
    scores = graphc.where(graphc.arange(320)[None, :] <= graphc.arange(50)[:, None], TALL, -np.inf)
    (code,) = texts(graphc.exp(scores - 1).sum(axis=1), inputs=(TALL,))
    assert "select" not in code
    before, at, behind = re.split(r"for r\d+ in", code)[1:]
    assert "exp_float32" in before
    assert "exp_float32" in at
    assert "exp_float32" not in behind and "load(x0" not in behind  # one exponential of -inf serves all


WHOLE: dict[str, tuple[tuple[Tensor, ...], Tensor]] = {
    "too many pieces": ((A,), graphc.concat([A * k for k in range(index_sets.MOST_PIECES + 1)], axis=1)),
    "a comparison of data": ((A,), graphc.where(A < 1, A, 0)),
    "a short row with a cut that is no number": ((SHORT,), graphc.tril(SHORT)),
    "a row of unknown length that clamps nothing": ((N,), graphc.tril(N)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_stays_whole(name: str) -> None:
    inputs, result = WHOLE[name]
    (code,) = texts(result, inputs=inputs)
    assert code.count("independent()") == 1


def test_a_check_is_never_left_out() -> None:
    ids, table = graphc.placeholder("ids", (100,), "int64"), x(3)
    program = graphc.compile([table, ids], graphc.where(graphc.arange(100) < 50, graphc.take(table, ids, axis=0), 0))
    wrong = np.zeros(100, "int64")
    wrong[70] = 3  # where nothing is taken
    with pytest.raises(graphc.GraphcError, match="3"):
        program(np.zeros(3, "float32"), wrong)


# --- values -------------------------------------------------------------------------------------------

Step = Callable[[Tensor], Tensor]


def steps() -> st.SearchStrategy[Step]:
    """What chooses by position along the last axis."""
    few = st.integers(0, 5)
    return st.one_of(
        st.builds(lambda k: lambda t: graphc.concat([t, t * k], axis=1), few),
        st.just(lambda t: graphc.concat([t, -t, t[:, 1:] if t.shape[1] in (9, 64) else t], axis=1)),
        st.builds(lambda a, b: lambda t: graphc.pad(t, ((0, 0), (a, b)), 0.5), few, few),
        st.builds(lambda a, b: lambda t: graphc.pad(t, ((a, b), (a, 1)), -np.inf), few, few),
        st.builds(lambda k: lambda t: graphc.roll(t, k, axis=1), st.integers(-30, 30)),
        st.builds(lambda k: lambda t: graphc.tril(t, k), st.integers(-3, 9)),
        st.builds(lambda k: lambda t: graphc.triu(t, k), st.integers(-9, 3)),
        st.just(lambda t: t[:, ::-1]),
        st.just(lambda t: graphc.stack([t, t + 1], axis=-1).sum(axis=0)),
    )


ENDS: dict[str, Step] = {
    "": lambda t: t,
    "sum": lambda t: t.sum(axis=1),
    "max": lambda t: t.max(axis=1),
    "argmax": lambda t: graphc.argmax(t, axis=1),
    "softmax": lambda t: graphc.nn.softmax(t, axis=1),
    "scaled": lambda t: t * t.sum(axis=1, keepdims=True),
}


@hypothesis.given(
    rows=st.sampled_from([0, 1, 3, 7]),
    columns=st.sampled_from([0, 1, 2, 9, 64, 130, 300]),
    is_named=st.booleans(),
    chain=st.lists(steps(), min_size=1, max_size=2),
    end=st.sampled_from(sorted(ENDS)),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_no_bit_depends_on_cuts(rows: int, columns: int, is_named: bool, chain: list[Step], end: str) -> None:
    hypothesis.assume(columns or end not in ("max", "argmax", "softmax"))
    start = x("n", "m") if is_named else x(rows, columns)
    result = start
    for step in chain:
        result = step(result)
    result = ENDS[end](result)
    check_bits(result, start, (rows, columns))


ROUNDS: dict[str, Step] = {
    "concat and sum": lambda t: graphc.concat([t, t * 2], axis=1).sum(axis=1),
    "concat of three and sum": lambda t: graphc.concat([t, t * 2, t], axis=1).sum(axis=1),
    "roll and position": lambda t: graphc.argmax(graphc.roll(t, 70, axis=1), axis=1),
    "pad and product": lambda t: graphc.pad(t, ((0, 0), (0, 70)), 1.0).prod(axis=1),
    "mask and softmax": lambda t: graphc.nn.softmax(graphc.where(graphc.tril(t * 0 + 1) > 0, t, -np.inf), axis=1),
    "mask and maximum": lambda t: graphc.tril(t, 100).max(axis=1),
    "mask from before the start": lambda t: graphc.triu(t, -2).sum(axis=1),
    "mask to behind the end": lambda t: graphc.tril(t, 297).sum(axis=1),
}


@pytest.mark.parametrize("name", ROUNDS)
@pytest.mark.parametrize("shape", [(6, 300), ("n", "m")])
def test_lanes_take_in_the_same_values(name: str, shape: tuple[Any, ...]) -> None:
    start = x(*shape)
    for columns in (300,) if shape == (6, 300) else (1, 63, 64, 130, 300):
        check_bits(ROUNDS[name](start), start, (6, columns))


ROW = graphc.constant(np.arange(1.0, 9.0, dtype="float32"))
PLACES: dict[str, Step] = {
    "of a row": lambda t: graphc.where(graphc.arange(2) < 1, t[:, :2], ROW[:2]),
    "of a row, under a condition that is half decided": lambda t: graphc.where(
        (graphc.arange(2) > 65) & (graphc.arange(2) >= 1), t[:, :2], ROW[:2]
    ),
    "of a row's function": lambda t: graphc.stack([t, t + 1], axis=-1) * graphc.exp(ROW[:2]),
    "used as a value": lambda t: graphc.concat([t[:, :1], t[:, 1:2]], axis=1) + graphc.arange(2).astype("float32"),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_single_place_has_values_of_its_own(name: str) -> None:
    start = x("n", 9)
    check_bits(PLACES[name](start), start, (6, 9))


def check_bits(result: Tensor, start: Tensor, shape: tuple[int, int]) -> None:
    """Run with loops cut and uncut, and compare with the reference."""
    array = numbers(shape)
    array[array < -2] = -0.0
    array[2::3, ::50] = np.nan  # in few rows: it would hide what a sum takes in
    cut = computed(result, start, array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_sets, "MOST_PIECES", 0)
        patch.setattr(kept, "_printers", lambda: "without cuts")  # what is kept was printed by another printer
        whole = computed(result, start, array)
    assert [part.tobytes() for part in cut] == [part.tobytes() for part in whole]
    with graphc.Session(backend="reference") as session, np.errstate(all="ignore"):
        expected = session.run(result, {start: array})
    np.testing.assert_allclose(cut[0], expected, rtol=1e-5, atol=1e-5)


def computed(result: Tensor, start: Tensor, array: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """What each kernel of a graph's program makes, for any number of workers the same."""
    values, found = {start: array}, []
    for kernel in compile_graph(Graph((start,), (result,))).schedule.kernels():
        for source in kernel.inputs:
            if source not in values:
                values[source] = np.asarray(source.node["value"])
        made = run(kernel, values, n=array.shape[0], m=array.shape[1])
        values |= dict(zip(kernel.stored, made, strict=True))
        found += made
    return found[::-1]


# --- facts --------------------------------------------------------------------------------------------


@hypothesis.given(step=st.integers(-4, 4), rest=st.integers(-40, 40), extent=st.integers(1, 20))
def test_an_answer_changes_at_its_cut_and_both_parts_know_it(step: int, rest: int, extent: int) -> None:
    axis = Axis(extent)
    size, facts = of_atom(axis) * step + rest, Facts(axis, (0,), (extent,))
    answers = [step * j + rest >= 0 for j in range(extent)]
    known = True if facts.nonnegative(size) else False if facts.nonnegative(-1 * size - 1) else None
    assert known == (answers[0] if len(set(answers)) == 1 else None)
    if known is None:
        cut = facts.cut(size)
        assert isinstance(cut, int) and answers == [answers[0]] * cut + [answers[-1]] * (extent - cut)
        decided = [facts.before(cut).nonnegative(size), facts.behind(cut).nonnegative(size)]
        assert decided == [answers[0], answers[-1]]


def test_facts_hold_for_sizes_of_zero() -> None:
    n = named("n")
    axis = Axis(n + 5)
    facts = Facts(axis, (0,), (n + 5,))
    j = of_atom(axis)
    assert not facts.nonnegative(n - 1)  # n may be 0 where this axis runs
    assert facts.nonnegative(n + 4 - j)
    assert facts.behind(n).nonnegative(j - n)
    assert facts.before(n).nonnegative(n - 1 - j)
    assert facts.cut(j - n) == n
    assert facts.cut(2 * j - n) is None  # half of a size that is not known to be even
