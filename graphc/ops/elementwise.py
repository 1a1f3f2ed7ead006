"""All ops whose result at an index depends on their inputs at that index: one name for the three files they live in."""

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

__all__ = [
    "abs_", "add", "cast", "ceil", "cos", "divide", "equal", "erf", "exp", "expm1", "floor", "floor_divide", "greater",
    "greater_equal", "isnan", "less", "less_equal", "log", "log1p", "logical_and", "logical_not", "logical_or",
    "logical_xor", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "relu", "remainder", "round_",
    "rsqrt", "sigmoid", "sign", "sin", "softplus", "sqrt", "square", "subtract", "tanh", "trunc", "where",
]  # fmt: skip
