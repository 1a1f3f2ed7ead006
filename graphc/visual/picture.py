"""How a graph looks: nodes, edges, boxes and a legend in DOT.

What is not drawn as a node: numbers (they stand in the label of the op that uses them) and broadcasts of scalars (the
edge starts at the scalar). The forward part flows down; the backward part, drawn beside it, flows up, because its
edges are given to Graphviz in reverse: the gradient of an op then stands near the op. Scopes are boxes within the
parts; a folded scope is one node, and its counterpart in the backward part another (see :mod:`graphc.visual.scopes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from typing import Any

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect, Source
from graphc.ir.types import is_float
from graphc.passes.parts import BACKWARD, FORWARD, PARTS, UPDATE
from graphc.visual.content import Content
from graphc.visual.dot import Dot, Line, Span
from graphc.visual.kernels import Kernels
from graphc.visual.labels import (
    called,
    folded_nodes,
    group_lines,
    kind_of,
    label_of,
    node_tip,
    operand_letter,
    path_text,
    scalar_text,
    takes_numbers,
    title_of,
)  # fmt: skip
from graphc.visual.numbers import Numbers, legend_of_edges
from graphc.visual.scopes import Group, Names
from graphc.visual.theme import FONT, MEANINGS, Attributes, Theme
from graphc.visual.values import Values

Path = tuple[str, ...]

MOST_TYPES = 8
"""Tensors that the tooltip of an edge between folded scopes names."""

MOST_RESULTS = 24
"""Results of a folded scope that a list of them names."""

TITLES = {
    FORWARD: "forward: what was declared",
    BACKWARD: "backward: gradients, by the chain rule",
    UPDATE: "update: the optimizer",
}


class Picture(Content):
    """A graph to be drawn.

    Parameters
    ----------
    graph : Graph
    names : dict of Tensor to str
        Names of tensors that have none of their own.
    show : tuple of str
        The parts to draw.
    direction : str
        ``"TB"`` or ``"LR"``.
    theme : Theme
    kernels : Kernels
        What computes the nodes, for tooltips.
    boxes : bool
        Whether kernels are boxes.
    values : Values, optional
        Numbers for the edges.
    """

    def __init__(
        self,
        graph: Graph,
        names: dict[Tensor, str],
        show: tuple[str, ...],
        direction: str,
        theme: Theme,
        kernels: Kernels,
        *,
        boxes: bool = False,
        values: Values | None = None,
    ):
        super().__init__(graph, show, kernels.of if boxes else {})
        self.names, self.direction, self.theme = names, direction, theme
        self.kernels, self.boxes = kernels, boxes
        self.numbers = None if values is None else Numbers(values, theme)
        self.outputs = set(graph.outputs)  # a tuple would compare with ==, which builds graph
        self.kinds: dict[str, None] = {}
        self.ids: dict[tuple[str, Any], str] = {}
        self._made_boxes: set[Path] = set()
        self._part_of: dict[str, str] = {}  # of the nodes of the picture, bodies aside
        self._has_upper: set[str] = set()
        self._passages: set[str] = set()  # how values get along the edges that look special
        self._bundles: dict[tuple[str, str], list[tuple[Tensor, Node]]] = {}

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
        parts = [part for part in PARTS if any(self.parts[node] == part for node in self.nodes)]
        self.beside = FORWARD in parts and len(parts) > 1 and not self.boxes
        if not self.boxes and (len(parts) > 1 or len(self.show) < len(PARTS)):
            for part in parts:
                self._box((part,), "" if self.beside else TITLES[part], part)
        self._kernel_boxes()
        for node in self.nodes:
            if node not in self.groups:
                self._node(node, self._path(node))
            elif ("", self.groups[node]) not in self.ids:
                self._group_node(self.groups[node])
        for node in self.nodes:
            self._edges(node)
            if self.with_bodies and node not in self.groups:
                self._bodies(node)
        self._bundled_edges()
        self._outputs()
        self._top(parts)
        self._anchor()
        if title or self.note:
            self.canvas.title(*filter(None, (title, self.note)))
        return self.canvas.text()

    # --- boxes

    def _box(self, path: Path, label: str, part: str, tooltip: str = "") -> None:
        fill, border = self.theme.parts[part]
        self._made_boxes.add(path)
        colors = {"fillcolor": fill, "color": border, "fontcolor": border}
        self.canvas.box(path, label, {"style": "filled,rounded", **colors, "margin": "12", "labeljust": "l"}, tooltip)

    def _kernel_boxes(self) -> None:
        """A box for each kernel, with the parts of the step that it belongs to."""
        members: dict[int, list[Node]] = {}
        for node in self.nodes:
            if node in self.boxed and node not in self.groups:
                members.setdefault(self.boxed[node], []).append(node)
        self._kernel_path: dict[Node, Path] = {}
        for number, inside in sorted(members.items()):
            parts = [part for part in PARTS if any(self.parts[node] == part for node in inside)]
            path = (f"kernel{number}",)
            color = self.theme.kernel
            attributes = {"style": "rounded,bold", "color": color, "fontcolor": color, "labeljust": "l"}
            if len(parts) == 1:
                attributes |= {"style": "filled,rounded,bold", "fillcolor": self.theme.parts[parts[0]][0]}
            title = self.kernels.title(number)
            self.canvas.box(path, f"{title}{';' if ':' in title else ':'} {' and '.join(parts)}", attributes)
            self._kernel_path.update(dict.fromkeys(inside, path))

    def _path(self, node: Node) -> Path:
        if self.boxes:
            return self._kernel_path.get(node, ())
        return self._scope_box(self.parts[node], self.scopes.of[node])

    def _scope_box(self, part: str, scope: Names) -> Path:
        """The box of a scope within a part, and those around it, made where they are not there yet."""
        path: Path = (part,) if (part,) in self._made_boxes else ()
        if self.boxes:
            return path
        for depth in range(1, len(scope) + 1):
            name = self.ids.setdefault(("scope", scope[:depth]), f"s{len(self.ids)}")
            path = (*path, name if path else f"{name}_{part}")
            if path not in self._made_boxes:
                self._box(path, scope[depth - 1], part, f"scope {'/'.join(scope[:depth])}, {part}")
        return path

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
        lines: list[Line] = [*label_of(node, constants)]
        if not self.with_bodies:
            lines += [f"body of {len(body.nodes):,} nodes" for body in node.bodies]
        given = self.names.get(node.results[0])
        if given and not scope and not isinstance(node.op, (Source, Effect)) and node.results[0] not in self.outputs:
            lines[0] = f"{given} = {lines[0]}"
        if not scope:
            lines[0] = self._without_scope(node, str(lines[0]))
            lines += self.numbers.sums(node, self.terms) if self.numbers else []
        self.canvas.node(name, lines, self.theme.node(kind), self._tip(node), path)

    def _without_scope(self, node: Node, text: str) -> str:
        """A variable's path without that of the scopes whose boxes it stands in."""
        around = self.scopes.raw[self.scopes.of[node]]
        return text.removeprefix(f"{around}/") if isinstance(node.op, Source) and around and not self.boxes else text

    def _tip(self, node: Node) -> str:
        scope = "/".join(self.scopes.of.get(node, ()))
        lines = [node_tip(node), f"in scope {scope}" if scope else ""]
        if node in self.kernels.of:
            lines.append(f"in {self.kernels.title(self.kernels.of[node])}")
        return "\n".join(filter(None, lines))

    def _group_node(self, group: Group) -> None:
        """The node of a folded scope: how much is in it, and what goes in and out."""
        members, entering, leaving = self.traffic[group]
        self.kinds["scope"] = None
        name = self.ids["", group] = f"n{len(self.ids)}"
        self._part_of[name] = group.part
        title, *lines = group_lines(group, members, list(entering), list(leaving))
        if group.key[0] == "kernel":
            title = self.kernels.title(int(str(group.key[1])))
        path = self._scope_box(group.part, group.scope)
        full = "/".join((*group.scope, group.title))
        shown: list[Line] = [[Span(title, bold=True)], *lines]
        self.canvas.node(name, shown, self.theme.node("scope"), "\n".join([full, *lines]), path)

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
            self.canvas.node(self.ids[key], lines, self.theme.node(kind), self._tip(node))
        return self.ids[key]

    # --- edges

    def _called(self, tensor: Tensor) -> str:
        return self.names.get(tensor) or called(tensor)

    def _edges(self, node: Node) -> None:
        inputs = list(enumerate(node.inputs))
        if isinstance(node.op, Effect):
            inputs = inputs[1:]  # the variable that is written stands in the label
        drawn = [(place, self.source(tensor)) for place, tensor in inputs]
        drawn = [(place, tensor) for place, tensor in drawn if tensor.node not in self.folded]
        for place, tensor in drawn:
            if node in self.groups or tensor.node in self.groups:
                shown = self.parts[tensor.node] in self.show
                tail = self.ids["", self.drawn(tensor.node)] if shown else self._border(tensor)
                ends = tail, self.ids["", self.drawn(node)]
                if ends[0] != ends[1]:
                    self._bundles.setdefault(ends, []).append((tensor, node))
                continue
            letter = operand_letter(node, place, len(drawn))
            lines: list[Line] = [f"{letter}: {tensor.type}" if letter else str(tensor.type)]
            if self.numbers is not None and tensor in self.numbers.values.forward:
                lines = self.numbers.edge(tensor, (node, place), letter)
            if node.op.name == "path_sum":
                lines.append(path_text(node["paths"][place]))
            self._edge(tensor, node, lines)

    def _bundled_edges(self) -> None:
        """One edge for all tensors that go from one box to another."""
        for (tail, head), uses in self._bundles.items():
            tensors = list(dict.fromkeys(tensor for tensor, _ in uses))
            label = str(tensors[0].type) if len(tensors) == 1 else f"{len(tensors):,} tensors"
            tips = [f"{self._called(tensor)}: {tensor.type}" for tensor in tensors[:MOST_TYPES]]
            tips += [f"and {len(tensors) - MOST_TYPES} more"] if len(tensors) > MOST_TYPES else []
            self._directed(tail, head, self._part_of[tail], self._part_of[head], [label], "\n".join(tips), {})

    def _edge(self, tensor: Tensor, node: Node, lines: list[Line]) -> None:
        start, end = self.parts[tensor.node], self.parts[node]
        tail = self.ids["", tensor.node] if start in self.show else self._border(tensor)
        tip = f"{self._called(tensor)}: {tensor.type}, read by {node.op.name}"
        attributes: Attributes = {}
        if self.boxes:
            how, words = self.kernels.passage(tensor, node)
            self._passages.add(how)
            lines = [*lines, words] if words else lines
            attributes = dict(self.theme.passages[how])
            tip = f"{tip}\nthrough {how}" if how != "recomputed" else f"{tip}\n{how}"
        elif end != FORWARD and tensor in self.typed:
            letter, colon, _ = str(lines[0]).partition(":")  # long dashed edges run through each other's labels
            lines = [*([letter] if colon else []), *lines[1:]]
        self._directed(tail, self.ids["", node], start, end, lines, tip, attributes)

    def _directed(
        self, tail: str, head: str, start: str, end: str, lines: list[Line], tip: str, attributes: Attributes
    ) -> None:
        """An edge, given in reverse within the parts that flow upwards."""
        if start == FORWARD and end != FORWARD and not self.boxes:
            self._passages.add("saved")
            attributes = {**attributes, "style": "dashed", "color": self.theme.saved}
            if self.beside:
                attributes["minlen"] = "0"
        if self.beside and FORWARD not in (start, end):
            self._connect(head, tail, lines, {**attributes, "dir": "back"}, tip)
        else:
            self._connect(tail, head, lines, attributes, tip)

    def _connect(self, upper: str, lower: str, lines: Iterable[Line], attributes: Attributes, tip: str = "") -> None:
        self._has_upper.add(lower)
        ground = self.theme.background if attributes.get("style") == "dashed" else ""
        self.canvas.edge(upper, lower, list(lines), attributes, tip, ground)

    def _anchor(self) -> None:
        """The backward part begins where the forward part ends: its longest chain starts beside the first result."""
        ends = [node for node in self.nodes if self.parts[node] == FORWARD and node.results[0] in self.outputs]
        if not self.beside or not ends:
            return
        height: dict[Node, int] = {}
        for node in reversed(self.nodes):
            if self.parts[node] == BACKWARD:
                for tensor in node.inputs:
                    source = self.source(tensor).node
                    height[source] = max(height.get(source, 0), height.get(node, 0) + 1)
        chain = [node for node in self.nodes if self.parts[node] == BACKWARD and is_float(node.results[0].dtype)]
        if chain:
            start = max(chain, key=lambda node: height.get(node, 0))
            last, first = self.ids["", self.drawn(ends[0])], self.ids["", self.drawn(start)]
            self.canvas.raw(f"{last} -> {first} [style=invis minlen=0 weight=0];")

    # --- results, bodies, legend

    def _outputs(self) -> None:
        """The results; those of one folded scope are a list, for a row of them would be wider than the graph."""
        found: dict[Any, list[tuple[int, Tensor]]] = {}
        for place, tensor in enumerate(self.graph.outputs):
            source = self.source(tensor).node
            if not isinstance(tensor.node.op, Effect) and self.parts[source] in self.show:
                found.setdefault(self.groups.get(source, place), []).append((place, tensor))
        for alike in found.values():
            self.kinds["output"] = None
            place, tensor = alike[0]
            source = self.source(tensor).node
            name = self.ids["output", place] = f"n{len(self.ids)}"
            part = self._part_of[name] = self.parts[source]
            only = len(self.graph.outputs) == 1
            labels = [self.names.get(result) or ("result" if only else f"result {at}") for at, result in alike]
            tips = [f"{label}: {result.type}" for label, (_, result) in zip(labels, alike, strict=True)]
            if len(alike) > MOST_RESULTS:
                rest = f"and {len(alike) - MOST_RESULTS + 1:,} more"
                labels, tips = [*labels[: MOST_RESULTS - 1], rest], [*tips[: MOST_RESULTS - 1], rest]
            path = (part,) if (part,) in self._made_boxes else ()
            attributes = self.theme.node("output")
            if len(alike) > 1:
                attributes |= {"shape": "box", "style": "filled,bold,rounded", "margin": "0.12,0.06"}
            self.canvas.node(name, labels, attributes, "\n".join(tips), path)
            lines: list[Line] = [str(tensor.type) if len(alike) == 1 else f"{len(alike):,} tensors"]
            if self.numbers is not None and len(alike) == 1 and tensor in self.numbers.values.forward:
                lines = self.numbers.result(tensor)
            ends = self.ids["", self.drawn(source)], name
            if self.beside and part != FORWARD:
                self._connect(ends[1], ends[0], lines, {"dir": "back"})
            else:
                self._connect(*ends, lines, {})

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
        names = [f"legend_{kind}" for kind in row]
        if edges := legend_of_edges(self.theme, self.numbers, self._passages):
            names.append("legend_edges")
            self.canvas.node(names[-1], edges, {"shape": "plain", "fontsize": "10"}, "what stands on edges", path)
        self._row(names)
        return names[0]
