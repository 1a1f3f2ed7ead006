"""What a failed kernel's status block says, in the user's terms.

For an index out of range a kernel reports the size of the axis, the index that does not fit it, and the number of the
kernel. Which of the kernel's nodes that was is found by asking each what it checks. Where several check an index
against that size, the error names them all. For a matrix that a routine refuses, a kernel reports the number of the
matrix in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc.codegen.source import NO_RESULT
from graphc.errors import ExecutionError, IndexOutOfRangeError, LinAlgError
from graphc.ir.node import Node
from graphc.ir.op import IndexedAccumulation, Map, MatrixRoutine
from graphc.ir.scalar import Apply, Load, Position, Scalar
from graphc.ir.symbolic import Axis, Size, evaluate, of_atom
from graphc.schedule.kernel import Kernel, walk

LARGEST = np.iinfo(np.int64).max
"""An index of uint64 beyond it is checked as this one."""


def failure(code: int, kernel: Kernel, sizes: Mapping[str, int], *words: int) -> ExecutionError:
    """The error that a status block stands for.

    Parameters
    ----------
    code : int
        Of :mod:`graphc.codegen.source`.
    kernel : Kernel
        The one that failed.
    sizes : mapping of str to int
        Values of the named dims.
    *words : int
        The last two words of the block.
    """
    return (matrix_error if code == NO_RESULT else index_error)(kernel, sizes, *words)


def matrix_error(kernel: Kernel, sizes: Mapping[str, int], number: int, said: int) -> LinAlgError:
    """The error for a matrix that a routine refuses: the one at place ``number`` of the batch, and what it says."""
    node = kernel.nodes[0]
    assert isinstance(node.op, MatrixRoutine)
    batch = tuple(evaluate(axis.extent, sizes) for axis in kernel.axes)
    return node.op.refusal(node, tuple(int(k) for k in np.unravel_index(number, batch)), said)


def index_error(kernel: Kernel, sizes: Mapping[str, int], extent: int, index: int) -> IndexOutOfRangeError:
    """The error for an index outside an axis.

    Parameters
    ----------
    kernel : Kernel
        The one that failed.
    sizes : mapping of str to int
        Values of the named dims.
    extent, index : int
        What the status block holds.
    """
    checks = {node: _checks(node) for node in kernel.nodes}
    suspects = [node for node in kernel.nodes if extent in _extents(checks[node], sizes)]
    unsigned = any(part.dtype == np.uint64 for node in suspects for check in checks[node] for part in walk(check))
    more = " or more" if unsigned and index == LARGEST else ""
    names = " or ".join(dict.fromkeys(node.caller for node in suspects))
    origins = list(dict.fromkeys(node.origin for node in suspects))
    return IndexOutOfRangeError(
        f"{names}: index {index}{more} is out of range for an axis of size {extent}; no variable was changed",
        origin="\n          or at ".join(map(str, origins)),
    )


def _checks(node: Node) -> list[Apply]:
    """The checks of indices that a node makes."""

    def read(place: int, at: Sequence[Size]) -> Scalar:
        return Load(node.inputs[place], at)

    parts: list[Scalar] = []
    if isinstance(node.op, Map):
        parts = [node.op.scalar(node, _anywhere(node.result.shape), read)]
    elif isinstance(node.op, IndexedAccumulation):
        places, value = node.op.contribute(node, _anywhere(node.op.contributions(node)), read)
        parts = [value, *map(Position, places)]
    return [part for part in walk(*parts) if isinstance(part, Apply) and part.function == "checked_index"]


def _extents(checks: Sequence[Apply], sizes: Mapping[str, int]) -> set[int]:
    """Sizes of the axes that indices are checked against."""
    bounds = [check.arguments[1] for check in checks]
    return {evaluate(bound.size, sizes) for bound in bounds if isinstance(bound, Position)}


def _anywhere(shape: Sequence[Size]) -> list[Size]:
    return [of_atom(Axis(size)) for size in shape]
