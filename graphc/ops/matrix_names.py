"""Functions of ``linalg`` in the array API standard that are no linear algebra proper: products, norms, diagonals.

Those of :data:`__all__` that are also functions of the main namespace are the same, except ``diagonal`` and ``trace``,
which NumPy takes along the first two axes, the standard along the last two.
"""

from __future__ import annotations

from typing import Any

from graphc.ir.node import Tensor
from graphc.ops import diagonals
from graphc.ops.contractions import matmul, outer, tensordot, vecdot
from graphc.ops.norms import matrix_norm, vector_norm
from graphc.ops.products import cross
from graphc.ops.shaping import matrix_transpose

__all__ = [
    "cross", "diagonal", "matmul", "matrix_norm", "matrix_transpose", "outer", "tensordot", "trace", "vecdot",
    "vector_norm",
]  # fmt: skip


def diagonal(x: Any, offset: int = 0) -> Tensor:
    """The diagonal of matrices, the last two axes; see :func:`graphc.diagonal`."""
    return diagonals.diagonal(x, offset, -2, -1)


def trace(x: Any, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the diagonal of matrices, the last two axes; see :func:`graphc.trace`."""
    return diagonals.trace(x, offset, -2, -1, dtype)
