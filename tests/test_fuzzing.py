"""The search for graphs that are compiled wrongly: it finds what is planted, makes it small, and shows it as code."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest

import graphc
from graphc.errors import GraphcError
from graphc.ir.op import REGISTRY
from graphc.program import Program
from graphc.testing import fuzzing, growing, networks, recipes, steps
from graphc.testing.recipes import Body, Call, Input, Recipe, Ref


def graphs_with(*functions: str) -> Iterator[Recipe]:
    """Graphs of a seed that call these functions."""
    for number in range(3000):
        recipe = fuzz.recipe_of(3, number, 30)
        if set(functions) <= {call.function for call in recipe.calls}:
            yield recipe


def interpreted(recipe: Recipe) -> tuple[Recipe, list[np.ndarray[Any, Any]]] | None:
    """A graph and its results by the reference; None if that refuses it."""
    with np.errstate(all="ignore"), contextlib.suppress(GraphcError):
        return recipe, fuzzing.Declared.of(recipe).run(backend="reference")
    return None


OF_OWN_FORM = ("scan", "cond", "while_loop", "custom_gradient", "meshgrid", "nn.Dense", "optim.Adam")
"""Functions whose calls are printed differently from those of most."""


def small() -> Recipe:
    """tanh(x * 2) @ y, whose product is asked for, and an update."""
    x = Input((2, "n"), np.arange(6.0).reshape(2, 3))
    calls = (
        Call("multiply", (Ref(0), 2), {}, (1,)),
        Call("tanh", (Ref(1),), {}, (2,)),
        Call("variable", (np.ones(2),), {}, (3,)),
        Call("sum", (Ref(2),), {"axis": 1}, (4,)),
        Call("matmul", (Ref(2), Ref(2)), {}, (5,)),
    )
    return Recipe((x,), calls, (Ref(1), Ref(4)), ((Ref(3), Ref(4)),))


def test_a_number_names_one_graph() -> None:
    first, again, other = (recipes.as_code(fuzz.recipe_of(1, number, 60)) for number in (5, 5, 6))
    assert first == again != other


def test_calls_that_nothing_needs_are_left_out() -> None:
    needed = small().needed()
    assert [call.function for call in needed.calls] == ["multiply", "tanh", "variable", "sum"]
    outputs_only = Recipe(needed.inputs, needed.calls, (Ref(1),)).needed()
    assert [call.function for call in outputs_only.calls] == ["multiply"]


def test_a_right_graph_is_equal() -> None:
    assert fuzzing.check(small().needed()) == fuzzing.Verdict("equal")


def test_what_the_reference_refuses_is_rejected() -> None:
    empty = Input(("n",), np.zeros(0))
    recipe = Recipe((empty,), (Call("max", (Ref(0),), {}, (1,)),), (Ref(1),))
    assert fuzzing.check(recipe).kind == "rejected"


def test_a_wrong_kernel_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that takes the cosine for the sine: the least graph that shows it is one cosine of an input."""
    monkeypatch.setattr(type(REGISTRY["cos"]), "expression", "sin(x)")
    found = ((recipe, fuzzing.check(recipe)) for recipe in graphs_with("cos", "matmul"))
    recipe, verdict = next((recipe, verdict) for recipe, verdict in found if verdict.failed)
    assert verdict.kind == "values differ"
    smaller = fuzzing.shrink(recipe, verdict)
    assert [call.function for call in smaller.calls] == ["cos"]
    assert len(smaller.outputs) + len(smaller.updates) == 1


def test_rounding_that_decides_a_comparison_is_no_failure() -> None:
    """1 - tanh(20) is 0 or not by one rounding; its sign is taken for what it is worth."""
    x = Input((), np.asarray(0.1, "float32"))
    calls = (
        Call("multiply", (Ref(0), 10), {}, (1,)),
        Call("exp", (Ref(1),), {}, (2,)),
        Call("subtract", (Ref(2), 2.7182817), {}, (3,)),
        Call("sign", (Ref(3),), {}, (4,)),
    )
    graph = fuzzing.Declared.of(Recipe((x,), calls, (Ref(4),)))
    assert not fuzzing.compare(graph, [np.float32(1)], [np.float32(-1)]).failed
    assert fuzzing.compare(graph, [np.float32(1)], [np.float64(1)]).kind == "types differ"


def test_roundings_that_all_go_one_way_are_no_failure() -> None:
    """tanh(9) is 1 or just below by one rounding; another formula may decide all of them alike."""
    x = Input((40,), np.full(40, 9, "float32"))
    calls = (
        Call("tanh", (Ref(0),), {}, (1,)),
        Call("floor", (Ref(1),), {}, (2,)),
        Call("min", (Ref(2),), {}, (3,)),
        Call("max", (Ref(2),), {}, (4,)),
    )
    graph = fuzzing.Declared.of(Recipe((x,), calls, (Ref(3), Ref(4))))
    least, largest = graph.run(backend="reference")
    assert least == largest
    assert not fuzzing.compare(graph, [1 - least, 1 - largest], [least, largest]).failed


