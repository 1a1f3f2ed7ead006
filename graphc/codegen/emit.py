"""Schedule -> Source: the text of every kernel, for one target.

Kernels of one structure (:mod:`graphc.codegen.structure`) are printed once; each then takes what was printed, with its
own tensors, nodes and random streams. So a network's printing grows with its distinct kernels, not with its layers.
Texts that differ in sizes alone become one (:mod:`graphc.codegen.cpu.sharing`). What was printed is kept on disk, and a
program of the same structures is not printed again (:mod:`graphc.codegen.cpu.texts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc import config
from graphc.codegen.source import KernelSource, Printed
from graphc.codegen.structure import Structure, structure_of
from graphc.errors import CompileError
from graphc.ir.record import record
from graphc.schedule.kernel import Kernel
from graphc.schedule.schedule import Schedule


@record
class Source:
    """A program's kernels as text.

    Attributes
    ----------
    schedule : Schedule
    kernels : mapping of Kernel to KernelSource
        Equal kernels have equal texts.
    """

    schedule: Schedule
    kernels: Mapping[Kernel, KernelSource]

    @property
    def texts(self) -> tuple[str, ...]:
        """The distinct texts, in order of first use."""
        return tuple(dict.fromkeys(source.text for source in self.kernels.values()))


def emit(schedule: Schedule) -> Source:
    """Print all kernels of a schedule for the CPU, or find what was printed for a schedule of the same structures.

    Raises
    ------
    CompileError
        If the IR is to be verified and what was found is not what is printed.
    """
    from graphc.codegen.cpu import texts

    structures = {kernel: structure_of(kernel) for kernel in schedule.kernels()}
    firsts: dict[tuple[Any, ...], Kernel] = {}
    for kernel, structure in structures.items():
        firsts.setdefault(structure.key, kernel)
    keys = tuple(firsts)
    kept = texts.load(keys)
    if kept is None or config.current().verify:
        printed = _print([(kernel, structures[kernel]) for kernel in firsts.values()])
        if kept is None:
            texts.store(keys, printed)
        elif kept != printed:
            raise CompileError(
                "what was printed for kernels of these structures, and kept on disk, is not what is printed now",
                hint="run: graphc cache clear; it may be of a process that ran while graphc's files changed",
            )
    else:
        printed = kept
    found = dict(zip(keys, printed, strict=True))
    return Source(schedule, {kernel: own.named(found[own.key]) for kernel, own in structures.items()})


def _print(kernels: Sequence[tuple[Kernel, Structure]]) -> list[Printed]:
    """What holds for all kernels of each structure, printed for one of them."""
    from graphc.codegen.cpu.printer import emit as print_kernel
    from graphc.codegen.cpu.sharing import with_shared_texts

    return with_shared_texts([structure.numbered(print_kernel(kernel)) for kernel, structure in kernels])
