"""Math library, integer arithmetic, casts, memory intrinsics and random bits, as kernels use them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache

import mpmath
import numpy as np
import pytest
import ulp
from numba import cfunc, types
from numba.core.errors import TypingError

import graphc.codegen.cpu.intrinsics as intrinsics
import graphc.codegen.cpu.mathlib as mathlib
from graphc.codegen.cpu import machine
from graphc.ir.philox import philox4x32, philox_reference

TABLE = types.CPointer(types.int64)
SIGNATURE = types.void(TABLE, TABLE, types.int64, types.int64)
FLOATS = ("float32", "float64")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


class Kernel:
    """A kernel compiled from source text; called with the arrays of its buffers."""

    def __init__(self, source: str):
        scope = {**vars(intrinsics), **vars(mathlib)}
        exec(source, scope)
        self.compiled = cfunc(SIGNATURE, error_model="numpy")(scope["kernel"])
        self.function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)(self.compiled.address)

    def __call__(self, length: int, *arrays: np.ndarray) -> None:
        buffers, dims = np.array([a.ctypes.data for a in arrays], np.int64), np.array([length], np.int64)
        self.function(buffers.ctypes.data, dims.ctypes.data, 0, 1)

    @property
    def llvm(self) -> str:
        return self.compiled.inspect_llvm()


def loop(inputs: list[str], outputs: list[str], *statements: str) -> Kernel:
    """A kernel over elements: inputs ``x0, x1, ...`` are loaded, then the statements store to ``y0, y1, ...``."""
    kinds = [f"x{k} {kind}" for k, kind in enumerate(inputs)] + [f"y{k} {kind}" for k, kind in enumerate(outputs)]
    lines = ["def kernel(buffers, dims, worker, workers):"]
    for k, text in enumerate(kinds):
        name, kind = text.split()
        lines.append(f"    {name} = pointer_{kind}(buffers, {k})")
    lines += ["    for i in range(dims[0]):", *(f"        {statement}" for statement in statements)]
    return Kernel("\n".join(lines))


@cache
def math_kernel(name: str, dtype: str) -> Kernel:
    inputs = [dtype] * mathlib.ARITY.get(name, 1)
    values = ", ".join(f"load(x{k}, i)" for k in range(len(inputs)))
    return loop(inputs, [dtype], f"store(y0, i, {name}_{dtype}({values}))")


def evaluate(name: str, *inputs: np.ndarray) -> np.ndarray:
    result = np.empty_like(inputs[0])
    math_kernel(name, inputs[0].dtype.name)(len(result), *inputs, result)
    return result


# --- accuracy -------------------------------------------------------------------------------------


def samples(dtype: str, count: int) -> np.ndarray:
    """Both signs; the whole range of exponents, the usual ones more densely, and the neighbourhoods of 0 and 1."""
    generator = np.random.default_rng(7)
    lowest, highest = (-149, 127.9) if dtype == "float32" else (-1074, 1023.9)
    spread = np.exp2(generator.uniform(lowest, highest, count // 4))
    usual = np.exp2(generator.uniform(-12, 8, count // 2))
    near_one = 1 + generator.uniform(-0.6, 1, count // 4)
    positive = np.concatenate([spread, usual, near_one])
    return np.concatenate([positive, -positive]).astype(dtype)


def assert_accurate(name: str, *arguments: np.ndarray) -> None:
    """No result is further from the exact value than its function's limit."""
    errors = ulp.by_mpmath(name, arguments, evaluate(name, *arguments))
    worst = int(errors.argmax())
    limit = ulp.LIMITS.get(name, 2.0)
    assert errors[worst] <= limit, f"{name}{tuple(v[worst] for v in arguments)}: {errors[worst]:.2f} ulp"


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", sorted(name for name, entry in ulp.FUNCTIONS.items() if entry.arguments == 1))
def test_accuracy(name: str, dtype: str) -> None:
    # the whole list of special points takes seconds; a part of it is another one for each function
    points = ulp.special_points(dtype)[len(name) % 13 :: 13]
    x = np.concatenate([samples(dtype, 250), points])
    if name in ("sin", "cos", "tan"):  # the float64 nearest a multiple of pi/2, and its kin in float32
        hard = [16367173 * 2.0**72, 1e22, 6381956970095103 * 2.0**797]
        x = np.append(x, np.array(hard[: 2 if dtype == "float32" else 3], dtype))
    function = ulp.FUNCTIONS[name]
    wide = x.astype("f8")  # bounds may lie beyond float32
    assert_accurate(name, x[(wide >= function.low) & (wide <= function.high) & np.isfinite(wide)])


