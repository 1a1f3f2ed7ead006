"""Graphs and walks. All walks are iterative: a chain of 100,000 nodes is no deeper than one of three."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Any

from graphc.errors import GraphError
from graphc.ir.node import Node, Tensor, given, remade
from graphc.ir.op import Effect, Source
from graphc.ir.origin import NOWHERE, derived_from
from graphc.ir.record import record
from graphc.ir.symbolic import Dim, names_of

if TYPE_CHECKING:
    import networkx


def topological(tensors: Iterable[Tensor], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """The nodes that ``tensors`` depend on, producers first, in an order fixed by the graph alone.

    Parameters
    ----------
    tensors : iterable of Tensor
    stop : callable, optional
        Nodes for which it is true are listed but not walked through.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    for tensor in tensors:
        if tensor.node in seen:
            continue
        seen.add(tensor.node)
        node, inputs = tensor.node, iter(() if stop and stop(tensor.node) else tensor.node.inputs)
        waiting: list[tuple[Node, Iterator[Tensor]]] = []
        while True:
            for source in inputs:
                maker = source.node
                if maker not in seen:
                    seen.add(maker)
                    if maker.inputs and not (stop and stop(maker)):
                        waiting.append((node, inputs))
                        node, inputs = maker, iter(maker.inputs)
                        break
                    order.append(maker)
            else:
                order.append(node)
                if not waiting:
                    break
                node, inputs = waiting.pop()
    return order


@record
class Graph:
    """A closed graph: every leaf of ``outputs`` is an input, or a source that carries its own value.

    Attributes
    ----------
    inputs : tuple of Tensor
        Placeholders of a program, parameters of a body.
    outputs : tuple of Tensor
        What is computed; assigns among them are written to their variables.
    info : dict
        Notes that passes leave for drawings and reports (such as how the user's tensors map to today's).

    Raises
    ------
    GraphError
        If inputs or outputs are no tuple or list of tensors.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    info: dict[str, Any]

    # Not in __post_init__: the __init__ that a dataclass makes is in nobody's file, and was taken for the user's line.
    def __init__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], info: dict[str, Any] | None = None):
        found = {"inputs": _tensors("inputs", inputs), "outputs": _tensors("outputs", outputs)}
        vars(self).update(found, info={} if info is None else info)  # type checkers have a record never change

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes the outputs depend on, producers first."""
        return tuple(topological(self.outputs))

    def all_nodes(self) -> Iterator[Node]:
        """The nodes, and those of the bodies that they hold, at any depth."""
        graphs = [self]
        for graph in graphs:
            for node in graph.nodes:
                yield node
                if node.op.body_attributes:
                    graphs += node.bodies

    @cached_property
    def effects(self) -> tuple[Node, ...]:
        """The nodes that write variables."""
        return tuple(node for node in self.nodes if isinstance(node.op, Effect))

    @property
    def sources(self) -> tuple[Node, ...]:
        """The leaves: placeholders, variables, constants."""
        return tuple(node for node in self.nodes if isinstance(node.op, Source))

    def consumers(self) -> dict[Tensor, list[Node]]:
        """For every tensor the nodes that read it, once each, in topological order."""
        found: dict[Tensor, list[Node]] = {tensor: [] for node in self.nodes for tensor in node.results}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found[tensor].append(node)
        return found

    def to_networkx(self) -> networkx.MultiDiGraph[Any]:
        """The graph for analysis with networkx: nodes by serial number, an edge for each input.

        Node attributes: ``op``, ``label``, ``types``, ``origin``. Edge attributes: ``place`` (which input),
        ``type``. Bodies appear as the node attribute ``bodies``, a tuple of such graphs.
        """
        import networkx

        picture: networkx.MultiDiGraph[Any] = networkx.MultiDiGraph()
        for node in self.nodes:
            picture.add_node(
                node.serial,
                op=node.op.name,
                label=node.results[0].name,
                types=tuple(str(tensor.type) for tensor in node.results),
                origin=str(node.origin),
                bodies=tuple(body.to_networkx() for body in node.bodies),
            )
            for place, tensor in enumerate(node.inputs):
                picture.add_edge(tensor.node.serial, node.serial, place=place, type=str(tensor.type))
        return picture

    def __str__(self) -> str:
        from graphc.ir.printer import format_graph

        return format_graph(self)


