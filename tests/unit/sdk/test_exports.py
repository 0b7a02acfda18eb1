"""What users import, and what it costs them."""

import subprocess
import sys

import bcai
import bcai_sdk

HEAVY = ("torch", "numpy", "pydantic", "httpx", "fastapi", "sqlalchemy", "websockets", "rich")


def test_the_public_names_are_pinned() -> None:
    assert sorted(bcai.__all__) == [
        "AdamW",
        "AsyncJob",
        "AsyncSDK",
        "BcaiError",
        "InputError",
        "Job",
        "JobCancelledError",
        "JobError",
        "JobFailedError",
        "JobTimedOutError",
        "PendingTraining",
        "Result",
        "SDK",
        "Sgd",
        "Tensor",
        "Trained",
        "UnreachableError",
        "cosine",
        "evaluate",
        "fit",
        "from_torch",
        "input",
        "inputs",
        "log",
        "output",
        "predict",
        "progress",
        "submit_fit",
        "to_torch",
    ]
    assert sorted(bcai_sdk.__all__) == [
        "AsyncBCaiClient",
        "BCaiClient",
        "TrainingJob",
    ]


def test_every_public_name_is_there() -> None:
    for module in (bcai, bcai_sdk):
        for name in module.__all__:
            assert getattr(module, name) is not None, name
            assert name in dir(module)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(bcai, "Nothing")


def test_import_bcai_loads_nothing_heavy() -> None:
    assert loaded_by("import bcai") == []


def test_the_sdk_does_not_load_what_only_arrays_and_gateways_need() -> None:
    loaded = loaded_by("from bcai import SDK; SDK('http://localhost:8080').create_job('x = 1')")
    assert not {"torch", "numpy", "fastapi", "sqlalchemy"} & set(loaded)


def loaded_by(statement: str) -> list[str]:
    """Names of heavy modules that a statement loads in a fresh interpreter."""
    script = f"import sys\n{statement}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return answer.stdout.split()
