"""The first look at a module's bytes: enough to know text, components and other files."""

from bcai.base.units import format_size
from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.wasm.abi import MAGIC, MODULE_BYTES_MAX, VERSION
from bcai.bridge.wasm.ending import EndedError


def check_header(content: bytes) -> None:
    """Refuse what is certain to be no module that runs here.

    Raises
    ------
    EndedError
        It is text, a component, something else, or too large.
    """
    if len(content) > MODULE_BYTES_MAX:
        limit = format_size(MODULE_BYTES_MAX)
        message = f"the module has {format_size(len(content))}, at most {limit} are allowed"
        raise EndedError(Cause.MODULE_INVALID, message)
    if not content.startswith(MAGIC):
        is_text = content.lstrip().startswith((b"(", b";;"))
        found = "found WebAssembly text" if is_text else f"found {content[:4]!r}"
        raise EndedError(
            Cause.MODULE_INVALID,
            f"not a WebAssembly module: {found} at its start, expected {MAGIC!r}",
            "turn it into a module first, with wasmtime.wat2wasm or wat2wasm" if is_text else "",
        )
    if content[4:8] != VERSION:
        raise EndedError(
            Cause.MODULE_INVALID,
            f"a WebAssembly module of version {content[4:8].hex()}, expected {VERSION.hex()}",
            "a component does not run here: build a core module (wasm32-unknown-unknown)",
        )
