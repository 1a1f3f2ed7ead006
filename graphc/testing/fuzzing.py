"""Random graphs compiled and interpreted: do both mean the same, and what is the least graph that shows they do not.

:func:`check` compares the compiled program with the reference interpreter, and bitwise one worker with two, and a first
call with one after calls of other sizes. How far two right computations of a graph may differ is measured, not guessed
(:func:`sensitivity`): the reference computes it again with every rounded result moved by a few units in the last place.
Where a difference is found, more such trials must confirm it: a rounding may decide a comparison, which few trials do
not show.

:func:`shrink` makes a failing graph smaller for as long as it fails in the same way: fewer outputs, calls left out,
intermediate values fed instead of computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.graph import Graph, holds
from graphc.ir.node import Node, Tensor
from graphc.ir.op import AxisScan, Contraction, Control, IndexedAccumulation, MatrixRoutine, Reduction, Source
from graphc.ir.symbolic import RUN_SIZES
from graphc.ir.types import is_float
from graphc.ops.bodies import COMPUTE
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.passes.streams import number_streams
from graphc.program import Program
from graphc.runtime import executable
from graphc.runtime.reference import sizes_of
from graphc.session import Session
from graphc.testing.compare import ROUNDED, is_exact_node, same_bits
from graphc.testing.recipes import Call, Input, Recipe, Ref, renumbered

Array = NDArray[Any]

ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide", "floor_divide", "remainder", "sqrt"})
"""Scalar functions whose results are rounded, if only in one way."""

SUMS = frozenset({
    "accumulate", "accumulate_along_axis", "contract", "cumulative_sum", "scatter_add", "sum", "sum_chunks",
})  # fmt: skip
"""Ops that add many terms up, in an order of their own."""

MOVED_UNITS = 4
"""Units in the last place by which :func:`sensitivity` moves rounded results."""

TRIALS, MORE_TRIALS = 4, 60

ALLOWED_UNITS = 64
"""Units in the last place that results may differ by, beyond what the inputs' last places decide."""


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes
    ----------
    kind : str
        ``"equal"``; ``"rejected"`` if the reference refuses to run the graph, as for the largest of no elements; else
        what is wrong, in a word.
    text : str
        The particulars.
    """

    kind: str
    text: str = ""

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return self.kind not in ("equal", "rejected")


def check(recipe: Recipe) -> Verdict:
    """Compare the ways to compute a graph; never raises for what graphc does wrong."""

    def compiled(graph: Declared) -> tuple[list[Array], Sequence[Pair]]:
        one, shared, again = graph.run(), graph.run_shared(), graph.run_again((1, 4))
        # without updates other values share kernels, which may add them up in another order than with them
        first = graph.run_again(()) if graph.updates else one
        differ = "one worker and two differ", one, shared
        return one, (differ, ("calls of other sizes change a result", first, again))

    return judged(recipe, compiled)


Pair = tuple[str, Sequence[Array], Sequence[Array]]
"""Results that must have equal bits, and what is wrong if they have not."""


def judged(recipe: Recipe, run: Callable[[Declared], tuple[list[Array], Sequence[Pair]]]) -> Verdict:
    """Compare some way to compute a graph with the reference interpreter; never raises for what graphc does wrong.

    Parameters
    ----------
    recipe : Recipe
    run : callable
        Its results, and pairs of results that must have equal bits.
    """
    try:
        graph = Declared.of(recipe)
    except GraphcError as error:
        return Verdict("rejected", str(error))
    except Exception as error:
        return Verdict(f"declaring raises {type(error).__name__}", str(error))
    with np.errstate(all="ignore"):
        try:
            expected = graph.run(backend="reference")
        except GraphcError as error:
            return Verdict("rejected", str(error))
        except Exception as error:
            return Verdict(f"the reference raises {type(error).__name__}", str(error))
        try:
            got, pairs = run(graph)
        except Exception as error:
            return Verdict(f"the compiler raises {type(error).__name__}", str(error))
    for text, ones, others in pairs:
        for place, (one, two) in enumerate(zip(ones, others, strict=True)):
            if not same_bits(one, two):
                return Verdict(text, f"output {place}: {one} and {two}")
    return compare(graph, got, expected)


@dataclass(frozen=True)
class Declared:
    """A graph and what it is fed.

    Attributes
    ----------
    inputs, outputs, updates : tuple of Tensor
    arrays : tuple of ndarray
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    updates: tuple[Tensor, ...]
    arrays: tuple[Array, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> Declared:
        """Declare a recipe.

        Raises
        ------
        GraphcError
            What graphc refuses.
        """
        inputs, outputs, updates = recipe.build()
        return cls(tuple(inputs), tuple(outputs), tuple(updates), tuple(given.array for given in recipe.inputs))

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The outputs, then what variables are assigned."""
        return (*self.outputs, *(update.node.inputs[1] for update in self.updates))

    def run(self, **options: Any) -> list[Array]:
        """The results by a session with these options: outputs, then the variables after the step."""
        with Session(**{"threads": 1, **options}) as session:
            values = Program(self.inputs, (*self.outputs, *self.updates), session)(*self.arrays)
            written = [session.get(update.node.inputs[0]) for update in self.updates]
            return [np.asarray(value) for value in (*values[: len(self.outputs)], *written)]

    def run_again(self, others: Sequence[int]) -> list[Array]:
        """The results without updates, by a program that was called before with feeds of other lengths.

        These have so many halves of the elements, each in turn.
        """
        with Session(threads=1) as session:
            program = Program(self.inputs, self.results, session)
            for halves in others:
                with suppress(GraphcError):  # lengths may not fit together, or be too short for a reduction
                    program(*(_of_length(*each, halves) for each in zip(self.inputs, self.arrays, strict=True)))
            return [np.asarray(value) for value in program(*self.arrays)]

    def run_shared(self) -> list[Array]:
        """By two workers, however small the work is."""
        before = executable.PARALLEL_WORK
        executable.PARALLEL_WORK = 1
        try:
            return self.run(threads=2)
        finally:
            executable.PARALLEL_WORK = before


def _of_length(tensor: Tensor, array: Array, halves: int) -> Array:
    """What a placeholder is fed, with so many halves of its elements along axes of named size."""
    for axis, size in enumerate(tensor.shape):
        if not isinstance(size, int) and array.shape[axis]:
            length = array.shape[axis]
            array = np.take(array, np.arange(length * halves // 2) % length, axis)
    return array


def compare(graph: Declared, got: Sequence[Array], want: Sequence[Array]) -> Verdict:
    """Equal up to what roundings on the way would change, and a few units in the last place."""
    for place, (left, right, tensor) in enumerate(zip(got, want, graph.results, strict=True)):
        if left.dtype != right.dtype or left.shape != right.shape or left.dtype != tensor.dtype:
            shown = f"{left.dtype}{left.shape} is not {right.dtype}{right.shape}"
            return Verdict("types differ", f"output {place}: {shown}")
    verdict, units = Verdict("equal"), [_rounding_unit(tensor) for tensor in graph.results]
    for trials in (0, TRIALS, MORE_TRIALS):
        changes = sensitivity(graph, trials) if trials else [np.zeros(a.shape) for a in want]
        verdict = _within(got, want, changes, units)
        if not verdict.failed:
            break
    return verdict


def _rounding_unit(tensor: Tensor) -> float:
    """Of the least precise float that a tensor is made of; 0 for integers."""
    if not is_float(tensor.dtype):
        return 0.0
    rough = holds(Graph((), (tensor,)), lambda node: any(entry.dtype == np.float32 for entry in node.results))
    return float(np.finfo(np.float32 if rough else np.float64).eps)


def _within(got: Sequence[Array], want: Sequence[Array], changes: Sequence[Array], units: Sequence[float]) -> Verdict:
    for place, (left, right, change, unit) in enumerate(zip(got, want, changes, units, strict=True)):
        with np.errstate(all="ignore"):
            wide = right.astype(np.float64)
            distance = np.abs(left.astype(np.float64) - wide)
            scale = np.abs(wide) + np.max(np.abs(wide), initial=0, where=np.isfinite(wide))
        equal = (left == right) | ((left != left) & (right != right))
        close = equal | (distance <= 8 * change + ALLOWED_UNITS * unit * scale) | np.isinf(change)
        if not np.all(close):
            where = tuple(int(k) for k in np.argwhere(~close)[0])
            text = f"output {place} at {where}: compiled {left[where]!r}, reference {right[where]!r}"
            return Verdict("values differ", f"{text} ({np.count_nonzero(~close)} of {close.size} elements)")
    return Verdict("equal")


def sensitivity(graph: Declared, trials: int = TRIALS) -> list[Array]:
    """How much each element of the results changes when every rounded value on the way changes in its last places.

    Parameters
    ----------
    graph : Declared
    trials : int
        How often values are moved, at random.

    Returns
    -------
    list of ndarray
        The largest change seen, infinite where a value appears or vanishes; float64, of the results' shapes.
    """
    expanded = decompose(differentiate(number_streams(Graph(graph.inputs, graph.results))))
    feeds = dict(zip(graph.inputs, graph.arrays, strict=True))
    token = RUN_SIZES.set(sizes_of(feeds))
    try:
        with np.errstate(all="ignore"):
            base = _computed(expanded, feeds, None)
            found = [np.zeros(np.shape(value)) for value in base]
            for trial in range(trials):
                try:
                    moved = _computed(expanded, feeds, np.random.default_rng(trial))
                except GraphcError:  # a rounding decides whether an index is in range
                    return [np.full(np.shape(value), np.inf) for value in base]
                for change, before, after in zip(found, base, moved, strict=True):
                    np.maximum(change, _distance(before, after), out=change)
    finally:
        RUN_SIZES.reset(token)
    return found


def _computed(graph: Graph, feeds: Mapping[Tensor, Array], generator: np.random.Generator | None) -> list[Array]:
    """The outputs, op by op in NumPy; with a generator, rounded results are moved by a few units, in bodies too."""
    known = dict(feeds)

    def compute(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
        made = node.op.compute(node, *inputs)
        arrays = [np.asarray(array) for array in (made if isinstance(made, tuple) else (made,))]
        if generator is None or isinstance(node.op, (Source, Control)):
            return arrays
        units = 0 if is_exact_node(node, ROUNDED | ARITHMETIC) else MOVED_UNITS
        if isinstance(node.op, (AxisScan, Contraction, IndexedAccumulation, Reduction)):
            arrays = [_overflowed(node, inputs, arrays[0], generator), *arrays[1:]]
        if node.op.name in SUMS and arrays[0].dtype.kind == "f":
            return [_moved_sum(arrays[0], units, generator, _scale(node, inputs, arrays[0]))]
        return [
            _moved(array, units, generator, _scale(node, inputs, array)) if array.dtype.kind == "f" else array
            for array in arrays
        ]

    session = Session(backend="reference")  # it makes the values that variables begin with
    token = COMPUTE.set(compute)
    try:
        for node in graph.nodes:
            if node.results[0] in known:
                continue
            if node.op.name == "random_state":
                known[node.result] = np.zeros(2, np.uint64)  # of a session's first step, with the seed 0
            elif node.op.name == "variable":
                known[node.result] = session.get(node.result)
            else:
                known.update(zip(node.results, compute(node, [known[t] for t in node.inputs]), strict=True))
    finally:
        COMPUTE.reset(token)
    return [known[tensor] for tensor in graph.outputs]


def _overflowed(node: Node, inputs: Sequence[Array], array: Array, generator: np.random.Generator) -> Array:
    """A sum that is something else in a wider dtype, or any infinity or NaN: the order of its terms, or whether its
    products are rounded, decides which it is."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    wider = np.float64 if array.dtype == np.float32 else np.longdouble
    wide = [entry.astype(wider) if entry.dtype == array.dtype else entry for entry in inputs]
    try:
        whole = np.asarray(node.op.compute(node, *wide))
    except TypeError:  # an op that computes in one dtype only
        return array
    drawn = generator.choice([np.nan, np.inf, -np.inf, 0.0], array.shape)
    drawn = np.where(drawn == 0, whole, drawn)
    decided = ~np.isnan(whole) & ~np.isfinite(array) & (array != whole)
    return np.where(decided, drawn, array).astype(array.dtype)


def _scale(node: Node, inputs: Sequence[Array], array: Array) -> Array:
    """What roundings of a result are in proportion to.

    Of a sum, what it would be if no terms cancelled; in factors of a matrix, the largest element; else the result.
    """
    if node.op.name in SUMS:
        return np.asarray(node.op.compute(node, *[np.abs(each) if each.dtype.kind == "f" else each for each in inputs]))
    if isinstance(node.op, MatrixRoutine):
        return np.max(np.abs(array), initial=0, where=np.isfinite(array))
    return array


def _moved(array: Array, most_units: int, generator: np.random.Generator, scale: Array) -> Array:
    """Changed by up to so many units in the last place of `scale`; NaN has either sign, which nothing determines."""
    units = generator.integers(-most_units, most_units + 1, array.shape)
    if generator.integers(4) == 0:  # all the same way, as another formula's roundings may be
        units = np.full(array.shape, most_units * generator.choice([-1, 1]))
    size = np.fmin(np.abs(scale), np.finfo(array.dtype).max / 2)  # the unit of the largest float is infinite
    unit = np.spacing(size.astype(array.dtype))
    unit = unit * np.where(array == 0, generator.integers(0, 2), 1)  # zeros stay now and then: most are exact
    moved = np.where(np.isfinite(array), array + units * unit, array)
    moved = np.where(np.isnan(moved), np.copysign(np.nan, generator.integers(0, 2, array.shape) - 0.5), moved)
    return moved.astype(array.dtype)


def _moved_sum(array: Array, most_units: int, generator: np.random.Generator, scale: Array) -> Array:
    """A sum whose terms are added up in another order: all of it may cancel, partial sums may be infinite."""
    moved = _moved(array, most_units, generator, scale)
    cancelled = (np.abs(array) <= np.abs(moved - array)) & (generator.integers(0, 4, array.shape) == 0)
    drawn = generator.choice([np.inf, -np.inf, np.nan, 0.0], array.shape)
    beyond = np.isinf(scale) & np.isfinite(array) & (drawn != 0)
    return np.where(beyond, drawn, np.where(cancelled, 0, moved)).astype(array.dtype)


def _distance(before: Array, after: Array) -> Array:
    """Elementwise; infinite where one is finite and the other is not the same."""
    same = (before == after) | ((before != before) & (after != after))
    step = np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64))
    return np.where(same, 0.0, np.where(np.isnan(step), np.inf, step))


