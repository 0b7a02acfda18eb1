"""A receipt is one file; checking it names everything in it that does not fit together."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.proof.small_run import CLIENT, NODE, OTHER_NODE, training

from bcai.base.errors import FormatError
from bcai.proof.check import check_receipt
from bcai.proof.commitment import OutputHash, sign_commitment
from bcai.proof.evidence import EvidenceClass
from bcai.proof.keys import Domain, SigningKey
from bcai.proof.receipt import Receipt, SignedSpec, decode_receipt, encode_receipt
from bcai.proof.recorder import Trace
from bcai.proof.run import Batches

SMALL = training()
SPEC = SignedSpec(b"the job", CLIENT.public, CLIENT.sign(Domain.SPEC, b"the job"))
LOG = OutputHash("log", "bytes", blake3(b"done").digest())
RECEIPT = SMALL.receipt(spec=SPEC, others=[LOG], unmapped=["the accuracy at the end"])
FILE = encode_receipt(RECEIPT)
GOLDEN = "0c5195e9a715253440fe8a03cd0b9d74cf95ceb8491eeda6fb3423b7f6f885f4"


def names(receipt: Receipt, **given: Any) -> list[str]:
    return [each.name for each in check_receipt(receipt, **given).findings]


def resigned(receipt: Receipt, key: SigningKey = NODE, **changes: Any) -> Receipt:
    """What a node that signs anything would hand over."""
    commitment = replace(receipt.commitment, node=key.public, **changes)
    return replace(receipt, commitment=commitment, signature=sign_commitment(commitment, key))


def test_golden_file() -> None:
    assert blake3(FILE).hexdigest() == GOLDEN


def test_an_honest_receipt_is_clean_and_says_what_it_leaves_open() -> None:
    report = check_receipt(decode_receipt(FILE), node=NODE.public, client=CLIENT.public)
    assert report.is_clean
    assert report.findings == ()
    assert "not covered by the trace: the accuracy at the end" in report.unchecked
    assert any("replay says so" in each for each in report.unchecked)
    assert any("'log' (bytes)" in each for each in report.unchecked)


def test_what_is_written_is_read() -> None:
    assert encode_receipt(decode_receipt(FILE)) == FILE


@settings(max_examples=300)
@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_no_changed_byte_passes(place: int, change: int) -> None:
    data = bytearray(FILE)
    data[place] ^= change
    try:
        found = decode_receipt(bytes(data))
    except FormatError:
        return
    assert names(found)


def _first(receipt: Receipt) -> Any:
    return receipt.checkpoints[0]


def _later(receipt: Receipt) -> Any:
    one, *rest = receipt.checkpoints
    return (replace(one, step=6), *rest)


OTHER = bytes(32)
TAMPERED: dict[str, tuple[Receipt, str]] = {
    "another signer": (replace(RECEIPT, signature=bytes(64)), "signature.commitment"),
    "another job": (replace(RECEIPT, spec=replace(SPEC, spec=b"a job")), "signature.spec"),
    "no job": (replace(RECEIPT, spec=None), "spec.digest"),
    "another seed": (replace(RECEIPT, run=replace(RECEIPT.run, seed=1)), "run.digest"),
    "another seed, signed": (
        resigned(
            replace(RECEIPT, run=replace(RECEIPT.run, seed=1)),
            run=replace(RECEIPT.run, seed=1).digest,
        ),
        "trace.rows",
    ),
    "another program": (
        replace(RECEIPT, program=replace(RECEIPT.program, metadata={"a": "b"})),
        "program.root",
    ),
    "a checkpoint changed": (
        replace(
            RECEIPT,
            checkpoints=(replace(_first(RECEIPT), state=OTHER), *RECEIPT.checkpoints[1:]),
        ),
        "trace.root",
    ),
    "a checkpoint less, signed": (
        resigned(
            replace(RECEIPT, checkpoints=RECEIPT.checkpoints[:-1]),
            trace=Trace(RECEIPT.checkpoints[:-1]).head,
        ),
        "trace.count",
    ),
    "a step that no checkpoint is after, signed": (
        resigned(replace(RECEIPT, checkpoints=_later(RECEIPT)), trace=Trace(_later(RECEIPT)).head),
        "trace.steps",
    ),
    "another final state": (resigned(RECEIPT, final_state=OTHER), "state.final"),
    "another tensor": (
        replace(
            RECEIPT,
            final_state=(replace(RECEIPT.final_state[0], content=OTHER), *RECEIPT.final_state[1:]),
        ),
        "state.tensors",
    ),
    "another loss": (
        replace(
            RECEIPT,
            last_outputs=(replace(RECEIPT.last_outputs[0], content=OTHER), RECEIPT.last_outputs[1]),
        ),
        "outputs.last",
    ),
    "other losses": (replace(RECEIPT, output_roots=(OTHER,) * 2), "outputs.roots"),
    "another output, signed": (
        resigned(
            RECEIPT,
            outputs=tuple(
                replace(each, hash=OTHER) if each.name == "w1" else each
                for each in RECEIPT.commitment.outputs
            ),
        ),
        "outputs.table",
    ),
    "a class too strong": (resigned(RECEIPT, backend="webgpu"), "evidence.class"),
    "a rate left out": (
        resigned(
            replace(RECEIPT, run=replace(RECEIPT.run, schedules={})),
            run=replace(RECEIPT.run, schedules={}).digest,
        ),
        "run.inputs",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_does_not_fit_is_named(name: str) -> None:
    receipt, finding = TAMPERED[name]
    assert finding in names(receipt)
    assert finding in names(decode_receipt(encode_receipt(receipt)))


def test_rows_are_drawn_again_as_far_as_that_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three checkpoints one is looked at: which, follows from the trace."""
    monkeypatch.setattr("bcai.proof.check.ROWS_DRAWN_MAX", 22)  # an epoch, of 5 steps
    found: list[list[str]] = []
    for wrong, own in enumerate(RECEIPT.checkpoints):
        points = [*RECEIPT.checkpoints]
        points[wrong] = replace(own, indices=OTHER)
        trace = Trace(tuple(points))
        report = check_receipt(
            resigned(replace(RECEIPT, checkpoints=trace.checkpoints), trace=trace.head)
        )
        drawn = int.from_bytes(trace.head.root) % 3
        said = f"the rows of all 3 checkpoints ({drawn} to {drawn} drawn again): replay draws them"
        assert said in " ".join(report.unchecked)
        found.append([each.name for each in report.findings])
        assert found[-1] == (["trace.rows"] if drawn == wrong else [])
    assert ["trace.rows"] in found
    assert [] in found


