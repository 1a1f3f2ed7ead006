"""The walk over the call table: fork and join over kernels, with all control in worker 0.

This file is a *source text*: its compiled object code is loaded from the kernel cache (see ``workers.py``), and only
a cold cache imports it, and Numba with it.  It defines three C functions.

``walk(run, shared, workers)``
    Worker 0, the caller.  It goes through the table alone: loops, jumps, copies, and kernels that one worker is
    enough for.  When it meets a kernel for everyone it *publishes a region*, the longest run of kernels up to the
    next flagged barrier or control entry, by raising the generation word; takes its own share of it; and waits until
    the arrivals counter says that all others have finished theirs.  That wait is the barrier.

``follow(shared, worker, workers)``
    Every other worker.  It waits for the next generation, does its share of that region, arrives, and waits again.

``dismiss(shared, workers)``
    A last generation, which tells the followers to return.

What follows from this shape:

* Only worker 0 reads conditions, failures and the clock, and it does so while all others wait.  Stopping, pausing
  or jumping is therefore one decision that all workers see alike, and a pause needs no word to the others.
* Inside a region workers run on without waiting for one another: a kernel for one worker is skipped by the others.
* Between two regions any number of control entries and small kernels costs no barrier at all.
* With one worker nothing is published: an entry costs its call, one look at the status word and one at the clock.
* Both counters only grow (2**63 regions last for centuries), so no barrier can be mistaken for an earlier one.

All state of a walk (position, iterations, patch bases) lies in memory, so it resumes where it paused.  After COMMIT
it never pauses: variables are being written, and the step ends in the same call whatever the user presses.
"""
# mypy: ignore-errors
# Numba types these functions itself, and calls intrinsics without the context argument that Python sees.

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from graphc.codegen.cpu.frontend import procedure
from graphc.runtime import layout as at

I32, I64 = ir.IntType(32), ir.IntType(64)
CONTROL_CODE = True  # for the compiler: no loop here is worth unrolling
CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE = 1, 6  # Linux; the coarse one is 4 ms late at most and costs 3 ns, not 23
LOOKS = 32  # looks at a word between two looks at the clock
FOREVER = 1 << 62

# --- what Python has no word for -----------------------------------------------------------------------------------


def _word(builder, address):
    return builder.inttoptr(address, I64.as_pointer())


def _libc(builder, name, result, arguments):
    """Call a function of the C library, or of those that LLVM has an instruction for."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


@intrinsic
def word(typingctx, base, number):
    """The address of a structure's word."""

    def codegen(context, builder, signature, args):
        return builder.add(args[0], builder.mul(args[1], ir.Constant(I64, at.WORD)))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def load(typingctx, address):
    """The word at an address."""

    def codegen(context, builder, signature, args):
        return builder.load(_word(builder, args[0]))

    return types.int64(types.int64), codegen


@intrinsic
def load_byte(typingctx, address):
    """The unsigned byte at an address."""

    def codegen(context, builder, signature, args):
        byte = builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))
        return builder.zext(byte, I64)

    return types.int64(types.int64), codegen


