#!/usr/bin/env python3
"""Run every example as a user would, and write docs/examples.md with what each prints last and its picture.

    python docs/make_examples.py [NAME ...]

Without names all are run, which takes some minutes; with names the others' entries stay as they are. An entry holds the
example's own description, its last line and its picture; what the line says differs a little between machines.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
PICTURES = DOCS / "pictures"
PAGE = DOCS / "examples.md"
RESULTS = DOCS / "examples.json"

ORDER = {
    "multiple_paths": ("multiple_paths.svg",),
    "four_ways_to_a_derivative": ("four_ways_to_a_derivative.png",),
    "static_vs_dynamic": ("static_vs_dynamic.png", "kernels.svg", "tape.svg"),
    "logistic_regression": ("logistic_regression.png",),
    "universal_approximation": ("universal_approximation.png",),
    "vanishing_gradients": ("vanishing_gradients.png",),
    "digits_mlp": ("training.png", "forward.svg"),
    "char_transformer": ("char_transformer.png",),
}
"""Examples in the page's order, and the pictures of each that the page shows."""

OPENING = """# Examples

Each is one file that runs by itself, in a minute or two on two cores, and ends with a number and a picture. This page
is made by `python docs/make_examples.py`, which runs them all.
"""


def run(name: str) -> dict[str, Any]:
    """Run an example in a folder of its own; keep its last line and its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stdout}{done.stderr}")
        kept = []
        for picture in ORDER[name]:
            kept.append(picture if picture.startswith(name) else f"{name}_{picture}")
            shutil.copyfile(Path(folder) / picture, PICTURES / kept[-1])
    return {"last": done.stdout.strip().splitlines()[-1], "pictures": kept}


def description(name: str) -> tuple[str, str]:
    """The title and the text of an example's docstring, without the line that tells how to run it."""
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text())) or ""
    title, *rest = text.split("\n\n")
    paragraphs = [part for part in rest if not part.strip().startswith("python ")]
    return title.rstrip("."), "\n\n".join(map(as_markdown, paragraphs))


def as_markdown(paragraph: str) -> str:
    """A paragraph of a docstring as Markdown: what is set in columns or indented stays as it is."""
    lines = paragraph.splitlines()
    columns = any("  " in line.strip() for line in lines)
    if columns or all(line.startswith("    ") for line in lines):
        return "```text\n" + textwrap.dedent(paragraph) + "\n```"
    return paragraph.replace("``", "`").replace("::", ":")


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page's text."""
    parts = [OPENING]
    for name in ORDER:
        title, text = description(name)
        result = results[name]
        parts.append(f"## {title}\n\n{text}\n")
        parts.append(f"```text\n$ python examples/{name}.py\n...\n{result['last']}\n```\n")
        for picture in result["pictures"]:
            parts.append(f"![{Path(picture).stem}](pictures/{picture})\n")
    return "\n".join(parts)


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(ORDER))
    if unknown:
        sys.exit(f"no example named {', '.join(unknown)}; there are {', '.join(ORDER)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or ORDER:
        results[name] = run(name)
        print(f"{name}: {results[name]['last']}", flush=True)
    RESULTS.write_text(json.dumps({name: results[name] for name in ORDER}, indent=1) + "\n")
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main(sys.argv[1:])
