"""Runs one compiled module to its end, within its limits."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import wasmtime

from bcai.base.units import format_duration_s, format_size
from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.sandbox.text import one_line
from bcai.bridge.wasm.abi import (
    FUEL_PER_BYTE,
    FUEL_PER_CALL,
    FUNCTIONS,
    MEMORY,
    MODULE,
    TABLE_ELEMENTS_MAX,
    TABLES_MAX,
)
from bcai.bridge.wasm.ending import EndedError, ModuleLimits, ModuleUse
from bcai.bridge.wasm.engine import entry_of
from bcai.bridge.wasm.host import Host, OnOutput, OnText
from bcai.vm.isa.types import Array

_PAGE_BYTES = 1 << 16
_U32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a run: well, or `ended` says why not."""

    use: ModuleUse
    exit_status: int = 0
    ended: EndedError | None = None


def run_module(
    engine: wasmtime.Engine,
    module: wasmtime.Module,
    inputs: Mapping[str, Array],
    arguments: Sequence[str],
    limits: ModuleLimits,
    *,
    on_text: OnText,
    on_output: OnOutput,
    left_s: float | None = None,
) -> Finished:
    """Run a module that `compile_module` let through; one at a time on an engine.

    Parameters
    ----------
    left_s
        What is left of `limits.wall_s`; None: all of it.
    """
    left_s = limits.wall_s if left_s is None else max(0.0, left_s)
    store = _new_store(engine, limits)
    tank = _Tank(store, limits)
    ended: EndedError | None = None
    status = 0
    host: Host | None = None
    memory = None
    alarm = threading.Timer(left_s, engine.increment_epoch)
    alarm.daemon = True
    alarm.start()
    try:
        host = Host(
            inputs, arguments, limits, on_text=on_text, on_output=on_output, charge=tank.charge
        )
        linker = wasmtime.Linker(engine)
        for name in FUNCTIONS:
            _define(linker, name, host)
        instance = _instantiate(linker, store, module, limits)
        exports = instance.exports(store)
        memory = _memory_of(exports.get(MEMORY), store)
        entry = exports[entry_of(module)]
        assert isinstance(entry, wasmtime.Func)
        status = (entry(store) or 0) & _U32
    except EndedError as error:
        ended = error
    except wasmtime.Trap as trap:
        ended = _ending_of(trap, limits, memory)
    finally:
        alarm.cancel()
    if host is not None:
        host.finish()
    use = ModuleUse(
        fuel=limits.fuel - store.get_fuel(),
        memory_bytes=memory.size if memory is not None else 0,
        log_bytes=host.log_bytes if host is not None else 0,
    )
    return Finished(use, status, ended)


def _new_store(engine: wasmtime.Engine, limits: ModuleLimits) -> wasmtime.Store:
    store = wasmtime.Store(engine)
    store.set_limits(
        memory_size=limits.memory_bytes,
        table_elements=TABLE_ELEMENTS_MAX,
        instances=1,
        tables=TABLES_MAX,
        memories=1,
    )
    store.set_fuel(limits.fuel)
    store.set_epoch_deadline(1)
    return store


class _Tank:
    """Takes fuel for what the host does, so that a loop of host calls ends as any other."""

    def __init__(self, store: wasmtime.Store, limits: ModuleLimits) -> None:
        self._store, self._limits = store, limits

    def charge(self, copied: int) -> None:
        """Take the fuel of one call that copies this many bytes."""
        left = self._store.get_fuel() - FUEL_PER_CALL - FUEL_PER_BYTE * copied
        self._store.set_fuel(max(0, left))
        if left < 0:
            raise _out_of_fuel(self._limits)


class _Memory:
    """A module's memory, as `LinearMemory`."""

    def __init__(self, memory: wasmtime.Memory, store: "wasmtime.Store | wasmtime.Caller") -> None:
        self._memory, self._store = memory, store

    @property
    def size(self) -> int:
        return self._memory.data_len(self._store)

    def read(self, start: int, length: int) -> bytes:
        return bytes(self._memory.read(self._store, start, start + length))

    def write(self, start: int, data: bytes) -> None:
        if data:
            self._memory.write(self._store, data, start)


