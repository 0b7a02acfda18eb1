"""`bcai run --explain`: what would happen to a job, and who could see what of it."""

from dataclasses import asdict
from typing import Any

from bcai.base.units import format_duration_s, format_limit, format_size
from bcai.cli.terminal import print_block, print_json, stdout_console
from bcai.jobs.cost import Cost, cost_of
from bcai.jobs.spec import JobKind, JobSpec, Mount, SecurityLevel
from bcai.jobs.verify import parse_verify
from bcai.sdk.draft import Draft

_FILES_SHOWN_MAX = 12
_MOUNTS = ((Mount.PROJECT, "project"), (Mount.DATA, "data"), (Mount.INPUT, "inputs"))
_SEEN = (
    "The job runs on somebody's computer. The jail protects that computer from the job; nothing "
    "here protects the job from that computer. Its owner can see everything: the code, the data, "
    "the arguments, what the job prints, the weights while they are trained, and every output. "
    "So can whoever runs the network's gateway, which stores them. Only attested hardware could "
    "change that, and this network has none.",
    "So send nothing that they must not see, or run the job on a network of your own.",
)
_JAIL = (
    "The job runs in a jail: no network, no programs, no other files than its own, no way to other "
    "processes, hard limits. A node that cannot build that jail refuses the job."
)
_STANDARD = (
    "The job runs in a jail: no network, no other files than its own, no way to other processes, "
    "hard limits. It may start programs of the node and what it builds itself; on a node without "
    "namespaces it is one process behind Landlock and seccomp, which starts none, writes none."
)
_TRUSTED = (
    "The job asks for trust: a node whose owner names the key that you sign with (bcai keys own) "
    "runs it behind whatever it has, even behind no wall at all. Every other node refuses it."
)
_PROGRAM = (
    "The job is a Program: instructions on tensors, no code. The node verifies it before it runs, "
    "and its memory is known beforehand; it needs no jail."
)

_WASM = (
    "The job is a WebAssembly module: it reaches its own memory and a dozen host functions, no "
    "file, no network and no clock. A node compiles it in a process of its own, with hard limits."
)


def explain_job(draft: Draft, place: str, *, as_json: bool) -> None:
    """Print what a draft would do, without sending anything.

    Parameters
    ----------
    place
        Where it would run, in words.
    """
    spec = _spec_of(draft)
    if as_json:
        print_json(_document(draft, spec, place))
        return
    from rich.padding import Padding
    from rich.text import Text

    from bcai.cli.summary import two_columns

    console = stdout_console()
    console.print(Text.assemble((spec.name, "bold"), " would do this; nothing has been sent."))
    for title, rows in (
        ("What is sent", _sent(draft, spec)),
        ("Where it runs", [("network", place), ("needs", _needs(spec)), _wall(draft)]),
        ("Limits", _limits(spec)),
        ("Who checks the result", [(str(draft.submission.verify), _cost(draft).text)]),
    ):
        console.print(Text(f"\n{title}", style="bold cyan"))
        print_block(console, Padding(two_columns(rows), (0, 0, 0, 2)))
    console.print(Text("\nWho can see it", style="bold cyan"))
    for paragraph in _SEEN:
        print_block(console, Padding(Text(paragraph), (0, 0, 0, 2)))


def _spec_of(draft: Draft) -> JobSpec:
    """Lower the draft as the gateway would; files are named by a digest only once they are sent."""
    update = {"entry": None, "code": "", "kind": JobKind.PYTHON, "verify": "none"}
    submission = draft.submission.model_copy(update=update)
    return submission.to_spec()


def _wall(draft: Draft) -> tuple[str, str]:
    walls = {
        JobKind.PROGRAM: ("program", _PROGRAM),
        JobKind.TRAINING: ("program", _PROGRAM),
        JobKind.WASM: ("module", _WASM),
    }
    jails = {SecurityLevel.STANDARD: _STANDARD, SecurityLevel.TRUSTED: _TRUSTED}
    jail = jails.get(draft.submission.security_level, _JAIL)
    return walls.get(draft.submission.kind, ("jail", jail))