def test_a_program_serves_other_lengths_before_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    class Noted(Program):
        def __call__(self, *arrays: Any) -> Any:
            lengths.append(arrays[0].shape[1])
            return super().__call__(*arrays)

    monkeypatch.setattr(fuzzing, "Program", Noted)
    graph = fuzzing.Declared.of(small().needed())
    for again, first in zip(graph.run_again((1, 4)), graph.run(), strict=True):
        np.testing.assert_array_equal(again, first)
    assert lengths == [1, 6, 3, 3]


def test_what_rounding_decides_is_measured_in_bodies_too() -> None:
    xs, start = Input((4,), np.full(4, 0.25)), Input((), np.asarray(1.0))
    inner = (Call("multiply", (Ref(2), Ref(3)), {}, (4,)), Call("subtract", (Ref(4), Ref(3)), {}, (5,)))
    body = Body((2, 3), inner, (Ref(2), Ref(5)))  # what is left of x - x is rounding alone
    graph = fuzzing.Declared.of(Recipe((xs, start), (Call("scan", (body, Ref(1), Ref(0)), {}, (6, 7)),), (Ref(7),)))
    (change,) = fuzzing.sensitivity(graph)
    assert ((change > 0) & (change < 1e-15)).all()


def test_the_sign_of_nan_is_no_failure() -> None:
    x = Input((2,), np.asarray([np.nan, 1.0]))
    calls = (Call("tanh", (Ref(0),), {}, (1,)), Call("copysign", (1.0, Ref(1)), {}, (2,)))
    graph = fuzzing.Declared.of(Recipe((x,), calls, (Ref(2),)))
    assert not fuzzing.compare(graph, [np.array([1.0, 1.0])], [np.array([-1.0, 1.0])]).failed
    assert fuzzing.compare(graph, [np.array([1.0, 1.0])], [np.array([1.0, -1.0])]).failed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_that_overflow_on_the_way_may_be_any_infinity_or_nan_or_what_they_are(dtype: str) -> None:
    most = float(np.finfo(dtype).max)
    x = Input((5,), np.asarray([most, most, -most, -most, 1], dtype))
    calls = (Call("matmul", (Ref(0), np.ones((5, 2), dtype)), {}, (1,)), Call("sum", (Ref(0),), {}, (2,)))
    graph = fuzzing.Declared.of(Recipe((x,), calls, (Ref(1), Ref(2))))
    want = graph.run(backend="reference")
    for wrong in (np.nan, np.inf):
        got = [np.full(2, wrong, dtype), np.asarray(wrong, dtype)]
        assert not fuzzing.compare(graph, got, want).failed
    assert not fuzzing.compare(graph, [np.ones(2, dtype), np.ones((), dtype)], want).failed
    infinite = Input((2,), np.asarray([np.inf, 1], dtype))
    lone = fuzzing.Declared.of(Recipe((infinite,), (Call("sum", (Ref(0),), {}, (1,)),), (Ref(1),)))
    assert fuzzing.compare(lone, [np.asarray(np.nan, dtype)], [np.asarray(np.inf, dtype)]).failed


def test_float64_is_held_to_its_own_precision() -> None:
    x, y = Input((), np.asarray(0.5)), Input((), np.asarray(0.5, "float32"))
    calls = (Call("tanh", (Ref(0),), {}, (2,)), Call("add", (Ref(2), Ref(1)), {}, (3,)))
    graph = fuzzing.Declared.of(Recipe((x, y), calls, (Ref(2), Ref(3))))
    want = graph.run(backend="reference")
    assert fuzzing.compare(graph, [want[0] * (1 + 1e-9), want[1]], want).failed
    assert not fuzzing.compare(graph, [want[0], want[1] * (1 + 1e-9)], want).failed


def test_what_rounding_decides_is_measured_with_variables_too() -> None:
    calls = (Call("variable", (np.ones(2),), {}, (0,)), Call("tanh", (Ref(0),), {}, (1,)))
    graph = fuzzing.Declared.of(Recipe((), calls, (Ref(1),), ((Ref(0), Ref(1)),)))
    changes = fuzzing.sensitivity(graph)
    assert all(((change > 0) & (change < 1e-15)).all() for change in changes)


def test_a_product_that_overflows_beside_an_infinity_may_be_either() -> None:
    """inf - 1e30 * 1e30 is infinite if the product is not rounded, and NaN if it is; inf - 1e30 is infinite."""
    infinite, missing = (np.full((1, 1), value, "float32") for value in (np.inf, np.nan))
    for factor, fails in ((1e30, False), (1.0, True)):
        a, b = np.array([[np.inf, -1e30]], "float32"), np.array([[1.0], [factor]], "float32")
        recipe = Recipe((Input((1, 2), a), Input((2, 1), b)), (Call("matmul", (Ref(0), Ref(1)), {}, (2,)),), (Ref(2),))
        assert fuzzing.compare(fuzzing.Declared.of(recipe), [missing], [infinite]).failed is fails


