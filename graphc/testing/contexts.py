"""Graphs for the ops that no sample can call alone: sources, effects, loops, and what stands for a derivative.

Each function declares a small graph in which its op occurs; the harness treats it like a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc import random
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ops import samples
from graphc.ops.conditional import cond
from graphc.ops.control import scan
from graphc.ops.derivatives import custom_gradient, gradients, jacobian
from graphc.ops.sizes import size_of
from graphc.ops.while_loops import while_loop

Declared = tuple[Sequence[Tensor], Sequence[Tensor]]
Context = Callable[[np.dtype[Any]], tuple[Declared, Sequence[np.ndarray[Any, Any]]]]
"""From a float dtype to placeholders, outputs, and arrays to feed."""

CONTEXTS: dict[str, Context] = {}
SMOOTH: set[str] = set()
"""Contexts whose derivatives are checked."""


def _context(*names: str, smooth: bool = False) -> Callable[[Context], Context]:
    def keep(function: Context) -> Context:
        for name in names:
            CONTEXTS[name] = function
            if smooth:
                SMOOTH.add(name)
        return function

    return keep


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Standard normal float64 values."""
    return samples.normal(*shape, seed=seed).array


def _placeholder(name: str, array: np.ndarray[Any, Any], dtype: Any) -> Any:
    return REGISTRY["placeholder"](name, array.shape, dtype)


@_context("placeholder", "variable", "constant", "assign")
def _update(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """A step that reads a variable and writes it."""
    value = normal(2, 3)
    x = _placeholder("x", value, dtype)
    kept = REGISTRY["variable"](normal(2, 3, seed=1).astype(dtype))
    shifted = REGISTRY["constant"](normal(3, seed=2), dtype)
    update = REGISTRY["assign"](kept, kept + x * shifted)
    return ([x], [kept * x, update]), [value.astype(dtype)]


@_context("random_state", "random_bits")
def _noise(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """Random numbers, two draws that must differ."""
    value = normal(3, 5)
    x = _placeholder("x", value, dtype)
    first, second = (random.uniform(x.shape, dtype=dtype) for _ in range(2))
    return ([x], [x + first, second]), [value.astype(dtype)]


@_context("dim_size")
def _size(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """A size that is known only when the program runs, as a value."""
    value = normal(2, 5)
    x = REGISTRY["placeholder"]("x", (2, "n"), dtype)
    return ([x], [size_of(x, 1), REGISTRY["add"](size_of(x), 1)]), [value.astype(dtype)]


@_context("scan_loop", "parameter", smooth=True)
def _loop(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """A recurrence with a carry, slices, a captured matrix, and outputs of all iterations."""
    start, inputs, matrix = normal(2, 3), normal(4, 2, 3, seed=1), normal(3, 3, seed=2) / 2
    h, xs, w = _placeholder("h", start, dtype), _placeholder("xs", inputs, dtype), _placeholder("w", matrix, dtype)

    def step(carry: Any, x: Any) -> tuple[Tensor, Tensor]:
        carry = REGISTRY["tanh"](carry @ w + x)
        return carry, carry * x

    last, ys = scan(step, h, xs)
    return ([h, xs, w], [last, ys]), [array.astype(dtype) for array in (start, inputs, matrix)]


@_context("cond", smooth=True)
def _choice(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """Two choices, one to each side, with operands and a tensor from outside."""
    value, matrix = normal(2, 3), normal(3, 3, seed=1)
    x, w = _placeholder("x", value, dtype), _placeholder("w", matrix, dtype)
    outputs = []
    for condition in (x.sum() < 100, x.sum() > 100):
        outputs += cond(condition, lambda a: (REGISTRY["tanh"](a) @ w, a), lambda a: (a @ w * a, a * 2), x)
    return ([x, w], outputs), [array.astype(dtype) for array in (value, matrix)]


@_context("while_loop", smooth=True)
def _open_loop(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """A loop that ends by its condition, one that ends at its bound, and one that does nothing."""
    start, matrix = normal(2, 3), normal(3, 3, seed=1) / 2
    h, w = _placeholder("h", start, dtype), _placeholder("w", matrix, dtype)

    def step(carry: Any) -> Any:
        return carry[0] + 1, REGISTRY["tanh"](carry[1] @ w) + h

    def below(most: int) -> Callable[[Any], Tensor]:
        return lambda carry: carry[0] < most

    outputs: list[Tensor] = []
    for most in (3, 100, 0):
        outputs += while_loop(below(most), step, (0, h * w[0]), max_iterations=5)
    return ([h, w], outputs), [array.astype(dtype) for array in (start, matrix)]


@_context("gradient", smooth=True)
def _derivative(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """A derivative as a value; its own derivatives are of third order by then."""
    value = normal(2, 3)
    x = _placeholder("x", value, dtype)
    return ([x], [gradients((REGISTRY["tanh"](x) * x).sum(), x)]), [value.astype(dtype)]


@_context("jacobian_rows", smooth=True)
def _rows(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """All partial derivatives of a vector by a vector."""
    value = normal(3)
    x = _placeholder("x", value, dtype)
    return ([x], [jacobian(REGISTRY["tanh"](x) * x.sum(), x)]), [value.astype(dtype)]


@_context("custom_call", smooth=True)
def _custom(dtype: np.dtype[Any]) -> tuple[Declared, Sequence[np.ndarray[Any, Any]]]:
    """A function with its derivative written by hand."""

    def rule(inputs: Any, outputs: Any, cotangents: Any) -> Any:
        return (cotangents[0] * (1 - outputs[0] * outputs[0]),)

    value = normal(2, 3)
    x = _placeholder("x", value, dtype)
    return ([x], [custom_gradient(REGISTRY["tanh"], vjp=rule)(x) * x]), [value.astype(dtype)]
