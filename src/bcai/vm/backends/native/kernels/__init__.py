"""Which lowering an instruction has: its name, and the function that makes launches of it.

An instruction that is not listed, or whose lowering returns None, is run by the definition.
"""

from collections.abc import Mapping
from types import MappingProxyType

from bcai.vm.backends.native.kernels.contraction import contract
from bcai.vm.backends.native.kernels.conv import conv, conv_input_grad, conv_weight_grad
from bcai.vm.backends.native.kernels.fallible import checked
from bcai.vm.backends.native.kernels.index import (
    add_rows,
    gather,
    gather_elements,
    index,
    index_put,
    scatter_add,
    scatter_elements,
)
from bcai.vm.backends.native.kernels.pad_mode import pad_mode
from bcai.vm.backends.native.kernels.pool import avg_pool, avg_pool_grad, max_pool, max_pool_grad
from bcai.vm.backends.native.kernels.random import draw
from bcai.vm.backends.native.kernels.scan import extreme, permutation, running, sort
from bcai.vm.backends.native.lowering import Lowering

LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {
        "AddRows": add_rows,
        "ArgMax": extreme,
        "ArgMin": extreme,
        "AvgPool": avg_pool,
        "AvgPoolGrad": avg_pool_grad,
        "BitShiftLeft": checked,
        "BitShiftRight": checked,
        "Conv": conv,
        "ConvInputGrad": conv_input_grad,
        "ConvWeightGrad": conv_weight_grad,
        "CumProd": running,
        "CumSum": running,
        "Div": checked,
        "Fmod": checked,
        "Gather": gather,
        "GatherElements": gather_elements,
        "Index": index,
        "IndexPut": index_put,
        "MaxPool": max_pool,
        "MaxPoolGrad": max_pool_grad,
        "MatMul": contract,
        "Mod": checked,
        "PadMode": pad_mode,
        "Permutation": permutation,
        "Philox": draw,
        "Pow": checked,
        "RandomInt": draw,
        "ScatterAdd": scatter_add,
        "ScatterElements": scatter_elements,
        "Sort": sort,
        "TopK": sort,
        "Uniform": draw,
    }
)
