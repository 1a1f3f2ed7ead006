"""What a printer makes of a kernel: source text, and what has to be passed to it.

The text is a function of the kernel's structure, and of which sizes differ from those of its program's kernels that are
else the same.  It holds no name and no line of the user's and numbers everything in order of use, so that the kernels
of like layers are one text, compiled once.  What differs between them (which tensor is which argument, which dim or
number is which size, which of the user's lines a line of text comes from) stays outside it, in the other fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from graphc.ir.node import Node, Tensor
from graphc.ir.origin import Origin
from graphc.ir.symbolic import Size

INDEX_OUT_OF_RANGE = 1
"""Failure code of an index that is data; the status block then holds (code, kernel, size of the axis, the index)."""


NO_RESULT = 2
"""Failure code of a routine that refuses a matrix; the block then holds (code, kernel, number of the matrix in the
batch, what the routine says)."""


@dataclass(frozen=True)
class Status:
    """Argument: the address of the status block, int64[4]."""


@dataclass(frozen=True)
class Scratch:
    """Argument: the address of memory that the kernel uses while it runs, 64-byte aligned.

    Attributes
    ----------
    bytes : int or Dim
        What one worker uses; the caller provides this times the number of workers.
    """

    bytes: Size


@dataclass(frozen=True)
class MicroKernel:
    """Argument: the address of a compiled contraction, which the kernel calls.

    Attributes
    ----------
    name : str
        As :func:`graphc.codegen.cpu.contraction.address` takes it: ``"float32"``, ``"float64_dots2"``.
    """

    name: str


@dataclass(frozen=True)
class LibraryFunction:
    """Argument: the address of a function of LAPACK or BLAS, which the kernel calls.

    Attributes
    ----------
    name : str
        As :func:`graphc.codegen.cpu.library.address` takes it: ``"dgetrf"``.
    """

    name: str


@dataclass(frozen=True)
class KernelId:
    """Size: the number by which the program knows this kernel, for failure reports."""


Argument = Tensor | Status | Scratch | MicroKernel | LibraryFunction
RuntimeSize = Size | KernelId


@dataclass(frozen=True)
class KernelSource:
    """An emitted kernel.

    Attributes
    ----------
    text : str
        A Python module that defines ``kernel(buffers, dims, worker, workers)``.
    arguments : tuple of Tensor, Status, Scratch, MicroKernel or LibraryFunction
        Whose address each word of ``buffers`` is.
    sizes : tuple of int, Dim or KernelId
        What each word of ``dims`` holds.
    nodes : tuple of Node
        The graph nodes that the kernel computes.
    places : mapping of int to tuple of int
        Number of a line of ``text``, from 1 -> places in ``nodes`` of those it was written for.
    """

    text: str
    arguments: tuple[Argument, ...]
    sizes: tuple[RuntimeSize, ...]
    nodes: tuple[Node, ...] = field(default=(), repr=False)
    places: Mapping[int, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @cached_property
    def lines(self) -> dict[int, tuple[Origin, ...]]:
        """Number of a line of ``text``, from 1 -> the user's lines that it comes from, each once."""
        found = {}
        for number, places in self.places.items():
            origins = (origin for place in places for origin in self.nodes[place].origins)
            found[number] = tuple(dict.fromkeys(origins))
        return found


@dataclass(frozen=True)
class Numbered:
    """What kernels of one structure have each for itself: a tensor among arguments, a random stream among sizes.

    Attributes
    ----------
    number : int
        Its place in the ``tensors`` or ``streams`` of a :class:`~graphc.codegen.structure.Structure`.
    """

    number: int


class Printed(NamedTuple):
    """What is printed for all kernels of a structure; the attributes are those of :class:`KernelSource`."""

    text: str
    arguments: tuple[Argument | Numbered, ...]
    sizes: tuple[RuntimeSize | Numbered, ...]
    places: Mapping[int, tuple[int, ...]] = MappingProxyType({})
