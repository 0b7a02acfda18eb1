"""How the processes of a network are started: the module, its environment, its log."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from bcai.base.units import MIB
from bcai.cluster.network.child import Command
from bcai.cluster.node.allowance import offered_cores, offered_memory_bytes
from bcai.settings import NODE_MEMORY_MB_MIN, Settings

# What says where a client connects to is nobody's business here.
_CLIENT_NAMES = ("BCAI_ENDPOINT", "BCAI_API_KEY")


def gateway_command(settings: Settings, listener: socket.socket) -> Command:
    """Gateway on a socket that is already open."""
    fd = listener.fileno()
    return Command(
        name="gateway",
        module="bcai.cluster.gateway",
        environment=_environment(settings, {}),
        log=_log(settings, "gateway"),
        arguments=("--fd", str(fd)),
        inherited=(fd,),
    )


def scheduler_command(settings: Settings) -> Command:
    """Scheduler on the same store."""
    return Command(
        name="scheduler",
        module="bcai.cluster.scheduler",
        environment=_environment(settings, {}),
        log=_log(settings, "scheduler"),
    )


def node_commands(settings: Settings, url: str, node_key: str, count: int) -> list[Command]:
    """Return the nodes' commands; each node has its own folder, and its share of the machine.

    What the settings say of slots, cores and memory they say of each node.
    """
    node = settings.node
    machine = node.name or socket.gethostname()
    cores = node.cpu_count or max(1, offered_cores(node) // count)
    share_mb = offered_memory_bytes(node) // MIB // count
    memory_mb = node.memory_mb or max(NODE_MEMORY_MB_MIN, share_mb)
    commands: list[Command] = []
    for number in range(1, count + 1):
        suffix = "" if number == 1 else f"-{number}"
        name = f"node{suffix}"
        own = {
            "BCAI_ENDPOINT": url,
            "BCAI_API_KEY": node_key,
            "BCAI_NODE__HOME": str(settings.node_folder) + suffix,
            "BCAI_NODE__NAME": machine + suffix,
            "BCAI_NODE__SLOTS": str(node.slots or cores),
            "BCAI_NODE__CPU_COUNT": str(cores),
            "BCAI_NODE__MEMORY_MB": str(memory_mb),
            "BCAI_NODE__LOG": str(_log(settings, name)),
            "BCAI_NODE__TRUSTED_KEYS": json.dumps(node.trusted_keys),
        }
        commands.append(
            Command(
                name=name,
                module="bcai.cluster.node",
                environment=_environment(settings, own),
                log=_log(settings, name),
            )
        )
    return commands


def _environment(settings: Settings, more: Mapping[str, str]) -> dict[str, str]:
    """Our own environment, with what our flags decided: children read the same files as we."""
    kept = {name: value for name, value in os.environ.items() if name not in _CLIENT_NAMES}
    ours = {
        "BCAI_HOME": str(settings.home.absolute()),
        "BCAI_HEARTBEAT_S": repr(settings.heartbeat_s),
        "BCAI_LEASE_S": repr(settings.lease_s),
        "BCAI_GPU_FALLBACK": "true" if settings.gpu_fallback else "false",
        "PYTHONSAFEPATH": "1",  # a `random.py` in the folder we were started in is not ours
        "PYTHONUNBUFFERED": "1",
    }
    if settings.nodes_max is not None:
        ours["BCAI_NODES_MAX"] = str(settings.nodes_max)
    if settings.database_url is not None:
        ours["BCAI_DATABASE_URL"] = settings.database_url
    return {**kept, **ours, **more}


def _log(settings: Settings, name: str) -> Path:
    return settings.network_folder / "logs" / f"{name}.log"
