"""A look at a job's Python before it is accepted: what no jail can run is not queued."""

import anyio
import anyio.to_thread

from bcai.base.errors import InputError, RefusedError
from bcai.base.units import KIB
from bcai.bridge.code_of_program import code_of_program
from bcai.bridge.inspect.finding import Finding
from bcai.bridge.inspect.refusal import certain_failure, certain_failure_in_program
from bcai.bridge.inspect.source import count_signs
from bcai.cluster.store.protocol import BlobStore
from bcai.jobs.spec import CODE_BYTES_MAX, JobKind, JobSpec, Mount, SecurityLevel
from bcai.vm.program.codec import decode_program

# The parser lets no other thread run: so many take it a twentieth of a second. The node reads all.
SIGNS_MAX = 10_000
PROGRAM_BYTES_MAX = 64 * KIB  # decoding so many takes as long
_AT_ONCE_MAX = 1  # everybody waits for a parser anyway


class Inspector:
    """Reads one script at a time. Nothing of it is imported or run."""

    def __init__(self) -> None:
        self._turn = anyio.CapacityLimiter(_AT_ONCE_MAX)

    async def refuse_certain(self, spec: JobSpec, blobs: BlobStore) -> None:
        """Refuse a job whose script, or a Program whose code, cannot work in any jail.

        A node looks again, at all of the job's code and with its own policy.

        Raises
        ------
        RefusedError
            A line is certain to fail; the message names file (or instruction), line and column.
        """
        look = _LOOKS.get(spec.kind)
        if look is None or spec.security_level is SecurityLevel.TRUSTED:
            return
        source = await _source(spec, blobs)
        if source is None:
            return
        found = await anyio.to_thread.run_sync(look, source, spec, limiter=self._turn)
        if found is not None:
            raise RefusedError(
                f"{found.place}: {found.message}; every node refuses it, so it was not accepted",
                hint=found.hint,
            )


def _look(code: bytes, spec: JobSpec) -> Finding | None:
    if count_signs(code) > SIGNS_MAX:
        return None
    return certain_failure(
        code,
        spec.entry or spec.code_name,
        project=[file.path for file in spec.files if file.mount is Mount.PROJECT],
        data=[file.path for file in spec.files if file.mount is Mount.DATA],
        may_start_programs=spec.security_level is not SecurityLevel.HIGH,
    )


def _look_at_program(data: bytes, spec: JobSpec) -> Finding | None:
    """Whether it is a legal Program is for the node to say."""
    del spec
    if len(data) > PROGRAM_BYTES_MAX:
        return None
    try:
        codes = code_of_program(decode_program(data))
    except InputError:
        return None
    if sum(count_signs(each.code.encode("utf-8", "surrogatepass")) for each in codes) > SIGNS_MAX:
        return None
    return certain_failure_in_program(codes)


_LOOKS = {JobKind.PYTHON: _look, JobKind.PROGRAM: _look_at_program}


async def _source(spec: JobSpec, blobs: BlobStore) -> bytes | None:
    """The bytes of what starts; None if they are too many to be read here."""
    if spec.code is not None:
        return spec.code.encode("utf-8", "surrogatepass")
    for file in spec.files:
        if (file.mount, file.path) == (Mount.PROJECT, spec.entry) and file.size <= CODE_BYTES_MAX:
            return b"".join([chunk async for chunk in blobs.read(file.digest)])
    return None
