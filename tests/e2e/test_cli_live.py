"""`bcai run` on a terminal: a real pseudo-terminal, real processes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cli_process import Cli

pytestmark = pytest.mark.timeout(900)

TRAINING = """
import sys, time
import bcai
for step in range(1, 21):
    bcai.log(step=step, loss=1 / step, accuracy=1 - 1 / step)
    bcai.progress(step / 20)
    print("step", step, flush=True)
    sys.stderr.write(f"\\r{step * 5}%|" + "#" * step)
    sys.stderr.flush()
    time.sleep(0.1)
loss = 0.05
"""
SLEEPY = "import time\nprint('awake', flush=True)\nfor _ in range(3000):\n    time.sleep(0.1)\n"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home folder; the first command starts its network, and we stop it."""
    cli = Cli(tmp_path_factory.mktemp("home"))
    if cli.run("doctor").status != 0:
        pytest.skip("jobs cannot run on this machine; `bcai doctor` says what would lift that")
    try:
        yield cli
    finally:
        cli.run("down")


def test_a_job_is_shown_live_and_summed_up(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINING, encoding="utf-8")
    terminal = cli.on_terminal("run", script)
    assert terminal.finish() == 0
    text = terminal.text
    assert "RUNNING" in text
    assert re.search(r"\d+ %", text)
    assert "step 20" in text
    end = text[text.rindex("SUCCEEDED") :]
    for part in ("train in", "loss", "0.05", "accuracy", "0.95", "ran on", "jail"):
        assert part in end


def test_ctrl_c_cancels_the_job(cli: Cli) -> None:
    terminal = cli.on_terminal("run", "--code", SLEEPY)
    terminal.until(lambda text: "awake" in text)
    terminal.interrupt()
    assert terminal.finish() == 1
    assert "CANCELLED" in terminal.text
    latest = json.loads(cli.run("jobs", "show", "last", "--json").out)
    assert latest["state"] == "CANCELLED"


def test_ctrl_c_twice_leaves_and_says_how_to_come_back(cli: Cli) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPY
    terminal = cli.on_terminal("run", "--code", stubborn)
    terminal.until(lambda text: "awake" in text)
    terminal.interrupt()
    terminal.interrupt()
    status = terminal.finish()
    job_id = json.loads(cli.run("jobs", "show", "last", "--json").out)["id"]
    assert status in (130, 1)  # a job that stops in between ends the command with its own status
    if status == 130:
        assert f"bcai jobs logs -f {job_id}" in " ".join(terminal.text.split())
    cli.run("jobs", "cancel", job_id)


@pytest.mark.parametrize(
    ("width", "environment"),
    [(40, {}), (100, {"NO_COLOR": "1"}), (100, {"TERM": "dumb"}), (100, {"LC_ALL": "C"})],
)
def test_other_terminals_are_respected(cli: Cli, width: int, environment: dict[str, str]) -> None:
    terminal = cli.on_terminal("run", "--code", TRAINING, width=width, **environment)
    assert terminal.finish() == 0
    assert "SUCCEEDED" in terminal.text
    if environment.get("TERM") == "dumb":
        assert "\x1b" not in terminal.raw
    if "NO_COLOR" in environment:
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.raw)
