"""What the parts of the printer share while one kernel is printed: buffers, sizes, and where values are.

A tensor is in one of three **places**: in memory (inputs and stored results), in scratch (a worker's own memory, or
the stack if it is small and of static size), or in a register (a name) where a stage made it in the same loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from graphc.codegen.cpu import operators
from graphc.codegen.cpu.expressions import Expressions
from graphc.codegen.cpu.loops import Loops, collapse, position_in, replaced
from graphc.codegen.cpu.writer import Known, Writer
from graphc.codegen.source import Argument, KernelId, LibraryFunction, MicroKernel, RuntimeSize, Scratch, Status
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load, Position, Scalar
from graphc.ir.symbolic import Axis, Size, Value, atoms_of, floordiv, of_atom, product
from graphc.ir.types import NAMES, flat_offset
from graphc.schedule.kernel import Kernel, Reduce, Stage, walk

LINE_BYTES = 64
"""Bytes of a cache line; scratch is aligned to it."""

STACK_BYTES, MOST_STACK_BYTES = 32 * 1024, 512 * 1024
"""Scratch of a static size up to the first lies on the stack, as long as all that does so takes up to the second."""


class _ScratchArray(NamedTuple):
    """Elements in a worker's own memory, addressed by position on the stage's own axes."""

    pointer: str
    shape: tuple[Size, ...]
    steps: tuple[tuple[Axis, Size], ...]


class Context:
    """The printing of one kernel.

    Attributes
    ----------
    kernel : Kernel
    writer : Writer
    expressions : Expressions
    loops : Loops
    arguments : list of Argument
    sizes : list of RuntimeSize
    prologue : list of str
        Lines before the body: what is unpacked from the arguments.
    registers : dict of Tensor to (callable of no arguments giving Known)
        Tensors that are at hand in the loops now open.
    copied : dict of (Tensor, Size) to (str, Known)
        Places of inputs whose elements are copied to scratch in the loops now open: the pointer, and the place there.
    """

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.writer = Writer()
        self.expressions = Expressions(self.writer, self.read, self.dim, lambda: self._size_name(KernelId()))
        self.loops = Loops(self.writer, self.expressions)
        self.arguments: list[Argument] = []
        self.sizes: list[RuntimeSize] = []
        self.registers: dict[Tensor, Callable[[], Known]] = {}
        self.copied: dict[tuple[Tensor, Size], tuple[str, Known]] = {}
        self._pointers: dict[Tensor, str] = {}
        self._scratch: dict[Tensor, _ScratchArray] = {}
        self._moved: dict[Tensor, tuple[str, Size]] = {}
        self._scratch_lines: list[tuple[str, str, int, Size]] = []  # name, dtype, item size, first byte
        self._scratch_bytes: Size = 0
        self._stack_bytes = 0
        self._micro_kernels: dict[str, str] = {}
        self._words: dict[Tensor, str] = {}
        self._flat: dict[tuple[Tensor, bool, tuple[Size, ...]], Size] = {}  # offsets found before
        self._made, self._stored = set(kernel.made), set(kernel.stored)
        self._pointer_lines: list[str] = []
        if kernel.can_fail:
            self._pointer_lines.append(f"status = pointer_int64(buffers, {self._argument(Status())})")
        for prefix, tensors in (("x", kernel.inputs), ("y", kernel.stored)):
            for number, tensor in enumerate(tensors):
                self._pointers[tensor] = f"{prefix}{number}"
                place = self._argument(tensor)
                self._pointer_lines.append(f"{prefix}{number} = pointer_{NAMES[tensor.dtype]}(buffers, {place})")

    # --- arguments and sizes ---------------------------------------------------------------------------

    def _argument(self, argument: Argument) -> int:
        """Add an argument; its place in ``buffers``."""
        self.arguments.append(argument)
        return len(self.arguments) - 1

    def dim(self, size: Size) -> str:
        """Name of the variable that holds a run-time size."""
        return self._size_name(size)

    def _size_name(self, size: RuntimeSize) -> str:
        """Name of the variable that holds one of ``dims``, which is added where it is new."""
        if size not in self.sizes:
            self.sizes.append(size)
        return f"n{self.sizes.index(size)}"

    def micro_kernel(self, name: str, word: str = "product") -> str:
        """The variable that holds the address of a compiled contraction, by the contraction's name.

        It does not say which contraction, so that kernels that differ in this alone have one text.
        """
        if name not in self._micro_kernels:
            variable = f"{word}{len(self._micro_kernels)}"
            self._micro_kernels[name] = variable
            place = self._argument(MicroKernel(name))
            self._pointer_lines.append(f"{variable} = address(pointer_uint8(buffers, {place}))")
        return self._micro_kernels[name]

    def library_function(self, name: str) -> str:
        """The variable that holds the address of a function of LAPACK or BLAS; called as the function is."""
        place = self._argument(LibraryFunction(name))
        self._pointer_lines.append(f"{name} = address(pointer_uint8(buffers, {place}))")
        return name

    def kernel_number(self) -> str:
        """The variable that holds the kernel's number, for failure reports."""
        return self._size_name(KernelId())

    def prologue(self) -> list[str]:
        """The lines that unpack the arguments; to be asked for last."""
        before = Writer("s")
        sizes = Expressions(before, self.read, self.dim, lambda: self._size_name(KernelId()))
        if self._scratch_lines:
            place = self._argument(Scratch(self._scratch_bytes))
            step = sizes.named(self._scratch_bytes).text
            for name, dtype, itemsize, start in self._scratch_lines:
                begin = sizes.size(start).text
                first = f"divide_index(worker*{step}{'' if begin == '0' else f' + {begin}'}, {itemsize})"
                before.line(f"{name} = offset(pointer_{dtype}(buffers, {place}), {first})")
        dims = [f"n{place} = dims[{place}]" for place in range(len(self.sizes))]
        return [*dims, *self._pointer_lines, *(line.text for line in before.lines())]

    # --- places ----------------------------------------------------------------------------------------

    def scratch(self, elements: Size, dtype: str, itemsize: int, prefix: str = "t") -> str:
        """Name of a pointer to new uninitialised elements of this worker's own; lives as long as the call."""
        name = self.writer.name(prefix)
        size = elements * itemsize
        if isinstance(size, int) and size <= STACK_BYTES and self._stack_bytes + size <= MOST_STACK_BYTES:
            self._stack_bytes += size
            self._pointer_lines.append(f"{name} = stack_{dtype}({max(size // itemsize, 1)})")
            return name
        self._scratch_lines.append((name, dtype, itemsize, self._scratch_bytes))
        self._scratch_bytes = self._scratch_bytes + floordiv(size + LINE_BYTES - 1, LINE_BYTES) * LINE_BYTES
        return name

    def keep(
        self,
        tensor: Tensor,
        own: Sequence[Axis],
        steps: tuple[tuple[Axis, Size], ...] = (),
        elements: Size | None = None,
    ) -> None:
        """Give a result a place outside of registers: memory if it is stored, else scratch over its own axes.

        ``steps`` are further axes that it has there (rows and columns of a block) with their strides; ``elements``
        is then how many there are in all.
        """
        if tensor in self._pointers or tensor in self._scratch:
            return
        shape = tuple(axis.extent for axis in own)
        count = product(shape) if elements is None else elements
        name = self.scratch(count, NAMES[tensor.dtype], tensor.dtype.itemsize)
        self._scratch[tensor] = _ScratchArray(name, shape, steps)

    def place_in(self, tensor: Tensor, result: Tensor) -> None:
        """Let a tensor lie where a stored result of its type will."""
        self._pointers[tensor] = self._pointers[result]

    def place_parts(self, tensor: Tensor, pointer: str, own: Sequence[Axis]) -> None:
        """From now on the elements of a reduction of chunks are those of the chunk at hand, behind a pointer."""
        self._scratch[tensor] = _ScratchArray(pointer, tuple(axis.extent for axis in own), ())

    def move(self, tensor: Tensor, pointer: str, start: Size) -> None:
        """From now on elements of a result in memory, from offset ``start`` on, are behind another pointer."""
        self._moved[tensor] = pointer, start

    def is_kept(self, tensor: Tensor) -> bool:
        """Whether a result has a place outside of registers."""
        return tensor in self._pointers or tensor in self._scratch

    def word_for(self, tensor: Tensor) -> str:
        """What comments call a tensor."""
        if tensor in self._pointers:
            return self._pointers[tensor]
        names = self._words
        return names.setdefault(tensor, f"({chr(ord('a') + len(names))})" if len(names) < 26 else "(...)")

    def in_memory(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory, as an input or a stored result."""
        return tensor in self._pointers

    def is_stored(self, tensor: Tensor) -> bool:
        """Whether a result is written to memory."""
        return tensor in self._stored

    def is_scratch(self, tensor: Tensor) -> bool:
        """Whether a result lies in a worker's own memory."""
        return tensor in self._scratch

    def pointer(self, tensor: Tensor) -> str:
        """Name of the pointer to a tensor in memory or scratch."""
        if tensor in self._moved:
            return self._moved[tensor][0]
        found = self._scratch.get(tensor)
        return found.pointer if found else self._pointers[tensor]

    def flat(self, tensor: Tensor, index: Sequence[Size]) -> Size:
        """Offset of an element from a tensor's pointer, with collapsed axes replaced."""
        found = self._scratch.get(tensor)
        key = (tensor, found is None, tuple(index))
        place = self._flat.get(key)
        if place is None:
            if found is None:
                place = flat_offset(tensor.shape, index)
            else:
                place = flat_offset(found.shape, index[len(index) - len(found.shape) :])
                for axis, stride in found.steps:
                    place = place + of_atom(axis) * stride
            self._flat[key] = place
        place = self.expressions.rename(place)
        return place - self._moved[tensor][1] if tensor in self._moved else place

    def made_here(self, tensor: Tensor) -> bool:
        """Whether a stage of this kernel makes a tensor."""
        return tensor in self._made

    def read(self, load: Load) -> Known:
        """An element of a tensor, wherever it is."""
        register = self.registers.get(load.tensor)
        if register is not None:
            return register()
        if load.tensor.type.size == 0:  # asked for by an index that fails, or in a loop that never runs, and only there
            return Known(operators.literal(0, load.dtype), self.writer.level)
        offset = self.flat(load.tensor, load.index)
        if (load.tensor, offset) in self.copied:
            pointer, place = self.copied[load.tensor, offset]
            return self.load(pointer, place.text, load.dtype.name, place.level)
        place = self.expressions.size(offset)
        level = self.writer.level if self.made_here(load.tensor) else place.level
        text = place.text
        if _can_miss(load):
            some = self.expressions.size(load.tensor.type.size).text
            text = f"select({some} > 0, {text}, 0)"
        return self.load(self.pointer(load.tensor), text, NAMES[load.dtype], level)

    def load(self, pointer: str, offset: str, dtype: str, level: int) -> Known:
        """An element behind a pointer."""
        return self.writer.let(_load_text(pointer, offset, dtype), level)

    def store(self, tensor: Tensor, index: Sequence[Size], value: Known) -> None:
        """Write an element of a kept result; what was read at its place before (:meth:`place_in`) is not it."""
        place = self.expressions.size(self.flat(tensor, index))
        called = "store_bool" if tensor.dtype.kind == "b" else "store"
        self.writer.line(f"{called}({self.pointer(tensor)}, {place.text}, {value.text})")
        self.writer.forget([_load_text(self.pointer(tensor), place.text, NAMES[tensor.dtype])])

    # --- analysis --------------------------------------------------------------------------------------

    def accesses(self, stages: Sequence[Stage]) -> list[Size]:
        """The integer expressions that some stages use: places in memory and scratch, and positions as values.

        The latter include those that argmax and argmin give.
        """
        found: list[Size] = []
        for stage in stages:
            for part in walk(*stage.scalars()):
                if isinstance(part, Load) and part.tensor not in self.registers and self.is_kept(part.tensor):
                    found.append(self.flat(part.tensor, part.index))
                elif isinstance(part, Position):
                    found.append(self.expressions.rename(part.size))
            index = self.index_of(stage)
            found += [self.flat(tensor, index) for tensor in stage.results if self.is_kept(tensor)]
            if isinstance(stage, Reduce) and stage.combine in ("argmax", "argmin"):
                found.append(self.expressions.rename(position_in(stage.reduced)))
        return found

    @contextmanager
    def joined(self, stages: Sequence[Stage]) -> Iterator[list[Axis]]:
        """The axes of one loop nest over several stages of equal extents, collapsed; while open, all stand for them."""
        before = dict(self.expressions.renamed)
        axes = space(stages[0])
        for stage in stages[1:]:
            pairs = zip(space(stage), axes, strict=True)
            self.expressions.renamed.update({own: of_atom(axis) for own, axis in pairs if own != axis})
        kept, renamed = collapse(axes, self.accesses(stages))
        aliases = {own: replaced(size, renamed) for own, size in self.expressions.renamed.items() if own not in before}
        self.expressions.renamed.update(aliases | renamed)
        try:
            yield kept
        finally:
            self.expressions.renamed = before

    def index_of(self, stage: Stage) -> list[Size]:
        """Position of the element that a stage makes."""
        return [of_atom(axis) for axis in (*self.kernel.axes, *stage.axes)]


def space(stage: Stage) -> tuple[Axis, ...]:
    """The axes that a stage loops over where it shares a loop nest with others."""
    return stage.reduced if isinstance(stage, Reduce) else stage.axes


def _load_text(pointer: str, offset: str, dtype: str) -> str:
    """The text of a load; it is also the key under which the writer knows its value."""
    return f"{'load_bool' if dtype == 'bool' else 'load'}({pointer}, {offset})"


def _can_miss(load: Load) -> bool:
    """Whether an index may have failed its check because the axis is empty, which leaves nothing to read."""
    return any(
        isinstance(atom, Value) and not isinstance(atom.extent, int)
        for size in load.index
        if not isinstance(size, int)
        for atom in atoms_of(size)
    )


def operand_tensors(scalars: Sequence[Scalar]) -> set[Tensor]:
    """Tensors that some expressions read."""
    return {part.tensor for part in walk(*scalars) if isinstance(part, Load)}


def fixed(value: Known) -> Callable[[], Known]:
    """A register whose name does not change."""
    return lambda: value
