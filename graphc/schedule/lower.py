"""From graph to scalar expressions: which tensors become stages, and what one element of each is.

Every tensor that is not a *root* is inlined: its element is substituted into whoever reads it, which is fusion.
Roots are

* what ops make that are no maps: reductions, contractions, scans, accumulations, row routines, loops;
* what must lie in memory: outputs of the graph, new values of variables, operands of loops and routines, and
  operands of contractions that are not strided views of something that lies there;
* maps that would be computed again and again: read by several consumers, or read at the same place many times
  (broadcasts, gathers), unless computing them costs less than keeping them: few operations, and no more to read than
  the result itself (the sum of a residual connection reads two tensors, so it is kept and they are not);
* maps whose inlined expression has grown too long.

Rooting a map does not put it in memory: if all its readers join its kernel, it stays in a register or in scratch.
Readers in other kernels compute a root again if it is *repeatable*: made of nothing of its own size, as random numbers
are, so that computing it moves less memory than reading it. A dropout mask is thus never stored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeGuard

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Contraction, Control, Effect, Map, Op, RowRoutine, Source, View
from graphc.ir.scalar import Literal, Load, Scalar
from graphc.ir.symbolic import Axis, Size, Value, atoms_of, is_linear, of_atom
from graphc.ops.base import Elementwise
from graphc.schedule.kernel import cost

CHEAP = 4
"""Maps of at most this cost (in additions) are computed again rather than kept."""

REPEATABLE = 200
"""Maps that read nothing of their own size are computed again in each kernel up to this cost, as random numbers are."""

STATE_WORDS = 2
"""Elements of a random state, which every random number is made of."""

LONGEST = 100
"""No inlined expression reads more than about this many tensors, in all its ops together."""


def is_strided(load: Scalar, axes: Sequence[Axis]) -> TypeGuard[Load]:
    """Whether a scalar is a load whose place is linear in the axes, that is, a strided view of memory."""
    if not isinstance(load, Load):
        return False
    if any(isinstance(atom, Value) for atom in atoms_of(load.offset)):
        return False
    return is_linear(load.offset, axes)


class Lowering:
    """The roots of a graph, and elements of its tensors as scalar expressions over loads of roots and sources.

    Parameters
    ----------
    graph : Graph
        Simplified, without ops that need decomposition.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.consumers = graph.consumers()
        self.roots: set[Tensor] = set()
        self.repeatable: set[Tensor] = set()
        self._cost: dict[Tensor, int] = {}
        self._length: dict[Tensor, int] = {}
        self._reads: dict[Tensor, frozenset[Tensor]] = {}  # what inlined elements read, each element of it about once
        self._needed = set(graph.outputs)
        self._viewed = self._viewed_by_contractions()
        for node in graph.nodes:
            if isinstance(node.op, Map):
                self._weigh(node)
                if self._is_root(node):
                    if not self._reads[node.result] and self._cost[node.result] <= REPEATABLE:
                        self.repeatable.add(node.result)
                    self._take_root(node.result)
            else:
                for tensor in node.results:
                    self._take_root(tensor)

    def _take_root(self, tensor: Tensor) -> None:
        if not isinstance(tensor.node.op, Source):
            self.roots.add(tensor)
        self._cost[tensor] = 0
        self._length[tensor] = 0
        self._reads[tensor] = frozenset([tensor])

    def _viewed_by_contractions(self) -> set[Tensor]:
        """Maps of which contractions read strided views: kept once, they need no copy for each view."""
        found = set()
        operands = {t for node in self.graph.nodes if isinstance(node.op, Contraction) for t in node.inputs}
        for tensor in operands:
            base = tensor
            while isinstance(base.node.op, View) and len(base.node.inputs) == 1:
                base = base.node.inputs[0]
            if base is not tensor and isinstance(base.node.op, Map):
                self.roots = {base}  # as if it were the only one: is what is left of the operand a strided load of it?
                if self._lies_in_memory(tensor):
                    found.add(base)
        self.roots = set()
        return found

    def _weigh(self, node: Node) -> None:
        """Note cost, length and reads of a map's inlined element, from those of its inputs."""
        inputs = dict.fromkeys(node.inputs)
        own = 0 if isinstance(node.op, View) else own_cost(node)
        self._cost[node.result] = own + sum(self._cost[tensor] for tensor in inputs)
        self._length[node.result] = max(1, len(inputs)) + sum(self._length[tensor] for tensor in inputs)
        spread = [self._reads[tensor] for tensor in inputs if reads_once(node, tensor)]
        self._reads[node.result] = spread[0] if len(spread) == 1 else frozenset[Tensor]().union(*spread)

    def _is_root(self, node: Node) -> bool:
        tensor = node.result
        readers = self.consumers[tensor]
        if tensor in self._needed or tensor in self._viewed or self._length[tensor] > LONGEST:
            return True
        for reader in readers:
            if isinstance(reader.op, Control):
                return True
            if isinstance(reader.op, RowRoutine) and any(
                source is tensor and place not in reader.op.awaited for place, source in enumerate(reader.inputs)
            ):
                return True
        if any(isinstance(reader.op, Contraction) for reader in readers) and not self._lies_in_memory(tensor):
            return True
        if len(readers) > 1 and any(isinstance(reader.op, Effect) for reader in readers):
            return True  # a new value that is also used: reading the variable again could come too late
        if self._cost[tensor] <= CHEAP and len(self._reads[tensor]) <= 1:
            return False
        uses = sum(2 if repeats(reader, tensor) else 1 for reader in readers)
        return uses > 1

    def _lies_in_memory(self, tensor: Tensor) -> bool:
        """Whether a tensor is a strided view of a root or source, which a contraction reads where it is."""
        axes = [Axis(size) for size in tensor.shape]
        return is_strided(self.inlined(tensor, [of_atom(axis) for axis in axes]), axes)

    def element(self, tensor: Tensor, index: Sequence[Size], made: Collection[Tensor] = ()) -> Scalar:
        """The element of a tensor: a load if it is a root or source, else its expression.

        A repeatable root is loaded only where it is ``made``, in the reader's own kernel.
        """
        if self.is_loaded(tensor, made):
            return Load(tensor, index)
        return self.inlined(tensor, index, made)

    def is_loaded(self, tensor: Tensor, made: Collection[Tensor]) -> bool:
        """Whether a kernel that makes some tensors loads another, rather than computing it again."""
        return tensor in self.roots and (tensor in made or tensor not in self.repeatable)

    def inlined(
        self,
        tensor: Tensor,
        index: Sequence[Size],
        made: Collection[Tensor] = (),
        memo: dict[object, Scalar] | None = None,
    ) -> Scalar:
        """The expression that computes an element of a map or source, whether it is a root or not."""
        node = tensor.node
        if isinstance(node.op, Source):
            if node.op.fixed and tensor.type.size == 1:
                return Literal(node["value"].reshape(())[()], tensor.dtype)
            return Load(tensor, index)
        if isinstance(node.op, Effect):  # an update's element is the element of the new value
            return self.element(node.inputs[1], index, made)
        if not isinstance(node.op, Map):
            return Load(tensor, index)
        known: dict[object, Scalar] = {} if memo is None else memo

        def read(place: int, at: Sequence[Size]) -> Scalar:
            source = node.inputs[place]
            key = (source, tuple(at))
            element = known.get(key)
            if element is None:
                loaded = self.is_loaded(source, made)
                element = known[key] = Load(source, at) if loaded else self.inlined(source, at, made, known)
            return element

        return node.op.scalar(node, index, read)