def _cost(draft: Draft) -> Cost:
    """What a check does, and the computing that it is expected to cost."""
    asked = draft.submission
    return cost_of(parse_verify(asked.verify), asked.timeout, captured=asked.capture)


def _sent(draft: Draft, spec: JobSpec) -> list[tuple[str, str]]:
    submission = draft.submission
    rows: list[tuple[str, str]] = []
    if submission.code is not None:
        size = format_size(len(submission.code.encode()))
        rows.append(("code", f"{spec.code_name}, {size}"))
    else:
        rows.append(("starts", str(submission.entry)))
    for mount, title in _MOUNTS:
        files = [file for file in draft.files if file.mount is mount]
        if files:
            total = format_size(sum(file.size for file in files))
            names = ", ".join(file.path for file in files[:_FILES_SHOWN_MAX])
            more = len(files) - _FILES_SHOWN_MAX
            names += f" and {more} more" if more > 0 else ""
            plural = "file" if len(files) == 1 else "files"
            rows.append((title, f"{len(files)} {plural}, {total}: {names}"))
    if spec.arguments:
        rows.append(("arguments", " ".join(spec.arguments)))
    return rows


def _needs(spec: JobSpec) -> str:
    asked = spec.hardware.memory_bytes
    needs = [f"{format_limit(asked)} of memory"] if asked else []
    if spec.hardware.gpu_count:
        gpu = f"{spec.hardware.gpu_count} GPU"
        if spec.hardware.gpu_memory_bytes:
            gpu += f" with {format_limit(spec.hardware.gpu_memory_bytes)}"
        needs.append(gpu)
    needs += spec.requirements
    needs += [f"the environment {spec.environment!r}"] if spec.environment else []
    return ", ".join(needs) or "nothing in particular"


def _limits(spec: JobSpec) -> list[tuple[str, str]]:
    limits = spec.limits
    return [
        ("time", f"{format_duration_s(limits.wall_s)}, then the job is TIMED_OUT"),
        ("memory", format_limit(limits.memory_bytes)),
        ("printed text", format_limit(limits.log_bytes)),
        ("outputs", format_limit(limits.output_bytes)),
        ("scratch disk", format_limit(limits.disk_bytes)),
        *([("one file", format_limit(limits.file_bytes))] if limits.file_bytes else []),
        ("files, folders", str(limits.inodes)),
        ("processes", str(limits.processes)),
        *([("processor time", format_duration_s(limits.cpu_s))] if limits.cpu_s else []),
        *([("fuel", f"{limits.fuel} instructions")] if limits.fuel else []),
        ("retries", f"{spec.max_retries}, if a node fails; never after the job's own error"),
        ("must leave", ", ".join(spec.required_outputs) or "nothing in particular"),
    ]


def _document(draft: Draft, spec: JobSpec, place: str) -> dict[str, Any]:
    return {
        "name": spec.name,
        "entry": draft.submission.entry or spec.code_name,
        "files": [
            {"path": file.path, "size_bytes": file.size, "mount": file.mount.value}
            for file in draft.files
        ],
        "arguments": list(spec.arguments),
        "requirements": list(spec.requirements),
        "environment": spec.environment,
        "where": place,
        "limits": asdict(spec.limits),
        "max_retries": spec.max_retries,
        "required_outputs": list(spec.required_outputs),
        "security_level": spec.security_level.value,
        "verify": draft.submission.verify,
        "expected_extra_computing": _cost(draft).runs - 1,
        "cost": asdict(_cost(draft)),
        "visible_to_the_nodes_owner": ["code", "data", "arguments", "logs", "weights", "outputs"],
        "who_can_see_it": " ".join(_SEEN),
    }
