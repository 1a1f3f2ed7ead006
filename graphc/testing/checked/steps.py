"""Steps of a program in plain Python, over the table, the arena and the variables that compiled code would use.

:class:`CheckedExecutable` is an executable that compiles nothing. Its table is laid out as ever; instead of the walk
that is compiled it has :class:`_Walk`, which runs the kernels' texts: between two barriers each worker's part of all of
them, one worker after the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.codegen.source import KernelSource, LibraryFunction, MicroKernel, Scratch, Status
from graphc.ir.node import Tensor
from graphc.ir.symbolic import evaluate
from graphc.runtime import layout as at
from graphc.runtime.entry import Feed
from graphc.runtime.executable import Bound, Executable, OnEvent
from graphc.runtime.table import (
    Call,
    Cell,
    Commit,
    Copy,
    EndLoop,
    Entry,
    FillZero,
    Jump,
    JumpIfZero,
    Label,
    Loop,
    Operand,
    Patch,
    Table,
)
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.kernel import Kernel
from graphc.testing.checked import texts
from graphc.testing.checked.memory import ANYTHING, UNWRITTEN, Buffer, Storage, fault
from graphc.testing.checked.routines import LibraryCall

Array = NDArray[Any]


class CheckedExecutable(Executable):
    """An executable that runs kernels' texts and checks every access to memory; as :class:`Executable` else."""

    def _load(self, on_event: OnEvent | None) -> tuple[dict[str, int], dict[MicroKernel | LibraryFunction, int]]:
        arguments = {a for kernel in self.source.kernels.values() for a in kernel.arguments}
        functions = {a: 0 for a in arguments if isinstance(a, (MicroKernel, LibraryFunction))}
        self.workers: Any = _Workers(self, self.workers.count)
        self.numbers = _numbers(self.schedule.steps)
        return dict.fromkeys(self.source.texts, 0), functions

    def _step(self, bound: Bound, arrays: Sequence[Any]) -> list[NDArray[np.generic] | None] | None:
        self.workers.bound = bound
        return super()._step(bound, arrays)

    def number_of(self, tensor: Tensor) -> int:
        """The number by which memory knows a tensor: of those that take each other's places in loops, the same."""
        return self.numbers.setdefault(tensor, len(self.numbers) + 1)

    @property
    def fixed(self) -> Mapping[Tensor, Array]:
        """Where variables, constants and the random state lie."""
        return self._fixed


def _numbers(steps: Sequence[Step]) -> dict[Tensor, int]:
    """Numbers of tensors that loops and choices pass in and out: what belongs to one step has one number."""
    numbers: dict[Tensor, int] = {}

    def add(steps: Sequence[Step]) -> None:
        for step in steps:
            if not isinstance(step, ControlStep):
                continue
            passed = [*step.node.inputs, *step.node.results]
            for body in step.bodies:
                passed += [*body.graph.inputs, *body.graph.outputs]
            known = {numbers[tensor] for tensor in passed if tensor in numbers}
            number = min(known, default=len(numbers) + 1)
            for tensor, old in list(numbers.items()):
                if old in known:
                    numbers[tensor] = number
            numbers.update(dict.fromkeys(passed, number))
            for body in step.bodies:
                add(body.steps)

    add(steps)
    return numbers


class _Workers:
    """What stands for a session's workers: as many, taking turns."""

    def __init__(self, executable: CheckedExecutable, count: int):
        self.executable, self.count = executable, count
        self.bound: Bound

    def entry(self, table: Table, feeds: Sequence[Feed]) -> Any:
        """What :meth:`step` needs to know of a table."""
        return feeds

    def step(self, table: Table, feeds: Sequence[Feed], arrays: Sequence[Any]) -> int:
        """One walk; as :meth:`graphc.runtime.workers.Workers.step`.

        Raises
        ------
        MemoryFault
            If a kernel touches what it must not.
        """
        for feed, array in zip(feeds, arrays, strict=True):
            if not isinstance(array, np.ndarray) or array.dtype != feed.dtype or array.shape != feed.shape:
                return at.MISFIT
            if not (array.flags.c_contiguous and array.flags.aligned):
                return at.MISFIT
        for feed, array in zip(feeds, arrays, strict=True):
            for cell, offset in feed.cells:
                cell.array[cell.index] = array.ctypes.data + offset
        table.rewind()
        with np.errstate(all="ignore"):
            return _Walk(self.executable, self.bound, arrays).run()


