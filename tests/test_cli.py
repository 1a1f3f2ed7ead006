"""The command line, as users call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graphc import cli, config
from graphc.ir.op import REGISTRY, Op


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command, with a module that declares a graph."""
    (tmp_path / "small_model.py").write_text(
        "import graphc\n"
        "x = graphc.placeholder('x', ('batch', 3))\n"
        "w = graphc.variable([[1.0], [2.0], [3.0]], name='w')\n"
        "loss = (graphc.tanh(x @ w) ** 2).mean()\n"
        "number = 3\n"
        "def model():\n"
        "    return loss\n"
        "def broken():\n"
        "    return x @ x\n"
        "def failing():\n"
        "    return 1 / 0\n"
        "def needing(size, *, depth, width=3):\n"
        "    return loss\n"
        "def folded():\n"
        "    return graphc.nn.Dense(2)(x)\n"
        "def program():\n"
        "    return graphc.compile([x], loss)\n"
        "program_itself = graphc.compile([x], loss)\n"
    )
    (tmp_path / "small_script.py").write_text("import sys\nsys.exit('no arguments given')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    shown = capsys.readouterr().out
    parts = ["graphc", "numba", "llvmlite", "processor", "threads", "cache", "renderer"]
    for part in (*parts, str(config.current().cache_dir)):
        assert part in shown


def test_ops_lists_every_op(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ops"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == sorted(REGISTRY)


def test_ops_check_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ops", "--check", "--op", "tanh", "--op", "add"]) == 0
    shown = capsys.readouterr().out
    assert "2 of 2 ops passed" in shown
    assert "ints, floats" in shown


def test_ops_check_fails_for_a_wrong_op(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(REGISTRY["square"]), "expression", "x * x + 0.01")
    assert cli.main(["ops", "--check", "--op", "square"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "failed: square" in shown


def test_ops_check_fails_for_a_wrong_derivative(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Op, node: object, g: object) -> tuple[object]:
        return (g,)

    monkeypatch.setattr(type(REGISTRY["sin"]), "vjp", wrong)
    assert cli.main(["ops", "--check", "--op", "sin"]) == 1
    assert "central differences give" in capsys.readouterr().out


def test_unknown_op(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ops", "--check", "--op", "sigmod"]) == 1
    shown = capsys.readouterr().err
    assert "there is no op named 'sigmod'" in shown
    assert "did you mean 'sigmoid'?" in shown


@pytest.mark.parametrize("name", ["loss", "model"])
def test_draw(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    target = folder / "loss.dot"
    assert cli.main(["draw", f"small_model:{name}", "-o", str(target), "--backward"]) == 0
    assert target.read_text().lstrip().startswith("digraph")
    assert str(target) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("small_model", "expected MODULE:NAME"),
        ("no_such_module:x", "No module named 'no_such_module'"),
        ("small_model:absent", "has no attribute 'absent'"),
        ("small_model:broken", "matmul: inner dimensions differ"),
        ("small_model:failing", "ZeroDivisionError"),
        (
            "small_model:number",
            "draw: small_model:number: expected a tensor, a list or dict of tensors, a program or a profile, "
            "got int: 3",
        ),
        (
            "small_model:needing",
            "draw: small_model:needing: expected a function of no arguments, got one that needs size, depth\n"
            "  hint: write one that makes the placeholders and calls it",
        ),
        ("small_script:x", "SystemExit: no arguments given\n  hint: a script that runs when imported needs"),
        ("no_such_module:x", "hint: the module is looked for in the working folder"),
        ("small_model.py:loss", "hint: give the module's name: small_model"),
    ],
)
def test_draw_refuses(folder: Path, capsys: pytest.CaptureFixture[str], target: str, message: str) -> None:
    assert cli.main(["draw", target, "-o", "x.dot"]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["small_model:loss"], ['label="loss"', "tanh"]),
        (["small_model:folded", "--fold", "1"], ["2 variables: 8 elements, 32 B"]),
        (["small_model:folded", "--fold=dense"], ["2 variables: 8 elements, 32 B"]),
        (["small_model:folded", "--fold", "0", "--theme", "print"], ["matmul", "#d8d8d8"]),
        (["small_model:program", "--kernels"], ["kernel 0"]),
        (["small_model:program_itself"], ["tanh"]),
        (["small_model:loss", "--backward", "--value", "x=[[1, 2, 3]]", "--value", "w=[[0],[0],[1]]"], ["0.995"]),
        (["small_model:loss", "--direction", "LR"], ['rankdir="LR"']),
    ],
)
def test_options_of_draw(folder: Path, options: list[str], words: list[str]) -> None:
    assert cli.main(["draw", *options, "--out", "picture.dot"]) == 0
    text = (folder / "picture.dot").read_text()
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold", "nothing"], "draw: there is no scope 'nothing' to fold; the graph has no scopes"),
        (["--fold=-1"], "draw: expected fold= as a depth of at least 1, got -1"),
        (["--theme", "plaid"], "draw: expected a theme among light, dark, print, auto, got 'plaid'"),
        (["--direction", "up"], "draw: expected direction 'TB' or 'LR', got 'up'"),
        (["--value", "z=1"], "draw: expected --value NAME=VALUE with a NAME among x, w, got 'z=1'"),
        (["--value", "x"], "draw: expected --value NAME=VALUE with a NAME among x, w, got 'x'"),
        (["--value", "x=__import__('os')"], "draw: expected --value x= a number, true, false or a list of these, got"),
        (["--value", "x=[1]"], "feed 'x'"),
    ],
)
def test_options_of_draw_that_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.main(["draw", "small_model:loss", *options, "-o", "picture.dot"]) == 1
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown
    assert not (folder / "picture.dot").exists()


def test_cache(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = config.current().cache_dir
    config.configure(cache_dir=tmp_path / "kernels")
    try:
        assert cli.main(["cache", "path"]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / "kernels")
        assert cli.main(["cache", "list"]) == 0
        assert "0 kernels" in capsys.readouterr().out
        assert cli.main(["cache", "clear"]) == 0
        assert "removed 0 kernels" in capsys.readouterr().out
    finally:
        config.configure(cache_dir=before)


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "graphc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_as_a_module() -> None:
    done = run_module("ops")
    assert done.returncode == 0
    assert "tanh" in done.stdout


def test_a_wrong_command_is_explained() -> None:
    done = run_module("fly")
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
    assert "Traceback" not in done.stderr
