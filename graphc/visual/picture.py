"""How a graph looks: nodes, edges, boxes and a legend in DOT.

What is not drawn as a node: numbers (they stand in the label of the op that uses them) and broadcasts of scalars (the
edge starts at the scalar). The forward part flows down; the backward part, drawn beside it, flows up, because its
edges are given to Graphviz in reverse: the gradient of an op then stands near the op.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from typing import Any

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect, Map, Source, View
from graphc.ir.types import is_float
from graphc.passes.parts import BACKWARD, FORWARD, PARTS, UPDATE, parts_of
from graphc.schedule.schedule import Schedule
from graphc.visual.dot import Dot
from graphc.visual.labels import COMMUTATIVE, LETTERS, kind_of, label_of, operand_letter, scalar_text, title_of
from graphc.visual.theme import FONT, MEANINGS, Attributes, Theme

Path = tuple[str, ...]

MOST_OPERANDS_IN_LABEL = 4

TITLES = {
    FORWARD: "forward: what was declared",
    BACKWARD: "backward: gradients, by the chain rule",
    UPDATE: "update: the optimizer",
}


class Picture:
    """A graph to be drawn.

    Parameters
    ----------
    graph : Graph
    names : dict of Tensor to str
        Names of tensors that have none of their own.
    show : tuple of str
        The parts to draw.
    schedule : Schedule or None
        Its kernels become boxes.
    direction : str
        ``"TB"`` or ``"LR"``.
    theme : Theme
    """

    def __init__(
        self,
        graph: Graph,
        names: dict[Tensor, str],
        show: tuple[str, ...],
        schedule: Schedule | None,
        direction: str,
        theme: Theme,
    ):
        self.graph, self.names, self.show, self.direction, self.theme = graph, names, show, direction, theme
        self.outputs = set(graph.outputs)  # a tuple would compare with ==, which builds graph
        self.parts = parts_of(graph)
        self.kernels = _kernels_of(schedule)
        self.folded = folded_nodes(graph)
        self.kinds: dict[str, None] = {}
        self.ids: dict[tuple[str, Any], str] = {}
        self._made_boxes: set[Path] = set()
        self._part_of: dict[str, str] = {}  # of the nodes of the picture, bodies aside
        self._has_upper: set[str] = set()

    @property
    def size(self) -> int:
        """Number of nodes drawn, those of bodies included."""
        total = sum(self.parts[node] in self.show and node not in self.folded for node in self.graph.nodes)
        waiting = [body for node in self.graph.nodes for body in node.bodies if self.parts[node] in self.show]
        while waiting:
            body = waiting.pop()
            total += len(body.nodes)
            waiting += [inner for node in body.nodes for inner in node.bodies]
        return total

    @cached_property
    def canvas(self) -> Dot:
        """The digraph that the methods of this class write to."""
        theme = self.theme
        return Dot(
            {
                "rankdir": self.direction, "bgcolor": theme.background, "fontname": FONT, "fontcolor": theme.text,
                "fontsize": "14", "nodesep": "0.3", "ranksep": "0.42", "compound": "true", "labelloc": "t",
                "tooltip": " ", "newrank": "true", "outputorder": "edgesfirst",
            },
            {
                "fontname": FONT, "fontsize": "12", "fontcolor": theme.text, "margin": "0.1,0.05", "height": "0.3",
                "width": "0.3",
            },
            {
                "fontname": FONT, "fontsize": "9", "fontcolor": theme.quiet, "color": theme.line, "arrowsize": "0.7",
            },
        )  # fmt: skip

    def dot(self, title: str = "") -> str:
        """The picture in Graphviz's language."""
        nodes = [node for node in self.graph.nodes if self.parts[node] in self.show and node not in self.folded]
        parts = [part for part in PARTS if any(self.parts[node] == part for node in nodes)]
        self.beside = FORWARD in parts and len(parts) > 1 and not self.kernels
        if not self.kernels and (len(parts) > 1 or len(self.show) < len(PARTS)):
            for part in parts:
                self._box((part,), "" if self.beside else TITLES[part], part)
        self._kernel_boxes(nodes)
        for node in nodes:
            self._node(node, self._path(node))
        for node in nodes:
            self._edges(node)
            self._bodies(node)
        self._outputs()
        self._top(parts)
        self._anchor(nodes)
        if title:
            self.canvas.title(title)
        return self.canvas.text()

    # --- boxes

    def _box(self, path: Path, label: str, part: str) -> None:
        fill, border = self.theme.parts[part]
        self._made_boxes.add(path)
        self.canvas.box(
            path,
            label,
            {"style": "filled,rounded", "fillcolor": fill, "color": border, "fontcolor": border, "margin": "12"},
        )

    def _kernel_boxes(self, nodes: Iterable[Node]) -> None:
        """A box for each kernel, with the parts of the step that it belongs to."""
        members: dict[int, list[Node]] = {}
        for node in nodes:
            if node in self.kernels:
                members.setdefault(self.kernels[node], []).append(node)
        self._kernel_path: dict[Node, Path] = {}
        for number, inside in sorted(members.items()):
            parts = [part for part in PARTS if any(self.parts[node] == part for node in inside)]
            path = (f"kernel{number}",)
            attributes = {"style": "rounded,bold", "color": self.theme.kernel, "fontcolor": self.theme.kernel}
            if len(parts) == 1:
                attributes |= {"style": "filled,rounded,bold", "fillcolor": self.theme.parts[parts[0]][0]}
            self.canvas.box(path, f"kernel {number}: {' and '.join(parts)}", attributes)
            self._kernel_path.update(dict.fromkeys(inside, path))

    def _path(self, node: Node) -> Path:
        if node in self._kernel_path:
            return self._kernel_path[node]
        path = (self.parts[node],)
        return path if path in self._made_boxes else ()

    # --- nodes

    def _node(self, node: Node, path: Path, scope: str = "") -> None:
        kind = kind_of(node)
        self.kinds[kind] = None
        name = self.ids[scope, node] = f"n{len(self.ids)}"
        if not scope:
            self._part_of[name] = self.parts[node]
        constants = (
            {}
            if not takes_numbers(node)
            else {place: text for place, tensor in enumerate(node.inputs) if (text := scalar_text(tensor)) is not None}
        )
        lines = label_of(node, constants)
        given = self.names.get(node.results[0])
        if given and not scope and not isinstance(node.op, (Source, Effect)) and node.results[0] not in self.outputs:
            lines = (f"{given} = {lines[0]}", *lines[1:])
        self.canvas.node(name, lines, self.theme.node(kind), _tooltip(node), path)

    def _border(self, tensor: Tensor) -> str:
        """A node for a tensor of a part that is not drawn."""
        key = ("border", tensor)
        if key not in self.ids:
            node = tensor.node
            kind = kind_of(node) if isinstance(node.op, Source) else "saved"
            self.kinds[kind] = None
            self.ids[key] = f"n{len(self.ids)}"
            self._part_of[self.ids[key]] = self.parts[node]
            lines = label_of(node, {})
            if given := self.names.get(tensor):
                lines = lines if isinstance(node.op, Source) else (given, *lines[:1])
            self.canvas.node(self.ids[key], lines, self.theme.node(kind), _tooltip(node))
        return self.ids[key]

    # --- edges

    def _source(self, tensor: Tensor) -> Tensor:
        """Where an edge for a tensor starts: behind the broadcasts that are not drawn."""
        while tensor.node in self.folded and tensor.node.inputs:
            tensor = tensor.node.inputs[0]
        return tensor

    def _edges(self, node: Node) -> None:
        inputs = list(enumerate(node.inputs))
        if isinstance(node.op, Effect):
            inputs = inputs[1:]  # the variable that is written stands in the label
        drawn = [(place, self._source(tensor)) for place, tensor in inputs]
        drawn = [(place, tensor) for place, tensor in drawn if tensor.node not in self.folded]
        for place, tensor in drawn:
            letter = operand_letter(node, place, len(drawn))
            lines = [f"{letter}: {tensor.type}" if letter else str(tensor.type)]
            if node.op.name == "path_sum":
                lines.append(path_text(node["paths"][place]))
            self._edge(tensor, node, tuple(lines))

    def _edge(self, tensor: Tensor, node: Node, lines: tuple[str, ...]) -> None:
        start, end = self.parts[tensor.node], self.parts[node]
        head = self.ids["", node]
        shown = start in self.show
        tail = self.ids["", tensor.node] if shown else self._border(tensor)
        attributes = {}
        if start == FORWARD and end != FORWARD:
            attributes = {"style": "dashed", "color": self.theme.saved}
            if self.beside:
                attributes["minlen"] = "0"
        tip = f"{tensor.name}: {tensor.type}, read by {node.op.name}"
        if self.beside and FORWARD not in (start, end):
            self._connect(head, tail, lines, {**attributes, "dir": "back"}, tip)
        else:
            self._connect(tail, head, lines, attributes, tip)

    def _connect(self, upper: str, lower: str, lines: tuple[str, ...], attributes: Attributes, tip: str = "") -> None:
        self._has_upper.add(lower)
        self.canvas.edge(upper, lower, lines, attributes, tip)

    def _anchor(self, nodes: list[Node]) -> None:
        """The backward part begins where the forward part ends: its longest chain starts beside the first result."""
        ends = [node for node in nodes if self.parts[node] == FORWARD and node.results[0] in self.outputs]
        if not self.beside or not ends:
            return
        height: dict[Node, int] = {}
        for node in reversed(nodes):
            if self.parts[node] == BACKWARD:
                for tensor in node.inputs:
                    source = self._source(tensor).node
                    height[source] = max(height.get(source, 0), height.get(node, 0) + 1)
        chain = [node for node in nodes if self.parts[node] == BACKWARD and is_float(node.results[0].dtype)]
        if chain:
            start = max(chain, key=lambda node: height.get(node, 0))
            self.canvas.raw(f"{self.ids['', ends[0]]} -> {self.ids['', start]} [style=invis minlen=0 weight=0];")

    # --- results, bodies, legend

    def _outputs(self) -> None:
        for place, tensor in enumerate(self.graph.outputs):
            source = self._source(tensor)
            if isinstance(tensor.node.op, Effect) or self.parts[source.node] not in self.show:
                continue
            self.kinds["output"] = None
            name = self.ids["output", place] = f"n{len(self.ids)}"
            self._part_of[name] = self.parts[source.node]
            label = self.names.get(tensor) or (f"result {place}" if len(self.graph.outputs) > 1 else "result")
            box: Path = (self.parts[source.node],)
            path = box if box in self._made_boxes else ()
            self.canvas.node(name, (label,), self.theme.node("output"), f"{label}: {tensor.type}", path)
            ends = self.ids["", source.node], name
            if self.beside and self.parts[source.node] != FORWARD:
                self._connect(ends[1], ends[0], (str(tensor.type),), {"dir": "back"})
            else:
                self._connect(*ends, (str(tensor.type),), {})

    def _bodies(self, node: Node) -> None:
        waiting = [(node, "", self._path(node))]
        while waiting:
            owner, scope, path = waiting.pop()
            for name, body in zip(owner.op.body_attributes, owner.bodies, strict=True):
                inner = f"{self.ids[scope, owner]}{name}"
                box = (*path, inner)
                self._box(box, f"{name.replace('_', ' ')} of {title_of(owner)}", "body")
                self._body(body, inner, box)
                waiting += [(part, inner, box) for part in body.nodes if part.bodies]
                drawn = [self.ids[inner, part] for part in body.nodes if (inner, part) in self.ids]
                if drawn:
                    first = drawn[0]
                    target = f'lhead="cluster_{"_".join(box)}"'
                    self.canvas.raw(f"{self.ids[scope, owner]} -> {first} [style=dotted arrowhead=none {target}];")

    def _body(self, body: Graph, scope: str, path: Path) -> None:
        hidden = folded_nodes(body)
        for node in body.nodes:
            if node not in hidden:
                self._node(node, path, scope)
        for node in body.nodes:
            if node in hidden:
                continue
            for place, tensor in enumerate(node.inputs):
                while tensor.node in hidden and tensor.node.inputs:
                    tensor = tensor.node.inputs[0]
                if tensor.node not in hidden:
                    letter = operand_letter(node, place, len(node.inputs))
                    label = f"{letter}: {tensor.type}" if letter else str(tensor.type)
                    self._connect(self.ids[scope, tensor.node], self.ids[scope, node], (label,), {})
        for place, tensor in enumerate(body.outputs):
            while tensor.node in hidden and tensor.node.inputs:
                tensor = tensor.node.inputs[0]
            name = self.ids[scope + " output", place] = f"n{len(self.ids)}"
            self.canvas.node(name, (f"output {place}",), self.theme.node("output"), f"output {place} of the body", path)
            self._connect(self.ids[scope, tensor.node], name, (str(tensor.type),), {})

    def _top(self, parts: list[str]) -> None:
        """The legend, below it the parts' titles side by side, then the picture; hidden edges hold them there."""
        below = self._legend()
        upper = dict.fromkeys(PARTS, below)
        if self.beside:
            for part in parts:
                upper[part] = f"title_{part}"
                plain = {"shape": "plain", "fontsize": "15", "fontcolor": self.theme.parts[part][1]}
                self.canvas.node(upper[part], (TITLES[part],), plain, TITLES[part], (part,))
                self.canvas.raw(f"{below} -> {upper[part]} [style=invis];")
            self._row([upper[part] for part in parts])
        for name, part in self._part_of.items():
            if name not in self._has_upper:
                self.canvas.raw(f"{upper[part]} -> {name} [style=invis weight=0];")

    def _row(self, names: list[str]) -> None:
        """Nodes beside each other, in this order."""
        self.canvas.raw("{rank=same; " + " ".join(f"{name};" for name in names) + "}")
        for left, right in pairwise(names):
            self.canvas.raw(f"{left} -> {right} [style=invis];")

    def _legend(self) -> str:
        """A row that shows every kind of node in the picture; the name of its first node."""
        path = ("legend",)
        quiet = {
            "style": "rounded",
            "color": self.theme.quiet,
            "fontcolor": self.theme.quiet,
            "margin": "6",
            "fontsize": "10",
        }
        self.canvas.box(path, "legend", quiet)
        row = [kind for kind in MEANINGS if kind in self.kinds]
        for kind in row:
            small = {**self.theme.node(kind), "fontsize": "9", "height": "0.25", "margin": "0.05,0.03"}
            self.canvas.node(f"legend_{kind}", (MEANINGS[kind],), small, MEANINGS[kind], path)
        self._row([f"legend_{kind}" for kind in row])
        return f"legend_{row[0]}"


