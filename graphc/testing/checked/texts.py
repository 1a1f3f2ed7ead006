"""Texts that Numba would compile, run as the plain Python that they are."""

from __future__ import annotations

import builtins
import linecache
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from graphc.codegen.cpu import contraction
from graphc.testing.checked import products, words  # noqa: F401  (products adds words)
from graphc.testing.checked.memory import TEXT, fault

_REAL = ("math",)
"""Modules that texts may import for what they are; everything else is a word."""


def _import(name: str, *rest: Any) -> Any:
    """What ``from name import ...`` finds in a text."""
    if name in _REAL:
        return builtins.__import__(name, *rest)
    wanted = rest[2] or ()
    missing = [each for each in wanted if each not in words.WORDS]
    if missing:
        raise fault(f"{', '.join(missing)} of {name}: no meaning in plain Python")
    return SimpleNamespace(**{each: words.WORDS[each] for each in wanted})


def executed(text: str, label: str, importer: Callable[..., Any] = _import) -> dict[str, Any]:
    """The names that a text defines.

    Parameters
    ----------
    text : str
        A Python module.
    label : str
        What it is called in errors.
    importer : callable
        What stands for ``__import__``.
    """
    filename = f"{TEXT}{label}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    names: dict[str, Any] = {"__name__": label, "__builtins__": {**vars(builtins), "__import__": importer}}
    exec(compile(text, filename, "exec"), names)  # a text that graphc has printed
    return names


@cache
def kernel_of(text: str) -> Callable[..., None]:
    """The function that a kernel's text defines: ``kernel(buffers, dims, worker, workers)``."""
    function: Callable[..., None] = executed(text, f"kernel {sha256(text.encode()).hexdigest()[:8]}")["kernel"]
    return function


def contraction_of(name: str) -> Callable[..., None]:
    """The function that the text of a compiled contraction defines, as it is on the machine at hand."""
    return _contraction_of(name, contraction.source(name))


@cache
def _contraction_of(name: str, text: str) -> Callable[..., None]:
    digest = sha256(text.encode()).hexdigest()[:8]
    function: Callable[..., None] = executed(text, f"contraction {name} {digest}")["kernel"]
    return function


def module_of(path: str, own: dict[str, Any], foreign: tuple[str, ...]) -> dict[str, Any]:
    """The names of a module whose functions kernels call, run like a text.

    Parameters
    ----------
    path : str
        The module's file.
    own : dict
        Words that it imports and that kernels do not know.
    foreign : tuple of str
        Modules that are imported for what they are.
    """

    def importer(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in foreign or name in foreign:
            return builtins.__import__(name, *rest)
        wanted = rest[2] or ()
        return SimpleNamespace(**{each: own.get(each, words.WORDS.get(each)) for each in wanted})

    return executed(Path(path).read_text(), Path(path).stem, importer)
