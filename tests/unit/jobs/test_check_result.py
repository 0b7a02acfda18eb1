"""Whatever a node hands in and a client ordered, the check ends in an answer: a referee runs it."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cluster.node.test_audit import JOB, do, plan

from bcai.jobs.check_result import Checked, check_result
from bcai.jobs.outcome import Outcome
from bcai.jobs.settlement import Lie
from bcai.jobs.spec import JobSpec

DONE = do(plan())
OUTCOME, BLOBS = DONE.result()
FILES = [each.digest for each in DONE.spec.files]
LEFT = [each.digest for each in OUTCOME.outputs if each.digest is not None]
assert OUTCOME.receipt is not None
DIGESTS = [*FILES, *LEFT, OUTCOME.receipt]


def checked(blobs: dict[str, bytes], spec: JobSpec = DONE.spec, outcome: Outcome = OUTCOME) -> Lie:
    found = check_result(JOB, spec, outcome, blobs)
    assert isinstance(found, Lie)
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_files_that_were_changed_anywhere_are_told_as_a_lie_and_never_break_it(
    data: st.DataObject,
) -> None:
    digest = data.draw(st.sampled_from(DIGESTS))
    content = bytearray(BLOBS[digest])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[at] = data.draw(st.sampled_from((*b'0123456789-"[]{},:.FIUB', 0, 255)))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    found = check_result(JOB, DONE.spec, OUTCOME, {**BLOBS, digest: bytes(content)})
    assert isinstance(found, Lie if bytes(content) != BLOBS[digest] else Checked)


def test_an_output_that_is_missing_too_many_or_no_file_is_named() -> None:
    state, history = OUTCOME.outputs
    for outputs, code in (
        ((state,), "outputs.names"),
        ((history,), "outputs.names"),
        ((state, history, replace(state, name="more")), "outputs.names"),
        ((state, replace(history, digest=None, value=1.0)), "outputs.delivered"),
        ((replace(state, digest=None, value=1.0), history), "outputs.delivered"),
        ((state, replace(history, digest=state.digest)), "outputs.delivered"),
    ):
        assert checked(BLOBS, outcome=replace(OUTCOME, outputs=outputs)).code == code


def test_what_fits_is_nobodys_lie() -> None:
    assert isinstance(check_result(JOB, DONE.spec, OUTCOME, BLOBS), Checked)
