"""Where each temporary buffer lies in the arena: one that is no longer read makes room."""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.steps import Step, touched
from bcai.vm.compiler.plan import Buffer, Role

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Arena:
    """Bytes of the arena, and the offset of each temporary buffer that is used."""

    nbytes: int
    offsets: Mapping[int, int]


def schedule(steps: Sequence[Step], buffers: Sequence[Buffer]) -> Arena:
    """Place every temporary buffer, from the step that first writes it to the last that uses it.

    Steps run one after the other. Each buffer takes the smallest gap that holds it.
    """
    used = [reads | writes for reads, writes in map(touched, steps)]
    last: dict[int, int] = {}
    for time, numbers in enumerate(used):
        for number in numbers:
            last[number] = time
    ending: dict[int, list[int]] = {}
    for number, time in last.items():
        if buffers[number].role is Role.TEMPORARY:
            ending.setdefault(time, []).append(number)
    gaps, offsets = _Gaps(), dict[int, int]()
    for time, numbers in enumerate(used):
        for number in sorted(numbers):
            if buffers[number].role is Role.TEMPORARY and number not in offsets:
                offsets[number] = gaps.take(_rounded(buffers[number].nbytes))
        for number in sorted(ending.get(time, ())):
            gaps.give(offsets[number], _rounded(buffers[number].nbytes))
    return Arena(gaps.end, offsets)


def _rounded(nbytes: int) -> int:
    return max(ALIGNMENT, -(-nbytes // ALIGNMENT) * ALIGNMENT)


class _Gaps:
    """Gaps below `end`, by offset."""

    def __init__(self) -> None:
        self.end = 0
        self._gaps: list[tuple[int, int]] = []  # (offset, size), none beside another

    def take(self, size: int) -> int:
        fitting = [(gap[1], place) for place, gap in enumerate(self._gaps) if gap[1] >= size]
        if fitting:
            _, place = min(fitting)
            offset, room = self._gaps.pop(place)
            if room > size:
                self._gaps.insert(place, (offset + size, room - size))
            return offset
        if self._gaps and sum(self._gaps[-1]) == self.end:
            offset, _ = self._gaps.pop()
        else:
            offset = self.end
        self.end = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        insort(self._gaps, (offset, size))
        place = self._gaps.index((offset, size))
        if place + 1 < len(self._gaps) and offset + size == self._gaps[place + 1][0]:
            size += self._gaps.pop(place + 1)[1]
        if place > 0 and sum(self._gaps[place - 1]) == offset:
            offset, room = self._gaps.pop(place - 1)
            size += room
            place -= 1
        self._gaps[place] = (offset, size)
