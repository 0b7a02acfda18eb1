"""Fuzz what reads programs, with atheris: `python fuzz/fuzz_programs.py [SECONDS] [CORPUS]`.

atheris is in the dev group, for Linux on x86-64 and CPython up to 3.13. The run starts from legal
programs and from `fuzz/seeds`, which holds what once broke something. An input that breaks a law is
written to the working folder: put it into `fuzz/seeds` with its fix.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bcai.vm"]):
    import program_target
    from program_target import OPS

    from bcai.vm.program.builder import Builder
    from bcai.vm.program.codec import MAGIC, encode_program
    from bcai.vm.program.text import print_program

SEEDS = Path(__file__).parent / "seeds"
DOORS = 5


def write_corpus(folder: Path) -> None:
    """Write a legal call of every instruction, as bytes and as text."""
    for op in OPS:
        for number, case in enumerate(op.type_rule.accepts):
            builder = Builder()
            operands = [
                None if each is None else builder.input(f"x{index}", each)
                for index, each in enumerate(case.operands)
            ]
            results = builder.emit(op.name, operands, case.attributes)
            verified = builder.finish(**{f"y{i}": each for i, each in enumerate(results)})
            data = encode_program(verified.program)[len(MAGIC) :]
            (folder / f"{op.name}-{number}.bytes").write_bytes(b"\x00" + data)
            (folder / f"{op.name}-{number}.cbor").write_bytes(b"\x02" + data)
            (folder / f"{op.name}-{number}.text").write_bytes(
                b"\x01" + print_program(verified).encode()
            )
        for filler in range(8):
            (folder / f"{op.name}.call{filler}").write_bytes(
                bytes([4, OPS.index(op), *([filler] * 40)])
            )


def main() -> None:
    """Fuzz for a number of seconds (60 if none is given)."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder)
    options = [
        f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=4096", "-max_len=4096",
        "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(folder), str(SEEDS)], program_target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
