"""`bcai program` as users run it: from assembly to arrays, and errors that point at the place."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tests.e2e.cli_process import Cli

from bcai.vm.backends.native.backend import what_is_missing

TEXT = """\
bcai program 1
meta "name" = "example"
input %0 "x": float32[2,4]
parameter %1 "w": float32[4,2]
%2 = MatMul %0 %1          # types may be left out
%3: float32[2,2] = Relu %2
output "y" = %3
"""
ROOT = "4de3f22661107bd00f927c586e4e83509d9def0297ecdb9bb92cf430f00d6a6f"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program and its inputs."""
    (tmp_path / "model.bcaiasm").write_text(TEXT)
    np.save(tmp_path / "x.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    np.save(tmp_path / "w.npy", -np.eye(4, 2, dtype=np.float32))
    return tmp_path


def test_verify_sums_a_program_up(cli: Cli, folder: Path) -> None:
    answer = cli.run("program", "verify", "model.bcaiasm", cwd=folder)
    assert answer.status == 0
    for line in (
        "legal: 2 instructions of set 1",
        "inputs       x: float32[2,4]",
        "parameters   w: float32[4,2]",
        "outputs      y: float32[2,2]",
        "instructions 1 MatMul, 1 Relu",
        f"root         {ROOT}",
    ):
        assert line in answer.out.splitlines()
    document = json.loads(cli.run("program", "verify", "model.bcaiasm", "--json", cwd=folder).out)
    assert document["root"] == ROOT
    assert document["instructions"] == {"MatMul": 1, "Relu": 1}
    assert document["bytes_peak"] == 96
    assert document["inputs"] == [{"name": "x", "type": "float32[2,4]"}]


def test_show_prints_assembly_and_converts_both_ways(cli: Cli, folder: Path) -> None:
    shown = cli.run("program", "show", "model.bcaiasm", cwd=folder)
    assert "%2: float32[2,2] = MatMul %0 %1\n" in shown.out
    command = ("program", "show", "model.bcaiasm", "--to-bytes", "out/model.bcai")
    assert cli.run(*command, cwd=folder).status == 0
    again = cli.run("program", "show", "out/model.bcai", cwd=folder)
    assert again.out == shown.out
    command = ("program", "show", "out/model.bcai", "--to-text", "again.bcaiasm")
    assert cli.run(*command, cwd=folder).out == ""
    assert (folder / "again.bcaiasm").read_text() == shown.out
    for file in ("model.bcaiasm", "out/model.bcai", "again.bcaiasm"):
        assert cli.run("program", "hash", file, cwd=folder).out == ROOT + "\n"


def test_run_computes_and_writes_the_outputs(cli: Cli, folder: Path) -> None:
    inputs = ("--input", "x=x.npy", "--input", "w=w.npy")
    answer = cli.run("program", "run", "model.bcaiasm", *inputs, "--out", "results", cwd=folder)
    assert answer.status == 0
    assert " on native (auto: the first of native, reference; " in answer.out or what_is_missing()
    assert np.load(folder / "results" / "y.npy").tolist() == [[0, 0], [0, 0]]
    plain = cli.run("program", "run", "model.bcaiasm", *inputs, cwd=folder)
    assert "y: float32[2,2]  [[0., 0.]" in plain.out
    document = json.loads(
        cli.run("program", "run", "model.bcaiasm", *inputs, "--json", cwd=folder).out
    )
    assert document["root"] == ROOT
    assert document["outputs"] == {"y": {"type": "float32[2,2]", "file": None}}


def test_bfloat16_survives_npy_files(cli: Cli, folder: Path) -> None:
    (folder / "half.bcaiasm").write_text(
        'bcai program 1\ninput %0 "x": bfloat16[2]\n%1 = Neg %0\noutput "y" = %1\n'
    )
    np.save(folder / "h.npy", np.array([1, -2], ml_dtypes.bfloat16))
    command = ("program", "run", "half.bcaiasm", "--input", "x=h.npy", "--out", ".")
    assert cli.run(*command, cwd=folder).status == 0
    found = np.load(folder / "y.npy").view(ml_dtypes.bfloat16)
    assert found.astype(np.float32).tolist() == [-1, 2]


def test_a_mistake_is_shown_with_its_line_and_a_caret(cli: Cli, folder: Path) -> None:
    (folder / "wrong.bcaiasm").write_text(TEXT.replace("Relu", "Rellu"))
    answer = cli.run("program", "verify", "wrong.bcaiasm", cwd=folder)
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.splitlines() == [
        "error: line 6, column 20: no instruction 'Rellu'; did you mean 'Relu'?",
        "    %3: float32[2,2] = Rellu %2",
        "                       ^^^^^",
    ]
    document = json.loads(cli.run("program", "verify", "wrong.bcaiasm", "--json", cwd=folder).out)
    assert document["code"] == "input.format"
    assert document["exit_status"] == 2


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (("verify", "absent.bcai"), "no file 'absent.bcai'"),
        (("verify", "x.npy"), "neither canonical bytes nor assembly"),
        (("run", "model.bcaiasm"), "input 'x' (float32[2,4]) is missing"),
        (("run", "model.bcaiasm", "--input", "x"), "expected NAME=FILE.npy"),
        (("run", "model.bcaiasm", "--input", "x=absent.npy"), "no file 'absent.npy'"),
        (("run", "model.bcaiasm", "--input", "x=model.bcaiasm"), "is not a .npy file"),
        (
            ("run", "model.bcaiasm", "--input", "x=w.npy", "--input", "w=w.npy"),
            "input 'x': found float32[4,2], expected float32[2,4]",
        ),
        (("run", "model.bcaiasm", "--backend", "cude"), "did you mean 'cuda'"),
        (("run", "model.bcaiasm", "--threads", "0"), "--threads: found 0, expected at least 1"),
        (("run", "model.bcaiasm", "--out", "x.npy"), "--out x.npy: cannot be made: File exists"),
        (("show", "model.bcaiasm", "--to-bytes", "x.npy/y"), "--to-bytes x.npy: cannot be made"),
        (("show", "model.bcaiasm", "--to-text", "."), "--to-text .: Is a directory"),
        (("shwo", "model.bcaiasm"), 'Did you mean "show"'),
    ],
)
def test_what_cannot_be_done_is_explained(
    cli: Cli, folder: Path, tokens: tuple[str, ...], says: str
) -> None:
    answer = cli.run("program", *tokens, cwd=folder)
    assert answer.status == 2
    assert says in answer.err
    assert answer.out == ""


def test_a_backend_that_is_not_here_is_refused(cli: Cli, folder: Path) -> None:
    inputs = ("--input", "x=x.npy", "--input", "w=w.npy", "--backend", "cuda")
    answer = cli.run("program", "run", "model.bcaiasm", *inputs, cwd=folder)
    assert answer.status == 3
    assert "this machine has no 'cuda': " in answer.err
    assert "; it has " in answer.err
