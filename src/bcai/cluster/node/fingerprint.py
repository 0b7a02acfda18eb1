"""What a folder holds, and what changed in it since that was written down.

A listing has one line for each entry, sorted by path: kind, digest, size, time of change, and the
path as JSON text. The kinds are `x` (a file that may be run), `-` (another file), `d` (a folder)
and `l` (a link, whose digest is that of its target).

Note [A quick look and a thorough one]
    PyTorch alone is gigabytes: reading them at every start of a node takes half a minute. As in
    Git's index, a file whose size and time are those of the listing counts as unchanged in a quick
    look; any other is read. A thorough look reads every file: it finds what a bad disk did, too.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from bcai.base.errors import FormatError

_NO_DIGEST = "."
_MAPPED_BYTES = 1 << 22  # larger files are mapped, and read by all processors


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder."""

    kind: str
    digest: str
    size: int
    time_ns: int


Listing = dict[str, Entry]


def list_content(folder: Path) -> Listing:
    """List what a folder holds, reading every file. Links are not followed."""
    return {place: _read(path, _look(path)) for place, path in _walk(folder)}


def render_listing(listing: Listing) -> str:
    """Write a listing down."""
    return "".join(
        f"{each.kind} {each.digest} {each.size} {each.time_ns} {json.dumps(place)}\n"
        for place, each in sorted(listing.items())
    )


def parse_listing(text: str) -> Listing:
    """Read a listing.

    Raises
    ------
    FormatError
        It is none; the message names the line.
    """
    found: Listing = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            kind, digest, size, time_ns, place = line.split(" ", 4)
            found[str(json.loads(place))] = Entry(kind, digest, int(size), int(time_ns))
        except ValueError:
            raise FormatError(f"listing, line {number}: found {line[:80]!r}") from None
    return found


def first_change(listing: Listing, folder: Path, *, thorough: bool) -> str:
    """Say what differs from a listing, by one path; empty if nothing does.

    Raises
    ------
    OSError
        Something cannot be read.
    """
    left = dict(listing)
    for place, path in sorted(_walk(folder)):
        was, now = left.pop(place, None), _look(path)
        if was is None:
            return f"{place} was added"
        if not thorough and now == replace(was, digest=_NO_DIGEST):
            continue
        read = _read(path, now)
        if (read.kind, read.digest) != (was.kind, was.digest):
            return f"{place} changed"
    return f"{min(left)} is gone" if left else ""


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(path, name)
            yield str(entry.relative_to(folder)), entry


def _look(path: Path) -> Entry:
    """Describe an entry without reading it."""
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode):  # its time changes when it is moved; its entries are listed
        return Entry("d", _NO_DIGEST, 0, 0)
    if stat.S_ISLNK(found.st_mode):
        return Entry("l", _NO_DIGEST, found.st_size, found.st_mtime_ns)
    if not stat.S_ISREG(found.st_mode):
        raise FormatError(f"{path}: neither file, folder nor link")
    kind = "x" if found.st_mode & stat.S_IXUSR else "-"
    return Entry(kind, _NO_DIGEST, found.st_size, found.st_mtime_ns)


def _read(path: Path, entry: Entry) -> Entry:
    """Add the digest of what an entry holds."""
    if entry.kind == "d":
        return entry
    if entry.kind == "l":
        return replace(entry, digest=blake3(os.fsencode(path.readlink())).hexdigest())
    if entry.size > _MAPPED_BYTES:
        hasher = blake3(max_threads=blake3.AUTO).update_mmap(path)
    else:
        hasher = blake3(path.read_bytes())
    return replace(entry, digest=hasher.hexdigest())