def _tensors(what: str, values: Any) -> tuple[Tensor, ...]:
    """The inputs or outputs of a graph, found to be tensors."""
    if not isinstance(values, (tuple, list)):
        hint = "a tuple of one tensor: (x,)" if isinstance(values, Tensor) else None
        raise GraphError(f"Graph: expected a tuple of tensors as {what}, got {given(values)}", hint=hint)
    for place, value in enumerate(values):
        if not isinstance(value, Tensor):
            nested = isinstance(value, (tuple, list)) and value and all(isinstance(entry, Tensor) for entry in value)
            hint = f"a star puts its tensors among the {what}: (loss, *updates)" if nested else None
            raise GraphError(f"Graph: expected tensors as {what}, got {given(value)} at place {place}", hint=hint)
    return tuple(values)


def holds(graph: Graph, wanted: Callable[[Node], bool]) -> bool:
    """Whether a node of a graph, or of a body in it, is of a kind."""
    return any(map(wanted, graph.all_nodes()))


def named_dims(graph: Graph) -> dict[str, Node]:
    """The named dims in shapes and attributes of a graph's nodes, and of bodies in it; the first node that has each."""
    found: dict[str, Node] = {}
    for node in graph.all_nodes():
        parts = [size for tensor in node.results for size in tensor.shape]
        for value in node.attributes.values():
            parts += value if isinstance(value, tuple) else [value]
        for part in parts:
            if isinstance(part, Dim):
                for name in names_of(part):
                    found.setdefault(name, node)
    return found


Rule = Callable[[Node, tuple[Tensor, ...]], "Sequence[Tensor] | None"]


def remake(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The results of the same op on other inputs; the node itself if the inputs are the same."""
    if all(map(is_, inputs, node.inputs)):
        return node.results
    with derived_from(node.origin):
        return remade(node, inputs)


def rewrite(graph: Graph, rule: Rule, *, replaced: dict[Tensor, Tensor] | None = None) -> Graph:
    """Rebuild a graph bottom-up.

    Parameters
    ----------
    graph : Graph
    rule : callable
        ``rule(node, new_inputs)`` returns the tensors that stand for the node's results, or None to keep the op
        on the new inputs. Nodes it makes carry the node's origin.
    replaced : dict, optional
        Tensors already replaced; receives the full mapping from old tensors to new ones.

    Returns
    -------
    Graph
        With the same inputs; the same object if nothing changed.

    Raises
    ------
    GraphError
        If a rule changes a result's type.
    """
    new: dict[Tensor, Tensor] = {} if replaced is None else replaced
    with derived_from(NOWHERE) as current:
        for node in graph.nodes:
            if all(map(new.__contains__, node.results)):
                continue
            inputs = tuple([new[tensor] for tensor in node.inputs])
            current.origin = node.origin
            results = rule(node, inputs)
            if results is None:
                results = node.results if all(map(is_, inputs, node.inputs)) else remade(node, inputs)
            for old, tensor in zip(node.results, results, strict=True):
                if tensor is not old and tensor.type != old.type:
                    raise GraphError(
                        f"a rule changed the type of {old.name} from {old.type} to {tensor.type}", origin=node.origin
                    )
                new[old] = tensor
    outputs = tuple(new[tensor] for tensor in graph.outputs)
    if all(now is old for now, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return replace(graph, outputs=outputs)


def inline(graph: Graph, arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of a body with tensors in place of its inputs.

    Raises
    ------
    GraphError
        If the number of arguments or a type differs.
    """
    if len(arguments) != len(graph.inputs):
        raise GraphError(f"a body of {len(graph.inputs)} inputs got {len(arguments)} arguments")
    for formal, actual in zip(graph.inputs, arguments, strict=True):
        if formal.type != actual.type:
            raise GraphError(f"a body's input {formal.name} has type {formal.type}, its argument {actual.type}")
    replaced = dict(zip(graph.inputs, arguments, strict=True))
    return rewrite(graph, lambda node, inputs: None, replaced=replaced).outputs
