"""How a launch is shared out over threads, in native code.

Note [Pool memory]
    A pool is a block of whole numbers of 64 bits that all its threads see. Numbers that are written
    often lie in cache lines of their own.

Note [Ticket]
    `TICKET` holds the generation of the present launch (upper half), and how many of its chunks are
    taken from either end (16 bits each). A thread reads the ticket, then the launch, and takes a
    chunk by counting it in the ticket, if that is still what it read. Before the launch is
    rewritten the ticket becomes one that nobody can take, of a new generation: so a thread that was
    held up in between takes nothing, and nobody need wait for it. The caller waits for chunks that
    were taken, not for threads.

Note [Two ends]
    A launch often reads what the one before it wrote. The caller takes chunks from the front and
    all others from the back, so that most of what a thread reads is in its own processor's caches:
    from those of another one it comes at a tenth of the speed.

Note [Idle threads]
    To be woken takes a thread longer than a small launch takes, so one that has nothing to do first
    pauses, then gives its processor away again and again, and only then sleeps. But on the caller's
    processor it sleeps at once: the kernel moves a thread to an idle processor when it wakes it,
    and for long not otherwise. `PROCESSOR` is the caller's, as of the start of the run.
"""

from dataclasses import dataclass

from bcai.vm.backends.native import atomic
from bcai.vm.backends.native.float_mode import enter_float_mode
from bcai.vm.backends.native.llvm import I64, POINTER, VOID, Function, Module, Number, Value
from bcai.vm.backends.native.target import Target

TICKET = 0
ENTRY, ARGUMENTS, UNITS, CHUNK, CHUNKS = 8, 9, 10, 11, 12
FINISHED, STATUS = 16, 24
SLEEPERS, STOP = 32, 40
THREADS, SCRATCH, SCRATCH_STRIDE, SYSCALL, PROCESSOR = 48, 49, 50, 51, 52
POOL_WORDS = 64

CHUNKS_PER_THREAD = 4
"""More even out threads of unlike speed; fewer save what a kernel does once a chunk."""
SPINS = 600
"""Pauses before a waiting thread gives its processor away: about 20 microseconds."""
YIELDS = 2000
"""Times an idle thread gives its processor away before it sleeps: about a millisecond, longer than
Python takes between two runs of a loop."""
_NOBODY = 0xFFFFFFFF
_HALF = 32
_SIDE_BITS, _SIDE = 16, 0xFFFF
_FUTEX_WAIT, _FUTEX_WAKE, _PRIVATE = 0, 1, 128
_FUTEX, _YIELD = {True: 202, False: 98}, {True: 24, False: 124}  # x86-64, AArch64
_PROCESSOR = {True: 309, False: 168}
_EVERYONE = 2**31 - 1


def pointer_at(f: Function, block: Value, word: int) -> Value:
    """Read word `word` of a block as an address."""
    return f.load_pointer(f.offset(block, word, I64))


def number_at(f: Function, block: Value, word: int) -> Value:
    """Read word `word` of a block."""
    return f.load(f.offset(block, word, I64), I64)


def call_kernel(
    f: Function, entry: Value, arguments: Value, begin: Value, end: Value, scratch: Value
) -> Value:
    """Call an entry point: Note [Calling convention of a kernel]."""
    types = (POINTER, I64, I64, POINTER)
    return f.call_address(entry, types, (arguments, begin, end, scratch), I64)


def write_share(module: Module, target: Target) -> Value:
    """`i64 share(pool, entry, arguments, units, chunk)`: all threads do one launch."""
    name = "bcai_share"
    if module.has(name):
        return module.handle(name)
    f = module.function(name, (POINTER, POINTER, POINTER, I64, I64), I64, internal=True)
    pool, entry, arguments, units, chunk = f.arguments
    ticket = f.offset(pool, TICKET, I64)
    generation = f.b.lshr(atomic.read(f, ticket), f.number(_HALF))
    closed = f.b.shl(f.add(generation, 1), f.number(_HALF))
    atomic.write(f, f.b.or_(closed, f.number(_NOBODY)), ticket)
    chunks = f.div(f.sub(f.add(units, chunk), 1), chunk)
    words: list[tuple[int, Number]] = [
        (ENTRY, f.b.ptrtoint(entry, I64)), (ARGUMENTS, f.b.ptrtoint(arguments, I64)),
        (UNITS, units), (CHUNK, chunk), (CHUNKS, chunks), (FINISHED, 0), (STATUS, 0),
    ]  # fmt: skip
    for word, value in words:
        atomic.write(f, value, f.offset(pool, word, I64))
    atomic.write(f, f.b.shl(f.add(generation, 2), f.number(_HALF)), ticket)
    with f.when(f.less(0, atomic.read(f, f.offset(pool, SLEEPERS, I64))), likely=False):
        _futex(f, target, pool, _FUTEX_WAKE, f.number(_EVERYONE))
    f.call(_write_take_chunks(module), [pool, 0])
    _wait_for_chunks(f, target, pool, chunks)
    f.give(atomic.read(f, f.offset(pool, STATUS, I64)))
    return f.handle


def _wait_for_chunks(f: Function, target: Target, pool: Value, chunks: Value) -> None:
    spins = f.stack(I64, 1)
    f.store(f.number(0), spins)
    with atomic.repeat(f) as done:
        finished = atomic.read(f, f.offset(pool, FINISHED, I64))
        atomic.leave(f, f.equal(finished, chunks), done)
        count = f.add(f.load(spins, I64), 1)
        f.store(count, spins)
        with f.either(f.less(count, SPINS)) as (soon, late):
            with soon:
                atomic.pause(f, target)
            with late:  # the thread that has the chunk may wait for this very processor
                _yield(f, target, pool)


