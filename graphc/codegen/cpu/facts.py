"""What is known of a loop's position, and expressions with every choice made that this decides.

:class:`Facts` are bounds, ``start <= j < stop``, of one axis. They prove an inequality that is linear in j at the bound
where it is hardest to fulfil. :class:`Decided` evaluates expressions as far as the facts allow. With
``0 <= j < 1000``::

    where(j < 1000, a[min(j, 999)], b[max(j - 1000, 0)])    is    a[j]

The comparison holds, so b is not read at all, and ``j <= 999`` decides the minimum. What the facts leave open,
``j < 500``, is left as it is; but the position where its answer changes is noted, for whoever splits the loop
(:mod:`graphc.codegen.cpu.index_sets`): under one fact more, ``j < 500`` or ``j >= 500``, it is decided.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import NamedTuple

from graphc.codegen.cpu.expressions import Expressions
from graphc.ir.node import Tensor
from graphc.ir.scalar import BOOL, INT64, Apply, Literal, Load, Position, Scalar
from graphc.ir.symbolic import (
    FUNCTIONS,
    Atom,
    Axis,
    Compound,
    Size,
    coefficient,
    is_nonnegative,
    of_atom,
    product,
    terms_of,
    values_of,
)  # fmt: skip

LARGEST = 1 << 60
"""Numbers beside positions that can't overflow int64; comparisons with larger ones stay."""

COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
CLAMPS = ("minimum", "maximum")


class Facts(NamedTuple):
    """``start <= axis < stop`` for each of some starts and stops."""

    axis: Axis
    starts: tuple[Size, ...]
    stops: tuple[Size, ...]

    def nonnegative(self, size: Size) -> bool:
        """Whether an expression that is linear in the axis is at least 0 wherever the facts hold."""
        step = coefficient(size, self.axis)
        if not isinstance(step, int):
            return False
        at_zero = size - of_atom(self.axis) * step
        limits = self.starts if step > 0 else tuple(stop - 1 for stop in self.stops) if step < 0 else (0,)
        return any(is_nonnegative(at_zero + limit * step, least=0) for limit in limits)

    def cut(self, size: Size) -> Size | None:
        """The position at which ``size >= 0`` begins or ceases to hold; None if that is not known before the loop."""
        step = coefficient(size, self.axis)
        if not isinstance(step, int) or step == 0 or values_of(size):
            return None
        rest = size - of_atom(self.axis) * step
        if not isinstance(rest, int) and abs(step) != 1:
            return None
        distance = rest if abs(step) == 1 else rest // abs(step)  # with a positive step, -rest / step rounded up
        return -1 * distance if step > 0 else distance + 1

    def before(self, cut: Size) -> Facts:
        """The part before a position."""
        return self._replace(stops=(*self.stops, cut))

    def behind(self, cut: Size) -> Facts:
        """The part from a position on."""
        return self._replace(starts=(*self.starts, cut))


