"""`bcai program`: look at a program, and run it here."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_OK, FormatError, InputError
from bcai.base.units import format_size
from bcai.cli.make_folder import make_folder
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.terminal import print_json, stdout_console
from bcai.settings import read_settings

if TYPE_CHECKING:
    from bcai.bridge.python_execute import JailPython
    from bcai.settings import EnhancedVmSettings
    from bcai.vm.isa.types import Array
    from bcai.vm.program.program import Port, VerifiedProgram

FILE = Parameter(help="A program: canonical bytes (.bcai) or assembly (.bcaiasm).")


def verify_program(
    file: Annotated[str, FILE], /, *, options: OutputOptions = DEFAULT_OUTPUT
) -> int:
    """Check a program and sum it up."""
    program = _read(file)
    document = _document(program)
    if options.json:
        print_json(document)
    else:
        _print_summary(program, document)
    return EXIT_OK


def show_program(
    file: Annotated[str, FILE],
    /,
    *,
    to_text: Annotated[Path | None, Parameter(help="Write the assembly here.")] = None,
    to_bytes: Annotated[Path | None, Parameter(help="Write the canonical bytes here.")] = None,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Print a program as assembly, or write it to files."""
    from bcai.vm.program.codec import encode_program
    from bcai.vm.program.text import print_program

    program = _read(file)
    text = print_program(program)
    if to_text is not None:
        _write(to_text, text.encode(), "--to-text")
    if to_bytes is not None:
        _write(to_bytes, encode_program(program.program), "--to-bytes")
    if options.json:
        print_json({**_document(program), "text": text})
    elif to_text is None and to_bytes is None:
        stdout_console().out(text, end="", highlight=False)
    return EXIT_OK


def hash_program(file: Annotated[str, FILE], /, *, options: OutputOptions = DEFAULT_OUTPUT) -> int:
    """Print the 32 bytes that identify a program."""
    from bcai.vm.program.merkle import program_root

    root = program_root(_read(file).program).hex()
    if options.json:
        print_json({"root": root})
    else:
        stdout_console().out(root, highlight=False)
    return EXIT_OK


