"""Functions made of ops: statistics, activations, losses.

None has a derivative or a kernel of its own. They are written in the form that neither overflows nor cancels; the
compiler differentiates them, and fuses what they are made of.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.origin import name_scope
from graphc.ir.symbolic import product
from graphc.ir.types import is_integer, normalize_axes, normalize_axis
from graphc.ops.base import as_tensor, given, promote, require, require_bool, require_float, require_number, shown
from graphc.ops.elementwise import (
    abs_,
    add,
    cast,
    divide,
    equal,
    erf,
    exp,
    expm1,
    greater,
    less,
    less_equal,
    log,
    logical_not,
    maximum,
    minimum,
    multiply,
    negative,
    sigmoid,
    softplus,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)  # fmt: skip
from graphc.ops.gradient import stop_gradient
from graphc.ops.indexing import in_range, take_along_axis
from graphc.ops.reductions import max_, sum_
from graphc.ops.shaping import expand_dims, squeeze
from graphc.ops.sizes import dim_size

__all__ = [
    "all_", "any_", "clip", "count_nonzero", "elu", "gelu", "huber_loss", "isfinite", "isinf", "leaky_relu",
    "log_softmax", "logsumexp", "mean", "mean_absolute_error", "mean_squared_error", "prelu", "reciprocal",
    "sigmoid_cross_entropy", "silu", "softmax", "softmax_cross_entropy", "std", "var",
]  # fmt: skip

Axes = int | tuple[int, ...] | list[int] | None


def _floats(x: Any) -> Tensor:
    """A float tensor; integers and bools become float32."""
    return promote("", [x], minimum="float")[0]


# Statistics


def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean along axes (all without ``axis``); integers become float32. NaN of no elements."""
    x = _floats(x)
    return divide(sum_(x, axis, keepdims), _count(x, normalize_axes(axis, x.ndim, "mean")))


def _count(x: Tensor, axes: tuple[int, ...], less: int = 0) -> Tensor:
    """Number of elements along axes, minus ``less``, at least 0, as a float scalar."""
    size = product(x.shape[axis] for axis in axes)
    return maximum(subtract(cast(dim_size(size), x.dtype), less), 0) if less else cast(dim_size(size), x.dtype)


def var(x: Any, axis: Axes = None, keepdims: bool = False, correction: int = 0) -> Tensor:
    """Mean squared deviation from the mean along axes.

    Parameters
    ----------
    x : Tensor or array_like
        Integers become float32.
    axis : int or sequence of int, optional
    keepdims : bool
    correction : int
        The sum of squares is divided by the number of elements minus this: 1 for an unbiased estimate from a sample.

    Returns
    -------
    Tensor
    """
    x = _floats(x)
    axes = normalize_axes(axis, x.ndim, "var")
    require_number("var", "correction", correction)
    deviation = subtract(x, mean(x, axes, keepdims=True))
    return divide(sum_(square(deviation), axes, keepdims), _count(x, axes, less=correction))


def std(x: Any, axis: Axes = None, keepdims: bool = False, correction: int = 0) -> Tensor:
    """Square root of :func:`var`; its derivative is infinite or NaN where all elements are equal."""
    return sqrt(var(x, axis, keepdims, correction))


