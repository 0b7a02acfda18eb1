"""`bcai run`: sends a script or a project to a network and shows it until it ends."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from bcai.base.errors import EXIT_OK, InputError
from bcai.cli.after_dashes import AFTER_DASHES
from bcai.cli.make_folder import make_folder
from bcai.cli.options import OUTPUT, NetworkOptions
from bcai.cli.project import Project
from bcai.cli.target import Target, read_target

if TYPE_CHECKING:
    from bcai.sdk.draft import Draft

JOB = Group("Job", sort_key=10)
FLAG: Any = partial(Parameter, negative="")
LIST: Any = partial(Parameter, negative="", group=JOB)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RunOptions(NetworkOptions):
    """What the job brings and needs, and what becomes of it."""

    code: Annotated[str | None, Parameter(group=JOB, help="Python code to run.")] = None
    data: Annotated[
        tuple[Path, ...],
        LIST(help="File or folder to bring along, read-only in the jail. Repeatable."),
    ] = ()
    name: Annotated[str | None, Parameter(group=JOB, help="Name of the job.")] = None
    require: Annotated[
        tuple[str, ...],
        LIST(
            name=("--require", "--requirements"),
            help="Package that the node must have, such as 'torch>=2.8'. Repeatable.",
        ),
    ] = ()
    environment: Annotated[
        str | None,
        Parameter(
            group=JOB, help="Environment of the node. Default: the first that has what is required."
        ),
    ] = None
    output: Annotated[
        tuple[str, ...],
        LIST(help="Output without which the job counts as failed. Repeatable."),
    ] = ()
    input: Annotated[
        tuple[str, ...],
        LIST(help="Tensor that the job is given: NAME=FILE.npy. Repeatable."),
    ] = ()
    gpu_memory: Annotated[str | None, Parameter(group=JOB, help="Ask for a GPU: '8GB'.")] = None
    memory: Annotated[
        str | None, Parameter(group=JOB, help="Memory that the job may use. Default: 4GiB.")
    ] = None
    fuel: Annotated[
        int | None, Parameter(group=JOB, help="Instructions that a .wasm module may execute.")
    ] = None
    limit: Annotated[
        tuple[str, ...],
        LIST(
            help="Another limit, NAME=VALUE: cpu=10m (time of all processors), disk=2GB, "
            "file=1GB (any one file), inodes=100000 (files and folders), log=16MiB, output=1GB, "
            "processes=64. Repeatable."
        ),
    ] = ()
    timeout: Annotated[
        str | None, Parameter(group=JOB, help="Time that the job may take: '90s'. Default: 1h.")
    ] = None
    max_retries: Annotated[
        int | None, Parameter(group=JOB, help="New attempts after a node failed. Default: 3.")
    ] = None
    security_level: Annotated[
        Literal["high", "standard", "trusted"] | None,
        Parameter(
            group=JOB,
            help="How strong a jail it asks for; nodes that have less refuse it. `standard` may "
            "start programs, as torch.compile does. Default: high.",
        ),
    ] = None
    capture: Annotated[
        bool,
        FLAG(
            group=JOB,
            help="Have the script's PyTorch operations executed and recorded by the node, for a "
            "receipt that a replay can check.",
        ),
    ] = False
    verify: Annotated[
        str | None,
        Parameter(
            group=JOB,
            help="Have the result checked: of Python by 'replicated:3', three nodes that do it and "
            "are compared; of a program, or with --capture, by 'full', or 'audited:0.1' for one in "
            "ten. Default: none.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        Parameter(group=OUTPUT, help="Folder for the outputs, the metrics and their curves."),
    ] = None
    detach: Annotated[
        bool, FLAG(group=OUTPUT, help="Submit, print the job's id, and do not wait.")
    ] = False
    explain: Annotated[
        bool, FLAG(group=OUTPUT, help="Say what would happen and who could see it; send nothing.")
    ] = False


DEFAULT_RUN = RunOptions()


def run(
    target: Annotated[
        str | None,
        Parameter(help="A script, a folder with a main.py, a .bcai program, or a .wasm module."),
    ] = None,
    /,
    *arguments: Annotated[
        str, Parameter(help="The script's own arguments, after two dashes: -- --epochs 5")
    ],
    options: RunOptions = DEFAULT_RUN,
) -> int:
    """Run a script or a project folder on a network and watch it."""
    if target is not None and options.code is not None and AFTER_DASHES.get() > len(arguments):
        target, arguments = None, (target, *arguments)  # all of them follow after the dashes
    found = read_target(target, options.code)
    if found.program is not None:
        fields = program_fields(found, arguments, options)
    elif found.module is not None:
        fields = wasm_fields(found, arguments, options)
    else:
        fields = job_fields(found, arguments, options)
    if options.explain:
        from bcai.cli.explain import explain_job

        explain_job(_draft(found, fields), _place(options), as_json=options.json)
        return EXIT_OK
    from bcai.cli.run_job import run_job

    if options.out is not None and not options.detach:
        make_folder(options.out, "--out")
    return run_job(found, fields, options)


def _draft(target: Target, fields: dict[str, Any]) -> "Draft":
    """What would be sent."""
    from bcai.sdk.draft import draft_job
    from bcai.sdk.program import draft_program
    from bcai.sdk.wasm import draft_wasm

    if target.program is not None:
        return draft_program(**fields)
    return draft_job(**fields) if target.module is None else draft_wasm(**fields)


def program_fields(
    target: Target, arguments: tuple[str, ...], options: RunOptions
) -> dict[str, Any]:
    """Keyword arguments of `create_program_job`."""
    from bcai.cli.arrays import read_inputs

    if options.fuel is not None:
        raise InputError("--fuel: only a .wasm module has a limit of fuel")
    _refuse_files("program", options, ("arguments", arguments))
    fields: dict[str, Any] = {
        "program": target.program,
        "inputs": read_inputs(options.input),
        "name": options.name or target.name,
        "required_outputs": options.output,
        "limits": _limits(options) or None,
        "timeout": options.timeout,
        "max_retries": options.max_retries,
        "verify": options.verify,
    }
    return {name: value for name, value in fields.items() if value is not None}


def wasm_fields(target: Target, arguments: tuple[str, ...], options: RunOptions) -> dict[str, Any]:
    """Keyword arguments of `create_wasm_job`."""
    from bcai.cli.arrays import read_inputs

    _refuse_files("module", options)
    if options.verify not in (None, "none"):
        raise InputError(
            f"--verify: found {options.verify!r}, but a module cannot be checked: nobody else "
            "knows what its code must compute",
            hint="a .bcai program can, and so can a script: --verify replicated:3",
        )
    limits = {**_limits(options), "fuel": options.fuel}
    fields: dict[str, Any] = {
        "module": target.module,
        "inputs": read_inputs(options.input),
        "arguments": arguments,
        "name": options.name or target.name,
        "required_outputs": options.output,
        "limits": {name: value for name, value in limits.items() if value is not None},
        "timeout": options.timeout,
        "max_retries": options.max_retries,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _refuse_files(noun: str, options: RunOptions, *more: tuple[str, tuple[str, ...]]) -> None:
    """Refuse what only Python code can use."""
    given = (
        *more,
        ("--data", options.data),
        ("--require", options.require),
        ("--environment", options.environment),
        ("--gpu-memory", options.gpu_memory),
        ("--security-level", options.security_level),
        ("--capture", options.capture),
    )
    for name, value in given:
        if value:
            raise InputError(
                f"{name}: only a job of Python has this, and this one is a {noun}",
                hint="its inputs are --input NAME=FILE.npy" if name == "--data" else "",
            )


def job_fields(target: Target, arguments: tuple[str, ...], options: RunOptions) -> dict[str, Any]:
    """Keyword arguments of `create_job`: flags first, then what the project says."""
    from bcai.cli.arrays import read_inputs

    if options.fuel is not None:
        raise InputError("--fuel: only a .wasm module has a limit of fuel")
    project = target.project
    gpu_memory = options.gpu_memory or project.gpu_memory
    fields: dict[str, Any] = {
        "code": target.code,
        "code_name": target.code_name if target.folder is None else None,
        "project": target.folder,
        "entry": project.entry if target.folder is not None else None,
        "name": options.name or target.name,
        "arguments": arguments or project.arguments,
        "data": options.data or _project_data(target),
        "inputs": read_inputs(options.input) or None,
        "requirements": options.require or project.requirements,
        "environment": options.environment or project.environment,
        "required_outputs": options.output or project.outputs,
        "limits": _limits(options, project) or None,
        "hardware": {"gpu_memory": gpu_memory} if gpu_memory else None,
        "timeout": options.timeout or project.timeout,
        "max_retries": project.max_retries if options.max_retries is None else options.max_retries,
        "security_level": options.security_level or project.security_level,
        "verify": options.verify or project.verify,
        "capture": options.capture or project.capture or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _limits(options: RunOptions, project: Project | None = None) -> dict[str, str | int | float]:
    """Limits by name: flags first, then what the project says."""
    found: dict[str, str | int | float] = {}
    if project is not None:
        found |= project.limits
        if project.memory is not None:
            found["memory"] = project.memory
    flags: set[str] = set()
    for text in options.limit:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            raise InputError(f"--limit: found {text!r}, expected NAME=VALUE, such as disk=2GB")
        if name in flags:
            raise InputError(f"--limit {name!r} stands twice")
        flags.add(name)
        found[name] = int(value) if value.isascii() and value.isdigit() else value
    if options.memory:
        found["memory"] = options.memory
    return found


def _project_data(target: Target) -> tuple[Path, ...]:
    folder = target.folder or Path()
    return tuple(folder / name for name in target.project.data)


def _place(options: NetworkOptions) -> str:
    """Where a job would run, found without starting or asking anything."""
    from bcai.sdk.local import read_endpoint_file
    from bcai.settings import read_settings

    settings = read_settings(endpoint=options.endpoint)
    if settings.endpoint:
        return f"the nodes of {settings.endpoint}"
    own = "this machine, by a network of your own"
    known = read_endpoint_file(settings.home)
    return f"{own} ({known.url})" if known else f"{own}, started when it is needed"
