"""The gateway does what its OpenAPI description says, whatever is sent to it."""

import subprocess
import sys
from pathlib import Path

from bcai.cluster.store.protocol import Role

from .gateway_process import SECRETS, Gateway

CONFIG = Path(__file__).parent / "schemathesis.toml"
RUN_S_MAX = 280


def test_every_check_of_schemathesis_passes(gateway: Gateway, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{gateway.url}/openapi.json", "--checks", "all"),
        *("--header", f"Authorization: Bearer {SECRETS[Role.ADMIN]}"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Stateful" in done.stdout


def test_every_operation_has_an_id_a_summary_and_documented_errors(gateway: Gateway) -> None:
    with gateway.client(role=None) as client:
        description = client.get("/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == 23
    for path, method, operation in operations:
        assert operation["operationId"].isidentifier()
        assert operation["description"]
        if path != "/v1/health":
            assert {"401", "403"} <= operation["responses"].keys(), (path, method)
