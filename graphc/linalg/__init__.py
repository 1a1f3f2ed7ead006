"""Linear algebra: what :mod:`graphc.ops.linalg` holds, under the name that the array API standard gives it."""

from typing import TYPE_CHECKING, Any

from graphc.ops.linalg import *  # noqa: F403
from graphc.ops.linalg import __all__

if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there

    def __getattr__(name: str) -> Any:
        from graphc.foreign import missing

        raise missing(__name__, name)


def __dir__() -> list[str]:
    return list(__all__)
