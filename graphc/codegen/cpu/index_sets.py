"""Index-set splitting: a loop that asks for its variable at every element becomes a loop for each answer.

What is joined, padded, rolled or masked along its last axis chooses by position, and reads at a position that is kept
within its operand::

    for j in range(2000):
        store(y, j, select(j < 1000, load(a, minimum_int(j, 999)), load(b, maximum_int(j - 1000, 0))))

Neighbours are then read through a position of their own each, and both sides are read to use one. But where
``j < 1000`` changes is known before the loop::

    for j in range(1000):          store(y, j, load(a, j))
    for j in range(1000, 2000):    store(y, j, load(b, j - 1000))

:func:`ranges` works on the expressions of the loop's stages, before any is printed:

1. Under the *facts* ``start <= j < stop`` every comparison of positions, minimum and maximum is decided if the facts
   prove it, and what was not chosen is dropped, with all that it reads.
2. If one is left whose answer changes at a single place *cut*, known before the loop (a number, sizes, variables of
   outer loops, so that ``j <= i`` changes at ``i + 1``), the range is split there, and both parts begin again at 1,
   with one more fact each. Comparisons come before minima and maxima, most of which vanish with them.
3. What is left is a range with stages of its own. Every position is in just one of them, and they are printed in order.

So the same values are computed in the same order, without choosing: no bit changes. Facts hold for named dims of any
size, 0 included; a range that is then empty does not run.

**Lanes.** A reduction with lanes adds element ``j`` to lane ``j % lanes``. :func:`cut_rounds` cuts such a loop between
rounds, and the lanes of the one round that a cut falls into, so every lane takes in the same values in the same order.

**What stays whole.** Compile time grows with loops and their lines: at most :data:`MOST_RANGES` ranges, and together no
more than :data:`MOST_PARTS` parts of expressions. Short loops that compare and do not clamp, if the cut is no number.
Kernels that check indices, as a check that is left out can't fail.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.expressions import Expressions
from graphc.codegen.cpu.loops import Loops
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import BOOL, INT64, Apply, Literal, Load, Position, Scalar
from graphc.ir.symbolic import (
    FUNCTIONS,
    Atom,
    Axis,
    Compound,
    Size,
    coefficient,
    floordiv,
    is_nonnegative,
    of_atom,
    product,
    terms_of,
    values_of,
)  # fmt: skip
from graphc.schedule.kernel import Map, Reduce, ReduceChunks, Stage, walk

MOST_RANGES = 8
"""Ranges of a loop."""

MOST_BODIES = 10
"""Loops over lanes of all that one loop in rounds of lanes becomes."""

MOST_PARTS = 80
"""Parts of expressions (loads, applications, literals, positions) of all ranges together, and of the loop before."""

LONG = 256
"""Static length from which on a loop that compares, but clamps nothing, is cut at a place that is no number.

The loop is vector code as it is. One of run-time length ends in a scalar loop, on average half a round.
"""

LARGEST = 1 << 60
"""Numbers beside positions that can't overflow int64; comparisons with larger ones stay."""

_COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_CLAMPS = ("minimum", "maximum")


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


@dataclass(frozen=True)
class Range:
    """A part of a loop's positions, with the stages that are computed there.

    Attributes
    ----------
    facts : Facts
        Which positions.
    stages : tuple of Stage
        They make the results of the loop's stages.
    """

    facts: Facts
    stages: tuple[Stage, ...]

    @property
    def known(self) -> tuple[int, int] | None:
        """The first position and the one after the last, if they are numbers."""
        _, starts, stops = self.facts
        lows, highs = ([limit for limit in limits if isinstance(limit, int)] for limits in (starts, stops))
        return (max(lows), min(highs)) if len(lows) == len(starts) and len(highs) == len(stops) else None

    @contextmanager
    def loop(self, loops: Loops, prefix: str = "j", part: tuple[str, str] | None = None) -> Iterator[None]:
        """The loop over these positions, or over those in a worker's ``range(*part)`` of the axis."""
        first, last = self._bounds(loops.expressions, part)
        variable, axis = loops.writer.name(prefix), self.facts.axis
        header, inside = f"for {variable} in {_range(first, last)}:", Known(variable, loops.writer.level + 1)
        with loops.writer.block(header, independent=True), loops.expressions.bound({axis: inside}):
            yield

    def _bounds(self, expressions: Expressions, part: tuple[str, str] | None) -> tuple[str, str]:
        """The first position, and the one after the last, if there are any."""
        axis, starts, stops = self.facts
        lows = _strongest(starts, lambda one, other: one - other)
        highs = _strongest(stops, lambda one, other: other - one)
        if part is not None:  # which is within the axis
            lows, highs = [low for low in lows if low != 0], [high for high in highs if high != axis.extent]
        first, last = ([expressions.named(limit).text for limit in limits] for limits in (lows, highs))
        if part is not None:
            first, last = [part[0], *first], [part[1], *last]
        return (
            reduce(lambda one, other: f"maximum_int({one}, {other})", first),
            reduce(lambda one, other: f"minimum_int({one}, {other})", last),
        )


