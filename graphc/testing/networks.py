"""Steps of random graphs that call what networks are made of: layers, with variables of their own, and optimizers.

A layer is made and called at once, so it stands in no body: those may be traced more than once.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcError
from graphc.testing.growing import DIM, Grower, Step

LAYERS: dict[str, dict[str, Any]] = {
    "nn.Dense": {"units": 3},
    "nn.LayerNorm": {},
    "nn.Dropout": {"rate": 0.3},
    "nn.PositionEmbedding": {"length": 40},
    "nn.MultiHeadAttention": {"heads": 1, "causal": True},
    "nn.TransformerBlock": {"heads": 1, "hidden": 4},
}
"""And their options; one head divides any width."""

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "optim.SGD": {},
    "optim.Momentum": {"beta": 0.5, "nesterov": True},
    "optim.RMSProp": {},
    "optim.Adam": {},
}
"""And their options beside the learning rate."""


def _layer(grower: Grower) -> None:
    name = grower.choose(sorted(LAYERS))
    wide = "Attention" in name or "Block" in name or "Position" in name
    ref = grower.pick_float(2 if wide else 1)
    grower.call(name, ref, name=f"layer{grower.next_number()}", **LAYERS[name])


def _embedding(grower: Grower) -> None:
    """Rows of a table, by numbers that the graph computes."""
    ref = grower.pick_ranked(0, 2)
    (score,) = grower.call("tanh", grower.call("cast", ref, "float32")[0])
    (place,) = grower.call("floor", grower.call("multiply", grower.call("abs", score)[0], 4.5)[0])
    (index,) = grower.call("cast", place, grower.choose(("int32", "int64")))
    grower.call("nn.Embedding", index, vocabulary=5, width=3, name=f"layer{grower.next_number()}")


def _optimizer(grower: Grower) -> None:
    """What a step down a loss assigns to its variables, and to the optimizer's own, which no other may share."""
    if any(call.function in OPTIMIZERS for call in grower.calls):
        raise GraphcError("there is an optimizer")
    (loss,) = grower.call("mean", grower.call("tanh", grower.pick_float())[0])
    name = grower.choose(sorted(OPTIMIZERS))
    grower.call(name, loss, learning_rate=0.1, **OPTIMIZERS[name])


def _network(grower: Grower) -> None:
    """Two dense layers on a new input."""
    ref = grower.add_input([DIM, 3], grower.choose(("float32", "float64")))
    for _ in range(2):
        (ref,) = grower.call("nn.Dense", ref, units=grower.choose((2, 3, 17)), name=f"layer{grower.next_number()}")
        (ref,) = grower.call(grower.choose(("tanh", "relu", "gelu")), ref)


NETWORK_STEPS: tuple[Step, ...] = (_layer, _layer, _embedding, _network, _optimizer, _optimizer)
