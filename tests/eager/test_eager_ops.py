"""Every op and every function, applied at once: values, types and derivatives are those of the graph.

The reference session evaluates the same ``compute`` in the same order, so values must be equal to the bit. Derivatives
of first and second order are compared with those that it finds, and in float64 with a compiled program's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import eager, ops
from graphc.errors import GraphcError
from graphc.ir.graph import Graph, inline
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY, Effect, Op
from graphc.ops.gradient import pin
from graphc.testing.cases import static_case
from graphc.testing.contexts import CONTEXTS, SMOOTH
from graphc.testing.harness import THOROUGH

Array = np.ndarray[Any, Any]
Apply = Callable[[Sequence[Tensor]], Sequence[Tensor]]

RANDOM = ("random_bits", "random_state")  # what they draw depends on the place in a program
NAMED = ("dim_size",)  # its context is about a named dim
REORDERED = ("cholesky", "gradient", "jacobian_rows", "svd")  # derivatives are expanded in another order, and so summed


def derivatives(outputs: Iterable[Tensor], inputs: Iterable[Tensor]) -> list[Tensor]:
    """First and second derivatives of a scalar made of all float outputs, by all float inputs."""
    by = [x for x in inputs if x.dtype.kind == "f"]
    floats = [y for y in outputs if y.dtype.kind == "f"]
    if not by or not floats:
        return []
    first = graphc.gradients(scalar(floats, graphc.sin), by, zeros_for_disconnected=True)
    return first + graphc.gradients(scalar(first, graphc.cos), by, zeros_for_disconnected=True)


def scalar(tensors: Sequence[Tensor], bend: Callable[[Tensor], Tensor]) -> Tensor:
    return reduce(graphc.add, [graphc.cast(graphc.sum(bend(tensor)), "float64") for tensor in tensors])


def cases(name: str) -> list[tuple[Sequence[Tensor], list[Tensor], Sequence[Array], Apply, bool]]:
    """Placeholders, results, arrays, the same call on other tensors, and whether it has derivatives."""
    op: Op = REGISTRY[name]
    found: list[Any] = []
    if name in CONTEXTS:
        for dtype in map(np.dtype, ("float32", "float64")):
            (inputs, outputs), arrays = CONTEXTS[name](dtype)
            graph = Graph(tuple(inputs), tuple(y for y in outputs if not isinstance(y.node.op, Effect)))
            found.append((inputs, list(graph.outputs), arrays, replaying(graph), name in SMOOTH))
        return found
    for sample in op.samples:
        for dtype in [name for name in THOROUGH if name in op.dtypes] or [None]:
            case = static_case(op, sample, dtype)
            try:
                inputs, outputs = case.declare()
            except GraphcError:
                continue
            apply = getattr(op, "trial", op)  # matrices that suit a routine, as the case declares them
            function = lambda *x, apply=apply, sample=sample: apply(*x, **sample.attributes)  # noqa: E731
            call = calling(function if inputs else eager.eagerly(function))
            found.append((inputs, list(outputs), case.arrays, call, sample.differentiable and op.differentiable))
    return found


def replaying(graph: Graph) -> Apply:
    return lambda tensors: inline(graph, tensors)


def calling(function: Callable[..., Any]) -> Apply:
    def call(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        made = function(*tensors)
        return [made] if isinstance(made, Tensor) else list(made)

    return call


def check(got: Sequence[Tensor], wanted: Sequence[Array], exact: bool = True) -> None:
    for tensor, array in zip(got, wanted, strict=True):
        value = np.asarray(tensor)
        assert isinstance(tensor, eager.EagerTensor) and not value.flags.writeable
        assert tensor.dtype == value.dtype == array.dtype and tensor.shape == value.shape == array.shape
        if exact:
            np.testing.assert_array_equal(value, array)
        else:
            scale = 1e-5 if array.dtype == np.float32 else 1e-9  # quotients of small gaps magnify roundings
            np.testing.assert_allclose(value, array, rtol=scale, atol=scale)


@pytest.fixture(scope="module")
def reference():
    with graphc.Session(threads=1, backend="reference") as session:
        yield session


@pytest.mark.filterwarnings("ignore:more than 10 programs")
@pytest.mark.parametrize("name", [name for name in sorted(REGISTRY) if name not in (*RANDOM, *NAMED)])
def test_op_at_once_is_op_in_a_graph(name: str, reference: graphc.Session) -> None:
    for inputs, outputs, arrays, call, smooth in cases(name):
        tensors = [eager.asarray(array) for array in arrays]
        try:
            wanted = reference.run(outputs, dict(zip(inputs, arrays, strict=True)))
        except GraphcError as error:  # what a run refuses is refused here too
            with pytest.raises(type(error)):
                call(tensors)
            continue
        try:
            made = call(tensors)
        except GraphcError:  # some ops look at constants when they are declared, such as a negative power of integers
            tensors = [pin(tensor) for tensor in tensors]
            made = call(tensors)
        check(made, wanted, name not in REORDERED)
        if smooth:
            wanted = reference.run(derivatives(outputs, inputs), dict(zip(inputs, arrays, strict=True)))
            check(derivatives(made, tensors), wanted, name not in REORDERED)


def test_derivatives_are_those_of_compiled_programs() -> None:
    """All ops on their first sample in one compiled program, float64."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    arrays: list[Array] = []
    found: list[Tensor] = []
    for name, op in sorted(REGISTRY.items()):
        smooth = [sample for sample in op.samples if sample.differentiable and op.differentiable]
        if name in CONTEXTS or not smooth or "float64" not in op.dtypes:
            continue
        case = static_case(op, smooth[0], "float64")
        declared, made = case.declare()
        tensors = [eager.asarray(array) for array in case.arrays]
        at_once = calling(lambda *x, op=op, case=case: getattr(op, "trial", op)(*x, **case.attributes))(tensors)
        by = [x for x in declared if x.dtype.kind == "f"]
        floats = [y for y in made if y.dtype.kind == "f"]
        if not by or not floats:
            continue
        inputs += declared
        arrays += case.arrays
        outputs += graphc.gradients(scalar(floats, graphc.sin), by, zeros_for_disconnected=True)
        total = scalar([y for y in at_once if y.dtype.kind == "f"], graphc.sin)
        found += graphc.gradients(total, [t for t in tensors if t.dtype.kind == "f"], zeros_for_disconnected=True)
    assert len(found) > 60
    with graphc.Session(threads=1) as session:
        check(found, graphc.compile(inputs, outputs, session=session)(*arrays), exact=False)


