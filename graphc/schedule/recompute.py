"""Recomputation: what the backward pass computes again, because keeping it moves more memory.

Every intermediate value that a derivative reads is written in the forward pass, stays until the backward pass, and is
read from there. For a large network that is memory outside of any cache. A value is computed again instead if that
takes few operations on values that are kept anyway::

    z = x @ w                            kept: no map can make it again
    t = tanh(z + b)                      kept if only the derivative of tanh reads it later, else ...
    backward, before:  g * (1 - t * t)
    backward, after:   g * (1 - t' * t')     with t' = tanh(again(z, g) + b)

1. Forward and backward nodes are told apart (:mod:`graphc.passes.parts`). Nothing happens if what is kept is small
   enough for a cache.
2. The kept maps are visited, producers first. One is computed again if the maps between it and what is kept cost at
   most :data:`MOST_COST` an element, and its late readers are maps and reductions, into which it is inlined. A
   contraction reads memory: its operand is made again only beside another value of the same shape that is made again
   of the same kept value, so that one kernel makes both, and writes the operand into a cache that it is soon read from;
   or, where that kernel multiplies it too, in scratch, beside what reads the kept value itself. Such products wait for
   what they are made beside: attention's weights are made again of their exponentials, which the softmax's derivative
   reads.
3. Backward nodes read the copy. ``again(z, g)`` is z with an identity of its own, so that the copy is not merged with
   the original, and ``g``, a tensor of the backward pass, keeps it from joining a kernel of the forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import NamedTuple

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor, remade
from graphc.ir.op import Contraction, Map, Reduction, Source, View
from graphc.ir.origin import NOWHERE, derived_from
from graphc.ir.symbolic import NOMINAL_SIZE, evaluate, product
from graphc.ops.gradient import again
from graphc.passes.parts import BACKWARD, FORWARD, parts_of
from graphc.schedule.fuse import LARGEST_TILE
from graphc.schedule.lower import own_cost
from graphc.schedule.memory import dims_of

CACHE_BYTES = 8 << 20
"""If all that is kept is smaller (with every named dim 64), reading it is as fast as computing it."""

MOST_COST = 40
"""Additions an element; a tanh or an exponential counts 12, a division or a root 4."""

MOST_SEARCHED = 30
"""Nodes that are looked at for the tensor that a copy waits for."""


class _Copy(NamedTuple):
    """A kept tensor that backward nodes compute again.

    Attributes
    ----------
    tensor : Tensor
    leaves : frozenset of Tensor
        Kept values that it is made of, of its own size.
    after : Tensor
        The tensor of the backward pass whose kernel the copy may join.
    """

    tensor: Tensor
    leaves: frozenset[Tensor]
    after: Tensor


def recompute(graph: Graph) -> Graph:
    """Let backward nodes compute cheap values of the forward pass again.

    Parameters
    ----------
    graph : Graph
        Differentiated, decomposed and simplified.

    Returns
    -------
    Graph
        Computes the same bits; the same object if nothing is worth it.
    """
    plan = _Planner(graph)
    copies = plan.copies()
    return _Rewriter(graph, plan.parts, copies).run() if copies else graph


class _Planner:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.parts = parts_of(graph)
        self.readers = graph.consumers()
        self.place = {node: place for place, node in enumerate(graph.nodes)}
        self.sizes = dict.fromkeys(dims_of(graph), NOMINAL_SIZE)

    def copies(self) -> dict[Tensor, _Copy]:
        """What is computed again, and how."""
        kept = [
            tensor
            for node in self.graph.nodes
            if self.parts[node] == FORWARD and not isinstance(node.op, Source)
            for tensor in node.results
            if self._late_readers(tensor)
        ]
        if sum(self._bytes(tensor) for tensor in kept) <= CACHE_BYTES:
            return {}
        stops = {tensor for tensor in kept if not isinstance(tensor.node.op, Map)}
        inlined: dict[Tensor, _Copy] = {}
        operands: dict[Tensor, frozenset[Tensor]] = {}
        for tensor in kept:
            if tensor in stops or isinstance(tensor.node.op, View):
                continue
            leaves = self._leaves(tensor, stops)
            late = self._late_readers(tensor)
            if leaves is None or not all(isinstance(node.op, (Map, Reduction, Contraction)) for node in late):
                stops.add(tensor)
            elif any(isinstance(node.op, Contraction) for node in late):
                operands[tensor] = leaves
            elif (after := self._companion(late)) is not None:
                inlined[tensor] = _Copy(tensor, leaves, after)
        beside = self._beside(operands, inlined)
        left = {tensor: leaves for tensor, leaves in operands.items() if tensor not in beside}
        return inlined | beside | self._beside_readers(left)

    def _beside(
        self, operands: Mapping[Tensor, frozenset[Tensor]], inlined: Mapping[Tensor, _Copy]
    ) -> dict[Tensor, _Copy]:
        """Copies of operands of contractions, each with the latest copy that is made of the same kept value in time."""
        by_leaf: dict[Tensor, list[_Copy]] = {}
        for copy in inlined.values():
            for leaf in copy.leaves:
                by_leaf.setdefault(leaf, []).append(copy)
        found = {}
        for tensor, leaves in operands.items():
            first = self._first_reader(tensor)
            fitting = [
                other
                for leaf in leaves
                for other in by_leaf.get(leaf, ())
                if other.tensor.shape == tensor.shape and self.place[other.after.node] < first
            ]
            if fitting:
                after = max(fitting, key=lambda other: self.place[other.tensor.node]).after
                found[tensor] = _Copy(tensor, leaves, after)
        return found

    def _beside_readers(self, operands: Mapping[Tensor, frozenset[Tensor]]) -> dict[Tensor, _Copy]:
        """Copies of operands of many small products, each made beside what reads the kept value that it is made of.

        A product may come before the tensor that it now waits for. No two such waits overlap, lest they make a cycle.
        """
        found: dict[Tensor, _Copy] = {}
        waited = -1
        for tensor, leaves in sorted(operands.items(), key=lambda item: self._first_reader(item[0])):
            readers = self._late_readers(tensor)
            if len(leaves) != 1 or not all(_multiplies_tiles(node, tensor) for node in readers):
                continue
            (leaf,) = leaves
            others = [node for node in self._late_readers(leaf) if not isinstance(node.op, Contraction)]
            after = self._companion(others) if others and leaf.shape == tensor.shape else None
            first = self._first_reader(tensor)
            if after is None or after.shape != tensor.shape or first <= waited or self._needs(after, readers):
                continue
            waited = max(waited, self.place[after.node])
            found[tensor] = _Copy(tensor, leaves, after)
        return found

    def _needs(self, tensor: Tensor, nodes: Sequence[Node]) -> bool:
        """Whether a tensor depends on some nodes; it is taken to if they lie far apart."""
        first = min(self.place[node] for node in nodes)
        queue, seen = [tensor.node], {tensor.node}
        for node in queue:
            if node in nodes or len(queue) > MOST_SEARCHED:
                return True
            later = [t.node for t in node.inputs if self.place[t.node] >= first and t.node not in seen]
            seen.update(later)
            queue += dict.fromkeys(later)
        return False

    def _first_reader(self, tensor: Tensor) -> int:
        return min(self.place[node] for node in self._late_readers(tensor))

    def _late_readers(self, tensor: Tensor) -> list[Node]:
        return [node for node in self.readers[tensor] if self.parts[node] == BACKWARD]

    def _bytes(self, tensor: Tensor) -> int:
        return evaluate(tensor.type.size, self.sizes) * tensor.dtype.itemsize

    def _leaves(self, tensor: Tensor, stops: set[Tensor]) -> frozenset[Tensor] | None:
        """The kept values of its size that a tensor can cheaply be made of again; None if it can't."""
        cost = 0
        leaves: set[Tensor] = set()
        seen: set[Tensor] = set()
        stack = [tensor]
        while stack:
            part = stack.pop()
            if part in seen:
                continue
            seen.add(part)
            if part in stops or isinstance(part.node.op, Source):
                if part.type.size == tensor.type.size:
                    leaves.add(part)
                continue
            if not isinstance(part.node.op, Map):
                return None
            cost += 0 if isinstance(part.node.op, View) else own_cost(part.node)
            if cost > MOST_COST:
                return None
            stack += part.node.inputs
        return frozenset(leaves)

    def _companion(self, readers: Sequence[Node]) -> Tensor | None:
        """A tensor of the backward pass that no map makes and that meets what the readers make of theirs.

        It is looked for among what the readers read, then among what the readers of their results read, and so on,
        as far as these are maps; and it comes before all of the readers, so that they can wait for it.
        """
        first = min(self.place[node] for node in readers)
        queue, seen = list(readers), set(readers)
        for node in queue:
            for tensor in node.inputs:
                if self.parts[tensor.node] != BACKWARD:
                    continue
                if not isinstance(tensor.node.op, Map):
                    if self.place[tensor.node] < first:
                        return tensor
                elif tensor.node not in seen:
                    seen.add(tensor.node)
                    queue.append(tensor.node)
            if isinstance(node.op, Map):
                later = [reader for reader in self.readers[node.result][:MOST_SEARCHED] if reader not in seen]
                seen.update(later)
                queue += [reader for reader in later if self.parts[reader] == BACKWARD]
            if len(queue) > MOST_SEARCHED:
                break
        return None


