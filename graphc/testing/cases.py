"""Cases that the harness makes out of an op's samples.

A sample fixes values and shapes. From it come, without a word from the op's author: other dtypes, named dims in place
of sizes, other lengths, arrays that are not contiguous, and grids of special values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY, MatrixRoutine, Op, Sample
from graphc.ir.types import Shape
from graphc.ops.base import Elementwise

Array = NDArray[Any]

DIM = "n"
"""The named dim that stands for a size of a sample."""

LENGTHS = (0, 1, 2, 15, 16, 17, 63, 64, 65, 257)
"""Around the lanes of vectors (4 to 16) and the sides of tiles (up to 64), and one past many of both."""


@dataclass(frozen=True, eq=False)
class Case:
    """An op applied to placeholders, and arrays to feed them.

    Attributes
    ----------
    op : Op
    arrays : tuple of ndarray
    attributes : mapping
        Of the op's public call.
    shapes : tuple of shapes
        Declared; those of the arrays unless sizes are named.
    differentiable : bool
    """

    op: Op
    arrays: tuple[Array, ...]
    attributes: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    differentiable: bool = True
    _declared: dict[str, Any] = field(default_factory=dict)

    def declare(self) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Placeholders for the arrays, and the op's results on them; declared once."""
        if not self._declared:
            placeholder = REGISTRY["placeholder"]
            pairs = enumerate(zip(self.arrays, self.shapes, strict=True))
            inputs = [placeholder(f"x{place}", shape, array.dtype) for place, (array, shape) in pairs]
            made = self.apply(*inputs)
            self._declared["inputs"] = inputs
            self._declared["outputs"] = made if isinstance(made, tuple) else (made,)
        return self._declared["inputs"], self._declared["outputs"]

    def apply(self, *inputs: Tensor) -> Any:
        """The op's results on tensors; routines of linear algebra have a trial of their own."""
        called = self.op.trial if isinstance(self.op, MatrixRoutine) else self.op
        return called(*inputs, **self.attributes)

    def __str__(self) -> str:
        shown = ", ".join(f"{a.dtype}[{', '.join(map(str, s))}]" for a, s in zip(self.arrays, self.shapes, strict=True))
        return f"{self.op.name}({shown}{''.join(f', {k}={v}' for k, v in self.attributes.items())})"


def static_case(op: Op, sample: Sample, dtype: str | None) -> Case:
    """The sample itself, its floats cast to a dtype."""
    arrays = tuple(as_dtype(array, dtype) for array in sample.inputs)
    return Case(op, arrays, sample.attributes, tuple(array.shape for array in arrays), sample.differentiable)


def as_dtype(array: Array, dtype: str | None) -> Array:
    """A sample's array as a dtype; integers and bools keep theirs."""
    if array.dtype.kind != "f" or dtype is None:
        return array
    if dtype.startswith("uint"):
        array = np.abs(array)
    if dtype == "bool":
        return array > 0
    if "int" in dtype:
        array = np.nan_to_num(array)
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def named_cases(case: Case) -> list[Case]:
    """For each size that occurs in the inputs, the same call with that size named; calls that refuse it are left out.

    Axes of one size get one name, in an attribute ``shape`` too: samples have unequal dims, so equal sizes are the same
    dim.
    """
    return [named for size in _sizes(case) if (named := _with_size(case, size, DIM)) is not None]


def shrunk_cases(case: Case) -> list[Case]:
    """For each size that occurs in the inputs, the same call with that size 0, and with 1, unless it refuses."""
    declared = [_with_size(case, size, small) for size in _sizes(case) for small in (0, 1)]
    return [
        replace(small, arrays=tuple(_drawn(array, s) for array, s in zip(case.arrays, small.shapes, strict=True)))
        for small in declared
        if small is not None
    ]


def _sizes(case: Case) -> list[int]:
    return sorted({size for array in case.arrays for size in array.shape if size > 1})


def _with_size(case: Case, old: int, new: int | str) -> Case | None:
    """A call with other declared sizes, its arrays not yet changed; None where the op refuses them."""

    def changed(shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(new if size == old else size for size in shape)

    attributes = {
        name: changed(value) if name == "shape" and isinstance(value, tuple) else value
        for name, value in case.attributes.items()
    }
    shapes = tuple(changed(array.shape) for array in case.arrays)
    other = replace(case, attributes=attributes, shapes=shapes, _declared={})
    try:
        other.declare()
    except GraphcError:
        return None  # an attribute holds the size, or the op wants to know it
    return other


def _drawn(array: Array, shape: Any) -> Array:
    """An array of another shape, drawn from the values of this one."""
    generator = np.random.default_rng(list(shape))
    return np.asarray(generator.choice(array.ravel(), shape)).astype(array.dtype)


def resized(case: Case, length: int) -> tuple[Array, ...]:
    """Arrays for a named case, drawn from the values of its own arrays."""
    pairs = zip(case.arrays, case.shapes, strict=True)
    return tuple(
        _drawn(array, tuple(length if size == DIM else size for size in shape)) if DIM in shape else array
        for array, shape in pairs
    )


def scattered(arrays: Sequence[Array]) -> list[tuple[str, tuple[Array, ...]]]:
    """The same values in arrays that are not contiguous: column by column, with gaps, and backward in memory."""

    def sliced(array: Array) -> Array:
        larger = np.zeros(tuple(2 * size for size in array.shape), array.dtype)
        # with the dots, rank 0 stays an array
        every_second: tuple[Any, ...] = (..., *(slice(None, None, 2) for _ in array.shape))
        view = larger[every_second]
        view[...] = array
        return view

    return [
        ("column-major feeds", tuple(np.asfortranarray(array) for array in arrays)),
        ("sliced feeds", tuple(sliced(array) for array in arrays)),
        ("reversed feeds", tuple(array[::-1].copy()[::-1] if array.ndim else array for array in arrays)),
    ]


def special_values(dtype: np.dtype[Any]) -> Array:
    """Zeros of both signs, subnormals, the ends of the range, infinities, NaN, and ordinary values in between."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        ordinary = [value for value in (-7, -3, -2, -1, 0, 1, 2, 3, 7, 100) if value >= bounds.min]
        return np.array([bounds.min, bounds.min + 1, *ordinary, bounds.max - 1, bounds.max], dtype)
    limits = np.finfo(dtype)
    positive = [0.0, limits.smallest_subnormal, limits.tiny / 4, limits.tiny, limits.eps, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0]
    positive += [20.0, 88.0, 104.0, 709.0, 746.0, 1e5, float(limits.max) / 2, limits.max, np.inf]
    values = np.array(positive, dtype)
    return np.concatenate([values, -values, np.array([np.nan], dtype)])


def special_case(op: Elementwise, sample: Sample, dtype: str | None) -> Case:
    """An elementwise op on all combinations of special values, along one named axis."""
    kinds = [as_dtype(array, dtype).dtype for array in sample.inputs]
    grids = np.meshgrid(*(special_values(kind) for kind in kinds), indexing="ij")
    arrays = tuple(grid.ravel().astype(kind) for grid, kind in zip(grids, kinds, strict=True))
    shapes = tuple((DIM,) for _ in arrays)
    return Case(op, arrays, sample.attributes, shapes)  # type: ignore[arg-type]
