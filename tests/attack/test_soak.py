"""A hundred jobs, one in five hostile: every end is right and nothing is left of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bcai.bridge.sandbox.probe import probe_jail

BENCH = Path(__file__).parents[2] / "bench" / "jail_soak.py"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_left_of_a_hundred_jobs(tmp_path: Path) -> None:
    report = probe_jail()
    if report.level not in ("A", "B"):
        pytest.skip("no jail on this machine: " + "; ".join(report.missing))
    done = subprocess.run(
        [sys.executable, str(BENCH), "--jobs", "100", "--results", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "jail_soak.json").read_text())
    assert found["wrong"] == []
    assert found["ends"]["honest: exited"] == 80
    assert len(found["ends"]) > 15  # the hostile ones had their turn
