"""The referee of disputes: finds the next question, and rules once it is clear who lied.

Receipts and answers are read in threads: a large one must not keep leases from being looked after.
All that was said stands in the store. What is kept here is a memory of it: a referee that starts
anew gives the machine of `proof/bisection.py` every answer again, with the times that they came at.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import partial

import anyio.to_thread

from bcai.base.digest import parse_digest
from bcai.base.errors import DependencyError, FormatError, InputError, NotFoundError, VerifyError
from bcai.base.merkle import TreeHead
from bcai.cluster.scheduler.accused import rule_accused
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.jobs.dispute import ROUNDS_MAX, DisputeRecord, Party, Round, Ruling, asked
from bcai.proof.bisection import Answer, Ask, Case, Dispute, Tick, advance
from bcai.proof.capture_dispute import part_of
from bcai.proof.capture_receipt import MAGIC as CAPTURE_MAGIC
from bcai.proof.capture_receipt import decode_capture
from bcai.proof.evidence import require_exact, strongest
from bcai.proof.message_codec import REPLY_BYTES_MAX, decode_reply, encode_message
from bcai.proof.messages import Reply, Side
from bcai.proof.receipt import decode_receipt
from bcai.proof.stages import begin_dispute
from bcai.vm.program.verifier import verify

CASES_MAX = 16
TAKEN_BYTES_MAX = 1 << 32
_SIDES = {Party.NODE: Side.A, Party.CHALLENGER: Side.B}
_PARTIES = {side: party for party, side in _SIDES.items()}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Hearing:
    """A dispute as far as it was given to the machine: `heard` rounds of it."""

    case: Case
    dispute: Dispute
    question: bytes
    heard: int = 0


@dataclass(slots=True)
class Referee:
    """Says what becomes of disputes; it writes nothing down itself."""

    store: JobStore
    blobs: BlobStore
    _hearings: dict[str, _Hearing] = field(default_factory=dict[str, _Hearing])

    async def next(self, record: DisputeRecord, now: float) -> DisputeRecord | None:
        """What becomes of a dispute; None: nothing yet."""
        try:
            if record.accusation:
                job = await self.store.get(record.job_id)
                return await rule_accused(record, job, self._read_taken, now)
            hearing = await self._hearing(record)
        except (FormatError, VerifyError) as error:
            return _closed(record, Party.NODE, "receipt.format", f"no receipt: {error}", now)
        except (InputError, NotFoundError) as error:
            return _closed(record, Party.CHALLENGER, "dispute.void", str(error), now)
        if not record.rounds:
            return asked(record, hearing.question.hex(), now)
        await self._hear(hearing, record, now)
        verdict = hearing.dispute.verdict
        if verdict is not None:
            self._hearings.pop(record.id, None)
            return replace(record, ruling=_ruling(record, hearing.case, hearing.dispute, now))
        if hearing.heard < len(record.rounds):
            return None
        if len(record.rounds) == ROUNDS_MAX:
            message = f"it is not over after {ROUNDS_MAX} questions"
            return _closed(record, Party.CHALLENGER, "dispute.void", message, now)
        return asked(record, hearing.question.hex(), now)

    async def _hearing(self, record: DisputeRecord) -> _Hearing:
        known = self._hearings.get(record.id)
        if known is not None and known.heard <= len(record.rounds):
            return known
        case = await self._case(record)
        at = record.rounds[0].asked_at if record.rounds else record.opened_at
        dispute, asks = begin_dispute(case, clock_s=record.clock_s, at=at)
        while len(self._hearings) >= CASES_MAX:
            self._hearings.pop(next(iter(self._hearings)))
        hearing = _Hearing(case, dispute, _question(asks))
        self._hearings[record.id] = hearing
        return hearing

    async def _case(self, record: DisputeRecord) -> Case:
        """The run and the two heads. Raises InputError where there is nothing to dispute.

        A part of a captured script is a run of one step.
        """
        job = await self.store.get(record.job_id)
        if job.outcome is None or job.outcome.receipt is None:
            raise NotFoundError("the result has no receipt")
        data = await self._read_taken(job.outcome.receipt)
        if job.spec.capture or record.part is not None:
            return await anyio.to_thread.run_sync(_part_case, data, record)
        receipt = await anyio.to_thread.run_sync(decode_receipt, data)
        program = await anyio.to_thread.run_sync(verify, receipt.program)
        require_exact(strongest(receipt.program, receipt.commitment.backend))
        if len(receipt.checkpoints) != receipt.run.checkpoints:
            raise FormatError("its trace is not as long as its run")
        return Case(receipt.run, program, _heads(receipt.trace.head, record))

    async def _hear(self, hearing: _Hearing, record: DisputeRecord, now: float) -> None:
        """Give the machine what was said since it was last told."""
        for each in record.rounds[hearing.heard :]:
            dispute = replace(hearing.dispute, since=each.asked_at, replies={})
            asks: list[Ask] = []
            for at, side, answer in _said(each):
                # While one is missing, only the clocks matter: this one is read with the other.
                reply = None if each.missing else await self._reply(answer)
                act = partial(advance, dispute, Answer(side, reply), at)
                dispute, asks = await anyio.to_thread.run_sync(act)
            if each.missing:
                dispute, _ = advance(dispute, Tick(), max(now, each.asked_at))
                if dispute.verdict is not None:
                    hearing.dispute = dispute
                return
            hearing.dispute, hearing.heard = dispute, hearing.heard + 1
            if dispute.verdict is not None:
                return
            hearing.question = _question(asks)

    async def _reply(self, answer: str | None) -> Reply:
        """What a side said; None for what is no answer, or is not there."""
        if answer is None:
            return None
        try:
            data = await self._read(answer, REPLY_BYTES_MAX)
            return await anyio.to_thread.run_sync(decode_reply, data)
        except (FormatError, NotFoundError) as error:
            logger.warning("an answer that is none: %s", error)
            return None

    async def _read_taken(self, digest: str) -> bytes:
        """A file that was there when the job or its result was taken: it is nobody's lie now."""
        try:
            return await self._read(digest, TAKEN_BYTES_MAX)
        except NotFoundError as error:
            raise DependencyError(f"not in the store: {error}") from error

    async def _read(self, digest: str, bytes_max: int) -> bytes:
        size = await self.blobs.size(parse_digest(digest))
        if size is None or size > bytes_max:
            raise NotFoundError(f"no blob {digest} of at most {bytes_max} bytes")
        try:
            return b"".join([chunk async for chunk in self.blobs.read(digest)])
        except FormatError as error:  # our disk's fault, and nobody's lie
            raise DependencyError(str(error)) from error


