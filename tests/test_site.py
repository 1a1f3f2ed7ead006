"""The documentation site builds without a warning, its links lead somewhere, and its reference has every op."""

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from graphc.ir.op import REGISTRY
from graphc.ops import FUNCTIONS

pytest.importorskip("sphinx", reason="the site is made by Sphinx: install graphc[docs]")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


class Anchors(HTMLParser):
    """What a page links to, and what can be linked to on it."""

    def __init__(self, page: Path):
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links |= {found[key] for key in ("href", "src") if found.get(key) and tag != "link"}


def test_the_site_builds_without_a_warning_and_is_whole(tmp_path):
    # one test, as each worker of pytest-xdist would build a site of its own for several
    site = built(tmp_path)
    check_links(site)
    check_entries(site)
    check_for_paths(site)


def built(out: Path) -> Path:
    """The site: warnings are errors, and references must be found."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-E", "-b", "html",
               "-d", out / "trees", DOCS, out / "html"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


def check_links(site: Path) -> None:
    """Every link leads somewhere."""
    pages = {page: Anchors(page) for page in site.rglob("*.html")}
    broken = []
    for page, anchors in pages.items():
        for link in anchors.links:
            path, fragment = urldefrag(unquote(link).split("?")[0])
            if ":" in path or path == "#":
                continue
            target = (page.parent / path).resolve() if path else page
            known = pages[target].names if target in pages else None
            if not target.exists() or (fragment and known is not None and fragment not in known):
                broken.append(f"{page.relative_to(site)} -> {link}")
    assert not broken


def check_entries(site: Path) -> None:
    """Every op and function, public or not, has an entry."""
    names = set().union(*(Anchors(page).names for page in (site / "ops").glob("*.html")))
    assert not {f"graphc.{name}" for name in FUNCTIONS} - names
    assert not {name for name, op in REGISTRY.items() if name not in FUNCTIONS} - names
    classes = Anchors(site / "api" / "graphc.html").names
    assert {"graphc.Session", "graphc.Tensor", "graphc.draw", "graphc.check_gradients"} <= classes


def check_for_paths(site: Path) -> None:
    """Nothing names the machine that it was made on."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for word in ("site-packages", str(ROOT), " at 0x7"):
            assert word not in text, f"{page.relative_to(site)}: {word}"


@pytest.fixture(scope="module")
def reference():
    """The module that makes the reference of ops."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        import op_reference
    finally:
        sys.path.remove(str(DOCS / "_ext"))
    return op_reference


def test_entries_say_what_is_computed_and_the_derivative(reference):
    found = {entry.name: entry for entry in reference.entries()}
    assert reference.derivative(found["multiply"]) == [("x", "g * y"), ("y", "g * x")]
    assert reference.derivative(found["tanh"]) == [("x", "g * (1 - square(result))")]
    assert reference.derivative(found["equal"]) == []
    (formula,) = reference.formulas(found["permute_dims"])
    assert formula.startswith("result[i, j") and "= x[" in formula
    assert any("exp(" in line for line in reference.formulas(found["softmax"]))
    assert found["tanh"].signature == "(x, /)"
    assert found["mean"].signature == "(x, axis=None, keepdims=False)"
    assert "exp" in reference.parts_of(found["softmax"])


def test_every_differentiable_op_with_a_sample_shows_its_derivative_or_has_several_results(reference):
    for entry in reference.entries():
        if entry.is_op and entry.public and entry.target.differentiable and entry.target.samples:
            (_, outputs) = entry.example
            direct = len(outputs) == 1 and outputs[0].node.op is entry.target
            assert reference.derivative(entry) or not direct, entry.name


def test_accuracy_is_shown_where_it_is_on_record(reference, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    rows = [{"function": "exp", "dtype": "float32", "error": 0.9, "at": ["1.0"]}]
    (tmp_path / "docs" / "accuracy.json").write_text(json.dumps(rows))
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    errors = reference.accuracy()
    assert errors == {"exp": {"float32": "0.90 ulp"}}
    monkeypatch.undo()
    text = reference.index_text(reference.entries(), [], errors)
    assert "- Accuracy" in text and "- float32: 0.90 ulp" in text
    assert "- Accuracy" not in reference.index_text(reference.entries(), [], {})
