"""Running products, whose derivative is right wherever the zeros are."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, op
from graphc.ir.types import DTYPES
from graphc.ops.arithmetic import add, multiply
from graphc.ops.control import scan
from graphc.ops.reductions import Running
from graphc.ops.samples import integers, positive
from graphc.ops.shaping import moveaxis, zeros
from graphc.ops.views import pad, strided_slice

Array = np.ndarray[Any, Any]


@op
class cumulative_prod(Running):
    """Products of the elements up to each position of an axis, that position included."""

    combine = "multiply"
    initial = 1
    dtypes = DTYPES
    samples = (
        Sample(positive(2, 5), axis=1),
        Sample(positive(4, 3), axis=0, include_initial=True),
        Sample(np.array([[2.0, 0.0, 3.0, -1.5], [0.0, 0.0, 1.0, 2.0], [0.5, -2.0, 3.0, 0.0]]), axis=-1),
        Sample(np.array([1.5, -2.0, 0.5])),
        Sample(integers(3, 4), axis=0, differentiable=False),
    )

    def compute(self, node: Node, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.cumprod(inputs[0], axis=node["axis"], dtype=inputs[0].dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """The product of all factors before, times what depends on this factor and those behind it.

        The latter is ``r[i] = g[i] + x[i+1] * r[i+1]``, a loop from the end. Dividing sums of ``g * y`` by ``x`` needs
        no loop, but fails at zeros, and any way to mend that gets the second derivative wrong there.
        """
        (x,), (g,), axis = node.inputs, cotangents, node["axis"]
        before = _shifted(node.result, axis, 1, fill=1)
        factors, seeds = (moveaxis(part, axis, 0) for part in (_shifted(x, axis, -1, fill=0), g))

        def step(behind: Tensor, slices: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            factor, seed = slices
            total = add(seed, multiply(factor, behind))
            return total, total

        _, behind = scan(step, zeros(seeds.shape[1:], x.dtype), (factors, seeds), reverse=True)
        return (multiply(before, moveaxis(behind, 0, axis)),)


def _shifted(x: Tensor, axis: int, by: int, fill: int) -> Tensor:
    """Elements one place later (``by=1``) or earlier (``by=-1``) along an axis, a number in the place that is left."""
    longer = tuple(size + (k == axis) for k, size in enumerate(x.shape))
    zero, one, ones = (0,) * x.ndim, tuple(int(k == axis) for k in range(x.ndim)), (1,) * x.ndim
    padded = pad.place(x, longer, one if by == 1 else zero, ones, fill)
    return strided_slice(padded, zero if by == 1 else one, x.shape, ones)
