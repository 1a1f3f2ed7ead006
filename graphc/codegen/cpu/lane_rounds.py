"""Reductions with lanes: a loop in rounds of lanes (strip mining), cut by positions, too.

A reduction with ``n`` lanes adds element ``j`` to lane ``j % n``, so its loop runs in *rounds*, each over all lanes,
and what is left is a part of one more::

    for r in range(0, 192, 64):             # rounds
        for l in range(64):                 # lanes: element r + l
            ...
    for l in range(8):                      # the rest of 200 elements: element 192 + l
        ...

Where positions decide what is computed, the loop is split (:mod:`graphc.codegen.cpu.index_sets`): between rounds, and
of the one round that a cut falls into, the lanes. With a cut at 100::

    for r in range(0, 64, 64):              # rounds before the cut
        for l in range(64): ...             # the one before
    for r in range(64, 128, 64):            # the round with the cut
        for l in range(36): ...             # the one before
        for l in range(36, 64): ...         # the one behind
    for r in range(128, 192, 64):           # rounds behind the cut
        for l in range(64): ...             # the one behind
    for l in range(8): ...                  # the one behind

So every lane takes in the same values in the same order as it would uncut, and no bit changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.index_sets import MOST_PARTS, Piece, range_text, split
from graphc.ir.symbolic import Axis, Size, floordiv, is_nonnegative
from graphc.schedule.kernel import Stage, walk

MOST_BODIES = 10
"""Loops over lanes of all that one loop in rounds of lanes becomes."""


class LanePart(NamedTuple):
    """What some lanes of a round compute: ``lanes`` is a call of Python's ``range``."""

    stages: tuple[Stage, ...]
    lanes: str


class Rounds(NamedTuple):
    """Rounds that begin at ``range(first, last, lanes)``, and the parts of each."""

    first: str
    last: str
    parts: tuple[LanePart, ...]


class LaneLoop(NamedTuple):
    """A loop in rounds of lanes.

    Attributes
    ----------
    rounds : tuple of Rounds
    whole : str
        Where whole rounds end and the rest begins.
    rest : tuple of LanePart
        The parts of what is left.
    """

    rounds: tuple[Rounds, ...]
    whole: str
    rest: tuple[LanePart, ...]


def cut_rounds(context: Context, stages: Sequence[Stage], axis: Axis, lanes: int, start: str) -> LaneLoop:
    """A loop over an axis in rounds of lanes, cut by positions, too.

    Rounds within one piece are a loop; a round with a cut inside has two parts, each some of the lanes. ``start`` is
    the name of a round's first position.
    """
    in_rounds = floordiv(axis.extent, lanes) * lanes
    whole, rest = (context.expressions.named(size).text for size in (in_rounds, axis.extent - in_rounds))
    uncut = _uncut(tuple(stages), lanes, whole, rest)
    pieces = split(context.expressions, stages, axis)
    limits = [(*piece.static_bounds, piece.stages) for piece in pieces if piece.static_bounds]
    if isinstance(axis.extent, int) and len(limits) == len(pieces):
        cut = _cut_at_numbers(axis.extent, lanes, limits)
    elif len(pieces) == 2 and pieces[0].facts.stops[1:] == pieces[1].facts.starts[1:]:
        cut = _cut_once(context, pieces, axis.extent, lanes, start, whole, rest)
    else:
        return uncut
    bodies = [*(part for rounds in cut.rounds for part in rounds.parts), *cut.rest]
    parts = sum(len(walk(*(scalar for stage in body.stages for scalar in stage.scalars()))) for body in bodies)
    if len(pieces) > 1 and (len(bodies) > MOST_BODIES or parts > MOST_PARTS):
        return uncut
    return cut


def _uncut(stages: tuple[Stage, ...], lanes: int, whole: str, rest: str) -> LaneLoop:
    """The loop with the stages as they are."""
    rounds = (Rounds("0", whole, (LanePart(stages, f"range({lanes})"),)),)
    left = (LanePart(stages, f"range({rest})"),)
    return LaneLoop(rounds if whole != "0" else (), whole, left if rest != "0" else ())


def _cut_at_numbers(extent: int, lanes: int, pieces: Sequence[tuple[int, int, tuple[Stage, ...]]]) -> LaneLoop:
    """The loop with all limits known."""

    def parts(first: int, last: int) -> tuple[LanePart, ...]:
        within = [(max(low, first) - first, min(high, last) - first, stages) for low, high, stages in pieces]
        return tuple(LanePart(stages, range_text(str(low), str(high))) for low, high, stages in within if low < high)

    rounds, place, whole = [], 0, extent // lanes * lanes
    while place < whole:
        end = next(high for low, high, _ in pieces if low <= place < high)
        last = max(min(end, whole) // lanes * lanes, place + lanes)
        rounds.append(Rounds(str(place), str(last), parts(place, place + lanes)))
        place = last
    return LaneLoop(tuple(rounds), str(whole), parts(whole, extent))


def _cut_once(
    context: Context, pieces: Sequence[Piece], extent: Size, lanes: int, start: str, whole: str, rest: str
) -> LaneLoop:
    """The loop with one cut, which is known when it runs."""
    before, behind = (piece.stages for piece in pieces)
    writer, named, position = context.writer, context.expressions.named, pieces[1].facts.starts[-1]
    cut = named(position, "o")
    if not is_nonnegative(position, least=0):
        cut = writer.let(f"maximum_int({cut.text}, 0)", cut.level, "o")
    if not is_nonnegative(extent - position, least=0):
        cut = writer.let(f"minimum_int({cut.text}, {named(extent).text})", cut.level, "o")
    last = writer.let(f"divide_index({cut.text}, {lanes})*{lanes}", cut.level, "e").text
    first = writer.let(f"divide_index({cut.text} + {lanes - 1}, {lanes})*{lanes}", cut.level, "e").text
    within = f"{cut.text} - {start}"
    both = LanePart(before, f"range({within})"), LanePart(behind, f"range({within}, {lanes})")
    rounds = (
        Rounds("0", last, (LanePart(before, f"range({lanes})"),)),
        Rounds(last, f"minimum_int({first}, {whole})", both),
        Rounds(first, whole, (LanePart(behind, f"range({lanes})"),)),
    )
    left = (
        LanePart(before, f"range({cut.text} - {whole})"),
        LanePart(behind, f"range(maximum_int({cut.text} - {whole}, 0), {rest})"),
    )
    return LaneLoop(rounds if whole != "0" else (), whole, left if rest != "0" else ())
