"""The examples that explain: each runs, ends with its number and its picture, and what it says is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

RUNS = {
    "four_ways_to_a_derivative": (
        ["--most", "4", "--seconds", "0"],
        r"all agree to \de-\d\d; 4 parameters: automatic is [\d,]+ times faster than numerical",
    ),
    "logistic_regression": (["--steps", "5"], r"held-out accuracy: linear 0\.\d+, fixed 0\.\d+, learned 0\.\d+"),
    "universal_approximation": (["--steps", "5"], r"root mean square error: \d\.\d+ with 1 unit, \d\.\d+ with 64"),
    "vanishing_gradients": (["--depth", "4"], r"left of the gradient after 4 layers: sigmoid .+, tanh, residual .+"),
}


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_with_a_number_and_a_picture(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, last = RUNS[name]
    importlib.import_module(name).main([*options, "--out", str(tmp_path)])
    assert re.fullmatch(last, capsys.readouterr().out.splitlines()[-1])
    (picture,) = tmp_path.iterdir()
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("four_ways_to_a_derivative", ["--most", "1"], "--most: expected at least 2, got 1"),
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
