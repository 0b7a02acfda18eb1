"""`python -m bcai.cluster.network`: a network on this machine, in the foreground."""

import argparse
import sys
from pathlib import Path

from bcai.base.errors import BcaiError, exit_status
from bcai.cluster.network.run import run_network
from bcai.settings import DEFAULT_PORT, read_settings


def main() -> int:
    """Run a network until a signal, or until nobody uses it; return the exit status."""
    options = _parser().parse_args()
    try:
        settings = read_settings(home=options.home, host=options.host, port=options.port)
        run_network(settings, nodes=options.nodes, idle_s=options.idle_s, as_json=options.json)
    except BcaiError as error:
        hint = f"hint: {error.hint}\n" if error.hint else ""
        sys.stderr.write(f"bcai network: {error}\n{hint}")
        return exit_status(error.code)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bcai.cluster.network", description=__doc__)
    parser.add_argument("--home", type=Path, help="folder of the network (default: $BCAI_HOME)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help=f"port to listen on; 0: any (default: {DEFAULT_PORT})"
    )
    parser.add_argument("--nodes", type=_count, default=1, help="nodes to start (default: 1)")
    parser.add_argument(
        "--idle-s", type=_seconds, help="stop when unused for as long (default: never)"
    )
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")
    return parser


def _count(text: str) -> int:
    if not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 to 64")
    return int(text)


def _seconds(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number above 0")
    return float(text)
