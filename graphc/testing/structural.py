"""Steps of random graphs that call functions made of ops, and ops whose arguments depend on shapes.

:data:`STRUCTURAL` says by name how each is called: with which operands of those that are there, and which literals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.types import TensorType, is_float
from graphc.testing.growing import DIM, Grower, Step
from graphc.testing.recipes import Ref


def _along(name: str, *, floats: bool = False, keepdims: bool = False, **options: Any) -> Step:
    """A call with an axis."""

    def step(grower: Grower) -> None:
        ref = grower.pick_float(1) if floats else grower.pick_ranked()
        extra = {"keepdims": bool(grower.integer(0, 1))} if keepdims else {}
        grower.call(name, ref, axis=grower.axis(ref), **extra, **options)

    return step


def _of_one(name: str, *arguments: Any, least: int = 0, floats: bool = False) -> Step:
    """A call of one value and literals."""

    def step(grower: Grower) -> None:
        grower.call(name, grower.pick_float(least) if floats else grower.pick_ranked(least), *arguments)

    return step


def _of_two(name: str, least: int = 0, floats: bool = True) -> Step:
    """A call of two values of one type."""

    def step(grower: Grower) -> None:
        first = grower.pick_float(least) if floats else grower.pick_ranked(least)
        kind = grower.tensor(first).type
        grower.call(name, first, grower.pick_type(kind))

    return step


def _permute(grower: Grower) -> None:
    ref = grower.pick_ranked()
    order = list(range(grower.tensor(ref).ndim))
    for last in range(len(order) - 1, 0, -1):
        other = grower.integer(0, last)
        order[last], order[other] = order[other], order[last]
    grower.call("permute_dims", ref, tuple(order))


def _reshape(grower: Grower) -> None:
    ref = grower.pick_ranked(0)
    shape = grower.tensor(ref).shape
    grower.call("reshape", ref, grower.choose(((-1,), (1, *map(_size, shape)), (*map(_size, shape[::-1]),))))


def _size(size: Any) -> Any:
    return size if isinstance(size, int) else str(size)


def _concat(grower: Grower) -> None:
    first = grower.pick_ranked()
    kind = grower.tensor(first).type
    others = [grower.pick_type(kind) for _ in range(grower.integer(0, 3))]
    grower.call(grower.choose(("concat", "stack")), [first, *others], axis=grower.axis(first))


def _pad(grower: Grower) -> None:
    ref = grower.pick_ranked()
    widths = [(grower.integer(0, 2), grower.integer(0, 2)) for _ in grower.tensor(ref).shape]
    grower.call("pad", ref, widths)


def _swap(grower: Grower) -> None:
    ref = grower.pick_ranked(2)
    grower.call(grower.choose(("swapaxes", "moveaxis")), ref, grower.axis(ref), grower.axis(ref))


def _broadcast(grower: Grower) -> None:
    ref = grower.pick_ranked(0, 3)
    grower.call("broadcast_to", ref, (grower.choose((1, 2, 3, DIM)), *map(_size, grower.tensor(ref).shape)))


def _roll(grower: Grower) -> None:
    ref = grower.pick_ranked()
    grower.call("roll", ref, grower.integer(-4, 4), axis=grower.axis(ref))


def _repeat(grower: Grower) -> None:
    ref = grower.pick_ranked()
    grower.call("repeat", ref, grower.integer(1, 3), axis=grower.axis(ref))


def _tile(grower: Grower) -> None:
    ref = grower.pick_ranked()
    grower.call("tile", ref, tuple(grower.integer(1, 2) for _ in grower.tensor(ref).shape))


def _triangle(grower: Grower) -> None:
    grower.call(grower.choose(("tril", "triu", "diagonal", "trace")), grower.pick_ranked(2), grower.integer(-2, 2))


def _parts(grower: Grower) -> None:
    ref = grower.pick_ranked()
    axis = grower.static_axis(ref)
    if grower.chance(2):
        grower.call("unstack", ref, axis=axis)
    else:
        grower.call("split", ref, [grower.integer(0, grower.size(ref, axis))], axis=axis)


def _einsum(grower: Grower) -> None:
    left, right = grower.pick_ranked(1, 3), grower.pick_ranked(1, 3)
    by_size: dict[Any, list[str]] = {}
    letters = iter("abcdef")
    labels = []
    for ref in (left, right):
        own = ""
        for size in grower.tensor(ref).shape:
            known = [letter for letter in by_size.get(size, []) if letter not in own]
            if not known or grower.chance(3):
                known = [next(letters)]
                by_size.setdefault(size, []).extend(known)
            own += grower.choose(known)
        labels.append(own)
    present = sorted(set("".join(labels)))
    out = "".join(letter for letter in present if grower.chance(2))
    grower.call("einsum", f"{labels[0]},{labels[1]}->{out}", left, right)


def _sorted(grower: Grower) -> None:
    ref = grower.pick_ranked()
    grower.call(grower.choose(("sort", "argsort")), ref, axis=grower.axis(ref), descending=bool(grower.integer(0, 1)))


def _top(grower: Grower) -> None:
    ref = grower.pick_ranked()
    axis = grower.static_axis(ref)
    grower.call("top_k", ref, grower.integer(1, grower.size(ref, axis)), axis=axis)


def _indices(grower: Grower, size: int, like: Ref, negative: bool = False) -> Ref:
    """Indices of a size, of the shape of a value, made of its numbers; of several dtypes, and counted from the end."""
    (whole,) = grower.call("cast", grower.call("multiply", grower.call("tanh", like)[0], 9)[0], "int64")
    (places,) = grower.call("remainder", whole, size)
    if not grower.chance(3):
        return places
    if negative and grower.chance(2):
        (places,) = grower.call("subtract", places, size)
        return grower.call("cast", places, grower.choose(("int16", "int32")))[0]
    return grower.call("cast", places, grower.choose(("uint8", "int32", "uint64")))[0]


def _one_hot(grower: Grower) -> None:
    grower.call("one_hot", _indices(grower, 5, grower.pick_float()), 5)


def _gathered(grower: Grower) -> None:
    ref = grower.pick_ranked()
    axis = grower.static_axis(ref)
    indices = _indices(grower, grower.size(ref, axis), grower.pick_float(), negative=True)
    grower.call("take", ref, indices, axis=axis)


def _gathered_along(grower: Grower) -> None:
    ref = grower.pick_float(1)
    axis = grower.static_axis(ref)
    indices = _indices(grower, grower.size(ref, axis), ref, negative=True)
    grower.call("take_along_axis", ref, indices, axis=axis)


def _scattered(grower: Grower) -> None:
    ref = grower.pick_float(1)
    axis = grower.static_axis(ref)
    places = grower.integer(1, 4)
    indices = np.array([grower.integer(0, grower.size(ref, axis) - 1) for _ in range(places)])
    (updates,) = grower.call("take", ref, indices[::-1].copy(), axis=axis)
    name = grower.choose(("scatter_add", "scatter_max", "scatter_min", "scatter_set"))
    grower.call(name, ref, indices, updates, axis=axis)


def _running(grower: Grower) -> None:
    ref = grower.pick_ranked()
    name = grower.choose(("cumulative_sum", "cumulative_prod"))
    if name == "cumulative_prod" and is_float(grower.tensor(ref).dtype):
        (ref,) = grower.call("tanh", ref)
    grower.call(name, ref, axis=grower.axis(ref))


def _clip(grower: Grower) -> None:
    grower.call("clip", grower.pick(lambda tensor: tensor.dtype.kind != "b"), -1, 2)


def _cross_entropy(grower: Grower) -> None:
    logits = grower.pick_float(1)
    tensor = grower.tensor(logits)
    if not isinstance(tensor.shape[-1], int) or not tensor.shape[-1]:
        raise GraphcError("the number of classes must be static")
    labels = _indices(grower, tensor.shape[-1], grower.call("sum", logits, axis=-1)[0])
    grower.call("nn.softmax_cross_entropy", logits, labels)


def _attention(grower: Grower) -> None:
    query = grower.pick_float(2)
    kind = grower.tensor(query).type
    key, value = grower.pick_type(kind), grower.pick_type(kind)
    grower.call("nn.scaled_dot_product_attention", query, key, value, causal=bool(grower.integer(0, 1)))


def _norm(grower: Grower) -> None:
    name = grower.choose(("vector_norm", "matrix_norm"))
    ref = grower.pick_float(1 if name == "vector_norm" else 2)
    ord = grower.choose((1, 2, 3.5, np.inf, -np.inf, 0) if name == "vector_norm" else ("fro", 1, np.inf, -1))
    keywords = {"axis": grower.axis(ref)} if name == "vector_norm" else {}
    grower.call(name, ref, ord=ord, keepdims=bool(grower.integer(0, 1)), **keywords)


def _quantile(grower: Grower) -> None:
    ref = grower.pick_float(1)
    if grower.chance(2):
        grower.call("median", ref, axis=grower.axis(ref))
    else:
        method = grower.choose(("linear", "lower", "higher", "midpoint", "nearest"))
        grower.call("quantile", ref, grower.choose((0.0, 0.3, 0.5, 1.0)), axis=grower.axis(ref), method=method)


def _tensordot(grower: Grower) -> None:
    left, right = grower.pick_ranked(1, 3), grower.pick_ranked(1, 3)
    pairs = [
        (p, q)
        for p, size in enumerate(grower.tensor(left).shape)
        for q, other in enumerate(grower.tensor(right).shape)
        if size == other
    ]
    axes = grower.choose([0, *(([p], [q]) for p, q in pairs)])
    grower.call("tensordot", left, right, axes)


def _cross(grower: Grower) -> None:
    first = grower.pick(lambda tensor: 3 in tensor.shape and tensor.dtype.kind in "if")
    axis = grower.tensor(first).shape.index(3)
    grower.call("cross", first, grower.pick_type(grower.tensor(first).type), axis=axis)


def _made(grower: Grower) -> None:
    """A tensor made of numbers alone."""
    size = grower.choose((0, 1, 3, 5))
    dtype = grower.choose(("float32", "float64", "int32", "int64"))
    name = grower.choose(("arange", "linspace", "eye", "zeros", "ones", "full"))
    arguments: dict[str, tuple[Any, ...]] = {
        "arange": (grower.integer(-3, 3), grower.integer(0, 9), grower.choose((1, 2, -1))),
        "linspace": (grower.choose((0, -1.5)), grower.choose((2, 7.25)), size),
        "eye": (size, grower.choose((None, 2)), grower.integer(-2, 2)),
        "full": ((size, 2), 3),
    }
    grower.call(name, *arguments.get(name, ((2, size),)), dtype=dtype)


def _diag(grower: Grower) -> None:
    grower.call("diag", grower.pick_ranked(1, 2), grower.integer(-2, 2))


def _together(grower: Grower) -> None:
    """Functions of several tensors that return several."""
    if grower.chance(2):
        vectors = [grower.pick_ranked(1, 1) for _ in range(grower.integer(1, 2))]
        grower.call("meshgrid", *vectors, indexing=grower.choose(("xy", "ij")))
    else:
        grower.call("broadcast_arrays", grower.pick(), grower.pick())


def _size_of(grower: Grower) -> None:
    ref = grower.pick_ranked()
    grower.call("size_of", ref, grower.choose((None, grower.axis(ref))))


def _power(grower: Grower) -> None:
    grower.call("pow", grower.call("tanh", grower.pick_float())[0], grower.choose((0, 1, 2, 3, -1)))


def _reciprocal(grower: Grower) -> None:
    (small,) = grower.call("tanh", grower.pick_float())
    grower.call("reciprocal", grower.call("add", small, grower.choose((2, -3)))[0])


def _prelu(grower: Grower) -> None:
    ref = grower.pick_float()
    grower.call("prelu", ref, grower.call("mean", grower.pick_float())[0])


def _segments(grower: Grower) -> None:
    data = grower.pick_float(1)
    tensor = grower.tensor(data)
    rest = tuple(range(1, tensor.ndim))
    ids = _indices(grower, 3, grower.call("sum", data, axis=rest)[0] if rest else data)
    grower.call(f"segment_{grower.choose(('sum', 'mean', 'max', 'min'))}", data, ids, 3)


def _counted(grower: Grower) -> None:
    ref = grower.pick_float(1)
    if grower.chance(2):
        grower.call("bincount", _indices(grower, 5, ref), grower.choose((None, ref)), 5)
    else:
        grower.call("histogram", ref, 4, (-1.5, 2.5), grower.choose((None, ref)))


def _searched(grower: Grower) -> None:
    (ordered,) = grower.call("sort", grower.pick(lambda tensor: tensor.ndim == 1 and tensor.dtype.kind in "if"))
    values = grower.pick(lambda tensor: tensor.dtype == grower.tensor(ordered).dtype)
    grower.call("searchsorted", ordered, values, side=grower.choose(("left", "right")))


def _gathered_nd(grower: Grower) -> None:
    ref = grower.pick_ranked(1, 3)
    axis = grower.static_axis(ref)
    (moved,) = grower.call("moveaxis", ref, axis, 0)
    indices = _indices(grower, grower.size(moved, 0), grower.pick_float())
    grower.call("gather_nd", moved, grower.call("expand_dims", indices, axis=-1)[0])


def _put_along(grower: Grower) -> None:
    """Into a tensor at places that are all different, or not."""
    ref = grower.pick_float(1)
    axis = grower.static_axis(ref)
    if grower.chance(2):
        indices = _indices(grower, grower.size(ref, axis), ref)
    else:
        (indices,) = grower.call("argsort", ref, axis=axis)
    values = grower.pick_type(grower.tensor(ref).type)
    grower.call("put_along_axis", ref, indices, values, axis=axis)


def _einsum_of_many(grower: Grower) -> None:
    """Three operands in a chain, or one on its diagonal."""
    first = grower.pick_ranked(2, 2)
    tensor = grower.tensor(first)
    turned = TensorType(tensor.shape[::-1], tensor.dtype)
    if tensor.shape[0] == tensor.shape[1] and grower.chance(2):
        grower.call("einsum", grower.choose(("ii->i", "ii->")), first)
        return
    second = grower.pick_type(turned)
    spec = grower.choose(("ab,bc,cd->ad", "ab,ba,ab->", "ab,bc,cd->bd", "ab,ba,ab->b"))
    grower.call("einsum", spec, first, second, first)


def _drawn(grower: Grower) -> None:
    """Random numbers of all distributions."""
    ref = grower.pick()
    shape = grower.tensor(ref).shape
    name = grower.choose(("bernoulli", "exponential", "gumbel", "laplace", "randint", "truncated_normal"))
    if name == "bernoulli":
        grower.call("random.bernoulli", 0.3, shape)
    elif name == "randint":
        grower.call("random.randint", shape, -2, 5)
    else:
        grower.call(f"random.{name}", shape, dtype=grower.choose(("float32", "float64")))


def _drawn_from(grower: Grower) -> None:
    """Random choices among what is there."""
    ref = grower.pick_float(1)
    name = grower.choose(("categorical", "choice", "permutation", "dropout"))
    if name == "dropout":
        grower.call("nn.dropout", ref, 0.3)
    elif name == "choice":
        grower.call("random.choice", ref, (3,), axis=grower.static_axis(ref))
    else:
        grower.call(f"random.{name}", ref, axis=grower.static_axis(ref))


def _linear_algebra(grower: Grower) -> None:
    """Functions of positive definite matrices, whose results do not depend on the routine."""
    first = grower.pick(lambda tensor: is_float(tensor.dtype) and tensor.ndim >= 2 and tensor.shape[-1] in SMALL)
    (bounded,) = grower.call("tanh", first)
    (turned,) = grower.call("matrix_transpose", bounded)
    width = grower.size(first, grower.tensor(first).ndim - 1)
    (unit,) = grower.call("eye", width, dtype=grower.tensor(first).dtype.name)
    (matrix,) = grower.call("add", grower.call("matmul", turned, bounded)[0], unit)
    name = grower.choose(("cholesky", "inv", "det", "slogdet", "eigvalsh", "svdvals", "solve", "matrix_power", "pinv"))
    if name == "solve":
        grower.call("linalg.solve", matrix, turned)
    elif name == "matrix_power":
        grower.call("linalg.matrix_power", matrix, grower.choose((0, 2, 3, -1)))
    else:
        grower.call(f"linalg.{name}", matrix)


def _polygamma(grower: Grower) -> None:
    """Where the function is tame: between 1 and 5."""
    (bounded,) = grower.call("tanh", grower.pick_float())
    (raised,) = grower.call("add", grower.call("multiply", bounded, 2.0)[0], 3.0)
    grower.call("polygamma", grower.integer(0, 4), raised)


def _factors(grower: Grower) -> None:
    """Factors of a matrix whose singular values are far apart, so that they are determined but for LAPACK's choices."""
    first = grower.pick(lambda tensor: tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2] in SMALL)
    tensor = grower.tensor(first)
    (bounded,) = grower.call("multiply", grower.call("tanh", first)[0], 0.1)
    width = grower.size(first, tensor.ndim - 1)
    (matrix,) = grower.call("add", bounded, np.diag(np.arange(1.0, width + 1)).astype(grower.tensor(bounded).dtype))
    factors = grower.call(f"linalg.{grower.choose(('qr', 'svd', 'eigh'))}", matrix)
    if grower.calls[-1].function != "linalg.qr":  # vectors have either sign: nothing else may see it
        for vectors in (factor for factor in factors if grower.tensor(factor).ndim == tensor.ndim):
            grower.call("abs", vectors)
            del grower.values[vectors.number]


