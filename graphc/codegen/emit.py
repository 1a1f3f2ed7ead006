"""Schedule -> Source: the text of every kernel, for one target.

Kernels of one structure (:mod:`graphc.codegen.structure`) are printed once; the others take the first one's text, with
their own tensors, nodes and random streams in the places of its own. So a network's printing grows with its distinct
kernels, not with its layers. Texts that then differ in sizes alone become one
(:mod:`graphc.codegen.cpu.sharing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphc.codegen.source import KernelSource
from graphc.codegen.structure import Structure, structure_of
from graphc.ir.node import Tensor
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
    """Print all kernels of a schedule for the CPU."""
    from graphc.codegen.cpu.sharing import with_shared_texts

    return Source(schedule, with_shared_texts(printed(schedule)))


def printed(schedule: Schedule) -> dict[Kernel, KernelSource]:
    """All kernels of a schedule, each as the printer prints it."""
    from graphc.codegen.cpu.printer import emit as emit_kernel

    known: dict[tuple[Any, ...], tuple[Structure, KernelSource]] = {}
    kernels: dict[Kernel, KernelSource] = {}
    for kernel in schedule.kernels():
        own = structure_of(kernel)
        first = known.get(own.key)
        if first is None:
            kernels[kernel] = emit_kernel(kernel)
            known[own.key] = own, kernels[kernel]
        else:
            kernels[kernel] = _transferred(*first, own)
    return kernels


def _transferred(first: Structure, source: KernelSource, own: Structure) -> KernelSource:
    """What was printed for one kernel, for another of the same structure."""
    tensors = dict(zip(first.tensors, own.tensors, strict=True))
    streams = dict(zip(first.streams, own.streams, strict=True))
    return replace(
        source,
        arguments=tuple([tensors[entry] if isinstance(entry, Tensor) else entry for entry in source.arguments]),
        sizes=tuple([streams[entry] if isinstance(entry, int) else entry for entry in source.sizes]),
        nodes=own.nodes,
    )
