"""Which lowering an instruction has: its name, and the function that makes launches of it.

An instruction that is not listed, or whose lowering returns None, is run by the definition.
"""

from collections.abc import Mapping
from types import MappingProxyType

from bcai.vm.backends.native.kernels.contraction import contract
from bcai.vm.backends.native.kernels.conv import conv, conv_input_grad, conv_weight_grad
from bcai.vm.backends.native.kernels.index import (
    add_rows,
    gather,
    gather_elements,
    index,
    index_put,
    scatter_add,
    scatter_elements,
)
from bcai.vm.backends.native.kernels.random import draw
from bcai.vm.backends.native.lowering import Lowering

LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {
        "AddRows": add_rows,
        "Conv": conv,
        "ConvInputGrad": conv_input_grad,
        "ConvWeightGrad": conv_weight_grad,
        "Gather": gather,
        "GatherElements": gather_elements,
        "Index": index,
        "IndexPut": index_put,
        "MatMul": contract,
        "Philox": draw,
        "RandomInt": draw,
        "ScatterAdd": scatter_add,
        "ScatterElements": scatter_elements,
        "Uniform": draw,
    }
)
