"""Whatever a node hands in of a captured script, the check ends in an answer: a referee runs it."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cluster.node.test_audit_capture import HONEST, SPEC, result

from bcai.jobs.check_captured import CheckedCapture, check_captured
from bcai.jobs.settlement import Lie

OUTCOME, BLOBS = result(HONEST)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_files_that_were_changed_anywhere_never_break_it(data: st.DataObject) -> None:
    digest = data.draw(st.sampled_from(sorted(BLOBS)))
    content = bytearray(BLOBS[digest])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from((*b'0123456789-"[]{},:.FIUB', 0, 127, 255)))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    found = check_captured("job", SPEC, OUTCOME, {**BLOBS, digest: bytes(content)})
    assert isinstance(found, Lie | CheckedCapture)
    if bytes(content) == BLOBS[digest]:
        assert isinstance(found, CheckedCapture)
    elif digest == OUTCOME.receipt:
        assert isinstance(found, Lie)


def test_an_output_of_another_kind_is_named() -> None:
    model, left = OUTCOME.outputs
    for outputs, code in (
        ((left,), "outputs.names"),
        ((replace(model, digest=None, value=1.0), left), "outputs.delivered"),
        ((replace(model, digest=left.digest), left), "outputs.delivered"),
        ((model, replace(left, digest=model.digest)), "given.delivered"),
    ):
        found = check_captured("job", SPEC, replace(OUTCOME, outputs=outputs), BLOBS)
        assert isinstance(found, Lie)
        assert found.code == code
