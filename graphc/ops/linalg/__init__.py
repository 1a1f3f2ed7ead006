"""Linear algebra: the extension ``linalg`` of the Python array API standard, and a few functions more.

========================================  =============================================================
:mod:`~graphc.ops.linalg.systems`         solve, solve_triangular, inv, det, slogdet
:mod:`~graphc.ops.linalg.decompositions`  cholesky, qr, eigh, svd
:mod:`~graphc.ops.linalg.functions`       eigvalsh, svdvals, pinv, matrix_rank, matrix_power, norms, cond
========================================  =============================================================

Matrices are the last two axes; the axes before them are a batch, which workers share out. Every matrix goes to LAPACK,
whole. Sizes of batches and of matrices may be named dims. Integers become float32.
"""

from graphc.errors import LinAlgError
from graphc.ops.contractions import matmul, outer, tensordot, vecdot
from graphc.ops.linalg.decompositions import cholesky, eigh, qr, svd
from graphc.ops.linalg.functions import (
    cond,
    eigvalsh,
    matrix_norm,
    matrix_power,
    matrix_rank,
    pinv,
    svdvals,
    vector_norm,
)
from graphc.ops.linalg.systems import det, inv, slogdet, solve, solve_triangular
from graphc.ops.shaping import matrix_transpose

__all__ = [
    "LinAlgError", "cholesky", "cond", "det", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals",
    "tensordot", "vecdot", "vector_norm",
]  # fmt: skip
