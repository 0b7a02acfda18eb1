"""Renew `same_bits.json`: `python -m tests.conformance.vm.golden`.

Every case runs on every target that this machine has or emulates, in every way that it knows, and
through the definition. Nothing is written if two of them differ.
"""

import json
import sys

from tests.conformance.vm.golden.case import Case, digest
from tests.conformance.vm.golden.corpus import cases
from tests.conformance.vm.golden.emulator import emulation_missing
from tests.conformance.vm.golden.machines import targets_here
from tests.conformance.vm.golden.vectors import VECTORS

from bcai.vm.backends.native.target import NEON, TARGETS, Target


def main() -> str:
    """Compute, compare, write; return what is to be said."""
    targets = targets_here()
    if NEON not in targets and not emulation_missing():
        targets += (NEON,)
    missing = [name for name, each in TARGETS.items() if each not in targets]
    if missing:
        sys.exit(f"cannot run {', '.join(missing)} here: {emulation_missing()}")
    found: dict[str, str] = {}
    for case in cases():
        by_machine = dict(digests(case, targets))
        if len(set(by_machine.values())) != 1:
            sys.exit("\n  ".join((f"{case.name} differs:", *map(str, by_machine.items()))))
        found[case.name] = next(iter(by_machine.values()))
    VECTORS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return f"{len(found)} cases have the same bits on {', '.join(each.name for each in targets)}"


def digests(case: Case, targets: tuple[Target, ...]) -> list[tuple[str, str]]:
    """Where and how a case ran, and the digest of what came out."""
    rows = [
        (f"{target.name}, {way}", digest(results))
        for target in targets
        for way, results in case.compute(target)
    ]
    return [*rows, ("definition", digest(case.define()))]


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
