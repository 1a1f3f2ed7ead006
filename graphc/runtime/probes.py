"""Kernels that measure: a stamp of the time, and loops that run into the machine's limits.

Like ``walker.py`` this file is a *source text*: its functions are loaded from the cache of object code, and only a cold
cache imports it, and Numba with it.  Each has the signature of every kernel, ``(buffers, dims, worker, workers)``, so
that a call table can hold it and workers share it as they share the others.

``stamp``
    The begin or the end of what stands between two stamps (see :mod:`graphc.runtime.timing`).
``multiply_adds_float32``, ``multiply_adds_float64``
    Nothing but vector multiply-adds on registers: independent chains, more than the latency of one times
    what a core starts in a cycle, and few enough for the registers of every target.
``read``, ``triad``
    A stream of loads; ``a = b + 3*c``, the STREAM benchmark's triad (McCalpin 1995), two loads a store.
"""
# mypy: ignore-errors
# Numba types these functions itself, and calls intrinsics without the context argument that Python sees.

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from graphc.codegen.cpu import machine
from graphc.codegen.cpu.intrinsics import fma, load, offset, pointer_float64, pointer_int64, store
from graphc.runtime import layout as at

I32, I64 = ir.IntType(32), ir.IntType(64)
CLOCK_MONOTONIC = 1  # Linux


@intrinsic
def clock(typingctx):
    """Nanoseconds of the monotonic clock."""

    def codegen(context, builder, signature, args):
        time = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I64, 2)), I64.as_pointer())
        kind = ir.FunctionType(I32, [I32, I64.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(function, [ir.Constant(I32, CLOCK_MONOTONIC), time])
        nanoseconds = builder.load(builder.gep(time, [ir.Constant(I64, 1)]))
        return builder.add(builder.mul(builder.load(time), ir.Constant(I64, 1_000_000_000)), nanoseconds)

    return types.int64(), codegen


def stamp(buffers, dims, worker, workers):
    """Begin or end an interval: buffers are a record and a log, one for all workers or one for each."""
    if dims[at.STAMP_ENDS] == 0:
        record = offset(pointer_int64(buffers, 0), dims[at.STAMP_BY_WORKER] * (1 + worker) * at.RECORD_WORDS)
        store(record, at.RECORD_START, clock())
    else:
        now = clock()
        record = offset(pointer_int64(buffers, 0), dims[at.STAMP_BY_WORKER] * (1 + worker) * at.RECORD_WORDS)
        began = load(record, at.RECORD_START)
        store(record, at.RECORD_TOTAL, load(record, at.RECORD_TOTAL) + now - began)
        store(record, at.RECORD_COUNT, load(record, at.RECORD_COUNT) + 1)
        if now - began < load(record, at.RECORD_LEAST):
            store(record, at.RECORD_LEAST, now - began)
        log = offset(pointer_int64(buffers, 1), dims[at.STAMP_BY_WORKER] * worker * dims[at.STAMP_LOG_WORDS])
        used = load(log, at.LOG_USED)
        if used < load(log, at.LOG_CAPACITY):
            event = offset(log, at.LOG_EVENTS + used * at.EVENT_WORDS)
            store(event, 0, dims[at.STAMP_NUMBER])
            store(event, 1, began)
            store(event, 2, now)
            store(log, at.LOG_USED, used + 1)


def _chains(element, dtype, bits):
    """An intrinsic: `rounds` multiply-adds on several vectors, and a value that depends on all of them."""
    lanes = machine.host().lanes(dtype)

    @intrinsic
    def run(typingctx, rounds):
        def codegen(context, builder, signature, args):
            vector = ir.VectorType(element, lanes)
            half = ir.Constant(vector, [0.5] * lanes)
            kind = ir.FunctionType(vector, [vector] * 3)
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{lanes}f{bits}")
            before = builder.block
            loop, after = builder.append_basic_block("round"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            count = builder.phi(I64)
            values = [builder.phi(vector) for _ in range(at.PROBE_CHAINS)]
            results = [builder.call(function, [value, half, half]) for value in values]
            less = builder.sub(count, ir.Constant(I64, 1))
            count.add_incoming(args[0], before)
            count.add_incoming(less, loop)
            for number, (value, result) in enumerate(zip(values, results, strict=True)):
                value.add_incoming(ir.Constant(vector, [float(number)] * lanes), before)
                value.add_incoming(result, loop)
            builder.cbranch(builder.icmp_signed(">", less, ir.Constant(I64, 0)), loop, after)
            builder.position_at_end(after)
            total = results[0]
            for result in results[1:]:
                total = builder.fadd(total, result)
            first = builder.extract_element(total, ir.Constant(I32, 0))
            return first if dtype == "float64" else builder.fpext(first, ir.DoubleType())

        return types.float64(types.int64), codegen

    return run


_chains_float32 = _chains(ir.FloatType(), "float32", 32)
_chains_float64 = _chains(ir.DoubleType(), "float64", 64)


def multiply_adds_float32(buffers, dims, worker, workers):
    """dims: rounds. What comes out is stored, or LLVM would leave it away."""
    store(pointer_float64(buffers, 0), worker * at.RECORD_WORDS, _chains_float32(dims[0]))


def multiply_adds_float64(buffers, dims, worker, workers):
    """The same in double precision."""
    store(pointer_float64(buffers, 0), worker * at.RECORD_WORDS, _chains_float64(dims[0]))


def read(buffers, dims, worker, workers):
    """Sum words of memory; dims: words, rounds; buffers: a place for sums, the words."""
    words, first, total = pointer_int64(buffers, 1), worker * dims[0] // workers, 0
    for _ in range(dims[1]):
        for i in range(first, (worker + 1) * dims[0] // workers):
            total += load(words, i)
    store(pointer_int64(buffers, 0), worker * at.RECORD_WORDS, total)


def triad(buffers, dims, worker, workers):
    """Words of memory in three equal parts: ``a = b + 3*c``; dims and buffers as for `read`."""
    part = dims[0] // 3
    a = pointer_float64(buffers, 1)
    b, c = offset(a, part), offset(a, 2 * part)
    for _ in range(dims[1]):
        for i in range(worker * part // workers, (worker + 1) * part // workers):
            store(a, i, fma(load(c, i), 3.0, load(b, i)))
