"""The chain rule made visible: each path from x to y, the local derivatives along it, and the sum over the paths.

``dy/dx`` is the sum over all paths from x to y of the product of the local derivatives along the path. Reverse mode
never lists paths (their number can grow exponentially with depth); here they are counted by dynamic programming over
the graph, and the first few are listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from graphc.errors import GradientError, GraphError
from graphc.ir.graph import Graph, rewrite, topological
from graphc.ir.node import Node, Tensor
from graphc.ir.variables import names_here
from graphc.ops.base import Elementwise
from graphc.ops.derivatives import full, gradients, one_source
from graphc.ops.sources import placeholder
from graphc.passes.differentiate import contributions_of, expand_gradients, paths_between
from graphc.passes.simplify import simplify

DEEPEST_SHOWN = 8
"""Nesting of a local derivative's formula beyond which it is cut to ``...``."""


@dataclass(frozen=True)
class Step:
    """One edge of a path: a tensor, and one result of a node that uses it.

    Attributes
    ----------
    source, target : Tensor
    node : Node
    place : int
        Which input of the node ``source`` is.
    local : str
        The local derivative: a factor for elementwise ops, else a linear map of ``g``, the derivative by ``target``.
    names : tuple of str
        What ``source`` and ``target`` are called.
    """

    source: Tensor
    target: Tensor
    node: Node
    place: int
    local: str
    names: tuple[str, str]


