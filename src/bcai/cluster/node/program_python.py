"""The Python code of a program that runs in a process of its own: the node puts it in the jail.

The process asks (`ask_node.py` has the messages). It runs no code of the user's, but all that it
asks for is read as if it did: whatever it says, the job gets no more than its own limits and a jail
as for any other job.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from bcai.base.errors import BcaiError, FormatError, JobFailedError, RefusedError
from bcai.base.units import MIB, format_duration_s, format_size
from bcai.bridge.inspect.finding import Audit
from bcai.bridge.python_execute import JailPython, has_succeeded, outputs_of
from bcai.bridge.sandbox.inputs import sealed_tensors, take_sealed
from bcai.bridge.sandbox.jail import (
    Cause,
    JailEvent,
    JailExit,
    JailLimits,
    JailRequest,
    LogText,
    Metric,
    OnEvent,
)
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.level import SECURITY_LEVELS, JailReport, weaker
from bcai.bridge.sandbox.messages import parse_object, whole_number
from bcai.bridge.sandbox.warm import ZygotePool
from bcai.cluster.node.ask_node import (
    CODE_BYTES_MAX,
    FILES_MAX,
    around_code,
    read_codes,
    walls_of_code,
)
from bcai.cluster.node.inspection import inspect_program, refused_code
from bcai.settings import Settings
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.ops.hybrid import CODE_CHARACTERS_MAX, parse_outputs

_MEMORY_BYTES_MIN = 64 * MIB  # less is not enough for a Python with NumPy
_WISHES_MAX = 2 * len(SECURITY_LEVELS)
_BYTES_MAX = 1 << 60
_NO_GPU = "the Python code asks for a GPU and ran on the processor: gpu_fallback is on"


def _ignore(audit: Audit) -> None:
    del audit


@dataclass(slots=True)
class ProgramPython:
    """Answers one program's process, from the thread that follows it.

    Attributes
    ----------
    request
        The job that the program is; its limits hold for the program and its code together.
    trusts
        A key that the node's owner trusts signed it.
    on_audit
        Is told what was found in the code, before any of it runs.
    """

    request: JailRequest
    on_event: OnEvent
    cancelled: threading.Event
    zygotes: ZygotePool
    settings: Settings
    trusts: bool = False
    on_audit: Callable[[Audit], None] = _ignore
    _program_bytes: int = 0
    _level: str = ""
    _layers: tuple[str, ...] = ()
    _used: JailExit | None = field(default=None)
    _warnings: tuple[str, ...] = ()

    def answer(
        self, channel: socket.socket, text: bytes, files: Sequence[int], deadline: float
    ) -> JailExit | None:
        """Do what is asked for. Returns how the job ended, if it did.

        Raises
        ------
        RefusedError
            This node does not run such code.
        """
        try:
            question = parse_object(text)
            if question.get("kind") == "admit":
                self._admit(question)
                refusal = self._refuse_narrow() or self._refuse_code(files)
                return refusal or _send(channel, "admitted", self._walls)
            if question.get("kind") != "run" or len(files) != FILES_MAX:
                raise FormatError("an unknown question")
            code = _read_code(files[0])
            take_sealed(files[1], self.request.limits.memory_bytes)
        except (FormatError, OSError) as error:
            said = f"the program's process asked for what it may not: {error}"
            return JailExit(Cause.JAIL_ERROR, said, JailReport("program"))
        return self._run(channel, code, files[1], deadline)

    def restate(self, report: JailReport) -> JailReport:
        """Say what stands around the code, beside what stands around the program."""
        return replace(report, layers=around_code(report.layers, self._walls))

    @property
    def _walls(self) -> str:
        return walls_of_code(self._level, self._layers) if self._level else ""

    def add_usage(self, ended: JailExit) -> JailExit:
        """Count what the code used as the job's."""
        ended = replace(ended, warnings=(*ended.warnings, *self._warnings))
        return self._sum(ended)

    def _sum(self, ended: JailExit) -> JailExit:
        used = self._used
        if used is None:
            return ended
        return replace(
            ended,
            cpu_s=ended.cpu_s + used.cpu_s,
            memory_bytes_peak=max(ended.memory_bytes_peak, used.memory_bytes_peak),
            log_bytes=ended.log_bytes + used.log_bytes,
            warnings=(*ended.warnings, *used.warnings),
        )

    def _admit(self, question: dict[str, object]) -> None:
        wishes = question.get("wishes")
        if not isinstance(wishes, list) or len(cast("list[object]", wishes)) > _WISHES_MAX:
            raise FormatError("wishes: not a list of them")
        self._program_bytes = whole_number(question.get("bytes_peak"), _BYTES_MAX)
        for wish in cast("list[object]", wishes):
            if not isinstance(wish, list) or len(cast("list[object]", wish)) != 2:
                raise FormatError("wishes: not a pair")
            sandbox, gpu = _wish(*cast("list[object]", wish))
            self._note(self._python().refuse_unfit(sandbox, gpu))
            if gpu and not self.request.gpus:
                self._warnings = (_NO_GPU,)

    def _note(self, jail: JailReport) -> None:
        """Keep the weakest of the jails."""
        if not self._level or weaker(self._level, jail.level) != self._level:
            self._level, self._layers = jail.level, jail.layers

    def _refuse_narrow(self) -> JailExit | None:
        """End a job whose program leaves its code no memory."""
        limit = self.request.limits.memory_bytes
        if limit - self._program_bytes >= _MEMORY_BYTES_MIN:
            return None
        return JailExit(
            Cause.MEMORY,
            f"the program itself needs {format_size(self._program_bytes)} of the limit of "
            f"{format_size(limit)}, which leaves too little for its Python code",
            JailReport("program"),
            hint="ask for more with limits.memory",
        )

    def _refuse_code(self, files: Sequence[int]) -> JailExit | None:
        """End a job whose code is certain to fail: its node says why."""
        owner = self.settings.enhanced_vm.python_constraints
        audit = inspect_program(read_codes(files[0]) if files else [], owner)
        self.on_audit(audit)
        found = refused_code(audit, owner)
        if found is None:
            return None
        return JailExit(Cause.EXCEPTION, found.reason.message, JailReport("program"))

    def _python(self, limits: JailLimits | None = None) -> JailPython:
        if not self.settings.enhanced_vm.enable_python:
            raise RefusedError(
                "PythonExecute: the node's owner switched Python off "
                "(enhanced_vm.enable_python = false)"
            )
        owner = self.settings.node
        return JailPython(
            limits or self.request.limits,
            on_event=self._relay,
            cancelled=self.cancelled,
            launch=partial(launch, zygotes=self.zygotes, level_max=owner.jail_level_max),
            tenant=self.request.tenant,
            allowed_imports=self.request.allowed_imports,
            python=self.request.python,
            level_max=owner.jail_level_max,
            trusts=self.trusts,
            gpus=self.request.gpus,
            gpu_fallback=self.settings.gpu_fallback,
        )

    def _relay(self, event: JailEvent) -> None:
        """Pass on what the code prints and logs; how far the job is, its program says."""
        if isinstance(event, LogText | Metric):
            self.on_event(event)

    def _run(
        self, channel: socket.socket, code: PythonCode, tensors: int, deadline: float
    ) -> JailExit | None:
        limits = self.request.limits
        used = self._used or JailExit(Cause.EXITED, "", JailReport("program"))
        cpu_s_left = None if limits.cpu_s is None else limits.cpu_s - used.cpu_s
        if cpu_s_left is not None and cpu_s_left <= 0:
            return self._failed(replace(used, cause=Cause.CPU_TIME, exit_status=None))
        left = replace(
            limits,
            wall_s=max(deadline - time.monotonic(), 0.0),
            memory_bytes=limits.memory_bytes - self._program_bytes,
            cpu_s=cpu_s_left,
            log_bytes=max(limits.log_bytes - used.log_bytes, 0),
        )
        python = self._python(left)
        python.refuse_unfit(code.sandbox, code.gpu)  # whatever was admitted
        ended = python.run(code, tensors)
        self._note(ended.jail)
        self._used = self._sum(replace(ended, outputs=()))
        if not has_succeeded(ended):
            return self._failed(ended)
        try:
            outputs: dict[str, object] = dict(outputs_of(code, ended))
        except JobFailedError as error:
            return JailExit(Cause.EXCEPTION, str(error), ended.jail, hint=error.hint)
        with sealed_tensors(outputs) as file:
            used = self._used.cpu_s, self._used.memory_bytes_peak
            return _send(channel, "done", self._walls, file, used=used)

    def _failed(self, ended: JailExit) -> JailExit:
        """The job fails as its code did; what was used is counted already."""
        message, hint = f"PythonExecute: {ended.message}", ended.hint
        limits = self.request.limits
        if ended.cause is Cause.CPU_TIME:  # each had what those before it left
            message = (
                "PythonExecute: the code of the program used more time of the processors than its "
                f"limit of {format_duration_s(limits.cpu_s or limits.wall_s)}, all of it together"
            )
            hint = "do less work, or ask for more with limits.cpu"
        elif ended.cause is Cause.CANCELLED:
            message = ended.message
        elif ended.cause is Cause.WALL_TIME:  # the code had what the program left of it
            message = f"ran longer than its limit of {format_duration_s(limits.wall_s)}"
        return JailExit(
            ended.cause,
            message,
            ended.jail,
            hint=hint,
            exit_status=ended.exit_status,
            user_line=ended.user_line,
        )