SMALL = (1, 2, 3, 5)
"""Sizes of matrices of linear algebra."""

STRUCTURAL: dict[str, Step] = {
    "any": _along("any", keepdims=True), "all": _along("all", keepdims=True),
    "count_nonzero": _along("count_nonzero", keepdims=True), "mean": _along("mean", keepdims=True),
    "var": _along("var", keepdims=True), "std": _along("std", keepdims=True), "norm": _along("norm", floats=True),
    "softmax": _along("softmax", floats=True), "log_softmax": _along("log_softmax", floats=True),
    "logsumexp": _along("logsumexp", floats=True, keepdims=True), "diff": _along("diff"), "flip": _along("flip"),
    "expand_dims": _along("expand_dims"), "squeeze": _of_one("squeeze"),
    "matrix_transpose": _of_one("matrix_transpose", least=2),
    "gelu": _of_one("gelu", floats=True), "elu": _of_one("elu", floats=True), "silu": _of_one("silu", floats=True),
    "leaky_relu": _of_one("leaky_relu", floats=True), "layer_norm": _of_one("nn.layer_norm", least=1, floats=True),
    "zeros_like": _of_one("zeros_like"), "full_like": _of_one("full_like", 3),
    "stop_gradient": _of_one("stop_gradient"),
    "huber": _of_two("huber_loss"), "mse": _of_two("mean_squared_error"), "outer": _of_two("outer", 1),
    "vecdot": _of_two("vecdot", 1), "bce": _of_two("sigmoid_cross_entropy"), "permute": _permute, "reshape": _reshape,
    "concat": _concat, "pad": _pad, "swap": _swap, "broadcast": _broadcast, "roll": _roll, "repeat": _repeat,
    "tile": _tile, "triangle": _triangle, "parts": _parts, "einsum": _einsum, "sort": _sorted, "top_k": _top,
    "one_hot": _one_hot, "gathered": _gathered, "gathered_along": _gathered_along, "scattered": _scattered,
    "isinf": _of_one("isinf", floats=True), "isfinite": _of_one("isfinite", floats=True),
    "positive": _of_one("positive"), "ones_like": _of_one("ones_like"), "mae": _of_two("mean_absolute_error"),
    "kron": _of_two("kron"), "norms": _norm, "quantile": _quantile, "tensordot": _tensordot, "cross": _cross,
    "made": _made, "diag": _diag, "together": _together, "size_of": _size_of, "pow": _power,
    "reciprocal": _reciprocal, "prelu": _prelu, "segments": _segments, "counted": _counted, "searched": _searched,
    "gathered_nd": _gathered_nd, "put_along": _put_along, "einsum_of_many": _einsum_of_many, "drawn": _drawn,
    "drawn_from": _drawn_from, "running": _running, "clip": _clip, "cross_entropy": _cross_entropy,
    "attention": _attention, "linear_algebra": _linear_algebra, "polygamma": _polygamma, "factors": _factors,
}  # fmt: skip
"""By name, so that a report can say which were reached."""

