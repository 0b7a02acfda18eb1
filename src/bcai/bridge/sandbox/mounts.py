"""The file system that a job sees: a new root, holding what is named here and nothing else.

Everything from the host is a clone of its mounts, made read-only, nosuid and nodev BEFORE it is
attached, so there is no moment at which it can be written. The work folder and /dev/shm are two
folders of one tmpfs, so that `disk_bytes` bounds everything that a job writes to files.
"""

import errno
import os
from collections.abc import Container, Iterable

from bcai.bridge.sandbox import libc, namespaces

PROJECT = "/input/project"
DATA = "/input/data"
WORK = "/job"
SHARED_MEMORY = "/dev/shm"  # the place that C libraries know
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
WRITABLE = (WORK, SHARED_MEMORY)

_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC, _ATTR_IDMAP = 1, 2, 4, 8, 1 << 20
_READ_ONLY = _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV
_DEVICE = _ATTR_NOSUID | _ATTR_NOEXEC

_NEW_ROOT = "/tmp"  # any folder of the host; only this process sees the mount
_OLD_ROOT = "/old"
_ROOT_OPTIONS = "size=4m,nr_inodes=8192,mode=755"
INODES = 65536  # files and folders of a job, unless it says otherwise: each costs memory, too
_OWN_INODES = 1 + 2  # of the work folders' file system: its root, and the two below
_PLAIN = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC

