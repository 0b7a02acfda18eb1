"""A client that submits a job and collects what it is shown, through every failure."""

import threading
import time
from typing import Any

import httpx
from tests.e2e.network_process import WAIT_S, NetworkProcess, wait_until

FINAL = {"SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT"}


class Watcher:
    """Follows a job's events from a thread, as a user's terminal does."""

    def __init__(self, network: NetworkProcess, job_id: str) -> None:
        self.job_id = job_id
        self.shown: list[dict[str, Any]] = []
        self._network = network
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """Log lines shown so far."""
        return log_lines(list(self.shown))

    def wait_for_state(self, *states: str) -> None:
        """Wait until a state was shown."""
        wait_until(
            lambda: any(event["body"].get("state") in states for event in list(self.shown)),
            f"{self.job_id} is {' or '.join(states)}; shown: {self.shown[-3:]}",
        )

    def wait_for_state_again(self, state: str) -> None:
        """Wait until a state was shown twice."""
        wait_until(
            lambda: [event["body"].get("state") for event in list(self.shown)].count(state) > 1,
            f"{self.job_id} is {state} again",
        )

    def wait_for_line(self, text: str) -> None:
        """Wait until a line was shown."""
        wait_until(lambda: text in self.lines(), f"{text!r} is shown by {self.job_id}")

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        self._thread.join(WAIT_S)

    def _follow(self) -> None:
        after = 0
        while not self._stopping.is_set():
            try:
                with self._network.client() as client:
                    while not self._stopping.is_set():
                        page = client.get(
                            f"/v1/jobs/{self.job_id}/events",
                            params={"after": after, "wait_s": 0.5},
                        )
                        page.raise_for_status()
                        self.shown += page.json()["items"]
                        after = page.json()["next_after"]
                        if page.json()["final"]:
                            return
            except (httpx.HTTPError, KeyError):  # a part of the network is dead: ask again
                time.sleep(0.05)


def submit(network: NetworkProcess, code: str, **fields: Any) -> str:
    """Submit a job until it is acknowledged; return its id."""
    with network.client() as client:
        answer = client.post("/v1/jobs", json={"code": code, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def wait_final(network: NetworkProcess, job_id: str) -> dict[str, Any]:
    """Wait until a job has ended; return it."""
    job: dict[str, Any] = {}

    def is_final() -> bool:
        try:
            with network.client() as client:
                job.update(client.get(f"/v1/jobs/{job_id}").raise_for_status().json())
        except (httpx.HTTPError, KeyError):
            return False
        return job["state"] in FINAL

    try:
        wait_until(is_final, f"{job_id} has ended")
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {job}\n{network.output()}") from None
    return job


def run(network: NetworkProcess, code: str, **fields: Any) -> dict[str, Any]:
    """Submit a job and wait for its end."""
    return wait_final(network, submit(network, code, **fields))


def stored_events(network: NetworkProcess, job_id: str) -> list[dict[str, Any]]:
    """All events of a job, page by page."""
    events: list[dict[str, Any]] = []
    with network.client() as client:
        while True:
            after = events[-1]["sequence"] if events else 0
            page = client.get(f"/v1/jobs/{job_id}/events", params={"after": after}).json()
            events += page["items"]
            if not page["items"]:
                return events


def log_lines(events: list[dict[str, Any]], attempt: int | None = None) -> list[str]:
    """Lines of the log, of all attempts or of one."""
    text = "".join(
        str(event["body"]["text"])
        for event in events
        if event["kind"] == "log" and attempt in (None, event["attempt"])
    )
    return text.splitlines()
