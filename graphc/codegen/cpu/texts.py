"""Printed programs on disk: a warm start looks its kernels up instead of printing them to find their object code.

What is printed follows from the kernels' structures (:mod:`graphc.codegen.structure`), all of them and in their order,
since texts that differ in sizes alone become one; from graphc's files that have a part in it; and from the machine,
whose vectors and number of processors decide how products are cut.  These are the key.  An entry holds a program's
distinct texts and, for each structure, which text is its own and what has to be passed to it.

Under ``GRAPHC_VERIFY=1`` kernels are printed nevertheless, and an entry that says something else is an error
(:func:`graphc.codegen.emit.emit`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np

from graphc.codegen.cpu import cache as disk
from graphc.codegen.cpu import machine
from graphc.codegen.source import KernelId, LibraryFunction, MicroKernel, Numbered, Printed, Scratch, Status
from graphc.ir.symbolic import Atom, Compound, Dim, Name

_FOLDERS = ("codegen", "ir", "schedule")
"""Where what printing calls is, and with it what makes structures."""

_OTHERS = ("ops/sizes.py",)
"""What it calls elsewhere."""

_RECORDS = {kind.__name__: kind for kind in (KernelId, LibraryFunction, MicroKernel, Numbered, Scratch, Status)}

Key = tuple[Any, ...]


def load(structures: Sequence[Key]) -> list[Printed] | None:
    """What was printed for structures.

    Parameters
    ----------
    structures : sequence of tuple
        Keys of a program's distinct :class:`~graphc.codegen.structure.Structure`, in order of first use.

    Returns
    -------
    list of Printed or None
        One a structure; None where there is no sound entry.
    """
    content = disk.load_program(key_of(structures))
    if content is None:
        return None
    try:
        printed = _printed(content)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # none that :func:`store` has written
        return None
    return printed if len(printed) == len(structures) else None


def _printed(content: bytes) -> list[Printed]:
    """What an entry says; where it is none, errors of any kind that taking apart JSON has."""
    entry = json.loads(content)
    texts = [str.__str__(text) for text in entry["texts"]]  # a TypeError for what is no text
    return [
        Printed(
            texts[text],
            tuple(map(_decoded, arguments)),
            tuple(map(_decoded, sizes)),
            places={line: tuple(nodes) for line, *nodes in places},
        )
        for text, arguments, sizes, places in entry["kernels"]
    ]


def store(structures: Sequence[Key], printed: Sequence[Printed]) -> None:
    """Keep what was printed for structures, one each."""
    texts = {text: place for place, text in enumerate(dict.fromkeys(one.text for one in printed))}
    kernels = [
        [
            texts[one.text],
            list(map(_encoded, one.arguments)),
            list(map(_encoded, one.sizes)),
            [[line, *nodes] for line, nodes in one.places.items()],
        ]
        for one in printed
    ]
    entry = {"texts": list(texts), "kernels": kernels}
    disk.store_program(key_of(structures), json.dumps(entry, separators=(",", ":")).encode())


def key_of(structures: Sequence[Key]) -> str:
    """Key of what is printed for structures on this machine, 64 hexadecimal digits."""
    parts = [disk.environment(), _printers(), np.__version__, str(machine.processors()), *map(repr, structures)]
    return sha256("\0".join(parts).encode()).hexdigest()


@cache
def _printers() -> str:
    return disk.digest_of_files(printers())


def printers() -> list[str]:
    """The files of graphc that decide what is printed for a structure, beside those that decide its object code."""
    known = set(disk.generators())
    found = [path for folder in _FOLDERS for path in disk.python_files(folder) if path not in known]
    return [*found, *(os.path.join(disk.PACKAGE, name) for name in _OTHERS)]


def _encoded(entry: Any) -> Any:
    """An argument or a size as JSON has it: integers and text as they are, dims as lists, records as mappings."""
    if isinstance(entry, (int, str)):
        return entry
    if isinstance(entry, Dim):
        return [[*map(_encoded_atom, monomial), factor] for monomial, factor in entry.terms]
    return {type(entry).__name__: [_encoded(getattr(entry, field.name)) for field in fields(entry)]}


def _decoded(entry: Any) -> Any:
    if isinstance(entry, (int, str)):
        return entry
    if isinstance(entry, list):
        return Dim(tuple((tuple(map(_decoded_atom, monomial)), factor) for *monomial, factor in entry))
    ((name, values),) = entry.items()
    return _RECORDS[name](*map(_decoded, values))


def _encoded_atom(atom: Atom) -> Any:
    if isinstance(atom, Name):
        return atom.name
    assert isinstance(atom, Compound)  # a size that is passed in has no loop variables
    return [atom.kind, _encoded(atom.left), _encoded(atom.right)]


def _decoded_atom(atom: Any) -> Atom:
    if isinstance(atom, str):
        return Name(atom)
    kind, left, right = atom
    return Compound(kind, _decoded(left), _decoded(right))
