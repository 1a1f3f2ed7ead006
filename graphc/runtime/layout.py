"""The words that the table (Python) and the walk (compiled) must agree on, and nothing else.

Everything is made of 64-bit words.  Word numbers count from the start of their structure; one word is
:data:`WORD` bytes.  The text of this file is part of the walker's cache key, so a change here recompiles the walk.
"""

WORD = 8
"""Bytes of a word."""

# --- an entry of the table: its opcode in word 0, then operands ---------------------------------------------------
ENTRY_WORDS = 8
OPCODE = 0

CALL = 1  # kernel address, buffers, dims, everyone?, barrier?
KERNEL, BUFFERS, DIMS, EVERYONE, BARRIER = 1, 2, 3, 4, 5
LOOP = 2  # cell of the count, cell of the iteration, patches, how many, the entry after the loop
COUNT, ITERATION, PATCHES, PATCH_COUNT, EXIT = 1, 2, 3, 4, 5
END_LOOP = 3  # the LOOP entry it closes
OPENING = 1
JUMP = 4  # the entry to go to
TARGET = 1
JUMP_IF_ZERO = 5  # TARGET as above, cell that holds the flag's address, bytes of the flag (1 or 8)
FLAG, FLAG_BYTES = 2, 3
COPY = 6  # cells that hold the destination's address, the source's address and the number of bytes
FILL_ZERO = 7  # the same without a source
TO, SOURCE, SIZE = 1, 2, 3
COMMIT = 8
END = 9

# --- a patch of a loop: *cell = base + offset * stride -------------------------------------------------------------
PATCH_WORDS = 5
PATCH_CELL, PATCH_BASE, PATCH_STRIDE, PATCH_FORM, PATCH_CAPTURED = 0, 1, 2, 3, 4
PARITY = 1  # form bit: the offset is 0, 1, 0, 1 ... instead of 0, 1, 2, 3 ...
REVERSE = 2  # form bit: iterations are counted from the last one down

# --- the run block of a table: where a walk is, so that it can be left and resumed --------------------------------
RUN_WORDS = 8
RUN_ENTRIES, RUN_POSITION, RUN_COMMITTED, RUN_STATUS, RUN_COUNTER = 0, 1, 2, 3, 4

STATUS_WORDS = 4  # failure code (0: fine), kernel, index, value

# --- the shared block of a set of workers --------------------------------------------------------------------------
SHARED_GENERATION = 0  # line 0: regions published so far; written by worker 0
SHARED_ARRIVALS = 8  # line 1: shares of regions finished so far by the others
SHARED_ENTRIES, SHARED_POSITION, SHARED_STOP, SHARED_PROCESSOR = 16, 17, 18, 19  # line 2
SHARED_SPIN, SHARED_PATIENCE = 20, 21  # nanoseconds; set once
SHARED_WORKERS = 24  # line 3 and on: one record a follower
FOLLOWER_WORDS = 24
FOLLOWER_PARKED, FOLLOWER_SEMAPHORE = 0, 2  # a POSIX semaphore takes 32 bytes on 64-bit Linux
FOLLOWER_PROCESSORS, PROCESSORS_WORDS = 8, 16  # room for a set of processors, one bit each

# --- what a walk says when it returns ------------------------------------------------------------------------------
FINISHED, PAUSED, FAILED, MISFIT = 0, 1, 2, 3
"""The step ran to its end; a slice of time is over; a kernel failed before the commit; feeds do not fit the gate."""

SLICE_NS = 100_000_000
"""Nanoseconds after which a walk that has not committed returns to Python, so that Ctrl-C is served."""

# --- what a stamp writes (only where a step is profiled): a record for all workers, then one for each; logs of events
RECORD_WORDS = 8  # a cache line, so that no worker waits for another's
RECORD_START, RECORD_TOTAL, RECORD_COUNT, RECORD_LEAST = 0, 1, 2, 3  # nanoseconds, and how many intervals
LOG_USED, LOG_CAPACITY, LOG_EVENTS, EVENT_WORDS = 0, 1, 2, 3  # an event: number, begin, end
STAMP_ENDS, STAMP_BY_WORKER, STAMP_NUMBER, STAMP_LOG_WORDS = 0, 1, 2, 3  # words of a stamp's dims
PROBE_CHAINS = 12  # independent multiply-adds: latency times rate on known cores, in the registers of every target

# --- the plan of a gate: what it hands to whom, then a record for each fed array -----------------------------------
GATE_COUNT, GATE_RUN, GATE_CREW, GATE_WALK = 0, 1, 2, 3  # feeds; run block; two words (shared block, workers); walk
GATE_RELEASE, GATE_ACQUIRE, GATE_MAKE_INT = 4, 5, 6  # functions of the interpreter: give up its lock, take it, an int
GATE_FEEDS = 8
FEED_WORDS = 8
FEED_TYPE, FEED_DTYPE, FEED_RANK, FEED_SIZES = 0, 1, 2, 3  # addresses of the type and dtype objects; axes; their sizes
FEED_CELLS, FEED_CELL_COUNT = 4, 5  # pairs of words: address of a cell, bytes to add to the array's address

# --- fields of a NumPy array, in words after the head of a Python object; the rank and the flags are C ints ----------
ARRAY_DATA, ARRAY_RANK, ARRAY_SIZES, ARRAY_DTYPE, ARRAY_FLAGS = 0, 1, 2, 5, 6
PLAIN = 0x0101
"""Flags of an array that kernels can read in place: C-contiguous and aligned."""
