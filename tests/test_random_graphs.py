"""Properties that hold for all graphs: however a graph is computed, it means the same.

Each graph costs a few compilations. The environment variable ``RANDOM_GRAPHS`` sets how many are tried; they are then
drawn afresh at each run, and shrunk when one fails.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest

import graphc
from graphc import compiler
from graphc.errors import ShapeError
from graphc.program import Program
from graphc.runtime import executable
from graphc.schedule import fuse
from graphc.testing.compare import same_bits
from graphc.testing.random_graphs import RandomGraph, random_graphs, sensitivity

SEARCH = "RANDOM_GRAPHS" in os.environ
COUNT = int(os.environ.get("RANDOM_GRAPHS", "15"))
PHASES = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if SEARCH else [])]
ALLOWED_UNITS = 64
"""Units in the last place that results may differ by, beyond what the inputs' last places decide."""


def run(graph: RandomGraph, **options: Any) -> list[np.ndarray]:
    """All outputs of a graph by a session with these options."""
    with graphc.Session(**{"threads": 1, **options}) as session:
        return Program(graph.inputs, graph.outputs, session)(*graph.arrays)


def assert_close(graph: RandomGraph, what: str, got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> None:
    """Equal up to what rounding of the inputs would change, and a few units in the last place."""
    changes = sensitivity(graph)
    for tensor, left, right, change in zip(graph.outputs, got, want, changes, strict=True):
        assert left.dtype == right.dtype == tensor.dtype, what
        assert left.shape == right.shape, what
        with np.errstate(all="ignore"):
            wide = right.astype(np.float64)
            distance = np.abs(left.astype(np.float64) - wide)
            scale = np.abs(wide) + np.max(np.abs(wide), initial=0, where=np.isfinite(wide))
        narrowest = np.finfo(np.float32).eps  # a float64 result may come from float32 inputs
        equal = (left == right) | ((left != left) & (right != right))
        close = equal | (distance <= 8 * change + ALLOWED_UNITS * narrowest * scale) | np.isinf(change)
        text = graphc.Graph(graph.inputs, graph.outputs)
        assert np.all(close), f"{what}: {left[~close]} is not {right[~close]}\n{text}"


@hypothesis.given(graph=random_graphs())
@hypothesis.settings(
    max_examples=COUNT, derandomize=not SEARCH, phases=PHASES, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_every_way_to_compute_a_graph_agrees(graph: RandomGraph) -> None:
    """Compiled and interpreted, simplified or not, fused or not: equal. Memory and workers: bitwise equal."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            with np.errstate(all="ignore"):
                expected = run(graph, backend="reference")
        except ShapeError:  # the largest element of an axis that turns out to be empty
            hypothesis.reject()
        compiled = run(graph)
        assert_close(graph, "compiled and reference", compiled, expected)
        for left, right in zip(compiled, run(graph, reuse_memory=False), strict=True):
            assert same_bits(left, right), "with and without reuse of memory"
        patch.setattr(executable, "PARALLEL_WORK", 1)
        for left, right in zip(compiled, run(graph, threads=2), strict=True):
            assert same_bits(left, right), "one worker and two"
        patch.undo()
        patch.setattr(fuse, "MOST_NODES", 1)
        assert_close(graph, "fused and unfused", compiled, run(graph))
        patch.undo()
        plain = [(name, stage) for name, stage in compiler.PIPELINE if not name.startswith("simplify")]
        patch.setattr(compiler, "PIPELINE", plain)
        assert_close(graph, "simplified and not", compiled, run(graph))
