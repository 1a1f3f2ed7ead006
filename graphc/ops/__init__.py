"""Every op, and the functions made of ops.

Ops say by ``public`` whether users see them; modules name their other public functions in ``__all__``. Here both are
gathered under their public names, in :data:`FUNCTIONS` and as attributes: ``graphc.ops.tanh``. A trailing underscore,
which keeps a builtin's name free inside a module (``sum_``), is dropped. This module is also the namespace that
``tensor.__array_namespace__()`` returns, with the dtypes and constants of :mod:`graphc.ops.standard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graphc.ir import callers
from graphc.ir.op import REGISTRY, Op
from graphc.ops import (  # noqa: F401 - the ops of every module enter the registry by being imported
    bitwise,
    composite,
    conditional,
    contractions,
    control,
    derivatives,
    diagonals,
    elementwise,
    gradient,
    indexing,
    joining,
    linalg,
    methods,
    moving,
    norms,
    products,
    quantiles,
    reductions,
    rows,
    running,
    scatter,
    searching,
    segments,
    shaping,
    sizes,
    sources,
    special,
    standard,
    views,
    while_loops,
)

FUNCTIONS: dict[str, Callable[..., Any]] = {name: entry for name, entry in REGISTRY.items() if entry.public}
"""Public name -> function. Ops are callables too."""

for _module in (
    reductions, contractions, rows, views, sizes, indexing, shaping, joining, moving, diagonals, products, composite,
    norms, quantiles, control, conditional, while_loops, scatter, segments, searching, derivatives, special, standard,
):  # fmt: skip
    for _name in _module.__all__:
        if not isinstance(getattr(_module, _name), Op):
            FUNCTIONS[_name.rstrip("_")] = getattr(_module, _name)
            FUNCTIONS[_name.rstrip("_")].__qualname__ = _name.rstrip("_")  # which Python's own errors show

# Names of the array API standard for functions that have another one here.
for _alias, _name in {"pow": "power"}.items():
    FUNCTIONS[_alias] = FUNCTIONS[_name]

callers.know(FUNCTIONS, REGISTRY)
globals().update(FUNCTIONS, **standard.NAMES)
methods.install()
__array_api_version__ = standard.API_VERSION
__array_namespace_info__ = standard.NamespaceInfo

if TYPE_CHECKING:  # the names above enter at run time

    def __getattr__(name: str) -> Any: ...

else:

    def __getattr__(name: str) -> Any:
        from graphc.foreign import missing

        raise missing(__name__, name)


def __dir__() -> list[str]:
    return list(__all__)


__all__ = sorted([*FUNCTIONS, *standard.NAMES])
