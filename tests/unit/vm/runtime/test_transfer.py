"""Copies are made in the background and in order."""

import threading

import numpy as np
import pytest

from bcai.vm.isa.types import Array
from bcai.vm.runtime import transfer as transfers
from bcai.vm.runtime.transfer import HostTransfer, Transfer


def test_a_tensor_goes_and_comes_back() -> None:
    transfer: Transfer[Array] = HostTransfer()
    array = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2]
    there = transfer.to_device(array).result()
    back = transfer.to_host(there).result()
    transfer.close()
    assert back.tobytes() == array.tobytes()
    assert not np.shares_memory(back, there)
    assert not np.shares_memory(there, array)
    with pytest.raises(RuntimeError):
        transfer.to_device(array)


def test_work_goes_on_while_a_copy_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    may_copy = threading.Event()
    plain = np.copyto

    def slow(destination: Array, source: Array) -> None:
        assert may_copy.wait(30)
        plain(destination, source)

    monkeypatch.setattr(transfers.np, "copyto", slow)
    transfer = HostTransfer()
    copies = [transfer.to_device(np.full(3, number)) for number in range(3)]
    assert not any(each.done() for each in copies)
    may_copy.set()
    assert [each.result().tolist() for each in copies] == [[n] * 3 for n in range(3)]
    transfer.close()
