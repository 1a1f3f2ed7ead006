"""Kernels built by hand: what they are made of, and how they are printed, compiled and run."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from graphc.codegen.cpu import contraction, jit
from graphc.codegen.cpu.printer import emit
from graphc.codegen.source import KernelId, MicroKernel, Scratch, Status
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Value, evaluate, of_atom
from graphc.schedule.kernel import Kernel

Array = np.ndarray[Any, Any]
GUARD = 64
KERNEL_NUMBER = 7
rng = np.random.default_rng(0)
F32 = np.dtype("float32")


def tensor(shape: Any, dtype: Any = "float32", name: str = "t") -> Tensor:
    """A new symbolic tensor."""
    return REGISTRY["placeholder"](name, shape, dtype)


def at(source: Tensor, *axes: Any) -> Load:
    """An element at loop variables, numbers or expressions."""
    return Load(source, tuple(of_atom(axis) if isinstance(axis, (Axis, Value)) else axis for axis in axes))


class Run:
    """A kernel, ready to be run; every result lies between guard bytes."""

    def __init__(self, kernel: Kernel, values: dict[Tensor, Array], names: dict[str, int]):
        self.kernel, self.values, self.names = kernel, values, names
        self.source = emit(kernel)
        (self.address,) = jit.load([self.source.text])
        self.status = np.zeros(4, "int64")

    def __call__(self, workers: int = 1, in_place: dict[Tensor, Array] | None = None) -> list[Array]:
        """Run all workers, one after another; ``in_place`` gives results an array to be written over."""
        source, results, kept = self.source, {}, []
        words = []
        for argument in source.arguments:
            if isinstance(argument, MicroKernel):
                words.append(contraction.address(argument.name))
                continue
            if isinstance(argument, Status):
                array = self.status
            elif isinstance(argument, Scratch):
                array = _aligned(evaluate(argument.bytes, self.names) * workers)
            elif in_place is not None and argument in in_place:
                array = results[argument] = in_place[argument]
            elif argument in self.values:
                array = np.ascontiguousarray(self.values[argument], argument.dtype)
            else:
                shape = tuple(evaluate(size, self.names) for size in argument.shape)
                nbytes = int(np.prod(shape, dtype=int)) * argument.dtype.itemsize
                raw = np.full(nbytes + 2 * GUARD, 0xAB, "uint8")
                array = raw[GUARD : GUARD + nbytes].view(argument.dtype).reshape(shape)
                results[argument] = array
                kept.append((raw, nbytes))
            kept.append((array, None))
            words.append(array.ctypes.data)
        sizes = [KERNEL_NUMBER if isinstance(s, KernelId) else evaluate(s, self.names) for s in source.sizes]
        buffers, dims = np.array(words or [0], "int64"), np.array(sizes or [0], "int64")
        word = ctypes.c_int64
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, word, word)(self.address)
        for worker in reversed(range(workers)):
            call(buffers.ctypes.data, dims.ctypes.data, worker, workers)
        for raw, nbytes in kept:
            if nbytes is not None:
                outside = np.concatenate([raw[:GUARD], raw[GUARD + nbytes :]])
                assert (outside == 0xAB).all(), "bytes outside of a result are touched"
        return [results[stored] for stored in self.kernel.stored]


def _aligned(nbytes: int) -> Array:
    raw = np.zeros(nbytes + 64, "uint8")
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def run(kernel: Kernel, values: dict[Tensor, Array], **names: int) -> list[Array]:
    """Stored results; equal in every bit for one, two and five workers."""
    ready = Run(kernel, values, names)
    one = ready(1)
    for workers in (2, 5):
        for expected, got in zip(one, ready(workers), strict=True):
            assert expected.tobytes() == got.tobytes()
    assert ready.status[0] == 0
    return one


def numbers(shape: Any, dtype: Any = "float32") -> Array:
    """Random values that suit a dtype."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(size=shape).astype(kind)
    return rng.integers(0 if kind.kind in "ub" else -9, 2 if kind.kind == "b" else 10, size=shape).astype(kind)
