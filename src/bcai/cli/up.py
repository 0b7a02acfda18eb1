"""`bcai up`: a network on this machine, in the foreground."""

from typing import Annotated

from cyclopts import Parameter, validators

from bcai.base.errors import EXIT_OK
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.settings import read_settings


def up(
    *,
    port: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=0, lte=65535),
            help="Port to listen on; 0: any that is free. Default: 8080.",
        ),
    ] = None,
    host: Annotated[
        str | None, Parameter(help="Address to listen on. Default: 127.0.0.1, this machine only.")
    ] = None,
    nodes: Annotated[
        int,
        Parameter(validator=validators.Number(gte=1, lte=64), help="How many nodes to start."),
    ] = 1,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Run a gateway, a scheduler and nodes on this machine until Ctrl-C.

    Prints one line once it answers; with --json one JSON object per event.
    """
    from bcai.cluster.network.run import run_network

    settings = read_settings(port=port, host=host)
    run_network(settings, nodes=nodes, as_json=options.json)
    return EXIT_OK
