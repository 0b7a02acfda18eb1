"""A job's named outputs: small values at hand, the others fetched when first asked for."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bcai.base.digest import digest_of
from bcai.base.errors import FormatError
from bcai.base.suggest import nearest
from bcai.base.values import decode_value
from bcai.jobs.outcome import Output
from bcai.sdk.arrays import read_arrays
from bcai.sdk.portal import portal

if TYPE_CHECKING:
    from typing import Any

    from bcai.sdk.arrays import Array

Fetch = Callable[[str], Awaitable[bytes]]  # from a digest to the bytes


class Outputs(Mapping[str, "Any"]):
    """Outputs by name.

    A number, text, list or dict comes back as itself, an array as a NumPy array, a state_dict as
    a dict of NumPy arrays, a file as bytes. What is not a plain value is downloaded when it is
    first read, checked against its digest, and kept.

    In asynchronous code call `await outputs.load(...)` before you read what is not a plain value.
    """

    def __init__(
        self,
        items: Sequence[Output],
        fetch: Fetch,
        *,
        blocking: bool,
        besides: Sequence[str] = (),
    ) -> None:
        self._items = {item.name: item for item in items}
        self._fetch = fetch
        self._blocking = blocking
        self._besides = tuple(besides)
        self._blobs: dict[str, bytes] = {}
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> "Any":
        if name not in self._values:
            item = self.describe(name)
            if item.digest is None:
                self._values[name] = decode_value(item.value)
            else:
                self._values[name] = _decode(item, self.content(name))
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __repr__(self) -> str:
        parts = [f"{item.name}: {item.summary or item.kind}" for item in self._items.values()]
        return f"Outputs({', '.join(parts)})"

    def describe(self, name: str) -> Output:
        """Return kind, size and summary of an output, without fetching it.

        Raises
        ------
        KeyError
            There is no such output; the message lists those there are, the nearest first.
        """
        if name not in self._items:
            known = nearest(name, self._items) if self._items else "the job left none"
            raise KeyError(f"no output {name!r}; {known}")
        return self._items[name]

    def content(self, name: str) -> bytes:
        """Return an output's bytes as stored: safetensors for arrays, a file's own bytes."""
        item = self.describe(name)
        if item.digest is None:
            raise TypeError(f"output {name!r} is a plain value and has no bytes")
        return self.blob(item.digest, name)

    def blob(self, digest: str, name: str = "") -> bytes:
        """Return the bytes of a digest; `name` is the output's, if it is one."""
        if digest not in self._blobs:
            if not self._blocking:
                what = f"output {name!r}" if name else digest
                load = f"load({name!r})" if name else "load()"
                raise RuntimeError(f"{what} is not here yet: `await result.outputs.{load}` first")
            portal().run(self._load_blob(digest, name))
        return self._blobs[digest]

    async def load(self, *names: str) -> None:
        """Fetch outputs, and check their digests; if none is named all of them, and the receipt."""
        for name in names or tuple(self._items):
            item = self.describe(name)
            if item.digest is not None:
                await self._load_blob(item.digest, name)
        for digest in () if names else self._besides:
            await self._load_blob(digest)

    async def _load_blob(self, digest: str, name: str = "") -> None:
        if digest in self._blobs:
            return
        content = await self._fetch(digest)
        if digest_of(content) != digest:
            what = f"output {name!r}: " if name else ""
            raise FormatError(f"{what}what the gateway sent is not {digest}")
        self._blobs[digest] = content


def _decode(item: Output, content: bytes) -> "bytes | Array | dict[str, Array]":
    if item.kind == "file":
        return content
    arrays = read_arrays(content, item.name)
    if item.kind == "state_dict":
        return arrays
    if arrays.keys() != {"value"}:
        raise FormatError(f"output {item.name!r}: expected one tensor, found {len(arrays)}")
    return arrays["value"]
