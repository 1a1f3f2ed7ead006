"""Schedule -> Source: the text of every kernel, for one target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.codegen.source import KernelSource
from graphc.schedule.kernel import Kernel
from graphc.schedule.schedule import Schedule


@dataclass(frozen=True, eq=False)
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
    from graphc.codegen.cpu.printer import emit as emit_kernel

    return Source(schedule, {kernel: emit_kernel(kernel) for kernel in schedule.kernels()})
