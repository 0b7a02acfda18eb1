"""Reads source code and says what it would do in the jail. It is never imported or run.

What is certain is a reason to refuse a job before it starts. All else is advice: code can always
hide from its readers, and the wall is the jail.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bcai.bridge.inspect import limits
from bcai.bridge.inspect.catalogue import RULES, SYNTAX
from bcai.bridge.inspect.finding import Audit, Finding, Severity, audit_of, shortened
from bcai.bridge.inspect.rule import Rule, Sighting
from bcai.bridge.inspect.rules.dynamic import RUNNERS
from bcai.bridge.inspect.scene import Scene, Surroundings, build_scene
from bcai.bridge.inspect.source import (
    Broken,
    Source,
    Unreadable,
    count_signs,
    parse_source,
)

_NATIVE = (".so", ".pyd", ".dylib", ".dll", ".pyc")
Read = Callable[[], bytes]


def inspect_code(data: bytes, name: str, around: Surroundings | None = None) -> Audit:
    """Inspect one script."""
    around = around or Surroundings()
    findings, unseen = _inspect_file(data, name, around)
    return audit_of(findings, unseen, files=1)


def inspect_files(
    sources: Mapping[str, tuple[int, Read]], entry: str, around: Surroundings | None = None
) -> Audit:
    """Inspect a project.

    Parameters
    ----------
    sources
        Size and content of each file, by its path inside the project; only Python files are read.
    entry
        The file that starts. Nothing in another file is certain to run.
    """
    around = with_project(around or Surroundings(), sources)
    findings: list[Finding] = []
    unseen: list[str] = []
    room, signs_room, files = limits.TOTAL_BYTES_MAX, limits.TOTAL_SIGNS_MAX, 0
    for path in sorted(sources, key=lambda path: (path != entry, path)):
        size, read = sources[path]
        if path.endswith(_NATIVE):
            unseen.append(f"{path}: machine code")
        if not (path == entry or path.endswith(".py")):
            continue
        if size > limits.FILE_BYTES_MAX or size > room or files >= limits.FILES_MAX:
            unseen.append(_too_large(path, size))
            continue
        data = read()
        signs = count_signs(data)
        if signs > signs_room:
            unseen.append(_too_large(path, size))
            continue
        room, signs_room, files = room - size, signs_room - signs, files + 1
        found, blind = _inspect_file(data, path, replace(around, is_entry=path == entry))
        findings += found
        unseen += blind
    return audit_of(findings, unseen, files)


def inspect_folder(folder: Path, entry: str, around: Surroundings | None = None) -> Audit:
    """Inspect a project on the disk, without following links out of it."""
    sources: dict[str, tuple[int, Read]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            sources[path.relative_to(folder).as_posix()] = (path.stat().st_size, path.read_bytes)
    return inspect_files(sources, entry, around)


def with_project(around: Surroundings, paths: Mapping[str, object]) -> Surroundings:
    """Add what a project brings: any file or folder in it may become a module."""
    modules = set(around.own_modules)
    for path in paths:
        pure = PurePosixPath(path)
        if pure.suffix in (".py", *_NATIVE):
            modules.update(pure.parent.parts)
            modules.add(pure.name.partition(".")[0])
    tops = {PurePosixPath(path).parts[0] for path in paths if path}
    return replace(
        around,
        own_modules=frozenset(modules),
        own_paths=around.own_paths | tops | frozenset(paths),
    )


def _inspect_file(data: bytes, name: str, around: Surroundings) -> tuple[list[Finding], list[str]]:
    if len(data) > limits.FILE_BYTES_MAX or count_signs(data) > limits.SIGNS_MAX:
        return [], [_too_large(name, len(data))]
    source = parse_source(data)
    if isinstance(source, Unreadable):
        return [], [f"{name}: {source.reason}"]
    if isinstance(source, Broken):
        return [_broken(source, name, is_entry=around.is_entry)], []
    try:
        scene = build_scene(source.tree, around)
        findings = list(_findings(scene, source, name))
        findings += _inner(scene, source, name, around, limits.INNER_DEPTH_MAX)
    except RecursionError:
        return [], [f"{name}: nested too deep to be read"]
    unseen = [
        f"{name}: what computed code does" for item in findings if item.rule == "dynamic.code"
    ]
    return findings, list(dict.fromkeys(unseen))


def _too_large(name: str, size: int) -> str:
    return f"{name}: more than is read ({size} bytes)"


def _broken(source: Broken, name: str, *, is_entry: bool) -> Finding:
    severity = Severity.REFUSED if is_entry else Severity.WARNING
    message = shortened(f"SyntaxError: {source.message}")
    return Finding(SYNTAX, severity, name, source.line, source.column, message, "correct that line")


def _findings(scene: Scene, source: Source, name: str) -> Iterator[Finding]:
    allowed = _OF_PROGRAMS if scene.surroundings.may_start_programs else ()
    for rule in RULES:
        if rule.code in allowed:
            continue
        seen: set[tuple[int, int]] = set()
        for sighting in rule.look(scene):
            place = _place(sighting.node, source)
            if place not in seen:
                seen.add(place)
                yield _finding(rule, sighting, name, place)
            if len(seen) >= limits.FINDINGS_PER_RULE_MAX:
                break


_OF_PROGRAMS = ("program.start", "program.shell", "program.compiler", "native.own_library")


def _finding(rule: Rule, sighting: Sighting, name: str, place: tuple[int, int]) -> Finding:
    severity = sighting.severity or rule.severity
    if severity is Severity.REFUSED and not sighting.certain:
        severity = Severity.WARNING
    hint = rule.hint if sighting.hint is None else sighting.hint
    return Finding(rule.code, severity, name, *place, shortened(sighting.message), hint)


def _place(node: ast.AST, source: Source) -> tuple[int, int]:
    line: int = getattr(node, "lineno", 1)
    return line, source.column(line, getattr(node, "col_offset", 0))


def _inner(
    scene: Scene, source: Source, name: str, around: Surroundings, depth: int
) -> list[Finding]:
    """Look into constant texts that are run as code; their findings stand where they are run."""
    findings: list[Finding] = []
    calls = list(scene.calls(*RUNNERS))[: limits.INNER_SOURCES_MAX] if depth else []
    for call in calls:
        text = scene.text(call.argument(0, "source"))
        data = (text or "").encode("utf-8", "replace")
        inner = parse_source(data) if count_signs(data) <= limits.INNER_SIGNS_MAX else None
        if not isinstance(inner, Source):
            continue
        inside = build_scene(inner.tree, replace(around, is_entry=False))
        line, column = _place(call.node, source)
        found = [*_findings(inside, inner, name), *_inner(inside, inner, name, around, depth - 1)]
        findings += [
            replace(
                item, line=line, column=column, message=shortened(f"in {call.name}: {item.message}")
            )
            for item in found
        ]
    return findings
