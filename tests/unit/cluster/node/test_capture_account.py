"""What is counted of a captured part covers what recording it and writing its receipt take."""

import gc
import tracemalloc

import numpy as np
import pytest
from tests.unit.proof.captured_run import AT, KEY

from bcai.cluster.node.capture_account import GIVEN_BYTES, part_bytes
from bcai.proof.capture import CaptureTerms
from bcai.proof.capture_receipt import encode_capture, issue_capture
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.step_trace import Place

PARTS = 300


def taken_by(recorder: CaptureRecorder) -> int:
    """The most that there was since `tracemalloc` began, with the receipt written."""
    receipt = issue_capture(
        CaptureTerms(1, 0), recorder.leaves, {}, circumstances=AT, key=KEY, spec=None, unmapped=[]
    )
    assert encode_capture(receipt)
    return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize(("sources", "results"), [(0, 1), (2, 1), (2, 60), (60, 2), (200, 1)])
def test_parts(sources: int, results: int) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        recorder = CaptureRecorder()
        places = [Place(0, 0)]
        for part in range(PARTS):
            arrays = [np.array([part, each]) for each in range(results)]
            operands = [places[each % len(places)] for each in range(sources)]
            places = recorder.ran(b"r" * 32, operands, arrays)
        taken = taken_by(recorder)
    finally:
        tracemalloc.stop()
    assert taken < PARTS * part_bytes(sources, results) < 2 * taken


def test_given_values() -> None:
    gc.collect()
    tracemalloc.start()
    try:
        recorder = CaptureRecorder()
        kept = {str(n): np.array([n]) for n in range(PARTS)}
        for array in kept.values():
            recorder.given(array, "")
        taken = taken_by(recorder)
    finally:
        tracemalloc.stop()
    assert taken < PARTS * GIVEN_BYTES < 2 * taken
