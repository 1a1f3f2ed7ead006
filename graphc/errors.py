"""The error family. Every error a user can meet derives from :class:`GraphcError`.

A message has up to three parts: what was expected and what was got, the user's line that
declared the thing at fault, and a hint where there is one::

    ShapeError: matmul: inner dimensions differ: (batch, 784) @ (256, 10)
      declared at train.py:12: logits = h @ w
      hint: transpose one operand, or check the layer's width
"""

from __future__ import annotations


class GraphcError(Exception):
    """Base of all graphc errors.

    Parameters
    ----------
    message : str
        What was expected and what was got.
    origin : object, optional
        Where the user declared the thing at fault; its ``str`` is shown.
    hint : str, optional
        What to try.
    """

    def __init__(self, message: str, *, origin: object = None, hint: str | None = None):
        self.message, self.origin, self.hint = message, origin, hint
        lines = [message]
        if origin is not None and str(origin):
            lines.append(f"  declared at {origin}")
        if hint:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))


class ShapeError(GraphcError, ValueError):
    """Shapes, ranks, axes or named dims that do not fit an operation."""


class DTypeError(GraphcError, TypeError):
    """A dtype that an operation does not accept or that cannot be cast without loss."""


class GraphError(GraphcError):
    """An ill-formed graph: a wrong attribute, two assigns to one variable, broken IR."""


class GradientError(GraphcError):
    """A derivative that does not exist: disconnected, integer, or missing its seed."""


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


class GraphcWarning(UserWarning):
    """Base of graphc's warnings; each reason is said once."""