def _multiplies_tiles(node: Node, tensor: Tensor) -> bool:
    """Whether a node is one small product of a tensor at each place of its first axis, for which scratch suffices."""
    if not isinstance(node.op, Contraction) or tensor.ndim < 3:
        return False
    size = product(tensor.shape[1:])
    labels = node.op.labels(node)
    return isinstance(size, int) and size <= LARGEST_TILE and len({part[:1] for part in labels}) == 1


class _Rewriter:
    """Rebuilds a graph in which backward nodes read copies."""

    def __init__(self, graph: Graph, parts: Mapping[Node, str], copies: Mapping[Tensor, _Copy]):
        self.graph, self.parts, self.copies = graph, parts, copies
        self.new: dict[Tensor, Tensor] = {}
        self.made: dict[tuple[Tensor, Tensor], Tensor] = {}

    def run(self) -> Graph:
        waiting: list[Node] = []
        with derived_from(NOWHERE) as current:
            for node in self.graph.nodes:
                waiting.append(node)
                waiting = [node for node in waiting if not self._rebuilt(node, current)]
        return Graph(self.graph.inputs, tuple(self.new[tensor] for tensor in self.graph.outputs), self.graph.info)

    def _rebuilt(self, node: Node, current: derived_from) -> bool:
        """Rebuild a node; False if something that it, or a copy that it reads, waits for has not been yet."""
        late = self.parts[node] == BACKWARD
        awaited = [self.copies[tensor].after for tensor in node.inputs if late and tensor in self.copies]
        if not all(tensor in self.new for tensor in (*node.inputs, *awaited)):
            return False
        current.origin = node.origin
        inputs = tuple([self._input(node, tensor) if late else self.new[tensor] for tensor in node.inputs])
        results = node.results if all(map(is_, inputs, node.inputs)) else remade(node, inputs)
        self.new.update(zip(node.results, results, strict=True))
        return True

    def _input(self, node: Node, tensor: Tensor) -> Tensor:
        """What a backward node reads instead of a tensor."""
        if tensor in self.copies:
            with derived_from(tensor.node.origin, node.origin.derived):
                return self._copy(tensor, self.copies[tensor])
        return self.new[tensor]

    def _copy(self, tensor: Tensor, copy: _Copy) -> Tensor:
        """A part of a copy; recursion goes as deep as one value's few maps."""
        key = (tensor, copy.after)
        if key not in self.made:
            if tensor in copy.leaves:
                made = again.make(self.new[tensor], self.new[copy.after])
            elif tensor.type.size != copy.tensor.type.size or not isinstance(tensor.node.op, Map):
                made = self.new[tensor]
            else:
                inputs: Sequence[Tensor] = [self._copy(part, copy) for part in tensor.node.inputs]
                (made,) = remade(tensor.node, tuple(inputs))
            self.made[key] = made
        return self.made[key]
