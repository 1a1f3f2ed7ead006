"""What each worker gets of a kernel: parts of about the same size, whose union is the whole, bit for bit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

import graphc
from graphc.runtime.table import Call

KERNEL = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
NETWORKS: dict[str, tuple[int, Callable[[graphc.Tensor, graphc.Tensor], graphc.Tensor]]] = {
    "rows and columns": (300, lambda x, w: graphc.maximum(x @ w, 0.0)),
    "transposed": (300, lambda x, w: graphc.tanh(x @ graphc.permute_dims(w, (1, 0)))),
    "narrow": (10, lambda x, w: graphc.exp(x @ w)),
    "rows": (300, lambda x, w: graphc.softmax(x @ w, axis=-1)),
}


def shapes(name: str) -> tuple[tuple[int, int], int]:
    columns = NETWORKS[name][0]
    return ((columns, 64) if name == "transposed" else (64, columns)), columns


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rows", [128, 200, 449, 512])
def test_two_workers_get_about_half_each(name, rows):
    """No more than two register tiles from half of the elements, be it at the cut of one block or of all."""
    shape, columns = shapes(name)
    x, w = graphc.placeholder("x", ("n", 64), "float32"), graphc.placeholder("w", shape, "float32")
    with graphc.Session(threads=2) as session:
        feeds = {x: np.ones((rows, 64), np.float32), w: np.ones(shape, np.float32)}  # read where they are, below too
        session.run(NETWORKS[name][1](x, w), feeds)
        bound = next(iter(session.programs[0]._executable._bound.values()))
        (call,) = (entry for entry in bound.table.entries if isinstance(entry, Call))
        assert call.everyone
        ((_, result),) = bound.outputs
        written = []
        for worker in range(2):
            result[...] = np.nan
            KERNEL(call.kernel)(call.buffers.ctypes.data, call.dims.ctypes.data, worker, 2)
            written.append(~np.isnan(result))
        assert (written[0] ^ written[1]).all()
        assert abs(int(written[0].sum()) - rows * columns / 2) <= 2 * 14 * columns


@pytest.mark.parametrize("name", NETWORKS)
def test_no_cut_changes_a_bit(name):
    shape, _ = shapes(name)
    x, w = graphc.placeholder("x", ("n", 64), "float32"), graphc.placeholder("w", shape, "float32")
    rng = np.random.default_rng(0)
    weights = rng.normal(size=shape).astype(np.float32)
    result = NETWORKS[name][1](x, w)
    sessions = [graphc.Session(threads=count) for count in (1, 2, 3)]
    for rows in (0, 1, 13, 14, 84, 85, 97, 448, 512):
        fed = rng.normal(size=(rows, 64)).astype(np.float32)
        first, *others = (session.run(result, {x: fed, w: weights}) for session in sessions)
        assert all(np.array_equal(first, other) for other in others)
        alone = [sessions[0].run(result, {x: row[None], w: weights})[0] for row in fed[-3:]]
        assert all(np.array_equal(row, one) for row, one in zip(first[-3:], alone, strict=True))
    for session in sessions:
        session.close()
