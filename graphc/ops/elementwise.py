"""All ops whose result at an index depends on their inputs at that index: one name for the files they live in."""

from graphc.ops.arithmetic import (
    abs_,
    add,
    ceil,
    divide,
    floor,
    floor_divide,
    maximum,
    minimum,
    multiply,
    negative,
    relu,
    remainder,
    round_,
    sign,
    square,
    subtract,
    trunc,
)  # fmt: skip
from graphc.ops.elementary import cos, erf, exp, expm1, log, log1p, power, rsqrt, sigmoid, sin, softplus, sqrt, tanh
from graphc.ops.exponentials import cbrt, exp2, log2, log10, logaddexp, logaddexp2, xlogy
from graphc.ops.floats import copysign, fmod, nextafter, signbit
from graphc.ops.logic import (
    cast,
    equal,
    greater,
    greater_equal,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
)  # fmt: skip
from graphc.ops.special import digamma, erfc, lgamma, polygamma
from graphc.ops.trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cosh, hypot, sinh, tan

__all__ = [
    "abs_", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "cast", "cbrt", "ceil", "copysign",
    "cos", "cosh", "digamma", "divide", "equal", "erf", "erfc", "exp", "exp2", "expm1", "floor", "floor_divide", "fmod",
    "greater", "greater_equal", "hypot", "isnan", "less", "less_equal", "lgamma", "log", "log1p", "log2", "log10",
    "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "multiply", "negative", "nextafter", "not_equal", "polygamma", "power", "relu", "remainder", "round_", "rsqrt",
    "sigmoid", "sign", "signbit", "sin", "sinh", "softplus", "sqrt", "square", "subtract", "tan", "tanh", "trunc",
    "where", "xlogy",
]  # fmt: skip