def _part_case(data: bytes, record: DisputeRecord) -> Case:
    """What the leaf of a captured script's part says is all that it takes."""
    if record.part is None:
        raise InputError("part: missing; a captured script's result is disputed part by part")
    if not data.startswith(CAPTURE_MAGIC):
        raise InputError(f"part: found {record.part}, but the job is not captured")
    receipt = decode_capture(data)
    part = part_of(receipt, record.part)
    require_exact(strongest(part.program.program, receipt.commitment.backend))
    return Case(part.run, part.program, _heads(part.trace.head, record))


def _heads(own: TreeHead, record: DisputeRecord) -> dict[Side, TreeHead]:
    return {Side.A: own, Side.B: TreeHead(record.size, bytes.fromhex(record.root))}


def _said(each: Round) -> list[tuple[float, Side, str | None]]:
    """The answers to a question, in the order that they came."""
    pairs = ((Side.A, each.node), (Side.B, each.challenger))
    found = [(said.at, side, said.answer) for side, said in pairs if said is not None]
    return sorted(found, key=lambda one: one[:2])


def _question(asks: list[Ask]) -> bytes:
    """The same to both sides."""
    return encode_message(asks[0].request)


def _closed(
    record: DisputeRecord, faulty: Party, code: str, message: str, now: float
) -> DisputeRecord:
    """It ends without a question."""
    seconds = now - record.opened_at
    ruling = Ruling((faulty,), code, message, record.challenger, now, seconds=seconds)
    return replace(record, ruling=ruling)


def _ruling(record: DisputeRecord, case: Case, dispute: Dispute, now: float) -> Ruling:
    verdict = dispute.verdict
    assert verdict is not None
    faulty = tuple(_PARTIES[side] for side in sorted(verdict.lies))
    lie = verdict.lies[min(verdict.lies)]
    where, layout = verdict.where, case.layout
    instruction: int | None = None
    if where.leaf is not None and layout.first_instruction <= where.leaf < layout.first_output:
        instruction = where.leaf - layout.first_instruction
    return Ruling(
        faulty=faulty,
        code=lie.code,
        message=str(lie),
        challenger=record.challenger,
        at=now,
        checkpoint=where.checkpoint if record.part is None else None,
        step=where.step if record.part is None else None,
        part=record.part,
        instruction=instruction,
        place=verdict.place,
        operands=_operands(case, instruction),
        messages=dispute.messages,
        nbytes=dispute.nbytes,
        seconds=now - record.opened_at,
    )


def _operands(case: Case, instruction: int | None) -> tuple[str, ...]:
    """Where an instruction's operands come from, with their types."""
    if instruction is None:
        return ()
    layout, program = case.layout, case.program
    numbers = program.program.instructions[instruction].operands
    return tuple(
        f"{layout.describe(place.leaf)}: {program.types[number]}"
        for number, place in zip(numbers, layout.operands(instruction), strict=True)
        if number is not None and place is not None
    )
