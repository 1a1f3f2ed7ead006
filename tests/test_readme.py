"""Every ```python block of README.md and docs/ runs, in order, in one namespace a file.

A block whose preceding line is the comment ``<!-- not run -->`` is left out.  Links between these files lead somewhere.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SKIP = "<!-- not run -->"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")


def blocks_of(text: str) -> list[tuple[int, str]]:
    """(line of the first code line, code) of each ```python block that is to be run."""
    blocks, above, lines = [], "", text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position].strip()
        if line == "```python":
            end = next(k for k in range(position + 1, len(lines)) if lines[k].strip() == "```")
            if above != SKIP:
                blocks.append((position + 2, "\n".join(lines[position + 1 : end])))
            position = end
        above = line or above
        position += 1
    return blocks


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page.read_text())], ids=name_of)
def test_the_code_on_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    for line, code in blocks_of(page.read_text()):
        # The empty lines in front give tracebacks and origins the page's own line numbers.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_files_lead_somewhere(page):
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{name_of(page)} links to missing files: {missing}"


def test_blocks_are_found_and_skipped():
    text = "a\n```python\nx = 1\n```\n<!-- not run -->\n\n```python\nboom\n```\n```python\ny = 2\n```\n"
    assert blocks_of(text) == [(3, "x = 1"), (11, "y = 2")]
