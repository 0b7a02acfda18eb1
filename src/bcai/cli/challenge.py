"""`bcai node challenge`: does jobs of other nodes again, and names those that lied.

A trace that differs is disputed with its node, down to the instruction that it lied about. All else
that is wrong with a result, such as another job's receipt, the referee sees for itself.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_FAILED, EXIT_OK, BcaiError, ForbiddenError, FormatError
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import print_json, say, stdout_console

if TYPE_CHECKING:
    from bcai.cluster.node.audit import AuditReport, Claim
    from bcai.jobs.settlement import Lie
    from bcai.sdk.async_client import AsyncSDK
    from bcai.vm.compiler.backend import Backend
    from bcai.wire.jobs import JobView

POLL_S = 2.0
BATCH = 20
_ONCE = Parameter(negative="", help="Do the audits that are due, then end; 1 if a node lied.")
_JOB = Parameter(
    help="Do this job's audit, due or settled already, then end; 1 if its node lied. The job's id, "
    "or its beginning or end, or `last`."
)


def challenge(
    *,
    once: Annotated[bool, _ONCE] = False,
    job: Annotated[str | None, _JOB] = None,
    options: NetworkOptions = DEFAULT_NETWORK,
) -> int:
    """Do audits until Ctrl-C, or until none is due."""
    from bcai.settings import read_settings
    from bcai.vm.runtime.choose_backend import choose_backend

    settings = read_settings()
    backend = choose_backend(settings.enhanced_vm.hardware_backend).backend
    once = once or job is not None
    challenger = _Challenger(backend, options, once, settings.home)
    with_network(options, challenger.run if job is None else partial(challenger.do, job))
    if once and options.json:
        print_json({"audits": challenger.done})
    lied = any(each["lie"] is not None for each in challenger.done)
    return EXIT_FAILED if once and lied else EXIT_OK


class _Challenger:
    """Takes one audit after the other. It keeps nothing: what is not reported stays due."""

    def __init__(self, backend: "Backend", options: NetworkOptions, once: bool, home: Path) -> None:
        self._backend, self._options, self._once = backend, options, once
        self._home = home
        self._skipped: set[str] = set()
        self.done: list[dict[str, Any]] = []

    async def run(self, client: "AsyncSDK") -> None:
        """Ask for audits, and do them."""
        import anyio

        from bcai.wire.audits import AuditList

        while True:
            due = await client.transport.get(
                "/v1/audits", AuditList, limit=BATCH + len(self._skipped)
            )
            new = [job for job in due.items if job.id not in self._skipped]
            for job in new:
                try:
                    await self._audit(client, job)
                except BcaiError as error:  # ours, not the node's: another challenger may do it
                    self._skipped.add(job.id)
                    say(f"{job.id} ({job.name}): not audited: {error}")
            if not new and self._once:
                return
            if not new:
                await anyio.sleep(POLL_S)

    async def do(self, job: str, client: "AsyncSDK") -> None:
        """Do one audit, wherever the result stands."""
        from bcai.cli.find_job import find_id
        from bcai.cli.vouch import audit_path
        from bcai.wire.jobs import JobView

        try:
            path = audit_path(await find_id(client, job))
        except ForbiddenError as error:
            raise ForbiddenError(
                f"--job {job!r}: {error}", hint="give the job's whole id"
            ) from error
        await self._audit(client, await client.transport.get(path, JobView))

    async def _audit(self, client: "AsyncSDK", job: "JobView") -> None:
        import anyio.to_thread

        from bcai.cli.vouch import audit_path, sign_for, without_computing
        from bcai.jobs.check_result import digests_of
        from bcai.wire.audits import VerdictMessage
        from bcai.wire.jobs import JobView

        assert job.outcome is not None
        wanted = digests_of(job.spec, job.outcome)
        blobs = {digest: await _fetch(client, digest) for digest in wanted}
        act = partial(_report, job, blobs, self._backend)
        report = await anyio.to_thread.run_sync(act, abandon_on_cancel=True)
        if report.lie is not None:
            await self._dispute(client, job, report.lie, report.claim)
            return
        agreement = None if report.is_open else sign_for(job, report, self._home)
        verdict = VerdictMessage(
            message=report.remark, agrees=not report.is_open, agreement=agreement
        )
        settled = await client.transport.post(audit_path(job.id), JobView, body=verdict)
        found = settled.settlement
        assert found is not None
        for voucher in without_computing(job, report):
            say(
                f"{job.id} ({job.name}): {voucher.by} ({voucher.key}) signed that it has done this "
                "job again, and has not: its witness is not what the last step gives"
            )
        self._tell(job, found.state.value, found.text, None, None)

    async def _dispute(
        self, client: "AsyncSDK", job: "JobView", lie: "Lie", claim: "Claim | None"
    ) -> None:
        """Hold the node's trace against our own, one question after the other; or accuse it."""
        from bcai.cli.court import GatewayCourt, answer_with
        from bcai.cluster.node.take_part import take_part
        from bcai.jobs.dispute import Party
        from bcai.wire.disputes import AccusationMessage, DisputeMessage

        court = GatewayCourt(client.transport, job.id)
        if claim is None:
            message = AccusationMessage(code=lie.code, message=lie.message[:2000])
            opened = await court.accuse(message)
        else:
            head = claim.head
            opened = await court.open(
                DisputeMessage(size=head.size, root=head.root.hex(), part=claim.part)
            )
        found = lie.message if claim is None else "its trace differs"
        say(f"{job.id} ({job.name}): {found}; dispute {opened.id} with its node begins")
        side = None if claim is None else claim.side
        view = await take_part(court, Party.CHALLENGER, partial(answer_with, side))
        ruling = view.ruling
        assert ruling is not None
        document = {**asdict(ruling), "id": view.id, "text": ruling.text}
        if Party.NODE not in ruling.faulty:
            self._skipped.add(job.id)
            text = f"this challenger lost the dispute: {ruling.text}"
            state = "COMMITTED" if job.settlement is None else job.settlement.state.value
            self._tell(job, state, text, None, document)
            return
        text = f"{view.node_name} ({view.node_id}) did not tell the truth: {ruling.text}"
        steps = None if ruling.step is None else [ruling.step, ruling.step + 1]
        named = {
            "code": ruling.code,
            "message": ruling.message,
            "checkpoint": ruling.checkpoint,
            "steps": steps,
        }
        self._tell(job, "DISPUTED", text, named, document)

    def _tell(
        self,
        job: "JobView",
        state: str,
        text: str,
        lie: dict[str, Any] | None,
        dispute: dict[str, Any] | None,
    ) -> None:
        found = job.settlement
        assert found is not None
        document = {
            "job": job.id,
            "name": job.name,
            "node": found.node_name,
            "node_id": found.node_id,
            "state": state,
            "text": text,
            "lie": lie,
            "dispute": dispute,
        }
        if self._once:
            self.done.append(document)
        if not self._options.json:
            line = f"{state}  {job.id} ({job.name}): {text}"
            stdout_console().print(line, markup=False, soft_wrap=True)
        elif not self._once:
            print_json(document)


def _report(job: "JobView", blobs: Mapping[str, bytes], backend: "Backend") -> "AuditReport":
    """Do a job again, as its kind is done."""
    from bcai.cluster.node.audit import audit

    assert job.outcome is not None
    key = "" if job.settlement is None else job.settlement.node_key
    if not job.spec.capture:
        return audit(job.id, job.spec, job.outcome, blobs, backend, key)
    from bcai.cluster.node.audit_capture import audit_capture
    from bcai.cluster.node.run_again import run_again
    from bcai.settings import read_settings

    again = partial(run_again, job.id, job.spec, blobs, read_settings())
    return audit_capture(job.id, job.spec, job.outcome, blobs, backend, again, key)


async def _fetch(client: "AsyncSDK", digest: str) -> bytes:
    from bcai.base.digest import digest_of, parse_digest

    answer = await client.transport.request("GET", f"/v1/blobs/{parse_digest(digest)}")
    if digest_of(answer.content) != digest:
        raise FormatError(f"what the gateway sent is not {digest}")
    return answer.content
