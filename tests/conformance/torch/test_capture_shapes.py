"""How results lie, as the captured script's torch is set."""

import pytest
import torch

from bcai.bridge.guest.capturing.shapes import Shapes

ONEDNN = torch.backends.mkldnn


@pytest.mark.skipif(not ONEDNN.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("count", [1, 16])
def test_a_convolution_keeps_channels_last_though_onednn_is_off(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    x = torch.zeros(count, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    convolution = torch.ops.aten.convolution.default
    arguments = (x, torch.zeros(8, 3, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    expected = convolution(*arguments).stride()
    # As after `torch.backends.disable_global_flags()`, which a script may have called.
    flags = torch.backends.disable_global_flags.__globals__
    monkeypatch.setitem(flags, "__allow_nonbracketed_mutation_flag", False)
    with ONEDNN.flags(enabled=False):
        found = Shapes().of(convolution, arguments, {})
        assert not ONEDNN.enabled
    assert found.stride() == expected
