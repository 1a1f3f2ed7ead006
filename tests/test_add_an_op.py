"""docs/add_an_op.md does what it says: its class, appended to its file in a copy of the package, is a whole op."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import graphc

PAGE = Path(__file__).resolve().parent.parent / "docs" / "add_an_op.md"


def blocks(language: str) -> list[str]:
    """The page's code blocks of a language."""
    return [part.split("\n```")[0] + "\n" for part in PAGE.read_text(encoding="utf-8").split(f"```{language}\n")[1:]]


@pytest.fixture(scope="module")
def with_sinc(tmp_path_factory):
    """A folder with a copy of the package in which the page's class was added."""
    folder = tmp_path_factory.mktemp("sinc")
    package = Path(graphc.__file__).parent
    shutil.copytree(package, folder / "graphc", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "graphc" / "ops" / "elementary.py").open("a", encoding="utf-8") as file:
        file.write("\n\n" + blocks("python")[0])
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What a Python process prints that finds the changed package first."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_prints_what_it_shows(with_sinc):
    assert run(with_sinc, "-c", blocks("python")[1]) == blocks("text")[0]
    assert (with_sinc / "sinc.svg").exists() or (with_sinc / "sinc.dot").exists()


def test_the_harness_finds_nothing_wrong(with_sinc):
    printed = run(with_sinc, "-m", "graphc", "ops", "--check", "--op", "sinc")
    assert "1 of 1 ops passed" in printed


THIRD_DERIVATIVE = """
import numpy as np
import graphc
x = graphc.placeholder("x", ("n",), "float64")
y, found = graphc.sinc(x), []
for _ in range(4):
    found.append(y)
    y = graphc.gradients(y.sum(), x)
points = np.array([0.0, -0.0, 5e-324, 1e-300, 1e-8, 1e200])
with graphc.Session() as session:
    values = session.run(found, {x: points})
assert all(np.isfinite(value).all() for value in values), values
value, first, second, third = (v[:5] for v in values)
np.testing.assert_allclose(value, np.sinc(points[:5]), rtol=1e-15)
np.testing.assert_allclose(first, -np.pi**2 / 3 * points[:5], rtol=1e-13, atol=1e-320)
np.testing.assert_allclose(second, -np.pi**2 / 3, rtol=1e-13, atol=1e-320)
np.testing.assert_allclose(third, np.pi**4 / 5 * points[:5], rtol=1e-13, atol=1e-320)
"""


def test_no_derivative_is_lost_at_zero_or_far_away(with_sinc):
    run(with_sinc, "-c", THIRD_DERIVATIVE)
