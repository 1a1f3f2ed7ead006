"""The one kernel form: shared parallel axes, and a list of stages under them.

A :class:`Kernel` runs its stages, one after another, for every point of its shared ``axes``. Points are independent
of each other, so workers share them out. Each stage makes one or more tensors whose leading axes *are* the shared
axes; its own ``axes`` follow. A value that only later stages of the same kernel read, at the same point, lives in
scratch; a ``stored`` one is written to memory. Softmax over rows, for example::

    axes = (row)
    Reduce  m[row]      = max over j of x[row, j]
    Map     e[row, j]   = exp(x[row, j] - m[row])          scratch
    Reduce  s[row]      = sum over j of e[row, j]
    Map     y[row, j]   = e[row, j] / s[row]               stored

The sums of its gradients' columns, say, are partial results over chunks of the rows, made while the rows are hot::

    Chunks  p[c, j]     = sum over the rows of chunk c of g[row, j]

Five kinds of stage and the row routine cover every op. What a stage reads is said by scalar expressions
(:mod:`graphc.ir.scalar`) over the axes; views are index arithmetic inside them. Nothing here knows a backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

from graphc.ir.node import Node, Tensor
from graphc.ir.record import record
from graphc.ir.scalar import FUNCTIONS, Apply, Load, Position, Scalar
from graphc.ir.symbolic import Axis, Size, atoms_of, of_atom, product, values_of


@record
class Stage:
    """Base of the stages.

    Attributes
    ----------
    results : tuple of Tensor
        What it makes; element ``(*shared axes, *axes)`` of each.
    axes : tuple of Axis
        The stage's own axes; their extents are the results' trailing sizes.
    nodes : tuple of Node
        The graph nodes that the stage computes, for reports.
    """

    results: tuple[Tensor, ...]
    axes: tuple[Axis, ...]
    nodes: tuple[Node, ...] = field(default=(), kw_only=True)

    @property
    def result(self) -> Tensor:
        """The only result of a stage that has one."""
        (only,) = self.results
        return only

    def scalars(self) -> tuple[Scalar, ...]:
        """The expressions that the stage evaluates."""
        raise NotImplementedError

    @cached_property
    def loads(self) -> tuple[Load, ...]:
        """What the stage reads, those parts of its expressions that are loads, each once."""
        return tuple(part for part in walk(*self.scalars()) if isinstance(part, Load))

    def loop_axes(self) -> tuple[Axis, ...]:
        """All axes the stage loops over beyond the shared ones."""
        return self.axes


@record
class Map(Stage):
    """``result[shared, axes] = value``."""

    value: Scalar

    def scalars(self) -> tuple[Scalar, ...]:
        return (self.value,)


@record
class Reduce(Stage):
    """``result[shared, axes]`` combines ``value`` over ``reduced``.

    ``combine`` is one of add, multiply, maximum, minimum, argmax, argmin; the last two give the int64 position in
    the flattened reduced axes.
    """

    reduced: tuple[Axis, ...]
    combine: str
    value: Scalar

    def scalars(self) -> tuple[Scalar, ...]:
        return (self.value,)

    def loop_axes(self) -> tuple[Axis, ...]:
        return self.axes + self.reduced


@record
class ReduceChunks(Stage):
    """``result[c, axes]`` combines ``value`` over the shared points of chunk ``c``.

    Of a kernel's ``n`` points, chunk ``c`` has those from ``n * c // chunks`` to ``n * (c + 1) // chunks``. Workers
    share out a kernel with such a stage by whole chunks, so these, and with them all bits, do not depend on workers.
    The result is the only one that does not begin with the shared axes, and no stage of its kernel reads it.
    """

    chunks: int
    combine: str
    value: Scalar

    def scalars(self) -> tuple[Scalar, ...]:
        return (self.value,)


@record
class Contract(Stage):
    """``result[shared, axes] = sum over reduced of left * right``, in order of the reduced axes.

    ``left`` and ``right`` are loads of stored tensors at positions linear in the axes, so that they are strided
    views of memory.
    """

    reduced: tuple[Axis, ...]
    left: Load
    right: Load

    def scalars(self) -> tuple[Scalar, ...]:
        return (self.left, self.right)

    def loop_axes(self) -> tuple[Axis, ...]:
        return self.axes + self.reduced


@record
class Scan(Stage):
    """``result[..., i, ...]`` combines ``value`` over positions up to i of ``scanned``, one of ``axes``."""

    scanned: Axis
    combine: str
    value: Scalar

    def scalars(self) -> tuple[Scalar, ...]:
        return (self.value,)


@record
class Accumulate(Stage):
    """``start``; then, for each position of ``contributions`` in order, ``value`` is combined in at ``destination``.

    ``combine`` is one of add, maximum, minimum, and set, which puts the value in the place of what is there. The
    kernel has no shared axes and ``axes`` are those of the result. Parallel over destinations: a worker handles the
    contributions that fall into its part of the result.
    """

    contributions: tuple[Axis, ...]
    destination: tuple[Size, ...]
    value: Scalar
    combine: str
    start: Scalar

    def scalars(self) -> tuple[Scalar, ...]:
        return (self.value, self.start, *(Position(size) for size in self.destination))

    def plain_axis(self, place: int) -> Axis | None:
        """The axis of the contributions that a result's axis is, if it is one."""
        for axis in self.contributions:
            if self.destination[place] == of_atom(axis) and axis.extent == self.axes[place].extent:
                others = [size for k, size in enumerate(self.destination) if k != place]
                if not any(axis in atoms_of(size) for size in others):
                    return axis
        return None

    @cached_property
    def split(self) -> int:
        """The axis of the result that workers split: a plain one, the last such; else the first of all."""
        plain = [place for place in range(len(self.axes)) if self.plain_axis(place)]
        wide = [place for place in plain if self.axes[place].extent != 1]
        return wide[-1] if wide else 0

    @property
    def skips(self) -> bool:
        """Whether each worker looks at all contributions, and skips those to others' parts of the result."""
        return bool(self.axes) and self.plain_axis(self.split) is None

    def loop_axes(self) -> tuple[Axis, ...]:
        return self.contributions


