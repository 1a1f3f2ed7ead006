"""Random graphs for property tests: a hypothesis strategy over what :mod:`graphc.testing.steps` grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from graphc.testing.growing import Entry
from graphc.testing.recipes import Recipe
from graphc.testing.steps import grown


class _Hypothesis:
    """Choices that hypothesis makes, and can shrink."""

    def __init__(self, draw: Callable[[Any], Any]):
        self.draw = draw

    def choose(self, entries: Sequence[Entry]) -> Entry:
        return self.draw(st.sampled_from(list(entries)))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@st.composite
def random_graphs(draw: Callable[[Any], Any], *, most_calls: int = 20, derivatives: bool = True) -> Recipe:
    """Graphs of up to ``most_calls`` calls, with derivatives among the outputs half of the time."""
    return grown(_Hypothesis(draw), most_calls, derivatives)
