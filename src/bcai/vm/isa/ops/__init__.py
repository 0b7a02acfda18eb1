"""One file per family (elementwise, reduce, view, contract, nn, recurrent, random, optim, ...)."""

from bcai.vm.isa.ops import contract, elementwise, index, memory, reduce, view, window

OPS_1 = (
    *memory.OPS,
    *elementwise.OPS,
    *reduce.OPS,
    *view.OPS,
    *window.OPS,
    *index.OPS,
    *contract.OPS,
)