# --- smaller -------------------------------------------------------------------------------------------------------


def shrink(
    recipe: Recipe, verdict: Verdict, most_checks: int = 200, checked: Callable[[Recipe], Verdict] = check
) -> Recipe:
    """A smaller graph that fails in the same way.

    Parameters
    ----------
    recipe : Recipe
        One that fails.
    verdict : Verdict
        How.
    most_checks : int
        How many smaller graphs are tried in all.
    checked : callable
        Tells how a graph fails.

    Returns
    -------
    Recipe
    """
    tried = 0
    progress = True
    while progress and tried < most_checks:
        progress = False
        for smaller in _smaller(recipe):
            tried += 1
            if checked(smaller).kind == verdict.kind:
                recipe, progress = smaller, True
                break
            if tried >= most_checks:
                break
    return recipe


def _smaller(recipe: Recipe) -> Iterator[Recipe]:
    """Graphs with less in them, the boldest first."""
    parts = [*((ref,) for ref in recipe.outputs), *recipe.updates]
    if len(parts) > 1:
        for ref in recipe.outputs:
            yield replace(recipe, outputs=(ref,), updates=()).needed()
        for update in recipe.updates:
            yield replace(recipe, outputs=(), updates=(update,)).needed()
    values = _values(recipe)
    for count in (16, 8, 4, 2, 1):  # feed what the first calls compute
        if count < len(recipe.calls):
            for start in range(0, len(recipe.calls) - count, count):
                cut = _fed(recipe, recipe.calls[start : start + count], values)
                if cut is not None:
                    yield cut
    for place, call in enumerate(recipe.calls):  # ask for what an earlier call makes
        if place < len(recipe.calls) - 1:
            yield replace(recipe, outputs=tuple(map(Ref, call.results)), updates=()).needed()


