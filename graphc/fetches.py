"""Fetches: nested lists, tuples and dicts of tensors, and their values nested alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from graphc.errors import GraphError
from graphc.ir.node import Tensor
from graphc.ops.sources import Updates


def flatten(fetches: Any) -> tuple[list[Tensor], Callable[[list[Any]], Any]]:
    """Tensors of a nested fetch, and how to nest their values alike.

    Raises
    ------
    GraphError
        If something in it is no tensor.
    """
    if isinstance(fetches, Tensor):
        return [fetches], lambda values: values[0]
    if isinstance(fetches, Updates):
        return list(fetches), lambda values: None
    if isinstance(fetches, Mapping):
        keys, entries = list(fetches), list(fetches.values())
    elif isinstance(fetches, (list, tuple)):
        keys, entries = None, list(fetches)
    else:
        raise GraphError(
            f"fetches: expected a tensor or a nested list, tuple or dict of tensors, got {type(fetches).__name__}"
        )
    # a named tuple, such as linalg.svd returns, keeps its names
    kind = list if isinstance(fetches, list) else getattr(type(fetches), "_make", tuple)
    if keys is None and all(isinstance(entry, Tensor) for entry in entries):
        return entries, (lambda values: values) if kind is list else kind
    parts = [flatten(entry) for entry in entries]
    flat = [tensor for tensors, _ in parts for tensor in tensors]
    sizes = [len(tensors) for tensors, _ in parts]
    if keys is None and len(parts) > 1 and all(sizes) and all(isinstance(e, (Tensor, Updates)) for e in entries):
        first = itemgetter(*itertools.accumulate(sizes[:-1], initial=0))  # an update's first value is None, as all are
        return flat, lambda values: kind(first(values))

    def rebuild(values: list[Any]) -> Any:
        nested, first = [], 0
        for tensors, inner in parts:
            nested.append(inner(values[first : first + len(tensors)]))
            first += len(tensors)
        if keys is not None:
            return dict(zip(keys, nested, strict=True))
        return kind(nested)

    return flat, rebuild
