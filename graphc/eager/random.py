"""The functions of :mod:`graphc.random`, drawn at once, afresh at each call: see :func:`graphc.eager.seed`."""

from __future__ import annotations

from typing import Any

from graphc import random
from graphc.eager.wrapping import eagerly

__all__ = random.__all__

globals().update({name: eagerly(getattr(random, name)) for name in random.__all__})


def __getattr__(name: str) -> Any:  # for type checkers, who do not see the names above
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
