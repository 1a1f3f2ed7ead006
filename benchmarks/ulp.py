#!/usr/bin/env python3
"""Measure the largest error of every function of the math library, in units in the last place.

    python benchmarks/ulp.py [--functions exp,tan] [--dtype float32] [--sample 257] [--json docs/accuracy.json]
    python benchmarks/ulp.py --table docs/accuracy.json > docs/accuracy.md

float32
    Functions of one argument: all 2**32 bit patterns, or with `--sample N` every Nth; N should be odd, so that all low
    bits occur.  The reference is the same function in float64.
float64, and functions of two arguments
    Random bit patterns, random numbers of usual size, and the neighbourhoods of special points, `--count` in all. The
    reference is NumPy's in extended precision where the machine has it, else mpmath, with a hundredth of the count.
Error
    The distance of the result from the exact value, in units in the last place of the exact value.  What looks worst to
    the reference is computed again by mpmath, so that the figures are those of exact values.  lgamma and digamma have
    zeros on the negative axis that no float is close to; there the unit is that of the larger of the terms which
    cancel.
Rows
    One a function and dtype.  They are written to the `--json` file as they come, and what is there already is not
    measured again: a run that was cut off, or ended after `--seconds`, goes on where it stopped.  Only a row with a
    coarser `--sample` than is asked for begins anew.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

import graphc

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

CHUNK = 1 << 19
DIGITS = {"float32": 24, "float64": 53}
EXTENDED = np.finfo(np.longdouble).nmant >= 63
"""Whether long doubles have more digits than float64."""

LIMITS = {"power": 4.0, "lgamma": 4.0, "digamma": 4.0}
"""Units in the last place that a function may err by; the others 2."""


@dataclass(frozen=True)
class Function:
    """A function to measure.

    Attributes
    ----------
    wide : callable or None
        NumPy's function, in any precision.
    exact : callable
        mpmath's.
    float64 : callable or None
        A function for float64 only, used where ``wide`` is None.
    low, high : float
        Arguments beyond these are left out: the result is NaN, or is constant and slow to find out.
    arguments : int
    """

    wide: Callable[..., Any] | None
    exact: Callable[..., Any]
    float64: Callable[..., Any] | None = None
    low: float = -math.inf
    high: float = math.inf
    arguments: int = 1


def scipy_function(name: str) -> Callable[..., Any]:
    """A function of scipy.special, which is imported when it is called."""

    def call(x: Array) -> Array:
        from scipy import special

        return np.asarray(getattr(special, name)(x))

    return call


def held(function: Callable[..., Any], low: float, high: float) -> Callable[..., Any]:
    """mpmath's function, its argument held between two bounds beyond which float64 knows no other value."""
    return lambda x: function(min(max(x, mpmath.mpf(low)), mpmath.mpf(high)))


def _gamma_log(x: Any) -> Any:
    return mpmath.re(mpmath.loggamma(x)) if x > 0 else mpmath.log(abs(mpmath.gamma(x)))