X = np.random.default_rng(5).uniform(0.2, 0.9, (3, 4))
Y = np.random.default_rng(6).uniform(0.2, 0.9, (3, 4))
PLACES = np.array([[0, 2, 1, 2]] * 3)
ARGUMENTS: dict[str, tuple[tuple[Array, ...], Callable[..., Any]]] = {
    "arange": ((), lambda: eager.arange(5)),
    "custom_gradient": ((X,), lambda x: graphc.custom_gradient(graphc.tanh, vjp=lambda i, o, g: (g[0] * i[0],))(x) * x),
    "einsum": ((X, Y), lambda x, y: graphc.einsum("ij,kj->ik", x, y)),
    "full": ((), lambda: eager.full((2, 3), 1.5)),
    "gradients": ((X,), lambda x: graphc.gradients((x * x * x).sum(), x)),
    "hessian": ((X[0],), lambda x: graphc.hessian((x * x * x).sum(), x)),
    "hvp": ((X, Y), lambda x, y: graphc.hvp((x * x * x).sum(), x, y)),
    "jacobian": ((X[0],), lambda x: graphc.jacobian(x * x.sum(), x)),
    "jvp": ((X, Y), lambda x, y: graphc.jvp(x * x.sum(), x, y)),
    "ones": ((), lambda: eager.ones((2, 3))),
    "scan": ((X, Y[0]), lambda x, y: graphc.scan(lambda h, row: (graphc.tanh(h * row), h.sum()), y, x)),
    "zeros": ((), lambda: eager.zeros((2, 3))),
    "softmax_cross_entropy": ((X, np.array([1, 0, 3])), graphc.softmax_cross_entropy),
    "split": ((X,), lambda x: graphc.split(x, 2, axis=1)),
    "swapaxes": ((X,), lambda x: graphc.swapaxes(x, 0, 1)),
    "moveaxis": ((X,), lambda x: graphc.moveaxis(x, 0, 1)),
    "outer": ((X[0], Y[:, 0]), graphc.outer),
    "take": ((X, PLACES[0]), lambda x, p: graphc.take(x, p, axis=1)),
    "take_along_axis": ((X, PLACES), lambda x, p: graphc.take_along_axis(x, p, axis=1)),
    "tensordot": ((X, Y), lambda x, y: graphc.tensordot(x, y, ([0], [0]))),
}
"""What the functions take that are not content with one or two arrays of one shape."""


