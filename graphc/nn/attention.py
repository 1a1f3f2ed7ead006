"""Attention, and the transformer block made of it.

    weights = softmax(query @ transpose(key) * scale)        over the positions that a query may attend to
    result  = weights @ value

All of it is composed of products, a softmax and choices; the compiler decides what is stored. A mask enters as
``-inf`` in the scores. The causal one is no array: it compares the positions of query and key, which are loop
counters of the kernel that uses it.

Source: Vaswani et al. 2017. The block normalises before each branch (Xiong et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphc import ops
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim
from graphc.ir.types import Shape, broadcast_shapes, format_shape
from graphc.nn import initializers
from graphc.nn.initializers import Initializer
from graphc.nn.layers import (
    Dense,
    Layer,
    dropout,
    require_axes,
    require_count,
    require_rate,
    static_sizes,
)
from graphc.nn.normalization import LayerNorm
from graphc.ops.base import as_tensor, given, promote, require_bool, require_number, shown

NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
) -> Tensor:
    """``softmax(query @ transpose(key) * scale) @ value``: for each query a mean of the values, weighted by likeness.

    Parameters
    ----------
    query : Tensor or array_like
        Float, ``(..., length, width)``; heads are among the axes before, which broadcast.
    key : Tensor or array_like
        ``(..., source, width)``.
    value : Tensor or array_like
        ``(..., source, value_width)``.
    mask : Tensor or array_like of bool, optional
        True where a query may attend to a key; broadcasts to ``(..., length, source)``.
    causal : bool
        Query ``i`` attends to the keys ``j <= i`` only. Together with a mask, both must allow it.
    scale : float, optional
        ``1 / sqrt(width)`` if not given.
    dropout_rate : float
        Each weight is 0 with this probability, else divided by its complement: for training graphs only.

    Returns
    -------
    Tensor
        ``(..., length, value_width)``.

    Raises
    ------
    ShapeError, DTypeError, GraphError
        If shapes do not fit, the mask or ``causal`` is not bool, or the scale is no number.

    Notes
    -----
    A query whose mask allows no key has weights, result and derivatives 0, as PyTorch has since 2.5 (JAX gives the
    mean of all values). A score of NaN or infinity elsewhere shows in the result. A key that is not allowed has weight
    0, and 0 times a value of NaN or infinity is NaN: padding must be finite, as it must in PyTorch and JAX.
    """
    query, key, value = promote(NAME, [query, key, value], minimum="float")
    allowed = None if mask is None else as_tensor(mask)
    _require_fit(query, key, value)
    factor = _default_scale(query) if scale is None else require_number(NAME, "scale", scale)
    scores = ops.matmul(query, ops.matrix_transpose(key)) * factor
    if allowed is not None:
        _require_mask(allowed, scores)
    if require_bool(NAME, "causal", causal):
        earlier = _causal(scores.shape[-2], scores.shape[-1])
        allowed_now = earlier if allowed is None else ops.logical_and(allowed, earlier)
    else:
        allowed_now = allowed
    weights = ops.softmax(scores if allowed_now is None else ops.where(allowed_now, scores, -math.inf))
    if allowed is not None:  # a row of nothing but -inf is NaN; the causal mask alone leaves none
        weights = ops.where(allowed_now, weights, 0.0)
    return ops.matmul(dropout(weights, dropout_rate), value)


def _require_fit(query: Tensor, key: Tensor, value: Tensor) -> None:
    fits = min(query.ndim, key.ndim, value.ndim) >= 2
    fits = fits and query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    if not fits or _together(*(tensor.shape[:-2] for tensor in (query, key, value))) is None:
        raise ShapeError(
            f"{NAME}: query {shown(query)}, key {shown(key)} and value {shown(value)} do not fit",
            operands=(query, key, value),
            hint="expected (..., length, width), (..., source, width) and (..., source, value_width)",
        )


def _together(*shapes: Shape) -> Shape | None:
    """The shape that shapes broadcast to; None if they do not."""
    try:
        return broadcast_shapes(*shapes)
    except ShapeError:
        return None


def _require_mask(mask: Tensor, scores: Tensor) -> None:
    if mask.dtype.kind != "b":
        raise DTypeError(
            f"{NAME}: expected a mask of bool, got {mask.type}",
            operands=(mask,),
            hint="True lets a query attend to a key; compare numbers to make it, as in mask > 0",
        )
    if _together(scores.shape, mask.shape) != scores.shape:
        raise ShapeError(
            f"{NAME}: mask {shown(mask)} does not broadcast to the scores {shown(scores)}",
            operands=(mask,),
            hint="the last two axes of a mask are query and key positions; the axes before them are batch and heads",
        )


def _default_scale(query: Tensor) -> Any:
    width = query.shape[-1]
    if isinstance(width, Dim):
        return ops.rsqrt(ops.cast(ops.size_of(query, -1), query.dtype))
    return 1 / math.sqrt(max(1, width))


def _causal(length: Any, source: Any) -> Tensor:
    """Whether a key's position is at most the query's: ``(length, source)``."""
    return ops.less_equal(ops.arange(source), ops.expand_dims(ops.arange(length), 1))


class MultiHeadAttention(Layer):
    """Self-attention of several heads: query, key and value from one projection, heads side by side, and a projection.

    Parameters
    ----------
    heads : int
        Divides the width of the input.
    causal : bool
        Each position attends to itself and the positions before it only.
    dropout_rate : float
        Of the attention weights, in training.
    use_bias : bool
        Whether the projections have biases.
    kernel_initializer, bias_initializer : callable
        Defaults: Xavier uniform, zeros.
    name : str, optional

    Notes
    -----
    Input ``(..., length, width)`` float, ``width`` static; result of the same shape. Called with ``mask=``, a bool
    tensor that is True where a position (axis -2) may attend to another (axis -1), and that broadcasts to
    ``(..., heads, length, length)``: give a mask of each sequence an axis of size 1 for the heads. See
    :func:`scaled_dot_product_attention`.
    """

    def __init__(
        self,
        heads: int,
        *,
        causal: bool = False,
        dropout_rate: float = 0.0,
        use_bias: bool = True,
        kernel_initializer: Initializer = initializers.xavier_uniform,
        bias_initializer: Initializer = initializers.zeros,
        name: str | None = None,
    ):
        super().__init__(name)
        self.heads = require_count("MultiHeadAttention", "number of heads", heads)
        self.causal = require_bool("MultiHeadAttention", "causal", causal)
        self.dropout_rate = require_rate("MultiHeadAttention", dropout_rate)
        self.options: dict[str, Any] = {
            "use_bias": require_bool("MultiHeadAttention", "use_bias", use_bias),
            "kernel_initializer": kernel_initializer,
            "bias_initializer": bias_initializer,
        }

    def build(self, x: Tensor) -> None:
        (width,) = static_sizes("MultiHeadAttention", x, 1)
        require_axes("MultiHeadAttention", "(..., length, width)", x)
        if width % self.heads:
            raise ShapeError(
                f"MultiHeadAttention: {self.heads} heads do not divide the width {width} of {format_shape(x.shape)}",
                operands=(x,),
                hint="each head attends with width / heads features",
            )
        self.qkv = Dense(3 * width, **self.options)
        self.projection = Dense(width, **self.options)
        self.name_part("qkv", self.qkv)
        self.name_part("projection", self.projection)

    def forward(self, x: Tensor, training: bool, mask: Any = None) -> Tensor:
        *leading, length, width = x.shape
        parts = ops.reshape(self.qkv(x), (*leading, length, 3, self.heads, width // self.heads))
        query, key, value = (ops.swapaxes(part, -2, -3) for part in ops.unstack(parts, axis=-3))
        mixed = scaled_dot_product_attention(
            query, key, value, mask, causal=self.causal, dropout_rate=self.dropout_rate if training else 0.0
        )
        return self.projection(ops.reshape(ops.swapaxes(mixed, -2, -3), x.shape))


def gelu_tanh(x: Any) -> Tensor:
    """GELU in its tanh form."""
    return ops.gelu(x, approximate="tanh")


class TransformerBlock(Layer):
    """``x + attention(norm(x))``, then ``x + down(activation(up(norm(x))))``.

    Parameters
    ----------
    heads : int
        Divides the width of the input.
    hidden : int, optional
        Width between ``up`` and ``down``; four times the input's if not given.
    causal : bool
        Each position attends to itself and the positions before it only.
    activation : callable
        Default: GELU in its tanh form.
    dropout_rate : float
        Of what each of the two branches adds, in training.
    attention_dropout_rate : float
        Of the attention weights, in training.
    name : str, optional

    Notes
    -----
    Input ``(..., length, width)`` float, ``width`` static; result of the same shape. Takes ``mask=`` as
    :class:`MultiHeadAttention` does. Kernels start Xavier uniform, biases 0.
    """

    def __init__(
        self,
        heads: int,
        *,
        hidden: int | None = None,
        causal: bool = False,
        activation: Callable[[Tensor], Tensor] = gelu_tanh,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name)
        if not callable(activation):
            raise GraphError(f"TransformerBlock: expected a function as activation, got {given(activation)}")
        self.hidden = None if hidden is None else require_count("TransformerBlock", "hidden width", hidden)
        self.activation, self.rate = activation, require_rate("TransformerBlock", dropout_rate)
        self.norm1 = LayerNorm()
        self.attention = MultiHeadAttention(heads, causal=causal, dropout_rate=attention_dropout_rate)
        self.norm2 = LayerNorm()

    def build(self, x: Tensor) -> None:
        (width,) = static_sizes("TransformerBlock", x, 1)
        kernel = initializers.xavier_uniform
        self.up = Dense(self.hidden or 4 * width, self.activation, kernel_initializer=kernel)
        self.down = Dense(width, kernel_initializer=kernel)
        for part in ("norm1", "attention", "norm2", "up", "down"):
            self.name_part(part, getattr(self, part))

    def forward(self, x: Tensor, training: bool, mask: Any = None) -> Tensor:
        rate = self.rate if training else 0.0
        x = x + dropout(self.attention(self.norm1(x), training=training, mask=mask), rate)
        return x + dropout(self.down(self.up(self.norm2(x))), rate)
