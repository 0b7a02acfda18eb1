"""What a worker tells its node on stdout, and how it leaves an output; see `worker_process`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.values import encode_value
from bcai.vm.isa.types import Array, TensorType

INPUTS = "inputs.safetensors"  # of the folder `data`
OUTPUTS = "outputs"  # the folder
LEFT = "left.json"  # of a capture's folder


def tell(**message: Any) -> None:
    """Tell the node's process one thing."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def leave_output(path: Path, name: str, array: Array) -> dict[str, Any]:
    """Write an output, or give it as a value if it is a scalar."""
    summary = str(TensorType.of(array))
    if array.ndim == 0:
        return {"name": name, "value": encode_value(array.item()), "summary": summary}
    save_file({"value": np.ascontiguousarray(array)}, path)
    return {"name": name, "file": path.name, "summary": summary}
