"""Functions of graph made to run at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.eager.tape import admit, leaf
from graphc.ir.node import Tensor
from graphc.ir.types import as_dtype
from graphc.ops.tree import flatten


def eagerly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose results have values even where no argument is a tensor.

    In a body that is being traced, such as that of a scan, it builds graph.
    """

    @functools.wraps(function, updated=())
    def call(*arguments: Any, **options: Any) -> Any:
        made = function(*map(_taken, arguments), **options)
        if isinstance(made, Tensor):
            return admit(made, apart=True)
        if not isinstance(made, (tuple, list, dict)):
            return made
        leaves, rebuild = flatten(made)
        return rebuild([admit(leaf, apart=True) if isinstance(leaf, Tensor) else leaf for leaf in leaves])

    return call


def _taken(argument: Any) -> Any:
    """Float arrays enter here; as constants of a graph they would be compared with all others, bit by bit.

    Other arrays may stand for sizes or axes, which are no tensors.
    """
    if isinstance(argument, np.ndarray) and argument.dtype.kind == "f":
        return leaf(np.array(argument, as_dtype(argument.dtype), order="C"))
    return argument