class Decided:
    """Expressions with all choices made that some facts decide; ``made`` is what the loop's body makes.

    Attributes
    ----------
    comparison, clamp : Size or None
        Where the answer of the first comparison, and of the first minimum or maximum, that is left changes.
    """

    def __init__(self, expressions: Expressions, facts: Facts, made: Collection[Tensor] = ()):
        self.expressions, self.facts, self.made = expressions, facts, made
        self.comparison: Size | None = None
        self.clamp: Size | None = None
        self._scalars: dict[Scalar, Scalar] = {}
        self._sizes: dict[Size, Size] = {}

    def scalar(self, part: Scalar) -> Scalar:
        """An expression, decided; the same object if nothing was."""
        if part not in self._scalars:
            self._scalars[part] = self._scalar(part)
        return self._scalars[part]

    def _scalar(self, part: Scalar) -> Scalar:
        """:meth:`scalar` of a part that was not asked for before."""
        if isinstance(part, Load):
            index = tuple(map(self.size, part.index))
            # what the body itself makes is another value in each piece of the loop
            return Load(part.tensor, index) if index != part.index or part.tensor in self.made else part
        if isinstance(part, Position):
            size = self.size(part.size)
            return part if size == part.size else Literal(size, INT64) if isinstance(size, int) else Position(size)
        if not isinstance(part, Apply):
            return part
        if part.function in COMPARISONS:
            holds = self._compared(part)
            return part if holds is None else Literal(holds, BOOL)
        if part.function == "where":
            condition = self.scalar(part.arguments[0])
            if isinstance(condition, Literal):
                return self.scalar(part.arguments[1] if condition.value else part.arguments[2])
        arguments = tuple(map(self.scalar, part.arguments))
        if all(map(operator.is_, arguments, part.arguments)):
            return part
        return _simplified(Apply(part.function, arguments, part.dtype, part.static))

    def _compared(self, part: Apply) -> bool | None:
        """The answer of a comparison of positions, if it is known."""
        left, right = map(_integer, part.arguments)
        if left is None or right is None:
            return None
        if part.function.startswith("greater"):
            left, right = right, left
        below = self.expressions.rename(self.size(right) - self.size(left))
        if part.function in ("equal", "not_equal"):
            at_least, at_most = self._is_nonnegative(below), self._is_nonnegative(-1 * below)
            if at_least is None or at_most is None:
                known = False if at_least is False or at_most is False else None
            else:
                known = at_least and at_most
            return known if known is None else known is (part.function == "equal")
        return self._is_nonnegative(below if part.function.endswith("equal") else below - 1)

    def _is_nonnegative(self, size: Size) -> bool | None:
        """Whether a position is at least 0, if it is known; else where that changes is noted."""
        if self.facts.nonnegative(size):
            return True
        if self.facts.nonnegative(-1 * size - 1):
            return False
        if self.comparison is None:
            self.comparison = self.facts.cut(size)
        return None

    def size(self, size: Size) -> Size:
        """A position, decided."""
        if not has_clamp(size):
            return size
        if size not in self._sizes:
            total: Size = 0
            for monomial, factor in terms_of(size):
                total = total + product([factor, *map(self._atom, monomial)])
            self._sizes[size] = total
        return self._sizes[size]

    def _atom(self, atom: Atom) -> Size:
        """A factor of a position, decided; of a minimum or maximum one side, if it is known which."""
        if not isinstance(atom, Compound):
            return of_atom(atom)
        left, right = self.size(atom.left), self.size(atom.right)
        if atom.kind in CLAMPS:
            above = self.expressions.rename(left - right)
            if self.facts.nonnegative(above):
                return left if atom.kind == "maximum" else right
            if self.facts.nonnegative(-1 * above):
                return right if atom.kind == "maximum" else left
            if self.clamp is None:
                self.clamp = self.facts.cut(above)
        return FUNCTIONS[atom.kind](left, right)


def has_clamp(size: Size) -> bool:
    """Whether a minimum or maximum is part of an integer expression."""
    return not isinstance(size, int) and any(
        isinstance(atom, Compound) and (atom.kind in CLAMPS or has_clamp(atom.left))
        for monomial, _ in terms_of(size)
        for atom in monomial
    )


def _integer(value: Scalar) -> Size | None:
    """A value as an integer expression, if it is one, and int64 arithmetic on it can't overflow."""
    if isinstance(value, Position):
        return value.size
    if isinstance(value, Literal) and value.dtype == INT64 and abs(int(value.value)) < LARGEST:
        return int(value.value)
    if isinstance(value, Apply) and value.function in ("add", "subtract") and value.dtype == INT64:
        left, right = map(_integer, value.arguments)
        if left is not None and right is not None:
            total = left + right if value.function == "add" else left - right
            return total if all(abs(factor) < LARGEST for _, factor in terms_of(total)) else None
    return None


def _simplified(part: Apply) -> Scalar:
    """An application with a literal among its arguments, shorter where that decides it."""
    literals = [argument for argument in part.arguments if isinstance(argument, Literal)]
    others = [argument for argument in part.arguments if not isinstance(argument, Literal)]
    if part.function == "cast" and literals and literals[0].dtype == BOOL:
        return Literal(literals[0].value, part.dtype)
    if part.function == "logical_not" and literals:
        return Literal(not literals[0].value, BOOL)
    if part.function in ("logical_and", "logical_or") and literals:
        decisive = part.function == "logical_or"
        if any(bool(literal.value) == decisive for literal in literals):
            return Literal(decisive, BOOL)
        if not others:
            return Literal(not decisive, BOOL)
        if others[0].dtype == BOOL:
            return others[0]
    return part
