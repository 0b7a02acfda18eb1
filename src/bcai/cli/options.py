"""Options that every command takes."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

NETWORK = Group("Network", sort_key=90)
OUTPUT = Group("Output", sort_key=95)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How a command answers."""

    json: Annotated[
        bool,
        Parameter(negative="", group=OUTPUT, help="Answer with one JSON document on stdout."),
    ] = False
    verbose: Annotated[
        bool,
        Parameter(negative="", group=OUTPUT, help="Show more; after an error also where it arose."),
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class NetworkOptions(OutputOptions):
    """Which network a command talks to, and how it answers."""

    endpoint: Annotated[
        str | None,
        Parameter(
            group=NETWORK,
            help="The network's address. Default: $BCAI_ENDPOINT, bcai.toml, config.toml; with "
            "none of them, a network of your own on this machine.",
        ),
    ] = None
    api_key: Annotated[
        str | None,
        Parameter(group=NETWORK, help="Key for that network. Default: $BCAI_API_KEY."),
    ] = None


DEFAULT_OUTPUT = OutputOptions()
DEFAULT_NETWORK = NetworkOptions()
