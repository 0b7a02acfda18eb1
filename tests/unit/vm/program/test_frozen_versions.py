"""Every published version of the instruction set, frozen as a program that uses all of it.

While version 1 is unpublished, `python -m tests.unit.vm.program.test_frozen_versions` writes its
fixture anew. Afterwards a difference here means that old programs have got another meaning.
"""

from pathlib import Path

import pytest

from bcai.vm.isa.versions import VERSIONS, InstructionSet
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import decode_program, encode_program
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.text import parse_program, print_program
from bcai.vm.program.verifier import verify

FROZEN = Path(__file__).parent / "frozen"


def folder(version: int) -> Path:
    return FROZEN / f"isa_{version}"


@pytest.mark.parametrize("version", VERSIONS)
def test_text_bytes_and_root_stay_what_they_were(version: int) -> None:
    text = (folder(version) / "program.bcaiasm").read_text("utf-8")
    data = (folder(version) / "program.bcai").read_bytes()
    root = (folder(version) / "root.txt").read_text("ascii").strip()
    parsed = parse_program(text)
    assert encode_program(parsed.program) == data
    assert print_program(verify(decode_program(data))) == text
    assert program_root(parsed.program).hex() == root


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fixture_uses_the_whole_set(version: int) -> None:
    program = decode_program((folder(version) / "program.bcai").read_bytes())
    used = {instruction.op.name for instruction in program.instructions}
    assert used == set(VERSIONS[version].by_name)


def everything(isa: InstructionSet) -> VerifiedProgram:
    """A program with one call of every instruction."""
    builder = Builder(isa)
    builder.metadata |= {"purpose": f"every instruction of set {isa.version}", "Ωmega": '\n"\\'}
    calls = [(op, op.type_rule.accepts[0]) for _, op in sorted(isa.by_opcode.items())]
    types = [each for _, case in calls for each in case.operands if each is not None]
    ports = {
        type_: (builder.parameter if number % 3 == 2 else builder.input)
        for number, type_ in enumerate(dict.fromkeys(types))
    }
    ordered = sorted(ports, key=lambda type_: ports[type_] == builder.parameter)
    symbols = {type_: ports[type_](str(type_), type_) for type_ in ordered}
    last = ()
    for op, case in calls:
        operands = [None if each is None else symbols[each] for each in case.operands]
        last = builder.emit(op.name, operands, case.attributes)
    return builder.finish(**{f"last {index}": each for index, each in enumerate(last)})


if __name__ == "__main__":
    for number, isa in VERSIONS.items():
        written = everything(isa)
        folder(number).mkdir(parents=True, exist_ok=True)
        (folder(number) / "program.bcaiasm").write_text(print_program(written), "utf-8")
        (folder(number) / "program.bcai").write_bytes(encode_program(written.program))
        (folder(number) / "root.txt").write_text(program_root(written.program).hex() + "\n")
