r"""The trace of a script whose tensor operations were executed and recorded outside of it.

The script hands over *parts*: Programs, each with the places of its inputs. Whoever executes them
writes a leaf for each part, and one for each value that came from the script itself. The tree over
all leaves, in this order, is the trace; what left the job under a name has its leaves at the end.

A leaf is canonical CBOR of

    [0, element type, [sizes], content hash, origin]
    [1, program root, [source, ...], [content hash, ...]]
    [2, name, [leaf, result], element type, [sizes], content hash]

A source is `[leaf, result]`, or the bytes of a scalar (a learning rate, the key of a draw). The
origin of a value is empty if the script made it, else the operation that no instruction says, and
the script's line. Inside a part, leaves of its instructions are those of `step_trace`: a dispute
about a part ends at one instruction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError
from bcai.base.merkle import Tree, TreeHead, leaf_hash, tree_head
from bcai.proof.canonical import check_hash, check_text
from bcai.proof.step_trace import Place
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.program import cbor

RUN_MAGIC = b"bcai-capture\x00"
VERSION = 1
SCALAR_BYTES_MAX = 8


@dataclass(frozen=True, slots=True)
class GivenLeaf:
    """A value that came from the script."""

    type: TensorType
    content: bytes
    origin: str


@dataclass(frozen=True, slots=True)
class PartLeaf:
    """A program that was run on earlier values and on numbers."""

    program: bytes
    sources: tuple[Place | bytes, ...]
    results: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class NamedLeaf:
    """A value that left the job under a name."""

    name: str
    source: Place
    type: TensorType
    content: bytes


Leaf = GivenLeaf | PartLeaf | NamedLeaf


@dataclass(frozen=True, slots=True)
class CaptureTerms:
    """What is known before the script starts: the job's code is in its signed spec."""

    isa_version: int
    seed: int

    @property
    def digest(self) -> bytes:
        """32 bytes that identify them: the `run` of the commitment."""
        return blake3(encode_terms(self)).digest()


def encode_terms(terms: CaptureTerms) -> bytes:
    """Canonical bytes."""
    return RUN_MAGIC + cbor.encode([VERSION, terms.isa_version, terms.seed])


def head_of_leaves(leaves: Sequence[Leaf]) -> TreeHead:
    """Number and root of the leaves: what a node signs."""
    return tree_head([leaf_hash(encode_leaf(each)) for each in leaves])


def tree_of_leaves(leaves: Sequence[Leaf]) -> Tree:
    """The tree over them."""
    return Tree([leaf_hash(encode_leaf(each)) for each in leaves])


def encode_leaf(leaf: Leaf) -> bytes:
    """Canonical bytes of a leaf."""
    return cbor.encode(leaf_fields(leaf))


def leaf_fields(leaf: Leaf) -> list[Any]:
    """A leaf as a value of canonical CBOR."""
    match leaf:
        case GivenLeaf():
            return [0, int(leaf.type.dtype), list(leaf.type.shape), leaf.content, leaf.origin]
        case PartLeaf():
            sources = [each if isinstance(each, bytes) else list(each) for each in leaf.sources]
            return [1, leaf.program, sources, list(leaf.results)]
        case NamedLeaf():
            type_ = [int(leaf.type.dtype), list(leaf.type.shape)]
            return [2, leaf.name, list(leaf.source), *type_, leaf.content]


def leaf_of_fields(fields: Any) -> Leaf:
    """Undo `leaf_fields`. Raises FormatError, or what unpacking raises."""
    kind, *rest = fields
    if kind == 0:
        dtype, shape, content, origin = rest
        check_hash("content", content)
        check_text("origin", origin)
        return GivenLeaf(_type(dtype, shape), content, origin)
    if kind == 1:
        program, sources, results = rest
        for each in (program, *results):
            check_hash("part", each)
        return PartLeaf(program, tuple(_source(each) for each in sources), tuple(results))
    if kind == 2:
        name, source, dtype, shape, content = rest
        check_text("name", name)
        check_hash(f"output {name!r}", content)
        return NamedLeaf(name, _place(source), _type(dtype, shape), content)
    raise FormatError(f"leaf: kind {kind!r}")


def _source(fields: Any) -> Place | bytes:
    if isinstance(fields, bytes):
        if not 0 < len(fields) <= SCALAR_BYTES_MAX:
            raise FormatError(f"scalar: found {len(fields)} bytes")
        return fields
    return _place(fields)


def _place(fields: Any) -> Place:
    leaf, result = fields
    if type(leaf) is not int or type(result) is not int or leaf < 0 or result < 0:
        raise FormatError(f"place: found {fields!r}, expected two whole numbers from 0")
    return Place(leaf, result)


def _type(dtype: Any, shape: Any) -> TensorType:
    if any(type(size) is not int or size < 0 for size in shape):
        raise FormatError(f"sizes: found {shape!r}, expected whole numbers from 0")
    return TensorType(DType(dtype), tuple(shape))