def _kernels_of(schedule: Schedule | None) -> dict[Node, int]:
    """The first kernel that computes each node."""
    found: dict[Node, int] = {}
    for number, kernel in enumerate(schedule.kernels() if schedule is not None else ()):
        for node in kernel.nodes:
            found.setdefault(node, number)
    return found


def takes_numbers(node: Node) -> bool:
    """Whether a node's label has a place for operands that are numbers."""
    if node.op.derivative:
        return True
    fits = isinstance(node.op, Map) and not isinstance(node.op, View) and len(node.inputs) <= MOST_OPERANDS_IN_LABEL
    return fits and node.op.name != "path_sum"


def folded_nodes(graph: Graph) -> set[Node]:
    """Nodes that are not drawn: numbers that stand in labels, and broadcasts of scalars."""
    kept = {tensor.node for tensor in graph.outputs} | {tensor.node for tensor in graph.inputs}
    folded: set[Node] = set()
    consumers = graph.consumers()
    for node in reversed(graph.nodes):
        if node in kept or len(node.results) != 1:
            continue
        readers = consumers[node.result]
        is_number = scalar_text(node.result) is not None and all(r in folded or takes_numbers(r) for r in readers)
        if is_number or (node.op.name == "broadcast_to" and node.inputs[0].shape == ()):
            folded.add(node)
    return folded


def path_text(path: str) -> str:
    """A path of the multi-path chain rule for people: ``"multiply.0"`` is the use as operand a of a multiply."""
    op, _, place = path.rpartition(".")
    if not op or not place.isdigit():
        return f"path: {path}"
    letter = LETTERS[int(place)] if int(place) < len(LETTERS) else place
    return f"path through {op}" if op in COMMUTATIVE else f"path through {op}, operand {letter}"


def _tooltip(node: Node) -> str:
    types = ", ".join(str(tensor.type) for tensor in node.results)
    origin = f", declared at {node.origin}" if str(node.origin) else ""
    return f"{node.op.name}: {types}{origin}"
