"""Integers bit by bit, and integer division, against NumPy: every dtype, and all pairs of special values."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.errors import DTypeError, GraphcError, GraphError
from graphc.ir.types import INTEGERS
from graphc.testing.cases import special_values

BINARY = {
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "floor_divide": np.floor_divide, "remainder": np.remainder,
    "bitwise_left_shift": np.left_shift, "bitwise_right_shift": np.right_shift,
}  # fmt: skip


def test_every_integer_dtype_at_all_pairs_of_special_values():
    inputs, outputs, arrays, expected, labels = [], [], [], [], []
    for dtype in INTEGERS:
        bits = np.iinfo(dtype).bits
        values = np.concatenate([special_values(np.dtype(dtype)), np.array([bits - 1, bits, bits + 1], dtype)])
        pair = [grid.ravel() for grid in np.meshgrid(values, values)]
        x, y = (graphc.placeholder(f"{name}_{dtype}", ("n",), dtype) for name in "xy")
        inputs += [x, y]
        arrays += pair
        with np.errstate(all="ignore"):
            for name, meaning in BINARY.items():
                outputs.append(graphc.ops.FUNCTIONS[name](x, y))
                expected.append(meaning(*pair))
                labels.append(f"{name} of {dtype}")
        outputs.append(~x)
        expected.append(~pair[0])
        labels.append(f"inversion of {dtype}")
    longest = max(array.size for array in arrays)
    program = graphc.compile(inputs, outputs)
    for label, found, wanted in zip(labels, program(*(np.resize(a, longest) for a in arrays)), expected, strict=True):
        assert found.dtype == wanted.dtype, label
        np.testing.assert_array_equal(found, np.resize(wanted, longest), err_msg=label)


def test_operators_and_numpy_s_ufuncs():
    x, y = graphc.placeholder("x", ("n",), "int32"), graphc.placeholder("y", ("n",), "int32")
    p, q = graphc.placeholder("p", ("n",), "bool"), graphc.placeholder("q", ("n",), "bool")
    small = graphc.placeholder("u", ("n",), "uint8")
    feeds = {
        x: np.array([5, -7, 2**31 - 1, -(2**31)], "i4"), y: np.array([3, 1, 0, 31], "i4"),
        p: np.array([True, True, False, False]), q: np.array([True, False, True, False]),
        small: np.array([1, 200, 255, 0], "u1"),
    }  # fmt: skip

    def formulas(x, y, p, q, small):
        return [
            x & y, x | y, x ^ y, ~x, x << y, x >> y, x & 6, 6 | x, 1 << y, 100 >> y, x << 2, small >> 7, p & q, p | q,
            p ^ q, ~p,
            p & True, True ^ p, np.bitwise_and(x, y), np.bitwise_or(x, 3), np.bitwise_xor(p, q), np.invert(x),
            np.left_shift(x, y), np.right_shift(x, 3), np.invert(p), small ^ x,
        ]  # fmt: skip

    with graphc.Session() as session:
        found = session.run(formulas(x, y, p, q, small), feeds)
    for place, (got, wanted) in enumerate(zip(found, formulas(*feeds.values()), strict=True)):
        np.testing.assert_array_equal(got, wanted, err_msg=f"formula {place}")
        assert got.dtype == wanted.dtype, f"formula {place}"
    assert (p & q).node.op.name == "logical_and"


REFUSED = [
    (DTypeError, lambda x, f, b: x & f, "bitwise_and: expected integers or bools, got int8[2] and float32[2]"),
    (DTypeError, lambda x, f, b: ~f, "bitwise_invert: expected integers or bools, got float32[2]"),
    (DTypeError, lambda x, f, b: f << 2, "bitwise_left_shift: expected integers, got float32[2] and int64[]"),
    (DTypeError, lambda x, f, b: b >> b, "bitwise_right_shift: expected integers, got bool[2] and bool[2]"),
    (GraphError, lambda x, f, b: x << 8, "bitwise_left_shift: expected counts from 0 to 7 for int8, got 8"),
    (GraphError, lambda x, f, b: x >> -1, "bitwise_right_shift: expected counts from 0 to 7 for int8, got -1"),
    (GraphError, lambda x, f, b: x << np.array([1, 64]),
     "bitwise_left_shift: expected counts from 0 to 63 for int64, got 64"),
    (GraphError, lambda x, f, b: x << graphc.constant(9, "int8"),
     "bitwise_left_shift: expected counts from 0 to 7 for int8, got 9"),
    (DTypeError, lambda x, f, b: x & 300, "bitwise_and: the number 300 does not fit the operand's dtype int8"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_what_is_refused(place):
    kind, call, message = REFUSED[place]
    x, f, b = (graphc.placeholder(dtype, (2,), dtype) for dtype in ("int8", "float32", "bool"))
    with pytest.raises(GraphcError) as caught:
        call(x, f, b)
    assert type(caught.value) is kind
    assert caught.value.message == message
