"""Casts that change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ops.elementwise import cast
from graphc.passes.rules.registry import Example, made_by, rule, sample


@rule("cast", example=lambda: Example(cast.make(sample(), dtype=np.dtype("float32")), {}))
def drop_cast_to_same(node: Node) -> Tensor | None:
    """cast(x, dtype of x) -> x"""
    return node.inputs[0] if node.inputs[0].dtype == node.result.dtype else None


@rule("cast", example=lambda: Example(cast(cast(sample(), "float64"), "float32"), {}))
def drop_widening_cast(node: Node) -> Tensor | None:
    """cast(cast(x, wider), dtype) -> cast(x, dtype) where the wider dtype holds every value of x"""
    inner = made_by(node.inputs[0], "cast")
    if inner is None or not _holds(inner.result.dtype, inner.inputs[0].dtype):
        return None
    narrow, wide, target = inner.inputs[0].dtype, inner.result.dtype, node.result.dtype
    if narrow.kind in "iu" and wide.kind == "f" and target.kind in "iu" and not _holds(target, narrow):
        return None  # integers keep their low bits, floats that are out of range do not
    return cast(inner.inputs[0], target)


def _holds(wide: np.dtype[Any], narrow: np.dtype[Any]) -> bool:
    """Whether every value of one dtype is a value of the other; NumPy calls int64 to float64 safe, but it rounds."""
    rounds = narrow.kind in "iu" and wide.kind == "f" and narrow.itemsize >= wide.itemsize
    return bool(np.can_cast(narrow, wide, "safe")) and not rounds
