"""graphc's own math library: elementary functions as straight-line code that vectorises.

Calls of libm stay scalar inside a loop and cost ten times a polynomial. The functions here are correct over the whole
range of their dtype, subnormals, zeros, infinities and NaN included, to 2 units in the last place (power, lgamma and
digamma: 4), and give the same bits in vector lanes, in a loop's scalar remainder and on every machine with a fused
multiply-add.

The mathematics is in the other modules of this folder, as formulas over
:mod:`graphc.codegen.cpu.scalar`; the constants are in ``formats``. This module makes them callable from kernels as
``{name}_{dtype}``. :data:`FUNCTIONS` lists what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.codegen.cpu.intrinsics import expose
from graphc.codegen.cpu.mathlib import (
    error_function,
    exponential,
    gamma,
    hyperbolic,
    inverse_trigonometric,
    neighbours,
    powers,
    roots,
    trigonometric,
)
from graphc.codegen.cpu.scalar import Scalar

FLOATS = ("float32", "float64")

#: Neutral name -> its formula, over Scalars of one float dtype.
FORMULAS: dict[str, Callable[..., Scalar]] = {
    "abs": powers.absolute,
    "acos": inverse_trigonometric.acos,
    "acosh": hyperbolic.acosh,
    "asin": inverse_trigonometric.asin,
    "asinh": hyperbolic.asinh,
    "atan": inverse_trigonometric.atan,
    "atan2": inverse_trigonometric.atan2,
    "atanh": hyperbolic.atanh,
    "cbrt": roots.cbrt,
    "cos": trigonometric.cos,
    "cosh": hyperbolic.cosh,
    "digamma": gamma.digamma,
    "erf": error_function.erf,
    "erfc": error_function.erfc,
    "exp": exponential.exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "hypot": roots.hypot,
    "lgamma": gamma.lgamma,
    "log": exponential.log,
    "log10": exponential.log10,
    "log1p": exponential.log1p,
    "log2": exponential.log2,
    "nextafter": neighbours.nextafter,
    "power": powers.power,
    "rsqrt": powers.rsqrt,
    "sigmoid": exponential.sigmoid,
    "sign": powers.sign,
    "sin": trigonometric.sin,
    "sinh": hyperbolic.sinh,
    "sqrt": powers.sqrt,
    "tan": trigonometric.tan,
    "tanh": exponential.tanh,
}

#: Number of arguments of those that take more than one.
ARITY = dict.fromkeys(("atan2", "hypot", "nextafter", "power"), 2)

#: Neutral name -> dtypes it exists for: ``exp`` on float32 is ``exp_float32`` of this module.
FUNCTIONS: dict[str, tuple[str, ...]] = dict.fromkeys(FORMULAS, FLOATS)


def _callables() -> dict[str, Any]:
    return {
        f"{name}_{dtype}": expose(FORMULAS[name], f"{name}_{dtype}", arguments=(dtype,) * ARITY.get(name, 1))
        for name, dtypes in FUNCTIONS.items()
        for dtype in dtypes
    }


globals().update(_callables())
