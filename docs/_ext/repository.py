"""Links from pages to files of the repository, and references from docstrings to what has no page of its own.

Pages link to sources as one does in the repository, ``[compiler.py](../graphc/compiler.py)``. On the site each file
that is linked to gets a page with its text, highlighted and with line numbers, and the link leads there.

Docstrings name things briefly: ``Tensor`` in a list of parameters, ``:class:`graphc.ir.types.TensorType``` in a
sentence. The first is looked up among all documented names by its last part. The second is part of no page, so it
leads to the source file that defines it. What remains are words, such as ``array_like``, and stays text; a name of
graphc that exists nowhere is a warning, and so fails the build.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parent.parent.parent
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".md": "markdown", ".css": "css"}
FOLDER = "source"
"""Where pages of sources lie on the site."""

WORD = re.compile(r"[a-z0-9_]+[.,;:]?")
"""Type references that are words, not names."""

FOREIGN = re.compile(r"(np|numpy|networkx|pathlib|collections|typing)\.|[^A-Za-z]|.*[ '\"=]")
"""Targets of type references that are literals, phrases, or other libraries' names: ``"all"``, ``np.ndarray``."""

BUILTIN = {"None", "True", "False", "Ellipsis", "Path", "Exception", "ValueError", "TypeError", "RuntimeError",
           "IndexError", "UserWarning", "NDArray", "Array", "Any", "ModuleType"}  # fmt: skip


class RepositoryLinks(SphinxTransform):
    """Turns links to files outside of docs/ into references that are resolved when their pages are known.

    A link to a folder leads to the text of its package, where it is one, and else is no link on the site.
    """

    default_priority = 870  # before Sphinx collects files to be copied, at 880

    def apply(self, **_: Any) -> None:
        """Replace the downloads that the Markdown parser makes of such links."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        links = [*self.document.findall(addnodes.download_reference), *self.document.findall(addnodes.pending_xref)]
        for download in links:
            target = download["reftarget"]
            if download.get("refdomain") == "doc" and target not in self.env.found_docs:  # a page at the top
                if Path(target).name.lower() in self.env.found_docs:  # which is included here
                    download["reftarget"] = Path(target).name.lower()
                    continue
                target = f"{target}.md"
            elif download["reftype"] != "myst" or download.get("refdomain"):
                continue
            path = (here / target.partition("#")[0]).resolve()
            if path.is_dir():
                path = path / "__init__.py"
                if not path.exists() or not path.read_text(encoding="utf-8").strip():
                    download.replace_self(download.children)
                    continue
            if not path.is_file() or not path.is_relative_to(ROOT):
                continue
            name = path.relative_to(ROOT).as_posix()
            link = addnodes.pending_xref(
                "", *download.children, refdoc=self.env.docname, refdomain="", reftype="repository", reftarget=name,
                refexplicit=True, refwarn=True,
            )  # fmt: skip
            download.replace_self(link)


class PlainWords(SphinxTransform):
    """Leaves words in lists of parameters as text: ``dtype`` is none of the attributes of that name."""

    default_priority = 870

    def apply(self, **_: Any) -> None:
        """Replace references to classes whose names are words; graphc's classes are capitalised."""
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link.get("refdomain") == "py" and link["reftype"] == "class" and WORD.fullmatch(link["reftarget"]):
                link.replace_self(link.children)


def linked(env: BuildEnvironment) -> set[str]:
    """The files that were linked to, which have pages; kept with the environment from build to build."""
    if not hasattr(env, "graphc_linked"):
        env.graphc_linked = set()
    found: set[str] = env.graphc_linked
    return found


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node) -> Any:
    """What a reference leads to, where Sphinx itself found nothing."""
    target = node["reftarget"]
    if node["reftype"] == "repository":
        return _to_source(app, env, node, content, target)
    if node.get("refdomain") != "py":
        return None
    if target.startswith("graphc."):
        return _documented(app, node, content, target) or _to_definition(app, env, node, content, target)
    return (
        _documented(app, node, content, target)
        or _to_definition(app, env, node, content, _inside(target))
        or (content if target in BUILTIN or FOREIGN.match(target) else None)
    )


def _to_source(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node, name: str
) -> nodes.reference:
    file, _, line = name.partition("#")
    linked(env).add(file)
    uri = app.builder.get_relative_uri(node["refdoc"], f"{FOLDER}/{file}") + (f"#{line}" if line else "")
    return nodes.reference("", "", content, internal=True, refuri=uri)


def _documented(app: Sphinx, node: addnodes.pending_xref, content: nodes.Node, target: str) -> Any:
    """The documented object whose name ends so; of several the shortest, which is where users find it."""
    last = target.rpartition(".")[2].rstrip("_")
    objects = app.env.domains["py"].data["objects"]
    names = [name for name in objects if name.rpartition(".")[2] == last]
    if "." in target and not target.startswith("graphc."):
        names = [name for name in names if name.endswith("." + target)]
    if not names or (node["reftype"] == "class" and objects[min(names, key=len)].objtype == "function"):
        return None
    entry = objects[min(names, key=len)]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, target)


def _inside(target: str) -> str:
    """The full name of what a module of graphc defines under a bare name; of several the one of the lowest layer."""
    first = target.partition(".")[0]
    for name, module in list(sys.modules.items()):
        value = vars(module).get(first) if module is not None and name.startswith("graphc.") else None
        if value is not None and getattr(value, "__module__", name) == name:
            return f"{name}.{target}"
    return target


def _to_definition(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node, target: str
) -> Any:
    """The file that defines a name which is on no page."""
    found: Any = None
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None) if found is not None else None
        break
    if found is None:
        return None
    try:
        path = Path(inspect.getfile(found))
    except TypeError:  # a constant: its module
        path = Path(inspect.getfile(importlib.import_module(".".join(parts[:-1]))))
    if not path.is_relative_to(ROOT) or "site-packages" in path.parts:  # an environment may lie in the checkout
        return content
    return _to_source(app, env, node, content, path.relative_to(ROOT).as_posix())


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that was linked to."""
    highlighter = getattr(app.builder, "highlighter", None)
    if highlighter is None:
        return
    for name in sorted(linked(app.env)):
        text = (ROOT / name).read_text(encoding="utf-8")
        language = LANGUAGES.get(Path(name).suffix, "text")
        body = highlighter.highlight_block(text, language, linenos="inline", lineanchors="L", anchorlinenos=True)
        context = {"title": name, "body": f"<h1>{name}</h1>{body}", "toctree": no_contents}
        yield f"{FOLDER}/{name}", context, "page.html"


def no_contents(**_: Any) -> str:
    """The table of contents beside a source: making one for each page takes longer than all the rest."""
    return ""


def drop_empty_patterns(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out patterns of tables of contents that match no page: one may stand for a page that comes later."""
    if ":glob:" in source[0]:
        known = app.env.found_docs
        lines = source[0].splitlines()
        source[0] = "\n".join(line for line in lines if not line.endswith("*") or fnmatch.filter(known, line)) + "\n"


def copy_pictures(app: Sphinx, exception: Exception | None) -> None:
    """Pictures that pages refer to in HTML of their own, where they would be in the repository."""
    pictures = Path(app.srcdir) / "pictures"
    if exception is None and app.builder.format == "html" and pictures.is_dir():
        shutil.copytree(pictures, Path(app.outdir) / "pictures", dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_transform(RepositoryLinks)
    app.add_transform(PlainWords)
    app.connect("source-read", drop_empty_patterns)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", copy_pictures)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": False}