FUNCTIONS: dict[str, Function] = {
    "acos": Function(np.arccos, mpmath.acos, low=-1, high=1),
    "acosh": Function(np.arccosh, mpmath.acosh, low=1),
    "asin": Function(np.arcsin, mpmath.asin, low=-1, high=1),
    "asinh": Function(np.arcsinh, mpmath.asinh),
    "atan": Function(np.arctan, mpmath.atan),
    "atan2": Function(np.arctan2, mpmath.atan2, arguments=2),
    "atanh": Function(np.arctanh, mpmath.atanh, low=-1, high=1),
    "cbrt": Function(np.cbrt, lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x))),
    "cos": Function(np.cos, mpmath.cos),
    "cosh": Function(np.cosh, held(mpmath.cosh, -800, 800)),
    "digamma": Function(None, mpmath.digamma, scipy_function("digamma"), low=-1e15),
    "erf": Function(None, mpmath.erf, scipy_function("erf")),
    "erfc": Function(None, held(mpmath.erfc, -30, 30), scipy_function("erfc")),
    "exp": Function(np.exp, held(mpmath.exp, -800, 800)),
    "exp2": Function(np.exp2, held(lambda x: mpmath.power(2, x), -1200, 1200)),
    "expm1": Function(np.expm1, held(mpmath.expm1, -800, 800)),
    "hypot": Function(np.hypot, mpmath.hypot, arguments=2),
    "lgamma": Function(None, _gamma_log, scipy_function("gammaln"), low=-1e15, high=2.6e305),
    "log": Function(np.log, mpmath.log, low=0),
    "log10": Function(np.log10, mpmath.log10, low=0),
    "log1p": Function(np.log1p, mpmath.log1p, low=-1),
    "log2": Function(np.log2, lambda x: mpmath.log(x, 2), low=0),
    "power": Function(np.power, mpmath.power, arguments=2),
    "rsqrt": Function(lambda x: 1 / np.sqrt(x), lambda x: 1 / mpmath.sqrt(x), low=0),
    "sigmoid": Function(lambda x: 1 / (1 + np.exp(-x)), held(lambda x: 1 / (1 + mpmath.exp(-x)), -800, 800)),
    "sin": Function(np.sin, mpmath.sin),
    "sinh": Function(np.sinh, held(mpmath.sinh, -800, 800)),
    "sqrt": Function(np.sqrt, mpmath.sqrt, low=0),
    "tan": Function(np.tan, mpmath.tan),
    "tanh": Function(np.tanh, held(mpmath.tanh, -50, 50)),
}


# --- arguments -----------------------------------------------------------------------------------------------------


def all_patterns(stride: int, first: int) -> Iterator[tuple[Array, ...]]:
    """float32 of every ``stride``-th bit pattern from the first on, in chunks."""
    step = CHUNK * stride
    for start in range(first, 1 << 32, step):
        patterns = np.arange(start, min(start + step, 1 << 32), stride, dtype=np.uint64)
        yield (patterns.astype(np.uint32).view(np.float32),)


