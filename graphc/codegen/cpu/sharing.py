"""Texts that differ in sizes alone become one, which reads these sizes from ``dims`` and is compiled once.

Layers of different widths give kernels that are the same but for a few numbers.  Where none of these steers an inner
loop, speed does not hang on their being constants, and compiling a kernel takes far longer than reading a number::

    o3 = 256*j0     and     o3 = 128*j0     become     n1 = dims[1]
                                                       o3 = n1*j0

In each text, numbers that may become run-time sizes are marked; texts that are equal but for marked numbers form a
group; in a group, marked numbers that differ become names.  A kernel that has no such relative keeps its constants.
Marked are

- factors of positions, ``256*j0``, outside of innermost loops, where the vectoriser has to know strides;
- arguments of ``share`` before all loops;
- arguments of ``contract``, which only passes them on, and of the words that find the block for it: a block of a
  product takes thousands of cycles, a division by a run-time number twenty more than one by a constant;
- lengths of arrays on the stack, which have to be constants: a group takes the largest.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from graphc.codegen.cpu.writer import INDENT
from graphc.codegen.source import Printed

_NO_DIGITS = str.maketrans("", "", "0123456789")
_NUMBER = re.compile(r"\b\d+\b")
_SIZE = re.compile(r"^ +n\d+ = dims\[\d+\]$", re.MULTILINE)
_BLOCKS = {"contract", "divide_index", "rest_index", "share"}
"""Words beside a call of a contraction whose arguments are marked."""


class _Number(NamedTuple):
    """A marked number: where it is in its text, and what it says."""

    line: int
    start: int
    stop: int
    value: int
    constant: bool  # it has to stay one


class _Shared(NamedTuple):
    """What takes the place of a text."""

    text: str
    sizes: tuple[int, ...]  # what it reads from ``dims`` after those of the text before
    line: int  # after which it reads them


def with_shared_texts(kernels: Sequence[Printed]) -> list[Printed]:
    """A program's kernels, with one text for those whose texts differ only in numbers that may be run-time sizes."""
    shared: dict[str, _Shared] = {}
    texts = dict.fromkeys(kernel.text for kernel in kernels)
    # what is equal but for marked numbers is equal but for numbers, and before that but for digits; finding the latter
    # out is the faster, and most texts are alone then
    of_one_form = (group for some in _groups((text, text.translate(_NO_DIGITS)) for text in texts)
                   for group in _groups((text, _NUMBER.sub("#", text)) for text in some))
    for alike in of_one_form:
        numbers = _marked(alike)
        for group in _groups((text, _replaced(text, numbers[text], ["#"] * len(numbers[text]))) for text in alike):
            shared.update(zip(group, _as_one(group, numbers), strict=True))
    return [_with_text(kernel, shared[kernel.text]) if kernel.text in shared else kernel for kernel in kernels]


def _groups(keyed: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    """Texts of equal keys, where there are several."""
    groups: dict[str, list[str]] = {}
    for text, key in keyed:
        groups.setdefault(key, []).append(text)
    return (group for group in groups.values() if len(group) > 1)


def _with_text(kernel: Printed, shared: _Shared) -> Printed:
    """A kernel with another text, whose lines come from the same nodes."""
    added = len(shared.sizes)
    places = {line + added * (line > shared.line): nodes for line, nodes in kernel.places.items()}
    return kernel._replace(text=shared.text, sizes=kernel.sizes + shared.sizes, places=places)


def _marked(texts: list[str]) -> dict[str, list[_Number]]:
    """The numbers that may become run-time sizes, in order, in texts that are equal but for numbers.

    The first is parsed; in the others the same numbers are marked, counted from the start of a text.
    """
    function = ast.parse(texts[0]).body[-1]
    assert isinstance(function, ast.FunctionDef)
    constant = {
        (node.lineno - 1, node.col_offset): is_constant
        for node, is_constant in _candidates(function.body, outside=True)
        if type(node.value) is int
    }
    places = [(line, found.start()) for line, found in _numbers(texts[0])]
    return {
        text: [
            _Number(line, found.start(), found.end(), int(found[0]), constant[place])
            for place, (line, found) in zip(places, _numbers(text), strict=True)
            if place in constant
        ]
        for text in texts
    }


def _numbers(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """All numbers of a text, and the lines that they are in."""
    return ((place, found) for place, line in enumerate(text.split("\n")) for found in _NUMBER.finditer(line))


def _candidates(statements: Iterable[ast.AST], outside: bool) -> Iterator[tuple[ast.Constant, bool]]:
    """Marked numbers in the body of the kernel, `outside` of all loops, or of a loop, and in the loops inside."""
    own: list[ast.AST] = []
    loops: list[ast.For] = []
    pending = list(statements)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.For):
            loops.append(node)
        else:
            own.append(node)
            pending += ast.iter_child_nodes(node)
    calls = [
        (node.func.id, node.args) for node in own if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    has_product = any(word == "contract" for word, _ in calls)
    for word, arguments in calls:
        is_array = word.startswith("stack_")
        if is_array or (word in _BLOCKS and has_product) or (word == "share" and outside):
            yield from ((argument, is_array) for argument in arguments if isinstance(argument, ast.Constant))
    if outside or has_product or loops:
        products = [node for node in own if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)]
        for sides in ((product.left, product.right) for product in products):
            if any(isinstance(side, ast.Name) for side in sides):
                yield from ((side, False) for side in sides if isinstance(side, ast.Constant))
    for loop in loops:
        yield from _candidates(loop.body, outside=False)


def _as_one(group: list[str], numbers: dict[str, list[_Number]]) -> list[_Shared]:
    """What takes the place of each of some texts that are equal but for marked numbers."""
    first = group[0]
    already = len(_SIZE.findall(first))
    line = first[: first.index("\ndef ")].count("\n") + 2 + already  # sizes are a kernel's first lines
    names: dict[tuple[int, ...], str] = {}  # of run-time sizes, by what they are in each text
    words: list[str] = []
    for same in zip(*(numbers[text] for text in group), strict=True):
        values = tuple(number.value for number in same)
        if same[0].constant or len(set(values)) == 1:
            words.append(str(max(values)))
        else:
            words.append(names.setdefault(values, f"n{already + len(names)}"))
    lines = _replaced(first, numbers[first], words).split("\n")
    added = [f"{INDENT}{name} = dims[{name[1:]}]" for name in names.values()]
    text = "\n".join([*lines[:line], *added, *lines[line:]])
    return [_Shared(text, tuple(values[place] for values in names), line) for place in range(len(group))]


def _replaced(text: str, numbers: list[_Number], words: list[str]) -> str:
    """A text with words in place of numbers."""
    lines = text.split("\n")
    for number, word in reversed(list(zip(numbers, words, strict=True))):
        line = lines[number.line]
        lines[number.line] = line[: number.start] + word + line[number.stop :]
    return "\n".join(lines)
