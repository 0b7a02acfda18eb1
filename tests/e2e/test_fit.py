"""A training as a job: the same bits here, on the network, in one go, and once broken off."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.e2e.network_process import NetworkProcess

import bcai
from bcai import SDK, InputError, JobCancelledError, JobFailedError
from bcai.cluster.node.kept_run import KeptRun, Progress
from bcai.proof.check import check_receipt
from bcai.proof.data import Data
from bcai.proof.evidence import EvidenceClass
from bcai.proof.execute import begin, execute
from bcai.proof.feed import Feeder
from bcai.proof.keys import own_key
from bcai.proof.recorder import Recorder
from bcai.sdk.fit import Trained
from bcai.sdk.training import TrainingPlan, draft_training, plan_training
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 6)).astype(np.float32)
Y = GENERATOR.integers(0, 3, 64)
WEIGHTS = {
    "first": GENERATOR.normal(size=(6, 8)).astype(np.float32),
    "second": GENERATOR.normal(size=(8, 3)).astype(np.float32),
}
OPTIONS: dict[str, Any] = {
    "parameters": WEIGHTS,
    "batch_size": 8,
    "seed": 3,
    "checkpoint_every": 4,
    "learning_rate": 0.01,
}


def network() -> VerifiedProgram:
    """Two layers and a loss, with dropout."""
    build = Builder()
    x, y = build.input("x", "float32[8,6]"), build.input("y", "int64[8]")
    seed, step = build.input("seed", "int64[]"), build.input("step", "int64[]")
    first, second = (
        build.parameter("first", "float32[6,8]"),
        build.parameter("second", "float32[8,3]"),
    )
    (hidden,) = build.emit("Relu", [x @ first], {})
    hidden, *_ = build.emit("Dropout", [hidden, seed, step], {"p": 0.25, "stream": 0})
    loss, *_ = build.emit("CrossEntropy", [hidden @ second, y], {})
    return build.finish(loss=loss)


def by_definition(plan: TrainingPlan) -> tuple[dict[str, Any], Recorder]:
    """The same run on the reference backend, here."""
    feeder = Feeder(plan.run, plan.step, Data(plan.rows))
    recorder = Recorder(plan.run)
    executable = ReferenceBackend().compile(plan.step)
    state: Mapping[str, Any] = begin(plan.run, plan.step, plan.state)
    for step in execute(feeder, plan.step, executable, state):
        recorder.record(step.done, step.state, step.outputs)
        state = step.state
    return dict(state), recorder


def test_a_training_on_the_network_has_the_defined_bits(
    client: SDK, shared_network: NetworkProcess
) -> None:
    trained = bcai.fit(network(), (X, Y), epochs=3, client=client, **OPTIONS)
    plan = plan_training(network(), (X, Y), epochs=3, **OPTIONS)
    state, recorder = by_definition(plan)
    assert trained.trace == recorder.finish()
    assert trained.run == plan.run
    receipt = trained.result.receipt
    assert receipt is not None
    report = check_receipt(receipt, tensors=trained.state)
    assert report.is_clean, report.findings
    assert receipt.commitment.evidence is EvidenceClass.EXACT
    assert receipt.spec is not None
    assert receipt.spec.client == own_key(shared_network.home / "client.pem", bytes).public
    altered = {**trained.state, "first": trained.state["first"] + 1}
    assert not check_receipt(receipt, tensors=altered).is_clean
    assert all((trained.state[name] == state[name]).all() for name in state)
    assert set(trained.parameters) == set(WEIGHTS)
    assert trained.losses.shape == (24,)
    assert trained.losses[-4:].mean() < trained.losses[:4].mean()
    assert trained.result.metrics[-1]["step"] == 23
    assert trained.result.usage.cpu_s > 0
    assert trained.result.usage.memory_bytes_peak > 0


def test_what_was_saved_can_be_checked_and_run_again(client: SDK, tmp_path: Path) -> None:
    written = bcai.fit(network(), (X, Y), client=client, **OPTIONS).save(tmp_path)
    receipt = str(written["receipt"])
    data = ("--data", str(written["rows"]), "--state", str(written["first_state"]))
    for command in (
        ("receipt", "check", receipt, "--json"),
        ("receipt", "show", receipt),
        ("replay", receipt, *data),
        ("replay", receipt, *data, "--backend", "reference"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "bcai.cli", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_a_run_that_goes_on_has_the_bits_of_one_run(client: SDK) -> None:
    def fit(epochs: int, resume: Trained | None = None) -> Trained:
        return bcai.fit(network(), (X, Y), epochs=epochs, resume=resume, client=client, **OPTIONS)

    whole, part = fit(3), fit(1)
    rest = fit(3, part)
    assert rest.trace == whole.trace
    assert (rest.losses == whole.losses).all()
    with pytest.raises(InputError, match="already"):
        fit(1, part)
    for change, complaint in (
        ({"seed": 4}, "the earlier run differs in seed"),
        ({"learning_rate": 0.5}, r"the learning rate of step 0 is 0\.5"),
    ):
        options: dict[str, Any] = {**OPTIONS, **change, "epochs": 3, "client": client}
        with pytest.raises(InputError, match=complaint):
            bcai.fit(network(), (X, Y), resume=part, **options)


def test_a_node_goes_on_from_what_it_kept(client: SDK, shared_network: NetworkProcess) -> None:
    plan = plan_training(network(), (X, Y), epochs=4, **OPTIONS)
    feeder = Feeder(plan.run, plan.step, Data(plan.rows))
    recorder = Recorder(plan.run)
    executable = ReferenceBackend().compile(plan.step)
    losses: list[float] = []
    state: Mapping[str, Any] = plan.state
    for step in execute(feeder, plan.step, executable, plan.state, stop=12):
        recorder.record(step.done, step.state, step.outputs)
        losses.append(float(step.outputs["loss"]))
        state = step.state
    folder = next(shared_network.home.glob("**/cache")).parent / "runs"
    kept = KeptRun(folder, plan.run)
    marked = np.asarray([-1.0, *losses[1:]], np.float32)  # to know it again
    kept.write(Progress(state, recorder.checkpoints, {"loss": marked}))
    trained = bcai.fit(network(), (X, Y), epochs=4, client=client, **OPTIONS)
    assert trained.losses[0] == -1.0
    assert trained.losses[1:12].tolist() == losses[1:]
    assert trained.trace == by_definition(plan)[1].finish()
    assert kept.read(plan.step) is None


def test_what_a_node_kept_is_not_believed_if_it_is_damaged(tmp_path: Path) -> None:
    plan = plan_training(network(), (X, Y), epochs=4, **OPTIONS)
    kept = KeptRun(tmp_path, plan.run)
    assert kept.read(plan.step) is None
    recorder = Recorder(plan.run)
    feeder = Feeder(plan.run, plan.step, Data(plan.rows))
    executable = ReferenceBackend().compile(plan.step)
    state: Mapping[str, Any] = plan.state
    for step in execute(feeder, plan.step, executable, plan.state, stop=4):
        recorder.record(step.done, step.state, step.outputs)
        state = step.state
    kept.write(Progress(state, recorder.checkpoints))
    assert kept.read(plan.step) is not None
    (file,) = tmp_path.glob("*.safetensors")
    content = file.read_bytes()
    for damaged in (b"", content[:-3], content[:-1] + bytes([content[-1] ^ 1])):
        file.write_bytes(damaged)
        assert kept.read(plan.step) is None


def test_files_that_are_not_the_runs_are_refused(client: SDK) -> None:
    plan = plan_training(network(), (X, Y), epochs=1, **OPTIONS)
    other = plan_training(network(), (X + 1, Y), epochs=1, **OPTIONS)
    mixed = TrainingPlan(plan.forward, plan.step, plan.run, other.rows, plan.state, plan.parameters)
    with pytest.raises(JobFailedError, match=r"data: root is .*, the run committed to"):
        client.job_of(draft_training(mixed)).execute()


def test_a_training_can_be_cancelled_and_has_its_limits(client: SDK) -> None:
    options: dict[str, Any] = {**OPTIONS, "epochs": 100_000}
    job = client.job_of(draft_training(plan_training(network(), (X, Y), **options))).submit()
    for _ in zip(range(3), job.events(), strict=False):
        pass
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait()
    with pytest.raises(JobFailedError, match=r"the program needs .* of memory; its limit is 1"):
        bcai.fit(network(), (X, Y), client=client, limits={"memory": "1KB"}, **OPTIONS)


def test_ctrl_c_cancels_what_nobody_could_come_back_to(client: SDK) -> None:
    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {**OPTIONS, "epochs": 100_000, "name": "left alone"}
    with pytest.raises(KeyboardInterrupt):
        bcai.fit(network(), (X, Y), client=client, on_step=leave, **options)
    (job,) = [each for each in client.list_jobs() if each.name == "left alone"]
    with pytest.raises(JobCancelledError):
        job.wait()


def test_a_module_is_trained_and_lives_on(client: SDK) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    )
    before = {name: each.clone() for name, each in module.state_dict().items()}
    trained = bcai.fit(
        module,
        (X, Y),
        loss="cross_entropy",
        epochs=20,
        batch_size=16,
        learning_rate=0.03,
        client=client,
    )
    assert all((before[name] == each).all() for name, each in module.state_dict().items())
    accuracy = trained.evaluate((X, Y))["accuracy"]
    assert accuracy > 0.5
    living = bcai.to_torch(trained).eval()
    said = living(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(trained.predict(X), said, atol=1e-5)
    assert int(living.state_dict()["1.num_batches_tracked"]) == 80
