"""Optimizers: from a loss to the updates of its variables.

All of them are graph: ``minimize`` differentiates the loss by its trainable variables and returns the assigns, which
the compiler fuses like anything else. A learning rate may be a number, a tensor, or a function from the step count
(an int64 tensor, 1 at the first step) to a tensor: schedules need no recompilation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphc import ops
from graphc.errors import GradientError, GraphError, names_of_others
from graphc.ir.graph import topological
from graphc.ir.node import Tensor
from graphc.ir.origin import name_scope
from graphc.ir.types import is_number
from graphc.ops.base import given
from graphc.ops.derivatives import gradients
from graphc.ops.sources import Updates

__all__ = [
    "SGD", "Adam", "LearningRate", "Momentum", "Optimizer", "RMSProp", "Updates", "trainable_variables",
]  # fmt: skip

LearningRate = float | Tensor | Callable[[Tensor], Tensor]


def trainable_variables(loss: Tensor) -> list[Tensor]:
    """The trainable variables that a tensor depends on, in order of declaration.

    Raises
    ------
    GraphError
        If it is no tensor.
    """
    if not isinstance(loss, Tensor):
        raise GraphError(f"trainable_variables: expected a tensor, got {given(loss)}")
    found = [node for node in topological([loss]) if node.op.name == "variable" and node["trainable"]]
    return [node.result for node in sorted(found, key=lambda node: node.serial)]


class Optimizer:
    """Base of optimizers.

    Parameters
    ----------
    learning_rate : float, Tensor or callable
    """

    def __init__(self, learning_rate: LearningRate):
        kind = type(self).__name__
        if not (is_number(learning_rate) or isinstance(learning_rate, Tensor) or callable(learning_rate)):
            raise GraphError(
                f"{kind}: expected a number, a tensor or a function as learning rate, got {learning_rate!r}",
                hint="minimize(loss, variables) is told what to update",
            )
        if is_number(learning_rate) and not learning_rate >= 0:
            raise GraphError(f"{kind}: expected a learning rate of at least 0, got {learning_rate!r}")
        # NumPy's scalars are not weak as Python's are: a float64 would widen the update of a float32 variable
        self.learning_rate = float(learning_rate) if isinstance(learning_rate, np.number) else learning_rate

    def minimize(self, loss: Tensor, variables: Sequence[Tensor] | None = None) -> Updates:
        """Updates that take a step down the gradient of ``loss``.

        Parameters
        ----------
        loss : Tensor
            Scalar, float.
        variables : sequence of Tensor, optional
            What to update; all trainable variables that the loss depends on if not given.

        Returns
        -------
        Updates
            To be fetched; a session returns None for it.

        Raises
        ------
        GradientError
            If the loss is no float scalar, or does not depend on a variable, or on no trainable one.
        GraphError
            If the loss is no tensor, or ``variables`` no sequence of variables.
        """
        if not isinstance(loss, Tensor):
            raise GraphError(f"minimize: expected a tensor as loss, got {given(loss)}")
        chosen = trainable_variables(loss) if variables is None else _variables(variables, loss)
        if not chosen:
            raise GradientError("minimize: the loss depends on no trainable variable", operands=(loss,))
        return self.apply(list(zip(gradients(loss, chosen), chosen, strict=True)))

    def apply(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Updates:
        """Updates from (gradient, variable) pairs, such as clipped gradients.

        Returns
        -------
        Updates

        Raises
        ------
        GraphError
            If they are no such pairs.
        """
        pairs = _pairs(pairs)
        kind = type(self).__name__.lower()
        with name_scope(kind):
            step = ops.variable(np.int64(0), name=f"{kind}/step", trainable=False, _auto=True)
            count = step + 1
            updates, begun = [ops.assign(step, count)], False
            try:
                for variable in {variable.dtype: variable for _, variable in pairs}.values():
                    self.begin(variable, count)
                    begun = True
                for gradient, variable in pairs:
                    with name_scope.of_layer(variable.node["name"] or "variable", variable.node.serial):
                        updates += self.update(variable, gradient, count)
            finally:
                if begun:
                    self.end(count)
        return Updates(updates)

    def begin(self, variable: Tensor, count: Tensor) -> None:
        """Make what all updates of a step have in common; called before the first of each dtype.

        What is kept for :meth:`update` is kept by ``count``, which is this call's of :meth:`apply` alone: one optimizer
        may build the steps of several graphs at once, in several threads.

        Parameters
        ----------
        variable : Tensor
            One of its dtype.
        count : Tensor
            As for :meth:`update`.
        """

    def end(self, count: Tensor) -> None:
        """Forget what :meth:`begin` made for a step.

        Called once, after the last update or an error, unless :meth:`begin` has come to its end for no dtype: there are
        no pairs, or it failed at the first.
        """

    def update(self, variable: Tensor, gradient: Tensor, count: Tensor) -> list[Tensor]:
        """The assigns for one variable and for the optimizer's state of it.

        Parameters
        ----------
        variable, gradient : Tensor
            Of one type.
        count : Tensor
            Number of this step, int64, from 1.
        """
        raise NotImplementedError(f"{type(self).__name__}.update")

    def rate(self, variable: Tensor, count: Tensor) -> Any:
        """The learning rate at a step, in the variable's dtype.

        Raises
        ------
        GraphError
            If the function of a schedule returns neither a number nor a tensor.
        """
        rate = self.learning_rate(count) if callable(self.learning_rate) else self.learning_rate
        if isinstance(rate, Tensor):
            return ops.cast(rate, variable.dtype)
        if not is_number(rate):
            kind = type(self).__name__
            raise GraphError(f"{kind}: expected the learning rate's function to return a tensor, got {given(rate)}")
        return float(rate)  # of NumPy's scalars too, which are not weak

    if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there
        __getattr__ = names_of_others("optimizer")

    def state(self, variable: Tensor, part: str) -> Tensor:
        """A variable of zeros like ``variable``."""
        name = f"{type(self).__name__.lower()}/{variable.name}/{part}"
        return ops.variable(_zeros, name=name, shape=variable.shape, dtype=variable.dtype, trainable=False, _auto=True)


def _is_variable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.node.op.name == "variable"


def _variables(chosen: Any, loss: Tensor) -> list[Tensor]:
    """The variables that a user chose, found to be such, and ones that the loss depends on."""
    if not isinstance(chosen, (tuple, list)) or not all(map(_is_variable, chosen)):
        raise GraphError(f"minimize: expected a sequence of variables, got {given(chosen)}")
    nodes = set(topological([loss]))
    for variable in chosen:
        if variable.node not in nodes:
            message = f"minimize: the loss does not depend on {variable.label}"
            raise GradientError(message, operands=(loss, variable))
    return list(chosen)


def _pairs(values: Any) -> list[tuple[Tensor, Tensor]]:
    """(gradient, variable) pairs, found to be such."""
    pairs = list(values) if isinstance(values, Iterable) and not isinstance(values, Tensor) else [values]
    for pair in pairs:
        fits = isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], Tensor)
        if not fits or not _is_variable(pair[1]):
            raise GraphError(f"apply: expected pairs of a gradient and a variable, got {given(pair)}")
    return pairs


def _zeros(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """One zero, seen as an array: the session copies it to the place that it has for the variable."""
    return np.broadcast_to(np.zeros((), dtype), shape)


class SGD(Optimizer):
    """``W <- W - eta g``."""

    def __init__(self, learning_rate: LearningRate = 0.01):
        super().__init__(learning_rate)

    def update(self, variable: Tensor, gradient: Tensor, count: Tensor) -> list[Tensor]:
        return [ops.assign(variable, variable - self.rate(variable, count) * gradient)]


class Momentum(Optimizer):
    """``v <- beta v + (1 - beta) g; W <- W - eta v``.

    Parameters
    ----------
    learning_rate : float, Tensor or callable
    beta : float
    classical : bool
        ``v <- beta v + g`` instead (Polyak 1964).
    nesterov : bool
        The step looks ahead: ``W <- W - eta (beta v + (1 - beta) g)``, or ``beta v + g`` if classical
        (Nesterov 1983, in the form of Sutskever et al. 2013).
    """

    def __init__(
        self, learning_rate: LearningRate = 0.01, beta: float = 0.9, *, classical: bool = False, nesterov: bool = False
    ):
        super().__init__(learning_rate)
        self.beta, self.classical, self.nesterov = beta, classical, nesterov

    def update(self, variable: Tensor, gradient: Tensor, count: Tensor) -> list[Tensor]:
        old = self.state(variable, "velocity")
        fresh = gradient if self.classical else (1 - self.beta) * gradient
        velocity = self.beta * old + fresh
        step = self.beta * velocity + fresh if self.nesterov else velocity
        return [ops.assign(old, velocity), ops.assign(variable, variable - self.rate(variable, count) * step)]


class RMSProp(Optimizer):
    """``E <- beta E + (1 - beta) g^2; W <- W - eta g / sqrt(E + eps)`` (Hinton 2012; eps inside the root)."""

    def __init__(self, learning_rate: LearningRate = 0.001, beta: float = 0.9, eps: float = 1e-8):
        super().__init__(learning_rate)
        self.beta, self.eps = beta, eps

    def update(self, variable: Tensor, gradient: Tensor, count: Tensor) -> list[Tensor]:
        old = self.state(variable, "square")
        square = self.beta * old + (1 - self.beta) * gradient * gradient
        step = self.rate(variable, count) * gradient / ops.sqrt(square + self.eps)
        return [ops.assign(old, square), ops.assign(variable, variable - step)]


class Adam(Optimizer):
    """``W <- W - eta m_hat / (sqrt(v_hat) + eps)`` with both moments corrected for bias (Kingma and Ba 2015)."""

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ):
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self._corrections: dict[Tensor, dict[np.dtype[Any], tuple[Tensor, Tensor]]] = {}

    def begin(self, variable: Tensor, count: Tensor) -> None:
        self._corrections.setdefault(count, {})[variable.dtype] = self._corrected(variable, count)

    def end(self, count: Tensor) -> None:
        self._corrections.pop(count, None)

    def _corrected(self, variable: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """What the rate is divided by, and a factor of the second moment, to correct both moments for bias.

        They are scalars: as factors they cost a multiplication an element, not a division.
        """
        exponent = ops.cast(count, variable.dtype)
        return 1 - self.beta1**exponent, 1 / (1 - self.beta2**exponent)

    def update(self, variable: Tensor, gradient: Tensor, count: Tensor) -> list[Tensor]:
        first, second = self.state(variable, "first"), self.state(variable, "second")
        m = self.beta1 * first + (1 - self.beta1) * gradient
        v = self.beta2 * second + (1 - self.beta2) * gradient * gradient
        known = self._corrections.get(count, {}).get(variable.dtype)
        divisor, correction = known or self._corrected(variable, count)
        step = self.rate(variable, count) / divisor * m / (ops.sqrt(v * correction) + self.eps)
        return [ops.assign(first, m), ops.assign(second, v), ops.assign(variable, variable - step)]


if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there

    def __getattr__(name: str) -> Any:
        from graphc.foreign import missing

        raise missing(__name__, name)


def __dir__() -> list[str]:
    return list(__all__)
