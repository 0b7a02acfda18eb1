"""A job before it is sent: keyword arguments as a checked submission, and the files it brings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from bcai.base.errors import FormatError, InputError, NotFoundError, TooLargeError
from bcai.base.suggest import nearest
from bcai.base.units import format_size
from bcai.base.wording import found_and_expected
from bcai.jobs.requirements import parse_requirement
from bcai.jobs.spec import CODE_BYTES_MAX, check_verify
from bcai.jobs.verify import parse_verify
from bcai.sdk.folder import LocalFile, data_files, entry_of, project_files
from bcai.sdk.inputs import input_files
from bcai.sdk.inspection import refuse_certain
from bcai.wire.submission import HardwareMessage, JobSubmission, LimitsMessage

AnyPath = str | PathLike[str]
Quantity = int | float | str | None  # a number, or text with a unit such as `8GB`


@dataclass(frozen=True, slots=True)
class Draft:
    """What will be sent: the submission still without `files`, and the files to upload."""

    submission: JobSubmission
    files: tuple[LocalFile, ...] = ()


def draft_job(
    code: str | None = None,
    *,
    path: AnyPath | None = None,
    project: AnyPath | None = None,
    entry: str | None = None,
    data: AnyPath | Iterable[AnyPath] = (),
    inputs: Mapping[str, Any] | None = None,
    name: str | None = None,
    code_name: str | None = None,
    arguments: Sequence[str] = (),
    requirements: Sequence[str] = (),
    environment: str | None = None,
    hardware: Mapping[str, Quantity] | None = None,
    limits: Mapping[str, Quantity] | None = None,
    timeout: float | str = 3600,
    max_retries: int = 3,
    required_outputs: Sequence[str] = (),
    reward_tokens: int = 0,
    labels: Mapping[str, str] | None = None,
    security_level: str = "high",
    verify: str = "none",
    capture: bool = False,
) -> Draft:
    """Check what a job is made of, as `SDK.create_job` describes it.

    Raises
    ------
    InputError
        Something is wrong; the message names the field, the value and what was expected.
    RefusedError
        The code is certain to fail in every jail.
    """
    source = _source(code, path, project, entry)
    files = [*source.files, *data_files(_paths(data)), *input_files(inputs)]
    fields: dict[str, Any] = {
        "name": name if name is not None else source.name,
        "code": source.code,
        "code_name": code_name or source.code_name,
        "entry": source.entry,
        "arguments": arguments,
        "requirements": requirements,
        "environment": environment,
        "hardware": hardware,
        "limits": limits,
        "timeout": timeout,
        "max_retries": max_retries,
        "required_outputs": required_outputs,
        "reward_tokens": reward_tokens,
        "labels": labels,
        "security_level": security_level,
        "verify": verify,
        "capture": capture or None,
    }
    draft = checked_draft(fields, files)
    asked = draft.submission
    refuse_certain(asked.code, asked.code_name, asked.entry, files, asked.security_level)
    return draft


def checked_draft(fields: Mapping[str, Any], files: Sequence[LocalFile]) -> Draft:
    """Check the fields of any kind of job; what is None or empty counts as not given.

    Raises
    ------
    InputError
        As `check_submission`.
    """
    plain = {name: _plain(name, value) for name, value in fields.items()}
    given = {name: value for name, value in plain.items() if value not in (None, [], {})}
    return Draft(check_submission(given), tuple(files))


def check_submission(fields: Mapping[str, Any]) -> JobSubmission:
    """Build a submission.

    Raises
    ------
    InputError
        A field is wrong, an unknown one comes with the nearest right name; or `verify` or the
        memory is not for this kind of job; or a requirement is none.
    """
    code = fields.get("code")
    if isinstance(code, str) and len(code.encode("utf-8", "replace")) > CODE_BYTES_MAX:
        raise TooLargeError(
            f"code: longer than {format_size(CODE_BYTES_MAX)}", hint="send it as a project folder"
        )
    try:
        submission = JobSubmission.model_validate(fields)
    except ValidationError as error:
        lines = [
            _explain(item["loc"], item["type"], item["msg"], item["input"])
            for item in error.errors()
        ]
        raise InputError("; ".join(lines)) from error
    verify = parse_verify(submission.verify)
    check_verify(verify, submission.kind, captured=submission.capture)
    submission.memory_bytes_asked()
    for text in submission.requirements:
        parse_requirement(text)
    return submission


def read_script(path: Path) -> str:
    """Read a script's text.

    Raises
    ------
    InputError
        It is not there, not a file, or not UTF-8.
    """
    if path.is_dir():
        raise InputError(f"path: {str(path)!r} is a folder", hint="send a folder with project=")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"path: no file {str(path)!r}") from None
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(
            f"{str(path)!r}, line {line}: byte {content[error.start]:#04x} is not UTF-8 text",
            hint="save the script as UTF-8",
        ) from error


_TABLES: dict[tuple[int | str, ...], type[JobSubmission | HardwareMessage | LimitsMessage]] = {
    (): JobSubmission,
    ("hardware",): HardwareMessage,
    ("limits",): LimitsMessage,
}


@dataclass(frozen=True, slots=True)
class _Source:
    """What runs: code, or the files of a project and the one that starts; and a name for it."""

    name: str
    code: str | None = None
    code_name: str | None = None
    entry: str | None = None
    files: Sequence[LocalFile] = ()


def _source(
    code: str | None, path: AnyPath | None, project: AnyPath | None, entry: str | None
) -> _Source:
    if sum(each is not None for each in (code, path, project)) != 1:
        raise InputError("a job has exactly one of code, path= (a script) and project= (a folder)")
    if project is not None:
        folder = Path(project)
        files = project_files(folder)
        name = folder.resolve().name or "job"
        return _Source(name, entry=_entry(entry, files, folder), files=files)
    if entry is not None:
        raise InputError("entry: is the file of a project= that starts; a script has none")
    if path is None:
        return _Source("job", code)
    script = Path(path)
    return _Source(script.stem or "job", read_script(script), script.name)


def _explain(place: tuple[int | str, ...], kind: str, message: str, found: object) -> str:
    field = ".".join(str(part) for part in place) or "job"
    said = f"{field}: {found_and_expected(kind, message, _short(found))}"
    table = _TABLES.get(place[:-1]) if kind == "extra_forbidden" else None
    return said if table is None else f"{said}; {nearest(str(place[-1]), table.model_fields)}"


def _short(value: object, length_max: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def _entry(entry: str | None, files: list[LocalFile], folder: Path) -> str:
    if entry is None:
        return entry_of(files, folder)
    names = {file.path for file in files}
    if entry not in names:
        raise NotFoundError(
            f"entry: {str(folder)!r} has no file {entry!r}; {nearest(entry, names)}"
        )
    return entry


def _paths(data: AnyPath | Iterable[AnyPath]) -> list[Path]:
    if isinstance(data, str | PathLike):
        return [Path(data)]
    return [Path(source) for source in data]


_LISTS = ("arguments", "requirements", "required_outputs")


def _plain(field: str, value: object) -> object:
    """Lists and tables as a message has them; what is neither is for its model to refuse.

    A lone text where a list belongs would be taken letter by letter.
    """
    if field in _LISTS and isinstance(value, str):
        raise InputError(f"{field}: found the text {value!r}; expected a list such as [{value!r}]")
    if field in _LISTS and isinstance(value, Iterable):
        return list(cast("Iterable[object]", value))
    return dict(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value
