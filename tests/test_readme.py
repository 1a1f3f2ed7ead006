"""The code in README.md, CONTRIBUTING.md and docs/ runs and prints what the pages show (docs/pages.py says how).

So do those examples in docstrings that import what they use. Links between these files lead somewhere.
"""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in pages.pages() if pages.blocks_of(page.read_text())], ids=name_of)
def test_the_code_on_the_page_runs_and_prints_what_is_shown(page):
    # A process of its own: names and merged constants then do not depend on what ran before.
    command = [sys.executable, str(ROOT / "docs" / "pages.py"), "--check", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nif that is meant: python docs/pages.py {name_of(page)}"


@pytest.mark.parametrize("page", pages.pages(), ids=name_of)
def test_links_between_files_lead_somewhere(page):
    targets = [target for target in LINK.findall(FENCED.sub("", page.read_text())) if "://" not in target]
    written = [target for target in targets if not set(pages.MADE) & set(Path(target).parts)]  # the site has the others
    missing = [target for target in written if not (page.parent / target).exists()]
    assert not missing, f"{name_of(page)} links to missing files: {missing}"


def with_examples():
    """Modules with examples that stand on their own; others are lines out of a program."""
    files = sorted((ROOT / "graphc").rglob("*.py"))
    found = [path.relative_to(ROOT) for path in files if re.search(r">>> (import|from) ", path.read_text())]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in found]


@pytest.mark.parametrize("module", with_examples())
def test_examples_in_docstrings_show_what_they_print(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failed


PAGE = """a
```python
x = 1
print(x)
```

```text
2
```
<!-- not run -->

```python
boom
```
```python
y = x + 1
```
and then
```text
no output
```
```python
import graphc
graphc.placeholder("x", (2,)) + graphc.placeholder("y", (3,))
```
```text
graphc.errors.
```
```python
print(x)
```
<!-- output varies -->
```text
123 us
```
"""


def test_blocks_are_found_and_skipped():
    found = pages.blocks_of(PAGE)
    assert [(block.line, block.shown) for block in found] == [(3, (7, 8)), (16, None), (23, (26, 27)), (30, (33, 34))]
    assert [block.varies for block in found] == [False, False, False, True]
    assert found[0].code == "x = 1\nprint(x)"


def test_outputs_are_renewed_and_errors_are_outputs():
    now = pages.with_outputs(PAGE, "page")
    assert "```text\n1\n```" in now
    assert "123 us" in now
    assert "123 us" not in pages.with_outputs(PAGE, "page", renew=True)
    assert "no output" in now
    assert "\ngraphc.errors.ShapeError: add: shapes (2,) and (3,) do not broadcast: sizes differ: 2 and 3" in now
    assert "declared at example.py:5: graphc.placeholder" in now


def test_a_block_that_fails_without_showing_it_is_named(capfd):
    with pytest.raises(SystemExit, match="page: the block at line 3 failed"):
        pages.printed_by("\n```python\n1 / 0\n```\n", "page")
    assert "ZeroDivisionError" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="page: the block at line 2 should end with an error"):
        pages.printed_by("```python\nprint(1)\n```\n```text\ngraphc.errors.ShapeError\n```\n", "page")


def test_stale_outputs_are_shown_then_rewritten(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    assert pages.main(["--check", str(page)]) == 1
    printed = capsys.readouterr().out
    assert "-3\n" in printed and "+2\n" in printed
    assert "3" in page.read_text()
    assert pages.main([str(page)]) == 0
    assert page.read_text() == "```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n"
    assert pages.main(["--check", str(page)]) == 0
