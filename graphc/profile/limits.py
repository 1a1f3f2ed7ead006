"""The machine's limits, measured: multiply-adds a second, and bytes a second by how much memory is gone over.

Both are measured by kernels of graphc's own, by the workers that a profiled kernel has (:mod:`graphc.runtime.probes`),
once a process and number of workers, in about a fifth of a second. Each figure is the best of several short windows.
Another process on one of the processors can spoil all windows of several workers, but what one worker can do they can:
no limit of several is below that of one.

Memory has no one rate: what fits L1 streams many times faster than what comes from DRAM. So the rate is measured at
several footprints, from 16 KiB a worker to four times the last cache, as the better of a stream of loads and a triad,
and interpolated in between. A kernel is held against the rate for the bytes that *it* touches: a small kernel whose
data an earlier one has driven out of the cache stays below its limit for that reason.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

from graphc.profile.costs import Cost
from graphc.runtime import layout as at
from graphc.runtime.memory import aligned_words, available_bytes
from graphc.runtime.table import Call, Table, Words
from graphc.runtime.timing import probe, words_of
from graphc.runtime.workers import Workers

WINDOWS = 5
"""Repetitions of each measurement, of which the best counts."""

PEAK_WINDOWS = 200
"""Those of the peaks: each takes some 20 us, and together they outlast another process's turn on a processor."""

WINDOW_NS = 1_000_000
"""What a window takes, about; one pass over large memory takes longer."""

SMALLEST, STEP = 16 * 1024, 4
"""Bytes a worker of the smallest footprint, and the factor from each to the next."""

LARGEST = 256 * 1024 * 1024
"""Bytes of the largest footprint, where four times the last cache would be more."""


@dataclass(frozen=True)
class Limits:
    """What one number of workers can do on this machine.

    Attributes
    ----------
    workers : int
    peak : dict of str to float
        Operations a second, two a multiply-add, by type (``"float32"``, ``"float64"``).
    streams : tuple of (int, float)
        Footprint in bytes, and bytes a second over it; by growing footprint.
    """

    workers: int
    peak: dict[str, float]
    streams: tuple[tuple[int, float], ...]

    def bandwidth(self, footprint: int) -> float:
        """Bytes a second over so many bytes: interpolated by the footprint's logarithm."""
        below = self.streams[0]
        for point in self.streams:
            if footprint <= point[0]:
                if point is below:
                    return point[1]
                share = math.log(footprint / below[0]) / math.log(point[0] / below[0])
                return below[1] + share * (point[1] - below[1])
            below = point
        return below[1]

    def arithmetic_s(self, cost: Cost) -> float:
        """Seconds that the operations take at least; one that is no multiply-add takes the place of one."""
        slots = {dtype: rate / 2 for dtype, rate in self.peak.items()}
        counts = (*cost.multiply_adds.items(), *cost.others.items())
        return sum(count / slots[dtype] for dtype, count in counts)

    def memory_s(self, nbytes: int) -> float:
        """Seconds that moving so many bytes takes at least."""
        return nbytes / self.bandwidth(nbytes) if nbytes else 0.0


_known: dict[int, Limits] = {}


def limits(workers: Workers, count: int) -> Limits:
    """The limits for all workers of a set, or for one.

    Parameters
    ----------
    workers : Workers
        Measured with, where these limits are not known yet; no step may be under way.
    count : int
        ``workers.count``, or 1.
    """
    if count not in _known:
        everyone = count > 1
        peak = {dtype: _peak(workers, everyone, dtype) for dtype in ("float32", "float64")}
        streams = _streams(workers, count)
        if everyone:
            one = limits(workers, 1)
            peak = {dtype: max(rate, one.peak[dtype]) for dtype, rate in peak.items()}
            streams = [(size, max(rate, one.bandwidth(size))) for size, rate in streams]
        _known[count] = Limits(count, peak, tuple(streams))
    return _known[count]


def _peak(workers: Workers, everyone: bool, dtype: str) -> float:
    from graphc.codegen.cpu import machine

    rounds = 10_000
    a_round = 2 * at.PROBE_CHAINS * machine.host().lanes(dtype)
    sums = aligned_words(workers.count * at.RECORD_WORDS)
    call = Call(probe(f"multiply_adds_{dtype}"), words_of(sums.ctypes.data), words_of(rounds), everyone)
    return rounds * a_round * (workers.count if everyone else 1) / _best(workers, call, PEAK_WINDOWS)


def _streams(workers: Workers, count: int) -> list[tuple[int, float]]:
    largest = min(LARGEST, 4 * _last_cache(), (available_bytes() or LARGEST) // 4)
    largest = max(largest, STEP * SMALLEST * count)  # two footprints at least, where memory is next to none
    memory = aligned_words(largest // at.WORD)
    memory[:] = 0  # so that every page is there
    sizes = [SMALLEST * count]
    while sizes[-1] * STEP < largest:
        sizes.append(sizes[-1] * STEP)
    return [
        (size, max(_rate(workers, count > 1, name, memory, size) for name in ("read", "triad")))
        for size in (*sizes, largest)
    ]


def _rate(workers: Workers, everyone: bool, name: str, memory: Words, size: int) -> float:
    words = size // at.WORD // 3 * 3
    sums = aligned_words(workers.count * at.RECORD_WORDS)
    buffers = words_of(sums.ctypes.data, memory.ctypes.data)
    rounds = 1
    once = _best(workers, Call(probe(name), buffers, words_of(words, rounds), everyone), 1)
    rounds = max(1, int(WINDOW_NS * 1e-9 / once))
    return words * at.WORD * rounds / _best(workers, Call(probe(name), buffers, words_of(words, rounds), everyone))


def _last_cache() -> int:
    """Bytes of the last cache, as the system tells; a usual size where it does not."""
    for level in (4, 3, 2):
        try:
            size = os.sysconf(f"SC_LEVEL{level}_CACHE_SIZE")
        except (ValueError, OSError):  # not on every platform
            continue
        if size > 0:
            return size
    return LARGEST // 4


def _best(workers: Workers, call: Call, windows: int = WINDOWS) -> float:
    """Seconds of a call, the least of several."""
    table = Table([call])
    least = math.inf
    for _ in range(windows):
        start = time.perf_counter()
        workers.run(table)
        least = min(least, time.perf_counter() - start)
    return least
