"""Nested containers of tensors: what loops carry and take.

A *tree* is a leaf, or a tuple, named tuple, list or dict of trees; None is a tree without leaves. Dicts are walked in
the order of their keys as inserted, and must have the same keys to have the same structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphc.errors import GraphError


def flatten(tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The leaves of a tree, and the function that puts other leaves in their places.

    Parameters
    ----------
    tree : nested tuples, lists and dicts

    Returns
    -------
    list
        Leaves, depth first.
    callable
        From a sequence of as many leaves to a tree of the same structure.
    """
    leaves = [leaf for _, leaf in paths(tree)]

    def rebuild(replacements: Sequence[Any]) -> Any:
        if len(replacements) != len(leaves):
            raise GraphError(f"expected {len(leaves)} leaves, got {len(replacements)}")
        return _rebuilt(tree, iter(replacements))

    return leaves, rebuild


def paths(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves with their paths, written as one would index: ``[0]['weights']``."""
    if tree is None:
        return
    if isinstance(tree, (tuple, list)):
        for place, branch in enumerate(tree):
            yield from paths(branch, f"{path}[{place}]")
    elif isinstance(tree, dict):
        for key, branch in tree.items():
            yield from paths(branch, f"{path}[{key!r}]")
    else:
        yield path, tree


def _rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: _rebuilt(branch, leaves) for key, branch in tree.items()}
    if isinstance(tree, (tuple, list)):
        branches = [_rebuilt(branch, leaves) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)
    return next(leaves)


def same_structure(left: Any, right: Any) -> bool:
    """Whether two trees differ in their leaves only."""
    if isinstance(left, dict):
        same_keys = isinstance(right, dict) and list(left) == list(right)
        return same_keys and all(same_structure(left[key], right[key]) for key in left)
    if isinstance(left, (tuple, list)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same_structure, left, right))
    if left is None or right is None:
        return left is right
    return not isinstance(right, (tuple, list, dict))
