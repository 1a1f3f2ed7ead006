"""Loops over axes: which axes run as one, and which part of a loop is a worker's.

**Collapsing.** Two adjacent loop axes ``(a, b)`` of extents ``(A, B)`` are one axis of extent ``A*B`` where every
access moves as far for a step of ``a`` as for ``B`` steps of ``b``: contiguous data, or data that moves with
neither. A chain of elementwise ops on contiguous tensors of any rank is thus one long loop.

**Splitting** is the reverse, and comes first: an axis of extent ``A*B`` that is read as ``axis // B`` and ``axis % B``,
as a reshape after a transpose does, becomes two, so that places are linear in each and the inner one is vector code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from graphc.codegen.cpu.expressions import Expressions
from graphc.codegen.cpu.writer import Known, Writer
from graphc.ir.symbolic import (
    Atom,
    Axis,
    Compound,
    Size,
    atoms_of,
    coefficient,
    exact_quotient,
    floordiv,
    of_atom,
    product,
    substitute,
)

ZERO = Known("0", 0)


def collapse(axes: Sequence[Axis], offsets: Iterable[Size]) -> tuple[list[Axis], dict[Axis, Size]]:
    """Split axes that are read by quotient and remainder, and merge adjacent ones where every access allows it.

    Parameters
    ----------
    axes : sequence of Axis
        Loops, outermost first.
    offsets : iterable of Size
        Every expression of the axes in use: places in memory, and positions that are values.

    Returns
    -------
    axes : list of Axis
        The loops that remain; none has the static extent 1.
    renamed : dict of Axis to Size
        What stands for each axis that is gone, in these expressions.
    """
    pending = list(offsets)
    axes, renamed = _split(axes, pending)
    pending = [replaced(size, renamed) for size in pending]
    renamed |= {axis: 0 for axis in axes if axis.extent == 1}
    kept: list[Axis] = []
    for axis in axes:
        if axis in renamed:
            continue
        if not kept or not _moves_as_one(kept[-1], axis, pending):
            kept.append(axis)
            continue
        merged = Axis(kept[-1].extent * axis.extent)
        change: dict[Axis, Size] = {kept[-1]: 0, axis: of_atom(merged)}
        pending = [replaced(size, change) for size in pending]
        renamed = {gone: replaced(size, change) for gone, size in renamed.items()} | change
        kept[-1] = merged
    return kept, renamed


def _split(axes: Sequence[Axis], offsets: Sequence[Size]) -> tuple[list[Axis], dict[Axis, Size]]:
    """Axes split where some offset divides them, and what stands for those that are gone."""
    divisors: dict[Axis, set[int]] = {}
    for size in offsets:
        for atom in () if isinstance(size, int) else atoms_of(size):
            if isinstance(atom, Compound) and atom.kind in ("floordiv", "mod"):
                _note_divisor(atom, divisors)
    parts: list[Axis] = []
    renamed: dict[Axis, Size] = {}
    for axis in axes:
        extent, below, pieces = axis.extent, 1, []
        for divisor in sorted(divisors.get(axis, ())):
            if divisor % below == 0 and divisor > below and exact_quotient(extent, divisor) not in (None, 1):
                pieces.append((Axis(divisor // below), below))
                below = divisor
        if not pieces:
            parts.append(axis)
            continue
        pieces.append((Axis(floordiv(extent, below)), below))
        parts += [piece for piece, _ in reversed(pieces)]
        renamed[axis] = sum((of_atom(piece) * step for piece, step in pieces), start=0)
    return parts, renamed


def _note_divisor(atom: Compound, divisors: dict[Axis, set[int]]) -> None:
    """The places where ``axis // a``, ``axis % a``, ``(axis // a) % b`` and so on cut an axis."""
    steps: list[tuple[str, int]] = []
    inner: Atom = atom
    while isinstance(inner, Compound) and inner.kind in ("floordiv", "mod") and isinstance(inner.right, int):
        steps.append((inner.kind, inner.right))
        left = next((each for each in atoms_of(inner.left) if inner.left == of_atom(each)), None)
        if left is None:
            return
        inner = left
    if isinstance(inner, Axis):
        unit = 1
        for kind, step in reversed(steps):
            divisors.setdefault(inner, set()).add(unit * step)
            unit = unit * step if kind == "floordiv" else unit


def _moves_as_one(outer: Axis, inner: Axis, offsets: Iterable[Size]) -> bool:
    """Whether a step of an outer axis leads every access as far as all steps of the inner one together."""
    for size in offsets:
        far, near = coefficient(size, outer), coefficient(size, inner)
        if far is None or near is None or far != near * inner.extent:
            return False
    return True


def replaced(size: Size, change: dict[Axis, Size]) -> Size:
    """An expression with some axes replaced."""

    def replace(atom: Atom) -> Size:
        found = change.get(atom) if isinstance(atom, Axis) else None
        return of_atom(atom) if found is None else found

    return substitute(size, replace) if change else size


def position_in(axes: Sequence[Axis]) -> Size:
    """Position in some axes, counted through all of them in order."""
    position: Size = 0
    for axis in axes:
        position = position * axis.extent + of_atom(axis)
    return position


class Loops:
    """Opens loops through a writer and binds axes to their variables."""

    def __init__(self, writer: Writer, expressions: Expressions):
        self.writer, self.expressions = writer, expressions

    @contextmanager
    def over(self, axes: Sequence[Axis], prefix: str = "j", independent: bool = False) -> Iterator[None]:
        """A loop for each axis, over all of it; ``independent`` is a promise about the innermost."""
        with ExitStack() as stack:
            for place, axis in enumerate(axes, start=1):
                extent = self.expressions.named(axis.extent)
                variable = self.writer.name(prefix)
                header, promise = f"for {variable} in range({extent.text}):", independent and place == len(axes)
                level = stack.enter_context(self.writer.block(header, promise))
                stack.enter_context(self.expressions.bound({axis: Known(variable, level)}))
            yield

    @contextmanager
    def shared_out(self, axes: Sequence[Axis], unit: int, independent: bool = False) -> Iterator[None]:
        """One loop over a worker's part of all points of some axes, in whole units of ``unit`` points."""
        if not axes:
            self.only_worker_0()
            yield
            return
        self.part_of(product(axis.extent for axis in axes), unit)
        with ExitStack() as stack:
            point = Known(self.writer.name("i"), self.writer.level + 1)
            stack.enter_context(self.writer.block(f"for {point.text} in range(first, last):", independent))
            stack.enter_context(self.expressions.bound(self.split(point, axes)))
            yield

    def only_worker_0(self) -> None:
        """Work that one worker does alone."""
        self.writer.line("if worker != 0:")
        self.writer.line("    return")

    def part_of(self, total: Size, unit: int) -> None:
        """Set ``first`` and ``last``: this worker's part of ``total`` items."""
        items = self.expressions.named(total).text
        self.writer.line(f"first = share({items}, {unit}, worker, workers)")
        self.writer.line(f"last = share({items}, {unit}, worker + 1, workers)")
        self.writer.line("if first >= last:")
        self.writer.line("    return")

    def split(self, point: Known, axes: Sequence[Axis]) -> dict[Axis, Known]:
        """Variables of axes from the number of a point, the last axis counting fastest."""
        variables: dict[Axis, Known] = {}
        for axis in reversed(axes[1:]):
            extent = self.expressions.named(axis.extent).text
            variables[axis] = self.writer.let(f"rest_index({point.text}, {extent})", point.level, "i")
            point = self.writer.let(f"divide_index({point.text}, {extent})", point.level, "i")
        if axes:
            variables[axes[0]] = point
        return variables
