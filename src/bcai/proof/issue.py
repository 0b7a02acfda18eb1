"""Makes the receipt of a run that is over, and signs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from bcai.proof.commitment import Commitment, OutputHash, UsageClaim, sign_commitment
from bcai.proof.evidence import strongest
from bcai.proof.keys import SigningKey
from bcai.proof.receipt import Receipt, SignedSpec
from bcai.proof.recorder import Trace
from bcai.proof.run import Run
from bcai.proof.state import hash_tensors
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and how a run was made, in the node's words."""

    job_id: str
    backend: str
    device: str
    fingerprint: str
    jail_level: str
    jail_layers: tuple[str, ...]
    usage: UsageClaim
    claimed_at: float


def issue_receipt(
    run: Run,
    program: VerifiedProgram,
    trace: Trace,
    *,
    state: Mapping[str, Array],
    outputs: Mapping[str, Array],
    output_roots: Sequence[bytes],
    circumstances: Circumstances,
    key: SigningKey,
    spec: SignedSpec | None = None,
    others: Sequence[OutputHash] = (),
    unmapped: Sequence[str] = (),
) -> Receipt:
    """Sign for a run.

    Parameters
    ----------
    state, outputs
        What the last step left.
    output_roots
        `Recorder.output_roots`.
    others
        Outputs of the job that are not tensors of the trace, such as files.
    unmapped
        Parts of the job that no trace covers, in words.
    """
    final, last = hash_tensors(state), hash_tensors(outputs)
    named = {name for name, _ in program.program.outputs}
    table = [
        OutputHash(each.name, str(each.type), each.content)
        for each in (*final, *last)
        if each.name in named
    ]
    at = circumstances
    commitment = Commitment(
        at.job_id,
        None if spec is None else blake3(spec.spec).digest(),
        run.digest,
        trace.head,
        trace.final_state,
        (*table, *others),
        strongest(program.program, at.backend),
        at.backend,
        at.device,
        at.fingerprint,
        at.jail_level,
        at.jail_layers,
        at.usage,
        tuple(unmapped),
        key.public,
        at.claimed_at,
    )
    return Receipt(
        run,
        program.program,
        commitment,
        sign_commitment(commitment, key),
        trace.checkpoints,
        final,
        last,
        tuple(output_roots),
        spec,
    )
