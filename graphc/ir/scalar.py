"""Scalar expressions: what one element of a tensor is, given its position.

The language between ops and kernels. An op that fuses says how one element of its result is computed from
elements of its inputs; substituting these expressions into each other *is* fusion. Four forms:

* :class:`Literal`   a constant;
* :class:`Apply`     a function of :data:`FUNCTIONS` applied to scalars;
* :class:`Load`      an element of a tensor at a position;
* :class:`Position`  an integer expression (a loop variable, an index) used as a value, int64.

Scalars are compared by identity, so that shared parts of an expression stay shared and are computed once.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import GraphError
from graphc.ir.symbolic import Size
from graphc.ir.types import flat_offset

if TYPE_CHECKING:
    from graphc.ir.node import Tensor

BOOL, INT64 = np.dtype("bool"), np.dtype("int64")


class Scalar:
    """Base of scalar expressions; ``dtype`` is the type of its value."""

    __slots__ = ("_parts", "dtype")
    dtype: np.dtype[Any]
    _parts: tuple[Scalar, ...]  # see graphc.schedule.kernel.walk; set when it is asked for


class Literal(Scalar):
    """A constant of a dtype."""

    __slots__ = ("value",)

    def __init__(self, value: Any, dtype: np.dtype[Any]):
        self.value, self.dtype = np.asarray(value).astype(dtype)[()], dtype

    def __repr__(self) -> str:
        return repr(self.value.item())


class Apply(Scalar):
    """A function applied to scalars; see :data:`FUNCTIONS` for the vocabulary.

    ``static`` holds parameters that are part of the function, such as the stream of a random number.
    """

    __slots__ = ("arguments", "function", "static")

    def __init__(self, function: str, arguments: Sequence[Scalar], dtype: np.dtype[Any], static: tuple[Any, ...] = ()):
        if function not in FUNCTIONS:
            raise GraphError(f"scalar expression: expected a function of the vocabulary, got {function!r}")
        self.function, self.arguments, self.dtype, self.static = function, tuple(arguments), dtype, static

    def __repr__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.arguments))})"


class Load(Scalar):
    """The element of ``tensor`` at ``index``, one integer expression an axis, all within range."""

    __slots__ = ("_offset", "index", "tensor")

    def __init__(self, tensor: Tensor, index: Sequence[Size]):
        self.tensor, self.index, self.dtype = tensor, tuple(index), tensor.dtype
        self._offset: Size | None = None

    @property
    def offset(self) -> Size:
        """The element's place in a contiguous row-major array; scheduling and printing ask again and again."""
        if self._offset is None:
            self._offset = flat_offset(self.tensor.shape, self.index)
        return self._offset

    def __repr__(self) -> str:
        return f"{self.tensor.name}[{', '.join(map(str, self.index))}]"


class Position(Scalar):
    """An integer expression as an int64 value."""

    __slots__ = ("size",)

    def __init__(self, size: Size):
        self.size, self.dtype = size, INT64

    def __repr__(self) -> str:
        return str(self.size)