def _read_code(file: int) -> PythonCode:
    """Read what is asked for, once: nobody can change it after the look."""
    content = os.pread(file, CODE_BYTES_MAX + 1, 0)
    if len(content) > CODE_BYTES_MAX:
        raise FormatError("the code is too long")
    asked = parse_object(content)
    code, outputs = asked.get("code"), asked.get("outputs")
    if not isinstance(code, str) or len(code) > CODE_CHARACTERS_MAX:
        raise FormatError("code: not text, or too long")
    if not isinstance(outputs, str):
        raise FormatError("outputs: not text")
    try:
        code.encode()
        declared = parse_outputs(outputs)
    except (BcaiError, UnicodeEncodeError) as error:
        raise FormatError(str(error)) from error
    sandbox, gpu = _wish(asked.get("sandbox"), asked.get("gpu"))
    return PythonCode(code, declared, sandbox, gpu)


def _wish(sandbox: object, gpu: object) -> tuple[str, bool]:
    if not isinstance(sandbox, str) or sandbox not in SECURITY_LEVELS or not isinstance(gpu, bool):
        raise FormatError("sandbox or gpu: not what code may ask for")
    return sandbox, gpu


def _send(
    channel: socket.socket, kind: str, walls: str, *files: int, used: tuple[float, int] = (0.0, 0)
) -> None:
    """Answer; a process that is gone is noticed by whoever follows it."""
    answer = json.dumps({"kind": kind, "walls": walls, "used": used})
    try:
        socket.send_fds(channel, [answer.encode()], files)
    except OSError:
        return
