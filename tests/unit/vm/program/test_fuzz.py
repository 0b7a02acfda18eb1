"""What fuzzing found stays found; a short run of the fuzzer itself where atheris is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.program_target import check

FUZZ = Path(__file__).parents[4] / "fuzz"
SEEDS = sorted(path for path in (FUZZ / "seeds").iterdir() if path.suffix)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.name)
def test_what_once_broke_holds(seed: Path) -> None:
    check(seed.read_bytes())


@pytest.mark.slow
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is in the dev group, for Linux on x86-64")
    done = subprocess.run(
        [sys.executable, FUZZ / "fuzz_programs.py", "30", tmp_path / "corpus"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(FUZZ)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "stat::number_of_executed_units" in done.stderr
