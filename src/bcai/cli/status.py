"""`bcai status`: the network in use and its nodes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bcai.base.errors import EXIT_FAILED, EXIT_OK
from bcai.base.units import format_size
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import print_block, print_json, stdout_console
from bcai.jobs.claim import room_of
from bcai.jobs.node import Node
from bcai.settings import read_settings

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK


@dataclass(frozen=True, slots=True)
class _Network:
    url: str
    nodes: list[Node]


def status(*, options: NetworkOptions = DEFAULT_NETWORK) -> int:
    """Show the network's address and its nodes. Starts nothing.

    Exit status 1 if no network is configured and none runs on this machine.
    """
    from bcai.sdk.local import find_local_network

    settings = read_settings(endpoint=options.endpoint)
    if settings.endpoint is None and find_local_network(settings.home) is None:
        if options.json:
            print_json({"endpoint": None, "nodes": []})
        else:
            stdout_console().print(
                "no network runs on this machine; `bcai up` or `bcai run` starts one", markup=False
            )
        return EXIT_FAILED

    async def act(client: "AsyncSDK") -> _Network:
        return _Network(await client.connect(), await client.nodes())

    network = with_network(options, act)
    if options.json:
        print_json({"endpoint": network.url, "nodes": [_document(node) for node in network.nodes]})
    else:
        _print(network)
    return EXIT_OK


def _print(network: _Network) -> None:
    from rich.table import Table
    from rich.text import Text

    console = stdout_console()
    console.print(Text.assemble(("network  ", "dim"), network.url))
    if not network.nodes:
        console.print("it has no node yet: jobs wait")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("NODE", "STATE", "JOBS", "CORES", "MEMORY", "GPU", "JAIL"):
        table.add_column(title, no_wrap=True)
    for node in network.nodes:
        offer = node.capabilities
        table.add_row(
            Text(node.name),
            Text("online", style="green") if node.online else Text("offline", style="red"),
            f"{len(node.running)}/{offer.slots}",
            f"{node.taken.cores}/{room_of(offer).cores}",
            f"{format_size(node.taken.memory_bytes)} of {format_size(offer.memory_bytes)}",
            _gpus(node),
            offer.jail.level,
        )
    print_block(console, table)


def _gpus(node: Node) -> str:
    gpus = node.capabilities.gpus
    names = ", ".join(dict.fromkeys(gpu.name for gpu in gpus))
    return f"{node.taken.gpus}/{len(gpus)} {names}" if gpus else "none"


def _document(node: Node) -> dict[str, object]:
    offer = node.capabilities
    return {
        "id": node.id,
        "name": node.name,
        "online": node.online,
        "seen_at": node.seen_at,
        "running": list(node.running),
        "slots": offer.slots,
        "cpu_count": offer.cpu_count,
        "memory_bytes": offer.memory_bytes,
        "taken": {
            "slots": node.taken.slots,
            "cpu_count": node.taken.cores,
            "memory_bytes": node.taken.memory_bytes,
            "gpus": node.taken.gpus,
        },
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.memory_bytes} for gpu in offer.gpus],
        "python": offer.python,
        "jail": {"level": offer.jail.level, "layers": list(offer.jail.layers)},
    }