def function_cases() -> dict[str, tuple[tuple[Array, ...], Callable[..., Any]]]:
    """Every function that is no op: with its own arguments, or on the first of a few that it takes in a graph."""
    found = {}
    for name, function in sorted(ops.FUNCTIONS.items()):
        if isinstance(function, Op):
            continue
        tries = [((X,), function), ((X, Y), function), ((X, Y, X), function), ((X, PLACES), function)]
        tries += [((np.array([[2.0, 1.0], [1.0, 3.0]]),), function), ((X > 0.5,), function), ((PLACES,), function)]
        for arrays, call in [ARGUMENTS[name]] if name in ARGUMENTS else tries:
            arrays = tuple(np.asarray(array) for array in arrays)
            try:
                made = calling(call)([graphc.placeholder("x", array.shape, array.dtype) for array in arrays])
            except (GraphcError, TypeError):
                continue
            if not made or not all(isinstance(tensor, Tensor) for tensor in made):
                continue  # it answers a question
            found[name] = (arrays, call)
            break
    return found


FUNCTIONS = function_cases()


def test_all_functions_are_found():
    """Those whose arguments are given here, and many of the others."""
    assert set(ARGUMENTS) & set(ops.FUNCTIONS) - set(REGISTRY) <= set(FUNCTIONS)
    assert len(FUNCTIONS) >= 50


@pytest.mark.filterwarnings("ignore:more than 10 programs")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_at_once_is_function_in_a_graph(name: str, reference: graphc.Session) -> None:
    arrays, function = FUNCTIONS[name]
    call = calling(function)
    inputs = [graphc.placeholder("x", array.shape, array.dtype) for array in arrays]
    tensors = [eager.asarray(array) for array in arrays]
    declared = call(inputs)
    made = call(tensors)
    feeds = dict(zip(inputs, arrays, strict=True))
    if not inputs:
        declared = [getattr(ops, name)(*PLAIN[name])]
    check(made, reference.run(list(declared), feeds), exact="gradient" not in name and name not in NESTED)
    if inputs and any(y.dtype.kind == "f" for y in declared):
        check(derivatives(made, tensors), reference.run(derivatives(declared, inputs), feeds), exact=False)
    spaced = getattr(eager, name)
    if function is ops.FUNCTIONS[name]:  # the namespace's own function, on tensors and on arrays
        for arguments in (tensors, arrays):
            check(calling(spaced)(arguments), [np.asarray(tensor) for tensor in made])


PLAIN = {"arange": (5,), "full": ((2, 3), 1.5), "ones": ((2, 3),), "zeros": ((2, 3),)}
NESTED = ("hessian", "hvp", "jacobian", "jvp")
