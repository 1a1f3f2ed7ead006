"""The contraction: values, tails, strides, bits that no cut changes, and no byte outside its operands."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest

from graphc.codegen.cpu import contraction, jit, machine
from graphc.errors import CompileError

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def multiply(a, b, c, accumulate=False):
    """Run the compiled contraction on NumPy views of any strides."""
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 12)(contraction.address(str(a.dtype)))
    steps = [s // a.itemsize for s in (*a.strides, *b.strides, c.strides[0])]
    call(
        a.ctypes.data, steps[0], steps[1], b.ctypes.data, steps[2], steps[3], c.ctypes.data, steps[4],
        a.shape[0], b.shape[1], a.shape[1], int(accumulate),
    )  # fmt: skip
    return c


def operands(dtype, rows, depth, columns, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((rows, depth)).astype(dtype), random.standard_normal((depth, columns)).astype(dtype)


def transposed(x):
    return np.ascontiguousarray(x.T).T


def spread(x):
    """The same values with strides that are contiguous along no axis, one of them negative."""
    room = np.full((2 * x.shape[0] + 1, 3 * x.shape[1] + 1), np.nan, x.dtype)
    view = room[1::2][: x.shape[0]][::-1, 1::3][:, : x.shape[1]]
    view[...] = x
    return view


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m,k,n", [
    (1, 1, 1), (1, 300, 40), (40, 300, 1), (3, 5, 7), (13, 17, 31), (14, 16, 32), (15, 257, 33), (29, 256, 65),
    (460, 20, 9), (4, 600, 64), (0, 3, 4), (3, 4, 0), (5, 0, 6), (1, 0, 1),
])  # fmt: skip
def test_values(dtype, m, k, n):
    a, b = operands(dtype, m, k, n)
    expected = a.astype("f8") @ b.astype("f8")
    results = [
        multiply(left(a), right(b), np.full((m, n), np.nan, dtype))
        for left in (np.asarray, transposed, spread)
        for right in (np.asarray, transposed, spread)
    ]
    assert np.abs(results[0] - expected).max(initial=0) <= TOLERANCE[dtype] * max(k, 1)
    assert all(result.tobytes() == results[0].tobytes() for result in results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_cut(dtype):
    a, b = operands(dtype, 61, 530, 75)
    whole = multiply(a, b, np.empty((61, 75), dtype))
    random = np.random.default_rng(1)
    for _ in range(40):
        i0, j0 = random.integers(61), random.integers(75)
        i1, j1 = random.integers(i0, 61) + 1, random.integers(j0, 75) + 1
        part = multiply(a[i0:i1], b[:, j0:j1], np.empty((i1 - i0, j1 - j0), dtype))
        assert (part == whole[i0:i1, j0:j1]).all()
    column = multiply(a, b[:, 3:4], np.empty((61, 1), dtype))
    assert (column == whole[:, 3:4]).all()
    depth = contraction.tile_shape(dtype).depth
    split = multiply(a[:, :depth], b[:depth], np.empty((61, 75), dtype))
    assert (multiply(a[:, depth:], b[depth:], split, accumulate=True) == whole).all()  # between two blocks of k


def test_each_element_is_a_chain_of_fused_multiply_adds():
    from fractions import Fraction

    a, b = operands("float64", 3, 9, 5)
    c = multiply(a, b, np.empty((3, 5)))
    for i, j in np.ndindex(3, 5):
        total = 0.0
        for k in range(9):  # rounded once a step
            total = float(Fraction(a[i, k]) * Fraction(b[k, j]) + Fraction(total))
        assert total == c[i, j]


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulate(dtype):
    a, b = operands(dtype, 17, 300, 37)
    c = np.random.default_rng(2).standard_normal((17, 37)).astype(dtype)
    expected = c + a.astype("f8") @ b
    assert np.abs(multiply(a, b, c.copy(), accumulate=True) - expected).max() <= 300 * TOLERANCE[dtype]
    kept = multiply(a[:, :0], b[:0], c.copy(), accumulate=True)
    assert (kept == c).all()


def test_nan_and_infinity_pass():
    a, b = operands("float32", 15, 40, 33)
    a[2, 3], a[4, 5] = np.nan, np.inf
    c = multiply(a, b, np.zeros((15, 33), "f4"))
    assert np.isnan(c[2]).all() and np.isinf(c[4]).all()
    assert np.isfinite(np.delete(c, (2, 4), axis=0)).all()  # a repeated row stays where it belongs


class Guarded:
    """Memory that ends where an unreadable page begins."""

    def __init__(self, size: int):
        page = mmap.PAGESIZE
        self.usable = -(-size // page) * page
        self.map = mmap.mmap(-1, self.usable + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert libc.mprotect(start + self.usable, page, 0) == 0

    def put(self, x: np.ndarray) -> np.ndarray:
        """A copy of `x` whose last byte is the last one before the guard."""
        flat = np.frombuffer(self.map, np.uint8, count=self.usable)[self.usable - x.nbytes :]
        view = flat.view(x.dtype).reshape(x.shape)
        view[...] = x
        return view


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m,k,n", [(1, 3, 1), (5, 7, 3), (15, 4, 33), (14, 5, 32), (2, 259, 17)])
def test_no_byte_outside_is_touched(dtype, m, k, n):
    a, b = operands(dtype, m, k, n)
    expected = multiply(a, b, np.empty((m, n), dtype))
    for left in (a, transposed(a)):
        for right in (b, transposed(b)):
            guarded = [Guarded(x.nbytes) for x in (a, b, expected)]
            ga = guarded[0].put(left) if left is a else guarded[0].put(np.ascontiguousarray(left.T)).T
            gb = guarded[1].put(right) if right is b else guarded[1].put(np.ascontiguousarray(right.T)).T
            gc = guarded[2].put(np.zeros((m, n), dtype))
            assert (multiply(ga, gb, gc, accumulate=True) == expected).all()
    room = np.full((m + 2, n + 3), 7, dtype)  # and nothing before, between or after the rows of C
    multiply(a, b, room[1:-1, 1:-2])
    assert (room[1:-1, 1:-2] == expected).all()
    room[1:-1, 1:-2] = 7
    assert (room == 7).all()


def test_a_kernel_calls_it_by_address():
    source = """\
