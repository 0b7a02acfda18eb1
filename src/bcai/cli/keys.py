"""`bcai keys ...`: the API keys of a network, for whoever has an admin key."""

import time
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter
from pydantic import ValidationError

from bcai.base.errors import EXIT_OK, InputError
from bcai.base.wording import found_and_expected
from bcai.cli.figures import format_age
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import print_block, print_json, say, stdout_console
from bcai.wire.keys import KeyCreated, KeyList, KeyRequest, KeyView

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK

_PATH = "/v1/keys"


def list_keys(*, options: NetworkOptions = DEFAULT_NETWORK) -> int:
    """List the API keys, revoked ones too. Secrets are not kept and cannot be shown."""

    async def act(client: "AsyncSDK") -> KeyList:
        return await client.transport.get(_PATH, KeyList)

    keys = with_network(options, act).items
    if options.json:
        print_json([key.model_dump() for key in keys])
    else:
        _print(keys)
    return EXIT_OK


def add_key(
    name: Annotated[str, Parameter(help="What the key is for, such as 'laptop'.")],
    /,
    *,
    role: Annotated[
        Literal["client", "node", "admin"],
        Parameter(help="client: own jobs; node: take work; admin: everything."),
    ] = "client",
    options: NetworkOptions = DEFAULT_NETWORK,
) -> int:
    """Make an API key and print its secret, once: it is kept nowhere."""
    try:
        body = KeyRequest(name=name, role=role)
    except ValidationError as error:
        wrong = error.errors()[0]
        said = found_and_expected(wrong["type"], wrong["msg"], repr(name))
        raise InputError(f"name: {said}") from error

    async def act(client: "AsyncSDK") -> KeyCreated:
        return await client.transport.post(_PATH, KeyCreated, body=body)

    key = with_network(options, act)
    if options.json:
        print_json(key.model_dump())
    else:
        say(f"key {key.id} ({key.role}); keep this secret, it is not shown again:")
        stdout_console().print(key.secret, markup=False)
    return EXIT_OK


def revoke_key(
    key_id: Annotated[str, Parameter(help="The key's id, as `bcai keys list` shows it.")],
    /,
    *,
    options: NetworkOptions = DEFAULT_NETWORK,
) -> int:
    """Switch an API key off, at once and for good."""

    async def act(client: "AsyncSDK") -> KeyView:
        answer = await client.transport.request("DELETE", f"{_PATH}/{quote(key_id, safe='')}")
        return KeyView.model_validate_json(answer.content)

    key = with_network(options, act)
    if options.json:
        print_json(key.model_dump())
    else:
        stdout_console().print(f"{key.id} ({key.name}) is revoked", markup=False)
    return EXIT_OK


def _print(keys: list[KeyView]) -> None:
    from rich.table import Table
    from rich.text import Text

    now = time.time()
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("ID", "NAME", "ROLE", "AGE", ""):
        table.add_column(title, no_wrap=True)
    for key in keys:
        state = Text("" if key.revoked_at is None else "revoked", style="red")
        table.add_row(key.id, Text(key.name), key.role, format_age(now - key.created_at), state)
    print_block(stdout_console(), table)
