"""When two kernels are the same but for names: the key under which equal layers share one printed text.

Printing a kernel takes a hundred times as long as walking it, and a network of many equal layers has few distinct
kernels. :func:`structure_of` writes a kernel down with everything that differs between equal layers numbered in
order of first use: tensors (with their types), nodes (with their ops), loop variables (with their extents), parts of
expressions, streams of random numbers. Two kernels whose keys are equal are printed alike; what has the same number
in both stands in the same places of both.

The key is plain data (integers, text, bytes, and tuples of these), so what it says is the same in every process:
printed kernels are kept on disk under it (:mod:`graphc.codegen.cpu.texts`).

Polynomials keep their terms sorted by the serial numbers of loop variables and of values that are data, so the order
of these is part of the key: whatever the printer makes of two such kernels is then sorted alike, too. Names of dims
are kept as they are, hence layers of differently named batches are printed apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.codegen.source import KernelSource, Numbered, Printed
from graphc.ir.node import Node, Tensor
from graphc.ir.op import View
from graphc.ir.record import record
from graphc.ir.scalar import Apply, Literal, Load, Position, Scalar
from graphc.ir.symbolic import Atom, Axis, Compound, Name, Size, Value
from graphc.ir.types import NAMES
from graphc.schedule.kernel import Accumulate, Contract, Kernel, Reduce, ReduceChunks, Routine, Scan, Stage, walk


@record
class Structure:
    """A kernel in the canonical form.

    Attributes
    ----------
    key : tuple
        Equal for kernels that are printed alike; plain data.
    tensors, nodes, streams : tuple
        What the numbers in ``key`` stand for in this kernel.
    """

    key: tuple[Any, ...]
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    streams: tuple[int, ...]

    def numbered(self, source: KernelSource) -> Printed:
        """What was printed for this kernel, as it holds for all of the structure."""
        tensors = {tensor: Numbered(number) for number, tensor in enumerate(self.tensors)}
        streams = {stream: Numbered(number) for number, stream in enumerate(self.streams)}
        arguments = [tensors[entry] if isinstance(entry, Tensor) else entry for entry in source.arguments]
        sizes = [streams[entry] if isinstance(entry, int) else entry for entry in source.sizes]
        return Printed(source.text, tuple(arguments), tuple(sizes), source.places)

    def named(self, printed: Printed) -> KernelSource:
        """What was printed for the structure, for this kernel."""
        tensors, streams = self.tensors, self.streams
        arguments = [tensors[entry.number] if isinstance(entry, Numbered) else entry for entry in printed.arguments]
        sizes = [streams[entry.number] if isinstance(entry, Numbered) else entry for entry in printed.sizes]
        return KernelSource(printed.text, tuple(arguments), tuple(sizes), self.nodes, printed.places)


def structure_of(kernel: Kernel) -> Structure:
    """Write a kernel down in the canonical form."""
    return _Numbering().structure(kernel)


class _Numbering:
    """Numbers in order of first use."""

    def __init__(self) -> None:
        self._tensors: dict[Tensor, int] = {}
        self._streams: dict[Any, int] = {}
        self._nodes: dict[Node, int] = {}
        self._axes: dict[Axis, int] = {}
        self._values: dict[Value, int] = {}
        self._extents: list[Any] = []  # of axes and values, as they are numbered
        self._parts: dict[Scalar, int] = {}
        self._sizes: dict[int, Any] = {}  # by identity: the kernel keeps them alive

    def structure(self, kernel: Kernel) -> Structure:
        stages = tuple(map(self._stage, kernel.stages))
        key = (
            tuple(map(self._axis, kernel.axes)),
            stages,
            tuple(map(self._tensor, kernel.stored)),
            tuple([(NAMES[tensor.dtype], *map(self._size, tensor.shape)) for tensor in self._tensors]),
            tuple((node.op.name, isinstance(node.op, View)) for node in self._nodes),
            tuple(self._extents),
            _order(self._axes),
            _order(self._values),
        )
        return Structure(key, tuple(self._tensors), tuple(self._nodes), tuple(self._streams))

    def _tensor(self, tensor: Tensor) -> int:
        return self._tensors.setdefault(tensor, len(self._tensors))

    def _node(self, node: Node) -> int:
        return self._nodes.setdefault(node, len(self._nodes))

    def _axis(self, axis: Axis) -> int:
        number = self._axes.get(axis)
        if number is None:
            number = self._axes[axis] = len(self._axes)
            self._extents.append(self._size(axis.extent))
        return number

    def _stage(self, stage: Stage) -> tuple[Any, ...]:
        scalars = stage.scalars()
        parts = tuple([self._part(part) for part in walk(*scalars)])
        return (
            type(stage).__name__,
            tuple(map(self._tensor, stage.results)),
            tuple(map(self._axis, stage.axes)),
            tuple(map(self._axis, stage.loop_axes())),
            self._details(stage),
            parts,
            tuple([self._parts[scalar] for scalar in scalars if scalar in self._parts]),
            tuple(map(self._node, stage.nodes)),
        )

    def _details(self, stage: Stage) -> Any:
        """What a stage says beyond its expressions and axes."""
        if isinstance(stage, Reduce):
            return stage.combine, len(stage.reduced)
        if isinstance(stage, ReduceChunks):
            return stage.combine, stage.chunks
        if isinstance(stage, Contract):
            return len(stage.reduced)
        if isinstance(stage, Scan):
            return stage.combine, self._axis(stage.scanned)
        if isinstance(stage, Accumulate):
            return stage.combine, tuple(map(self._size, stage.destination))
        if isinstance(stage, Routine):  # attributes may be anything
            attributes = tuple((name, repr(value)) for name, value in sorted(stage.attributes.items()))
            return stage.routine, attributes, stage.checked
        return None

    def _part(self, part: Scalar) -> tuple[Any, ...]:
        """A part of an expression, whose operands were numbered before."""
        known = self._parts.get(part)
        if known is not None:  # an earlier stage has it, too
            return (known,)
        self._parts[part] = len(self._parts)
        if isinstance(part, Load):
            return self._tensor(part.tensor), tuple([self._size(size) for size in part.index])
        if isinstance(part, Apply):
            operands = tuple([self._parts[operand] for operand in part.arguments])
            return part.function, operands, NAMES[part.dtype], self._static(part)
        if isinstance(part, Literal):
            return NAMES[part.dtype], part.value.tobytes()  # by bits: zeros have signs, and NaN differs from itself
        assert isinstance(part, Position)
        return "position", self._size(part.size)

    def _static(self, part: Apply) -> tuple[Any, ...]:
        if part.function != "random_bits":
            return part.static
        return tuple(self._streams.setdefault(stream, len(self._streams)) for stream in part.static)

    def _size(self, size: Size) -> Any:
        if isinstance(size, int):
            return size
        code = self._sizes.get(id(size))
        if code is None:
            terms = [(*map(self._atom, monomial), factor) for monomial, factor in size.terms]
            code = self._sizes[id(size)] = tuple(terms)
        return code

    def _atom(self, atom: Atom) -> Any:
        if isinstance(atom, Axis):
            return self._axis(atom)
        if isinstance(atom, Name):
            return atom.name
        if isinstance(atom, Compound):
            return atom.kind, self._size(atom.left), self._size(atom.right)
        assert isinstance(atom, Value)
        number = self._values.get(atom)
        if number is None:
            number = self._values[atom] = len(self._values)
        payload = self._parts[atom.payload] if isinstance(atom.payload, Scalar) else atom.payload
        return "value", number, payload, self._size(atom.extent)


def _order(numbers: Mapping[Any, int]) -> tuple[int, ...]:
    """Atoms, by number, in the order in which polynomials sort them."""
    return tuple(number for _, number in sorted(numbers.items(), key=lambda item: item[0].key))
