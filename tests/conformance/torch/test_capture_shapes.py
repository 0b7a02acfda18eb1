"""How results lie, as the captured script's torch is set."""

from collections.abc import Iterator
from typing import Any

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


aten: Any = torch.ops.aten
ALONE = {
    "mul": (aten.mul.Tensor, 2.0), "gt": (aten.gt.Scalar, 0.0), "rsub": (aten.rsub.Scalar, 1.0),
    "relu": (aten.relu.default,), "pow": (aten.pow.Tensor_Scalar, 3.0), "abs": (aten.abs.default,),
    "zeros": (aten.zeros_like.default,), "full": (aten.full_like.default, 2.0),
    "sort": (aten.sort.default, 0), "flip": (aten.flip.default, [0]),
    "nan_to_num": (aten.nan_to_num.default,), "hardtanh": (aten.hardtanh.default,),
}  # fmt: skip


def laid() -> Iterator[torch.Tensor]:
    """Tensors with axes of one element, in every order that scripts make."""
    for shape in ((1, 3, 4, 4), (2, 1, 4, 4), (2, 3, 1, 4), (2, 3, 4, 1), (1, 3, 1, 1)):
        x = torch.zeros(shape)
        yield x
        yield x.contiguous(memory_format=torch.channels_last)
        yield x.permute(0, 2, 3, 1)
        yield from (x.transpose(0, 1), x.transpose(2, 3), x[:, :, ::2])
    yield from (torch.zeros(3, 1).t(), torch.zeros(2, 1, 3).permute(2, 0, 1), torch.zeros(()))


def strides_of(found: Any) -> list[Any]:
    several: Any = (found,) if hasattr(found, "stride") else found
    return [each.stride() for each in several]


@pytest.mark.parametrize("name", ALONE)
def test_axes_of_one_element_have_the_strides_of_torch(name: str) -> None:
    func, *rest = ALONE[name]
    for x in laid():
        if name != "flip" or x.ndim:
            found = Shapes().of(func, (x, *rest), {})
            assert strides_of(found) == strides_of(func(x, *rest)), (x.shape, x.stride())


@pytest.mark.parametrize("func", [aten.add.Tensor, aten.maximum.default, aten.lt.Tensor])
def test_two_operands_have_the_strides_of_torch(func: Any) -> None:
    shapes = Shapes()
    for x in laid():
        for y in (x, x.contiguous(), x.clone(), torch.zeros(()), x.mean(x.ndim - 1, keepdim=True)):
            for pair in ((x, y), (y, x)):
                found = shapes.of(func, pair, {})
                lie = [(each.shape, each.stride()) for each in pair]
                assert found.stride() == func(*pair).stride(), lie


def test_a_filled_mask_is_row_major() -> None:
    x = torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    arguments = (x, x > 0, 1.0)
    found = Shapes().of(aten.masked_fill.Scalar, arguments, {})
    assert found.stride() == aten.masked_fill.Scalar(*arguments).stride()
