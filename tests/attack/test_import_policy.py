"""The import policy inside a jail: a job's own code is asked, libraries are not."""

import threading
from dataclasses import replace

import pytest

from bcai.bridge.inspect.policy import ImportPolicy, guest_list, import_policy
from bcai.bridge.sandbox import launcher
from bcai.bridge.sandbox.jail import Cause, JailExit, JailRequest, OnEvent
from bcai.bridge.sandbox.trainer import Trainer
from bcai.bridge.sandbox.warm import ZygotePool

from .jails import Jail


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> None:
    use_policy(monkeypatch, ImportPolicy())


def use_policy(monkeypatch: pytest.MonkeyPatch, policy: ImportPolicy) -> None:
    launch = launcher.launch

    def launch_with(
        request: JailRequest,
        on_event: OnEvent,
        cancelled: threading.Event,
        zygotes: ZygotePool | None,
        *,
        level_max: str,
        trainer: Trainer | None,
    ) -> JailExit:
        asked = replace(request, allowed_imports=guest_list(policy))
        return launch(asked, on_event, cancelled, zygotes, level_max=level_max, trainer=trainer)

    monkeypatch.setattr("tests.attack.jails.launch", launch_with)


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(
    "code",
    [
        "import fastapi\n",
        "from sqlalchemy.orm import Session\n",
        "import importlib\nimportlib.import_module('fastapi')\n",
        "__import__('fastapi')\n",
        "exec('import fastapi')\n",
        "def later():\n    import fastapi\nlater()\n",
    ],
)
def test_an_unlisted_package_is_refused_with_its_setting(jail: Jail, code: str) -> None:
    ended = jail.run(code).exit
    assert ended.cause is Cause.EXCEPTION, ended
    assert "import policy does not list" in ended.message
    assert "enhanced_vm.python_constraints.allowed_imports" in ended.message
    assert ended.user_line


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(
    "code",
    [
        "import torch, numpy, json, sklearn.svm, matplotlib.pyplot, joblib, safetensors, bcai\n",
        "import transformers\nfrom transformers import BertConfig\n",  # it imports requests itself
        "import model\nassert model.x == 1\n",
        "import package.inner\n",
        "import multiprocessing as mp\n"
        "def f(x):\n    import numpy\n    return x\n"
        "assert mp.get_context('fork').Pool(1).map(f, [1]) == [1]\n",
        "try:\n    import wandb\nexcept ImportError:\n    wandb = None\n",
    ],
)
def test_what_is_listed_or_the_jobs_own_works(jail: Jail, code: str) -> None:
    (jail.folder / "model.py").write_text("import json\nx = 1\n")
    (jail.folder / "package").mkdir()
    (jail.folder / "package" / "inner.py").write_text("")
    ended = jail.run(code).exit
    assert (ended.cause, ended.exit_status) == (Cause.EXITED, 0), ended


@pytest.mark.usefixtures("policy")
def test_a_package_that_is_not_there_keeps_its_own_reason(jail: Jail) -> None:
    assert jail.run("import no_such_module_here\n").exit.cause is Cause.MISSING_IMPORT


def test_the_owner_allows_a_package(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    use_policy(monkeypatch, import_policy(["sqlalchemy"]))
    assert jail.run("import sqlalchemy\n").exit.exit_status == 0


def test_the_owner_switches_it_off(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    use_policy(monkeypatch, import_policy(is_enforced=False))
    assert jail.run("import sqlalchemy\n").exit.exit_status == 0
