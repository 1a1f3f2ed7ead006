"""Every op of the registry against what it must be, with no test written for any of them.

For one op (:func:`check_op`): the harness takes the op's samples (or its context in
:mod:`graphc.testing.contexts`), lets :mod:`graphc.testing.cases` make further cases out of them, compiles them, and
compares with the op's NumPy meaning:

1. values and types in every dtype that the op accepts; float32 against float64 too;
2. feeds that are not contiguous; all lengths around lanes and tiles, 0 and 1 among them, through ONE program;
3. a size large enough to be shared by workers, with one worker and with two: bitwise equal;
4. NaN, infinities, signed zeros, subnormals and extremes, elementwise;
5. derivatives of first and second order against central differences of the reference interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

import graphc.ops
from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY, Op, Sample
from graphc.ir.types import DTYPES, is_float
from graphc.ops.base import Elementwise
from graphc.runtime.executable import PARALLEL_WORK
from graphc.session import Program, Session, compile
from graphc.testing.cases import (
    DIM,
    LENGTHS,
    Case,
    as_dtype,
    named_cases,
    resized,
    scattered,
    special_case,
    static_case,
)
from graphc.testing.compare import CheckFailed, difference, is_exact, keeps_zero_signs, same_bits
from graphc.testing.contexts import CONTEXTS, SMOOTH
from graphc.testing.gradients import compare_derivatives, derivative_graph

Array = NDArray[Any]

THOROUGH = ("float32", "float64", "int64", "bool")
"""Dtypes in which all samples run; the others run the first one."""

DERIVATIVE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Row:
    """What the check of one op found.

    Attributes
    ----------
    op, kind : str
        Its name, and the kind of stage that computes it.
    dtypes : tuple of str
        That it accepts.
    error : float
        Largest relative error against the reference.
    first, second : float
        Largest relative errors of the derivatives; NaN where there are none.
    ok : bool
    why : str
        The first failure; empty if there is none.
    """

    op: str
    kind: str
    dtypes: tuple[str, ...]
    error: float
    first: float
    second: float
    ok: bool
    why: str


def check_all(names: Iterable[str] | None = None, on_row: Callable[[Row], None] | None = None) -> list[Row]:
    """Check ops; all of the registry if no names are given.

    Parameters
    ----------
    names : iterable of str, optional
    on_row : callable, optional
        Told of each row as soon as it is there.

    Raises
    ------
    GraphcError
        If a name is not in the registry.
    """
    rows = []
    for _, op in registered(names):
        rows.append(check_op(op))
        if on_row is not None:
            on_row(rows[-1])
    return rows


def registered(names: Iterable[str] | None = None) -> list[tuple[str, Op]]:
    """Ops by name, in alphabetic order; all of the registry if no names are given.

    Raises
    ------
    GraphcError
        If a name is not in the registry.
    """
    for name in names or ():
        if name not in REGISTRY:
            near = get_close_matches(name, REGISTRY, 1)
            raise GraphcError(
                f"there is no op named {name!r}", hint=f"did you mean {near[0]!r}?" if near else "graphc ops lists them"
            )
    return [(name, REGISTRY[name]) for name in sorted(names or REGISTRY)]


def check_op(op: Op) -> Row:
    """Run every check that applies to an op; failures of any kind end up in the row."""
    with Checker(op) as checker:
        why = ""
        try:
            checker.run()
        except Exception as error:  # a crash of the compiler is a finding like any other
            text = str(error) or repr(error)
            why = text if isinstance(error, GraphcError) else f"{type(error).__name__}: {text}"
        return Row(op.name, op.kind, op.dtypes, checker.error, checker.first, checker.second, not why, why)


class Checker:
    """The checks of one op, and the sessions they share.

    Attributes
    ----------
    error, first, second : float
        Largest errors so far.
    """

    def __init__(self, op: Op):
        self.op = op
        self.alone, self.shared = Session(threads=1), Session(threads=2)
        self.reference = Session(threads=1, backend="reference")
        self.error = 0.0
        self.first = self.second = float("nan")

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *exception: object) -> None:
        for session in (self.alone, self.shared, self.reference):
            session.close()

    def run(self) -> None:
        """All checks that apply."""
        if self.op.name in CONTEXTS:
            self._check_context()
            return
        if not self.op.samples:
            raise CheckFailed(f"{self.op.name} has no samples")
        for sample in self.op.samples:
            self._check_sample(sample)
        first = self.op.samples[0]
        self._check_other_dtypes(first)
        if isinstance(self.op, Elementwise):
            for dtype in self._float_choices(first, THOROUGH):
                self._check_special(first, dtype)
        if self.op.public or isinstance(self.op, Elementwise):
            for dtype in self._float_choices(first, self.op.dtypes)[:1]:
                for case in named_cases(static_case(self.op, first, dtype)):
                    self.check_lengths(case)

    def _float_choices(self, sample: Sample, wanted: Sequence[str]) -> list[str | None]:
        """The dtypes that a sample's floats are cast to; only None if it has no floats."""
        if not any(is_float(array.dtype) for array in sample.inputs):
            return [None]
        preferred = [dtype for dtype in THOROUGH if dtype in self.op.dtypes and dtype in wanted]
        return [*preferred, *(dtype for dtype in self.op.dtypes if dtype in wanted and dtype not in preferred)]

    # -- values ---------------------------------------------------------------------------------------------------

    def _check_sample(self, sample: Sample) -> None:
        """Values in the main dtypes, feeds of all layouts, float32 against float64, derivatives."""
        for dtype in self._float_choices(sample, THOROUGH):
            case = static_case(self.op, sample, dtype)
            inputs, outputs = case.declare()
            self.check_values(str(case), inputs, outputs, [case.arrays, *(a for _, a in scattered(case.arrays))])
            if dtype == "float32" and "float64" in self.op.dtypes:
                self._check_precision(sample)
        if sample.differentiable and self.op.differentiable:
            self._check_derivatives(sample)

    def _check_other_dtypes(self, sample: Sample) -> None:
        """One sample in each further dtype; dtypes that the op does not list are refused or promoted, never garbled."""
        for dtype in self._float_choices(sample, DTYPES):
            if dtype is not None and dtype not in THOROUGH:
                case = static_case(self.op, sample, dtype)
                self.check_values(str(case), *case.declare(), [case.arrays])
        for dtype in set(DTYPES) - set(self.op.dtypes):
            if any(is_float(array.dtype) for array in sample.inputs):
                try:
                    static_case(self.op, sample, dtype).declare()
                except GraphcError:
                    continue

    def check_values(
        self, what: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], feeds: Iterable[Sequence[Array]]
    ) -> Program:
        """Compare a compiled program with the reference on several sets of arrays; return the program."""
        program = compile(inputs, list(outputs), session=self.alone)
        oracle = compile(inputs, list(outputs), session=self.reference)
        for arrays in feeds:
            self._compare(what, program, oracle, outputs, arrays)
        return program

    def _compare(
        self, what: str, program: Program, oracle: Program, outputs: Sequence[Tensor], arrays: Sequence[Array]
    ) -> list[Any] | None:
        expected = attempt(oracle, arrays)
        actual = attempt(program, arrays)
        if isinstance(expected, Exception):
            if not isinstance(actual, GraphcError):
                raise CheckFailed(f"{what}: the reference refuses these inputs ({expected}), the compiled program does not")
            return None
        if isinstance(actual, Exception):
            raise CheckFailed(f"{what}: the compiled program failed: {type(actual).__name__}: {actual}")
        exact = is_exact(tuple(outputs))
        magnitudes = None if exact or isinstance(self.op, Elementwise) else attempt(oracle, [_absolute(a) for a in arrays])
        for place, tensor in enumerate(outputs):
            if expected[place] is None:
                if actual[place] is not None:
                    raise CheckFailed(f"{what}: an update returned {actual[place]!r}")
                continue
            if actual[place].dtype != tensor.dtype:
                raise CheckFailed(f"{what}: declared {tensor.dtype}, the program returned {actual[place].dtype}")
            error = difference(
                what,
                actual[place],
                expected[place],
                exact=exact,
                zero_signs=exact and keeps_zero_signs(tuple(outputs)),
                magnitude=magnitudes[place] if isinstance(magnitudes, list) else None,
            )
            self.error = max(self.error, error)
        return actual

    def _check_precision(self, sample: Sample) -> None:
        """float32 results against the reference in float64, at the values that float32 holds."""
        single = static_case(self.op, sample, "float32")
        double = Case(
            self.op, tuple(as_dtype(a, "float64") for a in single.arrays), single.attributes, single.shapes
        )
        inputs, outputs = single.declare()
        _, wide = double.declare()
        narrow = compile(inputs, list(outputs), session=self.alone)(*single.arrays)
        oracle = compile(double.declare()[0], list(wide), session=self.reference)
        expected = oracle(*double.arrays)
        magnitudes = oracle(*(_absolute(a) for a in double.arrays))
        for got, want, magnitude in zip(narrow, expected, magnitudes, strict=True):
            if got.dtype == np.float32 and want.dtype == np.float64:
                with np.errstate(all="ignore"):
                    rounded = want.astype(np.float32)
                difference(f"{single} against float64", got, rounded, magnitude=magnitude, units=32)

    def _check_special(self, sample: Sample, dtype: str | None) -> None:
        case = special_case(self.op, sample, dtype)  # type: ignore[arg-type]
        self.check_values(f"{case} at special values", *case.declare(), [case.arrays])

    # -- sizes and workers ----------------------------------------------------------------------------------------

    def check_lengths(self, case: Case) -> None:
        """One program for all lengths, compiled once; the same bits from one worker and from two."""
        inputs, outputs = case.declare()
        program = compile(inputs, list(outputs), session=self.alone)
        double = compile(inputs, list(outputs), session=self.shared)
        oracle = compile(inputs, list(outputs), session=self.reference)
        before = program.compilations
        for length in (*LENGTHS, _length_for_workers(case)):
            arrays = resized(case, length)
            what = f"{case} at {DIM} = {length}"
            actual = self._compare(what, program, oracle, outputs, arrays)
            if actual is None:
                continue
            for one, two in zip(actual, double(*arrays), strict=True):
                if not same_bits(one, two):
                    raise CheckFailed(f"{what}: one worker and two give different bits")
        if program.compilations != before:
            raise CheckFailed(f"{case}: a new length compiled {program.compilations - before} kernels")

    # -- derivatives ----------------------------------------------------------------------------------------------

    def _check_derivatives(self, sample: Sample) -> None:
        case = static_case(self.op, sample, "float64")
        inputs, outputs = case.declare()
        self._compare_derivatives(str(case), inputs, outputs, case.arrays)

    def _compare_derivatives(
        self, what: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], arrays: Sequence[Array]
    ) -> None:
        if not any(is_float(t.dtype) for t in inputs) or not any(is_float(t.dtype) for t in outputs):
            return
        report = compare_derivatives(
            derivative_graph(inputs, outputs),
            arrays,
            exact=self.alone,
            numeric=self.reference,
            tolerance=DERIVATIVE_TOLERANCE,
            what=what,
        )
        self.first = float(np.fmax(self.first, report.first))
        self.second = float(np.fmax(self.second, report.second))

    def _check_context(self) -> None:
        """Two runs in both float dtypes, so that what the first one wrote is read by the second."""
        context = CONTEXTS[self.op.name]
        for dtype in map(np.dtype, ("float32", "float64")):
            (inputs, outputs), arrays = context(dtype)
            self.check_values(f"{self.op.name} in context", inputs, outputs, [arrays, arrays])
            if dtype == np.float64 and self.op.name in SMOOTH:
                self._compare_derivatives(f"{self.op.name} in context", inputs, outputs, arrays)


def attempt(program: Program, arrays: Sequence[Array]) -> list[Any] | Exception:
    """Outputs of a program, or what it raised."""
    try:
        with np.errstate(all="ignore"):
            return list(program(*arrays))
    except (GraphcError, ValueError, IndexError, ZeroDivisionError) as error:
        return error


def _absolute(array: Array) -> Array:
    return np.abs(array) if array.dtype.kind == "f" else array


def _length_for_workers(case: Case) -> int:
    """A length at which the work exceeds what is left to one worker."""
    elements = max(
        int(np.prod([1 if size == DIM else size for size in shape], dtype=np.int64))  # type: ignore[arg-type]
        for shape in case.shapes
        if DIM in shape
    )
    return PARALLEL_WORK // elements + 3