def _values(recipe: Recipe) -> dict[int, tuple[Tensor, Array]]:
    """All values of a graph as the reference computes them; none where it fails."""
    numbers = [number for call in recipe.calls for number in call.results]
    try:
        whole = Declared.of(replace(recipe, outputs=tuple(map(Ref, numbers)), updates=()))
        with np.errstate(all="ignore"):
            arrays = whole.run(backend="reference")
    except Exception:  # one that does not run can still lose calls
        return {}
    return dict(zip(numbers, zip(whole.outputs, arrays, strict=True), strict=True))


def _fed(recipe: Recipe, calls: Sequence[Call], values: Mapping[int, tuple[Tensor, Array]]) -> Recipe | None:
    """A graph in which the results of some calls are inputs."""
    numbers = [number for call in calls for number in call.results]
    variables = {variable.number for variable, _ in recipe.updates}
    if any(number not in values or number in variables for number in numbers):
        return None
    inputs = dict(enumerate(recipe.inputs))
    for number in numbers:
        tensor, array = values[number]
        if not all(isinstance(size, int) or str(size).isidentifier() for size in tensor.shape):
            return None  # a placeholder's size is a name or a number
        inputs[number] = Input(tuple(s if isinstance(s, int) else str(s) for s in tensor.shape), array)
    rest = tuple(call for call in recipe.calls if call not in calls)
    outputs = tuple(ref for ref in recipe.outputs if ref.number not in numbers)
    return renumbered(inputs, rest, outputs, recipe.updates).needed() if outputs or recipe.updates else None
