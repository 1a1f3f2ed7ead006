"""Layers: callables that own variables.

A layer makes its variables at its first call, when it knows what it is fed, and names them by its path:
``sequential/1_dense/kernel``. Calling it again builds more graph over the same variables; ``training=True`` turns on
what only training does, such as dropout.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphc import ops
from graphc import random as graphc_random
from graphc.errors import DTypeError, GraphError, ShapeError, names_of_others
from graphc.ir.node import Tensor
from graphc.ir.origin import name_scope
from graphc.ir.symbolic import Dim
from graphc.ir.types import format_shape, is_float, is_number, is_whole
from graphc.nn import initializers
from graphc.nn.initializers import Initializer
from graphc.ops.base import as_tensor, given, require_bool, require_number

_numbers = itertools.count(1)


class Layer:
    """Base of layers. What a call builds stands in a scope named by the layer's path, see :class:`graphc.name_scope`.

    Parameters
    ----------
    name : str, optional
        The path of its variables; the class's name in lower case if not given, and the place in a
        :class:`Sequential` is put before it.

    Attributes
    ----------
    variables : list of Tensor
        Its own, then those of the layers among its attributes; complete after the first call.

    Notes
    -----
    A class of yours defines :meth:`forward`, and :meth:`build` if it has variables of its own; an ``__init__`` calls
    ``super().__init__(name)``.

    Examples
    --------
    >>> import graphc
    >>> from graphc import nn
    >>> class Scaled(nn.Layer):
    ...     def build(self, x):  # at the first call
    ...         self.scale = self.variable("scale", nn.initializers.ones, (x.shape[-1],), x.dtype)
    ...
    ...     def forward(self, x, training):  # at every call
    ...         return x * self.scale
    >>> layer = Scaled()
    >>> layer(graphc.placeholder("x", ("batch", 3))).shape
    (batch, 3)
    >>> layer.variables
    [<Tensor scaled/scale: float32[3]>]
    """

    def __init__(self, name: str | None = None):
        if name is not None and (not isinstance(name, str) or not name.strip("/ ")):
            raise GraphError(f"{type(self).__name__}: expected a name such as 'encoder', got {given(name)}")
        self.path = name or type(self).__name__.lower()
        self.named = name is not None
        self._number = next(_numbers)
        self._own: list[Tensor] = []
        self._built = False

    @property
    def variables(self) -> list[Tensor]:
        """The layer's own variables, then those of the layers in its attributes, each once: none before a first call.

        Layers are found in attributes, and in lists and tuples that are attributes.
        """
        found = list(self._own)
        for value in vars(self).values():
            for part in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(part, Layer):
                    found += part.variables
        return list(dict.fromkeys(found))

    def __call__(self, x: Any, *, training: bool = False, **options: Any) -> Tensor:
        """Build the layer's graph on a tensor.

        Parameters
        ----------
        x : Tensor
        training : bool
            Whether this graph is for training.
        **options
            What ``forward`` takes besides, such as the ``mask`` of an attention.
        """
        if "_built" not in vars(self):
            raise GraphError(f"{type(self).__name__}: expected its __init__ to call super().__init__()")
        taken = [name for name in inspect.signature(self.forward).parameters if name != "x"]
        for option in options:
            if option not in taken:
                known = ", ".join(f"{name}=" for name in taken)
                raise GraphError(f"{type(self).__name__}: takes no {option}=", hint=f"a call takes {known}")
        x = as_tensor(x)
        require_bool(type(self).__name__, "training", training)
        with name_scope.of_layer(self.path, 0 if self.named else self._number):
            if not self._built:
                self.build(x)
                self._built = True
            return self.forward(x, training, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}: {len(self.variables)} variables>"

    if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there
        __getattr__ = names_of_others("layer")

    def build(self, x: Tensor) -> None:
        """Make variables (:meth:`variable`) for inputs of the type of ``x``; called once, before ``forward``.

        Layers without variables need none. A layer that is part of this one is told so here: :meth:`name_part`.
        """

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """The layer's result for ``x``; what it takes besides, a call of the layer takes by name."""
        raise GraphError(
            f"{type(self).__name__}: a layer of this class has no method forward",
            hint="def forward(self, x, training): what the layer makes of x; calling the layer calls it",
        )

    def variable(self, part: str, initializer: Initializer, shape: Sequence[int], dtype: Any) -> Tensor:
        """A trainable variable named by the layer's path and ``part``.

        Raises
        ------
        GraphError
            If the initializer is no function.
        """
        label = f"{self.path}/{part}"
        if not callable(initializer):
            raise GraphError(
                f"{label}: expected a function (shape, dtype, generator) as initializer, got {given(initializer)}",
                hint="graphc.nn.initializers has some",
            )
        made = ops.variable(initializer, name=label, shape=tuple(shape), dtype=dtype, _auto=not self.named)
        self._own.append(made)
        return made

    def name_part(self, part: str, layer: Layer) -> None:
        """Put this layer's path before that of a layer it is made of, unless that has variables or a name already."""
        if not layer._built and not layer.named:
            layer.path = f"{self.path}/{part}"
            layer.named = self.named


def static_sizes(name: str, x: Tensor, count: int, hint: str | None = None) -> tuple[int, ...]:
    """The last ``count`` sizes of a layer's input, which its variables take their shapes from.

    Raises
    ------
    ShapeError, DTypeError
        If one is a named dim or there are fewer axes; if the input is no float.
    """
    sizes = tuple(size for size in x.shape[max(0, x.ndim - count) :] if not isinstance(size, Dim))
    if len(sizes) < count:
        wanted = "a static last axis" if count == 1 else f"{count} static last axes"
        raise ShapeError(f"{name}: expected {wanted}, got shape {format_shape(x.shape)}", operands=(x,), hint=hint)
    require_float(name, x)
    return sizes


