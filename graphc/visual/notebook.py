"""Tensors show themselves as their graph in notebooks."""

from __future__ import annotations

from graphc.errors import GraphcError
from graphc.ir.node import Tensor


def _tensor_svg(tensor: Tensor) -> str | None:
    from graphc.visual.graphs import draw

    try:
        return draw(tensor).svg()
    except GraphcError:  # too large, or no renderer: the notebook then shows the tensor's repr
        return None


def install() -> None:
    """Give tensors ``_repr_svg_``."""
    Tensor._repr_svg_ = _tensor_svg  # type: ignore[attr-defined]
