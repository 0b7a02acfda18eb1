"""A PostgreSQL server of our own, for as long as the tests run."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

URL_VARIABLE = "BCAI_TEST_DATABASE_URL"
START_S = 60


def find_binaries() -> Path | None:
    """Folder of `initdb` and `postgres`, newest version first."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
    )
    found = shutil.which("initdb")
    places = ([Path(found).resolve().parent] if found else []) + debian[::-1]
    return next((place for place in places if (place / "postgres").exists()), None)


@contextmanager
def server(binaries: Path) -> Generator[str]:
    """Run a server that listens on a Unix socket only; yield its address."""
    with tempfile.TemporaryDirectory(prefix="bcai-pg-") as name:
        folder = Path(name)
        user = _harmless_user()
        if user is not None:
            os.chown(folder, user, -1)
        data, log = folder / "data", folder / "log"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-A", "trust", "-U", "bcai", "-E", "UTF8", "-N"],
            user=user,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=START_S,
            cwd=folder,
        )
        with log.open("wb") as output:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", folder, "-h", "", "-F"],
                user=user,
                stdout=output,
                stderr=output,
                cwd=folder,
                preexec_fn=_die_with_parent,
            )
        try:
            address = f"postgresql://bcai@/postgres?host={folder}"
            _wait_until_up(address, process, log)
            yield address
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown
            process.wait(START_S)


@contextmanager
def new_database(address: str) -> Generator[str]:
    """Make an empty database on a server and drop it afterwards; yield its address."""
    name = f"bcai_test_{uuid.uuid4().hex}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    before, _, after = address.partition("?")
    base = before.rsplit("/", 1)[0]
    try:
        yield f"{base}/{name}" + (f"?{after}" if after else "")
    finally:
        with psycopg.connect(address, autocommit=True) as connection:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)


def _harmless_user() -> int | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return 65534


def _die_with_parent() -> None:
    death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(death_signal, signal.SIGQUIT)


def _wait_until_up(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
