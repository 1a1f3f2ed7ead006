"""The gate: from fed arrays to a walk, as one function that the interpreter calls directly.

This file is a *source text*, compiled and cached like ``walker.py``.  Its function has the C signature of a built-in
function of Python (``METH_FASTCALL``): the object that the built-in is bound to, an array of arguments, and their
number.  The object is a NumPy array of words, the gate's *plan* (``entry.py`` writes it, ``layout.py`` numbers it); the
arguments are the fed arrays.  So a step costs one call, and no conversion of an argument:

1. Is each argument a plain array of the planned dtype and shape, contiguous and aligned?  If one is not, say MISFIT,
   having done nothing.
2. Write the arrays' addresses into the cells of the call table.
3. Rewind the table, give up the interpreter's lock, walk, take the lock back, return what the walk said.

An array's fields are read where NumPy's C interface has them; every compiled extension relies on these places through
the macros ``PyArray_DATA`` and ``PyArray_DIMS``, so they are part of NumPy's binary interface.
"""
# mypy: ignore-errors
# Numba types these functions itself, and calls intrinsics without the context argument that Python sees.

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphc.codegen.cpu.frontend import procedure
from graphc.runtime import layout as at
from graphc.runtime.walker import load, store, word

CONTROL_CODE = True  # for the compiler: no loop here is worth unrolling
I64 = ir.IntType(64)
LOW_HALF = 0xFFFF_FFFF  # of a word whose first four bytes are a C int


def _caller(count):
    """An intrinsic that calls the C function at an address with `count` words and returns a word."""

    @intrinsic
    def call(typingctx, address, *arguments):
        def codegen(context, builder, signature, args):
            function = builder.inttoptr(args[0], ir.FunctionType(I64, [I64] * count).as_pointer())
            return builder.call(function, [builder.extract_value(args[1], i) for i in range(count)])

        return types.int64(types.int64, types.StarArgTuple([types.int64] * count)), codegen

    return call


call_0, call_1, call_3 = _caller(0), _caller(1), _caller(3)


@procedure
def fits(array, expected, head):
    """Whether an object is the array that one argument's record describes."""
    if load(array + head - at.WORD) != load(word(expected, at.FEED_TYPE)):
        return False
    fields = array + head
    if load(word(fields, at.ARRAY_DTYPE)) != load(word(expected, at.FEED_DTYPE)):
        return False
    if load(word(fields, at.ARRAY_FLAGS)) & at.PLAIN != at.PLAIN:
        return False
    rank = load(word(expected, at.FEED_RANK))
    if load(word(fields, at.ARRAY_RANK)) & LOW_HALF != rank:
        return False
    sizes, expected_sizes = load(word(fields, at.ARRAY_SIZES)), load(word(expected, at.FEED_SIZES))
    for axis in range(rank):  # noqa: SIM110 - Numba compiles no generator expression
        if load(word(sizes, axis)) != load(word(expected_sizes, axis)):
            return False
    return True


@procedure
def connect(array, expected, head):
    """Write an array's address into all cells of the table that want it, plus each cell's offset."""
    data = load(word(array + head, at.ARRAY_DATA))
    cells = load(word(expected, at.FEED_CELLS))
    for i in range(load(word(expected, at.FEED_CELL_COUNT))):
        store(load(word(cells, 2 * i)), data + load(word(cells, 2 * i + 1)))


def enter(plan_array, arguments, count):
    """A step; a Python int: MISFIT, or what the walk says."""
    plan = load(word(plan_array + HEAD, at.ARRAY_DATA))  # noqa: F821 - entry.py appends the size of an object's head
    make_int = load(word(plan, at.GATE_MAKE_INT))
    if count != load(word(plan, at.GATE_COUNT)):
        return call_1(make_int, at.MISFIT)
    feeds = word(plan, at.GATE_FEEDS)
    for i in range(count):
        if not fits(load(word(arguments, i)), word(feeds, i * at.FEED_WORDS), HEAD):  # noqa: F821
            return call_1(make_int, at.MISFIT)
    for i in range(count):
        connect(load(word(arguments, i)), word(feeds, i * at.FEED_WORDS), HEAD)  # noqa: F821
    run, crew = load(word(plan, at.GATE_RUN)), load(word(plan, at.GATE_CREW))
    status = load(word(run, at.RUN_STATUS))
    for i in range(at.STATUS_WORDS):
        store(word(status, i), 0)
    store(word(run, at.RUN_POSITION), 0)
    store(word(run, at.RUN_COMMITTED), 0)
    thread = call_0(load(word(plan, at.GATE_RELEASE)))
    said = call_3(load(word(plan, at.GATE_WALK)), run, load(crew), load(word(crew, 1)))
    call_1(load(word(plan, at.GATE_ACQUIRE)), thread)
    if said == at.FINISHED and load(status) != 0:
        said = at.FAILED
    return call_1(make_int, said)
