"""Define-by-run: the same ops, applied at once to tensors that have values, with a tape.

This module is a namespace like :mod:`graphc.ops`, and like NumPy by the Python array API standard, so a function that
asks its argument for its namespace runs in both::

    def model(x):
        xp = x.__array_namespace__()
        return xp.sum(xp.exp(x))

    model(graphc.placeholder("x", ("n",)))      # builds graph
    model(graphc.eager.asarray([1.0, 2.0]))     # tensor(10.107338, float32)

A tensor with a value is made by :func:`asarray`; whatever is computed of it has a value too: by operators and methods,
by ``graphc.tanh(t)`` and ``np.tanh(t)``, by layers, losses and other functions made of ops. ``np.asarray(t)``,
``float(t)``, ``if t:``, ``for row in t``, ``x[mask]`` and ``print`` do what they do with arrays. Types, promotion and
errors are those of graphs.

**Gradients** are those of graphs too: ``graphc.gradients(loss, [x, w])`` on tensors with values has values, ``jvp``,
``hvp``, ``jacobian`` and ``hessian`` likewise, and all can be differentiated again. The nodes behind a tensor are its
tape; it is freed with the last tensor that was computed from it. :func:`value_and_gradients` does the same for
functions.

**Variables**, those of layers among them, belong to a session (:func:`session`, :func:`using`). A computation reads the
value of the moment; :func:`minimize` takes a step of an optimizer, and :func:`assign` writes. An expression of nothing
but variables and numbers is graph until it meets a tensor with a value or a function of this module, unless the
variable was made by :func:`variable`.

Each op costs some tens of microseconds, so this is for looking, for debugging, and for what changes from call to call;
a compiled program of the same function fuses it and runs it on all cores.
"""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.eager import random
from graphc.eager.tape import Variable, seed, session, using
from graphc.eager.tensor import EagerTensor
from graphc.eager.training import apply_gradients, minimize, value_and_gradients
from graphc.eager.values import asarray, value
from graphc.eager.wrapping import eagerly
from graphc.errors import GraphError
from graphc.ir.node import Tensor
from graphc.ops.base import as_tensor


def variable(initial: Any, **options: Any) -> Variable:
    """A variable of the session whose value is at hand: whatever is computed of it is computed at once.

    Parameters
    ----------
    initial : array_like or callable
    **options
        As of :func:`graphc.variable`: ``name``, ``shape``, ``dtype``, ``trainable``.

    Returns
    -------
    Tensor
        To be differentiated by, and updated by :func:`minimize` or :func:`assign`.
    """
    declared = ops.variable(value(initial).value if isinstance(initial, Tensor) else initial, **options)
    return Variable(declared.node, 0, declared.type)


def assign(variable: Tensor, value: Any) -> EagerTensor:
    """Write a variable of the session, at once.

    Parameters
    ----------
    variable : Tensor
    value : Tensor or array_like
        Of its shape and dtype. Tapes that have read the variable keep the value that it had.

    Returns
    -------
    EagerTensor
        The value written.

    Raises
    ------
    GraphError, ShapeError, DTypeError
        As :func:`graphc.assign`.
    """
    if not isinstance(variable, Tensor) or variable.node.op.name != "variable":
        raise GraphError(f"assign: expected a variable, got {variable!r}", hint="make one with graphc.variable(...)")
    written = asarray(value if isinstance(value, Tensor) else as_tensor(value, variable.dtype))
    ops.assign.infer(variable, written)
    session().set(variable, written.value)
    return written


globals().update({name: eagerly(function) for name, function in ops.FUNCTIONS.items() if name not in globals()})


def __getattr__(name: str) -> Any:
    """What else the namespace of graphs has, such as dtypes."""
    if name in vars(ops) and not name.startswith("__"):
        return getattr(ops, name)
    from graphc.foreign import missing

    raise missing(__name__, name)


__all__ = [
    "EagerTensor", "apply_gradients", "asarray", "assign", "eagerly", "minimize", "random", "seed", "session", "using",
    "value", "value_and_gradients", "variable", *sorted({*ops.__all__} - {"asarray", "assign", "variable"}),
]  # fmt: skip


def __dir__() -> list[str]:
    return list(__all__)
