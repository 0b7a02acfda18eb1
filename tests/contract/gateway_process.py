"""A real gateway process on a real SQLite store."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore, Role
from bcai.settings import Settings

SECRETS = {role: f"bcai_{role.value}-of-the-contract-tests" for role in Role}
OTHER_CLIENT = "bcai_another-client-of-the-contract-tests"
START_S_MAX = 120


@dataclass
class Gateway:
    """A running gateway process."""

    home: Path
    process: subprocess.Popen[str]
    url: str
    variables: dict[str, str] = field(default_factory=dict[str, str])

    def client(self, role: Role | None = Role.CLIENT, secret: str | None = None) -> httpx.Client:
        """HTTP client with a role's key; None for no key at all."""
        chosen = secret or (SECRETS[role] if role else None)
        headers = {"Authorization": f"Bearer {chosen}"} if chosen else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[JobStore, None]:
        """The same store, from another process, as the scheduler has it."""
        store = open_store(settings_of(self.home))
        await store.start()
        try:
            yield store
        finally:
            await store.stop()

    def stop(self) -> int:
        """SIGTERM; return the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()


def settings_of(home: Path) -> Settings:
    return Settings(home=home)


def start_gateway(home: Path, **variables: str) -> Gateway:
    """Start a gateway on a free port, with a key for each role."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BCAI_")
    }
    environment |= {"BCAI_HOME": str(home), "BCAI_CONFIG": str(home / "none.toml"), **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "bcai.cluster.gateway", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the gateway did not start: {process.wait(timeout=START_S_MAX)}"
    return Gateway(home, process, json.loads(line)["url"], variables)


async def add_keys(home: Path) -> None:
    store = open_store(settings_of(home))
    await store.start()
    try:
        for role, secret in SECRETS.items():
            await store.add_key(role.value, role, secret)
        await store.add_key("another", Role.CLIENT, OTHER_CLIENT)
    finally:
        await store.stop()


def submitted(client: httpx.Client, **fields: object) -> str:
    """Submit a job; return its id."""
    answer = client.post("/v1/jobs", json={"code": "print(1)", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]
