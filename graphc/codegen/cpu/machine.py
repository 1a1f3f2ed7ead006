"""The processor that kernels are compiled for, as LLVM describes it.

Kernels are compiled for this very machine: its CPU name and its features go to the code generator,
into the cache key, and decide how many lanes a vector has.  ``NUMBA_CPU_NAME`` and
``NUMBA_CPU_FEATURES`` override what LLVM finds, as they do for Numba itself: a cluster of mixed
machines can thus agree on one common target.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from graphc import config


class Machine(NamedTuple):
    """A compilation target.

    Attributes
    ----------
    triple : str
        LLVM's target triple.
    cpu : str
        LLVM's name of the processor.
    features : str
        Comma-separated features, each with ``+`` or ``-`` before it.
    vector_bytes : int
        Width of one vector register, bytes.
    vector_registers : int
        How many vector registers there are.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int

    @property
    def scales(self) -> bool:
        """Whether one instruction multiplies a vector by powers of two."""
        return "+avx512f" in self.features.split(",")

    @property
    def has_masks(self) -> bool:
        """Whether loads of single lanes cost no more than whole ones, as with AVX-512's mask registers."""
        return self.vector_bytes == 64

    @property
    def datapath_bytes(self) -> int:
        """How much of a vector one multiply-add computes at once: the rest comes a cycle later."""
        return min(self.vector_bytes, _NARROW_DATAPATHS.get(self.cpu, self.vector_bytes))

    def lanes(self, dtype: str) -> int:
        """Elements of `dtype` (``"float32"`` or ``"float64"``) in one vector register."""
        return self.vector_bytes // {"float32": 4, "float64": 8}[dtype]


_NARROW_DATAPATHS = {"znver4": 32}
"""Processors with wider vectors than multipliers, by LLVM's name; LLVM does not tell."""


def _vector_unit(triple: str, features: str) -> tuple[int, int]:
    """(bytes of a vector register, number of them) for a target."""
    enabled = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if triple.startswith(("aarch64", "arm64")):
        return 16, 32
    if "avx512f" in enabled:
        return 64, 32
    if "avx2" in enabled and "fma" in enabled:
        return 32, 16
    return 16, 16


@cache
def host() -> Machine:
    """The machine that this process compiles for; found once."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    cpu = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        try:
            features = llvm.get_host_cpu_features().flatten()
        except RuntimeError:  # LLVM cannot tell on this platform: the name alone decides
            features = ""
    return Machine(triple, cpu, features, *_vector_unit(triple, features))


@cache
def processors() -> int:
    """How many processors this process may use, found once: into how many parts, at least, work is cut."""
    return config.available_processors()


def target_machine() -> Any:
    """A new LLVM target machine for the host.

    Position-independent code: an object may land anywhere in memory, far from the C library whose
    functions it calls, and its constants are addressed relative to the code.
    """
    machine = host()
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=3, reloc="pic", codemodel="small", jit=True
    )
