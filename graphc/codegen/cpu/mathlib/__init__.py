"""graphc's own math library: elementary functions as straight-line code that vectorises.

Calls of libm stay scalar inside a loop and cost ten times a polynomial. The functions here are correct over
the whole range of their dtype, subnormals, zeros, infinities and NaN included, to 2 units in the last place
(power: 4), and give the same bits in vector lanes, in a loop's scalar remainder and on every machine with a
fused multiply-add.

The mathematics is in ``exponential``, ``powers``, ``trigonometric`` and ``error_function``, as formulas over
:mod:`graphc.codegen.cpu.scalar`; the constants are in ``formats``. This module makes them callable from kernels as
``{name}_{dtype}``. :data:`FUNCTIONS` lists what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.codegen.cpu.intrinsics import expose
from graphc.codegen.cpu.mathlib import error_function, exponential, powers, trigonometric
from graphc.codegen.cpu.scalar import Scalar

FLOATS = ("float32", "float64")

#: Neutral name -> its formula, over Scalars of one float dtype.
FORMULAS: dict[str, Callable[..., Scalar]] = {
    "abs": powers.absolute,
    "cos": trigonometric.cos,
    "erf": error_function.erf,
    "exp": exponential.exp,
    "expm1": exponential.expm1,
    "log": exponential.log,
    "log1p": exponential.log1p,
    "log2": exponential.log2,
    "power": powers.power,
    "rsqrt": powers.rsqrt,
    "sigmoid": exponential.sigmoid,
    "sign": powers.sign,
    "sin": trigonometric.sin,
    "sqrt": powers.sqrt,
    "tanh": exponential.tanh,
}

#: Neutral name -> dtypes it exists for: ``exp`` on float32 is ``exp_float32`` of this module.
FUNCTIONS: dict[str, tuple[str, ...]] = dict.fromkeys(FORMULAS, FLOATS)


def _callables() -> dict[str, Any]:
    arity = {"power": 2}
    return {
        f"{name}_{dtype}": expose(FORMULAS[name], f"{name}_{dtype}", arguments=(dtype,) * arity.get(name, 1))
        for name, dtypes in FUNCTIONS.items()
        for dtype in dtypes
    }


globals().update(_callables())
