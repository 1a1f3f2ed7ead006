"""Derivatives against central differences, for any graph.

What is checked is a scalar: the sum of the outputs times fixed random weights, so that every output element counts
and none cancels another. Its first derivatives are compared with ``(f(x + h) - f(x - h)) / 2h``. For the second
order the same is done once more, with the sum of the *first derivatives* times random weights as the scalar.

Everything runs in float64, where ``h`` around ``eps ** (1/3)`` leaves about ten right digits. Inputs of few elements
are moved element by element, larger ones along random directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GradientError, GraphError
from graphc.feeds import Feeder
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor, declared, make_node
from graphc.ir.op import REGISTRY
from graphc.ir.origin import derived_from
from graphc.ir.symbolic import evaluate
from graphc.ir.types import is_float
from graphc.ops.derivatives import gradients
from graphc.program import Program
from graphc.session import Session, compile

Array = NDArray[Any]
Function = Callable[[Sequence[Array]], float]

STEP = float(np.finfo(np.float64).eps ** (1 / 3))
"""Step of a central difference, relative to the element where that is larger than 1."""

MOST_ELEMENTS = 128
"""Inputs of more elements than this are moved along random directions instead of element by element."""

DIRECTIONS = 16
FLOOR = 1e-3
"""Derivatives below this part of the largest one are compared on the scale of that part."""

ROUNDING = 1e-9
"""Differences up to this are rounding errors of functions whose values are about 1: central differences make
``eps ** (2/3)``, 4e-11, of each rounding of such a value."""

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


@dataclass(frozen=True)
class GradientReport:
    """What a check of derivatives found.

    Attributes
    ----------
    first, second : float
        Largest relative error of the derivatives of first and second order; ``second`` is NaN if not asked for.
    probes : int
        Number of derivatives compared.
    """

    first: float
    second: float
    probes: int


@dataclass(frozen=True, eq=False)
class DerivativeGraph:
    """A scalar, its derivatives, and theirs.

    Attributes
    ----------
    inputs : tuple of Tensor
        Placeholders: those of the graph first, then one for each array of weights.
    by : tuple of int
        Which of ``inputs`` are differentiated by.
    value, mixed : Tensor
        The weighted sum of the outputs, and that of its derivatives.
    first, second : tuple of Tensor
        Derivatives of ``value`` and of ``mixed``, in the order of ``by``.
    """

    inputs: tuple[Tensor, ...]
    by: tuple[int, ...]
    value: Tensor
    mixed: Tensor
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]


def _weighted(tensors: Sequence[Tensor], prefix: str) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The sum of tensors times weights, and the placeholders of the weights."""
    placeholder, multiply, total, add = (REGISTRY[name] for name in ("placeholder", "multiply", "sum", "add"))
    weights = tuple(placeholder(f"{prefix}{place}", t.shape, t.dtype) for place, t in enumerate(tensors))
    terms = [total(multiply(tensor, weight)) for tensor, weight in zip(tensors, weights, strict=True)]
    return reduce(add, terms), weights


