"""Every op of the registry against what it must be, with no test written for any of them.

For one op (:func:`check_op`): the harness takes the op's samples (or its context in
:mod:`graphc.testing.contexts`), lets :mod:`graphc.testing.cases` make further cases out of them, compiles them, and
compares with the op's NumPy meaning:

1. values and types in every dtype that the op accepts; float32 against float64 too;
2. feeds that are not contiguous; all lengths around lanes and tiles, 0 and 1 among them, through ONE program;
3. a size large enough to be shared by workers, with one worker and with two: bitwise equal;
4. NaN, infinities, signed zeros, subnormals and extremes, elementwise;
5. derivatives of first and second order against central differences of the reference interpreter.

Routines of linear algebra are applied to matrices that their op's ``trial`` makes of what is drawn, since few matrices
drawn at random are far from singular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY, MatrixRoutine, Op, Reduction, Sample
from graphc.ir.symbolic import evaluate
from graphc.ir.types import DTYPES, is_float
from graphc.ops.base import Elementwise
from graphc.program import Program
from graphc.runtime.executable import PARALLEL_WORK
from graphc.session import Session, compile
from graphc.testing.cases import (
    DIM,
    LENGTHS,
    Case,
    as_dtype,
    named_cases,
    resized,
    scattered,
    shrunk_cases,
    special_case,
    static_case,
)
from graphc.testing.compare import UNITS, CheckFailed, difference, is_exact, keeps_zero_signs, same_bits
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
        first = self.op.samples[0]
        for sample in self.op.samples:
            self._check_sample(sample, self._dtypes(sample, DTYPES if sample is first else THOROUGH))
        self._check_refusals(first)
        if isinstance(self.op, Elementwise):
            self._check_special(first)
        if self.op.public or isinstance(self.op, (Elementwise, MatrixRoutine)):
            case = static_case(self.op, first, self._dtypes(first, THOROUGH)[0])
            for named in named_cases(case):
                self._check_lengths(named)
            self._check_together(shrunk_cases(case))

    def _dtypes(self, sample: Sample, wanted: Sequence[str]) -> list[str | None]:
        """The dtypes that a sample's floats are cast to, main ones first; only None if it has no floats."""
        if not any(is_float(array.dtype) for array in sample.inputs):
            return [None]
        accepted = [dtype for dtype in wanted if dtype in self.op.dtypes]
        return [*(dtype for dtype in THOROUGH if dtype in accepted), *(d for d in accepted if d not in THOROUGH)]

    # -- values ---------------------------------------------------------------------------------------------------

    def _check_sample(self, sample: Sample, dtypes: Sequence[str | None]) -> None:
        """Values in several dtypes, feeds of all layouts, float32 against float64, derivatives."""
        cases = [static_case(self.op, sample, dtype) for dtype in dtypes]
        values = self._check_together(cases)
        if values is not None and {"float32", "float64"} <= set(dtypes):
            self._check_precision(sample, cases[dtypes.index("float32")], values[dtypes.index("float32")])
        if sample.differentiable and self.op.differentiable:
            self._check_derivatives(sample)

    def _check_refusals(self, sample: Sample) -> None:
        """Dtypes that the op does not list are refused or promoted; nothing else may happen."""
        if any(is_float(array.dtype) for array in sample.inputs):
            for dtype in set(DTYPES) - set(self.op.dtypes):
                with suppress(GraphcError):
                    static_case(self.op, sample, dtype).declare()

    def _check_together(self, cases: Sequence[Case]) -> list[list[Array]] | None:
        """Compare cases with the reference, compiled as one program; the values of each, None if both refuse."""
        if not cases:
            return None
        trial = together(cases)
        program = compile(trial.inputs, trial.outputs, session=self.alone)
        oracle = compile(trial.inputs, trial.outputs, session=self.reference)
        arrays = [array for case in cases for array in case.arrays]
        values = self._compare(trial, program, oracle, arrays)
        for layout, others in scattered(arrays):
            again = self._compare(trial, program, oracle, others)
            if values is not None and not all(map(same_bits, values, again or ())):
                raise CheckFailed(f"{trial.labels[0]}: {layout} give other results than contiguous ones")
        if values is None:
            return None
        found = iter(values)
        return [[next(found) for _ in case.declare()[1]] for case in cases]

    def _compare(self, trial: Trial, program: Program, oracle: Program, arrays: Sequence[Array]) -> list[Any] | None:
        """Run both and compare; the values, or None if both refuse the arrays."""
        expected, actual = attempt(oracle, arrays), attempt(program, arrays)
        if isinstance(expected, Exception):
            if not isinstance(actual, GraphcError):
                what = f"{trial.labels[0]}: the reference refuses this ({expected})"
                raise CheckFailed(f"{what}, the compiled program does not")
            return None
        if isinstance(actual, Exception):
            raise CheckFailed(f"{trial.labels[0]}: the compiled program failed: {type(actual).__name__}: {actual}")
        magnitudes: Any = None
        if not all(trial.exact) and not isinstance(self.op, (Elementwise, MatrixRoutine)):
            magnitudes = attempt(oracle, [_absolute(array) for array in arrays])
        for place, (label, tensor) in enumerate(zip(trial.labels, trial.outputs, strict=True)):
            got, want = actual[place], expected[place]
            if want is None:  # an update
                if got is not None:
                    raise CheckFailed(f"{label}: an update returned {got!r}")
                continue
            if got.dtype != tensor.dtype:
                raise CheckFailed(f"{label}: declared {tensor.dtype}, the program returned {got.dtype}")
            magnitude = magnitudes[place] if isinstance(magnitudes, list) else None
            units = UNITS
            if isinstance(self.op, MatrixRoutine):
                magnitude, units = _largest(want), _units_of_matrices(arrays)
            zero_signs = trial.exact[place] and trial.zero_signs[place]
            error = difference(
                label, got, want, exact=trial.exact[place], zero_signs=zero_signs, magnitude=magnitude,
                epsilon=self._epsilon(arrays, want), units=units,
            )  # fmt: skip
            self.error = max(self.error, error)
        return actual

    def _epsilon(self, arrays: Sequence[Array], result: Array) -> float | None:
        """A unit in the last place of 1 that an op owes: that of its result, but of a sum's terms if that is larger."""
        if not isinstance(self.op, Reduction) or result.dtype.kind != "f":
            return None
        return max(float(np.finfo(array.dtype).eps) for array in (*arrays, result) if array.dtype.kind == "f")

    def _check_precision(self, sample: Sample, case: Case, values: Sequence[Array]) -> None:
        """float32 results against the reference in float64, at the values that float32 holds."""
        wide = replace(case, arrays=tuple(as_dtype(array, "float64") for array in case.arrays), _declared={})
        oracle = compile(wide.declare()[0], list(wide.declare()[1]), session=self.reference)
        expected, magnitudes = oracle(*wide.arrays), oracle(*(_absolute(array) for array in wide.arrays))
        for got, want, magnitude in zip(values, expected, magnitudes, strict=True):
            if got.dtype == np.float32 and want.dtype == np.float64:
                with np.errstate(all="ignore"):
                    rounded = want.astype(np.float32)
                units = UNITS
                if isinstance(self.op, MatrixRoutine):
                    magnitude, units = _largest(want), _units_of_matrices(case.arrays)
                difference(f"{case} against float64", got, rounded, magnitude=magnitude, units=2 * units)

    def _check_special(self, sample: Sample) -> None:
        """All combinations of special values in the main dtypes."""
        assert isinstance(self.op, Elementwise)
        cases = [special_case(self.op, sample, dtype) for dtype in self._dtypes(sample, THOROUGH)]
        longest = max(case.arrays[0].size for case in cases)
        self._check_together(
            [replace(case, arrays=tuple(np.resize(array, longest) for array in case.arrays)) for case in cases]
        )

    # -- sizes and workers ----------------------------------------------------------------------------------------

    def _check_lengths(self, case: Case) -> None:
        """One program for all lengths, compiled once; the same bits from one worker and from two."""
        trial = together([case])
        program, double, oracle = (
            compile(trial.inputs, trial.outputs, session=session)
            for session in (self.alone, self.shared, self.reference)
        )
        before = program.compilations
        for length in (*LENGTHS, _length_for_workers(trial)):
            arrays = resized(case, length)
            trial.labels[:] = [f"{case} at {DIM} = {length}"] * len(trial.outputs)
            actual = self._compare(trial, program, oracle, arrays)
            if actual is not None and not all(map(same_bits, actual, double(*arrays))):
                raise CheckFailed(f"{trial.labels[0]}: one worker and two give different bits")
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
            trial = trial_of(f"{self.op.name} in context", inputs, outputs)
            program = compile(trial.inputs, trial.outputs, session=self.alone)
            oracle = compile(trial.inputs, trial.outputs, session=self.reference)
            for _ in range(2):
                self._compare(trial, program, oracle, arrays)
            if dtype == np.float64 and self.op.name in SMOOTH:
                self._compare_derivatives(f"{self.op.name} in context", inputs, outputs, arrays)


