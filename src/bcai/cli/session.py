"""A command's conversation with the network: connected, quiet, and over when the command is."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio

from bcai.cli.notices import notices_to
from bcai.cli.options import NetworkOptions
from bcai.cli.terminal import say
from bcai.sdk.async_client import AsyncSDK

Value = TypeVar("Value")


def with_network(options: NetworkOptions, act: Callable[[AsyncSDK], Awaitable[Value]]) -> Value:
    """Run one act with a client; what the client has to say goes to stderr."""
    with notices_to(say):
        return anyio.run(partial(_act, options, act))


async def _act(options: NetworkOptions, act: Callable[[AsyncSDK], Awaitable[Value]]) -> Value:
    async with AsyncSDK(options.endpoint, options.api_key) as client:
        return await act(client)