# The vocabulary: function -> (number of arguments, what the result's dtype is, cost in units of an addition).
# "same" the arguments' common dtype; "bool"; "second" the dtype of the second argument; "given" set by the maker.
FUNCTIONS: dict[str, tuple[int, str, int]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "minimum", "maximum"), (2, "same", 1)),
    **dict.fromkeys(("divide", "floor_divide", "remainder", "fmod"), (2, "same", 4)),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), (2, "bool", 1)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), (2, "bool", 1)),
    "logical_not": (1, "bool", 1),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), (2, "same", 1)),
    **dict.fromkeys(("left_shift", "right_shift"), (2, "same", 3)),
    "bitwise_invert": (1, "same", 1),
    **dict.fromkeys(("isnan", "signbit"), (1, "bool", 1)),
    **dict.fromkeys(("copysign", "nextafter"), (2, "same", 1)),
    **dict.fromkeys(("negative", "abs", "sign", "floor", "ceil", "rint", "trunc"), (1, "same", 1)),
    **dict.fromkeys(("sqrt", "rsqrt"), (1, "same", 4)),
    **dict.fromkeys(("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos"), (1, "same", 12)),
    **dict.fromkeys(("exp2", "log2", "log10", "sinh", "cosh", "asin", "acos", "cbrt"), (1, "same", 12)),
    **dict.fromkeys(("atan", "asinh", "acosh", "atanh"), (1, "same", 20)),
    "erfc": (1, "same", 35),
    "tan": (1, "same", 80),
    **dict.fromkeys(("lgamma", "digamma"), (1, "same", 150)),
    "hypot": (2, "same", 8),
    "atan2": (2, "same", 20),
    "power": (2, "same", 30),
    "fma": (3, "same", 1),
    "where": (3, "second", 1),
    "cast": (1, "given", 1),
    # An index from data: its value counted from the front, where it lies in range; a failed step where it does not.
    # static: ("from_front",) if a negative one is out of range, too, rather than counted from the end.
    "checked_index": (2, "given", 2),
    # A uint32 of the counter-based generator: seed, step, position; static: the stream.
    "random_bits": (3, "given", 20),
}


def apply(function: str, *arguments: Scalar) -> Apply:
    """Apply a function whose dtype follows from its arguments."""
    count, rule, _ = FUNCTIONS[function]
    if len(arguments) != count:
        raise GraphError(f"scalar expression: {function} takes {count} arguments, got {len(arguments)}")
    dtype = BOOL if rule == "bool" else arguments[{"same": 0, "second": 1}[rule]].dtype
    return Apply(function, arguments, dtype)


_BINARY = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
    ast.FloorDiv: "floor_divide", ast.Mod: "remainder", ast.Pow: "power",
}  # fmt: skip
_COMPARE = {
    ast.Eq: "equal", ast.NotEq: "not_equal", ast.Lt: "less", ast.LtE: "less_equal",
    ast.Gt: "greater", ast.GtE: "greater_equal",
}  # fmt: skip


Builder = Callable[[Mapping[str, Scalar], "np.dtype[Any]"], Scalar]


@cache
def _builder(text: str) -> Builder:
    """What builds an expression from its inputs and the dtype of its numbers; the text is parsed once."""

    def builder(tree: ast.expr) -> Builder:
        if isinstance(tree, ast.Name):
            name = tree.id
            return lambda inputs, dtype: inputs[name]
        if isinstance(tree, ast.Constant):
            number = tree.value
            return lambda inputs, dtype: Literal(number, dtype)
        if isinstance(tree, ast.BinOp):
            return applied(_BINARY[type(tree.op)], tree.left, tree.right)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return applied("negative", tree.operand)
        if isinstance(tree, ast.Compare):
            return applied(_COMPARE[type(tree.ops[0])], tree.left, tree.comparators[0])
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            return applied(tree.func.id, *tree.args)
        raise GraphError(f"scalar expression: {ast.unparse(tree)!r} in {text!r} is not part of the language")

    def applied(function: str, *operands: ast.expr) -> Builder:
        builders = [builder(operand) for operand in operands]
        return lambda inputs, dtype: apply(function, *[build(inputs, dtype) for build in builders])

    return builder(ast.parse(text, mode="eval").body)


def from_text(text: str, inputs: Mapping[str, Scalar], dtype: np.dtype[Any]) -> Scalar:
    """Build a scalar from an op's expression, such as ``"x * sigmoid(x)"``.

    Parameters
    ----------
    text : str
        Python syntax: arithmetic, comparisons, functions of the vocabulary, numbers.
    inputs : mapping of str to Scalar
        The names that ``text`` may use.
    dtype : numpy.dtype
        The dtype of numbers in the text.
    """
    return _builder(text)(inputs, dtype)
