"""Layers, activations, losses and initializers for neural networks."""

from graphc.nn import initializers
from graphc.nn.layers import Dense, Dropout, Layer, Sequential
from graphc.ops.composite import (
    gelu,
    leaky_relu,
    log_softmax,
    mean_squared_error,
    sigmoid_cross_entropy,
    silu,
    softmax,
    softmax_cross_entropy,
)
from graphc.ops.elementwise import relu, sigmoid, softplus, tanh

__all__ = [
    "Dense", "Dropout", "Layer", "Sequential", "gelu", "initializers", "leaky_relu", "log_softmax",
    "mean_squared_error", "relu", "sigmoid", "sigmoid_cross_entropy", "silu", "softmax", "softmax_cross_entropy",
    "softplus", "tanh",
]  # fmt: skip
