"""What functions of arrays say to arguments that make no sense: kinds of error and exact messages."""

from __future__ import annotations

from typing import Any

import pytest

import graphc
from graphc import ops
from graphc.errors import GraphcError


def x(*shape: Any, dtype: str = "float32") -> graphc.Tensor:
    return ops.placeholder("x", shape, dtype)


WRONG = {
    "ops.roll(x(2, 3), 1, axis=2)": ("ShapeError", "roll: axis 2 is out of range for rank 2"),
    "ops.roll(x(2, 3), (1, 2), axis=(0, 1, 1))": ("ShapeError",
        "roll: expected as many shifts as axes, got shift=(1, 2) and axis=(0, 1, 1)"),
    "ops.roll(x(2, 3), 1.5, axis=0)": ("GraphError", "roll: shift: expected an integer, got 1.5"),
    'ops.roll(x("n"), x(dtype="int64"), axis=0)': ("GraphError", "roll: shift: expected an integer, got int64[]"),
    "ops.tile(x(2), -1)": ("GraphError", "tile: expected a number of repetitions of at least 0, got -1"),
    "ops.tile(x(2), 1.5)": ("GraphError", "tile: number of repetitions: expected an integer, got 1.5"),
    "ops.repeat(x(2, 3), -2, axis=0)": ("GraphError",
        "repeat: expected a number of repetitions of at least 0, got -2"),
    "ops.repeat(x(2, 3), [1, 2], axis=1)": ("ShapeError",
        "repeat: expected one number for each place of axis 1 of (2, 3), got the shape (2,)"),
    "ops.repeat(x(2), [1.0, 2.0])": ("DTypeError",
        "repeat: expected integers as numbers of repetitions, got float64"),
    "ops.repeat(x(2), [1, -1])": ("GraphError", "repeat: expected a number of repetitions of at least 0, got -1"),
    'ops.repeat(x("n"), [1, 2, 3])': ("ShapeError",
        "repeat: expected one number for each place of axis 0 of (n,), got the shape (3,)"),
    'ops.repeat(x(3), x(3, dtype="int64"))': ("GraphError",
        "repeat: expected numbers that are known now, got int64[3]"),
    "ops.repeat(x(3), 2, axis=1)": ("ShapeError", "repeat: axis 1 is out of range for rank 1"),
    "ops.meshgrid(x(2), x(2, 2))": ("ShapeError", "meshgrid: expected vectors, got the shape (2, 2)"),
    'ops.meshgrid(x(2), x(2), indexing="ji")': ("GraphError",
        "meshgrid: expected indexing to be 'xy' or 'ij', got 'ji'"),
    "ops.broadcast_arrays(x(2), x(3))": ("ShapeError",
        "broadcast_arrays: shapes (2,) and (3,) do not broadcast: sizes differ: 2 and 3 on axis -1"),
    "ops.diff(x())": ("ShapeError", "diff: expected at least one axis, got the shape ()"),
    "ops.diff(x(3), n=-1)": ("GraphError", "diff: expected n of at least 0, got -1"),
    "ops.diff(x(3), axis=1)": ("ShapeError", "diff: axis 1 is out of range for rank 1"),
    "ops.diff(x(2, 3), prepend=x(3, 1))": ("ShapeError",
        "diff: prepend (3, 1) and (2, 3) differ on another axis than 1"),
    "ops.tril(x(3))": ("ShapeError", "tril: expected at least two axes, got the shape (3,)"),
    "ops.triu(x(3, 3), k=0.5)": ("GraphError", "triu: k: expected an integer, got 0.5"),
    "ops.diagonal(x(3))": ("ShapeError", "diagonal: expected at least two axes, got the shape (3,)"),
    "ops.diagonal(x(3, 3), axis1=1, axis2=-1)": ("ShapeError",
        "diagonal: expected two different axes, got 1 and -1"),
    "ops.diagonal(x(3, 3), axis2=2)": ("ShapeError", "diagonal: axis 2 is out of range for rank 2"),
    'ops.diagonal(x(3, 3), offset="main")': ("GraphError", "diagonal: offset: expected an integer, got 'main'"),
    "ops.diag(x(2, 2, 2))": ("ShapeError", "diag: expected a vector or a matrix, got the shape (2, 2, 2)"),
    "ops.trace(x(3))": ("ShapeError", "trace: expected at least two axes, got the shape (3,)"),
    "ops.eye(-1)": ("ShapeError", "eye: expected sizes of at least 0, got -1"),
    "ops.eye(2.5)": ("ShapeError", "eye: expected an integer or the name of a dim, got 2.5"),
    "ops.linspace(0, 1, -1)": ("ShapeError", "linspace: num: expected sizes of at least 0, got -1"),
    "ops.linspace(0, 1, 2.5)": ("ShapeError", "linspace: num: expected an integer or the name of a dim, got 2.5"),
    'ops.linspace("0", 1, 3)': ("DTypeError", "linspace: expected numbers or scalar tensors, got '0'"),
    "ops.linspace(x(2), 1, 3)": ("ShapeError", "linspace: expected scalars, got the shape (2,)"),
    'ops.zeros(2, device="cuda")': ("GraphError", "zeros: expected no device, got 'cuda'"),
    'ops.einsum("ij,jk->ik", x(2, 3))': ("GraphError",
        "einsum: expected labels of 1 operand, like 'ij->ji', got 'ij,jk->ik'"),
    'ops.einsum("ij->", x(2))': ("ShapeError", "einsum 'ij->': the labels 'ij' do not fit the shape (2,)"),
    'ops.einsum("ij,jk->ik", x(2, 3), x(4, 5))': ("ShapeError",
        "einsum 'ij,jk->ik': label 'j' has the sizes 3 and 4: (2, 3), (4, 5)"),
    'ops.einsum("ii->i", x(2, 3))': ("ShapeError", "einsum 'ii->i': label 'i' has the sizes 2 and 3 in (2, 3)"),
    'ops.einsum("ij->iij", x(2, 3))': ("GraphError", "einsum: the result of 'ij->iij' has the label 'i' twice"),
    'ops.einsum("ij->k", x(2, 3))': ("GraphError", "einsum: no operand of 'ij->k' has the result's label 'k'"),
    'ops.einsum("i.j->ij", x(2, 3))': ("GraphError",
        "einsum: expected labels of 1 operand, like 'ij->ji', got 'i.j->ij'"),
    'ops.einsum("i1->i", x(2, 3))': ("GraphError",
        "einsum: expected labels of 1 operand, like 'ij->ji', got 'i1->i'"),
    'ops.einsum("i->j->k", x(2))': ("GraphError",
        "einsum: expected labels of 1 operand, like 'ij->ji', got 'i->j->k'"),
    'ops.einsum("...i->i", x(2, 3))': ("GraphError", "einsum: expected an ellipsis in the result of '...i->i'"),
    'ops.einsum("...i,...i", x(2, 3), x(4, 3))': ("ShapeError",
        "einsum '...i,...i': an axis of the ellipsis has the sizes 2 and 4: (2, 3), (4, 3)"),
    'ops.einsum("i,i", x("n"), x("m"))': ("ShapeError", "einsum 'i,i': label 'i' has the sizes n and m: (n,), (m,)"),
    "ops.einsum(x(2), x(2))": ("GraphError",
        "einsum: expected labels of 1 operand, like 'ij->ji', got float32[2]"),
    "ops.tensordot(x(2, 3), x(2, 3), axes=3)": ("ShapeError",
        "tensordot: (2, 3) and (2, 3) do not have 3 axes each"),
    "ops.tensordot(x(2, 3), x(2, 3), axes=(0, 1))": ("ShapeError",
        "tensordot: axes [0] of (2, 3) do not go with axes [1] of (2, 3)"),
    "ops.outer(x(2, 2), x(2))": ("ShapeError", "outer: expected two vectors, got (2, 2) and (2,)"),
    "ops.vecdot(x(2, 3), x(2, 4))": ("ShapeError", "vecdot: expected one size along axis -1, got (2, 3) and (2, 4)"),
    "ops.vecdot(x(2, 3), x(4, 3))": ("ShapeError",
        "vecdot: besides axis -1, shapes (2,) and (4,) do not broadcast: sizes differ: 2 and 4 on axis -1"),
    "ops.cross(x(3), x(2))": ("ShapeError", "cross: expected the size 3 along axis -1, got (2,)"),
    'ops.cross(x(3, dtype="bool"), x(3, dtype="bool"))': ("DTypeError", "cross: expected numbers, got bool[3]"),
    "ops.cross(x(2, 3), x(3, 3))": ("ShapeError",
        "cross: shapes (2, 3) and (3, 3) do not broadcast: sizes differ: 2 and 3 on axis -2"),
    "ops.cumulative_prod(x(2, 3))": ("ShapeError", "cumulative_prod: expected axis= for the shape (2, 3)"),
    "ops.cumulative_prod(x(2), axis=1)": ("ShapeError", "cumulative_prod: axis 1 is out of range for rank 1"),
    'ops.norm(x(2), ord="nuc")': ("ShapeError", "norm: expected two axes for ord='nuc', got 1 of (2,)"),
    'ops.norm(x(2), ord="fro")': ("ShapeError", "norm: expected two axes for ord='fro', got 1 of (2,)"),
    'ops.vector_norm(x(2), ord="fro")': ("GraphError", "vector_norm: expected ord to be a number, got 'fro'"),
    "ops.vector_norm(x(2, 3), axis=(0, -2))": ("ShapeError", "vector_norm: an axis is named twice in (0, -2)"),
    "ops.matrix_norm(x(2))": ("ShapeError", "matrix_norm: expected at least two axes, got the shape (2,)"),
    "ops.matrix_norm(x(2, 2), ord=3)": ("GraphError",
        "matrix_norm: expected ord to be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got 3"),
    "ops.median(x(0))": ("ShapeError", "median: expected at least one element along axes [0], got (0,)"),
    "ops.quantile(x(2), 1.5)": ("GraphError", "quantile: expected q to be a number from 0 to 1, or several, got 1.5"),
    "ops.quantile(x(2), x())": ("GraphError",
        "quantile: expected q to be a number from 0 to 1, or several, got float32[]"),
    "ops.quantile(x(2), float(\"nan\"))": ("GraphError",
        "quantile: expected q to be a number from 0 to 1, or several, got nan"),
    "ops.quantile(x(2), 0.5, axis=1)": ("ShapeError", "quantile: axis 1 is out of range for rank 1"),
    "ops.quantile(x(2), 0.5, method=\"hazen\")": ("GraphError",
        "quantile: expected method to be one of linear, lower, higher, nearest, midpoint, got 'hazen'"),
}
"""The call, as text, and what is raised."""


@pytest.mark.parametrize("call", WRONG)
def test_what_is_refused(call):
    kind, message = WRONG[call]
    with pytest.raises(GraphcError) as caught:
        eval(call, {"ops": ops, "x": x})
    assert (type(caught.value).__name__, caught.value.message) == (kind, message)
    assert "declared at" in str(caught.value)
