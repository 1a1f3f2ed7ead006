"""Python's cyclic garbage collector, held back while a program is made and bound to memory.

Passes make hundreds of thousands of small objects that all live until the end. Each full collection walks every one
of them and frees nothing, and there are more of these walks the larger the graph: measured on a chain of 64,000
nodes, 519 us a node with the collector against 310 without it; on 1,000 nodes it is 285 without.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No automatic collection inside; afterwards as before."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
