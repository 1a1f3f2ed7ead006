"""Kernels run in plain Python, with every access to memory checked.

Inside :func:`checked_kernels` programs compile nothing. A step walks the table that compiled code would walk, over the
arena, the variables and the feeds that it would use, and runs the texts of kernels and of compiled contractions as the
Python that they are (:mod:`~graphc.testing.checked.steps`), in words that check what they touch
(:mod:`~graphc.testing.checked.memory`)::

    with checked_kernels():
        program = graphc.compile([x, w], graphc.tanh(x @ w), session=graphc.Session(threads=2))
        program(a, b)

A :class:`MemoryFault` says which kernel does one of these, and on which line:

- it reads or writes outside of a tensor, of its worker's scratch or of one array in it, or of an array on the stack;
- it reads what nobody has written, or what something else has overwritten: a result in its input's place, a tensor that
  has the bytes of another by the memory plan;
- it writes an input;
- two workers touch a byte between two barriers, and one of them writes it.

Since nothing is compiled, kernels can be those of another machine: see ``machine.host`` and ``machine.processors``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from graphc import program
from graphc.runtime import executable
from graphc.testing.checked.memory import MemoryFault
from graphc.testing.checked.steps import CheckedExecutable
from graphc.testing.fuzzing import Array, Declared, Pair, Verdict, judged
from graphc.testing.recipes import Recipe

__all__ = ["MemoryFault", "check", "checked_kernels"]


@contextmanager
def checked_kernels() -> Iterator[None]:
    """Programs that are compiled inside run their kernels checked, by all workers of their sessions."""
    with ExitStack() as stack:
        for target, name, value in (
            (program, "Executable", CheckedExecutable),
            (program, "common", list[Any]),
            (executable, "PARALLEL_WORK", 1),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


def check(recipe: Recipe) -> Verdict:
    """Run the kernels of a random graph checked, by one, two and three workers, and compare as
    :func:`graphc.testing.fuzzing.check` does."""

    def run(graph: Declared) -> tuple[list[Array], list[Pair]]:
        with checked_kernels():
            one, *others = (graph.run(threads=workers) for workers in (1, 2, 3))
        return one, [(f"one worker and {count} differ", one, each) for count, each in enumerate(others, start=2)]

    return judged(recipe, run)