@pytest.mark.parametrize("name", ["digamma", "lgamma"])
def test_gamma_functions_keep_relative_accuracy_at_their_zeros(name: str) -> None:
    near = np.float64([1.0, 2.0] if name == "lgamma" else [1.4616321449683622])
    steps = np.concatenate([np.arange(-5, 6), 2 ** np.arange(3, 50), -(2 ** np.arange(3, 50))])
    assert_accurate(name, (near.view("i8")[:, None] + steps).ravel().view("f8"))
    assert evaluate("lgamma", np.array([1.0, 2.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["exp2", "log2", "log10", "cbrt"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_whole_powers_give_whole_numbers(name: str, dtype: str) -> None:
    base = {"exp2": 2.0, "log2": 2.0, "log10": 10.0}.get(name)
    high = {"log10": 11 if dtype == "float32" else 23}.get(name, 120)
    whole = np.arange(high, dtype="f8")
    powers = whole**3 if base is None else base**whole
    x, expected = (whole, powers) if name == "exp2" else (powers, whole)
    np.testing.assert_array_equal(evaluate(name, x.astype(dtype)), expected.astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["atan2", "hypot"])
def test_accuracy_of_functions_of_points(name: str, dtype: str) -> None:
    for x, y in ulp.sampled(name, dtype, 1000):
        assert_accurate(name, x, y)


@pytest.mark.parametrize("dtype", FLOATS)
def test_power_accuracy(dtype: str) -> None:
    generator = np.random.default_rng(3)
    x = np.abs(samples(dtype, 800))
    limit = (np.log(np.finfo(dtype).max) + 3) / np.maximum(np.abs(np.log(x.astype("f8"))), 1e-3)
    y = (generator.uniform(-1, 1, len(x)) * limit).astype(dtype)
    x[:50], y[:50] = generator.uniform(-9, 9, 50), generator.integers(-12, 12, 50)
    assert_accurate("power", x, y)


# --- special values -------------------------------------------------------------------------------

NUMPY: dict[str, Callable] = {
    **{
        name: getattr(np, name)
        for name in [
            "abs", "cbrt", "cos", "cosh", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "sign", "sin",
            "sinh", "sqrt", "tan", "tanh",
        ]
    },
    **{f"a{name}": getattr(np, f"arc{name}") for name in ["cos", "cosh", "sin", "sinh", "tan", "tanh"]},
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": lambda x: np.array([math.erf(v) for v in x.tolist()], x.dtype),
    "erfc": lambda x: np.array([math.erfc(v) for v in x.tolist()], x.dtype),
}  # fmt: skip


def specials(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    values = [0.0, info.smallest_subnormal, info.tiny, 0.5, 1.0, 2.0, 3.0, 2.5, 1e30, info.max, np.inf, np.nan]
    return np.array([*values, *(-v for v in values)], dtype)


def assert_same(got: np.ndarray, expected: np.ndarray, *inputs: np.ndarray) -> None:
    """Equal to a few roundings; NaN, infinities and the signs of zeros exactly."""
    tolerance = 8 * np.finfo(got.dtype).eps
    least = 8 * np.finfo(got.dtype).smallest_subnormal
    close = np.isclose(got, expected, rtol=tolerance, atol=least, equal_nan=True)
    # sign(NaN) may be either
    signs = np.isnan(got) | (np.signbit(got) == np.signbit(expected))
    bad = ~(close & signs)
    assert not bad.any(), [tuple(v[bad][0] for v in (*inputs, got, expected))]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", sorted(NUMPY))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values(name: str, dtype: str) -> None:
    x = specials(dtype)
    expected = NUMPY[name](x)
    if name in ("sin", "cos", "tan"):  # NumPy's own float32 is not ours to rely on for huge arguments
        with mpmath.workprec(1300):
            finite = [
                float(ulp.FUNCTIONS[name].exact(mpmath.mpf(v))) if math.isfinite(v) else math.nan for v in x.tolist()
            ]
        expected = np.copysign(np.array(finite, dtype), np.where(x == 0, NUMPY[name](x), np.array(finite)))
    assert_same(evaluate(name, x), expected, x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values_of_gamma_functions(dtype: str) -> None:
    x = np.array([0.0, -0.0, -1.0, -7.0, -1e30, math.inf, -math.inf, math.nan], dtype)
    infinite, nan = math.inf, math.nan
    np.testing.assert_array_equal(evaluate("lgamma", x), np.array([infinite] * 7 + [nan], dtype))
    np.testing.assert_array_equal(
        evaluate("digamma", x), np.array([-infinite, infinite, nan, nan, nan, infinite, nan, nan], dtype)
    )
    tiny = np.array([1e-40, -1e-40], dtype)
    assert_same(evaluate("lgamma", tiny), np.full(2, -math.log(float(tiny[0])), dtype), tiny)
    assert_same(evaluate("digamma", tiny), (-1 / tiny.astype("f8")).astype(dtype), tiny)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["power", "hypot", "arctan2", "nextafter"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_functions_of_two_follow_numpy_on_special_values(name: str, dtype: str) -> None:
    values = specials(dtype)
    x, y = (v.ravel().copy() for v in np.meshgrid(values, values))
    got, expected = evaluate({"arctan2": "atan2"}.get(name, name), x, y), getattr(np, name)(x, y)
    assert_same(got, expected, x, y)
    if name == "nextafter":
        np.testing.assert_array_equal(got, expected)


def test_functions_lists_what_exists() -> None:
    assert set(mathlib.FUNCTIONS) == {*ulp.FUNCTIONS, "abs", "nextafter", "sign"}
    for name, dtypes in mathlib.FUNCTIONS.items():
        assert all(hasattr(mathlib, f"{name}_{dtype}") for dtype in dtypes)


# --- vector code ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", sorted(mathlib.FUNCTIONS))
def test_loops_become_vector_code(name: str, dtype: str) -> None:
    assert {"float32": "x float>", "float64": "x double>"}[dtype] in math_kernel(name, dtype).llvm


@pytest.mark.parametrize("name", sorted(set(mathlib.FUNCTIONS) - set(mathlib.ARITY)))
def test_lanes_and_remainder_give_the_same_bits(name: str) -> None:
    for dtype, bits in (("float32", np.uint32), ("float64", np.uint64)):
        x = np.abs(samples(dtype, 64))[:67]
        together = evaluate(name, x).view(bits)
        alone = np.concatenate([evaluate(name, x[i : i + 1]) for i in range(len(x))]).view(bits)
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("dtype", FLOATS)
def test_scaling_without_an_instruction_gives_the_same_bits(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.concatenate([samples(dtype, 64), specials(dtype), np.linspace(-760, 720, 2000).astype(dtype)])
    usual = evaluate("exp", x)
    plain = machine.host()._replace(features="")
    monkeypatch.setattr(machine, "host", lambda: plain)
    got = np.empty_like(x)
    loop([dtype], [dtype], f"store(y0, i, exp_{dtype}(load(x0, i)))")(len(x), x, got)
    np.testing.assert_array_equal(got.view(np.uint8), usual.view(np.uint8))


def test_float_building_blocks_vectorise_and_keep_nan() -> None:
    kernel = loop(
        ["float32", "float32"], ["float32", "float32", "float32"],
        "a = load(x0, i); b = load(x1, i)",
        "store(y0, i, minimum(a, b)); store(y1, i, maximum(a, b))",
        "store(y2, i, select(a < b, copysign(floor(a), b), fma(a, b, trunc(a) + ceil(b) + rint(a))))",
    )  # fmt: skip
    values = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan], "f4")
    a, b = (v.ravel().copy() for v in np.meshgrid(values, values))
    low, high, mixed = (np.empty_like(a) for _ in range(3))
    kernel(len(a), a, b, low, high, mixed)
    np.testing.assert_array_equal(low, np.minimum(a, b))
    np.testing.assert_array_equal(high, np.maximum(a, b))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(
            mixed, np.where(a < b, np.copysign(np.floor(a), b), a * b + (np.trunc(a) + np.ceil(b) + np.rint(a)))
        )
    assert "x float>" in kernel.llvm


# --- integers and casts ---------------------------------------------------------------------------


def integer_samples(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    edges = [0, 1, 2, 3, 7, 100, info.max, info.max - 1, info.max // 2, info.min, info.min + 1]
    if info.min:
        edges += [-1, -2, -3, -7, -100]
    return np.array(edges, dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_integer_arithmetic_is_numpys(dtype: str) -> None:
    operations: dict[str, Callable] = {
        "add_int": np.add, "sub_int": np.subtract, "mul_int": np.multiply,
        "floordiv_int": np.floor_divide, "remainder_int": np.remainder,
        "minimum_int": np.minimum, "maximum_int": np.maximum,
    }  # fmt: skip
    unary: dict[str, Callable] = {"neg_int": np.negative, "abs_int": np.abs, "sign_int": np.sign}
    calls = [f"{name}(load(x0, i), load(x1, i))" for name in operations] + [f"{name}(load(x0, i))" for name in unary]
    calls.append("power_int(load(x0, i), load(x1, i))")
    kernel = loop([dtype] * 2, [dtype] * len(calls), *(f"store(y{k}, i, {call})" for k, call in enumerate(calls)))
    values = integer_samples(dtype)
    a, b = (v.ravel().copy() for v in np.meshgrid(values, values))
    results = [np.empty_like(a) for _ in calls]
    kernel(len(a), a, b, *results)
    for result, (name, function) in zip(results, operations.items(), strict=False):
        np.testing.assert_array_equal(result, function(a, b), err_msg=name)
    for result, (name, function) in zip(results[len(operations) :], unary.items(), strict=False):
        np.testing.assert_array_equal(result, function(a), err_msg=name)
    allowed = b >= 0  # NumPy refuses the others
    np.testing.assert_array_equal(results[-1][allowed], a[allowed] ** b[allowed])
    truncated = np.where(a == 1, 1, np.where((a == 0) | (abs(a) != 1), 0, 1 - 2 * (b & 1).astype("i8")))
    np.testing.assert_array_equal(results[-1][~allowed], truncated[~allowed])


def test_narrow_integer_loops_vectorise() -> None:
    kernel = loop(["int32"] * 2, ["int32"], "store(y0, i, mul_int(add_int(load(x0, i), load(x1, i)), load(x1, i)))")
    assert "x i32>" in kernel.llvm and "x i64>" not in kernel.llvm


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_casts_from_floats_are_defined_everywhere(source: str) -> None:
    targets = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    kernel = loop([source], list(targets), *(f"store(y{k}, i, as_{t}(load(x0, i)))" for k, t in enumerate(targets)))
    wild = [np.nan, np.inf, -np.inf, 1e30, -1e30]
    tame = [0.0, -0.0, 0.9, -0.9, 1.5, 126.7, 100.0, 5e-40]
    x = np.array([*wild, *tame, -100.5, 3e9, -2147483648.0, 1e18, 1e19], source)
    results = {t: np.empty(len(x), t) for t in targets}
    kernel(len(x), x, *results.values())
    for target, result in results.items():
        usual = slice(len(wild), len(wild) + len(tame))
        np.testing.assert_array_equal(result[usual], x[usual].astype(target))
    for target in ("int32", "int64"):
        np.testing.assert_array_equal(results[target][: len(wild)], np.iinfo(target).min)
        np.testing.assert_array_equal(results[target][-5], -100)
    for target in ("int8", "int16", "uint8", "uint16", "uint32"):
        np.testing.assert_array_equal(results[target][: len(wild)], 0)
    assert results["uint32"][-4] == 3_000_000_000 and results["int32"][-4] == np.iinfo("int32").min
    assert results["int32"][-3] == -(2**31)
    assert results["int64"][-2] == int(x[-2]) and results["uint64"][-1] == int(x[-1])
    np.testing.assert_array_equal(results["uint64"][: len(wild)], 1 << 63)


@pytest.mark.parametrize("source", INTEGERS)
def test_casts_between_integers_and_to_floats(source: str) -> None:
    targets = (*INTEGERS, *FLOATS)
    kernel = loop(
        [source], [*targets, "bool"],
        *(f"store(y{k}, i, as_{t}(load(x0, i)))" for k, t in enumerate(targets)),
        f"store_bool(y{len(targets)}, i, as_bool(load(x0, i)))",
    )  # fmt: skip
    x = integer_samples(source)
    results = [np.empty(len(x), t) for t in (*targets, "bool")]
    kernel(len(x), x, *results)
    for target, result in zip((*targets, "bool"), results, strict=True):
        np.testing.assert_array_equal(result, x.astype(target))


def test_bool_buffers_hold_bytes() -> None:
    kernel = loop(
        ["bool", "float32"],
        ["bool", "float32"],
        "store_bool(y0, i, not load_bool(x0, i))",
        "store(y1, i, as_float32(load_bool(x0, i)) + load(x1, i))",
    )
    flags, x = np.array([True, False, True]), np.arange(3, dtype="f4")
    opposite, total = np.empty(3, bool), np.empty(3, "f4")
    kernel(3, flags, x, opposite, total)
    assert opposite.view(np.uint8).tolist() == [0, 1, 0] and total.tolist() == [1, 1, 3]


# --- memory and failures --------------------------------------------------------------------------


def test_stack_scratch_is_aligned_and_separate() -> None:
    kernel = Kernel("""
def kernel(buffers, dims, worker, workers):
    x = pointer_float32(buffers, 0)
    places = pointer_int64(buffers, 1)
    first = stack_float32(8)
    second = stack_int16(3)
    store(places, 0, address(first))
    store(places, 1, address(second))
    for i in range(8):
        store(first, i, load(x, i))
    for i in range(8):
        store(offset(x, 7), -i, load(first, i))
    store(places, 2, address(offset(first, 3)) - address(first))
""")
    x, places = np.arange(8, dtype="f4"), np.zeros(3, np.int64)
    kernel(8, x, places)
    assert x.tolist() == list(range(7, -1, -1))
    assert (places[:2] % 64).tolist() == [0, 0] and places[0] != places[1] and places[2] == 12


def test_only_the_first_failure_is_kept() -> None:
    kernel = Kernel("""
def kernel(buffers, dims, worker, workers):
    status = pointer_int64(buffers, 0)
    for i in range(dims[0]):
        if i % 3 == 2:
            fail(status, 5, 41, i, i * 10)
""")
    status = np.zeros(4, np.int64)
    kernel(2, status)
    assert status.tolist() == [0, 0, 0, 0]
    kernel(9, status)
    assert status.tolist() == [5, 41, 2, 20]


def test_compare_and_swap() -> None:
    kernel = Kernel("""
def kernel(buffers, dims, worker, workers):
    words = pointer_int64(buffers, 0)
    store(words, 2, compare_and_swap(words, 0, 7, 9))
    store(words, 3, compare_and_swap(words, 1, 7, 9))
""")
    words = np.array([7, 8, 0, 0], np.int64)
    kernel(0, words)
    assert words.tolist() == [9, 8, 7, 8]


def test_dtypes_are_never_mixed_silently() -> None:
    for value in (
        "load(x1, i)",
        "fma(load(x0, i), load(x0, i), load(x1, i))",
        "exp_float64(load(x0, i))",
        "add_int(load(x0, i), load(x0, i))",
    ):
        with pytest.raises(TypingError):
            loop(["float32", "float64"], ["float32"], f"store(y0, i, {value})")


# --- random bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # kat_vectors of Random123
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)  # fmt: skip
def test_philox_known_answers(counter: tuple, key: tuple, words: tuple) -> None:
    assert tuple(int(word) for word in philox4x32(counter, key)) == words


def test_philox_kernel_equals_reference() -> None:
    kernel = loop(
        ["int64", "int64"], ["uint32"],
        "store(y0, i, philox(load(x0, 0), load(x0, 1), load(x0, 2), load(x1, i)))",
    )  # fmt: skip
    index = np.array([*range(70), 2**32 - 1, 2**32, 2**40 + 3], np.int64)
    for seed, stream, step in ((0, 0, 0), (1, 2, 3), (-5, 2**40, 2**33 + 1)):
        result = np.empty(len(index), np.uint32)
        kernel(len(index), np.array([seed, stream, step], np.int64), index, result)
        np.testing.assert_array_equal(result, philox_reference(seed, stream, step, index))


def test_philox_streams_steps_and_elements_differ() -> None:
    index = np.arange(1 << 14)
    draws = [philox_reference(*name, index) for name in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))]
    for k, draw in enumerate(draws):
        assert abs(draw.mean() / 2**32 - 0.5) < 0.01
        for other in draws[:k]:
            assert (draw == other).mean() < 0.001
