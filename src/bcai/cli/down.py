"""`bcai down`: stops the network on this machine."""

from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.terminal import print_json, stdout_console
from bcai.sdk.local import stop_local_network
from bcai.settings import read_settings


def down(*, options: OutputOptions = DEFAULT_OUTPUT) -> int:
    """Stop this machine's own network; jobs that run there continue when it is up again."""
    stopped = stop_local_network(read_settings().home)
    if options.json:
        print_json({"stopped": stopped})
    else:
        stdout_console().print("network stopped" if stopped else "no network runs on this machine")
    return 0
