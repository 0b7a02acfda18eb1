"""Where a client connects to: its argument, else the settings, else the network on this machine."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bcai.base.errors import InputError
from bcai.sdk.local import (
    UsersLock,
    ensure_local_network,
    read_endpoint_file,
    wait_for_endpoint_file,
)
from bcai.sdk.notices import say_of_network
from bcai.settings import DEFAULT_PORT, read_settings

_DOCUMENTS_DOMAIN = "bcai.network"  # stands in examples; nobody serves there
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_CONNECT_S_MAX = 2.0
_NO_KEY = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gateway's address, and what is needed to use it.

    `users_lock` keeps a network on this machine from stopping; None elsewhere.
    """

    url: str
    api_key: str | None = None
    users_lock: UsersLock | None = None

    def __post_init__(self) -> None:
        """Refuse a key that no header can carry; the message does not show it."""
        if self.api_key is not None and _NO_KEY.search(self.api_key):
            raise InputError(
                "api_key: found a blank, a line's end or a sign beyond ASCII in it, "
                "expected the key as it was shown",
                hint="a file's content ends with a line's end: text.strip() takes it off",
            )

    @property
    def socket_url(self) -> str:
        """Address of the client WebSocket."""
        return f"ws{self.url.removeprefix('http')}/v1/ws"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, so that no proxy is asked."""
        return is_loopback(self.url)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that authorise a request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, api_key={'***' if self.api_key else None})"


def parse_endpoint(text: str) -> str:
    """Normalise `ws://localhost:8080/` to `http://localhost:8080`.

    Raises
    ------
    InputError
        It is not an address.
    """
    address = text.strip()
    wrong = InputError(
        f"endpoint: found {text!r}; expected an address such as 'http://localhost:8080'"
    )
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        scheme = _SCHEMES.get(parts.scheme)
        usable = scheme and parts.hostname and parts.port != 0 and parts.path in {"", "/"}
    except ValueError:  # the port is no number, or a bracket is open
        raise wrong from None
    if not usable or parts.query or parts.fragment or "@" in parts.netloc:
        raise wrong
    return f"{scheme}://{parts.netloc}"


def is_of_documents(url: str) -> bool:
    """Whether the address is one that only stands in the documents."""
    host = urlsplit(url).hostname or ""
    return host == _DOCUMENTS_DOMAIN or host.endswith("." + _DOCUMENTS_DOMAIN)


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resolve_endpoint(endpoint: str | None, api_key: str | None) -> Endpoint:
    """Find the gateway to use; this may start the network on this machine.

    An address of the documents is replaced, and a key given with it stays unused: it was for
    another place. So is a key in the settings where the network on this machine is used.
    """
    settings = read_settings()
    given = None if endpoint is None else parse_endpoint(endpoint)
    replaced = given if given is not None and is_of_documents(given) else None
    if replaced:
        given, api_key = None, None
    configured_key = settings.api_key.get_secret_value() if settings.api_key else None
    configured = parse_endpoint(settings.endpoint) if settings.endpoint else None
    if configured is not None and is_of_documents(configured):
        replaced, configured = replaced or configured, None
    url = given or configured
    if url is None:
        found = _embedded(settings.home, api_key)
    elif is_loopback(url) and given and _is_default_port(url) and _is_free(url):
        found = _embedded(settings.home, api_key, DEFAULT_PORT)
        if _port(found.url) != DEFAULT_PORT:
            say_of_network(f"nobody listens at {url}; using this machine's network at {found.url}")
    elif is_loopback(url):
        found = _on_this_machine(url, api_key or configured_key, settings.home)
    else:
        found = Endpoint(url, api_key or configured_key)
    if replaced:
        say_of_network(
            f"{urlsplit(replaced).hostname} is an address of the documents, where nobody serves; "
            f"using {found.url}"
        )
    return found


def _embedded(home: Path, api_key: str | None, port: int = 0) -> Endpoint:
    """Use this machine's network: its own key fits, and one in the settings is for another."""
    users_lock = UsersLock(home)
    network = ensure_local_network(home, port)
    return Endpoint(network.url, api_key or network.api_key, users_lock)


def _on_this_machine(url: str, key: str | None, home: Path) -> Endpoint:
    network = read_endpoint_file(home) if key else wait_for_endpoint_file(home)
    if network is None or _port(network.url) != _port(url):
        return Endpoint(url, key)
    return Endpoint(url, key or network.api_key, UsersLock(home))


def _is_default_port(url: str) -> bool:
    return url.startswith("http://") and _port(url) == DEFAULT_PORT


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_free(url: str) -> bool:
    """Whether nothing listens at this address."""
    try:
        socket.create_connection(
            (urlsplit(url).hostname or "", _port(url)), timeout=_CONNECT_S_MAX
        ).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