def test_bodies_are_built_renumbered_and_printed() -> None:
    """A running sum that captures a value from outside."""
    xs, scale = Input((3,), np.array([1.0, 2.0, 3.0])), Input((), np.asarray(10.0))
    inner = (Call("multiply", (Ref(4), Ref(1)), {}, (5,)), Call("add", (Ref(3), Ref(5)), {}, (6,)))
    body = Body((3, 4), inner, (Ref(6), Ref(5)))
    unused = Input((2,), np.zeros(2))
    assert Recipe((unused, Input(("n",), np.zeros(2))), (), ()).needed().inputs[0].shape == ("n",)
    recipe = recipes.renumbered(
        {0: xs, 1: scale, 9: unused}, (Call("scan", (body, np.float64(0), Ref(0)), {}, (7, 8)),), (Ref(7), Ref(8))
    ).needed()
    assert len(recipe.inputs) == 2
    last, rows = fuzzing.Declared.of(recipe).run()
    assert last == 60
    assert rows.tolist() == [10, 20, 30]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(recipes.as_code(recipe), "script", "exec"), {})
    assert shown.getvalue().count("60.0\n[10. 20. 30.]") == 2  # by the reference, and compiled


@pytest.mark.parametrize("which", [*range(8), *OF_OWN_FORM])
def test_the_script_of_a_graph_is_the_graph(which: int | str) -> None:
    """Of some graph, or of the first that calls a function whose code has a form of its own."""
    candidates = [fuzz.recipe_of(4, which, 25)] if isinstance(which, int) else graphs_with(which)
    recipe, expected = next((found for found in map(interpreted, candidates) if found), (None, None))
    if recipe is None or expected is None:
        pytest.skip("the reference refuses this one")
    names: dict[str, Any] = {}
    script = recipes.as_code(recipe).partition("with graphc.Session")[0]
    exec(compile(script, "script", "exec"), names)
    count = len(recipe.outputs)
    with graphc.Session(backend="reference") as session, np.errstate(all="ignore"):
        found = session.run(names["outputs"], names["feeds"])[:count]
    for left, right in zip(found, expected[:count], strict=True):
        np.testing.assert_array_equal(left, right)


def test_what_graphc_refuses_adds_nothing() -> None:
    grower = growing.Grower(growing.Drawn(np.random.default_rng(0)))
    grower.start()
    before = dict(grower.values), dict(grower.inputs), list(grower.calls)

    def refused(grower: growing.Grower) -> None:
        grower.add_input((3,), "float32")
        grower.call("tanh", Ref(0))
        grower.call("matmul", 1, 2)

    grower.grow([refused])
    assert (grower.values, grower.inputs, grower.calls) == before


def test_every_kind_of_step_is_reached() -> None:
    """Of the functions that steps name, all are called by some graph."""
    called = set()
    for number in range(1500):
        for call in fuzz.recipe_of(5, number, 60).calls:
            called.add(call.function)
    assert set(steps.elementwise_names(1)) <= called
    assert {"cond", "while_loop", "custom_gradient"} <= called
    assert {"scan", "gradients", "variable", "jvp", "einsum", "sort", "matmul", "where", "random.normal"} <= called
    assert {"polygamma", "linalg.svd", "linalg.qr", "linalg.eigh", *networks.LAYERS, *networks.OPTIMIZERS} <= called


def test_a_search_resumes_and_survives_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Graph 2 kills the process that runs it: the others have their verdicts, and a second search runs nothing."""
    script = tmp_path / "fuzz_that_dies.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(fuzz.__file__).parent)!r})\n"
        "import fuzz\n"
        "run = fuzz.run_one\n"
        "fuzz.run_one = lambda args, number: os.abort() if number == 2 else run(args, number)\n"
        "sys.exit(fuzz.main())\n"
    )
    state = tmp_path / "state.jsonl"
    monkeypatch.setattr(fuzz, "__file__", str(script))
    command = ["fuzz.py", "--graphs", "4", "--seed", "6", "--calls", "3", "--processes", "1", "--state", str(state)]
    monkeypatch.setattr(sys, "argv", command)
    assert fuzz.main() == 1
    kinds = {row["graph"]: row["kind"] for row in map(json.loads, state.read_text().splitlines())}
    assert kinds == {0: "equal", 1: "equal", 2: "crash", 3: "equal"}
    monkeypatch.setattr(fuzz, "chunk_rows", None)
    assert fuzz.main() == 1
    assert "1 crash" in capsys.readouterr().out
