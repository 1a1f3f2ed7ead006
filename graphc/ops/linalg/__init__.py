"""Linear algebra: the extension ``linalg`` of the Python array API standard, and a few functions more.

========================================  =============================================================
:mod:`~graphc.ops.linalg.systems`         solve, solve_triangular, inv, det, slogdet
:mod:`~graphc.ops.linalg.decompositions`  cholesky, qr, eigh, svd
:mod:`~graphc.ops.linalg.functions`       eigvalsh, svdvals, pinv, matrix_rank, matrix_power, cond, diagonal, trace
========================================  =============================================================

Matrices are the last two axes; the axes before them are a batch, which workers share out. Every matrix goes to LAPACK,
whole. Sizes of batches and of matrices may be named dims. Integers become float32. Products and norms are those of the
main namespace; ``diagonal`` and ``trace`` differ from it, whose axes are NumPy's, the first two.
"""

from graphc.errors import LinAlgError
from graphc.ir import callers
from graphc.ir.op import REGISTRY
from graphc.ops.contractions import matmul, outer, tensordot, vecdot
from graphc.ops.linalg.decompositions import cholesky, eigh, qr, svd
from graphc.ops.linalg.functions import (
    cond,
    diagonal,
    eigvalsh,
    matrix_power,
    matrix_rank,
    pinv,
    svdvals,
    trace,
)
from graphc.ops.linalg.systems import det, inv, slogdet, solve, solve_triangular
from graphc.ops.norms import matrix_norm, vector_norm
from graphc.ops.products import cross
from graphc.ops.shaping import matrix_transpose

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "solve_triangular",
    "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip

callers.know({name: globals()[name] for name in __all__ if name != "LinAlgError"}, heads=REGISTRY)
