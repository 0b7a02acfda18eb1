"""What a job leaves: plain values go into the outcome, everything else becomes a blob."""

import json
from collections.abc import Sequence

from bcai.base.digest import digest_of
from bcai.base.errors import DependencyError, ResourceError
from bcai.base.units import format_size
from bcai.bridge.limits import ALL_VALUES_BYTES_MAX
from bcai.bridge.sandbox.jail import JailOutput
from bcai.cluster.node.transfer import BlobTransfer
from bcai.jobs.outcome import Output, Reason, ReasonCode

_DESCRIPTION_BYTES = 256  # of an output in that message, besides its name, value and summary


def check_values(outputs: Sequence[JailOutput]) -> Reason | None:
    """Say why these outputs cannot be described in one message, or None."""
    sizes = {output.name: _described_bytes(output) for output in outputs}
    total = sum(sizes.values())
    if total <= ALL_VALUES_BYTES_MAX:
        return None
    largest = max(sizes, key=lambda name: sizes[name])
    return Reason(
        ReasonCode.LIMIT_OUTPUT,
        f"the names and plain values of the {len(sizes)} outputs take {format_size(total)}, "
        f"at most {format_size(ALL_VALUES_BYTES_MAX)} are allowed; the largest is {largest!r} with "
        f"{format_size(sizes[largest])}",
        "give large data out as an array, a tensor or a file, and many small ones as one",
    )


async def upload_outputs(
    outputs: Sequence[JailOutput], transfer: BlobTransfer
) -> tuple[Output, ...]:
    """Upload the blobs among the outputs, one after the other, and describe all.

    Raises
    ------
    ResourceError
        The gateway does not take one.
    """
    described: list[Output] = []
    for output in outputs:
        if output.content is None:
            size = _value_bytes(output)
            described.append(
                Output(output.name, output.kind, output.value, None, size, output.summary)
            )
            continue
        digest = digest_of(output.content)
        try:
            await transfer.upload(digest, output.content)
        except DependencyError as error:
            raise ResourceError(f"output {output.name!r} could not be uploaded: {error}") from error
        size = len(output.content)
        described.append(Output(output.name, output.kind, None, digest, size, output.summary))
    return tuple(described)


def _described_bytes(output: JailOutput) -> int:
    texts = json.dumps([output.name, output.summary])
    value = _value_bytes(output) if output.content is None else 0
    return _DESCRIPTION_BYTES + len(texts) + value


def _value_bytes(output: JailOutput) -> int:
    return len(json.dumps(output.value, allow_nan=False).encode())
