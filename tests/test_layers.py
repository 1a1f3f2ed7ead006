"""The layers hold without exception, and the warm path stays light.

The table itself is the contract in pyproject.toml; a module that stands in no row of it is an error.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numba", "networkx", "graphviz", "pygraphviz", "matplotlib", "sklearn", "scipy")


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_imports_only_go_down():
    result = python("from importlinter.cli import lint_imports_command as lint; lint(['--no-logo'])")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_contract_has_no_exceptions():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert contract["exhaustive"] is True
    assert not {key for key in contract if "ignore" in key}


def test_importing_graphc_loads_nothing_heavy():
    result = python(f"import sys, graphc; print(*sorted(set(sys.modules) & set({HEAVY!r})))")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_the_pipeline_fits_on_a_page():
    lines = (ROOT / "graphc" / "compiler.py").read_text().splitlines()
    assert len(lines) <= 84
