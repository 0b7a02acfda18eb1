"""Records what a captured script has executed for it: values, and where each one comes from."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from bcai.proof.capture import GivenLeaf, Leaf, NamedLeaf, PartLeaf
from bcai.proof.state import content_hash
from bcai.proof.step_trace import Place
from bcai.vm.isa.types import Array, TensorType

Origin = tuple[str, str]
"""An operation that no instruction says, and the script's line."""


class CaptureRecorder:
    """Keeps leaves: hashes only, no tensor. Arrays handed in are canonical.

    Attributes
    ----------
    unmapped
        How often the script's own torch executed an operation, by operation and line.
    """

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.unmapped: Counter[Origin] = Counter()
        self._known: defaultdict[TensorType, dict[bytes, Place]] = defaultdict(dict)
        """By type, of which there are few: a result is kept as its hash and place alone."""

    def given(self, array: Array, origin: str) -> tuple[Place, bool]:
        """A value of the script's; equal to one that is there, it is that one.

        Returns its place, and whether it is new.
        """
        type_, content = TensorType.of(array), content_hash(array)
        known = self._known[type_].get(content)
        if known is not None:
            return known, False
        self.leaves.append(GivenLeaf(type_, content, origin))
        place = self._known[type_][content] = Place(len(self.leaves) - 1, 0)
        return place, True

    def ran(
        self, program: bytes, sources: Sequence[Place | bytes], results: Sequence[Array]
    ) -> list[Place]:
        """A part that was executed; the places of its results."""
        hashes = tuple(content_hash(each) for each in results)
        self.leaves.append(PartLeaf(program, tuple(sources), hashes))
        leaf = len(self.leaves) - 1
        places = [Place(leaf, index) for index in range(len(hashes))]
        for place, array, content in zip(places, results, hashes, strict=True):
            self._known[TensorType.of(array)].setdefault(content, place)
        return places

    def named(self, name: str, array: Array) -> bool:
        """A tensor that leaves the job; False if it is no value of the trace."""
        type_, content = TensorType.of(array), content_hash(array)
        place = self._known[type_].get(content)
        if place is None:
            return False
        self.leaves.append(NamedLeaf(name, place, type_, content))
        return True