def require_float(name: str, x: Tensor) -> None:
    """A DTypeError for an input that is no float."""
    if not is_float(x.dtype):
        raise DTypeError(f"{name}: expected float32 or float64, got {x.type}", operands=(x,))


def require_axes(name: str, expected: str, x: Tensor) -> None:
    """A ShapeError for an input with fewer axes than ``expected``, such as ``"(..., length, width)"``, names."""
    if x.ndim < expected.count(","):
        raise ShapeError(f"{name}: expected {expected}, got {format_shape(x.shape)}", operands=(x,))


def require_count(name: str, what: str, value: Any) -> int:
    """A whole number of at least 1, or a GraphError."""
    if not is_whole(value) or value < 1:
        raise GraphError(f"{name}: expected a positive {what}, got {given(value)}")
    return int(value)


def require_rate(name: str, rate: Any) -> float:
    """A probability of dropping below 1, or a GraphError."""
    if not is_number(rate) or not 0 <= rate < 1:
        raise GraphError(f"{name}: expected 0 <= rate < 1, got {given(rate)}")
    return float(rate)  # NumPy's float64 is not weak and would widen float32


def require_epsilon(name: str, value: Any) -> float:
    """A number of at least 0, or a GraphError."""
    epsilon = require_number(name, "epsilon", value)
    if not epsilon >= 0:
        raise GraphError(f"{name}: expected an epsilon of at least 0, got {value!r}")
    return epsilon


def dropout(x: Any, rate: float) -> Tensor:
    """Each element 0 with probability ``rate``, else divided by ``1 - rate``; :class:`Dropout` without the switch.

    Parameters
    ----------
    x : Tensor or array_like
    rate : float
        ``0 <= rate < 1``.

    Returns
    -------
    Tensor
    """
    x, rate = as_tensor(x), require_rate("dropout", rate)
    if rate == 0:
        return x
    kept = graphc_random.bernoulli(1 - rate, x.shape)
    return ops.where(kept, x * (1 / (1 - rate)), 0.0)


class Dense(Layer):
    """``activation(x @ kernel + bias)``.

    Parameters
    ----------
    units : int
        Size of the result's last axis.
    activation : callable, optional
    use_bias : bool
    kernel_initializer, bias_initializer : callable
        Defaults: He normal, zeros.
    name : str, optional

    Notes
    -----
    Input ``(..., features)`` float, ``features`` static; kernel ``(features, units)``; result ``(..., units)``.
    """

    def __init__(
        self,
        units: int,
        activation: Callable[[Tensor], Tensor] | None = None,
        *,
        use_bias: bool = True,
        kernel_initializer: Initializer = initializers.he_normal,
        bias_initializer: Initializer = initializers.zeros,
        name: str | None = None,
    ):
        super().__init__(name)
        require_count("Dense", "number of units", units)
        require_bool("Dense", "use_bias", use_bias)
        if activation is not None and not callable(activation):
            raise GraphError(
                f"Dense: expected a function as activation, got {given(activation)}",
                hint="only the units of the result are given; those of the input are known at the first call",
            )
        self.units, self.activation, self.use_bias = int(units), activation, use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer

    def build(self, x: Tensor) -> None:
        (features,) = static_sizes("Dense", x, 1)
        self.kernel = self.variable("kernel", self.kernel_initializer, (features, self.units), x.dtype)
        self.bias = self.variable("bias", self.bias_initializer, (self.units,), x.dtype) if self.use_bias else None

    def forward(self, x: Tensor, training: bool) -> Tensor:
        result = ops.matmul(x, self.kernel)
        if self.bias is not None:
            result = result + self.bias
        return self.activation(result) if self.activation else result


class Dropout(Layer):
    """In training, each element is 0 with probability ``rate``, else divided by ``1 - rate``; otherwise unchanged.

    Parameters
    ----------
    rate : float
        ``0 <= rate < 1``.
    name : str, optional

    Notes
    -----
    Source: Srivastava et al. 2014, in the "inverted" form that needs no scaling at inference. Call with
    ``training=True`` at inference for Monte Carlo estimates of uncertainty, and feed each input several times in one
    batch: until the next training step, a run draws the same masks again (see :mod:`graphc.random`).
    """

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        self.rate = require_rate("Dropout", rate)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return dropout(x, self.rate) if training else x


class Sequential(Layer):
    """Layers and functions, one after the other.

    Parameters
    ----------
    *layers : Layer or callable
        Functions are called with the tensor alone, layers with ``training`` too.
    name : str, optional
    """

    def __init__(self, *layers: Any, name: str | None = None):
        super().__init__(name)
        for layer in layers:
            if not callable(layer):
                hint = "nn.Sequential(*layers)" if isinstance(layer, (list, tuple)) else None
                raise GraphError(f"Sequential: expected layers and functions, got {given(layer)}", hint=hint)
        self.layers = layers

    def build(self, x: Tensor) -> None:
        for place, layer in enumerate(self.layers):
            if isinstance(layer, Layer):
                self.name_part(f"{place}_{layer.path}", layer)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        for layer in self.layers:
            x = layer(x, training=training) if isinstance(layer, Layer) else layer(x)
        return x
