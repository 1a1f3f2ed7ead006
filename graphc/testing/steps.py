"""The kinds of steps that random graphs are grown by.

Elementwise functions and reductions are taken from the registry: a new op is in from the day it is defined. What could
leave the domain of a function is squashed by ``tanh`` into the range of the op's first sample. All other ops are called
as their samples call them, on the samples' arrays mixed with what is there; functions made of ops are called as
:data:`STRUCTURAL` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY, Control, Op, Reduction
from graphc.ir.types import DTYPES, is_float
from graphc.ops.base import Elementwise
from graphc.testing.cases import as_dtype
from graphc.testing.growing import DIM, Choices, Grower, Step
from graphc.testing.recipes import Body, Recipe, Ref, numbers_in

TAME = frozenset({
    "abs", "asinh", "atan", "ceil", "cos", "erf", "floor", "isfinite", "isinf", "isnan", "negative", "relu", "round",
    "sigmoid", "sign", "signbit", "sin", "tanh", "trunc",
})  # fmt: skip
"""Functions of one number that keep it about as large as it was, and are defined everywhere."""

ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide", "maximum", "minimum"})
"""Functions of two numbers whose operands are not squashed."""


def elementwise_names(arity: int) -> list[str]:
    """The elementwise ops of so many tensors that users can call."""
    found = (op for op in REGISTRY.values() if isinstance(op, Elementwise) and len(op.arguments) == arity)
    return sorted(op.name for op in found if op.public and not any(sample.attributes for sample in op.samples))


def _into_domain(grower: Grower, op: Op, ref: Ref, place: int) -> Ref:
    """A float squashed into the range of the op's first sample; not always, where the op takes any number."""
    if op.name in TAME or not is_float(grower.tensor(ref).dtype):
        return ref
    values = op.samples[0].inputs[place]
    low, high = float(np.min(values)), float(np.max(values))
    if low < -1 and high > 1 and grower.chance(2):
        return ref
    (squashed,) = grower.call("tanh", ref)
    (scaled,) = grower.call("multiply", squashed, (high - low) / 2)
    return grower.call("add", scaled, (high + low) / 2)[0]


def _unary(grower: Grower) -> None:
    op = REGISTRY[grower.choose(elementwise_names(1))]
    grower.call(op.name, _into_domain(grower, op, grower.pick(), 0))


def _binary(grower: Grower) -> None:
    op = REGISTRY[grower.choose(elementwise_names(2))]
    operands = [grower.pick(), grower.pick()]
    if op.name in ARITHMETIC:
        grower.call(op.name, *operands)
    else:
        grower.call(op.name, *(_into_domain(grower, op, ref, place) for place, ref in enumerate(operands)))


def _number(grower: Grower) -> None:
    name = grower.choose(("add", "subtract", "multiply", "divide", "maximum", "minimum", "power"))
    operand = grower.pick()
    scalar = grower.choose((2, 3, 0.5, -1, 1.5, 0))
    grower.call(name, *((operand, scalar) if name == "power" or grower.chance(2) else (scalar, operand)))


def _where(grower: Grower) -> None:
    (condition,) = grower.call(grower.choose(("greater", "less_equal", "equal")), grower.pick(), grower.pick())
    grower.call("where", condition, grower.pick(), grower.pick())


def _reduce(grower: Grower) -> None:
    name = grower.choose(sorted(op.name for op in REGISTRY.values() if isinstance(op, Reduction) and op.public))
    ref = grower.pick()
    rank = grower.tensor(ref).ndim
    one_axis = name in ("argmax", "argmin", "prod") or grower.chance(2)
    axis: Any = grower.integer(-rank, rank - 1) if one_axis and rank else None
    if axis is None and rank > 1 and grower.chance(2):
        axis = tuple(sorted({grower.integer(0, rank - 1) for _ in range(2)}))
    if name == "prod" and is_float(grower.tensor(ref).dtype):
        (ref,) = grower.call("tanh", ref)
    grower.call(name, ref, axis=axis, keepdims=bool(grower.integer(0, 1)))


def _slice(grower: Grower) -> None:
    ref = grower.pick_ranked()
    bounds = (None, None, *range(-4, 5))
    steps = (None, None, 1, 2, -1, -2)
    key = tuple(
        slice(grower.choose(bounds), grower.choose(bounds), grower.choose(steps)) for _ in grower.tensor(ref).shape
    )
    grower.call("getitem", ref, key)


