"""What every public function says of wrong arguments, compared with what a reader has found good.

The calls are made from right ones by spoiling one argument at a time (:mod:`wrong_calls`), and written by hand
(:mod:`special_calls`). What comes of each stands in ``tests/golden/wrong_inputs``; to renew the files after a change,
and then read their diff::

    RENEW_GOLDEN=1 python -m pytest tests/test_wrong_inputs.py
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from special_calls import FAILING, GRAPHS, SPECIAL
from valid_calls import VALID, public_functions, valid_call
from wrong_calls import JUNK, SCOPE, Outcome, junk_calls, outcome, spoilt

import graphc
from graphc.ops.base import Elementwise

GOLDEN = Path(__file__).parent / "golden" / "wrong_inputs"
RENEW = bool(os.environ.get("RENEW_GOLDEN"))

FUNCTIONS = public_functions()
REFUSED = ("argwhere", "flatnonzero", "nonzero", "unique")
"""Functions that only say what to use instead."""

FEWEST = 4
"""Wrong calls that each function has at least."""


def group_of(name: str) -> str:
    """The golden file that a function stands in."""
    prefix, dot, _ = name.partition(".")
    return prefix if dot else "elementwise" if isinstance(FUNCTIONS[name], Elementwise) else "functions"


GROUPS = sorted(set(map(group_of, FUNCTIONS)))


def calls_of(name: str) -> list[str]:
    function = FUNCTIONS[name]
    return list(dict.fromkeys([*spoilt(valid_call(name, function), function), *SPECIAL.get(name, ())]))


def blocks(calls: list[str]) -> Iterator[str]:
    """Calls with what comes of them, those with one message together; at the end those that are accepted."""
    refused: dict[str, list[str]] = {}
    accepted = []
    for call in calls:
        found = outcome(call)
        if found.kind:
            refused.setdefault(shown(found), []).append(call)
        else:
            accepted.append(f"{call}  ->  {shown(found)}")
    for message, alike in refused.items():
        yield "\n".join([*alike, *(f"    {line}" for line in message.splitlines())]) + "\n"
    if accepted:
        yield "\n".join(accepted) + "\n"


def shown(found: Outcome) -> str:
    """An outcome without what changes: the numbers of nodes from run to run, Python's words from version to version."""
    if found.kind == "TypeError":
        return "TypeError of Python's own"
    text = re.sub(r"\b([a-z_]+)_\d+\b", r"\1_#", found.text)
    return f"{found.kind}: {text}" if found.kind else text


def compare(path: Path, text: str) -> None:
    """Compare a golden file, or write it."""
    if RENEW:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    expected = path.read_text().split("\n\n")
    for got, want in itertools.zip_longest(text.split("\n\n"), expected):
        assert got == want, f"{path.name} differs; see the head of {Path(__file__).name}"


@pytest.mark.parametrize("group", GROUPS)
def test_messages(group: str) -> None:
    parts = []
    for name in (name for name in FUNCTIONS if group_of(name) == group):
        parts += [f"== {name}\n", *blocks(calls_of(name))]
    compare(GOLDEN / f"{group}.txt", "\n".join(parts))


def test_graphs() -> None:
    compare(GOLDEN / "graphs.txt", "\n".join(blocks(list(GRAPHS))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_refuses_in_its_own_name(name: str) -> None:
    function, bare = FUNCTIONS[name], name.rpartition(".")[2]
    valid = outcome(valid_call(name, function))
    assert bool(valid.kind) == (name in REFUSED), f"{valid_call(name, function)} should be right: {valid}"
    calls = spoilt(valid_call(name, function), function)
    found = [(call, outcome(call)) for call in calls]
    assert sum(bool(result.kind) for _, result in found) >= (0 if name == "nn.Layer" else FEWEST)
    for call, result in found:
        assert not result.defect, f"{call}: {result}"
        if result.kind == "TypeError" and group_of(name) != "nn":
            assert result.text.startswith(f"{bare}()") or not result.in_name, f"{call}: {result}"
        elif result.kind and result.kind != "TypeError":
            names = [bare] if group_of(name) != "nn" else [other.rpartition(".")[2] for other in FUNCTIONS]
            assert result.text.startswith(tuple(f"{n}{c}" for n in names for c in ": ")) or not result.in_name, call
            assert result.text.count(f"{bare}: ") <= 1, f"{call}: {result}"


def test_no_function_is_forgotten() -> None:
    known = set(VALID) | {name for name, f in FUNCTIONS.items() if isinstance(f, Elementwise)}
    missing = [name for name in FUNCTIONS if name not in known]
    assert not missing, f"tests/wrong_inputs/valid_calls.py has no call of {missing}"
    assert set(SPECIAL) <= set(FUNCTIONS)


@pytest.mark.parametrize("group", GROUPS)
def test_junk(group: str) -> None:
    """Arguments at random: whatever comes of them, it is no internal error, no warning, no crash."""
    generator = random.Random(group)
    for name in (name for name in FUNCTIONS if group_of(name) == group):
        for call in junk_calls(valid_call(name, FUNCTIONS[name]), generator, 25):
            result = outcome(call)
            assert not result.defect, f"{call}: {result}"


def test_what_fails_when_it_runs() -> None:
    parts = []
    for call in FAILING:
        messages = [failure(call, backend) for backend in ("reference", "compiled")]
        assert messages[0] == messages[1] or "bytes" in messages[0], messages
        parts.append(f"{call}\n    {messages[1]}\n")
    compare(GOLDEN / "running.txt", "\n".join(parts))


def failure(call: str, backend: str) -> str:
    """What a run of a call's result says; how much memory there is left out."""
    feeds: dict[Any, Any] = {}

    def fed(value: Any, *shape: str) -> graphc.Tensor:
        array = np.asarray(value, "float32" if np.asarray(value).dtype.kind == "f" else "int64")
        tensor = graphc.placeholder(f"x{len(feeds)}", shape or array.shape, array.dtype)
        feeds[tensor] = array
        return tensor

    fetched = eval(compile(call, "<call>", "eval"), {**SCOPE, "fed": fed})
    with graphc.Session(threads=1, backend=backend) as session, pytest.raises(graphc.GraphcError) as caught:
        session.run(fetched, feeds)
    message = re.sub(r"but only .*", "but only ...", caught.value.message)
    return f"{type(caught.value).__name__}: {message}"


def test_junk_is_junk() -> None:
    """None of the junk is an operand."""
    for entry in JUNK:
        assert outcome(f"graphc.constant({entry})").kind or entry in ("[[]]", "()"), entry
