"""What a captured script takes of its node's memory: tensors, and what is noted of them.

Note [What a captured script costs its node]
    The tensors are one part. The other one is what this side notes whatever a tensor's size: an
    entry for every number that the script can name, until it frees it, and to the end of the job a
    leaf for each part and value, with the places of all operands, from which the receipt is
    written. A script can make both without end, with tensors of no element, so both are counted
    against one limit before they are made. The sizes below are what Python takes, measured and
    rounded up; of leaves they hold what writing the receipt takes as well.
"""

from bcai.base.errors import ResourceError
from bcai.base.units import format_count, format_size

HANDLE_BYTES = 450
GIVEN_BYTES = 1200
LEAF_BYTES = 500
RESULT_BYTES = 350
SOURCE_BYTES = 110


class Account:
    """Bytes that are held for one script.

    Attributes
    ----------
    bytes_peak
        The most that there ever were.
    handles
        Numbers that the script can name.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_peak = 0
        self.handles = 0
        self._bytes_max = bytes_max
        self._tensors = 0
        self._leaves = 0

    def hold(self, tensor_bytes: int, handles: int = 1) -> None:
        """Count tensors that the script can name. Raises ResourceError."""
        self.refuse_beyond(tensor_bytes + handles * HANDLE_BYTES)
        self._tensors += tensor_bytes
        self.handles += handles
        self._note_peak()

    def free(self, tensor_bytes: int) -> None:
        """One of them is gone."""
        self._tensors -= tensor_bytes
        self.handles -= 1

    def keep(self, tensor_bytes: int) -> None:
        """Count a tensor that stays to the end. Raises ResourceError."""
        self.refuse_beyond(tensor_bytes)
        self._tensors += tensor_bytes
        self._note_peak()

    def note(self, more: int) -> None:
        """Count what stays to the end and is no tensor. Raises ResourceError."""
        self.refuse_beyond(more)
        self._leaves += more
        self._note_peak()

    def refuse_beyond(self, more: int) -> None:
        """Raise ResourceError, with the reason, if there is no room for so many bytes."""
        noted = self._leaves + self.handles * HANDLE_BYTES
        needed = self._tensors + noted + more
        if needed <= self._bytes_max:
            return
        room = f"their part of the job's memory is {format_size(self._bytes_max)}"
        if self._tensors + more >= noted:
            raise ResourceError(
                f"the captured tensors need {format_size(needed)}; {room}",
                hint="ask for more with limits.memory, or keep fewer tensors",
            )
        held = format_count(self.handles, "tensor")
        raise ResourceError(
            f"what is noted of the captured operations needs {format_size(noted + more)}, for "
            f"{held} that the script keeps and for the receipt; with all tensors {room}",
            hint="ask for more with limits.memory, keep fewer tensors, or run fewer steps in a job",
        )

    def _note_peak(self) -> None:
        held = self._tensors + self._leaves + self.handles * HANDLE_BYTES
        self.bytes_peak = max(self.bytes_peak, held)


def part_bytes(sources: int, results: int) -> int:
    """What the leaf of a part takes."""
    return LEAF_BYTES + sources * SOURCE_BYTES + results * RESULT_BYTES
