"""Properties that hold for all graphs: however a graph is computed, it means the same.

Each graph costs a few compilations. The environment variable ``RANDOM_GRAPHS`` sets how many are tried; they are then
drawn afresh at each run, and shrunk when one fails.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import hypothesis
import numpy as np
import pytest

import graphc
from graphc import compiler
from graphc.errors import GraphcError
from graphc.schedule import fuse
from graphc.testing.compare import same_bits
from graphc.testing.fuzzing import Declared, compare
from graphc.testing.random_graphs import random_graphs
from graphc.testing.recipes import Recipe

SEARCH = "RANDOM_GRAPHS" in os.environ
COUNT = int(os.environ.get("RANDOM_GRAPHS", "15"))
PHASES = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if SEARCH else [])]


def assert_close(graph: Declared, what: str, got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> None:
    verdict = compare(graph, got, want)
    assert not verdict.failed, f"{what}: {verdict.text}\n{graphc.Graph(graph.inputs, graph.outputs)}"


@hypothesis.given(recipe=random_graphs())
@hypothesis.settings(
    max_examples=COUNT, derandomize=not SEARCH, phases=PHASES, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_every_way_to_compute_a_graph_agrees(recipe: Recipe) -> None:
    """Compiled and interpreted, simplified or not, fused or not: equal. Memory and workers: bitwise equal."""
    graph = Declared.of(recipe)
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        try:
            expected = graph.run(backend="reference")
        except GraphcError:  # such as the largest element of an axis that turns out to be empty
            hypothesis.reject()
        compiled = graph.run()
        assert_close(graph, "compiled and reference", compiled, expected)
        for left, right in zip(compiled, graph.run(reuse_memory=False), strict=True):
            assert same_bits(left, right), "with and without reuse of memory"
        for left, right in zip(compiled, graph.run_shared(), strict=True):
            assert same_bits(left, right), "one worker and two"
        patch.setattr(fuse, "MOST_NODES", 1)
        assert_close(graph, "fused and unfused", compiled, graph.run())
        patch.undo()
        plain = [(name, stage) for name, stage in compiler.PIPELINE if not name.startswith("simplify")]
        patch.setattr(compiler, "PIPELINE", plain)
        assert_close(graph, "simplified and not", compiled, graph.run())
