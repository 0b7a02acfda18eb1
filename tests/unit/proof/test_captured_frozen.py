"""The format of captured receipts never changes, and its page is enough to write a checker."""

from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof import second_checker
from tests.unit.proof.captured_run import KEY, captured
from tests.unit.proof.small_run import CLIENT

from bcai.proof.capture import encode_leaf, encode_terms, head_of_leaves
from bcai.proof.capture_check import check_capture
from bcai.proof.capture_receipt import CaptureReceipt, decode_capture, encode_capture
from bcai.proof.commitment import sign_commitment
from bcai.proof.keys import Domain
from bcai.proof.receipt import SignedSpec

FILE = Path(__file__).with_name("frozen") / "captured.bcai"
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "receipt.md"
GOLDEN = "785c2ffcc12ec54f6b891ad05c253182cdb96079777e84692e6ddf7471971fe7"
SPEC = SignedSpec(b"the job", CLIENT.public, CLIENT.sign(Domain.SPEC, b"the job"))


def made_again() -> CaptureReceipt:
    """The receipt in the file: two values, one of an operation without instruction; two steps."""
    line = "aten.nonzero.default train.py:7"
    unmapped = ("operation aten.nonzero.default: 1 times, train.py:7",)
    receipt = replace(captured(steps=2, origin=line, unmapped=unmapped).receipt, spec=SPEC)
    at = replace(receipt.commitment, spec=blake3(SPEC.spec).digest())
    return replace(receipt, commitment=at, signature=sign_commitment(at, KEY))


def test_golden_file() -> None:
    assert encode_capture(made_again()) == FILE.read_bytes()
    assert blake3(FILE.read_bytes()).hexdigest() == GOLDEN


def test_the_page_shows_its_bytes() -> None:
    receipt, page = decode_capture(FILE.read_bytes()), PAGE.read_text("utf-8")
    head = head_of_leaves(receipt.leaves)
    digests = (receipt.terms.digest, head.root, receipt.commitment.final_state)
    for data in (encode_terms(receipt.terms), *map(encode_leaf, receipt.leaves), *digests):
        assert data.hex() in page.replace("\n        ", "")
    assert GOLDEN in page


def test_whoever_reads_the_page_alone_comes_to_the_same() -> None:
    assert second_checker.check(FILE.read_bytes()) == []
    assert check_capture(decode_capture(FILE.read_bytes())).is_clean


@given(st.data())
def test_no_changed_byte_passes_the_other_checker(draw: st.DataObject) -> None:
    data = bytearray(FILE.read_bytes())
    data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        found = second_checker.check(bytes(data))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return  # no receipt at all
    assert found


@pytest.mark.parametrize(
    ("part", "finding"), [("leaves", "trace"), ("spec", "spec digest"), ("programs", "places")]
)
def test_it_names_what_is_missing(part: str, finding: str) -> None:
    receipt = made_again()
    empty = None if part == "spec" else ()
    assert finding in second_checker.check(encode_capture(replace(receipt, **{part: empty})))
