"""docs/pipeline.md is what its script makes of the compiler as it is; docs/add_an_op.md has a test of its own.

If this fails because the compiler changed: run ``python docs/make_pipeline.py``, and read what it wrote.
"""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_the_pipeline_page_is_what_its_script_writes(tmp_path):
    # A process of its own: numbers of nodes and merged constants then do not depend on the tests that ran before.
    command = [sys.executable, DOCS / "make_pipeline.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent, check=False)
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "pipeline.md").read_text(encoding="utf-8")
    kept = (DOCS / "pipeline.md").read_text(encoding="utf-8")
    assert made == kept, "docs/pipeline.md is stale: run python docs/make_pipeline.py"
    pictures = {path.stem for path in (tmp_path / "pictures").iterdir()}  # .svg, or .dot where there is no Graphviz
    assert pictures == {path.stem for path in (DOCS / "pictures").glob("pipeline_*.svg")}


def test_the_page_names_nothing_of_the_machine_it_was_made_on():
    text = (DOCS / "pipeline.md").read_text(encoding="utf-8")
    text += "".join(path.read_text(encoding="utf-8") for path in (DOCS / "pictures").glob("pipeline_*.svg"))
    for word in ("site-packages", str(Path.home()), str(DOCS.parent), " at 0x"):
        assert word not in text
