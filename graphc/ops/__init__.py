"""Every op, and the functions made of ops.

Ops say by ``public`` whether users see them; modules name their other public functions in ``__all__``. Here both are
gathered under their public names, in :data:`FUNCTIONS` and as attributes: ``graphc.ops.tanh``. A trailing underscore,
which keeps a builtin's name free inside a module (``sum_``), is dropped. This module is also the namespace that
``tensor.__array_namespace__()`` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graphc.ir.op import REGISTRY, Op
from graphc.ops import (  # noqa: F401 - the ops of every module enter the registry by being imported
    composite,
    contractions,
    control,
    derivatives,
    elementwise,
    gradient,
    indexing,
    methods,
    reductions,
    rows,
    shaping,
    sizes,
    sources,
    special,
    views,
)

FUNCTIONS: dict[str, Callable[..., Any]] = {name: entry for name, entry in REGISTRY.items() if entry.public}
"""Public name -> function. Ops are callables too."""

for _module in (
    reductions,
    contractions,
    rows,
    views,
    sizes,
    indexing,
    shaping,
    composite,
    control,
    derivatives,
    special,
):
    for _name in _module.__all__:
        if not isinstance(getattr(_module, _name), Op):
            FUNCTIONS[_name.rstrip("_")] = getattr(_module, _name)

globals().update(FUNCTIONS)
methods.install()

if TYPE_CHECKING:  # the names above enter at run time

    def __getattr__(name: str) -> Any: ...


__all__ = sorted(FUNCTIONS)
