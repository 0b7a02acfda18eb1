"""Named outputs come back as what they were."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import TensorSpec, serialize
from safetensors.numpy import save

from bcai.base.digest import digest_of
from bcai.base.errors import FormatError
from bcai.base.values import encode_value
from bcai.bridge.tensor_file import TensorFile
from bcai.jobs.outcome import Output
from bcai.sdk.outputs import Outputs

pytestmark = pytest.mark.anyio


class Blobs:
    """Bytes by digest, and which were asked for."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def fetch(self, digest: str) -> bytes:
        self.asked.append(digest)
        return self.content[digest]

    def output(self, name: str, kind: Any, content: bytes) -> Output:
        digest = digest_of(content)
        self.content[digest] = content
        return Output(name, kind, digest=digest, size=len(content))


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


def test_plain_values_are_themselves(blobs: Blobs) -> None:
    values = {"loss": 0.25, "steps": 3, "name": "net", "sizes": [1, {"a": None}], "ok": True}
    items = [Output(name, "value", value=encode_value(value)) for name, value in values.items()]
    assert dict(Outputs(items, blobs.fetch, blocking=True)) == values
    assert blobs.asked == []


def test_not_a_number_is_a_number(blobs: Blobs) -> None:
    items = [Output("loss", "value", value=encode_value(math.nan))]
    assert math.isnan(Outputs(items, blobs.fetch, blocking=True)["loss"])


def test_arrays_state_dicts_and_files(blobs: Blobs) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    outputs = Outputs(
        [
            blobs.output("w", "array", save({"value": weight})),
            blobs.output("model", "state_dict", save({"0.weight": weight, "0.bias": weight[0]})),
            blobs.output("curve.png", "file", b"\x89PNG"),
        ],
        blobs.fetch,
        blocking=True,
    )
    assert list(outputs) == ["w", "model", "curve.png"]
    np.testing.assert_array_equal(outputs["w"], weight)
    assert sorted(outputs["model"]) == ["0.bias", "0.weight"]
    assert outputs["curve.png"] == b"\x89PNG"


def test_the_weights_of_a_state_dict_come_in_the_order_of_the_module(blobs: Blobs) -> None:
    names = [f"{layer}.{part}" for layer in range(11) for part in ("weight", "bias", "count")]
    tensors = {name: np.ones(2, np.int64 if name.endswith("count") else "f4") for name in names}
    stored = blobs.output("model", "state_dict", TensorFile(dict(tensors)).content())
    assert list(Outputs([stored], blobs.fetch, blocking=True)["model"]) == names


def test_nothing_is_fetched_before_it_is_read_nor_twice(blobs: Blobs) -> None:
    outputs = Outputs([blobs.output("f", "file", b"x")], blobs.fetch, blocking=True)
    assert "f" in outputs
    assert blobs.asked == []
    assert (outputs["f"], outputs["f"]) == (b"x", b"x")
    assert len(blobs.asked) == 1


def test_bfloat16_is_widened_exactly(blobs: Blobs) -> None:
    bits = np.array([0x3F80, 0xC040, 0x7F80, 0x0001], dtype=np.uint16)  # 1, -3, inf, subnormal
    spec = TensorSpec(dtype="bfloat16", shape=[4], data_ptr=bits.ctypes.data, data_len=8)
    content = bytes(serialize({"value": spec}, None))
    outputs = Outputs([blobs.output("w", "array", content)], blobs.fetch, blocking=True)
    assert outputs["w"].dtype == np.float32
    assert outputs["w"].tolist() == [1.0, -3.0, math.inf, 2.0**-133]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_floats_of_8_bits_stay_what_they_are(name: str, blobs: Blobs) -> None:
    bits = np.arange(256, dtype=np.uint8)  # every value, the NaNs too
    content = TensorFile({"value": bits.view(getattr(ml_dtypes, name))}).content()
    found = Outputs([blobs.output("w", "array", content)], blobs.fetch, blocking=True)["w"]
    assert (found.dtype.name, found.tobytes()) == (name, bits.tobytes())


def test_a_missing_name_lists_those_there_are_nearest_first(blobs: Blobs) -> None:
    items = [Output(name, "value", value=1) for name in ("accuracy", "epoch", "loss")]
    outputs = Outputs(items, blobs.fetch, blocking=True)
    with pytest.raises(KeyError, match=r"did you mean 'loss'.* loss, accuracy, epoch"):
        outputs["los"]
    with pytest.raises(KeyError, match="the job left none"):
        Outputs([], blobs.fetch, blocking=True)["loss"]


def test_bytes_that_are_not_what_was_promised_are_refused(blobs: Blobs) -> None:
    item = blobs.output("f", "file", b"right")
    blobs.content[item.digest or ""] = b"wrong"
    with pytest.raises(FormatError, match="'f'"):
        Outputs([item], blobs.fetch, blocking=True)["f"]


def test_damaged_arrays_are_refused(blobs: Blobs) -> None:
    with pytest.raises(FormatError, match="not a safetensors file"):
        Outputs([blobs.output("w", "array", b"junk")], blobs.fetch, blocking=True)["w"]


async def test_asynchronous_code_loads_first(blobs: Blobs) -> None:
    items = [blobs.output("f", "file", b"x"), Output("loss", "value", value=1)]
    outputs = Outputs(items, blobs.fetch, blocking=False)
    assert outputs["loss"] == 1
    with pytest.raises(RuntimeError, match=r"await result\.outputs\.load\('f'\)"):
        outputs["f"]
    await outputs.load()
    assert outputs["f"] == b"x"
