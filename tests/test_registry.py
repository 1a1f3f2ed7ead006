"""Every op of the registry, by what the harness makes of its samples. A new op needs no test of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import pytest

import graphc
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY, Op
from graphc.program import Program
from graphc.runtime import reference
from graphc.testing.cases import static_case
from graphc.testing.contexts import CONTEXTS
from graphc.testing.harness import THOROUGH, check_op

NAMES = sorted(REGISTRY)


@pytest.mark.parametrize("name", NAMES)
def test_op(name: str) -> None:
    """Values, types, sizes, workers, special values and derivatives."""
    row = check_op(REGISTRY[name])
    assert row.ok, row.why


def test_every_op_with_a_derivative_is_checked() -> None:
    """An op that claims a derivative has a sample at which it is compared, or a context."""
    for name, op in REGISTRY.items():
        if op.differentiable and name not in CONTEXTS:
            assert any(sample.differentiable for sample in op.samples), name


# -- nothing of a compiled step runs in NumPy ---------------------------------------------------------------------


def refuse(*arguments: Any, **keywords: Any) -> NoReturn:
    raise AssertionError("a compiled program computed something in NumPy")


class Refusing:
    """Stands for a ufunc: neither it nor its methods may be called."""

    __call__ = reduce = accumulate = at = outer = reduceat = staticmethod(refuse)


FUNCTIONS = [
    "amax", "amin", "argmax", "argmin", "argpartition", "argsort", "bincount", "broadcast_to", "choose", "clip",
    "concatenate", "convolve", "correlate", "cumprod", "cumsum", "dot", "einsum", "flip", "inner", "linspace", "matmul",
    "max", "mean", "min", "nan_to_num", "nonzero", "outer", "pad", "partition", "prod", "put_along_axis", "repeat",
    "roll", "arange", "searchsorted", "select", "sort", "stack", "std", "sum", "swapaxes", "take",
    "take_along_axis", "tensordot", "tile", "trace", "transpose", "tril", "triu", "unique", "var", "vdot", "where",
]  # fmt: skip
"""NumPy's functions beside the ufuncs that could compute a result."""


@contextmanager
def poisoned(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """NumPy's mathematics, the meanings of all ops, and the reference interpreter raise when they are called."""
    with patch.context() as inside:
        for name in {type(op) for op in REGISTRY.values()}:
            inside.setattr(name, "compute", refuse)
            if hasattr(name, "reference"):
                inside.setattr(name, "reference", staticmethod(refuse))
        inside.setattr(reference, "evaluate", refuse)
        for key in [key for key, entry in vars(np).items() if isinstance(entry, np.ufunc)]:
            inside.setattr(np, key, Refusing())
        for key in FUNCTIONS:
            inside.setattr(np, key, refuse)
        yield


def declared(op: Op) -> tuple[list[Tensor], list[Tensor], list[np.ndarray]]:
    """An op on its first sample or in its context, with its derivative where it has one."""
    if op.name in CONTEXTS:
        (inputs, outputs), arrays = CONTEXTS[op.name](np.dtype("float32"))
    else:
        sample = op.samples[0]
        dtype = next((name for name in THOROUGH if name in op.dtypes), None)
        case = static_case(op, sample, dtype)
        (inputs, outputs), arrays = case.declare(), case.arrays
    found = list(outputs)
    floats = [x for x in inputs if x.dtype.kind == "f"]
    for y in outputs:
        if op.differentiable and floats and y.dtype.kind == "f":
            found += graphc.gradients(y.sum(), floats, zeros_for_disconnected=True)
    return list(inputs), found, list(arrays)


@pytest.mark.parametrize("name", NAMES)
def test_runs_without_numpy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled step, forward and backward, is the same with NumPy's functions and the reference poisoned."""
    inputs, outputs, arrays = declared(REGISTRY[name])
    with graphc.Session(threads=2) as session, graphc.Session(threads=1) as other:
        expected = Program(tuple(inputs), tuple(outputs), other)(*arrays)
        program = Program(tuple(inputs), tuple(outputs), session)
        with poisoned(monkeypatch):
            actual = program(*arrays)
        for got, want in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_poison_works(monkeypatch: pytest.MonkeyPatch) -> None:
    x = graphc.placeholder("x", (3,))
    with graphc.Session(backend="reference") as session:
        program = Program((x,), (graphc.tanh(x),), session)
        with poisoned(monkeypatch), pytest.raises(AssertionError, match="computed something in NumPy"):
            program(np.ones(3, np.float32))
