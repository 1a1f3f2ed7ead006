"""Reverse-mode differentiation: every ``gradient`` node becomes the backward graph it stands for.

For ``gradient(y, seed, *xs)``:

1. Forward over the nodes that ``y`` depends on: mark those that depend on an x along differentiable paths. Nothing
   else is walked again, so the backward graph holds no derivative that nobody asked for.
2. Backward over the marked nodes, each once. The cotangent of a tensor, ``dy/dt``, is complete when all its uses
   have been visited; the op's ``vjp`` turns the cotangents of a node's results into contributions to those of its
   inputs (the chain rule).
3. A tensor that is used several times gets one contribution a use; they are joined by a ``path_sum`` node, which
   remembers the uses (the multi-path chain rule).

Time and size are linear in the number of marked nodes, and no walk recurses over the depth of the graph.

Nodes are expanded **innermost first**: a gradient of a gradient differentiates the ordinary graph that the inner
one has become. Bodies of loops are treated alike. When no ``gradient`` is left anywhere, ``stop_gradient`` and
``pin`` have done their work and are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import GraphError
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Op
from graphc.ir.origin import derived_from
from graphc.ir.types import is_float
from graphc.ops.control import scan
from graphc.ops.derivatives import full
from graphc.ops.gradient import gradient, jacobian_rows, path_sum, pin, stop_gradient
from graphc.ops.indexing import one_hot
from graphc.ops.sizes import arange
from graphc.ops.views import reshape
from graphc.passes.pins import pin_derivatives
from graphc.passes.sweep import sweep


def differentiate(graph: Graph) -> Graph:
    """Expand all ``gradient`` nodes, those in bodies too.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        Ordinary graph: without ``gradient``, ``stop_gradient`` and ``pin``. New nodes carry the line of the node
        they differentiate and ``derived="gradient of <op>"``.

    Raises
    ------
    GraphError
        If an op on the path has no derivative, or its derivative has not its input's type.
    """
    return sweep(expand_gradients(graph), _unmarked, lambda node: node.op is stop_gradient or node.op is pin)


def expand_gradients(graph: Graph) -> Graph:
    """The first half of :func:`differentiate`: ``stop_gradient`` and ``pin`` stay, so that the result can be
    differentiated further."""
    # A vjp may itself be written with gradients, as that of a loop is; the sweep expands them in turn.
    return sweep(pin_derivatives(graph), _expanded, lambda node: node.op.derivative)


def _expanded(node: Node) -> Sequence[Tensor] | None:
    return derivative(node.op, node.inputs) if node.op.derivative else None


def derivative(op: Op, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What stands for the results of an op of kind ``derivative`` on these inputs."""
    if op is gradient:
        y, seed, *xs = inputs
        return backward(y, seed, xs)
    if op is jacobian_rows:
        return (_rows(*inputs),)
    raise GraphError(f"{op.name}: there is no rule to differentiate by")


def _unmarked(node: Node) -> Sequence[Tensor] | None:
    return node.inputs if node.op is stop_gradient or node.op is pin else None


def backward(y: Tensor, seed: Tensor, xs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The vector-Jacobian products ``seed^T dy/dx``, built node by node.

    Parameters
    ----------
    y : Tensor
    seed : Tensor
        Of ``y``'s type.
    xs : sequence of Tensor

    Returns
    -------
    tuple of Tensor
        One an x, of its type; zeros where ``y`` turns out not to depend on it.
    """
    marked, active = paths_between(y, xs)
    contributions: dict[Tensor, list[tuple[str, Tensor]]] = {y: [("seed", seed)]}
    for node in reversed(marked):
        cotangents = [_joined(tensor, contributions) for tensor in node.results]
        if all(cotangent is None for cotangent in cotangents):
            continue
        for place, contribution in contributions_of(node, cotangents):
            target = node.inputs[place]
            if target in active:
                contributions.setdefault(target, []).append((f"{node.op.name}.{place}", contribution))
    found = [_joined(x, contributions) for x in xs]
    return tuple(full(0.0, x.type) if total is None else total for x, total in zip(xs, found, strict=True))


def paths_between(y: Tensor, xs: Sequence[Tensor]) -> tuple[list[Node], set[Tensor]]:
    """The nodes that lead from an x to y, producers first, and the tensors that depend on an x."""
    active = set(xs)
    marked = []
    for node in topological([y]):
        if node.op.differentiable and any(tensor in active for tensor in node.inputs):
            smooth = [tensor for tensor in node.results if is_float(tensor.dtype)]
            if smooth:
                marked.append(node)
                active.update(smooth)
    return marked, active


def _joined(tensor: Tensor, contributions: dict[Tensor, list[tuple[str, Tensor]]]) -> Tensor | None:
    """A tensor's cotangent: the sum over the paths that reach it, None if none does."""
    paths = contributions.get(tensor)
    if paths is None:
        return None
    if len(paths) == 1:
        return paths[0][1]
    with derived_from(tensor.node.origin, f"gradient of {tensor.node.op.name}"):
        return path_sum(*(term for _, term in paths), paths=tuple(name for name, _ in paths))


def contributions_of(node: Node, cotangents: Sequence[Tensor | None]) -> list[tuple[int, Tensor]]:
    """What a node passes on to its inputs, the op's ``vjp``: their places, and contributions of their types."""
    with derived_from(node.origin, f"gradient of {node.op.name}"):
        complete = [
            full(0, tensor.type) if cotangent is None else cotangent
            for tensor, cotangent in zip(node.results, cotangents, strict=True)
        ]
        given = node.op.vjp(node, *complete)
    if len(given) != len(node.inputs):
        raise GraphError(
            f"{node.op.name}: its derivative has {len(given)} parts for {len(node.inputs)} inputs", origin=node.origin
        )
    passed = [(place, part) for place, part in enumerate(given) if part is not None]
    for place, part in passed:
        if part.type != node.inputs[place].type:
            raise GraphError(
                f"{node.op.name}: its derivative by input {place} has type {part.type}, the input has type "
                f"{node.inputs[place].type}",
                origin=node.origin,
            )
    return passed


def _rows(y: Tensor, x: Tensor) -> Tensor:
    """The Jacobian of y by x: a scan over the rows of the identity; what depends on no row is computed outside."""

    def row(carry: None, place: Tensor) -> tuple[None, Tensor]:
        unit = reshape(one_hot(place, y.type.size, y.dtype), y.shape)
        return None, backward(y, unit, [x])[0]

    _, rows = scan(row, None, arange(y.type.size))
    return reshape(rows, (*y.shape, *x.shape))
