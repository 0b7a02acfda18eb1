"""A script that asks its node for a training, honestly and not: it gets a state, or a sentence."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.cluster.node.script_training import ScriptTrainer
from bcai.proof.check import check_receipt
from bcai.proof.keys import own_key
from bcai.proof.receipt import decode_receipt
from bcai.proof.run import encode_run
from bcai.sdk.training import TrainingPlan, plan_training
from bcai.settings import EnhancedVmSettings
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program
from bcai.vm.program.program import VerifiedProgram

from .jails import LIMITS, Jail

COLD = pytest.mark.parametrize("jail", ["cold"], indirect=True)  # the node's side is the same
# What a script does that does not go through bcai.fit: the files that lie in its project, or others
# in their place, in descriptors of its own.
ASK = """
import json, os, socket, sys, threading, time

control = socket.socket(fileno=os.dup(3))

def copy(name):
    file = os.open("copy_of_" + name, os.O_RDWR | os.O_CREAT)
    with open(name, "rb") as source:
        os.write(file, source.read())
    return file

def ask(files):
    question = {"type": "train", "memory_bytes": 300 << 20}
    socket.send_fds(control, [json.dumps(question).encode()], files)

def answer():
    text, files, _, _ = socket.recv_fds(control, 60000, 4)
    found = json.loads(text)
    print(found["kind"], len(files), found.get("message", ""))
    return files

NAMES = ("step.bcai", "run.bcai", "rows.safetensors", "state.safetensors")
files = [copy(name) for name in NAMES]
"""
FIT = """
import numpy as np
import bcai
from bcai.vm.program.builder import Builder

build = Builder()
x, y = build.input("x", "float32[8,6]"), build.input("y", "int64[8]")
loss, *_ = build.emit("CrossEntropy", [x @ build.parameter("w", "float32[6,3]"), y], {})
data = np.random.default_rng(0)
x, y = data.normal(size=(64, 6)).astype(np.float32), data.integers(0, 3, 64)
start = {"w": np.zeros((6, 3), np.float32)}
told = []
def tell(*step): told.append(step)
options = {"parameters": start, "batch_size": 8, "epochs": 4, "learning_rate": 0.1}
trained = bcai.fit(build.finish(loss=loss), (x, y), on_step=tell, **options)
assert len(trained.losses) == 32 and trained.losses[-1] < trained.losses[0]
assert told[0][:2] == (32, 32)
trained.parameters["w"][:] = 0  # a copy of its own
final = trained.trace.final_state.hex()
del x, y
"""


def network(width: int = 3) -> VerifiedProgram:
    build = Builder()
    x, y = build.input("x", "float32[8,6]"), build.input("y", "int64[8]")
    weights = build.parameter("w", f"float32[6,{width}]")
    loss, *_ = build.emit("CrossEntropy", [x @ weights, y], {})
    return build.finish(loss=loss)


def plan(seed: int = 0, epochs: int = 1) -> TrainingPlan:
    data = np.random.default_rng(seed)
    x, y = data.normal(size=(64, 6)).astype(np.float32), data.integers(0, 3, 64)
    start = {"w": np.zeros((6, 3), np.float32)}
    return plan_training(network(), (x, y), parameters=start, batch_size=8, epochs=epochs)


def lay_out(folder: Path, of: TrainingPlan) -> None:
    (folder / "step.bcai").write_bytes(encode_program(of.step.program))
    (folder / "run.bcai").write_bytes(encode_run(of.run))
    (folder / "rows.safetensors").write_bytes(save(of.rows))
    (folder / "state.safetensors").write_bytes(save(of.state))


def open_files() -> int:
    """Of this process, which is the node here."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def trainer(tmp_path: Path) -> ScriptTrainer:
    own_key(tmp_path / "node.pem", os.urandom)
    stated = ReceiptPlan("job-1", tmp_path / "node.pem", JailReport("program"), None)
    return ScriptTrainer(
        tmp_path / "training", LIMITS, stated, EnhancedVmSettings(), tmp_path / "runs"
    )


@pytest.fixture
def asking(jail: Jail, trainer: ScriptTrainer) -> Jail:
    lay_out(jail.folder, plan())
    jail.trainer = trainer
    return jail


@pytest.mark.parametrize("level", ["A", "B"])
def test_an_honest_script_gets_its_state_and_the_node_signs(
    jail: Jail, trainer: ScriptTrainer, level: str
) -> None:
    jail.trainer, jail.level_max = trainer, level
    run = jail.run(FIT)
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert trainer.receipt is not None
    receipt = decode_receipt(trainer.receipt)
    assert not check_receipt(receipt).findings
    assert receipt.trace.final_state.hex() == run.values["final"]
    assert run.metrics[-1].step == 31
    assert run.progress[-1] == 1.0


@COLD
def test_without_a_node_that_trains_a_script_is_told(jail: Jail) -> None:
    run = jail.run(FIT)
    assert run.exit.cause is Cause.EXCEPTION
    assert "nothing can be trained from within this job" in run.exit.message


def test_the_files_as_they_are_control(asking: Jail, trainer: ScriptTrainer) -> None:
    run = asking.run(ASK + "ask(files)\nassert len(answer()) == 3\n")
    assert run.stdout == "trained 3 \n"
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert trainer.receipt is not None


