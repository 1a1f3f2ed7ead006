"""DOT text, built so that nothing a user names can change its structure.

Every string that reaches Graphviz goes through :func:`quote`. Graphviz reads three languages inside a quoted label:
DOT's own quoting, escapes such as ``\\N`` and ``\\n``, and HTML entities; each has its sign doubled or spelled out.
:func:`rich` writes labels of the HTML kind, for text of several colours; it escapes all three signs of markup.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.visual.theme import Attributes

LONGEST_LABEL = 64
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


@dataclass(frozen=True)
class Span:
    """A piece of a label in one look.

    Attributes
    ----------
    text : str
    color : str
        A theme's; trusted.
    bold, italic : bool
    """

    text: str
    color: str = ""
    bold: bool = False
    italic: bool = False


Line = str | Sequence[Span]
"""A line of a label: plain, or in pieces of several looks."""


def label_text(lines: Sequence[Line], longest: int = 400, ground: str = "") -> str:
    """A label of some lines: quoted, or of the HTML kind if a line has pieces or the label has a ground."""
    plain = [line for line in lines if isinstance(line, str)]
    if len(plain) == len(lines) and not (plain and ground):
        return quote(*plain, longest=longest)
    return rich([[Span(line)] if isinstance(line, str) else line for line in lines], longest, ground)


def rich(lines: Sequence[Sequence[Span]], longest: int = 400, ground: str = "") -> str:
    """A label of the HTML kind: lines of pieces; their texts can hold no markup. It may have a ground of its own."""
    inside = "<BR/>".join("".join(_span(span, longest) for span in line) for line in lines)
    if ground:
        cell = 'BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"'
        inside = f'<TABLE {cell} BGCOLOR="{ground}"><TR><TD>{inside}</TD></TR></TABLE>'
    return f"<{inside}>"


def _span(span: Span, longest: int) -> str:
    text = html.escape(printable(span.text, longest)).replace("\\", "&#92;") or " "
    for tag, wanted in (("B", span.bold), ("I", span.italic)):
        text = f"<{tag}>{text}</{tag}>" if wanted else text
    return f'<FONT COLOR="{span.color}">{text}</FONT>' if span.color else text


def tip(text: str) -> str:
    """A quoted tooltip: lines that the text parts by newlines, each made printable."""
    return '"' + "&#10;".join(escape(line) for line in text.split("\n")) + '"'  # XML reads a bare newline as a space


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
        self._inner: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        self._edges: list[str] = []

    def title(self, *lines: str) -> None:
        """Lines above the picture."""
        self._head.append(f"  graph [label={quote(*lines)}];")

    def box(self, path: tuple[str, ...], label: str, attributes: Attributes, tooltip: str = "") -> None:
        """Declare a box; ``path`` names it and the boxes around it, which must be declared before."""
        self._nodes.setdefault(path, [])
        self._inner.setdefault(path[:-1], []).append(path)
        entries = [f"{name}={_value(value)};" for name, value in attributes.items()]
        self._boxes[path] = [f"label={quote(label)};", f"tooltip={quote(tooltip or label)};", *entries]

    def node(
        self, name: str, lines: Sequence[Line], attributes: Attributes, tooltip: str, path: tuple[str, ...] = ()
    ) -> None:
        """A node whose label has the given lines, within a box; lines of its tooltip are parted by newlines."""
        label = f"label={label_text(lines, LONGEST_LABEL)} tooltip={tip(tooltip)}"
        self._nodes[path].append(f"{name} [{label} {_items(attributes)}];")

    def text_node(self, name: str, lines: tuple[str, ...], attributes: Attributes, tooltip: str, longest: int) -> None:
        """A node that holds several lines of text, flush left."""
        label = f"label={quote(*lines, longest=longest, left=True)} tooltip={quote(tooltip)}"
        self._nodes[()].append(f"{name} [{label} {_items(attributes)}];")

    def edge(
        self, tail: str, head: str, lines: Sequence[Line], attributes: Attributes, tooltip: str = "", ground: str = ""
    ) -> None:
        """An edge whose label has the given lines; a ground hides the edge behind it."""
        shown = tip(tooltip or " ".join(line for line in lines if isinstance(line, str)) or " ")
        spaced = [f" {line} " if isinstance(line, str) else [Span(" "), *line, Span(" ")] for line in lines]
        label = f"label={label_text(spaced, ground=ground)} edgetooltip={shown} labeltooltip={shown}"
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
        for inner in self._inner.get(path, ()):
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