def _product(grower: Grower) -> None:
    left, right = grower.pick_ranked(1, 3), grower.pick_ranked(1, 3)
    a, b = grower.tensor(left), grower.tensor(right)
    if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1] != b.shape[0]:
        (right,) = grower.call("permute_dims", right, (1, 0))
    grower.call("matmul", left, right)


def _cast(grower: Grower) -> None:
    ref, dtype = grower.pick(), grower.choose(DTYPES)
    if is_float(grower.tensor(ref).dtype) and "int" in dtype:  # a float beyond the integers has no value
        (ref,) = grower.call("tanh", ref)
        (ref,) = grower.call("multiply", ref, 5)
        if dtype.startswith("uint"):
            (ref,) = grower.call("abs", ref)
    grower.call("cast", ref, dtype)


def _take(grower: Grower) -> None:
    ref = grower.pick_ranked()
    axis = grower.static_axis(ref)
    size = grower.size(ref, axis)
    indices = [grower.integer(-size, size - 1) for _ in range(grower.integer(1, 4))]
    grower.call("take", ref, np.array(indices), axis=axis)


def _structural(grower: Grower) -> None:
    STRUCTURAL[grower.choose(sorted(STRUCTURAL))](grower)


def _gradient(grower: Grower) -> None:
    """A derivative in the middle, which later steps use and may differentiate again."""
    y = grower.pick_float()
    xs = [number for number, tensor in grower.values.items() if is_float(tensor.dtype) and number < y.number]
    if not xs:
        raise GraphcError("nothing to differentiate by")
    (total,) = grower.call("sum", y)
    grower.call("gradients", total, [Ref(grower.choose(xs))], zeros_for_disconnected=True)


def _sampled(grower: Grower) -> None:
    """Another op as one of its samples calls it; float operands are mixed with a value of the graph."""
    op = REGISTRY[grower.choose(sampled_names())]
    sample = grower.choose(op.samples)
    dtype = grower.choose([name for name in ("float32", "float64") if name in op.dtypes] or [None])
    operands = []
    for array in sample.inputs:
        own = grower.add_input(array.shape, as_dtype(array, dtype).dtype.name, as_dtype(array, dtype))
        if array.dtype.kind == "f" and dtype is not None:
            (mixed,) = grower.call("tanh", _shaped(grower, array.shape))
            (mixed,) = grower.call("multiply", grower.call("cast", mixed, dtype)[0], 0.01)
            (own,) = grower.call("add", own, mixed)
        operands.append(own)
    grower.call(op.name, *operands, **sample.attributes)


def _shaped(grower: Grower, shape: Sequence[int]) -> Ref:
    """A value of that shape, or a scalar made of one."""

    def fits(tensor: Tensor) -> bool:
        return is_float(tensor.dtype) and tensor.shape in (tuple(shape), ())

    try:
        return grower.pick(fits)
    except GraphcError:
        return grower.call("mean", grower.pick_float())[0]


def sampled_names() -> list[str]:
    """Ops that are called as their samples do."""
    return sorted(
        op.name for op in REGISTRY.values()
        if op.public and op.samples and not isinstance(op, (Elementwise, Reduction, Control))
    )  # fmt: skip


def _scan(grower: Grower) -> None:
    """A recurrence of a few drawn calls, one carry, and an output of each iteration."""
    xs = grower.pick_float(1)
    (start,) = grower.call("sum", xs, axis=0)
    (start,) = grower.call("multiply", start, 0)
    first = grower._next()
    inner = Grower(grower)
    inner.values = {**grower.values, first: grower.values[start.number], first + 1: grower.values[start.number]}
    (carry,) = inner.call("add", Ref(first), Ref(first + 1))
    for _ in range(grower.integer(0, 3)):
        inner.grow(BODY_STEPS)
    kind = grower.values[start.number].type
    (carry,) = inner.call("tanh", inner.pick_type(kind))
    y = inner.pick(lambda tensor: True)
    body = Body((first, first + 1), tuple(inner.calls), (carry, y))
    grower.call("scan", body, start, xs, reverse=bool(grower.integer(0, 1)))


