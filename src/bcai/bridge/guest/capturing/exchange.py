"""What goes to the node and comes back: the part that is being written, and values by number."""

import os
from typing import NamedTuple

from bcai.base.errors import JobFailedError
from bcai.bridge.guest.capturing.cell import Cell
from bcai.bridge.guest.capturing.link import Link
from bcai.bridge.guest.capturing.part import Part, shape_key
from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.codec import encode_program

IN_CHILD = (
    "capture: a process that the script has started cannot ask the node for a tensor; read it "
    "before (.item(), .numpy()), or use num_workers=0 for a DataLoader"
)
_RECENT_MAX = 16
_LINES_MAX = 20
_READ_BEFORE = "read the indices before (.tolist()): PyTorch's own error is then raised at the call"


class _Recent(NamedTuple):
    """A part whose like may come again; it is kept, since its key names objects of it."""

    number: int
    ports: list[int]
    part: Part


class Exchange:
    """With the node that executes what the script asks for.

    Attributes
    ----------
    job
        The process that the node listens to; its children only have what was read before.
    part
        What is being written.
    parts
        How many there were before it.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.job = os.getpid()
        self.part = Part()
        self.parts = 0
        self._handles = 0
        self._dead: list[int] = []  # handles that nobody can reach
        self._programs: dict[tuple[object, ...], int] = {}
        self._recent: dict[tuple[object, ...], _Recent] = {}
        self._indexing: dict[str, None] = {}  # what the node may find an index in that is none

    def next_handle(self) -> int:
        """Return a number for a value that the node will have."""
        self._handles += 1
        return self._handles

    def run(self, cells: list[Cell]) -> None:
        """Run the part with the values of these cells as its outputs, and begin another one."""
        wanted: dict[int, list[Cell]] = {}
        for cell in cells:
            assert cell.symbol is not None
            wanted.setdefault(cell.symbol.index, []).append(cell)
        given = {index: handle for handle, index in self.part.handles.items()}
        outputs: list[Symbol] = []
        numbers: list[int] = []
        for index, sharing in wanted.items():
            known = given.get(index)
            for cell in sharing:
                if known is not None and cell.handle == known:
                    cell.symbol = None  # only looked at
                    continue
                self.drop(cell)
                outputs.append(Symbol(self.part, index))
                cell.handle, cell.symbol = self.next_handle(), None
                numbers.append(cell.handle)
        if outputs:
            number, ports = self._program_of(outputs)
            self.link.run(number, self.part.sources(ports), numbers)
        self.part = Part()
        self.parts += 1

    def drop(self, cell: Cell) -> None:
        """Nobody can reach the value that the node has of a cell."""
        if cell.handle is not None:
            self._dead.append(cell.handle)

    def free(self) -> None:
        """Tell the node what was dropped."""
        if self._dead:
            self.link.free(self._dead)
            self._dead = []

    def fetch(self, handle: int) -> bytes:
        """A value's elements. Raises JobFailedError with the node's reason."""
        try:
            data = self.link.fetch(handle)
        except JobFailedError as error:
            if "index" not in str(error) or not self._indexing:
                raise
            lines = ", ".join(self._indexing)
            raise JobFailedError(f"{error} (by {lines})", hint=error.hint or _READ_BEFORE) from None
        self._indexing.clear()  # all of it is executed
        return data

    def note_indices(self, func: object, place: str) -> None:
        """Only the node can tell whether the indices of an operation lie within their axis."""
        if len(self._indexing) < _LINES_MAX:
            self._indexing[f"{func} at {place}"] = None

    def _program_of(self, outputs: list[Symbol]) -> tuple[int, list[int]]:
        """Number of the part's program, and which symbols are its inputs."""
        written = self.part.written_as(outputs)
        known = self._recent.get(written)
        if known is not None:
            return known.number, known.ports
        finished = self.part.finish_part(outputs)
        key = shape_key(finished)
        number = self._programs.get(key)
        if number is None:
            number = self._programs[key] = len(self._programs)
            self.link.define(encode_program(finished.program))
        if len(self._recent) >= _RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        self._recent[written] = _Recent(number, finished.ports, self.part)
        return number, finished.ports
