"""Cuts reductions of much data into chunks that workers can share as they share the rows.

Workers share out the *results* of a reduction. The sum of a whole array has one result, and one worker would do it all.
Sums of columns have enough results, but a worker would read, of every row, the part of its columns, while whatever made
the rows shared them out by rows: most of what it reads lies in another core's cache (measured: a layer norm's
gradient over 256x1024 took two workers 160 us, one 105). So both become two reductions, the first with a result for
every chunk of rows::

    sum of x[r, c] over r   ->   part[k, c] = sum of x[k*m + r, c] over r < m        one kernel, shared out
                                 sum of part[k, c] over k                            another, next to nothing

Chunks are a function of the shape, so results still do not depend on the number of workers. The parts of a float32
sum are float64, as a single accumulator of that many values would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Reduction
from graphc.ops.elementwise import cast
from graphc.ops.views import reshape
from graphc.passes.sweep import sweep

LONGEST_SHARE = 1 << 16
"""Elements that one worker may have to reduce alone: 3 us, against well under one for another kernel."""

ENOUGH_POINTS = 8
"""Positions of the axes before the first reduced one from which on workers share these."""

FEWEST_CHUNKS, MOST_CHUNKS = 16, 1024

LONGEST_CHUNK = 1 << 17
"""Elements of a chunk of float32: few enough for the lanes of a float64 sum to need no compensation."""


def split_long(graph: Graph) -> Graph:
    """Cut all long reductions of static shape, in bodies too."""
    return sweep(graph, _split, _is_long)


def _is_long(node: Node) -> bool:
    if not isinstance(node.op, Reduction) or node.op.combine not in ("add", "maximum", "minimum"):
        return False
    (x,) = node.inputs
    sizes = [size for size in x.shape if isinstance(size, int)]
    if len(sizes) < x.ndim:
        return False
    points = prod(sizes[: min(node["axes"])])
    return points < ENOUGH_POINTS and prod(sizes) > LONGEST_SHARE * points


def _split(node: Node) -> Sequence[Tensor] | None:
    if not _is_long(node):
        return None
    assert isinstance(node.op, Reduction)
    (x,) = node.inputs
    sizes = [size for size in x.shape if isinstance(size, int)]
    wide = node.op.combine == "add" and x.dtype == np.float32
    if node.op.combine == "add" and x.dtype == np.float64:
        return None  # what its roundings lose would be lost between chunks
    for axis in node["axes"]:
        chunks = _chunks(sizes[axis], prod(sizes[k] for k in node["axes"]))
        if chunks:
            break
    else:
        return None
    cut = reshape(x, (*sizes[:axis], chunks, sizes[axis] // chunks, *sizes[axis + 1 :]))
    axes = tuple(k + (k >= axis) for k in node["axes"])
    parts = node.op.make(cast(cut, np.float64) if wide else cut, axes=axes)
    place = sum(k not in node["axes"] for k in range(axis))  # of the chunks among the axes that are left
    return (cast(node.op.make(parts, axes=(place,)), x.dtype),)


def _chunks(extent: int, values: int) -> int:
    """Into how many equal parts an axis is cut; 0 if no number is right."""
    found = [count for count in range(FEWEST_CHUNKS, min(extent, MOST_CHUNKS) + 1) if extent % count == 0]
    good = [count for count in found if values // count <= LONGEST_CHUNK]
    return good[0] if good else 0
