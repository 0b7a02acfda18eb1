"""Whether what was delivered are the tensors that a receipt names."""

from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from bcai.base.errors import FormatError, InputError
from bcai.base.values import decode_value
from bcai.proof.state import TensorHash, canonical_tensors, content_hash, hash_tensors


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
        found = hash_tensors(load(content))
    except (SafetensorError, InputError, KeyError):
        return False
    wanted = {name: (each.type, each.content) for name, each in expected.items()}
    return {each.name: (each.type, each.content) for each in found} == wanted