class _NoMemory:
    """Of a module that exports none: its host functions reach into no memory."""

    size = 0

    def read(self, start: int, length: int) -> bytes:
        raise AssertionError(f"{length} bytes at {start} of no memory")

    def write(self, start: int, data: bytes) -> None:
        raise AssertionError(f"{len(data)} bytes at {start} of no memory")


def _memory_of(export: object, store: "wasmtime.Store | wasmtime.Caller") -> _Memory | None:
    return _Memory(export, store) if isinstance(export, wasmtime.Memory) else None


def _define(linker: wasmtime.Linker, name: str, host: Host) -> None:
    act: Callable[..., int | None] = getattr(host, name)

    def call(caller: wasmtime.Caller, *numbers: int) -> int | None:
        memory = _memory_of(caller.get(MEMORY), caller) or _NoMemory()
        result = act(memory, *(number & _U32 for number in numbers))
        # The engine takes an i32 by its sign.
        return result if result is None or result < 1 << 31 else result - (1 << 32)

    signature = FUNCTIONS[name]
    type_ = wasmtime.FuncType(
        [wasmtime.ValType.i32()] * len(signature.parameters),
        [wasmtime.ValType.i32()] * len(signature.results),
    )
    linker.define_func(MODULE, name, type_, call, access_caller=True)


def _instantiate(
    linker: wasmtime.Linker, store: wasmtime.Store, module: wasmtime.Module, limits: ModuleLimits
) -> wasmtime.Instance:
    try:
        return linker.instantiate(store, module)
    except wasmtime.WasmtimeError as error:
        limit = format_size(limits.memory_bytes)
        raise EndedError(
            Cause.MEMORY,
            f"the module does not fit its limit of {limit} of memory, or of {TABLE_ELEMENTS_MAX} "
            f"elements of tables: {one_line(str(error))}",
            "ask for more with limits.memory",
        ) from None


def _ending_of(trap: wasmtime.Trap, limits: ModuleLimits, memory: _Memory | None) -> EndedError:
    code = trap.trap_code
    where = _place_of(trap)
    if code is wasmtime.TrapCode.INTERRUPT:
        limit = format_duration_s(limits.wall_s)
        hint = "ask for more time with timeout"
        return EndedError(Cause.WALL_TIME, f"ran longer than its limit of {limit}{where}", hint)
    if code is wasmtime.TrapCode.OUT_OF_FUEL:
        return _out_of_fuel(limits, where)
    limit = format_size(limits.memory_bytes)
    if memory is not None and memory.size + _PAGE_BYTES > limits.memory_bytes:
        message = f"the module filled its limit of {limit} of memory and trapped{where}"
        return EndedError(Cause.MEMORY, message, "ask for more with limits.memory")
    reason = trap.message.strip().splitlines()[-1].strip().removeprefix("wasm trap: ")
    used = format_size(memory.size) if memory is not None else ""
    hint = f"memory.grow beyond {limit} was refused, if it was asked; {used} are in use"
    is_large = memory is not None and 2 * memory.size > limits.memory_bytes
    return EndedError(
        Cause.TRAP, f"the module trapped: {one_line(reason)}{where}", hint if is_large else ""
    )


def _out_of_fuel(limits: ModuleLimits, where: str = "") -> EndedError:
    message = f"used up its limit of {limits.fuel} units of fuel{where}"
    return EndedError(Cause.FUEL, message, "ask for more with limits.fuel")


def _place_of(trap: wasmtime.Trap) -> str:
    """Return where a trap struck: the function's name if the module has names, and the byte."""
    frames = trap.frames
    if not frames:
        return ""
    name = frames[0].func_name
    function = one_line(name, 200) if name else f"number {frames[0].func_index}"
    return f", in function {function} at byte {frames[0].module_offset:#x}"
