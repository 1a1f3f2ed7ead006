"""The contraction: values, tails, strides, bits that no cut changes, and no byte outside its operands."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import subprocess
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest

import graphc
from graphc.codegen.cpu import contraction, jit, machine, object_code, variants
from graphc.errors import CompileError

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def multiply(a, b, c, accumulate=False, variant=""):
    """Run a compiled contraction on NumPy views of any strides that it takes."""
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 12)(contraction.address(str(a.dtype) + variant))
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
    (1, 1, 1), (1, 300, 40), (40, 300, 1), (3, 5, 7), (13, 17, 31), (14, 16, 32), (15, 257, 33), (15, 513, 33),
    (29, 256, 65), (460, 20, 9), (4, 600, 64), (25, 1024, 300), (131, 256, 96), (600, 17, 40),
    (0, 3, 4), (3, 4, 0), (5, 0, 6), (1, 0, 1),
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
@pytest.mark.parametrize("m,k,n", [(5, 3, 2), (20, 300, 70), (41, 33, 32), (560, 40, 48)])
def test_values_of_lines_that_share_a_set_of_l1(dtype, m, k, n):
    """Lines 4 KiB apart are copied, rows or columns alike."""
    a, b = operands(dtype, m, k, n)
    expected = multiply(a, b, np.empty((m, n), dtype))
    assert np.abs(expected - a.astype("f8") @ b).max() <= TOLERANCE[dtype] * k

    def apart(x):
        room = np.full((x.shape[0], 4096 // x.itemsize), np.nan, x.dtype)
        room[:, : x.shape[1]] = x
        return room[:, : x.shape[1]]

    for left in (np.asarray, apart, lambda x: apart(np.ascontiguousarray(x.T)).T if m <= 512 else x):
        for right in (np.asarray, apart, lambda x: apart(np.ascontiguousarray(x.T)).T):
            assert multiply(left(a), right(b), np.empty((m, n), dtype)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_cut(dtype):
    a, b = operands(dtype, 61, 800, 75)
    whole = multiply(a, b, np.empty((61, 75), dtype))
    random = np.random.default_rng(1)
    for _ in range(40):
        i0, j0 = random.integers(61), random.integers(75)
        i1, j1 = random.integers(i0, 61) + 1, random.integers(j0, 75) + 1
        part = multiply(a[i0:i1], b[:, j0:j1], np.empty((i1 - i0, j1 - j0), dtype))
        assert (part == whole[i0:i1, j0:j1]).all()
    column = multiply(a, b[:, 3:4], np.empty((61, 1), dtype))
    assert (column == whole[:, 3:4]).all()
    depth = 400  # 800 are two blocks of k
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


FEW = [(1, 5, 70), (1, 300, 257), (4, 600, 64), (7, 16, 130), (12, 3, 33), (2, 0, 40), (1, 1, 1), (40, 300, 3)]
FEW += [(9, 17, 5), (70, 1, 2), (3, 600, 4), (1, 9, 6), (5, 0, 2), (31, 20, 18), (23, 300, 20), (10, 7, 48)]
DOTS = [(1, 16, 1), (50, 2500, 1), (9, 31, 3), (40, 64, 8), (8, 17, 8), (5, 0, 2), (11, 40, 5), (9, 33, 6), (17, 50, 7)]


SHALLOW = [(1, (5, 1, 300)), (3, (1, 3, 130)), (4, (40, 4, 97)), (7, (3, 7, 64)), (14, (9, 14, 100)), (30, (9, 30, 70))]
EDGE = [(40, 300, 97), (15, 20, 112), (200, 30, 33), (3, 9, 90), (60, 1024, 48), (15, 0, 33)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "variant,m,k,n",
    [*((f"_shallow{k}", *shape) for k, shape in SHALLOW), *((f"_edge{n}", m, k, n) for m, k, n in EDGE)],
)
def test_contractions_of_few_steps_or_odd_columns_give_the_bits_of_the_general_one(dtype, variant, m, k, n):
    a, b = operands(dtype, m, k, n)
    expected = multiply(a, b, np.empty((m, n), dtype))
    rights = (b,) if variant.startswith("_shallow") else (b, transposed(b), spread(b))
    for left, right in [(x, y) for x in (a, transposed(a), spread(a)) for y in rights]:
        result = multiply(left, right, np.full((m, n), np.nan, dtype), variant=variant)
        assert result.tobytes() == expected.tobytes()
        twice = multiply(left, right, result, accumulate=True, variant=variant)
        assert twice.tobytes() == multiply(a, b, expected.copy(), accumulate=True).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m,k,n", FEW)
def test_contractions_for_few_rows_or_columns_give_the_bits_of_the_general_one(dtype, m, k, n):
    assert variants.few_tile(dtype, m, n) is not None
    variant = f"_few{m}x{n}"
    a, b = operands(dtype, m, k, n)
    expected = multiply(a, b, np.empty((m, n), dtype))
    for left in (a, transposed(a), spread(a)):
        result = multiply(left, b, np.full((m, n), np.nan, dtype), variant=variant)
        assert result.tobytes() == expected.tobytes()
        twice = multiply(left, b, result, accumulate=True, variant=variant)
        assert twice.tobytes() == multiply(a, b, expected.copy(), accumulate=True).tobytes()


def test_the_tile_that_wastes_least_is_taken(monkeypatch):
    # Before: 4 x 4 vectors for few rows, 8 x 1 for few columns, the general 14 x 2 for anything else.
    wide = machine.Machine("x86_64-unknown-linux-gnu", "znver5", "+avx512f", 64, 32)
    monkeypatch.setattr(machine, "host", lambda: wide)
    choices = {
        (1, 2000): (1, 8, 16, "both", 8),  # a row waits for B alone: in the longest pieces
        (13, 28): (13, 2, 16, "part", 1),  # the columns end in the last vector: it alone is masked
        (15, 278): (8, 3, 16, "both", 3),  # 16 rows; the general contraction takes 14 and 4, of 288 columns as well
        (None, 10): (9, 1, 16, "part", 1),
        (None, 48): (9, 3, 16, "whole"),
        (2, 315): (2, 5, 16, "both", 5),  # 20 vectors in four tiles; 2 x 8 would compute 24
    }
    for (rows, columns), expected in choices.items():
        assert variants.few_tile("float32", rows, columns) == variants.FewTile(*expected)
    assert variants.few_tile("float32", None, 64) is None  # two tiles of the general contraction, filled
    assert variants.few_tile("float32", 40, 713) is None
    assert variants.few_tile("float32", None, 18, aliased=True).rows <= 8  # L1 has eight lines for each


def test_half_vectors_where_the_processor_multiplies_in_halves(monkeypatch):
    target = ("x86_64-unknown-linux-gnu", "znver4", "+avx512f", 64, 32)
    monkeypatch.setattr(machine, "host", lambda: machine.Machine(*target))
    assert variants.few_tile("float32", None, 18) == variants.FewTile(9, 3, 8, "part", 1)
    assert variants.few_tile("float32", None, 16) == variants.FewTile(9, 1, 16, "whole")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m,k,n", DOTS)
def test_dot_products(dtype, m, k, n):
    a, b = operands(dtype, m, k, n)
    variant = f"_dots{min(m, n)}"
    expected = a.astype("f8") @ b.astype("f8")
    results = [multiply(a, x, np.full((m, n), np.nan, dtype), variant=variant) for x in (b, transposed(b), spread(b))]
    assert np.abs(results[0] - expected).max(initial=0) <= TOLERANCE[dtype] * max(k, 1)
    assert all(result.tobytes() == results[0].tobytes() for result in results)
    turned = multiply(transposed(b).T, a.T, np.full((n, m), np.nan, dtype), variant=variant)
    assert (results[0] == turned.T).all()  # a row of few dot products is a column of them
    part = multiply(a[1:], b, np.empty((max(m - 1, 0), n), dtype), variant=variant) if m > n else results[0][1:]
    assert (part == results[0][1:]).all()
    twice = multiply(a, b, results[0].copy(), accumulate=True, variant=variant)
    assert np.abs(twice - 2 * expected).max(initial=0) <= 2 * TOLERANCE[dtype] * max(k, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_of_dot_products_has_the_bits_of_the_whole(dtype):
    """Before: of fewer rows than columns, a strided B was read as if its columns were contiguous."""
    a, b = operands(dtype, 20, 40, 5)
    whole = multiply(a, b, np.empty((20, 5), dtype), variant="_dots5")
    for rows in range(1, 6):
        part = multiply(a[:rows], b, np.full((rows, 5), np.nan, dtype), variant="_dots5")
        assert part.tobytes() == whole[:rows].tobytes()
        turned = multiply(b.T, transposed(a[:rows].T), np.full((5, rows), np.nan, dtype), variant="_dots5")
        assert (turned == whole[:rows].T).all()


def test_dot_products_are_lanes_added_in_halves():
    from fractions import Fraction

    lanes = variants.tile_shape("float64").lanes
    a, b = operands("float64", 5, 3 * lanes + 2, 1)
    c = multiply(a, b, np.empty((5, 1)), variant="_dots1")
    for i in range(5):
        sums = [0.0] * lanes
        for k in range(a.shape[1]):
            sums[k % lanes] = float(Fraction(a[i, k]) * Fraction(b[k, 0]) + Fraction(sums[k % lanes]))
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [sums[lane] + sums[lane + half] for lane in range(half)]
        assert sums[0] == c[i, 0]


@pytest.mark.parametrize(
    "m,k,n", [(512, 40, 96), (300, 520, 80), (129, 64, 1), (1, 200, 300), (5, 100, 200), (90, 30, 6)]
)
@pytest.mark.parametrize("formula", ["mk,kn->mn", "km,kn->mn", "mk,nk->mn"])
def test_workers_change_no_bit(m, k, n, formula):
    sizes = {"m": m, "k": k, "n": n}
    shapes = [tuple(sizes[label] for label in part) for part in formula.split("->")[0].split(",")]
    random = np.random.default_rng(3)
    left, right = (random.standard_normal(shape).astype("f4") for shape in shapes)
    results = []
    for threads in (1, 2, 3):
        x, y = (graphc.placeholder(name, shape, "float32") for name, shape in zip("xy", shapes, strict=True))
        with graphc.Session(threads=threads) as session:
            results.append(session.run(graphc.einsum(formula, x, y), {x: left, y: right}))
    assert np.abs(results[0] - np.einsum(formula, left.astype("f8"), right)).max() < 2e-5 * k
    assert all(result.tobytes() == results[0].tobytes() for result in results)


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "variant,m,k,n",
    [
        *((f"_few{m}x{n}", m, 5, n) for m, n in [(3, 37), (3, 32), (9, 3), (20, 18), (2, 300), (1, 200), (7, 130)]),
        *((f"_dots{n}", 9, 19, n) for n in range(1, 9)),
        *((f"_shallow{k}", *shape) for k, shape in SHALLOW),
        *((f"_edge{n}", *(m, k, n)) for m, k, n in [(17, 5, 48), (30, 9, 33), (3, 4, 80)]),
    ],
)
def test_no_byte_outside_is_touched_by_the_others(dtype, variant, m, k, n):
    a, b = operands(dtype, m, k, n)
    expected = multiply(a, b, np.empty((m, n), dtype), variant=variant)
    guarded = [Guarded(x.nbytes) for x in (a, b, expected)]
    result = multiply(
        guarded[0].put(a), guarded[1].put(b), guarded[2].put(np.zeros((m, n), dtype)), accumulate=True, variant=variant
    )
    assert (result == expected).all()
    room = np.full((m + 2, n + 3), 7, dtype)
    multiply(a, b, room[1:-1, 1:-2], variant=variant)
    assert (room[1:-1, 1:-2] == expected).all()
    room[1:-1, 1:-2] = 7
    assert (room == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m,n", [(1, 200), (2, 2000), (9, 1728), (11, 330)])
def test_no_byte_outside_is_touched_by_a_worker_of_few_rows_or_columns(dtype, m, n):
    """Before: tiles that the product's columns fill read whole vectors, also where a worker's part ends inside one.

    Workers now cut at multiples of the tile that is chosen; of a product of few columns and many rows, only rows.
    """
    a, b = operands(dtype, m, 5, n)
    whole = multiply(a, b, np.empty((m, n), dtype))
    _, unit = variants.units(f"{dtype}_few{m}x{n}")
    for first in sorted({n // 3 // unit * unit, (n - 1) // unit * unit}):
        guarded, result = Guarded(b.nbytes).put(b)[:, first:], np.full((m, n - first), np.nan, dtype)
        multiply(a, guarded, result, variant=f"_few{m}x{n}")
        assert result.tobytes() == whole[:, first:].tobytes()


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
    single, double = (variants.tile_shape(dtype, target) for dtype in DTYPES)
    assert (single.rows, single.lanes, double.lanes) == expected
    for shape in (single, double):
        assert shape.block_rows % shape.rows == 0
        assert shape.rows * shape.vectors + shape.vectors < target.vector_registers
        assert shape.depth * shape.vectors * target.vector_bytes <= 64 * 1024


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a processor that runs AVX2")
def test_values_on_a_processor_with_avx2(tmp_path):
    """The same tests, compiled for x86-64-v3: 16 registers of 32 bytes, no mask registers."""
    target = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,-avx512f"}
    environment = os.environ | target | {"GRAPHC_CACHE_DIR": str(tmp_path / "kernels")}
    chosen = "odd_columns or test_values and not avx2 or cut or outside or general or dot_products or accumulate"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, __file__]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


@pytest.mark.parametrize("dtype,multiply_add", [("float32", r"fmla\s+v\d+\.4s"), ("float64", r"fmla\s+v\d+\.2d")])
@pytest.mark.parametrize("variant", ["", "_few", "_dots4", "_shallow3"])
def test_assembly_for_neon(dtype, multiply_add, variant, monkeypatch):
    """What a machine with NEON would run: assembled, not executed."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    neon = machine.Machine(triple, "generic", "+neon", *machine._vector_unit(triple, "+neon"))
    monkeypatch.setattr(machine, "host", lambda: neon)
    shape = variants.tile_shape(dtype)
    chains = shape.rows * shape.vectors if variant == "" else shape.low_rows
    if variant == "_few":
        tile = variants.few_tile(dtype, 6, 40)
        assert tile is not None
        variant, chains = "_few6x40", tile.rows * tile.vectors
    elif variant == "_shallow3":
        chains = 3 * variants.strip_vectors(3)
    signature = contraction.signature(dtype)
    module = object_code._module(contraction.source(dtype + variant), "product.py", "kernel", signature, "product")
    assembly = machine.target_machine().emit_assembly(module)
    assert len(re.findall(multiply_add, assembly)) >= chains


def test_other_dtypes_are_refused():
    with pytest.raises(CompileError, match="int32"):
        contraction.address("int32")
    with pytest.raises(CompileError, match="float32_wide"):
        contraction.address("float32_wide")
