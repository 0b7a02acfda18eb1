"""How much memory a run takes, said before it.

Note [Bytes of a run]
    Counted is every page that a run may touch: the arena, inputs, outputs and constants; the tables
    that hold their addresses; for each thread its scratch and its stack; the arrays as Python
    objects. Not counted is what is there before a run is called: Python, its libraries and the code
    itself. Nor is what nobody can know: the temporaries of an instruction that has no native code,
    and the copy of an input that was given in pieces.
"""

from bcai.vm.backends.native.layout import Layout
from bcai.vm.backends.native.memory import PAGE, POOLED_BYTES_MIN
from bcai.vm.compiler.plan import OpTask, Role

ARRAY_BYTES = 1024
"""An array with its block, as Python objects, and its entry in a dictionary."""
CALL_BYTES = 128 * 1024
"""What a call takes beside: Python's frames, and pages of libraries that nothing else has used."""
THREAD_BYTES = 32 * 1024
"""Stack of a thread of the pool, and what Python and the C library keep for it."""
COPIES = 3
"""An output that is a view is put in order, made canonical and then handed out, at the worst."""


def run_bytes(layout: Layout, threads: int) -> int:
    """Bytes that a run on so many threads needs at its worst moment (Note [Bytes of a run])."""
    memory = block_bytes(layout.arena.nbytes) + block_bytes(layout.constants.nbytes)
    memory += scratch_bytes(layout.scratch_bytes, threads) + THREAD_BYTES * (threads - 1)
    for buffer in layout.buffers:
        if buffer.role in (Role.INPUT, Role.OUTPUT):
            memory += array_bytes(buffer.nbytes)
    for view in layout.outputs.values():
        if layout.buffers[view.buffer].role is not Role.OUTPUT:
            memory += COPIES * array_bytes(view.type.nbytes)
    for segment in layout.segments:
        if isinstance(segment, OpTask):
            memory += sum(array_bytes(view.type.nbytes) for view in segment.results)
    tables = layout.tape.nbytes + layout.arguments.nbytes + 8 * len(layout.buffers)
    return memory + tables + CALL_BYTES


def array_bytes(nbytes: int) -> int:
    """Memory of an input or an output: a block's, or NumPy's own."""
    return ARRAY_BYTES + (block_bytes(nbytes) if nbytes >= POOLED_BYTES_MIN else nbytes)


def block_bytes(nbytes: int) -> int:
    """Whole pages."""
    return -(-nbytes // PAGE) * PAGE


def scratch_bytes(nbytes: int, threads: int) -> int:
    """Scratch of all threads: they lie side by side."""
    return block_bytes(nbytes) * threads
