"""Whether what was delivered are the tensors that a receipt names."""

from collections.abc import Mapping

import numpy as np
from blake3 import blake3
from safetensors import SafetensorError

from bcai.base.errors import FormatError, InputError
from bcai.base.values import decode_value
from bcai.proof.receipt import Receipt
from bcai.proof.state import (
    StateHasher,
    TensorHash,
    canonical_tensors,
    content_hash,
    hash_tensors,
)
from bcai.proof.tensors import load_tensors
from bcai.vm.isa.types import Array


def is_value(value: object, expected: TensorHash) -> bool:
    """Whether a scalar that was delivered as a number has these bits."""
    try:
        array = np.asarray(decode_value(value), expected.type.dtype.numpy)
    except (TypeError, ValueError, OverflowError, FormatError):
        return False
    if array.shape != expected.type.shape:
        return False
    return content_hash(canonical_tensors({"": array})[""]) == expected.content


def are_tensors(content: bytes, expected: Mapping[str, TensorHash]) -> bool:
    """Whether a safetensors file holds these tensors, under these names, and no other."""
    try:
        found = hash_tensors(load_tensors(content))
    except (SafetensorError, InputError, KeyError):
        return False
    wanted = {name: (each.type, each.content) for name, each in expected.items()}
    return {each.name: (each.type, each.content) for each in found} == wanted


def is_history(content: bytes, receipt: Receipt) -> bool:
    """Whether the rows of a training's history are what its steps put out, as its trace says.

    They are those of the last steps: of a run that was continued, the node may not know the others.
    Where an output is no scalar it has no rows, and then only the last step's are compared.
    """
    last = {each.name: each for each in receipt.last_outputs}
    types = {name: each.type for name, each in last.items() if not each.type.shape}
    try:
        rows = canonical_tensors(load_tensors(content))
    except (SafetensorError, InputError, KeyError):
        return False
    dtypes = {name: array.dtype for name, array in rows.items()}
    if dtypes != {name: each.dtype.numpy for name, each in types.items()}:
        return False
    if not rows:
        return True
    shapes = {array.shape for array in rows.values()}
    count = max(map(len, rows.values())) if all(map(len, shapes)) else 0
    if shapes != {(count,)} or not 1 <= count <= receipt.run.steps:
        return False
    if any(content_hash(_row(rows[name], -1)) != last[name].content for name in rows):
        return False
    return len(types) < len(last) or _are_outputs(rows, count, receipt)


def _are_outputs(rows: Mapping[str, Array], count: int, receipt: Receipt) -> bool:
    """Whether so many rows, of the last steps, give the digests of the checkpoints over them."""
    run, hasher, compared = receipt.run, StateHasher(), 0
    start = run.steps - count
    for index, checkpoint in enumerate(receipt.checkpoints):
        span = run.span(index)
        if span.start < start:
            continue
        roots = [
            hasher.root({name: _row(array, step - start) for name, array in rows.items()})
            for step in span
        ]
        if blake3(b"".join(roots)).digest() != checkpoint.outputs:
            return False
        compared += 1
    return compared > 0


def _row(array: Array, index: int) -> Array:
    return array[index, np.newaxis].reshape(())
