"""Who started whom, read from /proc: where no namespace says which processes are a job's."""

import os


def descendants(pid: int) -> list[int]:
    """Return the numbers of all processes that a process has started, and these in turn."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent = _parent(name)
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        own = children.pop(waiting.pop(), [])
        found += own
        waiting += own
    return found


def tasks_of_user(uid: int) -> int:
    """Count the processes and threads of one user on this machine, as RLIMIT_NPROC does."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # gone
            continue
    return count


def _parent(name: str) -> int:
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            text = file.read()
    except OSError:  # gone
        return 0
    return int(text[text.rindex(b")") + 2 :].split()[1])
