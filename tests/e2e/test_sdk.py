"""The SDK against a real network: what the reference documents show, and what users meet."""

import asyncio
import math
import re
import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.network_process import NetworkProcess, make_ours

from bcai import (
    SDK,
    AsyncSDK,
    InputError,
    Job,
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
)
from bcai.base.errors import AuthError, NotFoundError
from bcai.sdk.events import LogEvent, MetricEvent, ProgressEvent, StateEvent
from bcai_sdk import AsyncBCaiClient, BCaiClient, TrainingJob

COUNTING = """
import time, bcai
for step in range(10):
    print("line", step, flush=True)
    bcai.log(step=step, loss=1 / (step + 1))
    bcai.progress((step + 1) / 10)
    time.sleep(0.05)
"""


@pytest.fixture
def address(shared_network: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of the network, whose home and key this process then knows."""
    return make_ours(shared_network, monkeypatch)


@pytest.fixture
def client(address: str) -> Generator[SDK, None, None]:
    with SDK(address) as opened:
        yield opened


def until_running(job: Job) -> None:
    while job.status in {"QUEUED", "ASSIGNED"}:
        time.sleep(0.05)
    assert job.status == "RUNNING"


def test_the_quick_start_of_the_guide(client: SDK) -> None:
    job = client.create_job("""
import torch
import torch.nn as nn

# Create a simple neural network
model = nn.Sequential(
    nn.Linear(784, 128),
    nn.ReLU(),
    nn.Linear(128, 10)
)

# Train on distributed compute
x = torch.randn(1000, 784)
y = torch.randint(0, 10, (1000,))

# This runs on the decentralized network!
for epoch in range(10):
    pred = model(x)
    loss = nn.CrossEntropyLoss()(pred, y)
    loss.backward()

print(f"Final loss: {loss.item()}")
""")
    result = job.execute()
    assert isinstance(result.outputs["loss"], float)
    assert math.isclose(result.outputs["loss"], math.log(10), abs_tol=0.5)
    assert result.logs == f"Final loss: {result.outputs['loss']}\n"
    assert result.outputs["model"]["0.weight"].shape == (128, 784)
    assert result.outputs["x"].dtype == np.float32


def test_the_api_reference_of_the_guide(address: str) -> None:
    client = SDK(endpoint=address, api_key=None, auto_retry=True, timeout=30)
    assert client.timeout == 30
    job = client.create_job(
        code=COUNTING,
        requirements=["torch>=1.12"],
        hardware={"gpu_memory": "8GB", "gpu_count": 1},
        timeout=3600,
        max_retries=3,
    )
    assert job.status == "CREATED"
    assert job.execute(**{"async": True}) is job
    assert job.status in {"QUEUED", "ASSIGNED", "RUNNING", "SUCCEEDED"}
    assert 0 <= job.progress <= 100
    assert re.fullmatch(r"(line \d+\n)*", job.logs)
    result = job.result()
    assert (job.status, job.progress) == ("SUCCEEDED", 100.0)
    assert job.logs == result.logs == "".join(f"line {step}\n" for step in range(10))
    assert job.metrics == list(result.metrics)
    assert any("CPU" in warning for warning in result.warnings)


def test_the_client_of_the_architecture_document(address: str) -> None:
    client = BCaiClient(address.replace("http", "ws"))
    training_code = """
import torch
import torch.nn as nn
import bcai

class SimpleNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(x)

model = SimpleNN()
for step in range(3):
    loss = model(torch.ones(4, 784)).pow(2).mean()
    bcai.log(step=step, loss=loss.item())
"""
    job = TrainingJob(
        name="mnist-classifier",
        code=training_code,
        requirements=["torch>=2.0.0"],
        resources={"gpu_memory_gb": 8},
        reward_tokens=1000,
    )
    result = client.submit_job(job)
    assert result.training_metrics["status"] == "SUCCEEDED"
    assert result.training_metrics["loss"] == result.metrics[-1]["loss"]
    assert result.outputs["model"]["linear.weight"].shape == (10, 784)
    assert any("ledger" in warning for warning in result.warnings)
    client.close()


def test_events_tell_everything_once_and_in_order(client: SDK) -> None:
    job = client.create_job(COUNTING).submit()
    live = list(job.events())
    assert [event.sequence for event in live] == list(range(1, len(live) + 1))
    assert "".join(e.text for e in live if isinstance(e, LogEvent)) == job.wait().logs
    assert [e.step for e in live if isinstance(e, MetricEvent)] == list(range(10))
    assert [e.percent for e in live if isinstance(e, ProgressEvent)][-1] == 100
    states = [e.state for e in live if isinstance(e, StateEvent)]
    assert states == ["QUEUED", "ASSIGNED", "RUNNING", "SUCCEEDED"]
    assert list(job.events(after=live[4].sequence)) == live[5:]
    assert list(client.job(job.id).events()) == live


def test_logs_stream_while_the_job_runs(client: SDK) -> None:
    code = "print('first', flush=True)\nprint('no end', end='', flush=True)\nwhile True: pass"
    job = client.create_job(code).submit()
    lines = job.stream_logs()
    assert next(lines) == "first"
    assert job.status == "RUNNING"
    job.cancel()
    assert list(lines) == ["no end"]
    assert job.status == "CANCELLED"


def test_a_failure_names_the_line_and_the_way_out(client: SDK) -> None:
    with pytest.raises(JobFailedError) as caught:
        client.create_job("print('so far')\nratio = 1 / 0\n").execute()
    assert "ZeroDivisionError" in str(caught.value)
    assert "job.py:2: ratio = 1 / 0" in str(caught.value)
    assert "so far\n" in caught.value.result.logs
    result = client.create_job("import no_such_package").execute(check=False)
    assert (result.status, result.succeeded) == ("FAILED", False)
    assert result.reason is not None
    assert "no_such_package" in result.reason.hint


def test_a_job_is_cancelled_and_another_times_out(client: SDK) -> None:
    job = client.create_job("while True: pass").submit()
    until_running(job)
    with pytest.raises(TimeoutError, match=rf"{job.id} did not end within 0.1 s"):
        job.wait(0.1)
    client.cancel(job.id)
    with pytest.raises(JobCancelledError):
        job.wait()
    with pytest.raises(JobTimedOutError):
        client.create_job("while True: pass", timeout="1s").execute()


def test_a_project_with_modules_and_data(client: SDK, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "lib").mkdir(parents=True)
    (project / "lib" / "net.py").write_text("SCALE = 2\n")
    (project / "main.py").write_text(
        "import sys\n"
        "from lib.net import SCALE\n"
        "rows = [int(x) * SCALE for x in open('digits.csv').read().split(',')]\n"
        "image = open('images/deep/a.bin', 'rb').read()\n"
        "length = len(image)\n"
        "print(sys.argv[1:])\n"
    )
    (tmp_path / "digits.csv").write_text("1,2,3")
    (tmp_path / "images" / "deep").mkdir(parents=True)
    (tmp_path / "images" / "deep" / "a.bin").write_bytes(bytes(100_000))
    result = client.create_job(
        project=project,
        data=[tmp_path / "digits.csv", tmp_path / "images"],
        arguments=["--epochs", "3"],
        required_outputs=["rows"],
    ).execute()
    assert result.outputs["rows"] == [2, 4, 6]
    assert result.outputs["length"] == 100_000
    assert result.logs == "['--epochs', '3']\n"


def test_a_result_is_saved(client: SDK, tmp_path: Path) -> None:
    code = (
        "import bcai, numpy as np, pathlib\n"
        "weights = np.arange(6.0).reshape(2, 3)\n"
        "loss = float('nan')\n"
        "pathlib.Path('curve.txt').write_text('a curve')\n"
        "bcai.output('curve.txt', pathlib.Path('curve.txt'))\n"
    )
    result = client.create_job(code).execute()
    assert math.isnan(result.outputs["loss"])
    written = result.save(tmp_path / "out")
    np.testing.assert_array_equal(np.load(written["weights"]), np.arange(6.0).reshape(2, 3))
    assert written["curve.txt"].read_text() == "a curve"


def test_jobs_are_found_again(client: SDK) -> None:
    job = client.create_job("x = 41 + 1", name="found-again").submit()
    job.wait()
    again = client.job(job.id)
    assert (again.name, again.status) == ("found-again", "SUCCEEDED")
    assert again.result().outputs["x"] == 42
    assert job.id in [listed.id for listed in client.list_jobs(state="succeeded", limit=200)]
    assert len(client.list_jobs(limit=1)) == 1
    assert client.list_jobs(limit=1)[0].wait(check=False).job_id


def test_a_list_goes_over_pages(client: SDK) -> None:
    made = [client.create_job(f"x = {number}").submit().id for number in range(3)]
    assert {job.id for job in client.list_jobs(limit=300)} >= set(made)


def test_submitting_twice_is_one_job(client: SDK) -> None:
    job = client.create_job("x = 1")
    first = job.submit().id
    assert job.submit().id == first
    assert job.execute().job_id == first


def test_nodes_say_what_they_offer(client: SDK) -> None:
    (node,) = client.nodes()
    assert node.online
    assert node.capabilities.cpu_count >= 1


def test_mistakes_are_explained(client: SDK, address: str) -> None:
    with pytest.raises(NotFoundError):
        client.job("job_that_never_was")
    with pytest.raises(InputError, match="no id yet"):
        client.create_job("x = 1").wait()
    with pytest.raises(InputError, match="did you mean 'RUNNING'"):
        client.list_jobs(state="runing")
    with pytest.raises(AuthError), SDK(address, api_key="bcai_wrong") as stranger:
        stranger.nodes()
    with pytest.raises(AuthError):
        BCaiClient(address, api_key="bcai_wrong").submit_job(TrainingJob("job", "x = 1"))


def test_several_threads_share_a_client(client: SDK) -> None:
    answers: list[object] = []

    def work(number: int) -> None:
        answers.append(client.create_job(f"x = {number}").execute().outputs["x"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(answer) for answer in answers) == ["0", "1", "2", "3"]


def test_asynchronous_code(address: str) -> None:
    async def main() -> None:
        async with AsyncSDK(address) as client:
            job = client.create_job("import numpy as np\nprint('hello')\nw = np.ones(3)")
            handle = await job.execute(wait=False)
            assert [line async for line in handle.stream_logs()] == ["hello"]
            result = await job.wait()
            await result.outputs.load()
            assert result.outputs["w"].sum() == 3
            assert (await client.job(job.id)).status == "SUCCEEDED"
        async with AsyncBCaiClient(address) as socket_client:
            result = await socket_client.submit_job(TrainingJob("job", "loss = 0.5"))
            assert result.training_metrics["loss"] == 0.5

    asyncio.run(main())


def test_synchronous_code_in_a_notebooks_loop(client: SDK) -> None:
    async def cell() -> object:
        return client.create_job("x = 7").execute().outputs["x"]

    assert asyncio.run(cell()) == 7