@intrinsic
def store(typingctx, address, value):
    """Set the word at an address."""

    def codegen(context, builder, signature, args):
        builder.store(args[1], _word(builder, args[0]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def peek(typingctx, address):
    """The word at an address, read atomically in the one order that all workers agree on."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_word(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def increase(typingctx, address):
    """Add 1 to a word atomically; the value after."""

    def codegen(context, builder, signature, args):
        one = ir.Constant(I64, 1)
        return builder.add(builder.atomic_rmw("add", _word(builder, args[0]), one, "seq_cst"), one)

    return types.int64(types.int64), codegen


@intrinsic
def swap(typingctx, address, value):
    """Set a word atomically; the value before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("xchg", _word(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def call_kernel(typingctx, kernel, buffers, dims, worker, workers):
    """Call ``void kernel(int64* buffers, int64* dims, int64 worker, int64 workers)`` at an address."""

    def codegen(context, builder, signature, args):
        pointer = I64.as_pointer()
        kernel_type = ir.FunctionType(ir.VoidType(), [pointer, pointer, I64, I64])
        function = builder.inttoptr(args[0], kernel_type.as_pointer())
        builder.call(function, [_word(builder, args[1]), _word(builder, args[2]), args[3], args[4]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this is a spin loop: it saves power and leaves a sibling thread room."""

    def codegen(context, builder, signature, args):
        machine = platform.machine()
        if machine == "x86_64":
            _libc(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif machine == "aarch64":
            _libc(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.Constant(I32, 1)])  # YIELD
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_processor(typingctx):
    """Let another thread have this processor."""

    def codegen(context, builder, signature, args):
        _libc(builder, "sched_yield", I32, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def post(typingctx, semaphore):
    """Add a token to a semaphore and wake its waiter."""

    def codegen(context, builder, signature, args):
        _libc(builder, "sem_post", I32, [_word(builder, args[0])])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def take(typingctx, semaphore):
    """Sleep until a semaphore has a token and take it; not 0 when a signal handler broke the sleep."""

    def codegen(context, builder, signature, args):
        return builder.sext(_libc(builder, "sem_wait", I32, [_word(builder, args[0])]), I64)

    return types.int64(types.int64), codegen


@intrinsic
def processor(typingctx):
    """Number of the processor that this thread runs on."""

    def codegen(context, builder, signature, args):
        return builder.sext(_libc(builder, "sched_getcpu", I32, []), I64)

    return types.int64(), codegen


def _affinity(name):
    """`sched_getaffinity` or `sched_setaffinity` of the calling thread, on a set of bits; 0 when done."""

    @intrinsic
    def call(typingctx, processors):
        def codegen(context, builder, signature, args):
            size = ir.Constant(I64, at.PROCESSORS_WORDS * at.WORD)
            arguments = [ir.Constant(I32, 0), size, _word(builder, args[0])]
            return builder.sext(_libc(builder, name, I32, arguments), I64)

        return types.int64(types.int64), codegen

    return call


get_processors, set_processors = _affinity("sched_getaffinity"), _affinity("sched_setaffinity")


@intrinsic
def clock(typingctx, which):
    """Nanoseconds of a clock of the system."""

    def codegen(context, builder, signature, args):
        time = cgutils.alloca_once(builder, ir.ArrayType(I64, 2))
        time = builder.bitcast(time, I64.as_pointer())
        _libc(builder, "clock_gettime", I32, [builder.trunc(args[0], I32), time])
        seconds = builder.load(time)
        nanoseconds = builder.load(builder.gep(time, [ir.Constant(I64, 1)]))
        return builder.add(builder.mul(seconds, ir.Constant(I64, 1_000_000_000)), nanoseconds)

    return types.int64(types.int64), codegen


@intrinsic
def move_bytes(typingctx, to, source, size):
    """``memmove``: ranges may overlap."""

    def codegen(context, builder, signature, args):
        _libc(builder, "memmove", I64.as_pointer(), [_word(builder, args[0]), _word(builder, args[1]), args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def zero_bytes(typingctx, to, size):
    """``memset`` with 0."""

    def codegen(context, builder, signature, args):
        _libc(builder, "memset", I64.as_pointer(), [_word(builder, args[0]), ir.Constant(I32, 0), args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


# --- waiting -------------------------------------------------------------------------------------------------------


@procedure
def reaches(address, goal, spin, patience):
    """Wait until a growing word is at least `goal`: spin, then yield; False after `patience` nanoseconds.

    Spinning answers within a fraction of a microsecond, so it comes first; but the thread waited for may need this
    very processor, so it is short, and from then on every round offers the processor.
    """
    if peek(address) >= goal:
        return True
    start = clock(CLOCK_MONOTONIC)
    while True:
        for _ in range(LOOKS):
            pause()
            if peek(address) >= goal:
                return True
        waited = clock(CLOCK_MONOTONIC) - start
        if waited >= patience:
            return False
        if waited >= spin:
            yield_processor()


@procedure
def park(shared, follower, generation):
    """Sleep until woken, unless `generation` has been published meanwhile.

    No wake-up is lost.  The follower sets PARKED, then reads the generation; worker 0 raises the generation, then
    reads PARKED; all four are sequentially consistent, so at least one of the two sees the other's write.  If the
    follower does, it stays awake; if worker 0 does, it posts.

    No token is left over.  PARKED goes from 1 to 0 by an exchange, which only one side can win: worker 0 posts exactly
    when it wins, and the follower takes a token exactly when it does not.
    """
    parked = word(follower, at.FOLLOWER_PARKED)
    swap(parked, 1)
    if peek(word(shared, at.SHARED_GENERATION)) >= generation and swap(parked, 0) == 1:
        return
    while take(word(follower, at.FOLLOWER_SEMAPHORE)) != 0:
        pass
    busy = load(word(shared, at.SHARED_PROCESSOR))
    if processor() == busy:
        leave(busy, word(follower, at.FOLLOWER_PROCESSORS))


@procedure
def leave(busy, processors):
    """Move this thread off the processor that worker 0 is busy on, if it may use another.

    Woken threads often land there on virtual machines, whose idle processors the system takes for unavailable, and
    stay until it next balances loads: 14 ms in which two workers are slower than one.  Forbidding the processor for a
    moment moves the thread at once.
    """
    if get_processors(processors) != 0:
        return
    place, bit = word(processors, busy >> 6), 1 << (busy & 63)
    store(place, load(place) & ~bit)
    others = 0
    for i in range(at.PROCESSORS_WORDS):
        others |= load(word(processors, i))
    if others != 0:
        set_processors(processors)
        store(place, load(place) | bit)
        set_processors(processors)


@procedure
def publish(shared, workers):
    """Raise the generation and wake whoever sleeps; the new generation."""
    generation = increase(word(shared, at.SHARED_GENERATION))
    for worker in range(1, workers):
        follower = word(shared, at.SHARED_WORKERS + (worker - 1) * at.FOLLOWER_WORDS)
        parked = word(follower, at.FOLLOWER_PARKED)
        if peek(parked) == 1:
            store(word(shared, at.SHARED_PROCESSOR), processor())
            if swap(parked, 0) == 1:
                post(word(follower, at.FOLLOWER_SEMAPHORE))
    return generation


# --- a region: kernels that all workers run together ----------------------------------------------------------------


@procedure
def share(entries, position, worker, workers):
    """One worker's part of the region that starts at `position`; the position after the region."""
    first = position
    while True:
        entry = word(entries, position * at.ENTRY_WORDS)
        if load(word(entry, at.OPCODE)) != at.CALL:
            return position
        if load(word(entry, at.BARRIER)) != 0 and position != first:
            return position
        if worker == 0 or load(word(entry, at.EVERYONE)) != 0:
            run_kernel(entry, worker, workers)
        position += 1


@procedure
def run_kernel(entry, worker, workers):
    """Call the kernel of one entry; a kernel for one worker is told that it is alone."""
    if load(word(entry, at.EVERYONE)) == 0:
        workers = 1
    kernel, buffers, dims = load(word(entry, at.KERNEL)), load(word(entry, at.BUFFERS)), load(word(entry, at.DIMS))
    call_kernel(kernel, buffers, dims, worker, workers)


@procedure
def run_region(entries, position, shared, workers):
    """Publish a region, take worker 0's share, wait for the others; the position after the region."""
    store(word(shared, at.SHARED_ENTRIES), entries)
    store(word(shared, at.SHARED_POSITION), position)
    generation = publish(shared, workers)
    position = share(entries, position, 0, workers)
    reaches(word(shared, at.SHARED_ARRIVALS), generation * (workers - 1), load(word(shared, at.SHARED_SPIN)), FOREVER)
    return position


def follow(shared, worker, workers):
    """The life of a worker other than 0; returns when told to stop."""
    follower = word(shared, at.SHARED_WORKERS + (worker - 1) * at.FOLLOWER_WORDS)
    spin, patience = load(word(shared, at.SHARED_SPIN)), load(word(shared, at.SHARED_PATIENCE))
    generation = 1
    while True:
        while not reaches(word(shared, at.SHARED_GENERATION), generation, spin, patience):
            park(shared, follower, generation)
        if load(word(shared, at.SHARED_STOP)) != 0:
            return 0
        share(load(word(shared, at.SHARED_ENTRIES)), load(word(shared, at.SHARED_POSITION)), worker, workers)
        increase(word(shared, at.SHARED_ARRIVALS))
        generation += 1


def dismiss(shared, workers):
    """Tell all followers to return; no walk may be under way."""
    store(word(shared, at.SHARED_STOP), 1)
    return publish(shared, workers)


# --- control entries: worker 0 alone --------------------------------------------------------------------------------


@procedure
def set_iteration(entry, iteration, count):
    """Store a loop's iteration and move the cells of its body accordingly."""
    store(load(word(entry, at.ITERATION)), iteration)
    patches = load(word(entry, at.PATCHES))
    for i in range(load(word(entry, at.PATCH_COUNT))):
        patch = word(patches, i * at.PATCH_WORDS)
        form = load(word(patch, at.PATCH_FORM))
        offset = count - 1 - iteration if form & at.REVERSE else iteration
        if form & at.PARITY:
            offset &= 1
        base, stride = load(word(patch, at.PATCH_CAPTURED)), load(load(word(patch, at.PATCH_STRIDE)))
        store(load(word(patch, at.PATCH_CELL)), base + offset * stride)


@procedure
def enter_loop(entry, position):
    """Read the bases (an outer loop may have moved them) and begin; the position to go on from."""
    patches = load(word(entry, at.PATCHES))
    for i in range(load(word(entry, at.PATCH_COUNT))):
        patch = word(patches, i * at.PATCH_WORDS)
        store(word(patch, at.PATCH_CAPTURED), load(load(word(patch, at.PATCH_BASE))))
    count = load(load(word(entry, at.COUNT)))
    set_iteration(entry, 0, count)
    return position + 1 if count > 0 else load(word(entry, at.EXIT))


@procedure
def next_iteration(entries, position):
    """Go round again or leave; on leaving, cells hold what one more iteration would have found."""
    opening = load(word(word(entries, position * at.ENTRY_WORDS), at.OPENING))
    entry = word(entries, opening * at.ENTRY_WORDS)
    count, iteration = load(load(word(entry, at.COUNT))), load(load(word(entry, at.ITERATION))) + 1
    set_iteration(entry, iteration, count)
    return opening + 1 if iteration < count else position + 1


@procedure
def jump_if_zero(entry, position):
    """The position to go on from."""
    flag = load(load(word(entry, at.FLAG)))
    value = load_byte(flag) if load(word(entry, at.FLAG_BYTES)) == 1 else load(flag)
    return load(word(entry, at.TARGET)) if value == 0 else position + 1


@procedure
def control(entries, entry, opcode, position):
    """Carry out a control entry other than COMMIT and END; the position to go on from."""
    if opcode == at.LOOP:
        return enter_loop(entry, position)
    if opcode == at.END_LOOP:
        return next_iteration(entries, position)
    if opcode == at.JUMP:
        return load(word(entry, at.TARGET))
    if opcode == at.JUMP_IF_ZERO:
        return jump_if_zero(entry, position)
    to, size = load(load(word(entry, at.TO))), load(load(word(entry, at.SIZE)))
    if opcode == at.COPY:
        move_bytes(to, load(load(word(entry, at.SOURCE))), size)
    else:
        zero_bytes(to, size)
    return position + 1


@procedure
def finish(run, committed):
    """Count a step that committed; its counter moves with its variables."""
    counter = load(word(run, at.RUN_COUNTER))
    if committed and counter != 0:
        store(counter, load(counter) + 1)


def walk(run, shared, workers):
    """Worker 0's walk from the stored position; FINISHED, PAUSED or FAILED."""
    entries, status = load(word(run, at.RUN_ENTRIES)), load(word(run, at.RUN_STATUS))
    position, committed = load(word(run, at.RUN_POSITION)), load(word(run, at.RUN_COMMITTED))
    deadline = clock(CLOCK_MONOTONIC_COARSE) + at.SLICE_NS
    while True:
        entry = word(entries, position * at.ENTRY_WORDS)
        opcode = load(word(entry, at.OPCODE))
        if opcode == at.CALL:
            if workers > 1 and load(word(entry, at.EVERYONE)) != 0:
                position = run_region(entries, position, shared, workers)
            else:
                run_kernel(entry, 0, 1)
                position += 1
        elif opcode == at.COMMIT:
            committed = 1
            store(word(run, at.RUN_COMMITTED), committed)
            position += 1
        elif opcode == at.END:
            finish(run, committed)
            return at.FINISHED
        else:
            position = control(entries, entry, opcode, position)
        if committed == 0:
            if load(status) != 0:
                return at.FAILED
            if clock(CLOCK_MONOTONIC_COARSE) >= deadline:
                store(word(run, at.RUN_POSITION), position)
                return at.PAUSED
