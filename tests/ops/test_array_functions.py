"""Functions of arrays under NumPy's names, against NumPy: values, dtypes, named dims of several sizes, derivatives.

A case is one formula over a namespace, run with ``graphc.ops`` and with NumPy, and the shapes of its arrays. Names among
the sizes are named dims; the formula is also declared with static sizes in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import ops
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.ir.types import is_float

SIZES = ({"n": 3, "m": 4}, {"n": 5, "m": 2}, {"n": 1, "m": 1}, {"n": 0, "m": 3}, {"n": 2, "m": 0})
"""Values of the named dims; the first are those of the static form."""


@dataclass(frozen=True)
class Case:
    """A formula, its arrays' shapes, and what it is tried on: floats, integers, bools by the letters of their kinds."""

    formula: Callable[..., Any]
    shapes: tuple[tuple[int | str, ...], ...]
    kinds: str = "fib"
    named: bool = True
    smooth: bool = True
    empty: bool = True

    def declare(self, dtype: str, sizes: dict[str, int] | None) -> tuple[list[graphc.Tensor], list[graphc.Tensor]]:
        """Inputs and outputs; with ``sizes`` they are static."""
        inputs = [
            ops.placeholder(f"x{place}", tuple((sizes or {}).get(size, size) for size in shape), dtype)
            for place, shape in enumerate(self.shapes)
        ]
        made = self.formula(ops, *inputs)
        return inputs, list(made) if isinstance(made, (tuple, list)) else [made]

    def arrays(self, dtype: str, sizes: dict[str, int]) -> list[np.ndarray]:
        generator = np.random.default_rng(7)
        drawn = [generator.normal(size=tuple(sizes.get(s, s) for s in shape)) * 3 for shape in self.shapes]
        return [array > 0 if dtype == "bool" else array.astype(dtype) for array in drawn]

    def expected(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            made = self.formula(np, *arrays)
        return [np.asarray(part) for part in (made if isinstance(made, (tuple, list)) else [made])]


MOVING = {
    "roll": Case(lambda xp, x: xp.roll(x, 2, axis=1), (("n", "m"),)),
    "roll of several axes": Case(lambda xp, x: xp.roll(x, (1, -5), axis=(0, 1)), (("n", "m"),)),
    "roll of one axis twice": Case(lambda xp, x: xp.roll(x, (1, 2), axis=(1, 1)), ((3, 4),)),
    "roll of all elements": Case(lambda xp, x: xp.roll(x, -2), (("n", 3),)),
    "tile": Case(lambda xp, x: xp.tile(x, (2, 3)), (("n", "m"),)),
    "tile to a higher rank": Case(lambda xp, x: xp.tile(x, (2, 1, 2)), (("n",),)),
    "tile the last axis": Case(lambda xp, x: xp.tile(x, 2), (("n", "m"),)),
    "tile nothing": Case(lambda xp, x: xp.tile(x, (0, 2)), ((2, "m"),)),
    "repeat": Case(lambda xp, x: xp.repeat(x, 3, axis=0), (("n", "m"),)),
    "repeat of all elements": Case(lambda xp, x: xp.repeat(x, 2), ((2, "m"),)),
    "repeat each": Case(lambda xp, x: xp.repeat(x, [2, 0, 1], axis=1), (("n", 3),)),
    "broadcast_arrays": Case(lambda xp, x, y: xp.broadcast_arrays(x, y), ((3, 1), (4,))),
    "meshgrid": Case(lambda xp, x, y: xp.meshgrid(x, y), (("n",), ("m",))),
    "meshgrid ij": Case(lambda xp, x, y, z: xp.meshgrid(x, y, z, indexing="ij"), (("n",), ("m",), (2,))),
    "diff": Case(lambda xp, x: xp.diff(x), (("n", "m"),)),
    "diff twice": Case(lambda xp, x: xp.diff(x, n=2, axis=0), (("n", 3),)),
    "diff with ends": Case(lambda xp, x, y: xp.diff(x, axis=0, prepend=y, append=y), (("n", "m"), (1, "m"))),
    "diff too often": Case(lambda xp, x: xp.diff(x, n=5), ((2, 3),)),
}
DIAGONALS = {
    "tril": Case(lambda xp, x: xp.tril(x), (("n", "m"),)),
    "tril k": Case(lambda xp, x: xp.tril(x, k=-1), ((2, "n", 4),)),
    "triu": Case(lambda xp, x: xp.triu(x, 1), (("n", "m"),)),
    "diagonal": Case(lambda xp, x: xp.diagonal(x), (("n", "m"),)),
    "diagonal of other axes": Case(lambda xp, x: xp.diagonal(x, 1, 2, 0), ((3, "n", 4),)),
    "diagonal below": Case(lambda xp, x: xp.diagonal(x, offset=-2, axis1=-2, axis2=-1), ((2, 5, "m"),)),
    "diagonal outside": Case(lambda xp, x: xp.diagonal(x, 9), ((2, 5),)),
    "diag of a vector": Case(lambda xp, x: xp.diag(x, 2), (("n",),)),
    "diag below": Case(lambda xp, x: xp.diag(x, -1), (("n",),)),
    "diag of a matrix": Case(lambda xp, x: xp.diag(x), (("n", "n"),)),
    "trace": Case(lambda xp, x: xp.trace(x, 1), (("n", "m"),), "fi"),
    "trace of other axes": Case(lambda xp, x: xp.trace(x, 0, 0, 2), ((3, "n", 2),), "fi"),
}
CASES = MOVING | DIAGONALS


def compare(label: str, found: list[Any], expected: list[Any], tolerance: float) -> None:
    assert len(found) == len(expected), label
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape, f"{label}: {got.shape} for {wanted.shape}"
        if is_float(got.dtype):
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance, err_msg=label)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=label)


