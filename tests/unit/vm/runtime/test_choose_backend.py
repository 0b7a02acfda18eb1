"""Which backend runs programs: by name, by what there is, and what is refused."""

import pytest

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.native.backend import what_is_missing
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.runtime.choose_backend import choose_backend


def test_a_backend_is_chosen_and_the_reason_told() -> None:
    class Fast(ReferenceBackend):
        @property
        def name(self) -> str:
            return "native"

    both = (Fast(), ReferenceBackend())
    assert choose_backend("auto", both).backend is both[0]
    told = choose_backend("auto", both).reason
    assert told == "auto: the first of native, reference; NumPy, 1 thread"
    assert choose_backend("auto", both[1:]).reason == "auto: the only one here; NumPy, 1 thread"
    assert choose_backend("reference", both).backend is both[1]
    assert choose_backend("cpu", both).backend is both[0]
    with pytest.raises(RefusedError, match="this machine has no 'metal'; it has native, reference"):
        choose_backend("metal", both)
    with pytest.raises(InputError, match="did you mean 'cuda'"):
        choose_backend("cude", both)


@pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing())
def test_a_backend_is_chosen_with_its_threads() -> None:
    assert choose_backend("native", threads=1).backend.device.endswith("1 thread")
    assert choose_backend(threads=1).reason.endswith("1 thread")


def test_a_gpu_is_asked_for_by_name_and_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: object) -> None:
        raise RefusedError("no CUDA device")

    monkeypatch.setattr("bcai.vm.backends.cuda.backend.CudaDevice.__init__", refuse)
    for available in (None, (ReferenceBackend(),)):
        with pytest.raises(RefusedError, match="no 'cuda': no CUDA device; it has"):
            choose_backend("cuda", available)
    assert choose_backend("auto").backend.name != "cuda"
