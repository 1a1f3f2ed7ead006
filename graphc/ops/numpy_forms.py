"""NumPy's functions whose arguments differ from graphc's function of the same name, in NumPy's form.

``np.sort(tensor)`` arrives here with the arguments that NumPy documents. The table at the end names them as NumPy does,
those of ``np.linalg`` with ``linalg.`` in front.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphError
from graphc.ir.node import Tensor
from graphc.ir.types import one_or_more
from graphc.ops import composite, linalg, products, reductions, rows
from graphc.ops.base import as_tensor
from graphc.ops.contractions import outer as outer_of_vectors
from graphc.ops.norms import matrix_norm, vector_norm
from graphc.ops.running import cumulative_prod
from graphc.ops.shaping import moveaxis
from graphc.ops.views import reshape


def _flat(x: Any) -> Tensor:
    return reshape(as_tensor(x), (-1,))


def einsum(subscripts: str, *operands: Any, optimize: Any = True) -> Tensor:
    """``np.einsum``; the order of multiplying is chosen whatever ``optimize`` says."""
    return products.einsum(subscripts, *operands)


def outer(a: Any, b: Any) -> Tensor:
    """``np.outer``, which takes operands of any rank as flat."""
    return outer_of_vectors(_flat(a), _flat(b))


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """``np.cross`` of vectors of three elements."""
    if axis is not None:
        axisa = axisb = axisc = axis
    moved = products.cross(moveaxis(a, axisa, -1), moveaxis(b, axisb, -1), -1)
    return moveaxis(moved, -1, axisc)


def var(a: Any, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False, **kw: Any) -> Tensor:
    """``np.var``; ``correction`` is the standard's name of ``ddof``."""
    return composite.var(as_tensor(a, dtype), axis, keepdims, kw.pop("correction", ddof), **kw)


def std(a: Any, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False, **kw: Any) -> Tensor:
    """``np.std``."""
    return composite.std(as_tensor(a, dtype), axis, keepdims, kw.pop("correction", ddof), **kw)


def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """``np.cumsum``, of all elements without ``axis``."""
    return reductions.cumulative_sum(_flat(a) if axis is None else a, axis, dtype)


def cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """``np.cumprod``, of all elements without ``axis``."""
    return cumulative_prod(_flat(a) if axis is None else a, axis, dtype)


def sort(a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Tensor:
    """``np.sort``; graphc's order is stable, which is within what every ``kind`` promises."""
    return rows.sort(_flat(a) if axis is None else a, -1 if axis is None else axis)


def argsort(a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Tensor:
    """``np.argsort``, always stable."""
    return rows.argsort(_flat(a) if axis is None else a, -1 if axis is None else axis)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """``np.linalg.norm``: of vectors along one axis, of matrices along two; of all elements without both arguments.

    Raises
    ------
    GraphError
        If ``axis`` names more than two axes, or is missing for an ``ord`` and a tensor of more than two.
    """
    x = as_tensor(x)
    if axis is None and ord is None:
        return vector_norm(x, None, keepdims)
    axes = tuple(range(x.ndim)) if axis is None else one_or_more(axis)
    if len(axes) == 1:
        return vector_norm(x, axes, keepdims, 2 if ord is None else ord)
    if len(axes) != 2:
        raise GraphError(f"norm: expected one or two axes for ord={ord!r}, got {axis} of {x.type}", operands=(x,))
    result = matrix_norm(moveaxis(x, axes, (-2, -1)), True, "fro" if ord is None else ord)
    kept = moveaxis(result, (-2, -1), axes)
    return kept if keepdims else reshape(result, result.shape[:-2])


FORMS: dict[str, Any] = {
    "einsum": einsum, "outer": outer, "cross": cross, "var": var, "std": std, "cumsum": cumsum, "cumprod": cumprod,
    "sort": sort, "argsort": argsort, "linalg.norm": norm, "linalg.outer": outer_of_vectors,
}  # fmt: skip
"""NumPy's name of a function -> the function."""

for _name in (
    "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matrix_power", "matrix_rank", "pinv",
    "qr", "slogdet", "solve", "svd", "svdvals", "trace",
):  # fmt: skip
    FORMS[f"linalg.{_name}"] = getattr(linalg, _name)