def run_program(
    file: Annotated[str, FILE],
    /,
    *,
    input: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="Input or parameter: NAME=FILE.npy. Repeatable."),
    ] = (),
    out: Annotated[
        Path | None, Parameter(help="Folder for the outputs, as NAME.npy. Default: none is kept.")
    ] = None,
    backend: Annotated[
        str | None,
        Parameter(help="What computes: 'auto', 'native' or 'reference'. Default: the settings'."),
    ] = None,
    threads: Annotated[
        int | None, Parameter(help="How many native code uses at most. Default: the settings'.")
    ] = None,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Run a program on this machine, without a network."""
    import time

    from bcai.cli.arrays import read_inputs
    from bcai.vm.runtime.enhanced_vm import EnhancedVM

    if threads is not None and threads < 1:
        raise InputError(f"--threads: found {threads}, expected at least 1")
    program = _read(file)
    if out is not None:
        make_folder(out, "--out")
        _check_names(program.output_types)
    arrays = read_inputs(input)
    settings = read_settings().enhanced_vm
    machine = EnhancedVM(
        hardware_backend=backend or settings.hardware_backend,
        threads=threads or settings.threads,
        clock=time.perf_counter,
        python=_jail(settings),
    )
    result = machine.run(program, arrays)
    files = {} if out is None else _save(result.outputs, out)
    outputs = {
        name: {"type": str(result.types[name]), "file": files.get(name)} for name in result.outputs
    }
    if options.json:
        print_json({
            "root": result.program_root.hex(), "backend": result.backend,
            "backend_reason": result.backend_reason, "wall_s": result.wall_s,
            "bytes_peak": result.bytes_peak, "outputs": outputs,
        })  # fmt: skip
        return EXIT_OK
    console = stdout_console()
    console.out(
        f"{result.instruction_count} instructions in {result.wall_s or 0.0:.3f} s on "
        f"{result.backend} ({result.backend_reason})",
        highlight=False,
    )
    for name, array in result.outputs.items():
        console.out(f"{name}: {result.types[name]}  {_shown(array, files.get(name))}")
    return EXIT_OK


def _jail(settings: "EnhancedVmSettings") -> "JailPython":
    """Run Python code of the program in a jail here; what it prints goes to stderr."""
    import sys

    from bcai.bridge.python_execute import JailPython
    from bcai.bridge.sandbox.jail import JailEvent, JailLimits, LogText
    from bcai.jobs.spec import Limits

    def show(event: JailEvent) -> None:
        if isinstance(event, LogText):
            sys.stderr.write(event.text)

    usual = Limits()
    limits = JailLimits(
        wall_s=settings.python_constraints.max_execution_time_ms / 1000,
        memory_bytes=usual.memory_bytes,
        log_bytes=usual.log_bytes,
        output_bytes=usual.output_bytes,
        disk_bytes=usual.disk_bytes,
        processes=usual.processes,
    )
    return JailPython(limits, on_event=show)


def _read(file: str) -> "VerifiedProgram":
    from bcai.sdk.program import read_program

    return read_program(Path(file))


def _document(program: "VerifiedProgram") -> dict[str, Any]:
    from bcai.vm.program.codec import encode_program
    from bcai.vm.program.merkle import program_root

    plain = program.program
    counts = Counter(each.op.name for each in plain.instructions)
    return {
        "root": program_root(plain).hex(),
        "isa_version": plain.isa_version,
        "inputs": [_port(port) for port in plain.inputs],
        "parameters": [_port(port) for port in plain.parameters],
        "outputs": [{"name": n, "type": str(t)} for n, t in program.output_types.items()],
        "instructions": dict(counts.most_common()),
        "instruction_count": len(plain.instructions),
        "bytes_peak": program.bytes_peak,
        "size_bytes": len(encode_program(plain)),
        "metadata": dict(plain.metadata),
    }


def _port(port: "Port") -> dict[str, str]:
    return {"name": port.name, "type": str(port.type)}


def _print_summary(program: "VerifiedProgram", document: dict[str, Any]) -> None:
    console = stdout_console()
    lines = [
        f"legal: {document['instruction_count']} instructions of set {document['isa_version']}"
    ]
    for title in ("inputs", "parameters", "outputs"):
        shown = [f"{port['name']}: {port['type']}" for port in document[title]]
        lines.append(f"{title:<13}{(chr(10) + ' ' * 13).join(shown) or 'none'}")
    counts = [f"{count} {name}" for name, count in document["instructions"].items()]
    lines.append(f"{'instructions':<13}{', '.join(counts) or 'none'}")
    peak = format_size(program.bytes_peak)
    lines.append(f"{'memory':<13}{peak} at the peak, when each value is freed after its last use")
    lines.append(f"{'size':<13}{format_size(document['size_bytes'])}")
    lines.append(f"{'root':<13}{document['root']}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _save(outputs: "Any", folder: Path) -> dict[str, str]:
    """Write each output as `NAME.npy`."""
    import numpy as np

    files: dict[str, str] = {}
    for name, array in outputs.items():
        path = folder / f"{name}.npy"
        try:
            np.save(path, array, allow_pickle=False)
        except OSError as error:
            raise InputError(f"--out: {path}: {error.strerror or error}") from error
        files[name] = str(path)
    return files


def _check_names(names: Iterable[str]) -> None:
    """Refuse outputs whose names are no file names, before anything runs."""
    for name in names:
        if "/" in name or "\\" in name or name.startswith("."):
            raise FormatError(
                f"output {name!r} is no file name", hint="leave --out away, or rename the output"
            )


def _shown(array: "Array", file: str | None) -> str:
    import numpy as np

    if file is not None:
        return file
    return np.array2string(array, separator=", ", threshold=20, edgeitems=2).replace("\n", " ")


def _write(path: Path, data: bytes, option: str) -> None:
    make_folder(path.parent, option)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error
