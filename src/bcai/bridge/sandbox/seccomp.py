"""A small assembler for seccomp filters: classic BPF over `struct seccomp_data`.

The filter sees the call's number and its arguments, never memory. Order: the machine (another
one kills, since its numbers mean other calls), calls with conditions on an argument, calls that
are allowed, calls that are refused aloud (EPERM); every other number, also of calls that no kernel
has yet, is answered "not implemented", so that libraries fall back as on an older kernel.
Source: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import errno
import struct
from collections.abc import Iterable, Mapping

KILL = 0x80000000
ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

_LOAD, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_AND = 0x54
_ALL_BITS = 0xFFFFFFFF
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32_BIT = 0x40000000  # x86_64 only: the same calls under a second number
_INSTRUCTIONS_MAX = 4096
_JUMP_MAX = 255

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def refuse(number: int) -> int:
    """Answer a call with this errno."""
    return _ERRNO | number


class Condition:
    """A test of one argument's low 32 bits; kernel and caller agree on these for `int`s."""

    __slots__ = ("action", "argument", "bits", "mask", "value")

    def __init__(
        self, argument: int, value: int, action: int, *, bits: bool = False, mask: int = _ALL_BITS
    ) -> None:
        self.argument = argument
        self.value = value
        self.action = action
        self.bits = bits  # any of the bits, instead of equal
        self.mask = mask  # the bits that are looked at


class Rule:
    """What to do with one call: the first condition that holds decides, else `otherwise`."""

    __slots__ = ("conditions", "otherwise")

    def __init__(self, conditions: Iterable[Condition], otherwise: int) -> None:
        self.conditions = tuple(conditions)
        self.otherwise = otherwise


def assemble(
    arch: int, rules: Mapping[int, Rule], allowed: Iterable[int], refused: Iterable[int]
) -> bytes:
    """Machine code of the filter.

    Parameters
    ----------
    arch
        The audit number of the machine.
    rules, allowed, refused
        Call numbers; one that stands in several counts for the first.
    """
    out: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, KILL),
    ]
    for number, rule in sorted(rules.items()):
        body = _rule_body(rule)
        if len(body) > _JUMP_MAX:
            raise ValueError(f"call {number}: {len(body)} instructions, at most {_JUMP_MAX}")
        out.append((_EQUAL, 0, len(body), number))
        out += body
    allowed = set(allowed) - set(rules)
    for first, last in _ranges(allowed):
        out += _range_returns(first, last, ALLOW)
    for first, last in _ranges(set(refused) - set(rules) - allowed):
        out += _range_returns(first, last, refuse(errno.EPERM))
    out.append((_RETURN, 0, 0, refuse(errno.ENOSYS)))
    if len(out) > _INSTRUCTIONS_MAX:
        raise ValueError(f"the filter has {len(out)} instructions, at most {_INSTRUCTIONS_MAX}")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in out)


def _rule_body(rule: Rule) -> list[Instruction]:
    body: list[Instruction] = []
    for condition in rule.conditions:
        test = _ANY_BIT if condition.bits else _EQUAL
        body.append((_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * condition.argument))
        if condition.mask != _ALL_BITS:
            body.append((_AND, 0, 0, condition.mask))
        body.append((test, 0, 1, condition.value))
        body.append((_RETURN, 0, 0, condition.action))
    body.append((_RETURN, 0, 0, rule.otherwise))
    return body


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, so that the filter is short."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _range_returns(first: int, last: int, action: int) -> list[Instruction]:
    if first == last:
        return [(_EQUAL, 0, 1, first), (_RETURN, 0, 0, action)]
    return [(_AT_LEAST, 0, 2, first), (_GREATER, 1, 0, last), (_RETURN, 0, 0, action)]
