"""Layers, activations, losses and initializers for neural networks."""

from typing import TYPE_CHECKING, Any

from graphc.ir import callers
from graphc.nn import initializers
from graphc.nn.attention import MultiHeadAttention, TransformerBlock, scaled_dot_product_attention
from graphc.nn.embedding import Embedding, PositionEmbedding
from graphc.nn.layers import Dense, Dropout, Layer, Sequential, dropout
from graphc.nn.normalization import LayerNorm, layer_norm
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
    "Dense", "Dropout", "Embedding", "Layer", "LayerNorm", "MultiHeadAttention", "PositionEmbedding", "Sequential",
    "TransformerBlock", "dropout", "gelu", "initializers", "layer_norm", "leaky_relu", "log_softmax",
    "mean_squared_error", "relu", "scaled_dot_product_attention", "sigmoid", "sigmoid_cross_entropy", "silu", "softmax",
    "softmax_cross_entropy", "softplus", "tanh",
]  # fmt: skip

callers.know(
    {
        "dropout": dropout,
        "layer_norm": layer_norm,
        "scaled_dot_product_attention": scaled_dot_product_attention,
    }
)
for _layer in (
    Dense, Dropout, Embedding, LayerNorm, MultiHeadAttention, PositionEmbedding, Sequential, TransformerBlock, Layer
):  # fmt: skip
    callers.know_objects(_layer.__init__)
callers.know_objects(Layer.__call__)


if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there

    def __getattr__(name: str) -> Any:
        from graphc.foreign import missing

        raise missing(__name__, name)


def __dir__() -> list[str]:
    return list(__all__)
