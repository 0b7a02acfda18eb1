"""A node's owner builds environments ahead of time; jobs run in them, or are refused beforehand."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.e2e.cli_process import COMMAND, Answer, Cli
from tests.e2e.network_process import NetworkProcess, make_ours, wait_until
from tests.wheels import make_wheel, only_from

from bcai import SDK
from bcai.base.errors import RefusedError
from bcai.jobs.outcome import ReasonCode

WHERE = """
import sys, importlib.util
from tiny import VERSION as version
from other import VERSION as other
names = ("numpy", "pydantic", "pip", "setuptools")
seen = [name for name in names if importlib.util.find_spec(name)]
prefix = sys.prefix
warm = "bcai.bridge.guest.capture" in sys.modules
try:
    open(importlib.util.find_spec("tiny").origin, "a")
    writable = True
except OSError:
    writable = False
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        needs = ("other>=1", "absent; extra == 'more'")
        make_wheel(folder, "tiny", version, requires=needs, extras=("more",))
    make_wheel(folder, "other", "1.5")
    return folder


@pytest.fixture(scope="module")
def cli(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home with the environment `tiny`."""
    made = Cli(tmp_path_factory.mktemp("environments") / "home")
    answer = _add(made, house, "tiny", "tiny<2", "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["packages"] == {"other": "1.5", "tiny": "1.0"}
    return made


@pytest.fixture(scope="module")
def network(cli: Cli) -> Generator[NetworkProcess, None, None]:
    with NetworkProcess(cli.home, BCAI_HOME=str(cli.home)) as running:
        yield running


@pytest.fixture
def client(network: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> Generator[SDK, None, None]:
    with SDK(make_ours(network, monkeypatch)) as opened:
        yield opened


def test_a_job_runs_in_the_environment_that_has_what_it_requires(client: SDK, cli: Cli) -> None:
    for _ in range(2):  # cold; then warm, where the node was quick
        result = client.create_job(WHERE, requirements=["tiny==1.0", "other"]).execute()
        values = {name: result.outputs[name] for name in ("version", "other", "seen", "writable")}
        assert values == {"version": "1.0", "other": "1.5", "seen": [], "writable": False}
        assert str(result.outputs["prefix"]).endswith("environments/tiny/python")
        ran_in = result.job.outcome.environment if result.job.outcome else None
        assert ran_in is not None
        assert (ran_in.name, ran_in.lock) == ("tiny", _lock_digest(cli))


def test_a_job_that_requires_nothing_runs_in_the_nodes_own_python(client: SDK) -> None:
    result = client.create_job("import numpy\nversion = numpy.__version__").execute()
    outcome = result.job.outcome
    assert outcome is not None
    assert outcome.environment is not None
    assert outcome.environment.name == "default"
    named = client.create_job("import tiny\nversion = tiny.VERSION", environment="tiny").execute()
    assert named.outputs["version"] == "1.0"


@pytest.mark.parametrize(
    ("wanted", "environment", "words", "hint"),
    [
        (["tiny>=2"], None, "'tiny' has tiny 1.0", "bcai node env add NAME 'tiny>=2'"),
        (["tiny[more]"], None, "tiny 1.0 without [more]", "bcai node env add NAME 'tiny[more]'"),
        (["numpy", "tiny"], None, "tiny is in 'tiny', without the rest", "NAME numpy tiny"),
        (["numpy"], "tiny", "'tiny' has no numpy", "bcai node env add NAME numpy"),
        ([], "tyny", "the node has 'default', 'tiny'", "did you mean 'tiny'?"),
    ],
)
def test_what_no_environment_has_is_refused_before_the_job_starts(
    client: SDK, wanted: list[str], environment: str | None, words: str, hint: str
) -> None:
    job = client.create_job("print('ran')", requirements=wanted, environment=environment)
    with pytest.raises(RefusedError) as refused:
        job.execute()
    assert refused.value.code == "policy.refused"
    assert words in str(refused.value)
    assert hint in refused.value.hint


def test_an_import_that_the_environment_lacks_ends_as_a_missing_import(client: SDK) -> None:
    result = client.create_job("import numpy", environment="tiny").execute(check=False)
    assert result.reason is not None
    assert result.reason.code is ReasonCode.MISSING_IMPORT


LONG = """
import os, time, tiny
before = tiny.VERSION
print("up", flush=True)
while not os.path.exists(os.path.dirname(tiny.__file__) + "/go-on"):
    time.sleep(0.05)
import other
after = other.VERSION
"""


def test_a_running_node_offers_what_is_built_and_forgets_what_is_removed(
    network: NetworkProcess, client: SDK, cli: Cli, house: Path
) -> None:
    assert _add(cli, house, "later", "tiny==2.0").status == 0
    wait_until(lambda: "later" in _offered(network), "the node offers it")
    job = client.create_job(LONG, requirements=["tiny==2.0"]).submit()
    assert next(job.stream_logs()) == "up"
    gone = json.loads(cli.run("node", "env", "remove", "later", "--json").out)
    assert gone == {"removed": "later", "in_use": True}
    assert "later" not in _listed(cli)
    wait_until(lambda: "later" not in _offered(network), "the node offers it no more")
    with pytest.raises(RefusedError, match=r"tiny 1\.0"):
        client.create_job("x = 1", requirements=["tiny==2.0"]).execute()
    again = _add(cli, house, "later", "tiny==1.0")
    assert again.status != 0
    assert "jobs of the node still run in it" in again.err
    folder = cli.home / "node" / "environments" / "later"
    packages = next(folder.glob("python/lib/*/site-packages"))
    packages.chmod(0o755)
    (packages / "go-on").touch()
    result = job.wait()
    assert (result.outputs["before"], result.outputs["after"]) == ("2.0", "1.5")
    wait_until(lambda: not folder.exists(), "its files are gone")
    assert _add(cli, house, "later", "tiny==1.0").status == 0
    wait_until(lambda: "later" in _offered(network), "the node offers the other one")
    other = client.create_job("import tiny\nversion = tiny.VERSION", environment="later")
    assert other.execute().outputs["version"] == "1.0"
    assert cli.run("node", "env", "remove", "later").status == 0
    assert not folder.exists()


def test_names_of_no_environment_are_refused_alike(cli: Cli) -> None:
    for command in ("show", "check", "remove"):
        answer = cli.run("node", "env", command, "nope", "--json")
        assert (answer.status, json.loads(answer.out)["exit_status"]) == (2, 2)
        assert "there are: default, tiny" in json.loads(answer.out)["message"]
    answer = cli.run("node", "env", "check", "default")
    assert answer.status == 2
    assert "nothing to compare them with" in answer.err


def test_what_was_changed_is_found_and_no_longer_offered(house: Path, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "home")
    assert _add(cli, house, "tiny", "tiny").status == 0
    assert _listed(cli) == ["default", "tiny"]
    module = next((cli.home / "node").glob("environments/tiny/python/lib/*/site-packages/tiny.py"))
    module.chmod(0o644)
    module.write_text("VERSION = 'mine'\n")
    answer = cli.run("node", "env", "check")
    assert answer.status == 1
    assert "tiny.py changed" in answer.err
    assert _listed(cli) == ["default"]
    assert cli.run("node", "env", "remove", "tiny").status == 0


def test_a_lock_builds_the_same_and_nothing_but_it(cli: Cli, house: Path, tmp_path: Path) -> None:
    lock, twin = tmp_path / "tiny.lock", Cli(tmp_path / "twin")
    lock.write_text(cli.run("node", "env", "show", "tiny", "--lock").out)
    again = _add(twin, house, "again", "-r", lock, "--json")
    assert json.loads(again.out)["lock"] == _lock_digest(cli)
    other = tmp_path / "other"
    for package, version in (("tiny", "1.0"), ("other", "1.5")):
        make_wheel(other, package, version, code="print('something else')\n")
    answer = _add(twin, other, "forged", "-r", lock)
    assert answer.status != 0
    assert "HASHES" in answer.err
    assert _listed(twin) == ["default", "again"]


STAGES = ["making a virtual", "processing ", "installing collected", "package(s) read-only"]


@pytest.mark.parametrize(
    "stage", [pytest.param(each, marks=pytest.mark.slow) for each in STAGES[:-1]] + STAGES[-1:]
)
def test_a_build_that_is_killed_leaves_nothing_that_counts(
    house: Path, tmp_path: Path, stage: str
) -> None:
    cli = Cli(tmp_path / "home")
    build = subprocess.Popen(
        [*COMMAND, "node", "env", "add", "tiny", "tiny"],
        env=cli.environment(**only_from(house)),
        stderr=subprocess.PIPE,
        text=True,
    )
    with build:
        assert build.stderr is not None
        assert any(stage in line for line in build.stderr)
        build.kill()
    assert _listed(cli) == ["default"]
    answer = _add(cli, house, "tiny", "tiny")
    assert answer.status == 0, answer.err
    assert _listed(cli) == ["default", "tiny"]
    assert cli.run("node", "env", "check").status == 0


def test_another_python_builds_an_environment_for_jobs(house: Path, tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists() or os.path.realpath(python) == os.path.realpath(sys.executable):
        pytest.skip("needs another Python of 3.11 or newer at /usr/bin/python3")
    cli = Cli(tmp_path / "home")
    answer = _add(cli, house, "system", "tiny", "--python", python, "--json")
    if answer.status != 0 and ("python3-venv" in answer.err or "or newer" in answer.err):
        pytest.skip(f"/usr/bin/python3 cannot make environments: {answer.err.splitlines()[-2:]}")
    assert answer.status == 0, answer.err
    script = tmp_path / "job.py"
    script.write_text("import platform, tiny\nversion = platform.python_version()\n")
    with NetworkProcess(cli.home):
        run = cli.run("run", script, "--environment", "system", "--json")
    assert json.loads(run.out)["outputs"] == {"version": json.loads(answer.out)["python"]}


def _add(cli: Cli, wheels: Path, *tokens: str | Path) -> Answer:
    """Build an environment from nothing but the wheels in a folder."""
    return cli.run("node", "env", "add", *tokens, cwd=None, **only_from(wheels))


def _offered(network: NetworkProcess) -> list[str]:
    """Names of the environments that the network's node offers, as the gateway knows."""
    with network.client() as asks:
        (node,) = asks.get("/v1/nodes").json()["items"]
    return [each["name"] for each in node["capabilities"]["environments"]]


def _listed(cli: Cli) -> list[str]:
    answer = cli.run("node", "env", "list", "--json")
    assert answer.status == 0, answer.err
    return [each["name"] for each in json.loads(answer.out)["environments"]]


def _lock_digest(cli: Cli) -> str:
    return str(json.loads(cli.run("node", "env", "show", "tiny", "--json").out)["lock"])
