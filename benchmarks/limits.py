#!/usr/bin/env python3
"""Measure what this machine can do at most, with small loops that have nothing to do with graphc.

    python benchmarks/limits.py [--threads 1,2] [--json out.json] [--plot out.svg]

Arithmetic
    Fused multiply-adds on vectors that never leave the registers: as many independent chains as hide the latency, in
    LLVM IR, so that no compiler can drop or merge them.  Two operations a multiply-add.
Streaming
    Loops over float32 arrays that lie in L2 (all of them together half of one core's L2, for each thread), in L3 (half
    of it, shared out) or in DRAM (each four times L3):

    read      s = s + a          one array is read
    scale     a = k b            one is read, one written
    triad     a = b + k c        two are read, one written
    update    a = k a            one is read and written in place
    bypass    a = b + k c        the triad with stores that go past the caches; in DRAM only

    Two rates are given.  ``bytes_per_s`` counts the bytes that the loop names.  ``bus_per_s`` counts what crosses the
    memory bus as well: an ordinary store first reads the line that it writes (write-allocate), so each array written
    but not read counts twice.  They are the same for read, update and bypass.

kernels.py runs the streaming loops in turns with kernels, and says how it compares a kernel's traffic with these rates.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import common
import llvmlite.binding as llvm
import numpy as np
from common import Row
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

MOST_CHAINS = 16
"""Independent chains of multiply-adds: more than latency times units of current cores, fewer than their registers."""
FEWER_CHAINS = 12  # where there are sixteen registers

LINES_AT_ONCE = 8
"""Lines of 64 bytes that the reading loop sums independently."""

TIMES_L3 = 4
"""An array in DRAM is this many times as large as L3."""

LEAST_WORK = 1 << 26
"""Bytes of an array that a call goes over at least, in several passes if need be: a millisecond."""

WINDOW = 0.03
"""Seconds that a compiled call lasts at least, so that starting threads counts for nothing."""


def vector_unit() -> tuple[int, int]:
    """(bytes of a vector register, independent chains that fit the registers) of this processor."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, MOST_CHAINS
    if features.get("avx2"):
        return 32, FEWER_CHAINS
    return 16, MOST_CHAINS if "aarch64" in llvm.get_process_triple() else FEWER_CHAINS


