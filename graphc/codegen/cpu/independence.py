"""Telling LLVM that a loop's iterations touch different elements.

A kernel may write a result over an input (in place), element by element. LLVM does not know that; it guards vector
code by a test that all buffers lie apart, takes the scalar loop where two are the same one, and gives up where there
are many to compare. The kernel's text says what it knows in a line behind the loop::

    for j0 in range(784):
        store(y0, j0, load(x0, j0) * float32(0.5))
    independent()

It becomes metadata: every access of the loop joins an *access group*, and the jump back to the loop's head says that
accesses of this group do not depend on each other across iterations (``llvm.loop.parallel_accesses``). Within one
iteration their order stays as written.

LLVM unrolls loops of few iterations before it looks for vectors, and then finds none: ten columns became ten times the
scalar code. So the metadata also keeps these loops whole until they have been vectorised.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import errors, types
from numba.extending import intrinsic

_MEMORY = (ir.instructions.LoadInstr, ir.instructions.StoreInstr)


@intrinsic
def independent(context: Any) -> Any:
    """Stands directly behind a ``for`` loop: its iterations touch different elements of memory."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _annotate(builder.function, builder.block)
        return context.get_dummy_value()

    return types.void(), lower


@intrinsic
def rolled(context: Any) -> Any:
    """Stands directly behind a ``for`` loop, which is not to be unrolled.

    Requests to fetch lines ahead of time are spread over a loop's iterations. LLVM unrolls a row of static length
    whole, and then puts them all in front.
    """

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        loop, head = _loop_before(builder.function, builder.block, "rolled")
        module = builder.module
        _mark(loop, head, _distinct(module, [_property(module, "unroll.disable")]))
        return context.get_dummy_value()

    return types.void(), lower


def _targets(block: Any) -> list[Any]:
    """Blocks that a block may jump to."""
    operands = block.terminator.operands if block.terminator else []
    return [operand for operand in operands if isinstance(operand, ir.Block)]


def _loop_before(function: Any, after: Any, word: str) -> tuple[dict[Any, None], Any]:
    """The blocks of the loop that ends where ``after`` begins, and its head; they are complete, since they precede."""
    leaving = [block for block in function.blocks if after in _targets(block)]
    if len(leaving) != 1:
        raise errors.LoweringError(f"{word}() has to stand directly behind a for loop")
    loop: dict[Any, None] = {}
    pending = [block for block in _targets(leaving[0]) if block is not after]
    while pending:
        block = pending.pop()
        if block not in loop and block is not after:
            loop[block] = None
            pending += _targets(block)
    entered = [b for outside in function.blocks if outside not in loop for b in _targets(outside) if b in loop]
    (head,) = dict.fromkeys(entered)
    return loop, head


def _mark(loop: dict[Any, None], head: Any, marks: Any) -> None:
    """Put metadata on the jumps back to a loop's head."""
    for block in loop:
        if head in _targets(block):
            block.terminator.set_metadata("llvm.loop", marks)


def _annotate(function: Any, after: Any) -> None:
    """Say that iterations touch different elements, of the loop that ends where ``after`` begins."""
    loop, head = _loop_before(function, after, "independent")
    module = function.module
    group = _distinct(module, [])
    for block in loop:
        for instruction in block.instructions:
            if isinstance(instruction, _MEMORY):
                instruction.set_metadata("llvm.access.group", group)
    marks = _distinct(module, [_property(module, "parallel_accesses", group), *_vectors_first(module)])
    _mark(loop, head, marks)


def _property(module: Any, name: str, *values: Any) -> Any:
    return module.add_metadata([ir.MetaDataString(module, f"llvm.loop.{name}"), *values])


def _vectors_first(module: Any) -> list[Any]:
    """Not to be unrolled before the vectoriser has seen the loop; what that makes of it may be."""
    done = _property(module, "isvectorized", ir.Constant(ir.IntType(32), 1))
    return [_property(module, "unroll.disable"), _property(module, "vectorize.followup_all", done)]


class _Distinct(ir.values.MDValue):
    """A metadata node that equals no other; one with operands names itself first, as the id of a loop does."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def descr(self, buffer: list[str]) -> None:
        nodes = [self, *self.operands] if self.operands else []
        buffer += (f"distinct !{{ {', '.join(node.get_reference() for node in nodes)} }}", "\n")


def _distinct(module: Any, operands: list[Any]) -> Any:
    return _Distinct(module, operands, name=str(len(module.metadata)))
