"""DOT text, built so that nothing a user names can change its structure.

Every string that reaches Graphviz goes through :func:`quote`. Graphviz reads three languages inside a quoted label:
DOT's own quoting, escapes such as ``\\N`` and ``\\n``, and HTML entities; each has its sign doubled or spelled out.
Labels are never of the HTML kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.visual.theme import Attributes

LONGEST_LABEL = 48
"""Characters a name may take in a label before it is cut."""


def printable(text: str, longest: int = 400) -> str:
    """One line of text without control characters or unpaired surrogates, cut to a length."""
    cleaned = "".join(sign if sign.isprintable() else " " for sign in str(text)[: 2 * longest])
    cleaned = cleaned.encode("utf-8", "replace").decode("utf-8")
    return cleaned if len(cleaned) <= longest else cleaned[: longest - 1] + "…"


def escape(text: str, longest: int = 400) -> str:
    """Text as it stands inside a quoted DOT string."""
    return printable(text, longest).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def quote(*lines: str, longest: int = 400, left: bool = False) -> str:
    """A quoted DOT string that shows the given lines below each other, centred or flush left."""
    if left:
        return '"' + "".join(escape(line, longest) + "\\l" for line in lines) + '"'
    return '"' + "\\n".join(escape(line, longest) for line in lines) + '"'


class Dot:
    """A digraph under construction: nodes in boxes that may be nested, and edges.

    Parameters
    ----------
    attributes, node, edge : mapping of str to str
        Defaults for the graph, its nodes, its edges. Values are trusted: they come from themes.
    """

    def __init__(self, attributes: Mapping[str, str], node: Mapping[str, str], edge: Mapping[str, str]):
        self._head = [f"  graph {_list(attributes)};", f"  node {_list(node)};", f"  edge {_list(edge)};"]
        self._nodes: dict[tuple[str, ...], list[str]] = {(): []}
        self._boxes: dict[tuple[str, ...], list[str]] = {}
        self._edges: list[str] = []

    def title(self, text: str) -> None:
        """A line above the picture."""
        self._head.append(f"  graph [label={quote(text)}];")

    def box(self, path: tuple[str, ...], label: str, attributes: Attributes, tooltip: str = "") -> None:
        """Declare a box; ``path`` names it and the boxes around it, which must be declared before."""
        self._nodes.setdefault(path, [])
        entries = [f"{name}={_value(value)};" for name, value in attributes.items()]
        self._boxes[path] = [f"label={quote(label)};", f"tooltip={quote(tooltip or label)};", *entries]

    def node(
        self, name: str, lines: tuple[str, ...], attributes: Attributes, tooltip: str, path: tuple[str, ...] = ()
    ) -> None:
        """A node whose label has the given lines, within a box."""
        label = f"label={quote(*lines, longest=LONGEST_LABEL)} tooltip={quote(tooltip)}"
        self._nodes[path].append(f"{name} [{label} {_items(attributes)}];")

    def text_node(self, name: str, lines: tuple[str, ...], attributes: Attributes, tooltip: str, longest: int) -> None:
        """A node that holds several lines of text, flush left."""
        label = f"label={quote(*lines, longest=longest, left=True)} tooltip={quote(tooltip)}"
        self._nodes[()].append(f"{name} [{label} {_items(attributes)}];")

    def edge(self, tail: str, head: str, lines: tuple[str, ...], attributes: Attributes, tooltip: str = "") -> None:
        """An edge whose label has the given lines."""
        shown = quote(tooltip or " ".join(lines))
        label = f"label={quote(*(f' {line} ' for line in lines))} edgetooltip={shown} labeltooltip={shown}"
        self._edges.append(f"  {tail} -> {head} [{label} {_items(attributes)}];")

    def raw(self, line: str) -> None:
        """A statement of trusted text, such as a constraint on ranks."""
        self._edges.append("  " + line)

    def text(self) -> str:
        """The whole digraph."""
        return "\n".join(["digraph graphc {", *self._head, *self._inside((), 1), *self._edges, "}", ""])

    def _inside(self, path: tuple[str, ...], depth: int) -> list[str]:
        indent = "  " * depth
        lines = [indent + line for line in self._nodes[path]]
        for inner in [other for other in self._boxes if len(other) == len(path) + 1 and other[: len(path)] == path]:
            lines.append(f"{indent}subgraph {_value('cluster_' + '_'.join(inner))} {{")
            lines += [f"{indent}  {entry}" for entry in self._boxes[inner]]
            lines += self._inside(inner, depth + 1)
            lines.append(indent + "}")
        return lines


def _value(value: str) -> str:
    return '"' + value.replace('"', "'") + '"'


def _items(attributes: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in attributes.items())


def _list(attributes: Mapping[str, str]) -> str:
    return f"[{_items(attributes)}]"