FORGED = {
    "a device": ("files[2] = os.open('/dev/zero', os.O_RDONLY)", "expected a file of the work"),
    "a pipe": ("files[0] = os.pipe()[0]", "expected a file of the work"),
    "a folder": ("files[0] = os.open('.', os.O_RDONLY)", "expected a file of the work"),
    "a socket": ("files[3] = socket.socketpair()[0].detach()", "expected a file of the work"),
    "a file of the kernel": ("files[1] = os.open('/proc/self/maps', 0)", "expected a file of the"),
    "one that cannot be read": (
        "files[0] = os.open('copy_of_step.bcai', os.O_WRONLY)",
        "could not train: Bad file descriptor",
    ),
    "a hole of a terabyte": ("os.ftruncate(files[2], 1 << 40)", "rows.safetensors: found more"),
    "a large program": ("os.ftruncate(files[0], 1 << 28)", "step.bcai: found more than"),
    "a cut program": ("os.ftruncate(files[0], 40)", "the training failed"),
    "an empty run": ("os.ftruncate(files[1], 0)", "the training failed"),
    "noise for a program": ("os.pwrite(files[0], os.urandom(200), 0)", "the training failed"),
    "cut rows": ("os.ftruncate(files[2], 200)", "rows.safetensors: "),
    "a header of a gigabyte": (
        "os.pwrite(files[3], (1 << 30).to_bytes(8, 'little'), 0)",
        "state.safetensors: the header of the tensors is cut off",
    ),
    "other rows than the run's": (
        "os.pwrite(files[2], b'1', os.fstat(files[2]).st_size - 1)",
        "data: root is",
    ),
    "another state": ("os.pwrite(files[3], b'1', os.fstat(files[3]).st_size - 1)", "state"),
    "rows for the state": ("files[3] = files[2]", "state: parameter"),
    "too few files": ("files.pop()", "found 3 files, expected 4"),
    "none": ("files.clear()", "found 0 files, expected 4"),
}


@pytest.mark.parametrize("what", FORGED)
@COLD
def test_what_is_not_a_training_gets_a_sentence(
    asking: Jail, trainer: ScriptTrainer, what: str
) -> None:
    forge, expected = FORGED[what]
    run = asking.run(ASK + forge + "\nask(files)\nassert answer() == []\n")
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert run.stdout.startswith("failed 0 ")
    assert expected in run.stdout
    assert "Traceback" not in run.stdout
    assert trainer.receipt is None


@COLD
def test_a_job_has_one_training(asking: Jail) -> None:
    run = asking.run(ASK + "ask(files)\nanswer()\nask(files)\nanswer()\n")
    assert run.stdout.splitlines()[0] == "trained 3 "
    assert "failed 0 a job has one training" in run.stdout.splitlines()[1]


@COLD
def test_what_changes_under_the_nodes_hands_is_trained_as_copied_or_not_at_all(
    asking: Jail, trainer: ScriptTrainer
) -> None:
    storm = """
size = os.fstat(files[2]).st_size
def storm():
    while True:
        os.ftruncate(files[2], 0)
        os.ftruncate(files[2], size)
        os.pwrite(files[2], os.urandom(64), size - 64)
threading.Thread(target=storm, daemon=True).start()
ask(files)
answer()
"""
    run = asking.run(ASK + storm)
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert run.stdout.startswith("failed 0 ")  # the rows have not the root that the run commits to
    assert trainer.receipt is None


@COLD
def test_a_flood_of_questions_leaves_no_file_open(asking: Jail) -> None:
    flood = """
try:
    for _ in range(3000):
        ask(files)
except OSError:
    pass  # the kernel, too, has a limit for descriptors that are on their way
"""
    before = open_files()
    run = asking.run(ASK + flood)
    assert run.exit.cause in (Cause.EXITED, Cause.OUTPUT_INVALID), run.stderr
    assert open_files() <= before + 1


@COLD
def test_files_with_what_is_no_question_are_closed(asking: Jail) -> None:
    sends = """
for text in (b'{"type": "progress", "fraction": 1}', b'garbage'):
    for _ in range(40):
        socket.send_fds(control, [text], files)
"""
    before = open_files()
    run = asking.run(ASK + sends)
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert open_files() <= before + 1


@COLD
def test_the_jobs_wall_time_ends_its_training(
    jail: Jail, trainer: ScriptTrainer, tmp_path: Path
) -> None:
    lay_out(jail.folder, plan(epochs=2_000_000))
    jail.trainer = trainer
    run = jail.run(ASK + "ask(files)\nanswer()\n", wall_s=5.0)
    assert run.exit.cause is Cause.WALL_TIME
    assert run.metrics, "it trained"
    assert trainer.receipt is None
    assert trainer.memory_bytes == 0, "nothing of it is left"


@COLD
def test_a_script_that_ends_takes_its_training_with_it(jail: Jail, trainer: ScriptTrainer) -> None:
    lay_out(jail.folder, plan(epochs=2_000_000))
    jail.trainer = trainer
    run = jail.run(ASK + "ask(files)\ntime.sleep(1)\n")
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert trainer.memory_bytes == 0


@COLD
def test_script_and_training_together_have_the_jobs_memory(
    jail: Jail, trainer: ScriptTrainer
) -> None:
    lay_out(jail.folder, plan(epochs=2_000_000))
    jail.trainer = trainer
    greedy = "held = b'x' * (900 << 20)\ntime.sleep(30)\n"
    run = jail.run(ASK + "ask(files)\ntime.sleep(1)\n" + greedy, memory_bytes=1 << 30)
    assert run.exit.cause is Cause.MEMORY
    assert "beside its training" in run.exit.message