@dataclass(frozen=True)
class Path:
    """A path from x to y.

    Attributes
    ----------
    steps : tuple of Step
        From x to y.
    contribution : Tensor
        The derivative along this path alone; it can be run.
    """

    steps: tuple[Step, ...]
    contribution: Tensor

    def __str__(self) -> str:
        lines = [" -> ".join([step.names[0] for step in self.steps] + [step.names[1] for step in self.steps[-1:]])]
        for step in reversed(self.steps):
            source, target = step.names
            lines.append(f"    d {target} / d {source} = {step.local}    # {step.node.origin}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """What :func:`explain_gradient` returns; ``str`` of it is the text.

    Attributes
    ----------
    y, x : Tensor
    count : int
        Number of paths from x to y.
    paths : tuple of Path
        The first of them.
    total : Tensor
        ``gradients(y, x)``: the sum of the contributions of all paths.
    names : tuple of str
        What ``y`` and ``x`` are called.
    """

    y: Tensor
    x: Tensor
    count: int
    paths: tuple[Path, ...]
    total: Tensor
    names: tuple[str, str]

    def __str__(self) -> str:
        plural = "path" if self.count == 1 else "paths"
        derivative = f"d {self.names[0]} / d {self.names[1]}"
        lines = [f"{derivative}: {self.count} {plural}"]
        lines += [f"path {number}: {str(path) or self.names[0]}" for number, path in enumerate(self.paths, 1)]
        if self.count > len(self.paths):
            lines.append(f"... and {self.count - len(self.paths)} more")
        sign = " + ".join(f"path {number}" for number in range(1, len(self.paths) + 1))
        more = " + ..." if self.count > len(self.paths) else ""
        lines.append(f"along a path local derivatives multiply; {derivative} = {sign}{more}")
        return "\n".join(lines)


def explain_gradient(y: Tensor, x: Tensor, limit: int = 10) -> Explanation:
    """Show how the derivative of ``y`` by ``x`` comes about.

    Tensors are called by their names; those that have none, by the variables of yours that hold them; others by their
    ops and numbers.

    Parameters
    ----------
    y : Tensor
        A float scalar.
    x : Tensor
        Float.
    limit : int
        Paths to list; all are counted.

    Returns
    -------
    Explanation

    Raises
    ------
    GradientError
        As :func:`graphc.gradients`.
    GraphError
        If ``x`` is not one tensor, or ``y`` is eager: local derivatives are shown as formulas, which values are none.
    """
    if isinstance(y, Tensor) and y.apply is not None:
        raise GraphError(
            f"explain_gradient: expected a tensor of a graph, got {y.label}, which is eager",
            operands=(y,),
            hint="call the same function on placeholders",
        )
    total = gradients(y, one_source("explain_gradient", x))
    variables = _variables(y)
    called = (_name(y, variables), _name(x, variables))
    if y is x:
        return Explanation(y, x, 1, (Path((), full(1.0, x.type)),), total, called)
    # gradients that y itself is made of become ordinary graph first
    top, bottom = expand_gradients(Graph((), (y, x))).outputs
    names = variables | dict(zip((top, bottom), called, strict=True))
    edges, counts = _edges(top, bottom)
    if not counts[bottom]:
        raise GradientError(f"explain_gradient: {y.label} turns out not to depend on {x.label}", origin=x.node.origin)
    paths = tuple(_path(list(steps), top, names) for steps in islice(_walks(bottom, top, edges), limit))
    return Explanation(y, x, counts[bottom], paths, total, called)


def _variables(y: Tensor) -> dict[Tensor, str]:
    """The user's variables that hold tensors, but for those called like another tensor that ``y`` is made of."""
    own = {tensor.node.attributes.get("name"): tensor for node in topological([y]) for tensor in node.results}
    return {tensor: name for tensor, name in names_here().items() if own.get(name, tensor) is tensor}


def _name(tensor: Tensor, variables: Mapping[Tensor, str]) -> str:
    """A tensor's own name, else that of the variable that holds it, else one made of its op."""
    return tensor.node.attributes.get("name") or variables.get(tensor) or tensor.name


Edge = tuple[Node, int, Tensor]
"""A use of a tensor: the node, which input it is, and a result of the node."""


def _edges(y: Tensor, x: Tensor) -> tuple[dict[Tensor, list[Edge]], dict[Tensor, int]]:
    """The uses of each tensor that carry a derivative on to y, and the number of paths from each tensor to y."""
    marked, active = paths_between(y, [x])
    edges: dict[Tensor, list[Edge]] = defaultdict(list)
    counts: dict[Tensor, int] = defaultdict(int)
    counts[y] = 1
    for node in reversed(marked):
        for target in node.results:
            if not counts[target]:
                continue
            for place in _pulled_back(node, target, full(1.0, target.type)):
                source = node.inputs[place]
                if source in active:
                    edges[source].append((node, place, target))
                    counts[source] += counts[target]
    return edges, counts


def _pulled_back(node: Node, target: Tensor, cotangent: Tensor) -> dict[int, Tensor]:
    """What a node passes on to its inputs, by place, for the cotangent of one of its results."""
    return dict(contributions_of(node, [cotangent if tensor is target else None for tensor in node.results]))


def _walks(x: Tensor, y: Tensor, edges: dict[Tensor, list[Edge]]) -> Iterator[list[tuple[Tensor, Edge]]]:
    """All paths from x to y, one after the other, without recursion."""
    trail: list[tuple[Tensor, Edge]] = []
    stack: list[Iterator[Edge]] = [iter(edges[x])]
    tensor = x
    while stack:
        edge = next(stack[-1], None)
        if edge is None:
            stack.pop()
            if trail:
                tensor = trail.pop()[0]
            continue
        trail.append((tensor, edge))
        tensor = edge[2]
        if tensor is y:
            yield trail
            tensor = trail.pop()[0]
        else:
            stack.append(iter(edges[tensor]))


def _path(steps: list[tuple[Tensor, Edge]], y: Tensor, names: Mapping[Tensor, str]) -> Path:
    contribution = full(1.0, y.type)
    for _, (node, place, target) in reversed(steps):
        contribution = _pulled_back(node, target, contribution)[place]
    shown = []
    for source, (node, place, target) in steps:
        called = (_name(source, names), _name(target, names))
        shown.append(Step(source, target, node, place, _local(node, place, target, names), called))
    return Path(tuple(shown), contribution)


def _local(node: Node, place: int, target: Tensor, names: Mapping[Tensor, str]) -> str:
    """The derivative of one result by one input, as a formula in terms of the node's inputs and results."""
    elementwise = isinstance(node.op, Elementwise)
    cotangent = full(1.0, target.type) if elementwise else placeholder("g", target.shape, target.dtype)
    part = _pulled_back(node, target, cotangent)[place]
    # the node's own tensors are leaves of the formula, whatever they are made of, but for numbers without a name
    leaves: dict[Tensor, Tensor] = {}
    for tensor in (*node.inputs, *node.results):
        number = _number(tensor)
        leaf = tensor if number is None or tensor in names else number
        if number is None or leaf in names:
            leaves[leaf] = placeholder(_name(leaf, names), leaf.shape, leaf.dtype)
    formula = rewrite(Graph((), (part,)), lambda node, inputs: None, replaced=leaves)
    return _formula(simplify(formula).outputs[0], DEEPEST_SHOWN)


def _number(tensor: Tensor) -> Tensor | None:
    """The one number that a tensor holds, repeated or not, which a formula shows; None if it is something else."""
    while tensor.node.op.name == "broadcast_to":
        tensor = tensor.node.inputs[0]
    return tensor if tensor.node.op.name == "constant" and tensor.node["value"].size == 1 else None


SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def _formula(tensor: Tensor, depth: int) -> str:
    node = tensor.node
    if node.op.name == "constant" and node["value"].size == 1:
        return f"{node['value'].item():g}"
    if not node.inputs:
        return tensor.name
    if depth == 0:
        return "..."
    parts = [_formula(source, depth - 1) for source in node.inputs]
    if node.op.name == "broadcast_to":
        return parts[0]
    if node.op.name in SIGNS:
        return f"({parts[0]} {SIGNS[node.op.name]} {parts[1]})"
    return f"{node.op.name}({', '.join(parts)})"
