"""The kinds of steps that random graphs are grown by.

Elementwise functions and reductions are taken from the registry: a new op is in from the day it is defined. What could
leave the domain of a function is squashed by ``tanh`` into the range of the op's first sample. All other ops are called
as their samples call them, on the samples' arrays mixed with what is there; functions made of ops are called as
:data:`graphc.testing.structural.STRUCTURAL` says, layers and optimizers as :mod:`graphc.testing.networks` does.
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
from graphc.testing.controls import control_steps
from graphc.testing.growing import Choices, Grower, Step
from graphc.testing.networks import NETWORK_STEPS
from graphc.testing.recipes import Recipe, Ref, numbers_in
from graphc.testing.structural import STRUCTURAL

TAME = frozenset({
    "abs", "asinh", "atan", "ceil", "cos", "erf", "floor", "isfinite", "isinf", "isnan", "negative", "relu", "round",
    "sigmoid", "sign", "signbit", "sin", "tanh", "trunc",
})  # fmt: skip
"""Functions of one number that keep it about as large as it was, and are defined everywhere."""

NOT_CALLED = frozenset({
    "argwhere", "flatnonzero", "nonzero", "unique",  # refused: the shape would depend on data
    "asarray", "constant", "empty", "empty_like", "placeholder",  # nothing to compute, or no value to compare
    "assign",  # made of a recipe's updates
})  # fmt: skip
"""Functions of graphc.ops that no step calls."""

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


def _where_by_position(grower: Grower) -> None:
    """A choice between two values of one shape by where in the last axis an element lies."""
    ref = grower.pick(lambda tensor: tensor.ndim > 0 and isinstance(tensor.shape[-1], int))
    tensor, size = grower.tensor(ref), grower.size(ref, -1)
    (places,) = grower.call("arange", size)
    (condition,) = grower.call(grower.choose(("less", "greater_equal", "equal")), places, grower.integer(-1, size + 1))
    if grower.chance(2):
        (bound,) = grower.call(grower.choose(("less", "greater")), places, grower.choose((0, 1, size - 1, 65)))
        (condition,) = grower.call(grower.choose(("logical_and", "logical_or")), condition, bound)
    other = grower.pick_type(tensor.type) if grower.chance(2) else grower.add_input([size], tensor.dtype.name)
    grower.call("where", condition, *grower.choose(((ref, other), (other, ref))))


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


def _dense(grower: Grower) -> None:
    """A product with a matrix that fits: an input, rows gathered from one, or a function of one."""
    ref = grower.pick_float(1)
    tensor = grower.tensor(ref)
    width, columns = tensor.shape[-1], grower.choose((1, 2, 3, 5, 5, 17))
    batch = tensor.shape[:-2] if grower.chance(3) else ()
    if not all(isinstance(size, int) for size in (width, *batch)):
        raise GraphcError("an input has sizes that are names or numbers")
    shape = [int(size) for size in (*batch, width, columns) if isinstance(size, int)]
    other = grower.add_input(shape, tensor.dtype.name)
    way = grower.choose(("plain", "gathered", "tanh", "turned"))
    if way == "gathered":
        places = grower.add_input(shape[-2:-1], "int64", np.arange(shape[-2])[::-1].copy())
        (other,) = grower.call("take", other, places, axis=-2)
    elif way == "tanh":
        (other,) = grower.call("tanh", other)
    elif way == "turned":
        turned = grower.add_input([*shape[:-2], columns, shape[-2]], tensor.dtype.name)
        (other,) = grower.call("matrix_transpose", turned)
    (made,) = grower.call("matmul", ref, other)
    if grower.chance(2):
        grower.call("add", made, grower.add_input([columns], tensor.dtype.name))


def _row_wise(grower: Grower) -> None:
    """A function that goes over the rows of a value several times, or a value added to what was made of it."""
    ref = grower.pick_float(1)
    name = grower.choose(("softmax", "log_softmax", "nn.layer_norm", "residual", "centred", "scores"))
    if name == "residual":
        grower.call("add", ref, grower.pick_type(grower.tensor(ref).type))
    elif name == "centred":
        grower.call("subtract", ref, grower.call("mean", ref, axis=grower.axis(ref), keepdims=True)[0])
    elif name == "scores":
        (scores,) = grower.call("matmul", ref, grower.call("matrix_transpose", ref)[0])
        grower.call("matmul", grower.call("softmax", scores)[0], ref)
    else:
        grower.call(name, ref)


def _cast(grower: Grower) -> None:
    ref, dtype = grower.pick(), grower.choose(DTYPES)
    if is_float(grower.tensor(ref).dtype) and "int" in dtype:  # a float beyond the integers has no value
        (ref,) = grower.call("tanh", ref)
        (ref,) = grower.call("multiply", ref, 5)
        if dtype.startswith("uint"):
            (ref,) = grower.call("abs", ref)
    grower.call(grower.choose(("cast", "astype")), ref, dtype)


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


BODY_STEPS: tuple[Step, ...] = (
    _unary, _binary, _binary, _number, _where, _where_by_position, _reduce, _product, _slice, _row_wise, _structural,
)  # fmt: skip
STEPS: tuple[Step, ...] = (
    *[_unary] * 4, *[_binary] * 5, *[_number] * 2, _where, _where_by_position, *[_reduce] * 2, _slice, *[_product] * 2,
    _cast, _take, *[_dense] * 2, *[_row_wise] * 3, *[_structural] * 10, _gradient, _sampled, _sampled, _random,
    _variable, _directional, *control_steps(BODY_STEPS), *NETWORK_STEPS,
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
    return grower.recipe(outputs, _updates(grower, [ref for ref in outputs if is_float(grower.tensor(ref).dtype)]))


def _updates(grower: Grower, losses: Sequence[Ref]) -> list[tuple[Ref, Ref]]:
    """New values of the variables: a step along a gradient, or of their types, or the old ones with something added."""
    made = []
    for number in [call.results[0] for call in grower.calls if call.function == "variable"]:
        kind = grower.values[number].type
        if losses and grower.chance(2):
            with suppress(GraphcError):
                (loss,) = grower.call("mean", losses[0])
                (slope,) = grower.call("gradients", loss, [Ref(number)])
                (step,) = grower.call("multiply", slope, 0.1)
                made.append((Ref(number), grower.call("subtract", Ref(number), step)[0]))
                continue
        try:
            value = grower.pick_type(kind)
            if value.number == number:
                (value,) = grower.call("add", Ref(number), grower.call("cast", _shaped(grower, ()), kind.dtype.name)[0])
        except GraphcError:
            continue
        made.append((Ref(number), value))
    return made
