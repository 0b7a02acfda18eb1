"""What a loop costs, roughly: for choices and for sharing out, never for bits."""

from bcai.vm.backends.native.elementwise import FUNCTIONS
from bcai.vm.backends.native.loops.form import Form, FormNode, Read
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Apply, Fold
from bcai.vm.isa.types import DType

THREAD_WORTH_NS = 20_000
"""Work that is worth waking a thread for."""

_LONG = {"Pow": 120, "Sin": 80, "Cos": 80, "Tan": 90, "Mod": 60, "Fmod": 60}
_HEAVY = {"Div": 6, "Sqrt": 6, "Rsqrt": 10, "Reciprocal": 6}
_SOFT = 6
"""How much more the scalar functions cost without a fused multiply-add."""
_CYCLES_A_NS = 3.0


def instructions(node: FormNode, target: Target) -> int:
    """Machine instructions of a node for one register."""
    if not isinstance(node, Apply):
        return 1
    name = node.op.name
    soft = 1 if target.fused else _SOFT
    if name in FUNCTIONS:
        return _LONG.get(name, 30) * soft
    rounding = 4 if node.dtype in (DType.float16, DType.bfloat16) else 0
    return (_SOFT * soft if name == "Fma" and soft > 1 else _HEAVY.get(name, 1)) + rounding


def element_ns(form: Form, target: Target, lanes: int) -> float:
    """Time of one element of the loop."""
    work = sum(instructions(each, target) for each in form.nodes)
    bytes_ = sum(each.access.dtype.itemsize for each in form.nodes if isinstance(each, Read))
    bytes_ += sum(each.access.dtype.itemsize for each in form.stores)
    passes = 1 + sum(isinstance(each, Fold) for each in form.nodes)
    return max(work / lanes / _CYCLES_A_NS * 1.5, bytes_ * 0.03) * (1 + 0.2 * passes)


def units_for_a_thread(unit_ns: float) -> int:
    """Fewest units that are worth a thread."""
    return max(1, int(THREAD_WORTH_NS / max(unit_ns, 0.01)))