def _variable(grower: Grower) -> None:
    """A variable; two at most."""
    if sum(call.function == "variable" for call in grower.calls) == 2:
        raise GraphcError("there are two variables")
    shape = tuple(grower.choose((1, 2, 3, 5)) for _ in range(grower.integer(0, 2)))
    generator = np.random.default_rng(grower.integer(0, 2**31))
    grower.call("variable", generator.normal(size=shape).astype(grower.choose(("float32", "float64"))))


def _directional(grower: Grower) -> None:
    """Derivatives of other forms than a gradient."""
    x = grower.pick_float()
    reached = [number for number in grower.values if number > x.number and is_float(grower.values[number].dtype)]
    if not reached:
        raise GraphcError("nothing is made of it")
    y = Ref(grower.choose(reached))
    name = grower.choose(("jvp", "hvp", "jacobian", "hessian"))
    if name in ("hvp", "hessian"):
        (y,) = grower.call("sum", y)
    grower.call(name, y, x, *([x] if name in ("jvp", "hvp") else []))


def _random(grower: Grower) -> None:
    shape = grower.tensor(grower.pick()).shape
    grower.call(f"random.{grower.choose(('uniform', 'normal'))}", shape)


# --- functions made of ops, and ops whose arguments depend on shapes -------------------------------------------------


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


def _indices(grower: Grower, size: int, like: Ref) -> Ref:
    """Indices of a size, of the shape of a value, made of its numbers."""
    (whole,) = grower.call("cast", grower.call("multiply", grower.call("tanh", like)[0], 9)[0], "int64")
    return grower.call("remainder", whole, size)[0]


def _one_hot(grower: Grower) -> None:
    grower.call("one_hot", _indices(grower, 5, grower.pick_float()), 5)


def _gathered(grower: Grower) -> None:
    ref = grower.pick_ranked()
    axis = grower.static_axis(ref)
    indices = _indices(grower, grower.size(ref, axis), grower.pick_float())
    grower.call("take", ref, indices, axis=axis)


def _gathered_along(grower: Grower) -> None:
    ref = grower.pick_float(1)
    axis = grower.static_axis(ref)
    indices = _indices(grower, grower.size(ref, axis), ref)
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
    "running": _running, "clip": _clip, "cross_entropy": _cross_entropy, "attention": _attention,
}  # fmt: skip
"""By name, so that a report can say which were reached."""

BODY_STEPS: tuple[Step, ...] = (_unary, _binary, _binary, _number, _where, _reduce, _product, _slice, _structural)
STEPS: tuple[Step, ...] = (
    *[_unary] * 4, *[_binary] * 5, *[_number] * 2, _where, *[_reduce] * 2, _slice, *[_product] * 2, _cast, _take,
    *[_structural] * 8, _gradient, _sampled, _sampled, _scan, _random, _variable, _directional,
)  # fmt: skip


# --- whole graphs ---------------------------------------------------------------------------------------------------


def grown(choices: Choices, most_calls: int, derivatives: bool = True) -> Recipe:
    """A random graph of up to so many calls, and derivatives among its outputs half of the time."""
    grower = Grower(choices)
    grower.start()
    wanted = grower.integer(1, most_calls)
    for _ in range(2 * wanted):
        if len(grower.calls) >= wanted:
            break
        grower.grow(STEPS)
    read = set(numbers_in([[call.arguments, dict(call.keywords)] for call in grower.calls]))
    unread = [number for number in sorted(grower.values) if number not in read]
    outputs = [Ref(number) for number in unread[-choices.integer(1, 6) :]]
    if derivatives and grower.chance(2):
        inputs = [Ref(number) for number in grower.inputs if is_float(grower.values[number].dtype)]
        smooth = [ref for ref in outputs if is_float(grower.tensor(ref).dtype)]
        if inputs and smooth:
            (total,) = grower.call("sum", smooth[-1])
            with suppress(GraphcError):  # a function without derivative lies on the way
                outputs += grower.call("gradients", total, inputs, zeros_for_disconnected=True)
    return grower.recipe(outputs, _updates(grower))


def _updates(grower: Grower) -> list[tuple[Ref, Ref]]:
    """New values of the variables: of their types, or the old ones with something added."""
    made = []
    for number in [call.results[0] for call in grower.calls if call.function == "variable"]:
        kind = grower.values[number].type
        try:
            value = grower.pick_type(kind)
            if value.number == number:
                (value,) = grower.call("add", Ref(number), grower.call("cast", _shaped(grower, ()), kind.dtype.name)[0])
        except GraphcError:
            continue
        made.append((Ref(number), value))
    return made