@dataclass(frozen=True, eq=False)
class Trial:
    """What is compiled as one program; for each output where it comes from and how it must agree."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    labels: list[str]
    exact: list[bool]
    zero_signs: list[bool]


def trial_of(label: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Trial:
    """A trial of one case."""
    made = tuple(outputs)
    each = ([value] * len(made) for value in (is_exact(made), keeps_zero_signs(made)))
    return Trial(list(inputs), list(outputs), [label] * len(made), *each)


def together(cases: Sequence[Case]) -> Trial:
    """Several cases as one program, which costs far less time to compile than a program each."""
    joined = Trial([], [], [], [], [])
    for case in cases:
        trial = trial_of(str(case), *case.declare())
        for name in ("inputs", "outputs", "labels", "exact", "zero_signs"):
            getattr(joined, name).extend(getattr(trial, name))
    return joined


def attempt(program: Program, arrays: Sequence[Array]) -> list[Any] | Exception:
    """Outputs of a program, or what it raised."""
    try:
        with np.errstate(all="ignore"):
            return list(program(*arrays))
    except (GraphcError, ValueError, IndexError, ZeroDivisionError) as error:
        return error


def _absolute(array: Array) -> Array:
    return np.abs(array) if array.dtype.kind == "f" else array


def _largest(array: Array) -> Array:
    """For each element the largest magnitude in its matrix, or row: what errors of linear algebra are relative to."""
    axes = tuple(range(max(0, array.ndim - 2), array.ndim))
    with np.errstate(all="ignore"):
        return np.broadcast_to(np.max(np.abs(array), axis=axes, keepdims=True, initial=0), array.shape)


def _units_of_matrices(arrays: Sequence[Array]) -> int:
    """Units in the last place of a matrix's largest element that linear algebra may be off by: a few for each row."""
    return UNITS * max((1, *(size for array in arrays for size in array.shape)))


def _length_for_workers(trial: Trial) -> int:
    """A length at which the largest array has more elements than are left to one worker."""
    length = 1
    while max(evaluate(t.type.size, {DIM: length}) for t in (*trial.inputs, *trial.outputs)) <= PARALLEL_WORK:
        length = 2 * length + 1
    return length
