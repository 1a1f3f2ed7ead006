"""The ops of differentiation.

``gradient`` stands for a derivative until the pass ``differentiate`` has built it; ``path_sum`` is the sum of the
multi-path chain rule, made explicit; ``stop_gradient`` cuts a path; ``pin`` keeps a tensor apart from everything
that is equal to it; ``custom_call`` applies a function whose derivative the user has written.

The functions that users call, :func:`graphc.gradients` and its relatives, are in :mod:`graphc.ops.derivatives`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GradientError, GraphError, ShapeError
from graphc.ir.graph import Graph, inline
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Decomposed, Read, Sample, View, op
from graphc.ir.scalar import Scalar, apply
from graphc.ir.symbolic import Size
from graphc.ir.types import DTYPES, TensorType, is_float
from graphc.ops.base import Elementwise, as_tensor
from graphc.ops.samples import normal

__all__ = ["stop_gradient"]


@op
class gradient(Decomposed):
    """Vector-Jacobian products: inputs ``(y, seed, *xs)``, one result an x, of the x's type.

    The pass ``differentiate`` replaces it; no later stage sees it.
    """

    public = False
    derivative = True

    def infer(self, y: Tensor, seed: Tensor, *xs: Tensor) -> tuple[TensorType, ...]:
        if not xs:
            raise GraphError("gradient: expected at least one tensor to differentiate by")
        if not is_float(y.dtype):
            raise DTypeError(f"gradient: expected a float tensor to differentiate, got {y.type}", operands=(y,))
        if seed.type != y.type:
            raise ShapeError(f"gradient: expected a seed of type {y.type}, got {seed.type}", operands=(seed,))
        for x in xs:
            if not is_float(x.dtype):
                raise DTypeError(f"gradient: expected floats to differentiate by, got {x.type}", operands=(x,))
        return tuple(x.type for x in xs)


@op
class jacobian_rows(Decomposed):
    """All partial derivatives: inputs ``(y, x)``, result of shape ``y.shape + x.shape``; replaced like ``gradient``."""

    public = False
    derivative = True

    def infer(self, y: Tensor, x: Tensor) -> TensorType:
        return TensorType((*y.shape, *x.shape), x.dtype)


def sources_of_derivative(node: Node) -> tuple[Tensor, ...]:
    """The tensors that a node differentiates by; none for other nodes than derivatives."""
    if node.op is gradient:
        return node.inputs[2:]
    return node.inputs[1:] if node.op is jacobian_rows else ()


class _Identity(View):
    """A view that is its input; what sets it apart is what passes may not do across it."""

    dtypes = DTYPES

    def __call__(self, x: Any) -> Tensor:
        return self.make(as_tensor(x))

    def infer(self, x: Tensor) -> TensorType:
        return x.type

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return inputs[0]

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        return tuple(index)


@op
class stop_gradient(_Identity):
    """The input's value, taken as a constant by derivatives."""

    differentiable = False
    samples = [Sample(normal(2, 3), differentiable=False), Sample(np.arange(4), differentiable=False)]

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (None,)


@op
class pin(_Identity):
    """A tensor with an identity of its own: never merged with an equal one, and no rule looks through it.

    A derivative by an intermediate tensor ``x`` asks how ``y`` changes with *this* tensor. If a rule made ``y``
    depend on what ``x`` was computed from instead, or replaced ``x`` by something that ``y`` also uses elsewhere,
    the answer would change; so such tensors are pinned until they have been differentiated by.
    """

    pure = False
    public = False
    samples = [Sample(normal(3, 2))]

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (cotangents[0],)


@op
class again(View):
    """The first input with an identity of its own, in a kernel no earlier than the one that makes the second.

    What is made of it is computed again, later, rather than kept; see :mod:`graphc.schedule.recompute`.
    """

    public = False
    awaited = (1,)
    differentiable = False  # it is made after differentiation
    dtypes = DTYPES
    samples = [Sample(normal(2, 3), normal(2), differentiable=False)]

    def infer(self, x: Tensor, after: Tensor) -> TensorType:
        return x.type

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return inputs[0]

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        return tuple(index)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (cotangents[0], None)


