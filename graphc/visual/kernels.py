"""What a picture says of kernels: which one computes a node, and how long it took."""

from __future__ import annotations

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect
from graphc.ir.printer import format_bytes
from graphc.profile.report import KernelProfile, Profile
from graphc.schedule.schedule import Schedule


class Kernels:
    """The kernels of a graph's nodes.

    Parameters
    ----------
    schedule : Schedule, optional
        Of the graph; without it no node is in a kernel.
    profile : Profile, optional
        Of a step of that schedule.

    Attributes
    ----------
    of : dict of Node to int
        The first kernel that computes each node.
    stored : set of Tensor
        Tensors that kernels store for others to read.
    """

    def __init__(self, schedule: Schedule | None = None, profile: Profile | None = None):
        self.of: dict[Node, int] = {}
        self.stored: set[Tensor] = set()
        for number, kernel in enumerate(schedule.kernels() if schedule is not None else ()):
            self.stored.update(kernel.stored)
            for node in kernel.nodes:
                self.of.setdefault(node, number)
        measured = profile.kernels if profile is not None else ()
        self._times: dict[int, KernelProfile] = {
            kernel.number: kernel for kernel in measured if kernel.number is not None
        }
        self._total = profile.kernels_us if profile is not None else 0.0

    def time(self, number: int) -> str:
        """``12.3 us, 34 % of all kernels``; empty where nothing was measured."""
        kernel = self._times.get(number)
        if kernel is None:
            return ""
        share = f", {kernel.time_us / self._total:.0%} of all kernels" if self._total else ""
        calls = f" in {kernel.calls} calls" if kernel.calls != 1 else ""
        return f"{kernel.time_us:.1f} us{calls}{share}"

    def title(self, number: int) -> str:
        """The name of a kernel's box."""
        time = self.time(number)
        return f"kernel {number}" + (f": {time}" if time else "")

    def passage(self, tensor: Tensor, node: Node) -> tuple[str, str]:
        """How a node gets a tensor: ``"memory"``, ``"registers"`` or ``"recomputed"``, and words for the edge."""
        own, other = self.of.get(tensor.node), self.of.get(node)
        if own == other and own is not None:
            return "registers", ""
        if own is None or other is None or tensor in self.stored or isinstance(tensor.node.op, Effect):
            return "memory", format_bytes(tensor.type.bytes)
        return "recomputed", "recomputed"
