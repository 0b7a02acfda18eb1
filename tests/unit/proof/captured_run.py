"""A small captured trace, without torch: two values, three parts, one output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bcai.proof.capture import CaptureTerms, head_of_leaves
from bcai.proof.capture_receipt import CaptureReceipt, issue_capture
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.commitment import OutputHash, UsageClaim, sign_commitment
from bcai.proof.issue import Circumstances
from bcai.proof.keys import SigningKey
from bcai.proof.step_trace import Place
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Program, VerifiedProgram

KEY = SigningKey.from_random(bytes(range(32)))
AT = Circumstances("job", "reference", "device", "here", "A", (), UsageClaim(), 1.0)


def step_program() -> VerifiedProgram:
    """One step of gradient descent on a square, and the loss."""
    build = Builder()
    w, x, rate = (
        build.input(name, type_)
        for name, type_ in (("i0", "float32[3]"), ("i1", "float32[4,3]"), ("i2", "float32[]"))
    )
    wrong = x @ w
    gradient = x.transpose() @ wrong
    return build.finish(o0=w - gradient * rate, o1=(wrong * wrong).sum())


@dataclass(frozen=True)
class Captured:
    """A receipt, and the values that its script gave."""

    receipt: CaptureReceipt
    given: dict[str, Array]


def captured(
    *,
    steps: int = 3,
    origin: str = "",
    unmapped: tuple[str, ...] = (),
    outputs: Mapping[int, str] | None = None,
    flip_at: int | None = None,
    scale: float = 1.0,
    rate: float = 0.05,
    others: Sequence[OutputHash] = (OutputHash("epoch", "bytes", bytes(32)),),
) -> Captured:
    """Run a few steps on data times `scale`; `flip_at` changes a bit of that step's new weights."""
    program = step_program()
    executable = ReferenceBackend().compile(program)
    recorder = CaptureRecorder()
    w = np.array([1, -2, 0.5], "f")
    x = np.random.default_rng(0).standard_normal((4, 3)).astype("f") * np.float32(scale)
    place, _ = recorder.given(w, "")
    data, _ = recorder.given(x, origin)
    for step in range(steps):
        results = executable.run({"i0": w, "i1": x, "i2": np.asarray(rate, "f")})
        w, loss = results["o0"], results["o1"]
        if step == flip_at:
            w = w.copy()
            w.view(np.uint8)[0] ^= 1
        sources: list[Place | bytes] = [place, data, np.float32(rate).tobytes()]
        place, _ = recorder.ran(program_root(program.program), sources, [w, loss])
    assert recorder.named("model.w", w)
    programs: dict[bytes, Program] = {program_root(program.program): program.program}
    receipt = issue_capture(
        CaptureTerms(1, 0),
        recorder.leaves,
        programs,
        circumstances=AT,
        key=KEY,
        spec=None,
        unmapped=unmapped,
        others=others,
    )
    return Captured(receipt, {"0": np.array([1, -2, 0.5], "f"), "1": x})


def signed_again(receipt: CaptureReceipt, **parts: Any) -> CaptureReceipt:
    """A receipt with other parts that its node signs for."""
    changed = replace(receipt, **parts)
    at = changed.commitment
    if "commitment" not in parts:
        at = replace(at, trace=head_of_leaves(changed.leaves))
    return replace(changed, commitment=at, signature=sign_commitment(at, KEY))