def _strongest(limits: Iterable[Size], beyond: Callable[[Size, Size], Size]) -> list[Size]:
    """Those of some limits that no other is provably at least as strong as."""
    kept: list[Size] = []
    for limit in limits:
        if not any(is_nonnegative(beyond(other, limit), least=0) for other in kept):
            kept = [other for other in kept if not is_nonnegative(beyond(limit, other), least=0)] + [limit]
    return kept


def ranges(expressions: Expressions, stages: Sequence[Stage], axis: Axis) -> list[Range]:
    """The parts into which a loop over an axis is best cut; one, with the stages as they are, if it stays whole.

    Parameters
    ----------
    expressions : Expressions
        Says what stands for axes that were collapsed.
    stages : sequence of Stage
        The loop's body: maps, reductions, reductions of chunks.
    axis : Axis
        The innermost axis of the stages, collapsed, in order.
    """
    whole = Range(Facts(axis, (0,), (axis.extent,)), tuple(stages))
    if not _asks(stages):
        return [whole]
    found: list[Range] = []
    pending, parts = [whole.facts], 0
    made = {tensor for stage in stages for tensor in stage.results}
    while pending:
        facts = pending.pop()
        decided = _Decided(expressions, facts, made)
        values = [decided.scalar(stage.value) for stage in stages]  # type: ignore[attr-defined]
        cut = decided.comparison if decided.comparison is not None else decided.clamp
        if cut is not None and not isinstance(cut, int) and decided.clamp is None and not _is_long(axis):
            return [whole]
        if cut is not None:
            pending += [facts.behind(cut), facts.before(cut)]
        elif not _is_empty(facts):
            found.append(Range(facts, tuple(map(_with_value, stages, values))))
            parts += len(walk(*values))
        if len(found) + len(pending) > MOST_RANGES or parts > MOST_PARTS:
            return [whole]
    return found if len(found) > 1 else [whole]


class LanePart(NamedTuple):
    """What some lanes of a round compute: ``lanes`` is a call of Python's ``range``."""

    stages: tuple[Stage, ...]
    lanes: str


class Rounds(NamedTuple):
    """Rounds that begin at ``range(first, last, lanes)``, and the parts of each."""

    first: str
    last: str
    parts: tuple[LanePart, ...]


class CutLoop(NamedTuple):
    """A loop in rounds of lanes: the rounds, then the parts of what is left."""

    rounds: tuple[Rounds, ...]
    rest: tuple[LanePart, ...]


def cut_rounds(context: Context, stages: Sequence[Stage], axis: Axis, lanes: int, start: str) -> CutLoop:
    """A loop over an axis in rounds of lanes, cut by positions, too: element ``j`` belongs to lane ``j % lanes``.

    Rounds within one range are a loop; a round with a cut inside has two parts, each some of the lanes. So every lane
    takes in the same values in the same order as it would uncut.

    ``start`` is the name of a round's first position.
    """
    pieces = ranges(context.expressions, stages, axis)
    limits = [(*piece.known, piece.stages) for piece in pieces if piece.known]
    if isinstance(axis.extent, int) and len(limits) == len(pieces):
        cut = _cut_at_numbers(axis.extent, lanes, limits)
    elif len(pieces) == 2 and pieces[0].facts.stops[1:] == pieces[1].facts.starts[1:]:
        cut = _cut_once(context, pieces, axis.extent, lanes, start)
    else:
        return _uncut(context, stages, axis.extent, lanes)
    bodies = [*(part for rounds in cut.rounds for part in rounds.parts), *cut.rest]
    parts = sum(len(walk(*(scalar for stage in body.stages for scalar in stage.scalars()))) for body in bodies)
    if len(pieces) > 1 and (len(bodies) > MOST_BODIES or parts > MOST_PARTS):
        return _uncut(context, stages, axis.extent, lanes)
    return cut


def _uncut(context: Context, stages: Sequence[Stage], extent: Size, lanes: int) -> CutLoop:
    whole = context.expressions.named(floordiv(extent, lanes) * lanes).text
    rest = context.expressions.named(extent - floordiv(extent, lanes) * lanes).text
    rounds = (Rounds("0", whole, (LanePart(tuple(stages), f"range({lanes})"),)),)
    return CutLoop(rounds if whole != "0" else (), (LanePart(tuple(stages), f"range({rest})"),) if rest != "0" else ())


