"""Files on their way to the gateway: hashed, then sent unless their content is there already."""

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread

from bcai.base.digest import digest_of, digest_of_chunks
from bcai.base.errors import BcaiError, FormatError, InputError, NotFoundError
from bcai.sdk.folder import LocalFile
from bcai.sdk.transport import Transport
from bcai.wire.submission import FileMessage

_CHUNK_BYTES = 1024 * 1024
_AT_ONCE = 4


async def upload_files(transport: Transport, files: Iterable[LocalFile]) -> list[FileMessage]:
    """Send what the gateway does not have yet; return the files as a submission names them."""
    slots = anyio.Semaphore(_AT_ONCE)
    messages: dict[tuple[str, str], FileMessage] = {}

    async def send(file: LocalFile) -> None:
        async with slots:
            messages[file.mount, file.path] = await _upload(transport, file)

    try:
        async with anyio.create_task_group() as group:
            for file in files:
                group.start_soon(send, file)
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [messages[place] for place in sorted(messages)]


async def _upload(transport: Transport, file: LocalFile) -> FileMessage:
    if file.content is not None:
        digest = digest_of(file.content)
    else:
        digest = await anyio.to_thread.run_sync(_digest_of_file, file.source)
    try:
        await transport.request("HEAD", f"/v1/blobs/{digest}")
    except NotFoundError:
        await _send(transport, file, digest)
    return FileMessage(path=file.path, digest=digest, size=file.size, mount=file.mount)


async def _send(transport: Transport, file: LocalFile, digest: str) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.size)}
    try:
        await transport.request(
            "PUT",
            f"/v1/blobs/{digest}",
            content=lambda: _read(file),
            headers=headers,
        )
    except FormatError as error:
        raise _changed(file) from error


async def _read(file: LocalFile) -> AsyncIterator[bytes]:
    if file.content is not None:
        yield file.content
        return
    sent = 0
    async with await anyio.open_file(file.source, "rb") as stream:
        while chunk := await stream.read(_CHUNK_BYTES):
            sent += len(chunk)
            if sent > file.size:
                break
            yield chunk
    if sent != file.size:
        raise _changed(file)


def _changed(file: LocalFile) -> InputError:
    return InputError(
        f"file {str(file.source)!r}: changed while it was uploaded", hint="submit the job again"
    )


def _digest_of_file(path: Path) -> str:
    try:
        return digest_of_chunks(_chunks(path))
    except OSError as error:
        raise InputError(f"file {str(path)!r}: {error.strerror}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to show of several uploads that failed: ours before others."""
    flat: list[BaseException] = []
    pending: list[BaseException] = list(errors.exceptions)
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", error).exceptions
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, BcaiError)), flat[0])
