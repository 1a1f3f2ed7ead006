"""Training with eager tensors: gradients of functions, and the steps of :mod:`graphc.optim`.

An optimizer's formulas are graph. For given variables they are declared once, with a placeholder in the place of
each gradient; a step computes the gradients eagerly, feeds them, and lets the session run the updates. So a step means
what it means in a session: all variables are read as they were, and change together or not at all.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc import ops
from graphc.eager.tape import Reading, session
from graphc.eager.tensor import EagerTensor, ValuedTensor
from graphc.eager.values import asarray, value
from graphc.errors import GradientError, GraphError
from graphc.ir.graph import topological
from graphc.ir.node import Tensor
from graphc.ir.types import is_float
from graphc.ops.derivatives import gradients
from graphc.ops.sources import Updates
from graphc.ops.tree import flatten
from graphc.optim import Optimizer


@dataclass(frozen=True)
class _Declared:
    """An optimizer's formulas for some variables.

    Attributes
    ----------
    slots : tuple of Tensor
        A placeholder for each gradient.
    updates : Updates
        Made of these.
    settings : dict
        The optimizer's attributes that the formulas hold.
    """

    slots: tuple[Tensor, ...]
    updates: Updates
    settings: dict[str, Any]


_declared: weakref.WeakKeyDictionary[Optimizer, dict[tuple[Tensor, ...], _Declared]] = weakref.WeakKeyDictionary()
_declaring = threading.Lock()


def value_and_gradients(
    function: Callable[..., Any], variables: Sequence[Tensor] | None = None
) -> Callable[..., tuple[EagerTensor, Any]]:
    """A function that returns a function's result and its gradients.

    Parameters
    ----------
    function : callable
        From tensors (and anything else) to a float scalar tensor.
    variables : sequence of Tensor, optional
        What to differentiate by; the arguments if not given.

    Returns
    -------
    callable
        To be called like ``function``. Its positional arguments may be trees (nested tuples, lists and dicts); arrays
        among the leaves become eager tensors. It returns the result, and the gradients: a list if there are
        ``variables``; else one for each positional argument, nested as the argument is, with None for leaves that are
        no floats. A single argument's gradient is returned alone. By what the result does not depend on, it is zero.

    Raises
    ------
    GradientError
        When called, if the result is no float scalar, or no argument is a float tensor.

    Examples
    --------
    >>> squares = lambda w: (w * w).sum()
    >>> value, gradient = graphc.eager.value_and_gradients(squares)(np.ones(3))
    """

    def call(*arguments: Any, **options: Any) -> tuple[EagerTensor, Any]:
        leaves, rebuild = flatten(arguments)
        taken = [_operand(leaf) for leaf in leaves]
        result = value(function(*rebuild(taken), **options))
        if variables is not None:
            return result, gradients(result, list(variables), zeros_for_disconnected=True)
        floats = [leaf for leaf in taken if isinstance(leaf, ValuedTensor) and is_float(leaf.dtype)]
        if not floats:
            raise GradientError("value_and_gradients: no argument is a float tensor or array")
        found = iter(gradients(result, floats, zeros_for_disconnected=True))
        by_leaf = [next(found) if isinstance(t, ValuedTensor) and is_float(t.dtype) else None for t in taken]
        nested = rebuild(by_leaf)
        return result, nested[0] if len(nested) == 1 else nested

    return call


def _operand(leaf: Any) -> Any:
    """An argument as an eager tensor, if it is an array or a tensor; others, such as numbers, stay."""
    if isinstance(leaf, Tensor):
        return leaf if isinstance(leaf, ValuedTensor) else value(leaf)
    return asarray(leaf) if hasattr(leaf, "__array__") else leaf


def minimize(optimizer: Optimizer, loss: Tensor, variables: Sequence[Tensor] | None = None) -> None:
    """One step of an optimizer down the gradient of a loss; the variables have their new values when it returns.

    Parameters
    ----------
    optimizer : Optimizer
        Of :mod:`graphc.optim`, or any other: its formulas are used as they are. What it keeps from step to step
        belongs to this object, to the present session, and to these variables.
    loss : Tensor
        A float scalar with a value.
    variables : sequence of Tensor, optional
        What to update; all trainable variables that the loss depends on if not given.

    Raises
    ------
    GradientError
        If the loss depends on no trainable variable, or not on one of ``variables``; or one of these has changed since
        the loss was computed.

    Examples
    --------
    >>> adam = graphc.optim.Adam(1e-3)
    >>> for images, labels in batches:
    ...     loss = graphc.nn.softmax_cross_entropy(model(xp.asarray(images)), xp.asarray(labels)).mean()
    ...     graphc.eager.minimize(adam, loss)
    """
    loss = value(loss)
    chosen = _trainable(loss) if variables is None else list(variables)
    if not chosen:
        raise GradientError("minimize: the loss depends on no trainable variable", operands=(loss,))
    apply_gradients(optimizer, list(zip(gradients(loss, chosen), chosen, strict=True)))


def apply_gradients(optimizer: Optimizer, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """One step of an optimizer from (gradient, variable) pairs, such as clipped gradients.

    Parameters
    ----------
    optimizer : Optimizer
    pairs : sequence of (Tensor, Tensor)
        Gradients with values, each of its variable's type.
    """
    if not isinstance(optimizer, Optimizer):
        raise GraphError(f"eager.minimize: expected an optimizer of graphc.optim, got {optimizer!r}")
    for _, variable in pairs:
        if not isinstance(variable, Tensor) or variable.node.op.name != "variable":
            raise GraphError(f"eager.minimize: expected variables to update, got {variable!r}")
    variables = tuple(variable.node.results[0] for _, variable in pairs)
    with _declaring:
        known = _declared.setdefault(optimizer, {})
        if variables not in known:
            known[variables] = _declare(optimizer, variables)
        found = known[variables]
    _check_settings(optimizer, found.settings)
    arrays = [value(gradient).value for gradient, _ in pairs]
    session().run(found.updates, dict(zip(found.slots, arrays, strict=True)))


def _declare(optimizer: Optimizer, variables: tuple[Tensor, ...]) -> _Declared:
    slots = tuple(ops.placeholder(f"gradient of {w.name}", w.shape, w.dtype) for w in variables)
    return _Declared(slots, optimizer.apply(list(zip(slots, variables, strict=True))), dict(vars(optimizer)))


def _check_settings(optimizer: Optimizer, settings: dict[str, Any]) -> None:
    for name, now in vars(optimizer).items():
        before = settings.get(name)
        if now is not before and (isinstance(now, Tensor) or isinstance(before, Tensor) or now != before):
            raise GraphError(
                f"eager.minimize: {type(optimizer).__name__}.{name} was {before!r} at the first step and is {now!r} "
                "now, but its formulas were declared then",
                hint="a schedule is a function of the step's number, Adam(lambda count: ...), or a graphc.variable",
            )


def _trainable(loss: EagerTensor) -> list[Tensor]:
    """The trainable variables whose readings a loss depends on, in order of declaration."""
    found = [node for node in topological([loss]) if isinstance(node, Reading) and node["trainable"]]
    known = {node.variable.node: node.variable for node in found}
    return [known[node] for node in sorted(known, key=lambda node: node.serial)]
