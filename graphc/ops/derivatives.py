"""Derivatives as users ask for them.

All are made of one thing, the op ``gradient`` (a vector-Jacobian product, reverse mode):

* ``jvp``, a Jacobian-vector product (forward mode), is the transpose of the transpose: ``J^T u`` is linear in ``u``,
  so its gradient by ``u`` in the direction ``v`` is ``J v``;
* ``jacobian`` runs ``J^T e`` for each unit vector ``e``, as the body of one scan, so that the number of nodes does
  not grow with the output;
* ``hessian`` is the Jacobian of the gradient, ``hvp`` the gradient of ``gradient . v``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from graphc.errors import DTypeError, GradientError, GraphError, ShapeError
from graphc.ir.callers import called
from graphc.ir.graph import Graph, remake, topological
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Effect
from graphc.ir.types import TensorType, format_shape, is_float
from graphc.ops.base import as_tensor, given, is_zero, require_bool
from graphc.ops.gradient import (
    custom_call,
    differentiable_sources,
    gradient,
    jacobian_rows,
    pin,
    sources_of_derivative,
)
from graphc.ops.sources import parameter

__all__ = ["custom_gradient", "gradients", "hessian", "hvp", "jacobian", "jvp"]


def full(value: float, kind: TensorType) -> Tensor:
    """A tensor of a type filled with one number, as a broadcast scalar."""
    scalar = as_tensor(value, kind.dtype)
    return REGISTRY["broadcast_to"](scalar, kind.shape) if kind.shape else scalar


def gradients(y: Tensor, xs: Any, seed: Any = None, *, zeros_for_disconnected: bool = False) -> Any:
    """Derivatives of ``y`` by each of ``xs``, in reverse mode.

    Parameters
    ----------
    y : Tensor
        Float; a scalar unless a seed is given.
    xs : Tensor or sequence of Tensor
        Float tensors that ``y`` depends on: variables, placeholders, declared constants, or anything computed on the
        way. Equal expressions are one tensor: with ``a = x + 1`` and ``b = x + 1``, ``b`` is ``a``.
    seed : Tensor or array_like, optional
        Of ``y``'s shape and dtype (``u`` in ``u^T dy/dx``); 1 if not given.
    zeros_for_disconnected : bool
        Return zeros for those of ``xs`` that ``y`` does not depend on.

    Returns
    -------
    Tensor, list or tuple of Tensor
        One for each x, of its shape and dtype: a tensor for a tensor, a tuple for a tuple, else a list.

    Raises
    ------
    GradientError
        If ``y`` or an x is no float, ``y`` is no scalar and has no seed, or an x has no differentiable path to ``y``.
    ShapeError, DTypeError
        If the seed does not fit ``y``.
    """
    require_bool("gradients", "zeros_for_disconnected", zeros_for_disconnected)
    y = _float_tensor("gradients", y, "derivative of")
    sources = _tensors("gradients", xs, y)
    for x in sources:
        _float_tensor("gradients", x, "derivative by")
    if seed is None and y.shape != ():
        raise GradientError(
            f"gradients: expected a scalar to differentiate, got {y.label} of shape {format_shape(y.shape)}",
            operands=(y,),
            hint="reduce it with .sum() or .mean(), or give seed=, a tensor of its shape",
        )
    start = full(1.0, y.type) if seed is None else _like("gradients: seed", seed, y)
    if start.node.evaluated and is_zero(start):
        start = pin(start)  # its value is data: rules that leave out what is zero by its form must not see it
    reached = differentiable_sources(y)
    connected = [x for x in sources if x in reached]
    if not zeros_for_disconnected:
        for x in sources:
            if x not in reached:
                raise _disconnected(y, x)
    _check_paths(reached, connected)
    found: dict[Tensor, Tensor] = {}
    if connected:
        connected = list(dict.fromkeys(connected))
        made = gradient.make(y, start, *connected)
        found = dict(zip(connected, made if isinstance(made, tuple) else (made,), strict=True))
    results = [found[x] if x in found else y.admit(full(0.0, x.type), apart=True) for x in sources]
    return _as_given(xs, results)


def jvp(y: Tensor, xs: Any, vs: Any) -> Tensor:
    """The directional derivative ``sum over i of dy/dxs[i] . vs[i]``, in forward mode.

    Parameters
    ----------
    y : Tensor
        Float, of any shape.
    xs : Tensor or sequence of Tensor
    vs : Tensor, array_like, or sequence of these
        A direction for each x, of its shape and dtype.

    Returns
    -------
    Tensor
        Of ``y``'s type.

    Raises
    ------
    GradientError, ShapeError, DTypeError
        As :func:`gradients`.
    """
    y = _float_tensor("jvp", y, "derivative of")
    sources = _tensors("jvp", xs, y)
    directions = _directions("jvp", vs, xs, sources)
    # The result does not depend on this cotangent's value, only on its being one tensor that nothing else is.
    cotangent = pin(full(0.0, y.type))
    transposed = gradients(y, sources, seed=cotangent)
    return gradients(_dot(transposed, directions), cotangent, zeros_for_disconnected=True)


def hvp(y: Tensor, xs: Any, vs: Any) -> Any:
    """The Hessian of a scalar times a vector, without the Hessian.

    Parameters
    ----------
    y : Tensor
        A float scalar.
    xs : Tensor or sequence of Tensor
    vs : Tensor, array_like, or sequence of these
        A direction for each x, of its shape and dtype.

    Returns
    -------
    Tensor, list or tuple of Tensor
        ``sum over j of d2y/(dxs[i] dxs[j]) . vs[j]`` for each i, as :func:`gradients` returns its derivatives.
        The directions are held fixed, also where they depend on xs; the result can be differentiated by them.
    """
    y = _float_tensor("hvp", y, "derivative of")
    sources = _tensors("hvp", xs, y)
    directions = _directions("hvp", vs, xs, sources)
    slopes = gradients(y, sources)
    if set(sources).isdisjoint(x for v in directions for x in differentiable_sources(v)):
        return _as_given(xs, gradients(_dot(slopes, directions), sources, zeros_for_disconnected=True))
    # A direction that depends on an x is held fixed here, but not by derivatives of the result: it is a cotangent.
    products = [
        gradients(slope, sources, seed=v, zeros_for_disconnected=True)
        for slope, v in zip(slopes, directions, strict=True)
    ]
    return _as_given(xs, [functools.reduce(REGISTRY["add"], terms) for terms in zip(*products, strict=True)])


def jacobian(y: Tensor, x: Tensor) -> Tensor:
    """All partial derivatives of ``y`` by ``x``.

    Parameters
    ----------
    y : Tensor
        Float, of any shape.
    x : Tensor
        Float; ``y`` depends on it.

    Returns
    -------
    Tensor
        Of shape ``y.shape + x.shape``; a scan over the elements of ``y``.

    Raises
    ------
    GraphError
        If ``x`` is not one tensor.
    GradientError
        As :func:`gradients`.
    """
    y = _float_tensor("jacobian", y, "derivative of")
    x = y.admit(one_source("jacobian", x))
    _float_tensor("jacobian", x, "derivative by")
    if x not in differentiable_sources(y):
        raise _disconnected(y, x)
    if y.shape == ():
        return gradients(y, x)
    return jacobian_rows.make(y, x)


def hessian(y: Tensor, x: Tensor) -> Tensor:
    """Second derivatives of a scalar.

    Parameters
    ----------
    y : Tensor
        A float scalar.
    x : Tensor
        Float.

    Returns
    -------
    Tensor
        Of shape ``x.shape + x.shape``.

    Raises
    ------
    GraphError
        If ``x`` is not one tensor.
    GradientError
        As :func:`gradients`.
    """
    return jacobian(gradients(y, one_source("hessian", x)), x)


def custom_gradient(function: Callable[..., Any] | None = None, vjp: Callable[..., Any] | None = None) -> Any:
    """Give a function a derivative of your own.

    Parameters
    ----------
    function : callable
        From tensors to a tensor or a tuple of tensors.
    vjp : callable
        ``vjp(inputs, outputs, cotangents)``, all three tuples of tensors, returns one cotangent an input, of the
        input's type, or None where there is none.

    Returns
    -------
    callable
        To be called like ``function``; without ``function``, a decorator: ``@custom_gradient(vjp=rule)``.

    Raises
    ------
    GradientError
        When called, if the function uses a tensor with a derivative that is not among its arguments; if that is a
        constant, when a derivative by it is asked for.
    """
    if vjp is None:
        raise GraphError("custom_gradient: expected vjp=, the rule of the derivative")
    if function is None:
        return functools.partial(custom_gradient, vjp=vjp)
    roles = {"a function to differentiate": function, "a function of (inputs, outputs, cotangents) as vjp": vjp}
    for role, entry in roles.items():
        if not callable(entry):
            raise GraphError(f"custom_gradient: expected {role}, got {given(entry)}")
    body_of = function

    @functools.wraps(function)
    def call(*inputs: Any) -> Any:
        arguments = tuple(as_tensor(value) for value in inputs)
        formals = tuple(parameter.like(tensor, f"argument{place}") for place, tensor in enumerate(arguments))
        made = body_of(*formals)
        outputs = (made,) if isinstance(made, Tensor) else tuple(as_tensor(value) for value in made)
        body, captures = close_body("custom_gradient", formals, outputs)
        for tensor in captures:
            leaves = {t for t in differentiable_sources(tensor) if not t.node.inputs}
            _refuse_lost_derivative(tensor, {leaf for leaf in leaves if leaf.node.op.name != "constant"})
        results = custom_call.make(*arguments, *captures, body=body, rule=vjp, arguments=len(arguments))
        return results if isinstance(results, tuple) or isinstance(made, Tensor) else (results,)

    return call


def close_body(
    what: str,
    formals: Sequence[Tensor],
    outputs: Sequence[Tensor],
    is_outer: Callable[[Node], bool] | None = None,
) -> tuple[Graph, tuple[Tensor, ...]]:
    """A closed body from tensors that a function has computed from parameters.

    Tensors from outside become further inputs of the body. They are taken at the boundary, so that what depends on
    no parameter is computed once, outside; what depends on nothing but numbers and the body's own constants stays
    inside. So does what lies between the two ends of a derivative that is taken inside: the derivative's path must not
    be cut.

    Parameters
    ----------
    what : str
        Named in errors.
    formals : sequence of Tensor
        The body's parameters.
    outputs : sequence of Tensor
    is_outer : callable, optional
        Says of a node whether it is computed outside, where that is not a question of what it depends on.

    Returns
    -------
    Graph
        Inputs: the formals, then a parameter for each capture.
    tuple of Tensor
        The captures.

    Raises
    ------
    GraphError
        If the body assigns to a variable.
    """
    nodes = topological(outputs)
    for node in nodes:
        if isinstance(node.op, Effect):
            raise GraphError(f"{what}: a body may not assign to a variable", origin=node.origin)
    outer = set(filter(is_outer, nodes)) if is_outer else _independent(nodes, formals)
    inside = _kept_inside(outputs, outer)
    captures = dict.fromkeys(t for t in (*(t for node in inside for t in node.inputs), *outputs) if t.node in outer)
    stand_ins = {tensor: parameter.like(tensor, tensor.name) for tensor in captures}
    new: dict[Tensor, Tensor] = dict(stand_ins)
    for node in inside:
        new.update(zip(node.results, remake(node, tuple([new[tensor] for tensor in node.inputs])), strict=True))
    return Graph((*formals, *stand_ins.values()), tuple(new[tensor] for tensor in outputs)), tuple(captures)


def _independent(nodes: Sequence[Node], formals: Sequence[Tensor]) -> set[Node]:
    """The nodes that depend on a leaf from outside and on no parameter; producers come first.

    A pin counts as a leaf, whatever it pins: a derivative by it may be asked for outside.
    """
    own = {tensor.node for tensor in formals}
    start = min((node.serial for node in own), default=0)  # constants declared before may be differentiated by
    depends, free = set(own), set[Node]()
    for node in nodes:
        makers = [tensor.node for tensor in node.inputs]
        known = node.op.name == "constant" and not (node.apart and node.serial < start)
        is_leaf = not node.inputs and not known and node not in own
        if node.evaluated or is_leaf or node.op is pin or any(maker in free for maker in makers):
            free.add(node)
        if any(maker in depends for maker in makers):
            depends.add(node)
    return free - depends


def _kept_inside(outputs: Sequence[Tensor], outer: set[Node]) -> list[Node]:
    """A body's own nodes; what derivatives taken in it lead through is removed from the ``outer`` ones."""
    while True:
        inside = [node for node in topological(outputs, stop=outer.__contains__) if node not in outer]
        cut = {
            between
            for node in inside
            for between in (_between(node.inputs[0], sources_of_derivative(node)) if node.op.derivative else ())
        }
        if outer.isdisjoint(cut):
            return inside
        outer -= cut


