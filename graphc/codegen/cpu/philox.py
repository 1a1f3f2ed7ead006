"""Philox4x32-10 for kernels: the formula form of :mod:`graphc.ir.philox`, which specifies and explains it.

All words are held in uint64, whose product of two 32-bit words is exact; that is also the form of the
vector instruction that multiplies them. The key does not depend on the element, so LLVM moves it out of loops.
"""

from __future__ import annotations

from graphc.codegen.cpu.scalar import Scalar, convert
from graphc.ir.philox import GOLDEN, KEY_STEPS, MIX_LAST_SHIFT, MIX_STEPS, MULTIPLIERS, ROUNDS

_WORD32 = 0xFFFFFFFF


def _mix(word: Scalar) -> Scalar:
    for shift, multiplier in MIX_STEPS:
        word = (word ^ (word >> shift)) * multiplier
    return word ^ (word >> MIX_LAST_SHIFT)


def philox(seed: Scalar, stream: Scalar, step: Scalar, index: Scalar) -> Scalar:
    """The random uint32 of element ``index`` of ``stream`` in training step ``step``; all four are uint64."""
    key = _mix(_mix(seed + GOLDEN) + stream)
    c0, c1, c2, c3 = index & _WORD32, index >> 32, step & _WORD32, step >> 32
    k0, k1 = key & _WORD32, key >> 32
    for turn in range(ROUNDS):
        if turn:
            k0, k1 = (k0 + KEY_STEPS[0]) & _WORD32, (k1 + KEY_STEPS[1]) & _WORD32
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1 = (second >> 32) ^ c1 ^ k0, second & _WORD32
        c2, c3 = (first >> 32) ^ c3 ^ k1, first & _WORD32
    return convert(c0, "uint32")
