"""Every curl command of docs/api.md works as it stands there."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcai.cluster.store.protocol import Role

from .gateway_process import SECRETS, Gateway, submitted
from .node_side import assign, connected

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
FENCE = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)


def commands() -> Iterator[str]:
    """The page's shell blocks, without the one that names a network of the reader's."""
    for block in FENCE.findall(PAGE):
        if "export API_KEY" not in block:
            yield block


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed; install it")
def test_the_commands_work(gateway: Gateway, tmp_path: Path) -> None:
    with gateway.client(Role.ADMIN) as client, connected(gateway, "node_page") as node:
        job_id = submitted(client)
        assign(gateway, job_id, "node_page")
        node.run(node.assigned(), "hello\n")
    environment = {
        "PATH": os.environ["PATH"],
        "BCAI_URL": gateway.url,
        "API_KEY": SECRETS[Role.ADMIN],
        "JOB_ID": job_id,
    }
    blocks = list(commands())
    assert len(blocks) > 10
    for block in blocks:
        script = block.replace("curl ", "curl --silent --show-error --fail-with-body ")
        done = subprocess.run(
            ["bash", "-euc", script],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def test_every_path_of_the_description_is_on_the_page(gateway: Gateway) -> None:
    with gateway.client(role=None) as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path in paths:
        shown = path.replace("{job_id}", "$JOB_ID").replace("{digest}", "$DIGEST")
        shown = shown.replace("outputs/{name}", "outputs/loss").replace("{key_id}", "{id}")
        assert shown in PAGE, path