def derivative_graph(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> DerivativeGraph:
    """Derivatives of first and second order of the weighted sum of ``outputs`` by all float ``inputs``.

    Raises
    ------
    GraphError
        If no input or no output is a float.
    """
    by = tuple(place for place, tensor in enumerate(inputs) if is_float(tensor.dtype))
    floats = [tensor for tensor in outputs if is_float(tensor.dtype)]
    if not by or not floats:
        raise GraphError("check_gradients: expected a float output that depends on float inputs")
    sources = tuple(inputs[place] for place in by)
    value, weights = _weighted(floats, "weight")
    first = gradients(value, sources, zeros_for_disconnected=True)
    mixed, more = _weighted(first, "direction")
    second = gradients(mixed, sources, zeros_for_disconnected=True)
    return DerivativeGraph((*inputs, *weights, *more), by, value, mixed, first, second)


def probes(array: Array, generator: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Directions to move an input along, with names for messages."""
    if array.size <= MOST_ELEMENTS:
        for flat in range(array.size):
            place = tuple(int(k) for k in np.unravel_index(flat, array.shape))
            direction = np.zeros_like(array)
            direction[place] = STEP * max(1.0, abs(float(array[place])))
            yield f"element {place}", direction
        return
    for number in range(DIRECTIONS):
        direction = generator.normal(size=array.shape)
        yield f"random direction {number}", direction * (STEP / np.sqrt(np.mean(direction**2)))


def largest_error(
    what: str,
    function: Function,
    arrays: Sequence[Array],
    derivative: Array,
    place: int,
    tolerance: float,
    generator: np.random.Generator,
    absolute: float = 0.0,
) -> tuple[float, int]:
    """Compare a derivative with central differences of a function.

    Parameters
    ----------
    what : str
        Named in the error.
    function : callable
        From arrays to a float.
    arrays : sequence of ndarray
        Where.
    derivative : ndarray
        By ``arrays[place]``; of its shape.
    tolerance : float
        Largest relative error allowed.
    generator : numpy.random.Generator
        Draws directions.
    absolute : float
        Differences up to this count as none.

    Returns
    -------
    float
        The largest relative error.
    int
        Number of comparisons.

    Raises
    ------
    GradientError
        Naming the element and showing both numbers.
    """
    found: list[tuple[str, float, float]] = []
    moved = list(arrays)
    for label, direction in probes(arrays[place], generator):
        upper, lower = arrays[place] + direction, arrays[place] - direction
        length = float(np.linalg.norm((upper - lower).ravel()))
        moved[place] = upper
        high = function(moved)
        moved[place] = lower
        low = function(moved)
        along = float(np.sum(derivative * (upper - lower))) / length
        found.append((label, along, (high - low) / length))
    scale = max([abs(function(arrays)), *(abs(numeric) for _, _, numeric in found if np.isfinite(numeric))])
    worst = 0.0
    for label, exact, numeric in found:
        size = max(abs(exact), abs(numeric), FLOOR * scale, np.finfo(np.float64).tiny)
        error = 0.0 if abs(exact - numeric) <= absolute else abs(exact - numeric) / size
        if not error <= tolerance:
            raise GradientError(
                f"{what}, {label}: graphc's derivative is {exact!r}, central differences give {numeric!r} "
                f"(relative error {error:.1e}, allowed {tolerance:.1e})"
            )
        worst = max(worst, error)
    return worst, len(found)


def compare_derivatives(
    graph: DerivativeGraph,
    arrays: Sequence[Array],
    *,
    exact: Session,
    numeric: Session,
    order: int = 2,
    tolerance: float = 1e-5,
    absolute: float = 0.0,
    what: str = "check_gradients",
) -> GradientReport:
    """Derivatives as ``exact`` computes them against central differences of values that ``numeric`` computes.

    Parameters
    ----------
    graph : DerivativeGraph
    arrays : sequence of ndarray
        For the first of ``graph.inputs``; weights are drawn here.
    exact, numeric : Session
    order : int
        1 or 2.
    tolerance, absolute : float
        As for :func:`largest_error`.
    what : str
        Opens error messages.

    Raises
    ------
    GradientError
        If a derivative is off.
    """
    generator = np.random.default_rng(len(arrays))
    outputs = [graph.first, graph.second][:order]
    scalars = [graph.value, graph.mixed][:order]
    feeds = [np.asarray(array) for array in arrays]
    _, sizes = Feeder(graph.inputs[: len(feeds)])(feeds)
    for weight in graph.inputs[len(feeds) :]:
        feeds.append(generator.normal(size=tuple(evaluate(size, sizes) for size in weight.shape)))
    derivatives = compile(graph.inputs, [list(tensors) for tensors in outputs], session=exact)(*feeds)
    errors, count = [], 0
    for number, (scalar, found) in enumerate(zip(scalars, derivatives, strict=True), 1):
        function = _scalar_function(compile(graph.inputs, scalar, session=numeric))
        worst = 0.0
        for place, derivative in zip(graph.by, found, strict=True):
            label = f"{what}: order {number} by {graph.inputs[place].name!r}"
            error, more = largest_error(label, function, feeds, derivative, place, tolerance, generator, absolute)
            worst, count = max(worst, error), count + more
        errors.append(worst)
    return GradientReport(errors[0], errors[1] if order > 1 else float("nan"), count)


def _scalar_function(program: Program) -> Function:
    return lambda arrays: float(program(*arrays))


def in_float64(outputs: Sequence[Tensor], replaced: dict[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """The same computation with float64 in place of float32, constants and bodies included.

    Parameters
    ----------
    outputs : sequence of Tensor
    replaced : dict
        What stands for the leaves; receives everything else.
    """
    for node in Graph((), tuple(outputs)).nodes:
        if all(tensor in replaced for tensor in node.results):
            continue
        attributes = {name: _attribute_in_float64(value) for name, value in node.attributes.items()}
        with derived_from(node.origin):
            inputs = tuple(replaced[tensor] for tensor in node.inputs)
            made = declared(node.op, attributes) if node.apart else make_node(node.op, inputs, attributes)
        replaced.update(zip(node.results, made.results, strict=True))
    return tuple(replaced[tensor] for tensor in outputs)


def _attribute_in_float64(value: Any) -> Any:
    if isinstance(value, np.dtype):
        return FLOAT64 if value == FLOAT32 else value
    if isinstance(value, np.ndarray):
        return value.astype(FLOAT64) if value.dtype == FLOAT32 else value
    if isinstance(value, Graph):
        inner: dict[Tensor, Tensor] = {}
        inputs = in_float64(value.inputs, inner)
        return Graph(inputs, in_float64(value.outputs, inner), value.info)
    return value


def check_gradients(
    function: Any,
    inputs: Any,
    *,
    order: int = 2,
    tolerance: float = 1e-5,
    absolute: float = ROUNDING,
    session: Session | None = None,
) -> GradientReport:
    """Check a graph's derivatives against central differences, in float64.

    Parameters
    ----------
    function : callable, Tensor, or sequence of Tensor
        A function from tensors to a tensor (or a list or tuple of them); or one or several tensors of a graph.
    inputs : sequence of array_like, or mapping of Tensor to array_like
        For a function, one array an argument. For tensors, a value for each placeholder they depend on; the variables
        they depend on are checked too, at the values that the session has. Floats are converted to float64, and so is
        the whole graph.
    order : int
        1 or 2: derivatives of first order only, or of second order too.
    tolerance : float
        Largest relative error allowed.
    absolute : float
        Differences up to this count as none: where a derivative is 0 because terms cancel, it and central differences
        are roundings of these terms, with no right digit. Choose a smaller one for a function of tiny values.
    session : Session, optional
        Whose variables' values are used; a new one if not given.

    Returns
    -------
    GradientReport
        Largest relative errors of both orders.

    Raises
    ------
    GradientError
        If a derivative is off; names the input and the element, and shows both numbers.

    Examples
    --------
    >>> import numpy as np, graphc
    >>> report = graphc.check_gradients(lambda x: graphc.tanh(x) * x, [np.array([0.3, -1.2])])
    >>> report.first < 1e-6
    True
    """
    if order not in (1, 2):
        raise GraphError(f"check_gradients: expected order 1 or 2, got {order!r}")
    tensors = [function] if isinstance(function, Tensor) else function
    if isinstance(tensors, (list, tuple)) and all(isinstance(tensor, Tensor) for tensor in tensors):
        declared, outputs, arrays = _from_tensors(tensors, inputs, session)
    else:
        arrays = [_as_float64(value) for value in inputs]
        placeholder = REGISTRY["placeholder"]
        declared = [placeholder(f"input{k}", array.shape, array.dtype) for k, array in enumerate(arrays)]
        made = function(*declared)
        outputs = [made] if isinstance(made, Tensor) else list(made)
    graph = derivative_graph(declared, outputs)
    with Session(threads=1) as own:
        return compare_derivatives(
            graph, arrays, exact=own, numeric=own, order=order, tolerance=tolerance, absolute=absolute
        )


def _as_float64(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(FLOAT64) if array.dtype.kind == "f" else array


def _from_tensors(
    outputs: Sequence[Tensor], feeds: Any, session: Session | None
) -> tuple[list[Tensor], list[Tensor], list[Array]]:
    """A float64 copy of the tensors' graph over placeholders, variables among them, and their values."""
    if not isinstance(feeds, Mapping):
        raise GraphError(f"check_gradients: expected a mapping from placeholders to arrays, got {type(feeds).__name__}")
    leaves = [node.result for node in Graph((), tuple(outputs)).sources if node.op.name in ("placeholder", "variable")]
    values = dict(feeds)
    with Session(threads=1) as own:
        for leaf in leaves:
            if leaf.node.op.name == "variable":
                values[leaf] = (session or own).get(leaf)
            elif leaf not in values:
                message = f"check_gradients: no value is given for placeholder {leaf.name!r}"
                raise GraphError(message, origin=leaf.node.origin)
    arrays = [_as_float64(np.asarray(values[leaf], dtype=leaf.dtype)) for leaf in leaves]
    placeholder = REGISTRY["placeholder"]
    declared = [placeholder(leaf.name, leaf.shape, a.dtype) for leaf, a in zip(leaves, arrays, strict=True)]
    replaced = dict(zip(leaves, declared, strict=True))
    return declared, list(in_float64(list(outputs), replaced)), arrays