from graphc.codegen.cpu.intrinsics import address, pointer_float32, pointer_uint8
from graphc.codegen.cpu.tiles import contract

def kernel(buffers, dims, worker, workers):
    a, b, c = pointer_float32(buffers, 0), pointer_float32(buffers, 1), pointer_float32(buffers, 2)
    M = dims[0]
    contract(address(pointer_uint8(buffers, 3)), a, 30, 1, b, 20, 1, c, 20, M, 20, 30, 0)
"""
    (kernel,) = jit.load([source])
    a, b = operands("float32", 9, 30, 20)
    c = np.empty((9, 20), "f4")
    table = np.array([a.ctypes.data, b.ctypes.data, c.ctypes.data, contraction.address("float32")], np.int64)
    sizes = np.array([9], np.int64)
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(kernel)(table.ctypes.data, sizes.ctypes.data, 0, 1)
    assert (c == multiply(a, b, np.empty((9, 20), "f4"))).all()


@pytest.mark.parametrize("triple,features,expected", [
    ("x86_64-unknown-linux-gnu", "+avx512f,+avx2,+fma", (14, 16, 8)),
    ("x86_64-unknown-linux-gnu", "+avx2,+fma,-avx512f", (6, 8, 4)),
    ("x86_64-unknown-linux-gnu", "+sse2", (6, 4, 2)),
    ("aarch64-unknown-linux-gnu", "+neon", (14, 4, 2)),
])  # fmt: skip
def test_tile_shapes_follow_the_registers(triple, features, expected):
    target = machine.Machine(triple, "any", features, *machine._vector_unit(triple, features))
    single, double = (contraction.tile_shape(dtype, target) for dtype in DTYPES)
    assert (single.rows, single.lanes, double.lanes) == expected
    for shape in (single, double):
        assert shape.block_rows % shape.rows == 0
        assert shape.rows * shape.vectors + shape.vectors < target.vector_registers
        assert shape.depth * shape.vectors * target.vector_bytes <= 32 * 1024


def test_other_dtypes_are_refused():
    with pytest.raises(CompileError, match="int32"):
        contraction.address("int32")
