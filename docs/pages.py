"""Runs the code on pages of the documentation, and compares what it prints with what the page shows.

    python docs/pages.py                     # every page: rewrites the outputs shown where they are stale
    python docs/pages.py docs/errors.md      # these pages only
    python docs/pages.py --renew             # rewrites outputs that vary from run to run, too
    python docs/pages.py --check README.md   # changes nothing; says what differs, and returns 1 if something does

The blocks of a page run in order and in one namespace, as if they were one file, ``example.py``: so the lines that
messages and dumps name do not depend on the prose between. Three forms:

* a block ``python``: it must run;
* a block ``python``, and below it a block ``text``: that is what it prints. If that holds a line which begins with
  ``graphc.errors.``, the code must end with an error of graphc's, which is shown as a traceback would end;
* a comment above a block: ``<!-- not run -->`` (a test of its own runs it, or nothing can), and above a block of text
  ``<!-- output varies -->`` (times, say), which is not compared.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import linecache
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_RUN, VARIES = "<!-- not run -->", "<!-- output varies -->"
FILE = "example.py"
MADE = ("_build", "api", "ops")
"""Folders of docs/ that hold what is made, not what is written."""


@dataclass(frozen=True)
class Block:
    """A block of Python on a page.

    Attributes
    ----------
    line : int
        Number of its first line of code, from 1.
    code : str
    shown : (int, int) or None
        The lines of the output below it, as a slice of the page's lines.
    varies : bool
        Whether that output is not to be compared.
    shows_error : bool
        Whether that output ends with an error.
    """

    line: int
    code: str
    shown: tuple[int, int] | None
    varies: bool = False
    shows_error: bool = False


def pages() -> list[Path]:
    """The pages that are written by hand or kept in the repository."""
    found = sorted((ROOT / "docs").glob("**/*.md"))
    written = [page for page in found if page.relative_to(ROOT / "docs").parts[0] not in MADE]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *written]


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page that are to be run."""
    fenced = _fenced(text)
    found = []
    for number, (language, above, first, last) in enumerate(fenced):
        if language != "python" or above == NOT_RUN:
            continue
        shown, varies = None, False
        if number + 1 < len(fenced):
            after, between, start, end = fenced[number + 1]
            if after == "text" and (between == "```" or (between == VARIES and _only(text, last + 1, start - 1))):
                shown, varies = (start, end), between == VARIES
        lines = text.splitlines()
        fails = shown is not None and any(line.startswith("graphc.errors.") for line in lines[slice(*shown)])
        found.append(Block(first + 1, "\n".join(lines[first:last]), shown, varies, fails))
    return found


def _only(text: str, first: int, last: int) -> bool:
    """Whether there is nothing but one line between two blocks."""
    return sum(bool(line.strip()) for line in text.splitlines()[first:last]) == 1


def _fenced(text: str) -> list[tuple[str, str, int, int]]:
    """Of each fenced block the language, the last line before it that is not empty, and the slice of its lines."""
    found, above, lines = [], "", text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position].strip()
        if line.startswith("```"):
            end = next(k for k in range(position + 1, len(lines)) if lines[k].strip() == "```")
            found.append((line[3:], above, position + 1, end))
            position, line = end, "```"
        above = line or above
        position += 1
    return found


def printed_by(text: str, name: str) -> list[str]:
    """What each block of a page prints.

    Raises
    ------
    SystemExit
        If a block fails that does not show how.
    """
    from graphc.errors import GraphcError, GraphcWarning

    namespace: dict[str, object] = {"__name__": "__main__"}
    file: list[str] = []
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", GraphcWarning)
        for block in blocks_of(text):
            above = "\n" * len(file)  # so that tracebacks count the lines of all blocks
            file += (block.code + "\n").splitlines(keepends=True)
            linecache.cache[FILE] = (sum(map(len, file)), None, file, FILE)
            out = io.StringIO()
            try:
                with contextlib.redirect_stdout(out):
                    exec(compile(above + block.code, FILE, "exec"), namespace)
                if block.shows_error:
                    raise SystemExit(f"{name}: the block at line {block.line} should end with an error")
            except Exception as error:
                if not block.shows_error or not isinstance(error, GraphcError):
                    traceback.print_exc()
                    raise SystemExit(f"{name}: the block at line {block.line} failed") from None
                out.write("".join(traceback.format_exception_only(error)))
            found.append("\n".join(line.rstrip() for line in out.getvalue().splitlines()))
    return found


def with_outputs(text: str, name: str, renew: bool = False) -> str:
    """The page with what its code prints now; with ``renew`` also where that varies."""
    lines = text.splitlines()
    pairs = list(zip(blocks_of(text), printed_by(text, name), strict=True))
    for block, printed in reversed(pairs):
        if block.shown is not None and (renew or not block.varies):
            first, last = block.shown
            lines[first:last] = printed.splitlines()
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run pages, in a process each where there are several: what one declares is not there for another."""
    options = [name for name in arguments if name in ("--check", "--renew")]
    check, renew = "--check" in options, "--renew" in options
    chosen = [Path(name).resolve() for name in arguments if name not in options] or pages()
    if len(chosen) > 1:
        command = [sys.executable, str(Path(__file__).resolve()), *options]
        return max(subprocess.run([*command, str(page)]).returncode for page in chosen)
    (page,) = chosen
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        now = with_outputs(text, page.name, renew)
    if now == text:
        return 0
    if not check:
        page.write_text(now, encoding="utf-8")
        print(f"{page.name}: outputs rewritten")
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(text.splitlines(True), now.splitlines(True), f"{page.name}, shown", "printed now")
    )
    return 1


if __name__ == "__main__":
    sys.path[0:0] = [str(ROOT)]
    sys.exit(main(sys.argv[1:]))