def test_values_in_several_dtypes():
    """Static shapes in one compiled program a dtype; the dtypes of the results are NumPy's."""
    for dtype in ("float32", "int32", "bool"):
        kept = {label: case for label, case in CASES.items() if dtype[0] in case.kinds}
        declared = {label: case.declare(dtype, SIZES[0]) for label, case in kept.items()}
        inputs = [x for xs, _ in declared.values() for x in xs]
        program = graphc.compile(inputs, [y for _, ys in declared.values() for y in ys])
        arrays = {label: case.arrays(dtype, SIZES[0]) for label, case in kept.items()}
        found = program(*(array for each in arrays.values() for array in each))
        for label, case in kept.items():
            own = [found.pop(0) for _ in declared[label][1]]
            expected = case.expected(arrays[label])
            compare(f"{label}, {dtype}", own, expected, 2e-5)
            assert [a.dtype for a in own] == [a.dtype for a in expected], f"{label}, {dtype}"


def test_named_dims_of_several_sizes():
    """One compiled program for all sizes, 0 and 1 among them; no kernel is compiled anew."""
    kept = {label: case for label, case in CASES.items() if case.named}
    declared = {label: case.declare("float64", None) for label, case in kept.items()}
    inputs = [x for xs, _ in declared.values() for x in xs]
    program = graphc.compile(inputs, [y for _, ys in declared.values() for y in ys])
    before = program.compilations
    for sizes in SIZES:
        arrays = {label: case.arrays("float64", sizes) for label, case in kept.items()}
        found = program(*(array for each in arrays.values() for array in each))
        for label, case in kept.items():
            own = [found.pop(0) for _ in declared[label][1]]
            if case.empty or all(sizes.values()):
                compare(f"{label}, {sizes}", own, case.expected(arrays[label]), 1e-12)
    assert program.compilations == before


@pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.smooth])
def test_derivatives(label):
    case = CASES[label]

    def flat(*inputs: graphc.Tensor) -> graphc.Tensor:
        made = case.formula(ops, *inputs)
        parts = made if isinstance(made, (tuple, list)) else [made]
        return ops.concat([ops.reshape(part, (-1,)) for part in parts])

    with graphc.Session(backend="reference") as session:
        report = graphc.check_gradients(flat, case.arrays("float64", SIZES[0]), session=session)
        assert max(report.first, report.second) < 1e-6
