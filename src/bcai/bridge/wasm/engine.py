"""The one face of `wasmtime`: its configuration, and a module compiled and checked.

Note [Same end every time]: a run depends on the module, its inputs and its limits alone. Fuel
counts instructions; not-a-number has one bit pattern; relaxed SIMD takes its deterministic form;
there are no threads, no clock and no randomness to import. Two things differ between machines:
how deep a recursion goes (frames are the processor's), and when the wall limit strikes.
"""

import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import wasmtime

from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.sandbox.text import one_line
from bcai.bridge.wasm.abi import (
    ENTRIES,
    FUNCTIONS,
    MEMORY,
    MODULE,
    STACK_BYTES,
    Signature,
)
from bcai.bridge.wasm.ending import EndedError
from bcai.bridge.wasm.header import check_header

_WITHOUT_MEMORY = {"argument_count", "argument_size", "input_count"} | {
    "input_dtype", "input_rank", "input_size",
}  # fmt: skip

_NUMBERED = re.compile(r"^\s*\d+:\s*")


def backend_name() -> str:
    """Which engine runs modules, such as `wasmtime 50.0.1`."""
    return f"wasmtime {metadata.version('wasmtime')}"


def new_engine(cache: Path | None = None) -> wasmtime.Engine:
    """Configure an engine; see Note [Same end every time].

    Parameters
    ----------
    cache
        A folder for compiled modules, found again by content, engine and processor. What lies
        there is run as it is: nobody else may write to it.
    """
    config: Any = wasmtime.Config()  # its properties can be set but not read
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd_deterministic = True
    config.max_wasm_stack = STACK_BYTES
    config.memory_init_cow = False  # it would need memfd_create, which the walls refuse
    for feature in ("threads", "memory64", "multi_memory", "gc", "exceptions", "stack_switching"):
        setattr(config, f"wasm_{feature}", False)
    if cache is not None:
        config.cache = str(_cache_file(cache))
    return wasmtime.Engine(config)


def compile_module(engine: wasmtime.Engine, content: bytes) -> wasmtime.Module:
    """Validate and compile a module; nothing of it runs.

    Raises
    ------
    EndedError
        It is not valid, imports what there is not, or exports nothing to start.
    """
    check_header(content)
    try:
        module = wasmtime.Module(engine, content)
    except wasmtime.WasmtimeError as error:
        message = f"not a valid WebAssembly module: {_reason_of(error)}"
        raise EndedError(Cause.MODULE_INVALID, message) from None
    _check_imports(module)
    entry_of(module)
    return module


def entry_of(module: wasmtime.Module) -> str:
    """Name of the export that starts.

    Raises
    ------
    EndedError
        There is none, or it is of another type.
    """
    exports = {each.name: each.type for each in module.exports}
    name = next((entry for entry in ENTRIES if entry in exports), None)
    if name is None:
        found = ", ".join(sorted(map(one_line, exports))[:8]) or "nothing"
        raise EndedError(
            Cause.EXPORT_MISSING,
            f"the module exports no function 'run' or '_start'; it exports {found}",
            "export the function that starts the job as 'run'",
        )
    type_ = exports[name]
    if not isinstance(type_, wasmtime.FuncType):
        raise EndedError(Cause.EXPORT_MISSING, f"the export {name!r} is no function")
    found = _signature_of(type_)
    if found.parameters or found.results not in ((), ("i32",)):
        raise EndedError(
            Cause.EXPORT_MISSING,
            f"the export {name!r} is {found}; expected () -> (), or () -> (i32) to return an exit "
            "status",
        )
    return name


def _cache_file(cache: Path) -> Path:
    """Write the file that tells the engine where its cache is; others may write the same now."""
    # The engine now and then deletes what it does not know in its folder: the file lies outside.
    compiled = cache.resolve() / "compiled"
    compiled.mkdir(parents=True, exist_ok=True)
    # A text of JSON is a text of TOML.
    content = f"[cache]\ndirectory = {json.dumps(str(compiled))}\n"
    file = cache / "cache.toml"
    new = cache / f"cache.{os.getpid()}"
    new.write_text(content)
    new.replace(file)
    return file


def _check_imports(module: wasmtime.Module) -> None:
    exports = {each.name: each.type for each in module.exports}
    for each in module.imports:
        place = one_line(f"{each.module}.{each.name}")
        signature = FUNCTIONS.get(each.name or "") if each.module == MODULE else None
        if signature is None:
            raise EndedError(
                Cause.IMPORT_REFUSED,
                f"the module imports {place!r}, which there is not",
                f"a module can import {', '.join(sorted(FUNCTIONS))} of {MODULE!r} and nothing "
                "else: no WASI, no memory, no tables",
            )
        found = _signature_of(each.type) if isinstance(each.type, wasmtime.FuncType) else None
        if found != signature:
            raise EndedError(
                Cause.IMPORT_REFUSED,
                f"the module imports {place!r} as {found or 'no function'}; it is {signature}",
            )
        needs_memory = each.name not in _WITHOUT_MEMORY
        if needs_memory and not isinstance(exports.get(MEMORY), wasmtime.MemoryType):
            raise EndedError(
                Cause.EXPORT_MISSING,
                f"the module imports {place!r}, which reaches into memory, but exports none",
                f"export the memory as {MEMORY!r}",
            )


def _signature_of(type_: wasmtime.FuncType) -> Signature:
    return Signature(
        tuple(str(each) for each in type_.params), tuple(str(each) for each in type_.results)
    )


def _reason_of(error: wasmtime.WasmtimeError) -> str:
    """Return the innermost cause on one line: it names the byte."""
    last = str(error).strip().splitlines()[-1]
    return one_line(_NUMBERED.sub("", last).removeprefix("Invalid input WebAssembly code "))