def _write_take_chunks(module: Module) -> Value:
    """`void take_chunks(pool, index)`: do chunks of the present launch until all are taken."""
    name = "bcai_take_chunks"
    if module.has(name):
        return module.handle(name)
    f = module.function(name, (POINTER, I64), VOID, internal=True)
    pool, index = f.arguments
    ticket_at = f.offset(pool, TICKET, I64)
    with atomic.repeat(f) as done:
        ticket = atomic.read(f, ticket_at)
        front = f.b.and_(ticket, f.number(_SIDE))
        back = f.b.and_(f.b.lshr(ticket, f.number(_SIDE_BITS)), f.number(_SIDE))
        entry, arguments, units, chunk, chunks = (
            atomic.read(f, f.offset(pool, word, I64))
            for word in (ENTRY, ARGUMENTS, UNITS, CHUNK, CHUNKS)
        )
        atomic.leave(f, f.b.not_(f.less(f.add(front, back), chunks)), done)
        is_caller = f.equal(index, 0)
        number = f.b.select(is_caller, front, f.sub(f.sub(chunks, 1), back))
        taken = f.b.select(is_caller, f.number(1), f.number(1 << _SIDE_BITS))
        with f.when(atomic.exchange_if_equal(f, ticket_at, ticket, f.add(ticket, taken))):
            begin = f.mul(number, chunk)
            end = f.minimum(f.add(begin, chunk), units)
            stride = number_at(f, pool, SCRATCH_STRIDE)
            scratch = f.offset(pointer_at(f, pool, SCRATCH), f.mul(index, stride))
            at, given = f.b.inttoptr(entry, POINTER), f.b.inttoptr(arguments, POINTER)
            status = call_kernel(f, at, given, begin, end, scratch)
            with f.when(f.b.not_(f.equal(status, 0)), likely=False):
                atomic.write(f, 1, f.offset(pool, STATUS, I64))
            atomic.add(f, f.offset(pool, FINISHED, I64), 1)
    f.give()
    return f.handle


@dataclass(frozen=True, slots=True)
class Worker:
    """`void bcai_worker(ptr pool, i64 index)`: what a thread of the pool does until it stops."""

    symbol: str = "bcai_worker"
    library: str | None = "runtime"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        f = module.function(self.symbol, (POINTER, I64), VOID)
        pool, index = f.arguments
        enter_float_mode(f, target)
        seen = f.stack(I64, 1)
        spins = f.stack(I64, 1)
        processor = f.stack(I64, 1)
        f.store(f.number(0), processor)
        f.store(_generation(f, pool), seen)
        take_chunks = _write_take_chunks(module)
        with atomic.repeat(f) as stopped:
            # `seen` is read before: one that starts after the pool was stopped must not wait
            stop = atomic.read(f, f.offset(pool, STOP, I64))
            atomic.leave(f, f.b.not_(f.equal(stop, 0)), stopped)
            f.call(take_chunks, [pool, index])
            f.store(f.number(0), spins)
            with atomic.repeat(f) as changed:
                now = _generation(f, pool)
                atomic.leave(f, f.b.not_(f.equal(now, f.load(seen, I64))), changed)
                count = f.add(f.load(spins, I64), 1)
                f.store(count, spins)
                with f.either(f.less(count, 2 * SPINS)) as (soon, late):
                    with soon:
                        atomic.pause(f, target)
                    with late:
                        patient = f.less(count, 2 * SPINS + YIELDS)
                        note_processor(f, target, pool, processor)
                        caller = atomic.read(f, f.offset(pool, PROCESSOR, I64))
                        apart = f.b.not_(f.equal(f.load(processor, I64), caller))
                        with f.either(f.b.and_(patient, apart)) as (yes, no):
                            with yes:
                                _yield(f, target, pool)
                            with no:
                                _sleep(f, target, pool, f.load(seen, I64))
            f.store(_generation(f, pool), seen)
        f.give()


def _generation(f: Function, pool: Value) -> Value:
    return f.b.lshr(atomic.read(f, f.offset(pool, TICKET, I64)), f.number(_HALF))


def note_processor(f: Function, target: Target, pool: Value, place: Value) -> None:
    """Write the number of the processor that this thread runs on: 32 bits, at `place`."""
    call = pointer_at(f, pool, SYSCALL)
    number = _PROCESSOR[target.triple.startswith("x86_64")]
    atomic.system_call(f, call, number, place, 0, 0)


def _yield(f: Function, target: Target, pool: Value) -> None:
    """Let others that wait for this processor have it."""
    call = pointer_at(f, pool, SYSCALL)
    atomic.system_call(f, call, _YIELD[target.triple.startswith("x86_64")])


def _sleep(f: Function, target: Target, pool: Value, seen: Value) -> None:
    """Wait in the kernel while the generation is `seen`."""
    sleepers = f.offset(pool, SLEEPERS, I64)
    atomic.add(f, sleepers, 1)
    _futex(f, target, pool, _FUTEX_WAIT, seen)
    atomic.add(f, sleepers, -1)


def _futex(f: Function, target: Target, pool: Value, operation: int, value: Value) -> None:
    half = f.offset(pool, 4)  # the generation: the upper half of the ticket, little-endian
    number = _FUTEX[target.triple.startswith("x86_64")]
    call = pointer_at(f, pool, SYSCALL)
    atomic.system_call(f, call, number, half, operation | _PRIVATE, value, 0, 0, 0)
