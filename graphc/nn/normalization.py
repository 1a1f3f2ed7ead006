"""Normalisation: a function made of ops, and the layer that owns its scale and bias."""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.errors import ShapeError
from graphc.ir.node import Tensor
from graphc.ir.types import format_shape
from graphc.nn import initializers
from graphc.nn.initializers import Initializer
from graphc.nn.layers import Layer, require_count, require_epsilon, require_float, static_sizes
from graphc.ops.base import as_tensor, require_bool, shown

EPSILON = 1e-5


def layer_norm(x: Any, scale: Any = None, bias: Any = None, *, axes: int = 1, epsilon: float = EPSILON) -> Tensor:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``, mean and variance taken over the last axes.

    Parameters
    ----------
    x : Tensor or array_like
        Float.
    scale, bias : Tensor or array_like, optional
        Of the shape of the last axes.
    axes : int
        How many of the last axes are normalised together.
    epsilon : float
        Keeps the root away from 0; a row of equal elements becomes 0.

    Returns
    -------
    Tensor
        Of the shape of ``x``.

    Raises
    ------
    ShapeError, DTypeError, GraphError
        If there are fewer axes, a scale or bias has another shape, ``x`` is no float, or ``epsilon`` is negative.

    Notes
    -----
    Source: Ba, Kiros and Hinton 2016. The variance is that of the population (no correction), as the mean square of
    the deviations from the mean: the mean of squares less the squared mean would cancel.
    """
    x = as_tensor(x)
    require_float("layer_norm", x)
    if require_count("layer_norm", "number of axes", axes) > x.ndim:
        raise ShapeError(f"layer_norm: {axes} axes to normalise, but {shown(x)} has {x.ndim}", operands=(x,))
    epsilon = require_epsilon("layer_norm", epsilon)
    over = tuple(range(-axes, 0))
    deviation = x - ops.mean(x, over, keepdims=True)
    variance = ops.mean(ops.square(deviation), over, keepdims=True)
    result = deviation * ops.rsqrt(variance + epsilon)
    if scale is not None:
        result = result * _affine("scale", scale, x, axes)
    return result if bias is None else result + _affine("bias", bias, x, axes)


def _affine(role: str, value: Any, x: Tensor, axes: int) -> Tensor:
    tensor, expected = as_tensor(value, x.dtype), x.shape[x.ndim - axes :]
    if tensor.shape != expected:
        raise ShapeError(
            f"layer_norm: expected a {role} of shape {format_shape(expected)}, got {shown(tensor)}", operands=(tensor,)
        )
    return tensor


class LayerNorm(Layer):
    """:func:`layer_norm` with a learned scale and bias.

    Parameters
    ----------
    axes : int
        How many of the last axes are normalised together.
    epsilon : float
    use_scale, use_bias : bool
    scale_initializer, bias_initializer : callable
        Defaults: ones, zeros.
    name : str, optional

    Notes
    -----
    Input float, its last axes static; scale and bias have their shape. Training and inference are the same.
    """

    def __init__(
        self,
        axes: int = 1,
        *,
        epsilon: float = EPSILON,
        use_scale: bool = True,
        use_bias: bool = True,
        scale_initializer: Initializer = initializers.ones,
        bias_initializer: Initializer = initializers.zeros,
        name: str | None = None,
    ):
        super().__init__(name)
        self.axes = require_count("LayerNorm", "number of axes", axes)
        self.epsilon = require_epsilon("LayerNorm", epsilon)
        self.use_scale = require_bool("LayerNorm", "use_scale", use_scale)
        self.use_bias = require_bool("LayerNorm", "use_bias", use_bias)
        self.scale_initializer, self.bias_initializer = scale_initializer, bias_initializer

    def build(self, x: Tensor) -> None:
        hint = "LayerNorm(axes) is told how many of the last axes to normalise, not their sizes"
        shape = static_sizes("LayerNorm", x, self.axes, hint if self.axes > 1 else None)
        self.scale = self.variable("scale", self.scale_initializer, shape, x.dtype) if self.use_scale else None
        self.bias = self.variable("bias", self.bias_initializer, shape, x.dtype) if self.use_bias else None

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return layer_norm(x, self.scale, self.bias, axes=self.axes, epsilon=self.epsilon)
