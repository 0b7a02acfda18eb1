"""Small modules in text, and a run of one without a process of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import wasmtime

from bcai.base.units import MIB
from bcai.bridge.wasm.abi import FUNCTIONS
from bcai.bridge.wasm.ending import EndedError, ModuleLimits
from bcai.bridge.wasm.engine import compile_module, new_engine
from bcai.bridge.wasm.run import Finished, run_module
from bcai.vm.isa.types import Array

LIMITS = ModuleLimits(
    memory_bytes=4 * MIB, output_bytes=MIB, log_bytes=1000, fuel=10_000_000, wall_s=20.0
)


@dataclass(slots=True)
class Run:
    """What one run left."""

    finished: Finished
    text: dict[str, str] = field(default_factory=dict[str, str])
    outputs: dict[str, Array] = field(default_factory=dict[str, Array])

    @property
    def ended(self) -> EndedError:
        assert self.finished.ended is not None, "it ran to its end"
        return self.finished.ended

    @property
    def fuel(self) -> int:
        return self.finished.use.fuel


def module_text(body: str, *imports: str, memory: str = '(memory (export "memory") 1)') -> str:
    """A module whose export `run` has this body, with these functions of `bcai` as `$name`."""
    lines = [_import(name) for name in imports]
    return f'(module {" ".join(lines)} {memory} (func $main (export "run") {body}))'


def to_bytes(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def run(
    text: str,
    inputs: Mapping[str, Array] | None = None,
    arguments: Sequence[str] = (),
    limits: ModuleLimits = LIMITS,
) -> Run:
    """Run a module given as text."""
    said: dict[str, str] = {}
    outputs: dict[str, Array] = {}

    def on_text(stream: str, part: str) -> None:
        said[stream] = said.get(stream, "") + part

    engine = new_engine()
    finished = run_module(
        engine,
        compile_module(engine, to_bytes(text)),
        inputs or {},
        arguments,
        limits,
        on_text=on_text,
        on_output=outputs.__setitem__,
    )
    return Run(finished, said, outputs)


def refusal(text: str) -> EndedError:
    """Why a module is refused before it starts."""
    with pytest.raises(EndedError) as caught:
        compile_module(new_engine(), to_bytes(text))
    return caught.value


def _import(name: str) -> str:
    signature = FUNCTIONS[name]
    parameters = f"(param {' '.join(signature.parameters)})" if signature.parameters else ""
    results = f"(result {' '.join(signature.results)})" if signature.results else ""
    return f'(import "bcai" "{name}" (func ${name} {parameters} {results}))'
