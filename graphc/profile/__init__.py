"""Profiles: where a step's time goes, kernel by kernel and line by line, beside what the machine could do.

``session.run(..., profile=True)`` runs a step whose call table holds stamps of the clock
(:mod:`graphc.runtime.timing`); ``costs`` counts what each kernel must do at least, ``limits`` measures what the machine
can do, ``report`` puts the three together in a :class:`Profile`. They are loaded with the first profile.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.profile.limits import Limits
    from graphc.profile.report import KernelProfile, Profile, median

__all__ = ["KernelProfile", "Limits", "Profile", "draw_with", "median", "picture"]

_MODULES = {"KernelProfile": "report", "Limits": "limits", "Profile": "report", "median": "report"}
_draw: Callable[[Any], str | None] | None = None


def draw_with(function: Callable[[Any], str | None]) -> None:
    """Say how a profile becomes an SVG picture (:mod:`graphc.visual` knows, which stands above this package)."""
    global _draw
    _draw = function


def picture(profile: "Profile") -> str | None:
    """What notebooks show of a profile."""
    return None if _draw is None else _draw(profile)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return list(__all__)
