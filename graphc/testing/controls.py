"""Steps of random graphs with bodies: scan, cond, while_loop, and functions with derivatives of their own.

A body is grown by a grower of its own, over the values that are there and the body's parameters, so it captures what
lies outside; and bodies may stand in bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.op import REGISTRY
from graphc.ir.types import TensorType, is_float
from graphc.testing.growing import Grower, Step
from graphc.testing.recipes import Body, Ref

MOST_CALLS = 3
"""Steps that are tried in a body, beside those that make it what it is."""

DEEPEST = 2
"""Bodies in bodies."""


class _BodyGrower(Grower):
    """Grows a body: parameters of some types, then calls.

    What a step adds as an input has no place in a body: such steps come to nothing.
    """

    def __init__(self, outer: Grower, kinds: Sequence[TensorType], steps: Sequence[Step], captures: bool = True):
        super().__init__(outer)
        self.length, self.depth, self.steps = outer.length, outer.depth + 1, steps
        if self.depth > DEEPEST:
            raise GraphcError("bodies are nested deep enough")
        first = outer.next_number()
        self.parameters = tuple(range(first, first + len(kinds)))
        self.values = dict(outer.values) if captures else {}
        for number, kind in zip(self.parameters, kinds, strict=True):
            self.values[number] = REGISTRY["placeholder"](f"p{number}", kind.shape, kind.dtype)

    def add_input(self, *arguments: object, **keywords: object) -> Ref:
        raise GraphcError("a body has no inputs")

    def grow_some(self) -> None:
        """A few steps."""
        for _ in range(self.integer(0, MOST_CALLS)):
            self.grow(self.steps)

    def like(self, kind: TensorType) -> Ref:
        """A value of a type, which stays small however often the body is repeated."""
        ref = self.pick_type(kind)
        return self.call("tanh", ref)[0] if is_float(kind.dtype) else ref

    def body(self, *results: Ref) -> Body:
        """What has been grown, as a function; of one result it returns just that."""
        return Body(self.parameters, tuple(self.calls), results, single=len(results) == 1)


def control_steps(inside: Sequence[Step]) -> tuple[Step, ...]:
    """Steps with bodies, which are grown by steps like ``inside`` and, now and then, by these themselves."""

    def scan(grower: Grower) -> None:
        """A recurrence with one carry, and an output of each iteration."""
        xs = grower.pick_float(1)
        (start,) = grower.call("sum", xs, axis=0)
        (start,) = grower.call("multiply", start, 0)
        kind = grower.tensor(start).type
        inner = _BodyGrower(grower, [kind, kind], steps)
        carry, x = map(Ref, inner.parameters)
        inner.call("add", carry, x)
        inner.grow_some()
        result, y = inner.like(kind), inner.pick()
        grower.call("scan", inner.body(result, y), start, xs, reverse=bool(grower.integer(0, 1)))

    def cond(grower: Grower) -> None:
        """One of two functions of a value, by the sign of a sum."""
        (total,) = grower.call("sum", grower.pick(lambda tensor: tensor.dtype.kind != "b"))
        (flag,) = grower.call(grower.choose(("greater", "less_equal")), total, 0)
        operand = grower.pick()
        kind = grower.tensor(operand).type
        bodies, extra = [], grower.choose((kind, TensorType((), np.dtype("float32"))))
        for _ in range(2):
            inner = _BodyGrower(grower, [kind], steps)
            inner.grow_some()
            (number,) = inner.call("sum", inner.pick_float())
            (number,) = inner.call("cast", inner.call("tanh", number)[0], "float32")
            bodies.append(inner.body(inner.like(kind), inner.like(kind) if extra is kind else number))
        grower.call("cond", flag, *bodies, operand)

    def while_loop(grower: Grower) -> None:
        """A counter and a value, until the counter comes to a number that is data."""
        value = grower.pick()
        kind = grower.tensor(value).type
        (most,) = grower.call("remainder", _whole(grower), 4)
        (counter,) = grower.call("multiply", most, 0)
        kinds = [grower.tensor(counter).type, kind]
        test = _BodyGrower(grower, kinds, steps)
        (flag,) = test.call("less", Ref(test.parameters[0]), most)
        inner = _BodyGrower(grower, kinds, steps)
        inner.grow_some()
        (after,) = inner.call("add", Ref(inner.parameters[0]), 1)
        body = inner.body(after, inner.like(kind))
        limit = grower.choose((None, 2, 5))
        grower.call("while_loop", test.body(flag), body, (counter, value), max_iterations=limit)

    def custom_gradient(grower: Grower) -> None:
        """A function of a value with a made-up derivative."""
        x = grower.pick_float()
        kind = grower.tensor(x).type
        inner = _BodyGrower(grower, [kind], inside, captures=False)
        inner.grow_some()
        y = inner.like(kind)
        rule = _BodyGrower(grower, [kind] * 3, inside, captures=False)  # input, output, cotangent
        rule.grow_some()
        (cotangent,) = rule.call("multiply", rule.like(kind), Ref(rule.parameters[2]))
        grower.call("custom_gradient", inner.body(y), replace(rule.body(cotangent), single=False), x)

    controls: tuple[Step, ...] = (scan, cond, while_loop, custom_gradient)
    steps = (*inside, *controls)
    return controls


def _whole(grower: Grower) -> Ref:
    """An integer that is data."""
    (total,) = grower.call("sum", grower.pick_float())
    (total,) = grower.call("multiply", grower.call("tanh", total)[0], 9)
    return grower.call("cast", total, "int64")[0]
