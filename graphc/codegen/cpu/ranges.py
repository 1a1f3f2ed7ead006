"""Loops over ``range`` in LLVM, in fewer instructions than Numba's.

Numba spends some sixty instructions and seven blocks on the head of every loop: structures that are written to memory
to be read again part by part, and a test for a step of zero whose message is pickled into the module.  LLVM removes all
of that, yet it has to be made, printed, parsed and simplified.  Here structures stay values, a constant step is looked
at while the loop is lowered, and the head is one block.

The loop itself is Numba's: the iterations that are left are counted down in one cell, the loop's variable counts in
another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

Implementation = Callable[[Any, Any, Any, Any], Any]  # of (context, builder, signature, values)


def implementation(key: Any, signature: Any) -> Implementation | None:
    """What lowers a call of ``range``, the start of a loop over one, and the step to its next value.

    Parameters
    ----------
    key : object
        What is called: ``range``, or Numba's word for an operation.
    signature : numba Signature

    Returns
    -------
    callable or None
        None for everything else, and for unsigned ranges.
    """
    lowers: dict[Any, Implementation] = {range: _make, "getiter": _begin, "iternext": _advance}
    if key is not range and key not in ("getiter", "iternext"):
        return None
    kind: Any = signature.return_type if key is range else signature.args[0]
    if isinstance(kind, types.RangeType):
        kind = kind.iterator_type
    if not isinstance(kind, types.RangeIteratorType):
        return None
    counted: Any = kind.yield_type
    return lowers[key] if counted.signed else None


def _make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """``range(...)``: start, stop, step."""
    kind = context.get_value_type(signature.return_type)
    zero, one = (ir.Constant(kind.elements[0], number) for number in (0, 1))
    return _structure(builder, kind, {1: (zero, *values, one), 2: (*values, one), 3: values}[len(values)])


def _begin(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """An iterator: a cell with the loop's variable, stop, step, a cell with the number of iterations left."""
    start, stop, step = (part(builder, values[0], i) for i in range(3))
    variable, left = (cgutils.alloca_once(builder, start.type) for _ in range(2))
    builder.store(start, variable)
    builder.store(_count(context, builder, start, stop, step), left)
    return _structure(builder, context.get_value_type(signature.return_type), (variable, stop, step, left))


def _advance(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The next value, and whether there is one."""
    variable, step, left = (part(builder, values[0], i) for i in (0, 2, 3))
    value, count = builder.load(variable), builder.load(left)
    builder.store(builder.sub(count, ir.Constant(count.type, 1), flags=["nsw"]), left)
    builder.store(builder.add(value, step), variable)
    more = builder.icmp_signed(">", count, ir.Constant(count.type, 0))
    return _structure(builder, context.get_value_type(signature.return_type), (value, more))


def _count(context: Any, builder: Any, start: Any, stop: Any, step: Any) -> Any:
    """The number of iterations: the distance to go over the size of a step, rounded up; 0 if that leads away."""
    zero, one = (ir.Constant(start.type, number) for number in (0, 1))
    if isinstance(step, ir.Constant) and step.constant != 0:
        forward = step.constant > 0
        size = ir.Constant(start.type, abs(step.constant))
        distance = builder.sub(stop, start) if forward else builder.sub(start, stop)
    else:
        with cgutils.if_unlikely(builder, builder.icmp_signed("==", step, zero)):
            context.call_conv.return_user_exc(builder, ValueError, ("range() arg 3 must not be zero",))
        upward = builder.icmp_signed(">", step, zero)
        size = builder.select(upward, step, builder.neg(step))
        distance = builder.select(upward, builder.sub(stop, start), builder.sub(start, stop))
    some = builder.icmp_signed(">", distance, zero)
    if not (isinstance(size, ir.Constant) and size.constant == 1):
        distance = builder.add(builder.udiv(builder.sub(distance, one), size), one)
    return builder.select(some, distance, zero)


def _structure(builder: Any, kind: Any, values: Any) -> Any:
    """A structure of an LLVM type with these parts."""
    made = ir.Constant(kind, ir.Undefined)
    for i, value in enumerate(values):
        made = builder.insert_value(made, value, i)
    return made


def part(builder: Any, structure: Any, index: int) -> Any:
    """Part of a structure: the value that was put there, if that is seen; else an instruction that takes it out."""
    made = structure
    while isinstance(made, ir.instructions.InsertValue):
        if list(made.indices) == [index]:
            return made.value
        made = made.aggregate
    return builder.extract_value(structure, index)
