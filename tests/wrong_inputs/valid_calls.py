"""A call of every public function that is right, from which the wrong ones are made.

``float32(2, 3)`` stands for a placeholder of that dtype and shape. A new function has to be named here; elementwise ops
have their calls from their number of operands and their dtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphc
from graphc import linalg, nn, ops, random
from graphc.ops.base import Elementwise

REDUCTIONS = ("sum", "prod", "max", "min", "argmax", "argmin", "all", "any", "count_nonzero", "logsumexp", "mean",
              "std", "var", "median", "norm", "vector_norm", "flip", "softmax", "log_softmax", "cumulative_sum",
              "cumulative_prod", "sort", "argsort", "unstack", "size_of", "expand_dims")  # fmt: skip
ONE_OPERAND = (
    "elu", "gelu", "isfinite", "isinf", "leaky_relu", "reciprocal", "silu", "stop_gradient", "positive", "empty_like",
    "ones_like", "zeros_like", "matrix_transpose", "tril", "triu", "diag", "diagonal", "trace", "matrix_norm",
    "argwhere", "flatnonzero", "nonzero", "unique", "permute_dims", "histogram",
)  # fmt: skip
TWO_OPERANDS = (
    "huber_loss", "mean_absolute_error", "mean_squared_error", "prelu", "sigmoid_cross_entropy", "kron", "vecdot",
    "broadcast_arrays",
)  # fmt: skip

VALID: dict[str, str] = {
    **dict.fromkeys(REDUCTIONS, "float32(2, 3), axis=1"),
    **dict.fromkeys(ONE_OPERAND, "float32(2, 3)"),
    **dict.fromkeys(TWO_OPERANDS, "float32(2, 3), float32(2, 3)"),
    "where": "boolean(2, 3), float32(2, 3), float32(2, 3)",
    "cast": "float32(2, 3), 'int64'",
    "astype": "float32(2, 3), 'int64'",
    "asarray": "[1.0, 2.0]",
    "broadcast_to": "float32(3), (2, 3)",
    "reshape": "float32(2, 3), (3, 2)",
    "pad": "float32(2, 3), ((1, 1), (0, 2))",
    "concat": "float32(2, 3), float32(4, 3), axis=0",
    "stack": "[float32(2, 3), float32(2, 3)], axis=0",
    "take": "float32(4, 3), int64(2), axis=0",
    "take_along_axis": "float32(2, 3), int64(2, 1), axis=1",
    "put_along_axis": "float32(2, 3), int64(2, 1), float32(2, 1), axis=1",
    "gather_nd": "float32(4, 3), int64(5, 2)",
    "one_hot": "int64(4), 3",
    "placeholder": "'x', (2, 3)",
    "variable": "[1.0, 2.0], name='v'",
    "constant": "[1.0, 2.0]",
    "assign": "weights(2, 3), float32(2, 3)",
    "roll": "float32(2, 3), 1, axis=0",
    "tile": "float32(2, 3), (2, 1)",
    "repeat": "float32(2, 3), 2, axis=0",
    "meshgrid": "float32(2), float32(3)",
    "diff": "float32(4, 3), n=1, axis=0",
    **{f"scatter_{name}": "float32(4, 3), int64(2), float32(2, 3), axis=0" for name in ("add", "max", "min", "set")},
    "matmul": "float32(2, 3), float32(3, 4)",
    "outer": "float32(2), float32(3)",
    "tensordot": "float32(2, 3), float32(3, 4), axes=1",
    "cross": "float32(2, 3), float32(2, 3), axis=1",
    "einsum": "'ij,jk->ik', float32(2, 3), float32(3, 4)",
    "top_k": "float32(2, 3), 2, axis=1",
    "arange": "0, 10, 2",
    "empty": "(2, 3)",
    "zeros": "(2, 3)",
    "ones": "(2, 3)",
    "full": "(2, 3), 1.5",
    "full_like": "float32(2, 3), 1.5",
    "eye": "3, 4",
    "linspace": "0.0, 1.0, 5",
    "moveaxis": "float32(2, 3), 0, 1",
    "swapaxes": "float32(2, 3), 0, 1",
    "split": "float32(2, 4), 2, axis=1",
    "squeeze": "float32(2, 1), axis=1",
    "clip": "float32(2, 3), 0.0, 1.0",
    "softmax_cross_entropy": "float32(2, 3), int64(2), axis=1",
    "quantile": "float32(2, 3), 0.5, axis=1",
    "polygamma": "1, float32(2, 3)",
    "scan": "lambda carry, x: (carry + x, carry), float32(), float32(3)",
    "cond": "boolean(), lambda x: x + 1, lambda x: x * 2, float32(2)",
    "while_loop": "lambda x: x < 10, lambda x: x * 2, float32(), max_iterations=5",
    "bincount": "int64(5), length=3",
    **{f"segment_{name}": "float32(5, 2), int64(5), 3" for name in ("max", "mean", "min", "sum")},
    "searchsorted": "float32(5), float32(2)",
    "custom_gradient": "lambda x: x * 2, lambda g, x: g",
    "gradients": "graphc.sum(W * 2), W",
    "hessian": "graphc.sum(W * W), W",
    "hvp": "graphc.sum(W * W), W, float32(2)",
    "jacobian": "W * W, W",
    "jvp": "W * W, W, float32(2)",
    # graphc.linalg
    **{f"linalg.{name}": "float32(3, 3)" for name in (
        "cholesky", "cond", "det", "diagonal", "eigh", "eigvalsh", "inv", "matrix_norm", "matrix_rank",
        "matrix_transpose", "pinv", "qr", "slogdet", "svd", "svdvals", "trace",
    )},
    "linalg.matrix_power": "float32(3, 3), 2",
    "linalg.solve": "float32(3, 3), float32(3, 2)",
    "linalg.solve_triangular": "float32(3, 3), float32(3, 2)",
    # graphc.random
    "random.bernoulli": "float32(2, 3)",
    "random.categorical": "float32(2, 3), axis=1",
    "random.choice": "5, (2,)",
    **{f"random.{name}": "(2, 3)" for name in ("exponential", "gumbel", "laplace", "normal", "truncated_normal",
                                               "uniform")},
    "random.permutation": "float32(2, 3)",
    "random.randint": "(2, 3), 0, 10",
    # graphc.nn
    "nn.Dense": "3 | float32(2, 4)",
    "nn.Dropout": "0.5 | float32(2, 4), training=True",
    "nn.Embedding": "10, 4 | int64(2, 3)",
    "nn.Layer": "",
    "nn.LayerNorm": "1 | float32(2, 4)",
    "nn.MultiHeadAttention": "2 | float32(2, 3, 4)",
    "nn.PositionEmbedding": "5 | float32(2, 3, 4)",
    "nn.Sequential": "nn.Dense(3), graphc.tanh | float32(2, 4)",
    "nn.TransformerBlock": "2 | float32(2, 3, 4)",
    "nn.dropout": "float32(2, 3), 0.5",
    "nn.layer_norm": "float32(2, 3), float32(3), float32(3)",
    "nn.scaled_dot_product_attention": "float32(2, 3, 4), float32(2, 5, 4), float32(2, 5, 4), boolean(2, 3, 5)",
}  # fmt: skip
"""Arguments by name. A layer's own are followed by those of its call, behind a bar."""