@record
class Routine(Stage):
    """A library routine on each row or matrix of stored, contiguous tensors: their last axes, at each shared point.

    ``values`` are their elements; the routine reads all of a row or matrix before any result is final. Results need
    not have one shape beyond the shared axes; ``axes`` are those of the first. ``repeated`` are further loops of the
    routine's work, and ``checked`` says that it can fail.
    """

    routine: str
    values: tuple[Load, ...]
    attributes: dict[str, Any]
    repeated: tuple[Axis, ...] = ()
    checked: bool = False

    @property
    def sources(self) -> tuple[Tensor, ...]:
        """The tensors that are read."""
        return tuple(value.tensor for value in self.values)

    def scalars(self) -> tuple[Scalar, ...]:
        return self.values

    def loop_axes(self) -> tuple[Axis, ...]:
        return self.axes + self.repeated


@record
class Kernel:
    """Stages under shared parallel axes.

    Attributes
    ----------
    axes : tuple of Axis
        Shared, parallel.
    stages : tuple of Stage
        In order.
    stored : tuple of Tensor
        Results that are written to memory, contiguous and row-major; all other results are scratch.
    """

    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]
    stored: tuple[Tensor, ...]

    @cached_property
    def made(self) -> tuple[Tensor, ...]:
        """All results of all stages."""
        return tuple(tensor for stage in self.stages for tensor in stage.results)

    @cached_property
    def makers(self) -> dict[Tensor, int]:
        """The place of the stage that makes each result."""
        return {tensor: place for place, stage in enumerate(self.stages) for tensor in stage.results}

    @cached_property
    def loads(self) -> dict[Tensor, list[tuple[int, Load]]]:
        """Where each tensor is read: places of the stages, and the loads; in order of first use."""
        found: dict[Tensor, list[tuple[int, Load]]] = {}
        for place, stage in enumerate(self.stages):
            for load in stage.loads:
                found.setdefault(load.tensor, []).append((place, load))
        return found

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read from memory that no stage of this kernel makes, in order of first use."""
        own = set(self.made)
        return tuple(tensor for tensor in self.loads if tensor not in own)

    @cached_property
    def can_fail(self) -> bool:
        """Whether a run can fail: the kernel checks indices that are data, or a routine refuses a matrix."""
        return any(
            isinstance(part, Apply) and part.function == "checked_index"
            for stage in self.stages
            for part in walk(*stage.scalars())
        ) or any(isinstance(stage, Routine) and stage.checked for stage in self.stages)

    @cached_property
    def work(self) -> Size:
        """Estimated scalar operations of a run, to decide how many workers it is worth."""
        points = product(axis.extent for axis in self.axes)
        total: Size = 0
        for stage in self.stages:
            loops = product(axis.extent for axis in stage.loop_axes())
            total = total + points * loops * cost(*stage.scalars())
            if isinstance(stage, Accumulate):  # its start is written first
                total = total + product(axis.extent for axis in stage.axes) * cost(stage.start)
        return total

    @cached_property
    def chunks(self) -> int:
        """Into how many chunks the points are cut; 0 if they are not."""
        return next((stage.chunks for stage in self.stages if isinstance(stage, ReduceChunks)), 0)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Graph nodes computed here."""
        return tuple(dict.fromkeys(node for stage in self.stages for node in stage.nodes))


def walk(*scalars: Scalar) -> Sequence[Scalar]:
    """Every part of some expressions once, those inside positions and indices included; operands first."""
    if len(scalars) != 1:
        return tuple(dict.fromkeys(part for scalar in scalars for part in walk(scalar)))
    (scalar,) = scalars
    try:
        return scalar._parts  # an expression never changes, and fusion and printing ask again and again
    except AttributeError:
        scalar._parts = tuple(_postorder(scalar)) if operands_of(scalar) else (scalar,)
        return scalar._parts


def _postorder(scalar: Scalar) -> Iterator[Scalar]:
    seen: set[Scalar] = set()
    stack: list[Scalar | tuple[Scalar]] = [scalar]  # in a tuple: its operands were yielded
    while stack:
        part = stack.pop()
        if isinstance(part, tuple):
            yield part[0]
        elif part not in seen:
            seen.add(part)
            operands = operands_of(part)
            if operands:
                stack.append((part,))
                stack += reversed(operands)
            else:
                yield part


def operands_of(part: Scalar) -> Sequence[Scalar]:
    """The scalars that one is made of: arguments, and data inside its integer expressions."""
    if isinstance(part, Apply):
        return part.arguments
    sizes = part.index if isinstance(part, Load) else (part.size,) if isinstance(part, Position) else ()
    found = [value.payload for size in sizes if not isinstance(size, int) for value in values_of(size)]
    return [payload for payload in found if isinstance(payload, Scalar)] if found else ()


def cost(*scalars: Scalar) -> int:
    """Cost of evaluating expressions once, in additions; a load counts 1."""
    total = 0
    for part in walk(*scalars):
        if isinstance(part, Apply):
            total += FUNCTIONS[part.function][2]
        elif isinstance(part, Load):
            total += 1
    return max(total, 1)
