"""What scan, cond and while_loop share: running a body, its gradient, and the checks of what their functions return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.types import TensorType
from graphc.ops.base import as_tensor
from graphc.ops.derivatives import full
from graphc.ops.gradient import differentiable_sources, gradient
from graphc.ops.tree import flatten, paths, same_structure

Array = np.ndarray[Any, Any]
INDEX = TensorType((), np.dtype("int64"))


def _compute(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    made = node.op.compute(node, *inputs)
    return made if isinstance(made, tuple) else (made,)


COMPUTE: ContextVar[Callable[[Node, Sequence[Array]], Sequence[Array]]] = ContextVar("COMPUTE", default=_compute)
"""How :func:`evaluate_body` computes the results of a node from its inputs; a test may put something in its place."""


def evaluate_body(body: Graph, arguments: Sequence[Array]) -> list[Array]:
    """The outputs of a body on arrays, op by op in NumPy."""
    known: dict[Tensor, Array] = dict(zip(body.inputs, arguments, strict=True))
    compute = COMPUTE.get()
    for node in body.nodes:
        if node.results[0] not in known:
            known.update(zip(node.results, compute(node, [known[tensor] for tensor in node.inputs]), strict=True))
    return [known[tensor] for tensor in body.outputs]


def cotangents_of(xs: Sequence[Tensor], ys: Sequence[Tensor], seeds: Sequence[Tensor]) -> list[Tensor | None]:
    """Cotangents of xs from those of several ys in one backward pass; None where no path leads."""
    total: Tensor | None = None
    for y, seed in zip(ys, seeds, strict=True):
        # d(sum(y * seed)) is seed . dy; in float64, the one dtype that every float casts to
        term = as_tensor(REGISTRY["sum"](REGISTRY["multiply"](y, seed)), "float64")
        total = term if total is None else REGISTRY["add"](total, term)
    if total is None:
        return [None for _ in xs]
    reached = differentiable_sources(total)
    connected = [x for x in xs if x in reached]
    if not connected:
        return [None for _ in xs]
    found = gradient.make(total, full(1.0, total.type), *connected)
    by_x = dict(zip(connected, found if isinstance(found, tuple) else (found,), strict=True))
    return [by_x.get(x) for x in xs]


def or_zero(cotangent: Tensor | None, like: Tensor) -> Tensor:
    """A cotangent, zeros of a tensor's type where there is none."""
    return full(0.0, like.type) if cotangent is None else cotangent


def results_of(made: Any) -> tuple[Tensor, ...]:
    """What ``make`` returned, as a tuple also where there is one result."""
    return made if isinstance(made, tuple) else (made,)


def check_callable(what: str, function: Any, role: str, count: int = 1) -> None:
    """Refuse what is no function, or one that does not take so many arguments."""
    if not callable(function):
        raise GraphError(f"{what}: expected {role}, got {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a builtin
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        takes = "one argument" if count == 1 else f"{count} arguments"
        raise GraphError(f"{what}: expected {role}, got one that cannot be called with {takes}: {error}") from None


def checked_condition(what: str, given: Any, subject: str = "the condition") -> Tensor:
    """A condition as a tensor, which must be one bool.

    Raises
    ------
    GraphError, DTypeError, ShapeError
        If it is a container of tensors, has another dtype, or axes.
    """
    if given is None or isinstance(given, (tuple, list, dict)):
        raise GraphError(f"{what}: expected {subject} to be one bool, got {type(given).__name__}")
    tensor = as_tensor(given)
    if tensor.dtype != np.dtype("bool"):
        raise DTypeError(
            f"{what}: expected {subject} to be one bool, got {tensor.type}",
            operands=(tensor,),
            hint="compare it with a number, such as x != 0",
        )
    if tensor.shape != ():
        raise ShapeError(
            f"{what}: expected {subject} to be one bool, got {tensor.type}",
            operands=(tensor,),
            hint="reduce it by .any() or .all(); graphc.where chooses element by element",
        )
    return tensor


def checked_carry(what: str, init: Any, initial: Sequence[Tensor], after: Any) -> list[Tensor]:
    """The new carry's tensors, which must fit the old one's."""
    if not same_structure(init, after):
        raise GraphError(
            f"{what}: the carry changes its structure: it was {structure_of(init)}, it becomes {structure_of(after)}"
        )
    leaves = []
    for before, (path, leaf) in zip(initial, paths(after), strict=True):
        tensor = as_tensor(leaf)
        if not isinstance(leaf, Tensor) and (_is_weak(leaf, before) or tensor.dtype.kind == before.dtype.kind):
            tensor = as_tensor(leaf, before.dtype)
        if tensor.type != before.type:
            raise GraphError(
                f"{what}: carry{path} changes its type: it was {before.type}, it becomes {tensor.type}",
                operands=(tensor,),
                hint="cast or reshape it, or start from a carry of that type",
            )
        leaves.append(tensor)
    return leaves


def matched(what: str, left: Any, right: Any, names: tuple[str, str]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of two trees that must be alike in structure, shapes and dtypes.

    Numbers that stand opposite a tensor take its dtype.

    Parameters
    ----------
    what : str
        Named in errors.
    left, right : tree
    names : pair of str
        What the trees are, for errors.

    Raises
    ------
    GraphError, ShapeError, DTypeError
        Showing both.
    """
    if not same_structure(left, right):
        raise GraphError(
            f"{what}: the branches differ in structure: {structure_of(left)} {names[0]}, "
            f"{structure_of(right)} {names[1]}"
        )
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for (path, a), (_, b) in zip(paths(left), paths(right), strict=True):
        first, second = _alike(a, b)
        if first.type != second.type:
            kind: type[GraphcError] = ShapeError if first.shape != second.shape else DTypeError
            raise kind(
                f"{what}: the branches differ: result{path} is {first.type} {names[0]}, {second.type} {names[1]}",
                operands=(first, second),
                hint="broadcast or reshape one of them" if kind is ShapeError else "cast one of them",
            )
        found[0].append(first)
        found[1].append(second)
    return found


def _alike(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two leaves as tensors; a Python number takes the other's dtype where it is of its kind."""
    if isinstance(a, Tensor) and _is_weak(b, a):
        return a, as_tensor(b, a.dtype)
    if isinstance(b, Tensor) and _is_weak(a, b):
        return as_tensor(a, b.dtype), b
    return as_tensor(a), as_tensor(b)


def _is_weak(leaf: Any, other: Tensor) -> bool:
    """Whether a leaf is a Python number that a tensor's dtype can hold."""
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
        return False
    return other.dtype.kind == "f" or (isinstance(leaf, int) and other.dtype.kind in "iu")


def structure_of(tree: Any) -> str:
    """A tree's structure for a message: ``*`` for each leaf."""
    leaves, rebuild = flatten(tree)
    return str(rebuild(["*"] * len(leaves))).replace("'*'", "*")