MODULES = {"linalg": linalg, "random": random, "nn": nn}


def public_functions() -> dict[str, Callable[..., Any]]:
    """Every public function by the name that calls show: ``sum``, ``linalg.solve``. One function has one name."""
    found = dict(ops.FUNCTIONS)
    known = {id(function) for function in found.values()}
    for prefix, module in MODULES.items():
        for name in getattr(module, "__all__", ()):
            function = getattr(module, name)
            if callable(function) and id(function) not in known and not isinstance(function, type(graphc)):
                if isinstance(function, type) and issubclass(function, Exception):
                    continue
                found[f"{prefix}.{name}"] = function
                known.add(id(function))
    names: dict[int, str] = {}
    return {names.setdefault(id(function), name): function for name, function in found.items()}


def valid_call(name: str, function: Callable[..., Any]) -> str:
    """The source of a call that is right.

    Raises
    ------
    KeyError
        For a function that :data:`VALID` does not know.
    """
    path = name if "." in name else f"graphc.{name}"
    if name not in VALID and isinstance(function, Elementwise):
        operand = "float32(2, 3)" if "float32" in function.dtypes else "int64(2, 3)"
        return f"{path}({', '.join([operand] * len(function.arguments))})"
    made, _, called = VALID[name].partition(" | ")
    return f"{path}({made})" + (f"({called})" if called else "")
