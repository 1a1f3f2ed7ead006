"""Cuts reductions of much data into chunks that workers can share as they share the rows.

Workers share out the *results* of a reduction. The sum of a whole array has one result, and one worker would do it all.
Sums of columns have enough results, but a worker would read, of every row, the part of its columns, while whatever made
the rows shared them out by rows: most of what it reads lies in another core's cache (measured: a layer norm's
gradient over 256x1024 took two workers 160 us, one 105). So both become two reductions, the first with a result for
every chunk of rows::

    sum of x[r, c] over r   ->   part[k, c] = sum of x[r, c] over the rows of chunk k    one kernel, shared out
                                 sum of part[k, c] over k                                another, next to nothing

**Sums of rows**, of float32 over the leading axes, become a ``sum_chunks``: its chunks are those of the loop over the
rows, whatever their number, so it joins the kernel that makes the rows. A sum of everything, the number of rows being
named, is that of the rows' sums. Where the number is named, rows may be few, and a kernel more should gain something.
So those sums stay whole that are spread over the rows again (the mean of a batch). A product's blocks are no rows, and
its kernel makes no parts: they take a kernel of their own, which reads the rows right behind the product, while caches
have them. That pays where there would be many rows with every named dim 64, as in a batch of sequences.

**Other reductions** of static size are cut by a reshape, ``part[k, c] = sum of x[k*m + r, c] over r < m``.

Chunks are a function of the shape, so results still do not depend on the number of workers. The parts of a float32
sum are float64, as a single accumulator of that many values would be; those of rows take in blocks of float32 sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.ir.graph import Graph, rewrite
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Contraction, Map, Reduction
from graphc.ir.symbolic import Size, nominal
from graphc.ops.elementwise import cast
from graphc.ops.reductions import sum_, sum_chunks
from graphc.ops.views import reshape
from graphc.passes.sweep import sweep

LONGEST_SHARE = 1 << 16
"""Elements that one worker may have to reduce alone: 3 us, against well under one for another kernel."""

ENOUGH_POINTS = 8
"""Positions of the axes before the first reduced one from which on workers share these."""

FEWEST_CHUNKS, MOST_CHUNKS = 16, 1024
"""Chunks into which a reduction of static size is cut."""

LONGEST_CHUNK = 1 << 17
"""Elements of a chunk of float32: few enough for the lanes of a float64 sum to need no compensation."""

ROW_CHUNKS = 16
"""Chunks of rows: enough for workers to share them evenly, and few rows of parts to be summed."""

FEWEST_ROWS = 8 * ROW_CHUNKS
"""Rows of which chunks are worth a kernel of their own."""

NARROWEST_ROW, WIDEST_ROW = 64, 8192
"""Columns: a few vectors, and no more than a core's own cache holds parts of."""

LONGEST_WHOLE = 4095
"""Elements of a row whose float64 sum needs no compensation."""


def split_long(graph: Graph) -> Graph:
    """Cut all long reductions: of rows in the outermost graph, and others of static shape in bodies too."""
    if any(node.op is sum_ for node in graph.nodes):
        graph = _with_row_chunks(graph)
    return sweep(graph, _split, _is_long)


def _with_row_chunks(graph: Graph) -> Graph:
    """The sums of float32 rows cut, where that gains something."""
    spread, products = _spread(graph), _made_by_products(graph)

    def rule(node: Node, inputs: tuple[Tensor, ...]) -> Sequence[Tensor] | None:
        if node.op is not sum_ or node.inputs[0].dtype != np.float32:
            return None
        named = not all(isinstance(size, int) for size in node.inputs[0].shape)
        if named and node.result in spread:
            return None
        return _split_rows(inputs[0], node["axes"], named, free=named and node.inputs[0] not in products)

    return rewrite(graph, rule)


def _spread(graph: Graph) -> set[Tensor]:
    """Tensors that maps make, in the end, into one with a named dim."""
    found: set[Tensor] = set()
    for node in reversed(graph.nodes):
        named = any(not isinstance(size, int) for tensor in node.results for size in tensor.shape)
        if named or (isinstance(node.op, Map) and not found.isdisjoint(node.results)):
            found.update(node.inputs)
    return found


def _made_by_products(graph: Graph) -> set[Tensor]:
    """Products and what maps make of them."""
    found: set[Tensor] = set()
    for node in graph.nodes:
        made_of = isinstance(node.op, Map) and not found.isdisjoint(node.inputs)
        if made_of or isinstance(node.op, Contraction):
            found.update(node.results)
    return found


def _split_rows(x: Tensor, axes: tuple[int, ...], named: bool, free: bool) -> Sequence[Tensor] | None:
    """The sum of a float32 tensor's rows by chunks of them, or None if it should stay whole.

    ``free`` says that few rows cost nothing, since the kernel that makes or reads them makes the parts.
    """
    if len(axes) == x.ndim > 1 and named:
        row = [size for size in x.shape[1:] if isinstance(size, int)]
        if len(row) < x.ndim - 1 or not NARROWEST_ROW <= prod(row) <= LONGEST_WHOLE:
            return None
        if not free and _too_few(x.shape[:1], prod(row)):
            return None
        x = sum_.make(x, axes=axes[1:])
        axes = (0,)
    else:
        row = [size for size in x.shape[len(axes) :] if isinstance(size, int)]
        if axes != tuple(range(len(axes))) or len(row) + len(axes) < x.ndim:
            return None
        if not row or not NARROWEST_ROW <= prod(row) <= WIDEST_ROW:
            return None
        if not free and _too_few(x.shape[: len(axes)], prod(row)):
            return None
    parts = sum_chunks.make(x, axes=axes, chunks=ROW_CHUNKS)
    return (cast(sum_.make(parts, axes=(0,)), np.float32),)


def _too_few(leading: Sequence[Size], row: int) -> bool:
    """Whether rows of that many elements are too few for a kernel of their own."""
    rows = prod(map(nominal, leading))
    return rows < FEWEST_ROWS or rows * row <= LONGEST_SHARE


def _is_long(node: Node) -> bool:
    """Whether a reduction of static size reads much for each of few results."""
    if not isinstance(node.op, Reduction) or node.op is sum_chunks:
        return False
    if node.op.combine not in ("add", "maximum", "minimum"):
        return False
    (x,) = node.inputs
    sizes = [size for size in x.shape if isinstance(size, int)]
    if len(sizes) < x.ndim:
        return False
    points = prod(sizes[: min(node["axes"])])
    return points < ENOUGH_POINTS and prod(sizes) > LONGEST_SHARE * points


def _split(node: Node) -> Sequence[Tensor] | None:
    """A long reduction in two, the first of equal chunks of one axis; None if it should stay whole."""
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
