"""The examples that explain: each runs, ends with its number and its picture, and what it says is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import make_examples
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("sympy")


RUNS = {
    "multiple_paths": (
        ["--most", "4"],
        r"dc/da at 0\.5: by 4 paths 3\.905192\d+, by the backward graph 3\.905192\d+, numerically 3\.905192\d+",
    ),
    "static_vs_dynamic": (["--rounds", "1"], r"losses within \de-0[67]; compiled is [\d.]+ times faster than eager.*"),
    "four_ways_to_a_derivative": (
        ["--most", "4", "--seconds", "0"],
        r"all agree to \de-\d\d; 4 parameters: automatic is [\d,]+ times faster than numerical",
    ),
    "logistic_regression": (["--steps", "5"], r"held-out accuracy: linear 0\.\d+, fixed 0\.\d+, learned 0\.\d+"),
    "universal_approximation": (["--steps", "5"], r"root mean square error: 0\.\d+ with 1 unit, 0\.\d+ with 64"),
    "digits_mlp": (["--epochs", "1", "--threads", "1"], r"test accuracy: 0\.[89]\d+"),
    "vanishing_gradients": (["--depth", "4"], r"left of the gradient after 4 layers: sigmoid .+, tanh, residual .+"),
}


SMALLER = {"universal_approximation": {"WIDTHS": (1, 64)}, "logistic_regression": {"FOLDS": 2}}
"""Constants of the examples that decide how many programs are compiled."""


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_with_a_number_and_a_picture(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, last = RUNS[name]
    example = importlib.import_module(name)
    for constant, value in SMALLER.get(name, {}).items():
        monkeypatch.setattr(example, constant, value)
    example.main([*options, "--out", str(tmp_path)])
    assert re.fullmatch(last, capsys.readouterr().out.splitlines()[-1])
    found = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert found.keys() >= set(make_examples.ORDER[name])
    assert min(found.values()) > 5000


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("four_ways_to_a_derivative", ["--most", "1"], "--most: expected at least 2, got 1"),
        ("multiple_paths", ["--at", "nan"], "--at: expected a number from -5 to 5, got nan"),
        ("multiple_paths", ["--most", "0"], "--most: expected at least 1, got 0"),
        ("static_vs_dynamic", ["--rounds", "0"], "--rounds: expected at least 1, got 0"),
        ("digits_mlp", ["--epochs", "0"], "--epochs: expected at least 1, got 0"),
        ("logistic_regression", ["--steps", "0"], "--steps: expected at least 1, got 0"),
        ("universal_approximation", ["--steps", "-3"], "--steps: expected at least 1, got -3"),
        ("vanishing_gradients", ["--depth", "1"], "--depth: expected at least 2, got 1"),
    ],
)
def test_wrong_options(name: str, wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(name).main(wrong)
    assert message in capsys.readouterr().err


def test_four_ways_agree_and_grow_as_they_should() -> None:
    """Operations for 3 and 6 parameters: twice as many by hand and automatically, four times as many numerically."""
    import graphc

    example = importlib.import_module("four_ways_to_a_derivative")
    with graphc.Session(threads=1) as session:
        few, _ = example.measure(3, session, 0)
        many, found = example.measure(6, session, 0)
    growth = {a["way"]: b["operations"] / a["operations"] for a, b in zip(few, many, strict=True)}
    assert growth["by hand"] == 2
    assert growth["numerically"] == 4
    assert 1.8 < growth["automatically"] < 2
    assert growth["symbolically"] > 8  # the expression doubles with each parameter
    for slopes in found.values():
        np.testing.assert_allclose(slopes, found["by hand"], rtol=1e-7, atol=1e-9)


def test_gradients_vanish_as_eigenvalues_say() -> None:
    import graphc

    example = importlib.import_module("vanishing_gradients")
    with graphc.Session() as session:
        small = example.through_time(0.5, lambda h: h, session)
    # over 40 steps the norm falls by about 0.5 ** 40; directions turn, hence the margin
    assert 0.5**46 < small[-1] / small[19] < 0.5**34
    assert example.matrix(1.1).shape == (example.SIZE, example.SIZE)
    assert np.abs(np.linalg.eigvals(example.matrix(1.1))).max() == pytest.approx(1.1)


@pytest.mark.parametrize("at", [-1.3, 0.0, 0.5, 2.0])
def test_derivatives_along_paths_sum_to_the_derivative(at: float) -> None:
    """By hand, with b = exp(a): along the four paths b, ab, b sin b and b b cos b, the last two through b alone."""
    import graphc

    example = importlib.import_module("multiple_paths")
    a = graphc.placeholder("a", (), "float64")
    parts, by_graph, numerically = example.derivatives(graphc.explain_gradient(example.function(a)[1], a), at)
    b = np.exp(at)
    np.testing.assert_allclose(np.sort(parts), np.sort([b, at * b, b * np.sin(b), b * b * np.cos(b)]), rtol=1e-12)
    np.testing.assert_allclose(parts.sum(), by_graph, rtol=1e-12)
    np.testing.assert_allclose(numerically, by_graph, rtol=1e-7)


def test_paths_double_where_nodes_are_added() -> None:
    example = importlib.import_module("multiple_paths")
    found = [example.growth(steps) for steps in (5, 10, 20)]
    assert [paths for paths, *_ in found] == [2**5, 2**10, 2**20]
    forward, backward = ([row[place] for row in found] for place in (1, 2))
    assert forward[2] - forward[1] == 2 * (forward[1] - forward[0])
    assert backward[2] - backward[1] == 2 * (backward[1] - backward[0])
    h, slope = 1.0, 1.0
    for _ in range(20):
        h, slope = h + np.sin(h) / 20, slope * (1 + np.cos(h) / 20)
    assert found[2][3] == pytest.approx(slope, rel=1e-12)


def test_static_and_dynamic_agree_and_the_compiler_saves() -> None:
    import graphc

    example = importlib.import_module("static_vs_dynamic")
    model, rng = example.network(), np.random.default_rng(0)
    images = rng.random((3 * example.BATCH, example.PIXELS), np.float32)
    labels = rng.integers(0, example.CLASSES, len(images))
    with (
        graphc.Session(threads=1, seed=0) as session,
        graphc.Session(threads=1, seed=0, backend="reference") as eager_session,
    ):
        steps = {
            "compiled": example.compiled_step(model, session), "eager": example.eager_step(model, eager_session),
        }  # fmt: skip
        losses = example.compare(steps, images, labels)
        counts = example.anatomy(model, session)
    assert len(losses["eager"]) == 3
    np.testing.assert_allclose(losses["compiled"], losses["eager"], rtol=1e-5)
    (nodes, operations, size), _, (_, kernels, arena) = counts.values()
    assert nodes > operations > 5 * kernels
    assert size > 3 * arena


def test_torch_takes_the_same_steps() -> None:
    pytest.importorskip("torch")
    import graphc

    example = importlib.import_module("static_vs_dynamic")
    model, rng = example.network(), np.random.default_rng(0)
    images = rng.random((3 * example.BATCH, example.PIXELS), np.float32)
    labels = rng.integers(0, example.CLASSES, len(images))
    with graphc.Session(threads=1, seed=0) as session:
        compiled = example.compiled_step(model, session)
        torch_step, count = example.torch_step([session.get(variable) for variable in model.variables])
        losses = example.compare({"compiled": compiled, "PyTorch": torch_step}, images, labels)
    np.testing.assert_allclose(losses["compiled"], losses["PyTorch"], rtol=1e-5)
    assert count() > 100


def test_error_falls_with_the_number_of_units() -> None:
    """After few steps already, since the output layer is solved for; least squares never does worse than Adam."""
    example = importlib.import_module("universal_approximation")
    errors = []
    for width in (2, 8, 32):
        x, by_adam, solved = example.fit(width, 50)
        wanted = example.target(x)
        errors.append(np.sqrt(np.mean((solved - wanted) ** 2)))
        assert errors[-1] <= 1.01 * np.sqrt(np.mean((by_adam - wanted) ** 2))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_the_page_says_what_the_examples_say() -> None:
    """Every example stands on it, with its own description, the last line of its run, and its pictures."""
    folder = Path(__file__).parents[2]
    assert set(make_examples.ORDER) == {path.stem for path in (folder / "examples").glob("*.py")}
    results = make_examples.json.loads(make_examples.RESULTS.read_text())
    assert make_examples.PAGE.read_text() == make_examples.page(results)
    for result in results.values():
        for picture in result["pictures"]:
            assert (make_examples.PICTURES / picture).exists()
