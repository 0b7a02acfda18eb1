"""What the host writes into a buffer keeps what is there, and overtakes no kernel."""

import numpy as np
import pytest
from tests.unit.vm.backends.cuda.emulated_device import EmulatedDevice
from tests.unit.vm.backends.cuda.test_cuda_executable import PROGRAMS

from bcai.vm.backends.cuda.executable import CudaExecutable, GridLaunch
from bcai.vm.backends.cuda.memory import Memory
from bcai.vm.backends.native.objects import this_machine
from bcai.vm.compiler.plan import Buffer, Role, View
from bcai.vm.isa.types import parse_type

pytestmark = pytest.mark.skipif(
    this_machine() is None, reason="the grid is emulated by native code; needs x86-64 or AArch64"
)

BUFFERS = (Buffer(0, 16, Role.INPUT, "x"), Buffer(1, 16, Role.TEMPORARY))
WHOLE = View(1, parse_type("float32[4]"), (1,))
LEFT, RIGHT = (View(1, parse_type("float32[2]"), (1,), offset) for offset in (0, 2))
ONES = np.ones(2, np.float32)


def test_a_buffer_is_written_in_parts() -> None:
    memory = Memory(EmulatedDevice().open(), BUFFERS, {"x": np.zeros(4, np.float32)})
    memory.write(LEFT, ONES)
    memory.write(RIGHT, 2 * ONES)
    assert memory.read(WHOLE)().tolist() == [1, 1, 2, 2]


def test_a_part_is_written_after_the_kernel_that_wrote_the_whole() -> None:
    device = EmulatedDevice()
    (step,) = CudaExecutable(PROGRAMS["nothing else"], device).steps  # x + 1
    assert isinstance(step, GridLaunch)
    work = device.open()
    memory = Memory(work, BUFFERS, {"x": np.arange(4, dtype=np.float32)})
    memory.enter([0, 1])
    work.launch(step.kernel.symbol, step.kernel.threads, memory.addresses)
    memory.write(LEFT, 9 * ONES)
    assert memory.read(WHOLE)().tolist() == [9, 9, 3, 4]
    memory.enter([0, 1])
    work.launch(step.kernel.symbol, step.kernel.threads, memory.addresses)
    assert memory.read(WHOLE)().tolist() == [1, 2, 3, 4]
