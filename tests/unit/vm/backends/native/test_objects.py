"""The cache of machine code: whole objects only, from nobody but ourselves; never in the way."""

import errno
import os
import resource
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.vm.backends.native.harness import targets

from bcai.base.units import MIB
from bcai.vm.backends.native import objects
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import F32, Module
from bcai.vm.backends.native.objects import (
    LoadedObject,
    ObjectCache,
    compile_object,
    load_code,
    object_key,
)
from bcai.vm.backends.native.symbols import undefined_symbols
from bcai.vm.backends.native.target import AVX2, SSE

KEY, OTHER = "a" * 64, "b" * 64
CONTENT = b"machine code" * 1000

here = pytest.mark.skipif(
    not targets(), reason="no code for this processor; needs x86-64 or AArch64"
)


def text_of_kernel() -> str:
    module = Module("kernel", targets()[-1].triple)
    entry(module, "kernel").f.give(0)
    return str(module)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that were compiled, one after the other."""
    seen: list[str] = []
    compile_ = objects.compile_object

    def count(text: str, *args: object, **options: object) -> bytes:
        seen.append(text)
        return compile_(text, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(objects, "compile_object", count)
    return seen


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "deep" / "cache")
    assert cache.get(KEY) is None
    cache.put(KEY, CONTENT)
    assert cache.get(KEY) == CONTENT
    assert cache.get(OTHER) is None
    assert [path.name for path in (tmp_path / "deep" / "cache").iterdir()] == [f"{KEY}.o"]


def test_no_folder_keeps_nothing() -> None:
    cache = ObjectCache(None)
    cache.put(KEY, CONTENT)
    assert cache.get(KEY) is None
    assert cache.refusal() == ""


def test_the_folder_and_its_files_are_private(tmp_path: Path) -> None:
    ObjectCache(tmp_path / "cache").put(KEY, CONTENT)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache" / f"{KEY}.o").stat().st_mode & 0o777 == 0o600


@here
def test_code_is_compiled_once(tmp_path: Path, compilations: list[str]) -> None:
    for _ in range(2):
        code = load_code(text_of_kernel(), targets()[-1], ObjectCache(tmp_path))
        assert code.address("kernel") > 0
    assert len(compilations) == 1


@here
@pytest.mark.parametrize("damage", ["cut short", "empty", "bit flipped", "renamed"])
def test_a_damaged_file_is_compiled_anew(
    damage: str, tmp_path: Path, compilations: list[str]
) -> None:
    target, text = targets()[-1], text_of_kernel()
    load_code(text, target, ObjectCache(tmp_path))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    if damage == "renamed":
        path.unlink()
        ObjectCache(tmp_path).put(OTHER, compile_object(text + "\n", target))
        (tmp_path / f"{OTHER}.o").rename(path)
    else:
        path.write_bytes({"cut short": whole[:-1], "empty": b""}.get(damage, bytes(flipped)))
    del compilations[:]
    assert load_code(text, target, ObjectCache(tmp_path)).address("kernel")
    assert len(compilations) == 1
    assert path.read_bytes() == whole


def test_two_writers_and_a_reader_never_mix(tmp_path: Path) -> None:
    contents = [bytes([each]) * 300_000 for each in range(4)]
    cache = ObjectCache(tmp_path)

    def write(content: bytes) -> set[bytes | None]:
        seen: set[bytes | None] = set()
        for _ in range(20):
            cache.put(KEY, content)
            seen.add(cache.get(KEY))
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = set[bytes | None]().union(*pool.map(write, contents))
    assert seen <= set(contents)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_a_folder_is_done_without(
    tmp_path: Path, compilations: list[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        cache = ObjectCache(folder)
        cache.put(KEY, CONTENT)
        assert cache.get(KEY) is None
        if targets():
            load_code(text_of_kernel(), targets()[-1], cache)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; run it as another user")
def test_a_folder_without_permission_is_done_without(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cache = ObjectCache(tmp_path)
    cache.put(KEY, CONTENT)
    assert cache.get(KEY) is None
    tmp_path.chmod(0o700)


@contextmanager
def no_file_longer_than(nbytes: int) -> Generator[None, None, None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_grow_leaves_nothing(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    with no_file_longer_than(1000):
        cache.put(KEY, CONTENT)
    assert cache.get(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    options = ["-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("cannot mount a small disk; needs root")
    try:
        cache = ObjectCache(tmp_path)
        cache.put(KEY, CONTENT)
        assert cache.get(KEY) is None
        assert list(tmp_path.iterdir()) == []
        cache.put(KEY, b"small")
        assert cache.get(KEY) == b"small"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_folder_that_cannot_be_written_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ObjectCache(tmp_path)
    cache.put(KEY, CONTENT)
    monkeypatch.setattr(os, "utime", refuse)
    assert cache.get(KEY) == CONTENT


def test_a_disk_that_fails_while_it_is_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ObjectCache(tmp_path)
    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)  # the kernel makes such a disk read-only
    cache.put(KEY, CONTENT)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    cache.put(KEY, CONTENT)
    tmp_path.chmod(mode)
    assert cache.refusal() == f"other users can write to {tmp_path}"
    assert cache.get(KEY) is None
    cache.put(OTHER, CONTENT)
    assert not (tmp_path / f"{OTHER}.o").exists()
    tmp_path.chmod(0o700)


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ObjectCache(tmp_path)
    cache.put(KEY, CONTENT)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert cache.refusal() == f"{tmp_path} belongs to another user"
    assert cache.get(KEY) is None


def test_what_is_longest_unused_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CACHE_BYTES_MAX", 3 * len(CONTENT))
    cache = ObjectCache(tmp_path)
    for age, key in enumerate((KEY, OTHER)):
        cache.put(key, CONTENT)
        os.utime(tmp_path / f"{key}.o", (age, age))
    assert cache.get(KEY) is not None  # used just now
    cache.put("c" * 64, CONTENT)
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == CONTENT


def test_the_key_knows_the_text_the_target_and_the_level() -> None:
    keys = {
        object_key("a", AVX2, 3),
        object_key("b", AVX2, 3),
        object_key("a", SSE, 3),
        object_key("a", AVX2, 2),
    }
    assert len(keys) == 4


@here
def test_code_that_asks_for_libm_is_not_loaded() -> None:
    target = targets()[-1]
    module = Module("kernel", target.triple)
    e = entry(module, "kernel")
    value = e.f.load(e.pointer(0), F32)
    e.f.store(e.f.intrinsic("sin", value), e.pointer(0))
    e.f.give(0)
    content = compile_object(str(module), target)
    assert undefined_symbols(content) == {"sinf"}
    with pytest.raises(AssertionError, match="calls sinf"):
        LoadedObject(content, target)


@here
def test_compiling_leaves_no_memory_behind() -> None:
    target = targets()[-1]
    module = Module("kernel", target.triple)
    e = entry(module, "kernel")
    with e.f.loop(e.begin, e.end) as loop:
        place = e.f.offset(e.pointer(0), loop.index, F32)
        e.f.store(e.f.b.fneg(e.f.load(place, F32)), place)
    e.f.give(0)
    for _ in range(5):
        compile_object(str(module), target)
    before = resident_bytes()
    for _ in range(40):
        compile_object(str(module), target)
    assert resident_bytes() - before < MIB


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
