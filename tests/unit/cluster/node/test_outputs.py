import httpx
import pytest

from bcai.base.digest import digest_of
from bcai.base.errors import ResourceError
from bcai.bridge.limits import ALL_VALUES_BYTES_MAX
from bcai.bridge.sandbox.jail import Cause, JailExit, JailOutput
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node import transfer as transfers
from bcai.cluster.node.outcome import outcome_of, too_large
from bcai.cluster.node.outputs import check_values, upload_outputs
from bcai.cluster.node.transfer import BlobTransfer
from bcai.jobs.outcome import Output, ReasonCode
from bcai.jobs.states import Move

MODEL = JailOutput("model", "state_dict", content=b"tensors", summary="2 tensors")


class Gateway:
    """Takes blobs after failing a few times."""

    def __init__(self, failures: int = 0, status: int = 503) -> None:
        self.blobs: dict[str, bytes] = {}
        self.failures = failures
        self.status = status
        self.requests = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.failures:
            self.failures -= 1
            return httpx.Response(self.status)
        self.blobs[request.url.path.rpartition("/")[2]] = request.content
        return httpx.Response(201)

    def transfer(self) -> BlobTransfer:
        handler = httpx.MockTransport(self.answer)
        return BlobTransfer(httpx.AsyncClient(transport=handler, base_url="http://gateway"))


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "FIRST_WAIT_S", 0.0)


@pytest.mark.anyio
async def test_values_travel_and_the_rest_becomes_blobs() -> None:
    gateway = Gateway()
    outputs = await upload_outputs([JailOutput("loss", "value", 0.5), MODEL], gateway.transfer())
    digest = digest_of(b"tensors")
    assert outputs == (
        Output("loss", "value", 0.5, None, 3),
        Output("model", "state_dict", None, digest, 7, "2 tensors"),
    )
    assert gateway.blobs == {digest: b"tensors"}


@pytest.mark.anyio
@pytest.mark.parametrize("failures", [3, 100])
async def test_a_gateway_that_was_away_gets_the_blob_all_the_same(failures: int) -> None:
    gateway = Gateway(failures)
    await upload_outputs([MODEL], gateway.transfer())
    assert list(gateway.blobs.values()) == [b"tensors"]


@pytest.mark.anyio
async def test_a_gateway_that_never_takes_it_is_the_nodes_trouble() -> None:
    with pytest.raises(ResourceError, match="'model'"):
        await upload_outputs([MODEL], Gateway(failures=1000).transfer())


@pytest.mark.anyio
async def test_a_gateway_that_refuses_a_blob_is_asked_once() -> None:
    gateway = Gateway(failures=1000, status=413)
    with pytest.raises(ResourceError, match=r"'model' could not be uploaded: .* 413"):
        await upload_outputs([MODEL], gateway.transfer())
    assert gateway.requests == 1


def test_values_that_cannot_travel_name_the_largest() -> None:
    small = JailOutput("small", "value", 1)
    assert check_values([small, MODEL]) is None
    large = JailOutput("large", "value", "x" * ALL_VALUES_BYTES_MAX)
    reason = check_values([small, large])
    assert reason is not None
    assert reason.code is ReasonCode.LIMIT_OUTPUT
    assert "'large'" in reason.message
    ended = JailExit(Cause.EXITED, "done", JailReport("B"), exit_status=0)
    outcome = too_large(outcome_of(ended, ()), reason)
    assert (outcome.move, outcome.reason) == (Move.FAIL, reason)


def test_many_outputs_without_a_value_cannot_travel_either() -> None:
    shape = "float32[" + "1000000000000000, " * 60 + "0]"
    many = [
        JailOutput(f"{number:0200}", "array", content=b"", summary=shape)
        for number in range(10_000)
    ]
    reason = check_values(many)
    assert reason is not None
    assert "10000 outputs" in reason.message
    assert check_values(many[:1000]) is None


def test_an_earlier_fault_stays_the_reason() -> None:
    ended = JailExit(Cause.EXCEPTION, "ZeroDivisionError", JailReport("B"), exit_status=1)
    large = check_values([JailOutput("large", "value", "x" * ALL_VALUES_BYTES_MAX)])
    assert large is not None
    assert too_large(outcome_of(ended, ()), large).reason.code is ReasonCode.EXCEPTION