@op
class path_sum(Elementwise):
    """Sum of the contributions to one derivative, one for each path (the multi-path chain rule).

    Inputs are added in their order. The attribute ``paths`` says by which use of the tensor each one came, such as
    ``"multiply.0"``: as the first operand of a multiply.
    """

    public = False
    samples = [
        Sample(normal(2, 3), normal(2, 3, seed=1), paths=("exp.0", "add.1")),
        Sample(normal(4), normal(4, seed=1), normal(4, seed=2), paths=("a.0", "b.0", "c.0")),
    ]

    def __call__(self, *contributions: Any, paths: tuple[str, ...] = ()) -> Tensor:
        return self.make(*contributions, paths=paths)

    def infer(self, *contributions: Tensor, paths: tuple[str, ...]) -> TensorType:
        if not contributions or len(paths) != len(contributions):
            raise GraphError(f"path_sum: expected a contribution a path, got {len(contributions)} for {paths}")
        return super().infer(*contributions)

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with np.errstate(all="ignore"):
            return np.asarray(reduce(np.add, inputs))

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        terms = [read(place, index) for place in range(len(node.inputs))]
        return reduce(lambda total, term: apply("add", total, term), terms)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (cotangents[0],) * len(node.inputs)


@op
class custom_call(Decomposed):
    """A function with a derivative written by the user.

    Inputs are the ``arguments`` arguments and then the captures of ``body``. ``rule(inputs, outputs, cotangents)``
    returns the arguments' cotangents.
    """

    public = False
    body_attributes = ("body",)

    def infer(self, *inputs: Tensor, body: Graph, rule: Any, arguments: int) -> tuple[TensorType, ...]:
        if len(inputs) != len(body.inputs):
            raise GraphError(f"custom_call: expected {len(body.inputs)} inputs, got {len(inputs)}")
        for actual, formal in zip(inputs, body.inputs, strict=True):
            if actual.type != formal.type:
                raise ShapeError(f"custom_call: expected an input of type {formal.type}, got {actual.type}")
        return tuple(tensor.type for tensor in body.outputs)

    def decompose(self, node: Node) -> tuple[Tensor, ...]:
        return inline(node["body"], node.inputs)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        arguments = node.inputs[: node["arguments"]]
        given = node["rule"](arguments, node.results, cotangents)
        given = (given,) if given is None or isinstance(given, Tensor) else tuple(given)
        if len(given) != len(arguments):
            raise GradientError(
                f"custom_gradient: expected the rule to return {len(arguments)} cotangents, got {len(given)}",
                origin=node.origin,
            )
        for place, (tensor, argument) in enumerate(zip(given, arguments, strict=True)):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise GradientError(
                    f"custom_gradient: expected cotangent {place} to be a tensor or None, got {type(tensor).__name__}",
                    origin=node.origin,
                )
            if tensor is not None and tensor.type != argument.type:
                raise GradientError(
                    f"custom_gradient: expected cotangent {place} of type {argument.type}, got {tensor.type}",
                    origin=node.origin,
                )
        return (*given, *(None for _ in node.inputs[node["arguments"] :]))


def differentiable_sources(y: Tensor) -> set[Tensor]:
    """All tensors that ``y`` depends on along differentiable paths, ``y`` among them if it is a float.

    A path is differentiable where every tensor on it is a float and every op on it has a derivative.
    """
    seen = {y} if is_float(y.dtype) else set()
    waiting = list(seen)
    while waiting:
        node = waiting.pop().node
        if not node.op.differentiable:
            continue
        for tensor in node.inputs:
            if tensor not in seen and is_float(tensor.dtype):
                seen.add(tensor)
                waiting.append(tensor)
    return seen
