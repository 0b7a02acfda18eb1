"""One file per family (elementwise, reduce, view, contract, nn, recurrent, random, optim, ...)."""

from bcai.vm.isa.ops import (
    comparison,
    contract,
    elementwise,
    index,
    logic,
    memory,
    reduce,
    view,
    window,
)

OPS_1 = (
    *memory.OPS,
    *elementwise.OPS,
    *comparison.OPS,
    *logic.OPS,
    *reduce.OPS,
    *view.OPS,
    *window.OPS,
    *index.OPS,
    *contract.OPS,
)
