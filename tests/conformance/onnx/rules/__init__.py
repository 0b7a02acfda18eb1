"""What each ONNX operator is in our instructions; importing this files every rule."""

from tests.conformance.onnx.rules import (
    attention,
    control,
    elementwise,
    layout,
    linear,
    loss,
    norm,
    quantize,
    recurrent,
    reduce,
    resize,
    sample,
    select,
    windows,
)

__all__ = [
    "attention",
    "control",
    "elementwise",
    "layout",
    "linear",
    "loss",
    "norm",
    "quantize",
    "recurrent",
    "reduce",
    "resize",
    "sample",
    "select",
    "windows",
]
