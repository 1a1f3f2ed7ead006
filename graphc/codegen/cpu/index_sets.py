"""Index-set splitting: a loop that asks for its variable at every element becomes a loop for each answer.

What is joined, padded, rolled or masked along its last axis chooses by position, and reads at a position that is kept
within its operand::

    for j in range(2000):
        store(y, j, select(j < 1000, load(a, minimum_int(j, 999)), load(b, maximum_int(j - 1000, 0))))

Neighbours are then read through a position of their own each, and both sides are read to use one. But where
``j < 1000`` changes is known before the loop::

    for j in range(1000):          store(y, j, load(a, j))
    for j in range(1000, 2000):    store(y, j, load(b, j - 1000))

:func:`split` works on the expressions of the loop's stages, before any is printed:

1. Under the *facts* ``start <= j < stop`` every comparison of positions, minimum and maximum is decided if the facts
   prove it, and what was not chosen is dropped, with all that it reads (:mod:`graphc.codegen.cpu.facts`).
2. If one is left whose answer changes at a single place *cut*, known before the loop (a number, sizes, variables of
   outer loops, so that ``j <= i`` changes at ``i + 1``), the positions are split there, and both parts begin again at
   1, with one more fact each. Comparisons come before minima and maxima, most of which vanish with them.
3. What is left is a *piece* with stages of its own. Every position is in just one of them, and they are printed in
   order.

So the same values are computed in the same order, without choosing: no bit changes. Facts hold for named dims of any
size, 0 included; a piece that is then empty does not run. Loops of reductions with lanes are split between lanes, too
(:mod:`graphc.codegen.cpu.lane_rounds`).

**What stays whole.** Compile time grows with loops and their lines: at most :data:`MOST_PIECES` pieces, and together no
more than :data:`MOST_PARTS` parts of expressions. Short loops that compare and do not clamp, if the cut is no number.
Kernels that check indices, as a check that is left out can't fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce

from graphc.codegen.cpu.expressions import Expressions
from graphc.codegen.cpu.facts import COMPARISONS, Decided, Facts, has_clamp
from graphc.codegen.cpu.loops import Loops
from graphc.codegen.cpu.writer import Known
from graphc.ir.scalar import INT64, Apply, Load, Position, Scalar
from graphc.ir.symbolic import Axis, Size, is_nonnegative
from graphc.schedule.kernel import Map, Reduce, ReduceChunks, Stage, walk

MOST_PIECES = 8
"""Pieces of a loop."""

MOST_PARTS = 80
"""Parts of expressions (loads, applications, literals, positions) of all pieces together, and of the loop before."""

LONG = 256
"""Static length from which on a loop that compares, but clamps nothing, is cut at a place that is no number.

The loop is vector code as it is. One of run-time length ends in a scalar loop, on average half a round.
"""


@dataclass(frozen=True)
class Piece:
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
    def static_bounds(self) -> tuple[int, int] | None:
        """The first position and the one after the last, if they are numbers."""
        _, starts, stops = self.facts
        lows, highs = ([limit for limit in limits if isinstance(limit, int)] for limits in (starts, stops))
        return (max(lows), min(highs)) if len(lows) == len(starts) and len(highs) == len(stops) else None

    @contextmanager
    def loop(self, loops: Loops, prefix: str = "j", part: tuple[str, str] | None = None) -> Iterator[None]:
        """The loop over these positions, or over those in a worker's ``range(*part)`` of the axis."""
        first, last = self._bounds(loops.expressions, part)
        variable, axis = loops.writer.name(prefix), self.facts.axis
        header, inside = f"for {variable} in {range_text(first, last)}:", Known(variable, loops.writer.level + 1)
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


def split(expressions: Expressions, stages: Sequence[Stage], axis: Axis) -> list[Piece]:
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
    whole = Piece(Facts(axis, (0,), (axis.extent,)), tuple(stages))
    if not _asks(stages):
        return [whole]
    found: list[Piece] = []
    pending, parts = [whole.facts], 0
    made = {tensor for stage in stages for tensor in stage.results}
    while pending:
        facts = pending.pop()
        decided = Decided(expressions, facts, made)
        values = [decided.scalar(stage.value) for stage in stages]  # type: ignore[attr-defined]
        cut = decided.comparison if decided.comparison is not None else decided.clamp
        if cut is not None and not isinstance(cut, int) and decided.clamp is None and not _is_long(axis):
            return [whole]
        if cut is not None:
            pending += [facts.behind(cut), facts.before(cut)]
        elif not _is_empty(facts):
            found.append(Piece(facts, tuple(map(_with_value, stages, values))))
            parts += len(walk(*values))
        if len(found) + len(pending) > MOST_PIECES or parts > MOST_PARTS:
            return [whole]
    return found if len(found) > 1 else [whole]


def range_text(first: str, last: str) -> str:
    """A call of Python's ``range``."""
    return f"range({last if first == '0' else f'{first}, {last}'})"


def _is_long(axis: Axis) -> bool:
    """Whether a loop without clamps gains by a cut that is no number."""
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
        return part.function in COMPARISONS and part.arguments[0].dtype == INT64
    sizes = part.index if isinstance(part, Load) else (part.size,) if isinstance(part, Position) else ()
    return any(map(has_clamp, sizes))


def _is_empty(facts: Facts) -> bool:
    """Whether no position can satisfy some facts."""
    return any(is_nonnegative(start - stop, least=0) for start in facts.starts for stop in facts.stops)


def _with_value(stage: Stage, value: Scalar) -> Stage:
    """A stage that makes its result of another value."""
    return stage if value is stage.value else replace(stage, value=value)  # type: ignore[attr-defined, call-arg]