def _cut_at_numbers(extent: int, lanes: int, pieces: Sequence[tuple[int, int, tuple[Stage, ...]]]) -> CutLoop:
    """The loop with all limits known."""

    def parts(first: int, last: int) -> tuple[LanePart, ...]:
        within = [(max(low, first) - first, min(high, last) - first, stages) for low, high, stages in pieces]
        return tuple(LanePart(stages, _range(str(low), str(high))) for low, high, stages in within if low < high)

    rounds, place, whole = [], 0, extent // lanes * lanes
    while place < whole:
        end = next(high for low, high, _ in pieces if low <= place < high)
        last = max(min(end, whole) // lanes * lanes, place + lanes)
        rounds.append(Rounds(str(place), str(last), parts(place, place + lanes)))
        place = last
    return CutLoop(tuple(rounds), parts(whole, extent))


def _cut_once(context: Context, pieces: Sequence[Range], extent: Size, lanes: int, start: str) -> CutLoop:
    """The loop with one cut, which is known when it runs."""
    before, behind = (piece.stages for piece in pieces)
    writer, named = context.writer, context.expressions.named
    in_rounds, position = floordiv(extent, lanes) * lanes, pieces[1].facts.starts[-1]
    whole, rest, cut = named(in_rounds).text, named(extent - in_rounds).text, named(position, "o")
    if not is_nonnegative(position, least=0):
        cut = writer.let(f"maximum_int({cut.text}, 0)", cut.level, "o")
    if not is_nonnegative(extent - position, least=0):
        cut = writer.let(f"minimum_int({cut.text}, {named(extent).text})", cut.level, "o")
    last = writer.let(f"divide_index({cut.text}, {lanes})*{lanes}", cut.level, "e").text
    first = writer.let(f"divide_index({cut.text} + {lanes - 1}, {lanes})*{lanes}", cut.level, "e").text
    within = f"{cut.text} - {start}"
    split = LanePart(before, f"range({within})"), LanePart(behind, f"range({within}, {lanes})")
    rounds = (
        Rounds("0", last, (LanePart(before, f"range({lanes})"),)),
        Rounds(last, f"minimum_int({first}, {whole})", split),
        Rounds(first, whole, (LanePart(behind, f"range({lanes})"),)),
    )
    left = (
        LanePart(before, f"range({cut.text} - {whole})"),
        LanePart(behind, f"range(maximum_int({cut.text} - {whole}, 0), {rest})"),
    )
    return CutLoop(rounds if whole != "0" else (), left if rest != "0" else ())


def _range(first: str, last: str) -> str:
    """A call of Python's ``range``."""
    return f"range({last if first == '0' else f'{first}, {last}'})"


def _is_long(axis: Axis) -> bool:
    return isinstance(axis.extent, int) and axis.extent >= LONG


def _asks(stages: Sequence[Stage]) -> bool:
    """Whether some stages may choose by position, and may leave out what they do not choose."""
    parts = walk(*(scalar for stage in stages for scalar in stage.scalars()))
    if len(parts) > MOST_PARTS or not all(isinstance(stage, (Map, Reduce, ReduceChunks)) for stage in stages):
        return False
    if any(isinstance(part, Apply) and part.function == "checked_index" for part in parts):
        return False
    return any(map(_chooses, parts))


def _chooses(part: Scalar) -> bool:
    """Whether a part of an expression may be a choice by position."""
    if isinstance(part, Apply):
        return part.function in _COMPARISONS and part.arguments[0].dtype == INT64
    sizes = part.index if isinstance(part, Load) else (part.size,) if isinstance(part, Position) else ()
    return any(map(_has_clamp, sizes))


def _has_clamp(size: Size) -> bool:
    return not isinstance(size, int) and any(
        isinstance(atom, Compound) and (atom.kind in _CLAMPS or _has_clamp(atom.left))
        for monomial, _ in terms_of(size)
        for atom in monomial
    )


def _is_empty(facts: Facts) -> bool:
    """Whether no position can satisfy some facts."""
    return any(is_nonnegative(start - stop, least=0) for start in facts.starts for stop in facts.stops)


def _with_value(stage: Stage, value: Scalar) -> Stage:
    return stage if value is stage.value else replace(stage, value=value)  # type: ignore[attr-defined, call-arg]


class _Decided:
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
        if isinstance(part, Load):
            index = tuple(map(self.size, part.index))
            # what the body itself makes is another value in each range
            return Load(part.tensor, index) if index != part.index or part.tensor in self.made else part
        if isinstance(part, Position):
            size = self.size(part.size)
            return part if size == part.size else Literal(size, INT64) if isinstance(size, int) else Position(size)
        if not isinstance(part, Apply):
            return part
        if part.function in _COMPARISONS:
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
        if not _has_clamp(size):
            return size
        if size not in self._sizes:
            total: Size = 0
            for monomial, factor in terms_of(size):
                total = total + product([factor, *map(self._atom, monomial)])
            self._sizes[size] = total
        return self._sizes[size]

    def _atom(self, atom: Atom) -> Size:
        if not isinstance(atom, Compound):
            return of_atom(atom)
        left, right = self.size(atom.left), self.size(atom.right)
        if atom.kind in _CLAMPS:
            above = self.expressions.rename(left - right)
            if self.facts.nonnegative(above):
                return left if atom.kind == "maximum" else right
            if self.facts.nonnegative(-1 * above):
                return right if atom.kind == "maximum" else left
            if self.clamp is None:
                self.clamp = self.facts.cut(above)
        return FUNCTIONS[atom.kind](left, right)


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