class _Walk:
    """One walk of a table."""

    def __init__(self, executable: CheckedExecutable, bound: Bound, arrays: Sequence[Array]):
        self.executable, self.bound, self.sizes = executable, bound, bound.sizes
        self.table = bound.table
        self.entries = [entry for entry in self.table.entries if not isinstance(entry, Label)]
        self.arena = Storage.of(bound.arena.bytes, UNWRITTEN)
        lasting = [*arrays, *executable.fixed.values(), self.table.status]
        calls = [entry for entry in self.entries if isinstance(entry, Call)]
        # positions in loops are words of the table
        lasting += [_whole(call.dims) for call in calls[:1]]
        self.blanks = [Storage(blank.address, blank.size, blank, ANYTHING) for blank in bound.blanks]
        self.storages = [self.arena, *map(Storage.of, lasting), *self.blanks]
        self.bases: dict[Patch, int] = {}
        self.iterations: dict[int, tuple[int, int]] = {}
        self.scratch_number = 1 << 24

    def run(self) -> int:
        """To the end, or to the first failure."""
        position, committed = 0, False
        while position < len(self.entries):
            for storage in self.storages:
                storage.pass_barrier()
            entry = self.entries[position]
            if isinstance(entry, Call):
                position = self._region(position)
            elif isinstance(entry, Commit):
                committed, position = True, position + 1
            else:
                position = self._control(entry, position)
            if not committed and self.table.status[0]:
                return at.FAILED
        self._check_outputs()
        counter = self.table.counter
        if committed and counter is not None:
            counter.array[counter.index] += 1
        return at.FINISHED

    # --- kernels ------------------------------------------------------------------------------------------------------

    def _region(self, position: int) -> int:
        """Kernels that workers run without waiting for one another; the position behind them."""
        first = self.entries[position]
        assert isinstance(first, Call)
        if not first.everyone or self.executable.workers.count == 1:
            self._run(first, 0, 1)
            return position + 1
        calls = [first]
        for entry in self.entries[position + 1 :]:
            if not isinstance(entry, Call) or entry.barrier:
                break
            calls.append(entry)
        for worker in range(self.executable.workers.count):
            for call in calls:
                if call.everyone:
                    self._run(call, worker, self.executable.workers.count)
                elif worker == 0:
                    self._run(call, 0, 1)
        return position + len(calls)

    def _run(self, call: Call, worker: int, workers: int) -> None:
        kernel = self.bound.purposes.get(call)
        assert isinstance(kernel, Kernel), "timed steps have entries that are no kernels"
        source = self.executable.source.kernels[kernel]
        addresses = enumerate(map(int, call.buffers))
        buffers = [self._argument(kernel, source, number, address, worker) for number, address in addresses]
        texts.kernel_of(source.text)(buffers, [int(size) for size in call.dims], worker, workers)

    def _argument(self, kernel: Kernel, source: KernelSource, number: int, address: int, worker: int) -> Any:
        """What a kernel finds in its table of buffers."""
        argument = source.arguments[number]
        if isinstance(argument, MicroKernel):
            return texts.contraction_of(argument.name)
        if isinstance(argument, LibraryFunction):
            return LibraryCall(argument.name)
        if isinstance(argument, Status):
            storage = self._storage(address, 8 * at.STATUS_WORDS, "the status block")
            return Buffer("the status block", storage, 0, storage.size, holder=ANYTHING)
        if isinstance(argument, Scratch):
            return self._scratch(evaluate(argument.bytes, self.sizes), address, worker)
        name = f"argument {number} ({argument.described})"
        nbytes = evaluate(argument.type.bytes, self.sizes)
        if nbytes == 0:  # it lies in a blank, which may be read
            storage = self._storage(address, argument.dtype.itemsize, name)
            origin = address - storage.address
            return Buffer(name, storage, 0, storage.size, holder=ANYTHING, writable=False, origin=origin)
        storage = self._storage(address, nbytes, name)
        start = address - storage.address
        return Buffer(
            name,
            storage,
            start,
            start + nbytes,
            holder=self.executable.number_of(argument),
            worker=worker + 1,
            writable=argument in set(kernel.stored),  # by identity: == declares a node
        )

    def _scratch(self, nbytes: int, address: int, worker: int) -> Buffer:
        """A worker's part of a kernel's scratch; its pointers begin where that of the first worker does."""
        self.scratch_number += 1
        start = address + worker * nbytes
        storage = self._storage(start, nbytes, "scratch")
        origin, start = address - storage.address, start - storage.address
        return Buffer(
            f"scratch of worker {worker}",
            storage,
            start,
            start + nbytes,
            holder=self.scratch_number,
            worker=worker + 1,
            origin=origin,
            in_parts=True,
        )

    def _storage(self, address: int, nbytes: int, name: str) -> Storage:
        """Where some bytes lie."""
        if nbytes == 0:
            return Storage(address, 0, None)
        for storage in self.storages:
            if storage.has(address, nbytes):
                return storage
        raise fault(f"{name}: its {nbytes} bytes lie in nothing that the program owns")

    def _target(self, address: int, nbytes: int, name: str) -> Storage:
        """Where control writes some bytes."""
        storage = self._storage(address, nbytes, name)
        if storage in self.blanks:
            raise fault(f"{name}: its {nbytes} bytes lie where tensors without elements do, which nobody can write")
        return storage

    def _check_outputs(self) -> None:
        """Every output has been written, and nothing else since."""
        outputs = self.executable.schedule.graph.outputs
        for place, view in self.bound.outputs:
            tensor = outputs[place]
            start = view.ctypes.data - self.arena.address
            held = self.arena.holder[start : start + view.nbytes]
            wrong = np.flatnonzero((held != self.executable.number_of(tensor)) & (held != ANYTHING))
            if wrong.size:
                raise fault(f"output {place} ({tensor.described}): byte {wrong[0]} holds something else")

    # --- control ------------------------------------------------------------------------------------------------------

    def _control(self, entry: Entry, position: int) -> int:
        """Carry out an entry that is no call; the position to go on from."""
        flow = self.table.flow
        match entry:
            case Loop():
                for patch in entry.patches:
                    self.bases[patch] = _value(patch.base)
                return self._go_round(entry, position, 0, _value(entry.count))
            case EndLoop():
                opening = flow.opening[position]
                loop = self.entries[opening]
                assert isinstance(loop, Loop)
                done, count = self.iterations[opening]
                return self._go_round(loop, opening, done + 1, count)
            case Jump(label):
                return flow.labels[label]
            case JumpIfZero(flag, label, nbytes):
                (value,) = self._read(_value(flag), nbytes).view(f"uint{8 * nbytes}")
                return position + 1 if value else flow.labels[label]
            case Copy(to, source, nbytes):
                self._copy(_value(to), _value(source), _value(nbytes))
            case FillZero(to, nbytes):
                size = _value(nbytes)
                storage = self._target(_value(to), size, "what is set to zero")
                start = _value(to) - storage.address
                storage.elements("uint8")[start : start + size] = 0
                storage.holder[start : start + size] = ANYTHING
        return position + 1

    def _go_round(self, loop: Loop, opening: int, iteration: int, count: int) -> int:
        """Move what moves with an iteration, and begin it or leave."""
        self.iterations[opening] = iteration, count
        if loop.iteration is not None:
            loop.iteration.array[loop.iteration.index] = iteration
        for patch in loop.patches:
            offset = count - 1 - iteration if patch.reverse else iteration
            if patch.parity:
                offset &= 1
            patch.cell.array[patch.cell.index] = self.bases[patch] + offset * _value(patch.stride)
        return opening + 1 if iteration < count else self.table.flow.closing[opening] + 1

    def _read(self, address: int, nbytes: int) -> Array:
        storage = self._storage(address, nbytes, "what control reads")
        start = address - storage.address
        if (storage.holder[start : start + nbytes] == UNWRITTEN).any():
            raise fault(f"control reads {nbytes} bytes of which nobody has written some")
        return storage.elements("uint8")[start : start + nbytes]

    def _copy(self, to: int, source: int, nbytes: int) -> None:
        """Bytes, with what they hold."""
        self._read(source, nbytes)
        here, there = self._storage(source, nbytes, "what is copied"), self._target(to, nbytes, "a copy")
        first, target = source - here.address, to - there.address
        there.holder[target : target + nbytes] = here.holder[first : first + nbytes].copy()
        ctypes.memmove(to, source, nbytes)


def _value(operand: Operand) -> int:
    return operand.value if isinstance(operand, Cell) else operand


def _whole(array: Array) -> Array:
    """The array that another one is a part of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array

