"""Scalar and integer expressions -> lines of a kernel.

Each distinct part of an expression becomes one line ``v3 = exp_float32(v2)``, in the outermost loop where its
operands are known; the writer sees to both. Positions are int64 arithmetic on loop variables, with the terms that
do not change in a loop summed outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from graphc.codegen.cpu import operators
from graphc.codegen.cpu.writer import Known, Writer
from graphc.ir.scalar import Apply, Literal, Load, Position, Scalar
from graphc.ir.symbolic import (
    Atom,
    Axis,
    Compound,
    Name,
    Size,
    Value,
    is_nonnegative,
    of_atom,
    substitute,
    terms_of,
)  # fmt: skip
from graphc.schedule.kernel import walk

INT64 = np.dtype("int64")


class Expressions:
    """Prints expressions through a writer.

    Parameters
    ----------
    writer : Writer
    read : callable
        What a :class:`Load` is in this kernel.
    dim : callable
        Name of the variable that holds a run-time size.
    kernel_id : callable
        Name of the variable that holds the kernel's number; asked for where an index is checked.

    Attributes
    ----------
    renamed : dict of Axis to Size
        Axes that were collapsed into others: what stands for them in offsets.
    """

    def __init__(
        self,
        writer: Writer,
        read: Callable[[Load], Known],
        dim: Callable[[Size], str],
        kernel_id: Callable[[], str],
    ):
        self.writer, self._read, self._dim, self._kernel_id = writer, read, dim, kernel_id
        self.renamed: dict[Axis, Size] = {}
        self._axes: dict[Axis, Known] = {}
        self._learned: list[Scalar] = []

    @contextmanager
    def bound(self, axes: Mapping[Axis, Known]) -> Iterator[None]:
        """Loop variables of axes, or numbers, while their loop is open.

        Scalars are forgotten where what is bound changes: the next loop, or number, makes other values of them.
        """
        before, first = dict(self._axes), len(self._learned)
        if not before.keys().isdisjoint(axes):
            self.writer.forget(self._learned)
        self._axes.update(axes)
        try:
            yield
        finally:
            self._axes = before
            self.writer.forget(self._learned[first:])
            del self._learned[first:]

    def variable(self, axis: Axis) -> str:
        """The variable of an open loop over an axis."""
        return self._axes[axis].text

    def scalar(self, value: Scalar) -> Known:
        """The name (or constant) of a scalar's value."""
        known = self.writer.recall(value)
        if known is None:
            for part in walk(value):  # operands first
                known = self.writer.recall(part)
                if known is None:
                    known = self._part(part)
                    self.writer.learn(part, known)
                    self._learned.append(part)
        assert known is not None
        return known

    def _part(self, part: Scalar) -> Known:
        """One part, whose operands have been printed."""
        if isinstance(part, Literal):
            return Known(operators.literal(part.value, part.dtype), 0)
        if isinstance(part, Load):
            return self._read(part)
        if isinstance(part, Position):
            return self.named(self.rename(part.size), "p")
        assert isinstance(part, Apply)
        operands = [self.scalar(operand) for operand in part.arguments]
        level = max((operand.level for operand in operands), default=0)
        text = self._apply(part, [operand.text for operand in operands])
        return Known(text, level) if text.isidentifier() else self.writer.let(text, level)

    def _apply(self, part: Apply, texts: list[str]) -> str:
        if part.function == "checked_index":
            index = operators.cast(texts[0], part.arguments[0].dtype, INT64)
            called = "checked_position" if part.static == ("from_front",) else "checked_index"
            return f"{called}(status, {self._kernel_id()}, {index}, {texts[1]})"
        if part.function == "random_bits":
            (stream,) = part.static
            seed, step, position = texts
            return f"philox({seed}, {self._dim(stream)}, {step}, {position})"
        return operators.function(part.function, texts, [operand.dtype for operand in part.arguments], part.dtype)

    def rename(self, size: Size) -> Size:
        """An expression with collapsed axes replaced."""
        if not self.renamed or isinstance(size, int):
            return size
        return substitute(size, lambda atom: self.renamed.get(atom, of_atom(atom)))  # type: ignore[call-overload]

    def named(self, size: Size, prefix: str = "e") -> Known:
        """An integer expression as a name or a number."""
        known = self.size(size)
        if known.text.isidentifier() or known.text.isdigit():
            return known
        return self.writer.let(known.text, known.level, prefix)

    def size(self, size: Size) -> Known:
        """An integer expression; its text may be a sum, of which only the last part changes in the innermost loop."""
        by_level: dict[int, list[str]] = {}
        for monomial, factor in terms_of(size):
            atoms = [self._atom(atom) for atom in monomial]
            factors = [atom.text for atom in atoms]
            if "0" in factors:
                continue
            if abs(factor) != 1 or not factors:
                factors.insert(0, str(abs(factor)))
            level = max((atom.level for atom in atoms), default=0)
            by_level.setdefault(level, []).append(("-" if factor < 0 else "+") + "*".join(factors))
        known = Known("0", 0)
        for level, terms in sorted(by_level.items()):
            if known.text != "0":
                if not known.text.isidentifier():
                    known = self.writer.let(known.text, known.level, "o")
                terms = [f"+{known.text}", *terms]
            terms.sort(key=lambda term: term[0] == "-")  # positive ones first
            text = terms[0].removeprefix("+") + "".join(f" {term[0]} {term[1:]}" for term in terms[1:])
            known = Known(text, level)
        return known

    def _atom(self, atom: Atom) -> Known:
        if isinstance(atom, Axis):
            return self._axes[atom]
        if isinstance(atom, Name):
            return Known(self._dim(of_atom(atom)), 0)
        if isinstance(atom, Value):
            payload = atom.payload
            assert isinstance(payload, Scalar)
            known = self.scalar(payload)
            text = operators.cast(known.text, payload.dtype, INT64)
            return known if text == known.text else self.writer.let(text, known.level)
        assert isinstance(atom, Compound)
        return self._compound(atom)

    def _compound(self, atom: Compound) -> Known:
        left, right = self.size(atom.left), self.size(atom.right)
        level = max(left.level, right.level)
        if atom.kind in ("minimum", "maximum"):
            return self.writer.let(f"{atom.kind}_int({left.text}, {right.text})", level, "p")
        # a run-time divisor may be 0 where the loop that needs the quotient does not run
        divisor = right.text if isinstance(atom.right, int) else f"maximum_int({right.text}, 1)"
        if is_nonnegative(atom.left):
            called = {"floordiv": "divide_index", "mod": "rest_index"}[atom.kind]
        else:
            called = {"floordiv": "floordiv_int", "mod": "remainder_int"}[atom.kind]
        return self.writer.let(f"{called}({left.text}, {divisor})", level, "p")