def special_points(dtype: str) -> Array:
    """Numbers near which formulas change or results are special, with their neighbours on both sides."""
    digits = DIGITS[dtype]
    points = [0.25, 0.5, 1.0, 1.25, 1.5, 2.0, 2.25, 2.5, 3.0, 4.0, 6.0, 7.25, 8.0, 10.0, 17.0, 20.0, 27.0]
    points += [math.pi * k / 4 for k in range(1, 30)] + [math.log(2) * (k + 0.5) for k in range(12)]
    points += [
        math.sqrt(0.5),
        math.sqrt(2),
        math.sqrt(2) - 1,
        3 - math.sqrt(8),
        1.4616321449683622,
        88.7,
        89.4,
        104.0,
        709.78,
        710.47,
        745.1,
    ]
    points += [2.0**k for k in (-digits, -digits // 2, -2, digits, digits + 3)]
    centres = np.array(points, dtype)
    pattern = centres.view(f"i{centres.itemsize}")
    near = (pattern[:, None] + np.arange(-40, 41)).ravel().view(dtype)
    return np.concatenate([near, -near])


def random_arguments(dtype: str, count: int, generator: np.random.Generator) -> Array:
    """Random bit patterns, and random numbers of usual size, in equal parts, shuffled; no NaN."""
    part = count // 4
    width = {"float32": 32, "float64": 64}[dtype]
    patterns = generator.integers(0, 1 << width, part, dtype=f"uint{width}").view(dtype)
    usual = generator.choice([-1.0, 1.0], part) * np.exp2(generator.uniform(-30, 10, part))
    even = generator.uniform(-12, 12, part)
    near_one = generator.choice([-1.0, 1.0], part) * (1 + generator.uniform(-0.6, 1.2, part))
    everything = np.concatenate([np.nan_to_num(patterns, nan=0.7), *(v.astype(dtype) for v in (usual, even, near_one))])
    return generator.permutation(everything)


def sampled(name: str, dtype: str, count: int) -> Iterator[tuple[Array, ...]]:
    """Arguments of a function of any number of arguments, in chunks."""
    generator = np.random.default_rng(20)
    points = special_points(dtype)
    function = FUNCTIONS[name]
    if function.arguments == 1:
        yield (points,)
        for start in range(0, count, CHUNK):
            yield (random_arguments(dtype, min(CHUNK, count - start), generator),)
        return
    for start in range(0, count, CHUNK):
        first, second = (random_arguments(dtype, min(CHUNK, count - start), generator) for _ in range(2))
        if name == "power":
            first = np.abs(first)
            limit = (math.log(float(np.finfo(dtype).max)) + 3) / np.maximum(np.abs(np.log(first.astype("f8"))), 1e-3)
            second = np.where(generator.random(len(second)) < 0.1, second, generator.uniform(-1, 1, len(first)) * limit)
        else:  # of one size, where both count
            with np.errstate(over="ignore"):
                close = first * generator.uniform(-3, 3, len(first))
            second = np.where(generator.random(len(second)) < 0.2, second, np.nan_to_num(close))
        with np.errstate(over="ignore"):
            yield first, second.astype(dtype)


# --- errors --------------------------------------------------------------------------------------------------------


CANCELLING = {"digamma": lambda x: 1 - x, "lgamma": abs}
"""Functions with zeros that cancel for negative x, and where to find the size of the terms: the function at this."""


def scale_of(name: str, x: Array, reference: Array) -> Array:
    """What an error is measured against: the result's size, or that of the terms that cancel for negative arguments."""
    size = np.abs(reference)
    if name in CANCELLING:
        other = FUNCTIONS[name].float64
        assert other is not None
        size = np.where(x < 0, np.fmax(np.fmax(size, 1), np.abs(other(CANCELLING[name](x.astype("f8"))))), size)
    return size


def unit(size: Array, dtype: str) -> Array:
    """A unit in the last place of numbers of a size."""
    least = {"float32": -149, "float64": -1074}[dtype]
    exponent = np.frexp(size)[1] - DIGITS[dtype]
    return np.ldexp(np.ones_like(size), np.maximum(exponent, least))


def errors(name: str, arguments: tuple[Array, ...], got: Array, reference: Array) -> Array:
    """Distances in units in the last place; infinite where one is NaN and the other is not, or an overflow is wrong."""
    dtype = got.dtype.name
    largest = float(np.finfo(dtype).max)
    wide = got.astype(reference.dtype)
    distance = np.abs(wide - reference) / unit(scale_of(name, arguments[0], reference), dtype)
    overflow = np.isinf(got) | (np.abs(reference) > largest)
    right = (np.abs(reference) >= largest * (1 - 2.0 ** -DIGITS[dtype])) & (np.sign(got) == np.sign(reference))
    distance = np.where(overflow, np.where(right, 0.0, np.inf), distance)
    unknown = np.isnan(got) | np.isnan(reference)
    return np.where(unknown, np.where(np.isnan(got) & np.isnan(reference), 0.0, np.inf), distance).astype(np.float64)


def exact_error(name: str, arguments: tuple[float, ...], got: float, dtype: str) -> float:
    """The same for one result, by mpmath."""
    if not all(map(math.isfinite, arguments)):
        return 0.0
    with mpmath.workprec(1300 if name in ("sin", "cos", "tan") else 250):
        try:
            value = FUNCTIONS[name].exact(*map(mpmath.mpf, arguments))
        except (ValueError, ZeroDivisionError):  # a pole
            return 0.0 if not math.isfinite(got) else math.inf
        if isinstance(value, mpmath.mpc):
            value = value.real
        largest = float(np.finfo(dtype).max)
        if not mpmath.isfinite(value) or abs(value) > largest or math.isinf(got):
            right = abs(value) >= largest * (1 - mpmath.mpf(2) ** -DIGITS[dtype]) and (got > 0) == (value > 0)
            return 0.0 if right else math.inf
        if math.isnan(got):
            return math.inf
        size = abs(value)
        if name in CANCELLING and arguments[0] < 0:
            size = max(size, 1, abs(FUNCTIONS[name].exact(CANCELLING[name](mpmath.mpf(arguments[0])))))
        exponent = mpmath.frexp(size)[1] - DIGITS[dtype] if size else -2000
        least = {"float32": -149, "float64": -1074}[dtype]
        return float(abs(mpmath.mpf(got) - value) / mpmath.mpf(2) ** max(exponent, least))


def by_mpmath(name: str, arguments: tuple[Array, ...], got: Array) -> Array:
    """Errors of all results by mpmath."""
    columns = zip(*(v.tolist() for v in arguments), got.tolist(), strict=True)
    return np.array([exact_error(name, tuple(row[:-1]), row[-1], got.dtype.name) for row in columns])


# --- a function ----------------------------------------------------------------------------------------------------


def kernel(name: str, dtype: str) -> Callable[..., Any]:
    """The function, compiled."""
    inputs = [graphc.placeholder(f"x{k}", ("n",), dtype) for k in range(FUNCTIONS[name].arguments)]
    program = graphc.compile(inputs, [getattr(graphc, name)(*inputs)], session=graphc.Session(threads=1))
    return lambda *arrays: program(*arrays)[0]


def reference_of(name: str, dtype: str) -> Callable[..., Any] | None:
    """A function of wider arrays; None if there is none but mpmath."""
    function = FUNCTIONS[name]
    if dtype == "float32":
        call = function.wide or function.float64
        assert call is not None
        return lambda *arrays: call(*(v.astype(np.float64) for v in arrays))
    wide = function.wide
    if wide is None or not EXTENDED:
        return None
    return lambda *arrays: wide(*(v.astype(np.longdouble) for v in arrays))


def measure(row: Row, count: int, until: float) -> None:
    """Continue a row until it is complete or the time is over: the largest error, and where it is."""
    name, dtype, stride = row["function"], row["dtype"], row["stride"]
    function, call, reference = FUNCTIONS[name], kernel(name, dtype), reference_of(name, dtype)
    if reference is None:
        count //= 100
    chunks = all_patterns(stride, row["next"]) if stride else sampled(name, dtype, count)
    for chunk in chunks:
        inside = np.isfinite(chunk[0]) & (chunk[0] >= function.low) & (chunk[0] <= function.high)
        arguments = tuple(v if inside.all() else v[inside] for v in chunk)
        got = call(*arguments)
        row["arguments"] += len(got)
        if reference is not None:
            with np.errstate(all="ignore"):
                exact = reference(*arguments)
                other = np.flatnonzero(got != exact.astype(dtype))  # the rest err by half a unit at most
                row["rounded"] += len(got) - len(other)
                arguments, got = tuple(v[other] for v in arguments), got[other]
                found = errors(name, arguments, got, exact[other])
        else:
            found = by_mpmath(name, arguments, got)
        row["rounded"] += int(np.count_nonzero(found <= 0.5))
        candidates = np.flatnonzero(found > row["error"])
        for place in candidates[np.argsort(-found[candidates])][:2000]:
            if found[place] <= row["error"]:
                break
            values = tuple(float(v[place]) for v in arguments)
            error = exact_error(name, values, float(got[place]), dtype)
            if error > row["error"]:
                row.update(error=error, at=[repr(v) for v in values])
        if stride:
            row["next"] += stride * CHUNK
            if time.monotonic() > until:
                break
    row["complete"] = not stride or row["next"] >= 1 << 32


def new_row(name: str, dtype: str, stride: int) -> Row:
    """A row of which nothing is measured yet; ``stride`` is 0 where arguments are random."""
    whole = dtype == "float32" and FUNCTIONS[name].arguments == 1
    return {
        "function": name, "dtype": dtype, "limit": LIMITS.get(name, 2.0), "error": 0.5, "at": [], "arguments": 0,
        "rounded": 0, "stride": stride if whole else 0, "next": 0, "complete": False,
    }  # fmt: skip


# --- tables --------------------------------------------------------------------------------------------------------


def described(row: Row) -> str:
    """Which arguments were tried."""
    if row["stride"] == 1:
        return "all"
    return f"every {row['stride']}th" if row["stride"] else f"{row['arguments']:,}"


def table(rows: list[Row]) -> str:
    """Rows as a table in Markdown."""
    head = ["function", "dtype", "largest error, ulp", "limit", "at", "within half an ulp", "arguments"]
    cells = [
        [row["function"], row["dtype"], f"{row['error']:.3f}", f"{row['limit']:g}", ", ".join(row["at"]),
         f"{row['rounded'] / row['arguments']:.2%}", described(row)]
        for row in sorted(rows, key=lambda row: (row["function"], row["dtype"]))
        if row["complete"]
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = (False, False, True, True, False, True, True)

    def line(parts: list[str]) -> str:
        padded = (p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(head), line(rule), *map(line, cells)])


PAGE = """# Accuracy

Made by `python benchmarks/ulp.py`; nothing here is written by hand. For each function of the math library the largest
distance of a result from the exact value, in units in the last place (ulp) of the exact value, and an argument
where it occurs. The exact values are mpmath's; see the script for how they are found.

"all" are the 2**32 bit patterns of float32, NaN and infinity and what lies outside of the domain left out. A number is
that of random arguments and neighbours of special points. Special values (zeros of both signs, infinities, NaN,
subnormals) are compared with NumPy's in `tests/codegen/test_mathlib.py`.

lgamma and digamma have zeros for negative arguments; there the unit is that of the larger of the terms that cancel, and
at least that of 1.
"""


def main() -> None:
    """Measure, print a table, write rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", default=",".join(FUNCTIONS), help="names, separated by commas")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both if not given")
    parser.add_argument("--sample", type=int, default=1, help="float32: every Nth bit pattern")
    parser.add_argument("--count", type=int, default=4_000_000, help="random arguments where not all are tried")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--json", type=Path, help="a file of rows to continue")
    parser.add_argument("--table", type=Path, help="print the page of a file of rows, and measure nothing")
    options = parser.parse_args()
    if options.table:
        print(PAGE + "\n" + table(json.loads(options.table.read_text())))
        return
    names = options.functions.split(",")
    unknown = sorted(set(names) - set(FUNCTIONS))
    if unknown:
        parser.error(f"no functions {', '.join(unknown)}; there are {', '.join(FUNCTIONS)}")
    rows: dict[tuple[str, str], Row] = {}
    if options.json and options.json.exists():
        rows = {(row["function"], row["dtype"]): row for row in json.loads(options.json.read_text())}
    until = time.monotonic() + options.seconds
    for dtype in (options.dtype,) if options.dtype else ("float32", "float64"):
        for name in names:
            row = rows.get((name, dtype))
            if row is None or row["stride"] > options.sample:
                row = new_row(name, dtype, options.sample)
            if row["complete"] or time.monotonic() > until:
                continue
            measure(row, options.count, until)
            rows[name, dtype] = row
            shown = f"{row['error']:.3f} at {', '.join(row['at'])}"
            print(f"{name} {dtype}: {shown}{'' if row['complete'] else ' so far'}", file=sys.stderr)
            if options.json:
                lines = ",\n".join(json.dumps(r) for r in rows.values())
                options.json.write_text(f"[\n{lines}\n]\n")
    print(table(list(rows.values())))


if __name__ == "__main__":
    main()