def any_(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether an element along axes is true, that is, differs from 0; false if there are none."""
    return greater(count_nonzero(x, axis, keepdims), 0)


def all_(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along axes are true, that is, differ from 0; true if there are none."""
    return equal(count_nonzero(logical_not(x), axis, keepdims), 0)


def count_nonzero(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Number of elements along axes that differ from 0, int64."""
    return sum_(as_tensor(x, "bool"), axis, keepdims)


# One element at a time


def isinf(x: Any) -> Tensor:
    """Whether an element is plus or minus infinity."""
    return equal(abs_(_floats(x)), math.inf)


def isfinite(x: Any) -> Tensor:
    """Whether an element is neither infinite nor NaN."""
    return less(abs_(_floats(x)), math.inf)


def reciprocal(x: Any) -> Tensor:
    """``1 / x``."""
    return divide(1, x)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """``x`` limited to ``min <= x <= max``; a bound may be left out. NaN stays.

    The derivative is 1 between the bounds, 0 beyond them, and one half on a bound.
    """
    x = as_tensor(x)
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


def silu(x: Any) -> Tensor:
    """``x * sigmoid(x)``, also known as swish."""
    x = _floats(x)
    return multiply(x, sigmoid(x))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """``x`` times the probability that a standard normal variable is below ``x``.

    Parameters
    ----------
    x : Tensor or array_like
    approximate : {"none", "tanh"}
        ``"none"``: ``x / 2 * (1 + erf(x / sqrt(2)))``; ``"tanh"``: with
        ``tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))`` in place of the error function.

    Returns
    -------
    Tensor
    """
    x = _floats(x)
    if isinstance(approximate, str) and approximate == "none":
        bend = erf(multiply(x, math.sqrt(0.5)))
    elif isinstance(approximate, str) and approximate == "tanh":
        slope = math.sqrt(2 / math.pi)
        bend = tanh(multiply(x, add(multiply(square(x), 0.044715 * slope), slope)))
    else:
        raise GraphError(f"gelu: expected approximate to be 'none' or 'tanh', got {given(approximate)}")
    return multiply(multiply(x, 0.5), add(bend, 1))


def leaky_relu(x: Any, alpha: float = 0.01) -> Tensor:
    """``x`` where it is positive, else ``alpha * x``."""
    x = _floats(x)
    return where(greater(x, 0), x, multiply(x, alpha))


def prelu(x: Any, alpha: Any) -> Tensor:
    """``x`` where it is positive, else ``alpha * x``, with a slope that is learned and broadcasts against ``x``."""
    x, alpha = promote("prelu", [x, alpha], minimum="float")
    return where(greater(x, 0), x, multiply(x, alpha))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``."""
    x = _floats(x)
    positive = greater(x, 0)
    return where(positive, x, multiply(expm1(where(positive, 0, x)), alpha))


# Probabilities


