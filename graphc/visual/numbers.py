"""Labels with numbers: values above, derivatives below, each in a look of its own; and what the looks of edges mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Source
from graphc.visual.dot import Line, Span
from graphc.visual.theme import Theme
from graphc.visual.values import Use, Values, array_text, sum_text

LOOKS = {"memory": "━━ through memory", "registers": "── within the kernel", "recomputed": "- - computed again"}
"""How a value gets from op to op, where kernels are drawn."""


class Numbers:
    """Writes the numbers of a picture.

    Parameters
    ----------
    values : Values
    theme : Theme
    """

    def __init__(self, values: Values, theme: Theme):
        self.values, self.theme = values, theme

    def edge(self, tensor: Tensor, use: Use, letter: str) -> list[Line]:
        """The value above, the local derivative and the derivative of the result below."""
        values, theme = self.values, self.theme
        first, *more = self._value(tensor)
        head = [Span(f"{letter}: ", theme.quiet)] if letter else []
        lines: list[Line] = [[*head, first], *([span] for span in more)]
        if use in values.local:
            lines += [[Span(f"× {text}", theme.local)] for text in array_text(values.local[use])]
        if use in values.backward:
            lines += self._derivative(array_text(values.backward[use]))
        return lines

    def result(self, tensor: Tensor) -> list[Line]:
        """A result's value, and its derivative by itself."""
        lines: list[Line] = [[span] for span in self._value(tensor)]
        return lines + (self._derivative(["1"]) if tensor in self.values.total else [])

    def sums(self, node: Node, uses: Mapping[Tensor, Sequence[Use]]) -> list[Line]:
        """Lines on the derivative by a node's results, where several paths lead to them, or none further back."""
        lines: list[Line] = []
        for tensor in node.results:
            if tensor in self.values.total:
                total = self.values.total[tensor]
                terms = [self.values.backward[use] for use in uses.get(tensor, ()) if use in self.values.backward]
                if len(terms) > 1:
                    lines += self._derivative(sum_text(terms, total))
                elif isinstance(node.op, Source):
                    lines += self._derivative(array_text(total))
        return lines

    def _value(self, tensor: Tensor) -> list[Span]:
        return [Span(text, self.theme.value, bold=True) for text in array_text(self.values.forward[tensor])]

    def _derivative(self, texts: Sequence[str]) -> list[Line]:
        first, *more = texts
        return [[Span(text, self.theme.adjoint, italic=True)] for text in (f"∂ {first}", *more)]


def legend_of_edges(theme: Theme, numbers: Numbers | None, passages: Collection[str]) -> list[Line]:
    """What the looks of edges, and of numbers on them, mean.

    Parameters
    ----------
    theme : Theme
    numbers : Numbers, optional
    passages : collection of str
        The special looks in the picture: those of :data:`LOOKS`, or ``"saved"``.
    """
    lines: list[Line] = []
    if numbers is not None:
        lines.append([Span("value", theme.value, bold=True)])
        if numbers.values.total:
            lines.append([Span("× local derivative", theme.local)])
            lines.append([Span("∂ derivative of the result", theme.adjoint, italic=True)])
    lines += [[Span(words, theme.passages[how]["color"])] for how, words in LOOKS.items() if how in passages]
    if "saved" in passages:
        lines.append([Span("- - forward value, read again", theme.saved)])
    return lines