_ETC = {
    "passwd": f"job:x:{namespaces.JOB_ID}:{namespaces.JOB_ID}::{WORK}:/bin/false\n",
    "group": f"job:x:{namespaces.JOB_ID}:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


class Bind:
    """A file or folder of the host and where it appears. `private`: only its owner may read it."""

    __slots__ = ("executable", "private", "source", "target")

    def __init__(self, source: str, target: str, *, private: bool, executable: bool) -> None:
        self.source = source
        self.target = target
        self.private = private
        self.executable = executable  # libraries may be mapped to be run


OwnerMaps = dict[tuple[int, int], int]


def owner_maps(
    binds: list[Bind], outside_id: int | None, known: Container[tuple[int, int]] = ()
) -> OwnerMaps:
    """Descriptors of the id maps that `build_root` needs, by owner of the bound files.

    Made before the pid namespace is left, since the map of a process is written through /proc.
    """
    if outside_id is None:
        return {}
    owners = {_owner(bind.source) for bind in binds if bind.private}
    owners = {owner for owner in owners if owner not in known}
    return {owner: namespaces.owner_map(*owner, outside_id) for owner in owners}


def build_root(
    binds: list[Bind],
    disk_bytes: int,
    outside_id: int | None,
    maps: OwnerMaps,
    *,
    for_jobs: bool = False,
    programs: bool = False,
    inodes: int = INODES,
    gpu_devices: Iterable[tuple[str, str]] = (),
) -> None:
    """Replace the root of this mount namespace; the host's files are gone afterwards.

    Parameters
    ----------
    outside_id
        The uid that the job will have outside if it differs from ours; then `maps` lets private
        binds show their owner's files as that uid's.
    programs
        Files in the work folder may be executed.
    gpu_devices
        Where each is on the host, and where the job finds it.
    """
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    trees = [(read_only_tree(bind, maps), bind) for bind in binds]
    shown = [*((path, path) for path in DEVICES), *gpu_devices]
    devices = [(_tree(source, _DEVICE), source, target) for source, target in shown]
    libc.mount("tmpfs", _NEW_ROOT, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, _ROOT_OPTIONS)
    for tree, bind in trees:
        _attach(tree, bind.source, bind.target)
    for tree, source, target in devices:
        _attach(tree, source, target)
    inputs = (PROJECT, DATA) if for_jobs else ("/input",)
    for folder in ("/proc", "/tmp", *inputs, _OLD_ROOT, *WRITABLE):
        os.makedirs(_NEW_ROOT + folder, exist_ok=True)
    _write_small_files()
    libc.pivot_root(_NEW_ROOT, _NEW_ROOT + _OLD_ROOT)
    os.chdir("/")
    libc.mount("proc", "/proc", "proc", _PLAIN)
    libc.unmount(_OLD_ROOT)
    _mount_work_folders(disk_bytes, inodes, outside_id, programs=programs)
    if not for_jobs:
        os.rmdir(_OLD_ROOT)
    # Not over an environment that lies below /tmp, which would vanish; there TMPDIR must do.
    if not any(bind.target.startswith("/tmp/") for bind in binds):
        libc.mount(WORK, "/tmp", None, libc.MS_BIND)  # the name that programs know
    flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV
    libc.mount(None, "/", None, flags)


def leave_zygote() -> None:
    """In a mount namespace forked off a zygote's: part with it, and mount a /proc of our own."""
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("proc", "/proc", "proc", _PLAIN)


def enter_job_root(
    trees: list[tuple[int, str]],
    disk_bytes: int,
    inodes: int = INODES,
    *,
    programs: bool = False,
) -> None:
    """Mount the job's folders and its work folder where the zygote had its own.

    What the zygote had there lies below, where nobody without capabilities can get at it.
    """
    for tree, target in trees:
        libc.move_mount(tree, target)
        os.close(tree)
    _mount_work_folders(disk_bytes, inodes, None, programs=programs)
    if os.path.samefile("/tmp", WORK) or not os.listdir("/tmp"):
        libc.mount(WORK, "/tmp", None, libc.MS_BIND)


def link_inputs(folders: list[str]) -> None:
    """Show each top-level entry of the input folders in the work folder."""
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            os.symlink(f"{folder}/{name}", f"{WORK}/{name}")


def _owner(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_uid, found.st_gid


def read_only_tree(bind: Bind, maps: OwnerMaps) -> int:
    """Descriptor of a detached clone of a bind's mounts, which nobody can write to."""
    attributes = _READ_ONLY | (0 if bind.executable else _ATTR_NOEXEC)
    if not maps or not bind.private:
        return _tree(bind.source, attributes)
    try:
        return _tree(bind.source, attributes, maps[_owner(bind.source)])
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP):
            raise
        # A file system that cannot map owners: the job reads what everybody may read.
        return _tree(bind.source, attributes)


def _tree(path: str, attributes: int, user_namespace: int | None = None) -> int:
    tree = libc.open_tree(path)
    try:
        if user_namespace is None:
            libc.mount_setattr(tree, attributes)
        else:
            libc.mount_setattr(tree, attributes | _ATTR_IDMAP, user_namespace)
    except OSError:
        os.close(tree)
        raise
    return tree


def _attach(tree: int, source: str, target: str) -> None:
    place = _NEW_ROOT + target
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if _is_folder(tree):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    libc.move_mount(tree, place)
    os.close(tree)


def _is_folder(tree: int) -> bool:
    return (os.fstat(tree).st_mode & 0o170000) == 0o040000


def _write_small_files() -> None:
    os.makedirs(_NEW_ROOT + "/etc", exist_ok=True)
    for name, text in _ETC.items():
        with open(f"{_NEW_ROOT}/etc/{name}", "w", encoding="ascii") as file:
            file.write(text)
    os.symlink("/proc/self/fd", _NEW_ROOT + "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{_NEW_ROOT}/dev/{name}")
    # `lib64` and the like are links on most systems; loaders have their name built in.
    for name in ("lib", "lib64", "lib32", "bin", "sbin"):
        link = f"/{name}"
        if os.path.islink(link) and not os.path.lexists(_NEW_ROOT + link):
            os.symlink(os.readlink(link), _NEW_ROOT + link)


def _mount_work_folders(
    disk_bytes: int, inodes: int, outside_id: int | None, *, programs: bool = False
) -> None:
    inputs = [folder for folder in (PROJECT, DATA) if os.path.isdir(folder)]
    ours = _OWN_INODES + sum(len(os.listdir(folder)) for folder in inputs)  # links to them
    owner = "" if outside_id is None else f",uid={outside_id},gid={outside_id}"
    options = f"size={disk_bytes},nr_inodes={inodes + ours},mode=700{owner}"
    flags = _PLAIN & ~libc.MS_NOEXEC if programs else _PLAIN
    libc.mount("tmpfs", _OLD_ROOT, "tmpfs", flags, options)
    for target in WRITABLE:
        folder = f"{_OLD_ROOT}/{target.strip('/').replace('/', '-')}"
        os.mkdir(folder, 0o700)
        if outside_id is not None:
            os.chown(folder, outside_id, outside_id)
        libc.mount(folder, target, None, libc.MS_BIND)
    libc.unmount(_OLD_ROOT)
