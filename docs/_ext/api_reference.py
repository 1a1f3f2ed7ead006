"""The reference of what users call besides ops: docs/api/, a page for ``graphc`` and one for each public package.

The names come from each package's ``__all__``, or are what it defines itself; their text is their docstrings'. What is
the same object as an entry in the reference of ops is linked to there.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import graphc
from graphc import errors
from graphc.ops import FUNCTIONS

FOLDER = "api"

INSIDE = {"codegen", "ir", "ops", "passes", "runtime", "schedule"}
"""Packages that are the compiler; the stages' pages are about them."""

MODULES = ("config",)
"""Modules at the top that have pages of their own, besides the errors."""


def public_names(module: ModuleType) -> list[str]:
    """What a module offers: ``__all__``, or the classes and functions that it defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def documented(module: ModuleType, known: dict[int, str]) -> list[str]:
    """The page of a module as lines of reStructuredText.

    ``known`` holds what has an entry already, ops among it: object's identity -> its full name; new ones are added.
    """
    title = module.__name__
    lines = [title, "=" * len(title), "", *_members(module, known)]
    if not public_names(module):
        for child in children(module):
            lines += [child.__name__, "-" * len(child.__name__), "", *_members(child, known)]
    return lines


def _members(module: ModuleType, known: dict[int, str]) -> list[str]:
    """A module's text, and an entry for each name that has none yet."""
    lines = [f".. automodule:: {module.__name__}", "   :no-members:", ""]
    elsewhere = []
    for name in public_names(module):
        value = getattr(module, name)
        if id(value) in known:
            elsewhere.append(f":py:obj:`{known[id(value)]}`")
        elif callable(value):
            known[id(value)] = f"{module.__name__}.{name}"
            lines += [f".. auto{'class' if inspect.isclass(value) else 'function'}:: {module.__name__}.{name}", ""]
    if elsewhere and module is not graphc:  # there it would be all ops
        lines += ["Also here: " + ", ".join(elsewhere) + ".", ""]
    return lines


def children(package: ModuleType) -> Iterator[ModuleType]:
    """The modules in a package."""
    for found in pkgutil.iter_modules(package.__path__):
        if not found.name.startswith("_"):
            yield importlib.import_module(f"{package.__name__}.{found.name}")


def modules() -> list[ModuleType]:
    """The modules that have pages, graphc itself first."""
    packages = [found.name for found in pkgutil.iter_modules(graphc.__path__) if found.ispkg]
    names = sorted({*packages, *MODULES} - INSIDE)
    return [errors, graphc, *(importlib.import_module(f"graphc.{name}") for name in names)]


def make(app: Sphinx) -> None:
    """Write the pages before Sphinx looks for documents."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    known = {id(function): f"graphc.{name}" for name, function in FUNCTIONS.items()}
    texts = {module.__name__: "\n".join(documented(module, known)) for module in modules()}
    toctree = "\n".join(f"   {name}" for name in sorted(texts))
    texts["index"] = (
        "Classes and functions\n=====================\n\nWhat users call, besides the :doc:`ops and functions "
        f"</ops/index>` of tensors.\n\n.. toctree::\n   :maxdepth: 1\n   :titlesonly:\n\n{toctree}\n"
    )
    for path in folder.glob("*.rst"):
        if path.stem not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", make)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
