#!/usr/bin/env python3
"""Set graphc up in ``.venv`` and run it; needs nothing but Python 3.11 or newer.

    python3 run.py                        train the handwritten-digits example
    python3 run.py profile [OPTIONS]      show where the time of a training step of that example goes
    python3 run.py test [PYTEST OPTIONS]  lint, check types and layers, run the tests (what CI runs)

The environment is made once and made again when it is broken.  The package is installed in it, editable, whenever
pyproject.toml has changed since the last installation or a command needs extras that are not there yet.  Variables
of the environment (pip's own, ``GRAPHC_*``) reach every command unchanged.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "graphc-installed.json"  # what the last successful installation was made from

RUN_EXTRAS = {"draw", "examples"}
TEST_EXTRAS = RUN_EXTRAS | {"test", "docs"}

CHECKS = (
    ("ruff", ["-m", "ruff", "check", "."]),
    ("mypy", ["-m", "mypy"]),
    ("layers", ["-c", "from importlinter.cli import lint_imports_command as lint; lint(['--no-logo'])"]),
)


def say(text: str) -> None:
    """Print a line of progress at once, so that it stays in order with the commands' own output."""
    print(f"run.py: {text}", flush=True)


def run(*arguments: str) -> int:
    """Run the environment's Python from the project's folder; return its exit status."""
    return subprocess.run([str(PYTHON), *arguments], cwd=ROOT).returncode


def ensure_environment() -> None:
    """Make ``.venv`` if it is missing or its Python or pip no longer works."""
    probe = [str(PYTHON), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return
    except OSError:
        pass  # no Python there, or one that cannot start: make it anew
    say("rebuilding the broken environment .venv" if VENV.exists() else "making the environment .venv")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode != 0:
        sys.exit(
            "run.py: could not make .venv: the messages above are from `python3 -m venv`. On Debian and Ubuntu the "
            "module comes with the package python3-venv."
        )


def ensure_installed(extras: set[str]) -> None:
    """Install graphc with `extras`, unless an installation from this very pyproject.toml has them already."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    try:
        stamp = json.loads(STAMP.read_text())
        installed, current = set(stamp["extras"]), stamp["pyproject"] == digest and stamp["root"] == str(ROOT)
    except (OSError, ValueError, KeyError, TypeError):
        installed, current = set(), False
    if current and extras <= installed:
        return
    wanted = sorted(extras | installed)
    say(f"installing graphc with {', '.join(wanted)} (once; a few minutes when packages must be downloaded)")
    target = f"{ROOT}[{','.join(wanted)}]"
    if run("-m", "pip", "install", "--quiet", "--editable", target) != 0:
        sys.exit(
            "run.py: the installation failed; the messages above are pip's. It needs a package index (or "
            "PIP_FIND_LINKS) and room on the disk; run the command again when that is in order."
        )
    STAMP.write_text(json.dumps({"pyproject": digest, "root": str(ROOT), "extras": wanted}))


def test(pytest_arguments: list[str]) -> int:
    """Run every check, then the tests; pytest's closing line is the last line printed."""
    failed = []
    for name, arguments in CHECKS:
        say(name)
        if run(*arguments) != 0:
            failed.append(name)
    say(f"pytest (already failed: {', '.join(failed)})" if failed else "pytest")
    status = run("-m", "pytest", "-n", "2", *pytest_arguments)
    return status or (1 if failed else 0)


def main(arguments: list[str]) -> int:
    """Set up what the command needs, run it, return its exit status."""
    if sys.version_info < (3, 11):
        sys.exit(f"run.py: graphc needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})")
    command = arguments[0] if arguments else "train"
    if arguments and command not in ("profile", "test"):
        print(__doc__)
        return 0 if command in ("-h", "--help") else 2
    ensure_environment()
    ensure_installed(TEST_EXTRAS if command == "test" else RUN_EXTRAS)
    if command == "test":
        return test(arguments[1:])
    example = str(Path("examples") / "digits_mlp.py")
    if command == "profile":
        say(f"profiling a training step of the example {example}")
        return run(example, "--profile", *arguments[1:])
    say(f"training the example {example}")
    return run(example)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
