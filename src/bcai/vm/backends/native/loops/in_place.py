"""Which results of a loop may lie in the memory of an operand.

Note [Results in place]
    A result may take over an operand's memory if each of its elements is written after the
    operand's element there was read for the last time. That holds if
    - the loop walks through both in the same way, from the same place of their buffers on, and
      reads or writes neither buffer in another way: then an element is overwritten by its own index
      only, and units, which store different elements, do not meet;
    - no pass after the one that stores it reads the operand again (Note [Passes over a row]);
    - the vectors cover the row exactly: one that overlaps the one before it would read what that
      one has written (Note [Vectors that overlap]). Columns and tiles are left alone, as theirs do.
    A vector's operands are all read before any of it is stored.
"""

from collections.abc import Sequence

from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.loops.form import Form, Read, Store
from bcai.vm.backends.native.loops.schedule import Pass
from bcai.vm.backends.native.loops.shares import vector_count
from bcai.vm.backends.native.target import Target


def in_place(
    form: Form, addresses: Sequence[Address], passes: Sequence[Pass], target: Target
) -> tuple[tuple[int, int], ...]:
    """Pairs of buffers, one that is read and one that may be written in the same memory."""
    if form.columns or form.tiles or form.partial:
        return ()
    if form.vector_size % vector_count(form, target):
        return ()
    touched = [address.buffer for address in addresses]
    found: list[tuple[int, int]] = []
    for number, node in enumerate(form.nodes):
        if not isinstance(node, Read):
            continue
        last = max((each.level for each in passes if number in each.order), default=None)
        for place, store in enumerate(form.stores):
            first = min((each.level for each in passes if place in each.stores), default=None)
            if last is None or first is None or first < last:
                continue
            pair = (touched[node.access.slot], touched[store.access.slot])
            alone = all(touched.count(each) == 1 for each in pair)
            if alone and _lie_alike(node, store, addresses):
                found.append(pair)
    return tuple(found)


def _lie_alike(read: Read, store: Store, addresses: Sequence[Address]) -> bool:
    """Whether an element of each lies at the same place of its buffer, at every index."""
    one, two = read.access, store.access
    return (
        one.strides == two.strides
        and all(one.strides)
        and one.dtype.itemsize == two.dtype.itemsize
        and addresses[one.slot].offset == addresses[two.slot].offset
    )