def _between(y: Tensor, xs: Sequence[Tensor]) -> Iterator[Node]:
    """The nodes that y depends on and that depend on an x."""
    active = set(xs)
    for node in topological([y]):
        if any(tensor in active for tensor in node.inputs):
            active.update(node.results)
            yield node


def _tensors(what: str, xs: Any, y: Tensor) -> list[Tensor]:
    found = [xs] if isinstance(xs, Tensor) else list(xs) if isinstance(xs, (list, tuple)) else None
    if not found or not all(isinstance(x, Tensor) for x in found):
        raise GraphError(f"{what}: expected a tensor or a sequence of tensors to differentiate by, got {xs!r}")
    return [y.admit(x) for x in found]


def one_source(what: str, x: Any) -> Tensor:
    """What is differentiated by, for functions that take one tensor and no sequence of them."""
    if not isinstance(x, Tensor):
        hint = f"call {what} for each of them" if isinstance(x, (list, tuple)) else None
        raise GraphError(f"{what}: expected one tensor to differentiate by, got {given(x)}", hint=hint)
    return x


def _as_given(xs: Any, results: Sequence[Tensor]) -> Any:
    if isinstance(xs, Tensor):
        return results[0]
    return tuple(results) if isinstance(xs, tuple) else list(results)


def _float_tensor(what: str, tensor: Any, role: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise GraphError(f"{what}: expected a tensor, got {tensor!r}")
    if not is_float(tensor.dtype):
        kind = "a boolean" if tensor.dtype.kind == "b" else "an integer"
        raise GradientError(f"{what}: there is no {role} {kind}: {tensor.label} is {tensor.type}", operands=(tensor,))
    return tensor.admit(tensor)


def _like(what: str, value: Any, model: Tensor) -> Tensor:
    tensor = value if isinstance(value, Tensor) else as_tensor(value, model.dtype)
    if tensor.shape != model.shape:
        raise ShapeError(
            f"{what}: expected shape {format_shape(model.shape)} as {model.label}, got {format_shape(tensor.shape)}",
            operands=(tensor,),
        )
    if tensor.dtype != model.dtype:
        raise DTypeError(
            f"{what}: expected dtype {model.dtype} as {model.label}, got {tensor.dtype}", operands=(tensor,)
        )
    return tensor


def _directions(what: str, vs: Any, xs: Any, sources: list[Tensor]) -> list[Tensor]:
    if not isinstance(xs, Tensor) and not isinstance(vs, (tuple, list)):
        raise GraphError(f"{what}: expected a sequence of {len(sources)} directions, one an x, got {given(vs)}")
    directions = [vs] if isinstance(xs, Tensor) else list(vs)
    if len(directions) != len(sources):
        raise GraphError(f"{what}: expected {len(sources)} directions, one an x, got {len(directions)}")
    return [_like(f"{what}: direction", v, x) for v, x in zip(directions, sources, strict=True)]


def _dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """The inner product of two equally long sequences of tensors, a scalar."""
    total: Tensor | None = None
    for a, b in zip(left, right, strict=True):
        term = REGISTRY["sum"](REGISTRY["multiply"](a, b))
        total = term if total is None else REGISTRY["add"](total, term)
    assert total is not None  # _tensors refuses empty sequences
    return total


def _disconnected(y: Tensor, x: Tensor) -> GradientError:
    """Names both ends, and the op that cuts the path where there is one."""
    message = f"gradients: {y.label} does not depend on {x.label}"
    # jvp, jacobian, minimize and others come here too, and have no such parameter
    hint = "zeros_for_disconnected=True returns zeros" if called() == "gradients" else None
    nodes = topological([y])
    if x.node.evaluated and any(n.attributes is x.node.attributes and n is not x.node for n in nodes if not n.inputs):
        hint = f"{x.label} has changed since {y.label} was computed; compute it again"
    if x.node in nodes:
        depends = {x}
        cutting = None
        for node in nodes:
            if any(tensor in depends for tensor in node.inputs):
                smooth = node.op.differentiable and all(is_float(tensor.dtype) for tensor in node.results)
                if smooth:
                    depends.update(node.results)
                else:
                    cutting = cutting or node
        cut = f" through {cutting.op.name} ({cutting.origin})" if cutting else ""
        message = f"gradients: {y.label} depends on {x.label} only along paths that have no derivative{cut}"
    return GradientError(
        message,
        operands=(y, x),
        hint=hint,
    )


def _check_paths(reached: Collection[Tensor], xs: Sequence[Tensor]) -> None:
    """Let the ops with bodies on the paths to xs refuse what they have no derivative for."""
    for node in dict.fromkeys(tensor.node for tensor in reached if tensor.node.op.body_attributes):
        if node.op is custom_call:
            for captured in node.inputs[node["arguments"] :]:
                _refuse_lost_derivative(captured, differentiable_sources(captured).intersection(xs))
        try:
            node.op.check_differentiable(node)
        except GradientError:
            if not {x for tensor in node.inputs for x in differentiable_sources(tensor)}.isdisjoint(xs):
                raise


def _refuse_lost_derivative(captured: Tensor, by: Collection[Tensor]) -> None:
    """Raise if there are tensors that a function with a rule of its own depends on by way of a capture."""
    if by:
        lost = min(by, key=lambda tensor: tensor.node.serial)
        raise GradientError(
            f"custom_gradient: the function uses {captured.label} ({captured.type}), which is not among its arguments: "
            f"the derivative by {lost.label} would be lost",
            operands=(captured,),
            hint="pass it as an argument, or wrap it in graphc.stop_gradient",
        )
