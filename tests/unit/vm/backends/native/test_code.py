"""Kernels are compiled while the next ones are written."""

import threading
from dataclasses import dataclass

import pytest

from bcai.vm.backends.native import code
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.objects import ObjectCache, compile_object, this_machine
from bcai.vm.backends.native.target import Target

HOST = this_machine()
pytestmark = pytest.mark.skipif(HOST is None, reason="no native code for this processor")
compiling = threading.Event()


@dataclass(frozen=True)
class Idle:
    """Does nothing; the one named `second` is written once LLVM is at work."""

    symbol: str
    fails: bool = False

    @property
    def library(self) -> str:
        """One of its own."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        del target
        if self.fails:
            raise ZeroDivisionError
        assert self.symbol != "second" or compiling.wait(30)
        entry(module, self.symbol).f.give(0)


def test_llvm_works_while_the_next_kernel_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HOST is not None
    compiling.clear()

    def compile_slowly(text: str, target: Target, *, level: int) -> bytes:
        compiling.set()
        return compile_object(text, target, level=level)

    monkeypatch.setattr(code, "compile_object", compile_slowly)
    made = code.load_kernels([Idle("first"), Idle("second")], HOST, ObjectCache(None))
    assert list(made.addresses) == ["first", "second"]
    assert all(made.addresses.values())


def test_what_fails_to_be_written_fails_at_once() -> None:
    assert HOST is not None
    with pytest.raises(ZeroDivisionError):
        code.load_kernels([Idle("third"), Idle("fourth", fails=True)], HOST, ObjectCache(None))
    assert code.load_kernels([Idle("third")], HOST, ObjectCache(None)).addresses["third"]
