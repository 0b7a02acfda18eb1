"""What left the jail is bound to the trace, or to its bytes where the trace cannot name it."""

import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import save

from bcai.cluster.node.capture_worker import bind_outputs
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.commitment import OutputHash


def of_type(kind: str, width: int) -> bytes:
    """A safetensors file with one tensor of two zeros of a type that NumPy has no name for."""
    header = {"value": {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * width]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(2 * width)


@pytest.mark.parametrize(("kind", "width"), [("BF16", 2), ("F8_E4M3", 1)])
def test_a_type_that_no_leaf_names_is_bound_as_bytes(kind: str, width: int, tmp_path: Path) -> None:
    content = of_type(kind, width)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(save({"value": np.ones(2, np.float32)}))
    recorder = CaptureRecorder()
    recorder.given(np.ones(2, np.float32), "")
    named = [{"name": name, "kind": "array", "file": name} for name in ("a", "b")]
    others, unbound = bind_outputs(tmp_path, named, recorder)
    assert others == [OutputHash("a", "bytes", blake3(content).digest())]
    assert unbound == ["output 'a': a is no value of the trace"]