_function_costs: dict[tuple[Op, int], int] = {}


def own_cost(node: Node) -> int:
    """Cost of one element of a map's own function, in additions."""
    alike = isinstance(node.op, Elementwise) and not node.attributes  # whatever the shape
    key = (node.op, len(node.inputs))
    if alike and key in _function_costs:
        return _function_costs[key]
    axes = [of_atom(Axis(size)) for size in node.result.shape]
    assert isinstance(node.op, Map)
    dummies = node.op.scalar(node, axes, lambda place, at: Load(node.inputs[place], at))
    found = max(0, cost(dummies) - len(node.inputs))
    if alike:
        _function_costs[key] = found
    return found


def reads_once(reader: Node, tensor: Tensor) -> bool:
    """Whether a map moves each element of an input to about one place; a broadcast moves it to many."""
    if isinstance(reader.op, Map) and reader.op.chooses:
        return True
    shared_by_all = tensor.type.size == STATE_WORDS and reader.result.type.size != STATE_WORDS
    return not shared_by_all and not repeats(reader, tensor)


def repeats(reader: Node, tensor: Tensor) -> bool:
    """Whether a reader may use one element of its input for several of its results."""
    if isinstance(reader.op, Map):
        return reader.op.spreads or reader.op.chooses
    if isinstance(reader.op, Contraction):
        return True
    return len(reader.results) == 1 and reader.result.ndim > tensor.ndim
