"""An honest side of a dispute: it replays what it is asked about, and shows what it finds."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from bcai.base.errors import NotFoundError
from bcai.proof.execute import Step, execute
from bcai.proof.feed import Feeder, Source, indices
from bcai.proof.kept_evidence import TraceSide
from bcai.proof.messages import (
    EndEvidence,
    Opened,
    OperandEvidence,
    Reply,
    RowsEvidence,
    StepRoots,
    TensorEvidence,
)
from bcai.proof.recorder import Trace
from bcai.proof.state import content_bytes, hash_tensors, tensors_root, tree_of
from bcai.proof.step_trace import StepLayout, StepTrace, trace_step
from bcai.vm.compiler.backend import Executable
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram

STATES_KEPT = 4


class ReplayingSide(TraceSide):
    """Answers from its trace, the first state and the data; on any backend.

    `states` are those it kept, by the number of steps done; the one that the earliest question
    begins with must be among them. They are looked up when they are needed.
    """

    def __init__(
        self,
        program: VerifiedProgram,
        feeder: Feeder,
        executable: Executable,
        trace: Trace,
        states: Mapping[int, Mapping[str, Array]],
    ) -> None:
        super().__init__(trace)
        self._program = program
        self._feeder = feeder
        self._executable = executable
        self._kept = states
        self._fresh: dict[int, dict[str, Array]] = {}
        self._layout = StepLayout(program)
        self._steps: dict[int, StepTrace] = {}

    def step_roots(self, checkpoint: int) -> StepRoots:
        """Where each step of a checkpoint ends."""
        span = self._feeder.run.span(checkpoint)
        states: list[bytes] = []
        outputs: list[bytes] = []
        for step in self._execute(span.start, span.stop):
            states.append(tensors_root(step.state))
            outputs.append(tensors_root(step.outputs))
        return StepRoots(tuple(states), tuple(outputs))

    def step(self, step: int) -> StepTrace:
        """The trace of a step. Raises NotFoundError for one that the run does not have."""
        self._require(step)
        if step not in self._steps:
            inputs = self._feeder.inputs(step)
            trace = trace_step(self._layout, self._executable, inputs, self.state(step))
            self._steps = {step: trace}
        return self._steps[step]

    def state(self, step: int) -> Mapping[str, Array]:
        """The state before a step, or after the last. Raises NotFoundError."""
        self._require(step, self._feeder.run.steps + 1)
        if step in self._fresh:
            return self._fresh[step]
        if step in self._kept:
            return self._kept[step]
        start = max((each for each in (*self._kept, *self._fresh) if each < step), default=None)
        if start is None:
            raise NotFoundError(f"no state is kept from before step {step}")
        *_, last = self._execute(start, step)
        return last.state

    def _require(self, step: int, stop: int | None = None) -> None:
        """Who asks for a step beyond the run's end would have it computed for ever."""
        count = self._feeder.run.steps
        if not 0 <= step < (count if stop is None else stop):
            raise NotFoundError(f"there is no step {step}: the run has {count}")

    def _execute(self, start: int, stop: int) -> Iterator[Step]:
        before = self.state(start)
        for step in execute(
            self._feeder, self._program, self._executable, before, start=start, stop=stop
        ):
            self._fresh[step.done] = step.state
            while len(self._fresh) > STATES_KEPT:
                self._fresh.pop(min(self._fresh))
            yield step

    def evidence(self, step: int, index: int) -> Reply:
        """Tensors, rows or leaves, by what the leaf is. Raises NotFoundError."""
        self._require(step)
        layout = self._layout
        if index < layout.first_instruction:
            return self._port(step, layout.ports[index].name)
        trace = self.step(step)
        if index < layout.first_output:
            return self._operands(step, index - layout.first_instruction)
        if index < layout.last:
            value = layout.outputs[index - layout.first_output][1]
            return Opened(*trace.open(layout.place(value).leaf))
        outputs = tuple(
            Opened(*trace.open(each)) for each in range(layout.first_output, layout.last)
        )
        return EndEvidence(outputs, hash_tensors(self.state(step)))

    def _port(self, step: int, name: str) -> Reply:
        source = self._feeder.sources.get(name)
        if source is Source.COLUMN:
            return self._rows(step)
        if source is None or source is Source.CONSTANT:
            tensors = self.state(step) if source is None else self._feeder.constants
            hashes = hash_tensors(tensors)
            tree = tree_of(hashes)
            place = next(place for place, each in enumerate(hashes) if each.name == name)
            return TensorEvidence(tree.head, place, hashes[place], tree.path(place))
        return None  # it follows from the run

    def _rows(self, step: int) -> RowsEvidence:
        data = self._feeder.data
        assert data is not None
        rows = [int(row) for row in indices(self._feeder.run, step)]
        opened = tuple(Opened(data.row(row), data.tree.path(1 + row)) for row in rows)
        return RowsEvidence(data.tree.head, Opened(data.header, data.tree.path(0)), opened)

    def _operands(self, step: int, position: int) -> OperandEvidence:
        """Contents of an instruction's operands: the step is run again and stopped behind them."""
        instruction = self._program.program.instructions[position]
        wanted = {number for number in instruction.operands if number is not None}
        values = {**self._feeder.inputs(step), **self.state(step)}
        found = {
            number: content_bytes(values[port.name])
            for number, port in enumerate(self._layout.ports)
            if number in wanted
        }
        first = self._program.first_result

        def observe(at: int, results: tuple[Array, ...]) -> None:
            if at >= position:
                raise _Enough
            for number, result in enumerate(results, first[at]):
                if number in wanted:
                    found[number] = content_bytes(result)

        with suppress(_Enough):
            self._executable.run_traced(values, observe)
        trace = self.step(step)
        contents = [None if each is None else found[each] for each in instruction.operands]
        places = self._layout.operands(position)
        sources = [None if each is None else Opened(*trace.open(each.leaf)) for each in places]
        return OperandEvidence(tuple(contents), tuple(sources))


class _Enough(Exception):  # noqa: N818 - a step is not run further than needed
    pass