@cache
def multiply_adds(bits: int) -> tuple[Any, int]:
    """A compiled function of (count, factor, summand), `count` rounds of all chains; the operations of a round."""
    width, chains = vector_unit()
    lanes = width * 8 // bits
    scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
    vector = ir.VectorType(scalar, lanes)
    numba_type = types.float32 if bits == 32 else types.float64

    @intrinsic
    def rounds(typing: Any, count: Any, factor: Any, summand: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            name = f"llvm.fma.v{lanes}f{bits}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
            nothing = ir.Constant(vector, ir.Undefined)
            first = ir.Constant(ir.IntType(32), 0)
            singles = [builder.insert_element(nothing, x, first) for x in args[1:]]
            by, plus = (builder.shuffle_vector(single, nothing, zeros) for single in singles)
            ends = [cgutils.alloca_once_value(builder, ir.Constant(vector, [float(k)] * lanes)) for k in range(chains)]
            with cgutils.for_range(builder, args[0]):
                for end in ends:  # LLVM keeps all of these in registers
                    builder.store(builder.call(fma, [builder.load(end), by, plus]), end)
            total = ir.Constant(scalar, 0.0)
            for end in ends:
                value = builder.load(end)
                for lane in range(lanes):
                    total = builder.fadd(total, builder.extract_element(value, ir.Constant(ir.IntType(32), lane)))
            return total

        return numba_type(types.intp, numba_type, numba_type), codegen

    all_chains: Any = rounds  # Numba supplies the first argument

    @njit(f"float{bits}(intp, float{bits}, float{bits})", nogil=True)
    def chained(count, factor, summand):
        return all_chains(count, factor, summand)

    return chained, 2 * chains * lanes


@cache
def bypass_vector() -> tuple[Any, int]:
    """An intrinsic that computes one vector of a triad and stores it past the caches; its lanes."""
    lanes = vector_unit()[0] // 4
    vector = ir.VectorType(ir.FloatType(), lanes)

    @intrinsic
    def store(typing: Any, a: Any, b: Any, c: Any, factor: Any, i: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            places = []
            for kind, value in zip(signature.args[:3], args[:3], strict=True):
                data = context.make_array(kind)(context, builder, value).data
                places.append(builder.bitcast(builder.gep(data, [args[4]]), vector.as_pointer()))
            first, second = (builder.load(place, align=4) for place in places[1:])
            nothing, zero = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
            single = builder.insert_element(nothing, args[3], zero)
            by = builder.shuffle_vector(single, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))
            stored = builder.store(builder.fadd(first, builder.fmul(by, second)), places[0], align=lanes * 4)
            stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
            return context.get_dummy_value()

        return types.void(a, b, c, types.float32, types.intp), codegen

    return store, lanes


@cache
def read_lines() -> Any:
    """An intrinsic of (array, elements) that loads every line and sums the bits: several vectors, so that sums never
    wait for one another."""
    lanes = vector_unit()[0] // 4
    step = LINES_AT_ONCE * 16
    vector = ir.VectorType(ir.IntType(32), lanes)

    @intrinsic
    def lines(typing: Any, a: Any, elements: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            empty = ir.Constant(vector, None)
            sums = [cgutils.alloca_once_value(builder, empty) for _ in range(step // lanes)]
            count = builder.udiv(args[1], ir.Constant(args[1].type, step))
            with cgutils.for_range(builder, count) as loop:
                first = builder.mul(loop.index, ir.Constant(loop.index.type, step))
                for number, total in enumerate(sums):
                    place = builder.gep(data, [builder.add(first, ir.Constant(first.type, number * lanes))])
                    value = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
                    builder.store(builder.add(builder.load(total), value), total)
            whole = empty
            for total in sums:
                whole = builder.add(whole, builder.load(total))
            result = ir.Constant(ir.IntType(64), 0)
            for lane in range(lanes):
                bits = builder.extract_element(whole, ir.Constant(ir.IntType(32), lane))
                result = builder.add(result, builder.zext(bits, ir.IntType(64)))
            return result

        return types.int64(a, types.intp), codegen

    return lines


@cache
def loops() -> dict[str, Any]:
    """The streaming loops: compiled functions of (a, b, c, passes)."""
    store, lanes = bypass_vector()
    sum_of_lines = read_lines()

    @njit(nogil=True, error_model="numpy")
    def read(a, b, c, passes):
        total = np.int64(0)
        for _ in range(passes):
            total += sum_of_lines(a, a.size)
        return total

    @njit(nogil=True, error_model="numpy")
    def scale(a, b, c, passes):
        for _ in range(passes):
            for i in range(a.size):
                a[i] = np.float32(0.5) * b[i]

    @njit(nogil=True, error_model="numpy")
    def triad(a, b, c, passes):
        for _ in range(passes):
            for i in range(a.size):
                a[i] = b[i] + np.float32(0.5) * c[i]

    @njit(nogil=True, error_model="numpy")
    def update(a, b, c, passes):
        for _ in range(passes):
            for i in range(a.size):
                a[i] = np.float32(0.5) * a[i]

    @njit(nogil=True, error_model="numpy")
    def bypass(a, b, c, passes):
        for _ in range(passes):
            for i in range(0, a.size, lanes):
                store(a, b, c, np.float32(0.5), i)

    return {"read": read, "scale": scale, "triad": triad, "update": update, "bypass": bypass}


ARRAYS = {"read": 1, "scale": 2, "triad": 3, "update": 1, "bypass": 3}
"""Arrays that a loop goes through."""
NAMED = {"read": 1, "scale": 2, "triad": 3, "update": 2, "bypass": 3}
"""Bytes named, in arrays: reads and writes."""
ON_BUS = {"read": 1, "scale": 3, "triad": 4, "update": 2, "bypass": 3}
"""Bytes that cross the bus, in arrays: an array written but not read is also read."""


def elements_of(where: str, arrays: int, threads: int) -> int:
    """float32 elements of one of `arrays` arrays of one thread."""
    sizes = common.cache_bytes()
    whole = {
        "L2": sizes.get(2, 0) // 2 // arrays,
        "L3": max(sizes.values()) // 2 // arrays // threads,
        "DRAM": TIMES_L3 * max(sizes.values()) // threads,
    }[where]
    return whole // 4 // 128 * 128  # whole rounds of the reading loop


def aligned(elements: int) -> NDArray[np.float32]:
    """Ones that begin on a 64-byte line."""
    room = np.ones(elements + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    return room[first : first + elements]


def best_rate(calls: Iterable[Callable[[int], object]], work: float, seconds: float) -> float:
    """Best rate of several threads, each making one of `calls`, which take a repeat count and do `work` a repeat."""
    calls = list(calls)
    with ThreadPoolExecutor(len(calls)) as pool:

        def timed(repeats: int) -> float:
            start = time.perf_counter()
            for future in [pool.submit(call, repeats) for call in calls]:
                future.result()
            return time.perf_counter() - start

        repeats = 1
        timed(repeats)  # warm: pages, caches, threads
        while (spent := timed(repeats)) < WINDOW:
            repeats = max(2 * repeats, int(repeats * WINDOW / max(spent, 1e-9)))
        best, began = spent, time.perf_counter()
        while time.perf_counter() - began < seconds:
            best = min(best, timed(repeats))
    return work * repeats * len(calls) / best


def arithmetic(bits: int, threads: int, seconds: float) -> Row:
    """The peak of fused multiply-adds, operations a second."""
    chained, operations = multiply_adds(bits)
    kind = np.float32 if bits == 32 else np.float64
    batch = 100_000  # rounds in one repeat
    call = lambda repeats: chained(repeats * batch, kind(0.5), kind(1.0))  # noqa: E731
    rate = best_rate([call] * threads, operations * batch, seconds)
    return {"limit": f"multiply-add float{bits}", "where": "registers", "threads": threads, "flop_per_s": rate}


def calls_of(loop: str, arrays: list[list[NDArray[np.float32]]]) -> list[Callable[[int], object]]:
    """A call a thread, given a number of passes, that runs one loop over that thread's arrays."""
    function = loops()[loop]

    def call_of(arrays: list[NDArray[np.float32]]) -> Callable[[int], object]:
        a, b, c = (arrays + arrays[-1:] * 2)[:3]
        return lambda passes: function(a, b, c, passes)

    return [call_of(part) for part in arrays]


def arrays_of(elements: int, count: int, threads: int) -> list[list[NDArray[np.float32]]]:
    """`count` arrays for each thread."""
    return [[aligned(elements) for _ in range(count)] for _ in range(threads)]


def at_once(
    loop: str, arrays: list[list[NDArray[np.float32]]], passes: int, pool: ThreadPoolExecutor
) -> Callable[[], object]:
    """Some passes of a loop by all threads at once."""
    calls = calls_of(loop, arrays)
    return lambda: [future.result() for future in [pool.submit(call, passes) for call in calls]]


class Beside:
    """The streaming loops on arrays of a kernel's size, to take turns with the kernel.

    Parameters
    ----------
    elements : int
        float32 elements of an array, of all threads together.
    threads : int
    where : str
        What holds the arrays; past the caches goes only what does not fit into them.
    pool : ThreadPoolExecutor
        With that many threads.
    """

    def __init__(self, elements: int, threads: int, where: str, pool: ThreadPoolExecutor):
        own = elements // threads // 128 * 128
        passes = -(-LEAST_WORK // (4 * own * threads))
        arrays = arrays_of(own, max(ARRAYS.values()), threads)
        self.nbytes = 4 * own * threads * passes
        self.calls = {
            loop: at_once(loop, arrays, passes, pool) for loop in ARRAYS if loop != "bypass" or where == "DRAM"
        }

    def rates(self, loop: str, seconds: float) -> Row:
        """What a loop's time for one of these calls comes to."""
        return {
            "limit": loop,
            "bytes_per_s": NAMED[loop] * self.nbytes / seconds,
            "bus_per_s": ON_BUS[loop] * self.nbytes / seconds,
        }


def streaming(loop: str, where: str, threads: int, seconds: float) -> Row:
    """The rate of one loop on arrays that lie in one place."""
    elements = elements_of(where, ARRAYS[loop], threads)
    parts = arrays_of(elements, ARRAYS[loop], threads)
    rate = best_rate(calls_of(loop, parts), elements * 4, seconds)
    return {
        "limit": loop,
        "where": where,
        "threads": threads,
        "bytes_per_s": rate * NAMED[loop],
        "bus_per_s": rate * ON_BUS[loop],
    }


def measure(threads: list[int], seconds: float, places: Iterable[str] = ("L2", "L3", "DRAM")) -> list[Row]:
    """All limits, for each number of threads."""
    rows = [arithmetic(bits, count, seconds) for bits in (32, 64) for count in threads]
    for where in places:
        kinds = [loop for loop in ARRAYS if loop != "bypass" or where == "DRAM"]
        rows += [streaming(loop, where, count, seconds) for loop in kinds for count in threads]
    return rows


def tables(rows: list[Row]) -> str:
    """Arithmetic, then streaming: a line a loop, a column a number of threads."""
    threads = sorted({row["threads"] for row in rows})
    heads = [f"{count} thread{'s' if count > 1 else ''}" for count in threads]

    def line(first: list[str], limit: str, where: str, field: str) -> list[str]:
        found = {r["threads"]: r[field] for r in rows if r["limit"] == limit and r["where"] == where}
        return [*first, *(common.show(found[c] / 1e9 if c in found else None, ".1f") for c in threads)]

    computing = dict.fromkeys(row["limit"] for row in rows if "flop_per_s" in row)
    text = common.table(
        ["arithmetic, GFLOP/s", *heads], [line([limit], limit, "registers", "flop_per_s") for limit in computing]
    )
    moving = dict.fromkeys((row["limit"], row["where"]) for row in rows if "bytes_per_s" in row)
    lines = []
    for limit, where in moving:
        named = line([where, limit], limit, where, "bytes_per_s")
        lines.append(named + line([], limit, where, "bus_per_s"))
    heads = [f"{head}, GB/s" for head in heads] + [f"{head}, on the bus" for head in heads]
    return text + "\n\n" + common.table(["arrays in", "loop", *heads], lines)


def plot(rows: list[Row], path: str) -> None:
    """Streaming rates by place and loop; a panel a number of threads."""
    threads = sorted({row["threads"] for row in rows})
    made = common.figure(len(threads), 4 * len(threads), 3)
    if made is None:
        return
    drawn, panels = made
    moving = [row for row in rows if "bytes_per_s" in row]
    places = list(dict.fromkeys(row["where"] for row in moving))
    for axes, count in zip(panels, threads, strict=True):
        series: dict[str, dict[str, float]] = {}
        for row in moving:
            if row["threads"] == count:
                series.setdefault(row["limit"], {})[row["where"]] = row["bytes_per_s"] / 1e9
        common.bars(axes, places, series)
        axes.set_yscale("log")
        axes.set_ylabel("GB/s, bytes named by the loop")
        axes.set_title(f"streaming, {count} thread{'s' if count > 1 else ''}")
        common.legend_above(axes)
    common.save(drawn, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the limits of this machine.")
    parser.add_argument("--threads", type=common.numbers(), default=sorted({1, common.processors()}))
    parser.add_argument("--places", type=common.names(("L2", "L3", "DRAM")), default="L2,L3,DRAM")
    common.add_common_options(parser, seconds=0.3, peers=False)
    args = common.parse(parser)
    rows = []
    for _ in range(args.rounds):
        rows += measure(args.threads, args.seconds, args.places)
    return common.finish(args, common.best_limits(rows), tables, plot)


if __name__ == "__main__":
    sys.exit(main())
