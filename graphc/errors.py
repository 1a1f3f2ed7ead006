"""The error family. Every error a user can meet derives from :class:`GraphcError`.

A message has up to four parts: what was expected and what was got, the user's line that declared the thing at
fault, operands that other lines declared, and a hint where there is one::

    ShapeError: matmul: inner dimensions differ: (batch, 784) @ (256, 10)
      declared at train.py:12: logits = h @ w
      operand x: float32[batch, 784], from train.py:9: x = graphc.placeholder("x", ("batch", 784))
      hint: transpose one operand, or check the layer's width

What goes wrong while a graph is declared is the fault of the line being executed, so errors of declaration find that
line themselves. What goes wrong later (compiling, running) names the line of the node at fault: ``origin=``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

__all__ = [
    "CompileError", "DTypeError", "ExecutionError", "FeedError", "GradientError", "GraphError", "GraphcError",
    "GraphcWarning", "IndexOutOfRangeError", "LinAlgError", "OutOfMemoryError", "SessionError", "ShapeError",
]  # fmt: skip

_locate: Callable[[], object] = lambda: None  # noqa: E731
_name: Callable[[str], str] = lambda message: message  # noqa: E731


def locate_with(function: Callable[[], object]) -> None:
    """Say how the user's current line is found (``graphc.ir.origin`` knows; this module imports nothing of graphc)."""
    global _locate
    _locate = function


def name_with(function: Callable[[str], str]) -> None:
    """Say how a message comes to name the public function that was called (``graphc.ir.callers`` knows)."""
    global _name
    _name = function


class GraphcError(Exception):
    """Base of all graphc errors.

    Parameters
    ----------
    message : str
        What was expected and what was got.
    origin : object, optional
        Where the user declared the thing at fault; its ``str`` is shown. Errors of declaration take the user's
        current line if it is not given.
    operands : sequence of Tensor, optional
        Tensors that do not fit; those of other lines are shown with their lines.
    hint : str, optional
        What to try.

    Attributes
    ----------
    message : str
        Names the public function that the user called.
    said : str
        The message as it was given; for other messages that quote it.
    """

    declaring: ClassVar[bool] = False

    def __init__(self, message: str, *, origin: object = None, operands: Sequence[Any] = (), hint: str | None = None):
        if origin is None and self.declaring:
            origin = _locate()
        here = origin is None or origin == _locate()  # else it is about what another line declared
        self.message, self.said = _name(message) if here else message, message
        self.origin, self.operands, self.hint = origin, tuple(operands), hint
        lines = [self.message]
        if origin is not None and str(origin):
            lines.append(f"  declared at {origin}")
        elsewhere = [operand for operand in self.operands if operand.node.origin != origin]
        lines += dict.fromkeys(f"  operand {operand.described}" for operand in elsewhere)
        if hint:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))


class ShapeError(GraphcError, ValueError):
    """Shapes, ranks, axes or named dims that do not fit an operation."""

    declaring = True


class DTypeError(GraphcError, TypeError):
    """A dtype that an operation does not accept or that cannot be cast without loss."""

    declaring = True


class GraphError(GraphcError):
    """An ill-formed graph: a wrong attribute, two assigns to one variable, broken IR."""

    declaring = True


class GradientError(GraphcError):
    """A derivative that does not exist: disconnected, integer, or missing its seed."""

    declaring = True


class FeedError(GraphcError, ValueError):
    """A missing, unknown or unsuitable feed."""


class SessionError(GraphcError, RuntimeError):
    """A session used wrongly: closed, forked, or with a foreign variable."""


class CompileError(GraphcError, RuntimeError):
    """A kernel that could not be generated or compiled."""


class ExecutionError(GraphcError, RuntimeError):
    """A step that failed while running; every variable is as it was before the step."""


class IndexOutOfRangeError(ExecutionError, IndexError):
    """An index read at run time that lies outside its axis."""


class LinAlgError(ExecutionError, ValueError):
    """A matrix for which there is no result: singular, not positive definite, or an iteration that does not converge.

    NumPy's error of this name is a ValueError, too.
    """


class OutOfMemoryError(GraphcError, MemoryError):
    """A step, a feed or a variable that memory does not suffice for; nothing of it was taken."""


class GraphcWarning(UserWarning):
    """Base of graphc's warnings; each reason is said once."""


def names_of_others(kind: str) -> Callable[[Any, str], Any]:
    """The ``__getattr__`` of a class: says what graphc calls an attribute that such things have in other libraries.

    Python asks it after it has found nothing; ``copy``, ``pickle`` and notebooks try names with underscores.

    Parameters
    ----------
    kind : str
        What things of the class are: ``"tensor"``, ``"layer"``, ``"optimizer"``.
    """

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith("_") or hasattr(type(self), name):  # a property that failed says itself why
            return object.__getattribute__(self, name)
        from graphc.foreign import missing_of  # loaded by the first name that is missing

        raise missing_of(self, name, kind)

    return __getattr__


def __dir__() -> list[str]:
    return list(__all__)
