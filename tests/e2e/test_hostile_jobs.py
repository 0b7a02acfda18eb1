"""Jobs that misbehave end with a clear state and reason, and the node goes on."""

from typing import Any

import pytest
from tests.e2e.network_process import NetworkProcess
from tests.e2e.watcher import Watcher, log_lines, run, stored_events, submit, wait_final

HOSTILE: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "syntax-error": ("x = 1\nif x\n    pass\n", {}, "FAILED", "user.syntax_error"),
    "missing-import": ("import no_such_module_here\n", {}, "FAILED", "user.missing_import"),
    "exception": ("def f():\n    return 1 / 0\nf()\n", {}, "FAILED", "user.exception"),
    "exit-1": ("import sys\nprint('bye')\nsys.exit(1)\n", {}, "FAILED", "user.exit_status"),
    "kills-itself": ("import os\nos.kill(os.getpid(), 9)\n", {}, "FAILED", "user.signal"),
    "endless-loop": ("while True: pass\n", {"timeout": 2}, "TIMED_OUT", "limit.wall_time"),
    "endless-sleep": (
        "import time\nwhile True: time.sleep(60)\n", {"timeout": 2}, "TIMED_OUT", "limit.wall_time",
    ),
    "100-MB-of-stdout": (
        "for _ in range(100): print('x' * 1_000_000)\n", {}, "FAILED", "limit.log_bytes",
    ),
    "memory-bomb": (
        "held = []\nwhile True: held.append(bytearray(50_000_000))\n",
        {"limits": {"memory": "512MiB"}}, "FAILED", "limit.memory",
    ),
    "missing-output": (
        "a = 1\n", {"required_outputs": ["model"]}, "FAILED", "output.missing",
    ),
    "values-too-large": (
        "numbers = list(range(2_000_000))\n", {"required_outputs": ["numbers"]}, "FAILED", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_job_ends_with_its_reason_and_the_node_goes_on(
    shared_network: NetworkProcess, name: str
) -> None:
    code, fields, state, reason = HOSTILE[name]
    job = run(shared_network, code, **fields)
    outcome = job["outcome"]
    assert job["state"] == state, outcome
    if reason is not None:
        assert outcome["reason"]["code"] == reason, outcome
    assert outcome["reason"]["message"]
    assert len(job["attempts"]) == 1, "the user's fault is never retried"
    assert_goes_on(shared_network)


def test_a_syntax_error_names_the_line(shared_network: NetworkProcess) -> None:
    outcome = run(shared_network, "x = 1\nif x\n    pass\n")["outcome"]
    assert outcome["user_line"] == 2
    assert outcome["exit_status"] != 0


def test_a_missing_import_names_the_package(shared_network: NetworkProcess) -> None:
    reason = run(shared_network, "import no_such_module_here\n")["outcome"]["reason"]
    assert "no_such_module_here" in reason["message"]
    assert reason["hint"]


def test_a_loss_that_is_not_a_number_is_a_number_all_the_same(
    shared_network: NetworkProcess,
) -> None:
    code = "import bcai\nbcai.log(step=1, loss=float('nan'))\nloss = float('nan')\n"
    job = run(shared_network, code)
    assert job["state"] == "SUCCEEDED", job["outcome"]
    values = {output["name"]: output["value"] for output in job["outcome"]["outputs"]}
    assert values["loss"] == {"$number": "nan"}
    metrics = [event for event in stored_events(shared_network, job["id"]) if is_metric(event)]
    assert metrics[0]["body"]["values"] == {"loss": "nan"}


def test_values_that_are_not_unicode_do_not_end_the_node(shared_network: NetworkProcess) -> None:
    job = run(shared_network, "name = '\\ud800'\ntable = {'\\udcff': 1}\n")
    assert job["state"] == "SUCCEEDED", job["outcome"]
    values = {output["name"]: output["value"] for output in job["outcome"]["outputs"]}
    assert values == {"name": "\\ud800", "table": {"\\udcff": 1}}
    assert_goes_on(shared_network)


def test_output_that_is_not_text_is_escaped(shared_network: NetworkProcess) -> None:
    code = (
        "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 4)\n"
        "sys.stdout.buffer.write(b'\\n\\x1b[2J')\nsys.stdout.flush()\nprint('after')\n"
    )
    job = run(shared_network, code)
    assert job["state"] == "SUCCEEDED", job["outcome"]
    lines = log_lines(stored_events(shared_network, job["id"]))
    assert lines[-1].endswith("after")
    assert "\x1b" not in "".join(lines)
    assert_goes_on(shared_network)


def test_a_requirement_that_no_node_has_is_refused_and_named(
    shared_network: NetworkProcess,
) -> None:
    with shared_network.client() as client:
        body = {"code": "1", "requirements": ["no-such-package>=2"]}
        answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 403
    assert answer.json()["code"] == "policy.refused"
    assert "no-such-package" in answer.json()["detail"]


def test_a_running_job_is_cancelled(shared_network: NetworkProcess) -> None:
    code = "import time\nprint('up', flush=True)\nwhile True: time.sleep(1)\n"
    watcher = Watcher(shared_network, submit(shared_network, code))
    watcher.wait_for_line("up")
    with shared_network.client() as client:
        assert client.post(f"/v1/jobs/{watcher.job_id}:cancel").is_success
    job = wait_final(shared_network, watcher.job_id)
    watcher.stop()
    assert (job["state"], job["outcome"]["reason"]["code"]) == ("CANCELLED", "job.cancelled")
    assert_goes_on(shared_network)


def is_metric(event: dict[str, Any]) -> bool:
    return event["kind"] == "metric"


def assert_goes_on(network: NetworkProcess) -> None:
    job = run(network, "answer = 6 * 7\n")
    assert job["state"] == "SUCCEEDED", job["outcome"]
    assert [output["value"] for output in job["outcome"]["outputs"]] == [42]
