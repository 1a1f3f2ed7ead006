"""Random bits as a pure function: Philox4x32-10, the specification in NumPy.

A counter-based generator (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3",
SC 2011) has no state to carry: the random word of an element is a hash of *which* element it is. So any
worker may make any element, in any order, any number of times, and a value recomputed in a backward
pass is the value the forward pass saw. Compiled kernels hold the same function (``philox`` in
``graphc.codegen.cpu``); tests hold the two equal bit by bit.

**The hash.** A 128-bit counter of four words is put through ten rounds under a 64-bit key of two. One round, with
(hi, lo) the halves of a 32 x 32 -> 64 bit product::

    (hi0, lo0) = 0xD2511F53 * c0        (hi1, lo1) = 0xCD9E8D57 * c2
    c = (hi1 ^ c1 ^ k0,  lo1,  hi0 ^ c3 ^ k1,  lo0)
    k = (k0 + 0x9E3779B9,  k1 + 0xBB67AE85)      before every round but the first

**What goes in.** Four whole numbers of 64 bits name a random word:

=========  =================================================================
``seed``   the user's seed
``stream``  which random node of the program
``step``   how many training steps were taken
``index``  which element of the node's result
=========  =================================================================

The counter is (index low, index high, step low, step high): distinct elements and steps never meet. The key
is ``mix(mix(seed + G) + stream)`` with G = 0x9E3779B97F4A7C15 and ``mix`` the finaliser of splitmix64, a bijection;
so under one seed two streams never share a key. The first of the four output words is the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
GOLDEN = 0x9E3779B97F4A7C15
#: splitmix64's finaliser: (shift right and xor, then multiply) twice, then a last shift and xor.
MIX_STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
MIX_LAST_SHIFT = 31

_WORD32 = 0xFFFFFFFF
_WORD64 = 0xFFFFFFFFFFFFFFFF


def mix(word: int) -> int:
    """The finaliser of splitmix64: a bijection of 64-bit words whose every output bit depends on every input bit."""
    word &= _WORD64
    for shift, multiplier in MIX_STEPS:
        word = ((word ^ (word >> shift)) * multiplier) & _WORD64
    return word ^ (word >> MIX_LAST_SHIFT)


def key(seed: int, stream: int) -> int:
    """The 64-bit key of a stream under a seed; both are taken modulo 2**64."""
    return mix(mix(seed + GOLDEN) + stream)


def philox4x32(counter: Sequence[ArrayLike], key_words: tuple[int, int]) -> tuple[NDArray[np.uint32], ...]:
    """Philox4x32-10 itself.

    Parameters
    ----------
    counter : sequence of 4 array_like of uint32
        Counter words, lowest first; broadcast together.
    key_words : tuple of 2 int
        Key words, lowest first.

    Returns
    -------
    tuple of 4 ndarray of uint32
        The four output words of every counter.
    """
    c0, c1, c2, c3 = (np.asarray(word, np.uint32).astype(np.uint64) for word in counter)
    k0, k1 = key_words
    low, half = np.uint64(_WORD32), np.uint64(32)
    for turn in range(ROUNDS):
        if turn:
            k0, k1 = (k0 + KEY_STEPS[0]) & _WORD32, (k1 + KEY_STEPS[1]) & _WORD32
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1 = (second >> half) ^ c1 ^ np.uint64(k0), second & low
        c2, c3 = (first >> half) ^ c3 ^ np.uint64(k1), first & low
    return tuple(word.astype(np.uint32) for word in np.broadcast_arrays(c0, c1, c2, c3))


def philox_reference(seed: int, stream: int, step: int, index: ArrayLike) -> NDArray[np.uint32]:
    """The random word of every element in ``index``.

    Parameters
    ----------
    seed, stream, step : int
        See the module; taken modulo 2**64.
    index : array_like of int
        Element numbers, any shape.

    Returns
    -------
    ndarray of uint32
        Of the shape of ``index``.
    """
    elements = np.asarray(index).astype(np.uint64)
    step &= _WORD64
    halves = (elements & np.uint64(_WORD32), elements >> np.uint64(32), step & _WORD32, step >> 32)
    whole = key(seed, stream)
    return philox4x32([np.asarray(h).astype(np.uint32) for h in halves], (whole & _WORD32, whole >> 32))[0]