def _largest(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The largest element along axes, as a constant to subtract: results don't depend on it, so neither do derivatives.

    Where it is no finite number, 0: the exponential of the elements then says the rest.
    """
    top = stop_gradient(max_(x, axes, keepdims=True))
    return where(isfinite(top), top, 0)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along an axis; no overflow. A row of nothing but ``-inf`` is NaN."""
    x = _floats(x)
    axis = normalize_axis(axis, x.ndim, "softmax")
    power = exp(subtract(x, _largest(x, (axis,))))
    # the sum is 1 at least, so its reciprocal is no subnormal; one division a row instead of one an element
    return multiply(power, divide(1.0, sum_(power, axis, keepdims=True)))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """``log(softmax(x))`` along an axis, finite where the softmax itself would round to 0."""
    x = _floats(x)
    axis = normalize_axis(axis, x.ndim, "log_softmax")
    shifted = subtract(x, _largest(x, (axis,)))
    return subtract(shifted, log(sum_(exp(shifted), axis, keepdims=True)))


def logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along axes; no overflow, and ``-inf`` where all elements are ``-inf``."""
    x = _floats(x)
    axes = normalize_axes(axis, x.ndim, "logsumexp")
    require_bool("logsumexp", "keepdims", keepdims)
    top = _largest(x, axes)
    total = add(log(sum_(exp(subtract(x, top)), axes, keepdims=True)), top)
    return total if keepdims else squeeze(total, axes)


# Losses


def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1, label_smoothing: float = 0.0) -> Tensor:
    """``-sum(p * log(softmax(logits)))`` for each example; its derivative by the logits is ``softmax(logits) - p``.

    Parameters
    ----------
    logits : Tensor or array_like
        Float, with the classes along ``axis``.
    labels : Tensor or array_like
        Integers, the number of the right class: the shape of the logits without ``axis``. Or the probabilities ``p``
        (one-hot or any other that sum to 1): the shape of the logits.
    axis : int
    label_smoothing : float
        Between 0 and 1: this part of the probability is shared by all classes equally.

    Returns
    -------
    Tensor
        One loss an example: the shape of the logits without ``axis``.

    Raises
    ------
    ShapeError, DTypeError
        If the labels fit neither form.
    IndexOutOfRangeError
        If a label is no class, and negative ones are none; when the program runs, or at once for constants.
    """
    logits, labels = as_tensor(logits), as_tensor(labels)
    require_float("softmax_cross_entropy", logits)
    axis = normalize_axis(axis, logits.ndim, "softmax_cross_entropy")
    if not 0 <= require_number("softmax_cross_entropy", "label_smoothing", label_smoothing) <= 1:
        raise GraphError(f"softmax_cross_entropy: expected label_smoothing between 0 and 1, got {label_smoothing!r}")
    with _scope("softmax_cross_entropy", logits):
        if labels.shape == logits.shape:
            losses = negative(sum_(_weighted(cast(labels, logits.dtype), log_softmax(logits, axis)), axis))
        else:
            _require_classes(logits, labels, (*logits.shape[:axis], *logits.shape[axis + 1 :]))
            labels = in_range(labels, logits.shape[axis])
            chosen = squeeze(take_along_axis(logits, expand_dims(labels, axis), axis), axis)
            losses = subtract(logsumexp(logits, axis), chosen)
        if label_smoothing == 0:
            return losses
        even = negative(mean(log_softmax(logits, axis), axis))
        return add(multiply(losses, 1 - label_smoothing), multiply(even, label_smoothing))


def _scope(loss: str, prediction: Tensor) -> name_scope:
    """A box in drawings, as layers have it; one for each prediction."""
    return name_scope.of_layer(loss, prediction.node.serial)


def _weighted(probability: Tensor, value: Tensor) -> Tensor:
    """Their product, 0 where the probability is 0 even if the value is infinite."""
    never = equal(probability, 0)
    return where(never, 0, multiply(probability, value))


def _require_classes(logits: Tensor, labels: Tensor, examples: tuple[Any, ...]) -> None:
    if labels.shape != examples:
        raise ShapeError(
            f"softmax_cross_entropy: logits {shown(logits)} with labels {shown(labels)}",
            operands=(labels,),
            hint="labels are class numbers, one an example, or probabilities of the shape of the logits",
        )
    if not is_integer(labels.dtype):
        raise DTypeError(
            f"softmax_cross_entropy: expected integer class numbers, got {labels.type}", operands=(labels,)
        )


def sigmoid_cross_entropy(logits: Any, labels: Any) -> Tensor:
    """Binary cross-entropy from logits, ``-y * log(s) - (1 - y) * log(1 - s)`` with ``s = sigmoid(logits)``.

    Parameters
    ----------
    logits : Tensor or array_like
        Float.
    labels : Tensor or array_like
        0 or 1, or probabilities; cast to the dtype of the logits.

    Returns
    -------
    Tensor
        One loss an element; accurate for logits of any size.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    logits = as_tensor(logits)
    require_float("sigmoid_cross_entropy", logits)
    labels = as_tensor(labels, logits.dtype)
    _require_same("sigmoid_cross_entropy", "logits", logits, "labels", labels)
    with _scope("sigmoid_cross_entropy", logits):
        return add(multiply(labels, softplus(negative(logits))), multiply(subtract(1, labels), softplus(logits)))


def mean_squared_error(prediction: Any, target: Any) -> Tensor:
    """Mean of ``(prediction - target)**2`` over all elements, a scalar; the shapes must be equal."""
    prediction, target = _compared("mean_squared_error", prediction, target)
    with _scope("mean_squared_error", prediction):
        return mean(square(subtract(prediction, target)))


def mean_absolute_error(prediction: Any, target: Any) -> Tensor:
    """Mean of ``|prediction - target|`` over all elements, a scalar; the shapes must be equal."""
    prediction, target = _compared("mean_absolute_error", prediction, target)
    with _scope("mean_absolute_error", prediction):
        return mean(abs_(subtract(prediction, target)))


def huber_loss(prediction: Any, target: Any, delta: float = 1.0) -> Tensor:
    """For each element half the squared deviation, growing linearly beyond ``delta``; the shapes must be equal."""
    prediction, target = _compared("huber_loss", prediction, target)
    with _scope("huber_loss", prediction):
        size = abs_(subtract(prediction, target))
        return where(less_equal(size, delta), multiply(square(size), 0.5), multiply(subtract(size, delta / 2), delta))


def _compared(name: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Floats of one dtype and one shape."""
    prediction, target = promote(name, [prediction, target], minimum="float")
    _require_same(name, "prediction", prediction, "target", target)
    return prediction, target


def _require_same(name: str, left_role: str, left: Tensor, right_role: str, right: Tensor) -> None:
    """Losses do not broadcast: (batch, 1) against (batch,) would silently compare all with all."""
    same = left.shape == right.shape
    shapes = f"{left_role} {shown(left)} and {right_role} {shown(right)}"
    require(same, ShapeError, f"{name}: expected one shape, got {shapes}", right)
