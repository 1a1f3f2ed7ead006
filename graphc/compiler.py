"""The whole way from a graph to running code, as one list.

    declare + infer -> simplify -> differentiate -> simplify -> split + recompute -> fuse + order -> emit -> run
                       Graph                                                     -> Schedule     -> Source -> Executable

Every entry of :data:`PIPELINE` is a function of what the one before it returned. After each, the IR is verified
(``GRAPHC_VERIFY=1``) and observers are told, such as dumps (``GRAPHC_DUMP=dir``). A stage's folder tells how it works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from graphc import config
from graphc.codegen.emit import Source, emit
from graphc.ir import Graph, interned_apart, verify
from graphc.passes.collector import collector_paused
from graphc.passes.dead_carries import drop_dead_carries
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.passes.outputs import materialize_outputs
from graphc.passes.simplify import simplify
from graphc.passes.split_long import split_long
from graphc.passes.split_wide import split_wide
from graphc.passes.streams import number_streams
from graphc.schedule.recompute import recompute
from graphc.schedule.schedule import schedule

PIPELINE: list[tuple[str, Callable[[Any], Any]]] = [
    ("number_streams", number_streams),  # random ops get their place in the program
    ("simplify", simplify),  # the forward graph: folding, algebra, stable forms
    ("drop_dead_carries", drop_dead_carries),  # loops and choices make only what is read, and so do their derivatives
    ("differentiate", differentiate),  # gradient nodes become the backward graph
    ("decompose", decompose),  # ops defined by other ops
    ("drop_dead_carries_all", drop_dead_carries),
    ("simplify_all", simplify),  # both graphs together
    ("split_wide", split_wide),  # no node reads more tensors than a kernel should
    ("split_long", split_long),  # reductions to few elements become shares for several workers
    ("recompute", recompute),  # cheap values are computed again in the backward graph, not kept
    ("materialize_outputs", materialize_outputs),  # every output gets memory of its own
    ("schedule", schedule),  # nodes become kernels, kernels get an order
    ("emit", emit),  # kernels become source text
]

# Ops that a stage removes for good:
GONE = {"differentiate": {"gradient", "jacobian_rows", "pin", "stop_gradient"}, "decompose": {"custom_call"}}

Observer = Callable[[str, Any, float], None]  # told after each stage: its name, what it made, seconds
OBSERVERS: list[Observer] = []


def compile_graph(graph: Graph, checked: bool | None = None) -> Source:
    """Run the pipeline on a graph.

    Parameters
    ----------
    graph : Graph
        Placeholders as inputs; what is fetched and the updates as outputs.
    checked : bool, optional
        Verify the IR after each stage; the configuration decides if not given.

    Returns
    -------
    Source
        The program's kernels as text; :class:`graphc.runtime.executable.Executable` makes it run.
    """
    checked = config.current().verify if checked is None else checked
    gone: set[str] = set()
    product: Any = graph
    for observer in OBSERVERS:
        observer("declare", graph, 0.0)
    with collector_paused(), interned_apart(graph.all_nodes()):
        for name, stage in PIPELINE:
            start = time.perf_counter()
            product = stage(product)
            seconds = time.perf_counter() - start
            gone |= GONE.get(name, set())
            if checked and isinstance(product, Graph):
                verify(product, name, absent=gone)
            for observer in OBSERVERS:
                observer(name, product, seconds)
    return product