def test_a_receipt_may_claim_any_number_of_rows() -> None:
    feed = SMALL.run.feed
    assert isinstance(feed, Batches)
    run = replace(RECEIPT.run, feed=replace(feed, rows=1 << 40))
    huge = check_receipt(resigned(replace(RECEIPT, run=run), run=run.digest))
    assert huge.is_clean
    assert any(
        "the rows of all 3 checkpoints (none drawn again)" in each for each in huge.unchecked
    )


def test_a_weaker_class_may_be_claimed() -> None:
    assert names(resigned(RECEIPT, evidence=EvidenceClass.REPLICATED)) == []


def test_the_keys_that_must_have_signed() -> None:
    assert names(RECEIPT, node=OTHER_NODE.public) == ["node.key"]
    assert names(RECEIPT, run=RECEIPT.run.digest) == []
    assert names(RECEIPT, run=bytes(32)) == ["run.other"]
    assert names(RECEIPT, client=OTHER_NODE.public) == ["client.key"]
    assert names(resigned(replace(RECEIPT, spec=None), spec=None), client=CLIENT.public) == [
        "client.key"
    ]


def test_received_outputs_are_held_against_their_hashes() -> None:
    state = SMALL.state
    final = {
        name: array
        for name, array in _last_state().items()
        if name in ("w1", "adam.m.w1", "adam.beta1_power")
    }
    assert names(RECEIPT, tensors=final, files={"log": LOG.hash}) == []
    assert names(RECEIPT, tensors={"w1": state["w1"]}) == ["received.content"]
    assert names(RECEIPT, tensors={"w1": final["w1"].astype(np.float64)}) == ["received.type"]
    assert names(RECEIPT, tensors={"w9": final["w1"]}) == ["received.unknown"]
    assert names(RECEIPT, files={"log": OTHER}) == ["received.content"]
    assert names(RECEIPT, files={"model": OTHER}) == ["received.unknown"]


def _last_state() -> dict[str, Any]:
    from bcai.proof.execute import execute

    *_, last = execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)
    return last.state


def test_checking_loads_neither_torch_nor_compiler_nor_network(tmp_path: Path) -> None:
    path = tmp_path / "receipt"
    path.write_bytes(FILE)
    script = (
        "import sys; from pathlib import Path\n"
        "from bcai.proof.check import check_receipt\n"
        "from bcai.proof.receipt import decode_receipt\n"
        f"assert check_receipt(decode_receipt(Path({str(path)!r}).read_bytes())).is_clean\n"
        "bad = [n for n in sys.modules if n.split('.')[0] in {BAD}\n"
        "       or n.startswith(('bcai.cluster', 'bcai.sdk', 'bcai.vm.backends.native'))]\n"
        "print(bad)"
    ).replace("{BAD}", "('torch', 'llvmlite', 'socket', 'asyncio', 'httpx', 'sqlalchemy')")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
