"""From submit to the first line on the screen, against starting Python by hand.

A network is up on this machine. Each round, in turn: a job is posted to `POST /v1/jobs` and its
event stream is read until the first line that the user's code printed; then the same script is
started as a bare subprocess and read until its first line. With and without `import torch`.

    python bench/submit_latency.py [--rounds 40]

Prints a table and writes bench/results/submit_latency.json.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

SCRIPTS = {
    "print": "print('ready', flush=True)\n",
    "import torch": "import torch\nprint('ready', torch.__version__, flush=True)\n",
}
WARM_UP = 2
START_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        network = subprocess.Popen(
            [sys.executable, "-m", "bcai.cluster.network", "--home", home, "--port", "0"],
            stdout=subprocess.DEVNULL,
        )
        try:
            endpoint = wait_for_endpoint(network, Path(home) / "network" / "endpoint.json")
            figures = {
                name: compare(endpoint, code, rounds if name == "print" else max(rounds // 2, 5))
                for name, code in SCRIPTS.items()
            }
        finally:
            network.send_signal(signal.SIGTERM)
            network.wait()
    show(figures)
    save(figures)


def wait_for_endpoint(network: subprocess.Popen[bytes], file: Path) -> dict[str, str]:
    until = time.monotonic() + START_S
    while not file.exists():
        if network.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the network does not start")
        time.sleep(0.05)
    return json.loads(file.read_text())


def compare(endpoint: dict[str, str], code: str, rounds: int) -> dict[str, object]:
    """Measure both ways in turn, so that a busy moment of the machine hits both."""
    headers = {"Authorization": f"Bearer {endpoint['api_key']}"}
    with httpx.Client(
        base_url=endpoint["url"], headers=headers, timeout=START_S, trust_env=False
    ) as client:
        samples: dict[str, list[float]] = {"network": [], "bare": []}
        for number in range(WARM_UP + rounds):
            network_s = timed(lambda: first_line_of_job(client, code))
            bare_s = timed(lambda: first_line_of_process(code))
            if number >= WARM_UP:
                samples["network"].append(network_s)
                samples["bare"].append(bare_s)
    ratios = [one / other for one, other in zip(samples["network"], samples["bare"], strict=True)]
    return {
        "rounds": rounds,
        "network_ms": spread(samples["network"]),
        "bare_ms": spread(samples["bare"]),
        "ratio_median": round(statistics.median(ratios), 2),
    }


def timed(act: Callable[[], None]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def first_line_of_job(client: httpx.Client, code: str) -> None:
    """Submit, and follow the event stream up to the first line of the log."""
    job_id = client.post("/v1/jobs", json={"code": code}).raise_for_status().json()["id"]
    with client.stream(
        "GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        for line in stream.iter_lines():
            if line == "event: log":
                return
    raise RuntimeError(f"{job_id} printed nothing")


def first_line_of_process(code: str) -> None:
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the script printed nothing")
        # The rest of its life is not measured: it is killed, as the stream above is left.
        process.kill()


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * value for value in seconds)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "min": round(ordered[0], 1),
    }


def show(figures: dict[str, dict[str, object]]) -> None:
    print(f"{'script':<14}{'network p50':>13}{'p99':>9}{'bare p50':>11}{'p99':>9}{'ratio':>8}")
    for name, figure in figures.items():
        network, bare = figure["network_ms"], figure["bare_ms"]
        assert isinstance(network, dict)
        assert isinstance(bare, dict)
        print(
            f"{name:<14}{network['p50']:>10} ms{network['p99']:>6} ms"
            f"{bare['p50']:>8} ms{bare['p99']:>6} ms{figure['ratio_median']!s:>8}"
        )


def save(figures: dict[str, dict[str, object]]) -> None:
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),  # a busy machine stretches both sides
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    file = folder / "submit_latency.json"
    file.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    print(f"written to {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")


if __name__ == "__main__":
    main()
