"""One file per family (elementwise, reduce, view, contract, nn, recurrent, random, optim, ...)."""

from bcai.vm.isa.ops import (
    comparison,
    contract,
    conv,
    elementwise,
    index,
    logic,
    memory,
    pool,
    reduce,
    scan,
    transcendental,
    view,
    window,
)

OPS_1 = (
    *memory.OPS,
    *elementwise.OPS,
    *transcendental.OPS,
    *comparison.OPS,
    *logic.OPS,
    *reduce.OPS,
    *scan.OPS,
    *view.OPS,
    *window.OPS,
    *index.OPS,
    *contract.OPS,
    *conv.OPS,
    *pool.OPS,
)
