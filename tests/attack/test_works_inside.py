"""What honest jobs need must work behind all walls, and their results must come out."""

import numpy as np
import pytest
import safetensors.numpy

from bcai.bridge.sandbox.jail import Cause

from .jails import Jail


def test_plain_variables_are_results(jail: Jail) -> None:
    run = jail.run(
        "loss = 0.5\nname = 'net'\nsizes = (1, 2)\nscores = {'a': [1, None], 3: True}\n"
        "nothing = None\n_private = 1\nimport os\ndef f(): pass\nclass C: pass\nbad = C()\n"
        "worst = float('nan')\ncycle = []; cycle.append(cycle)\n"
    )
    assert run.values == {
        "loss": 0.5,
        "name": "net",
        "sizes": [1, 2],
        "scores": {"a": [1, None], "3": True},
        "worst": {"$number": "nan"},
    }
    assert run.exit.warnings == ()


def test_named_results_survive_a_failure(jail: Jail) -> None:
    run = jail.run(
        "import bcai\nfrom pathlib import Path\n"
        "bcai.output('first', 1)\nbcai.output('raw.bin', b'\\x00\\xff')\n"
        "Path('x.txt').write_text('file')\nbcai.output('x.txt', Path('x.txt'))\n"
        "later = 2\nraise ValueError('after')\n"
    )
    assert run.exit.cause is Cause.EXCEPTION
    assert {item.name: (item.kind, item.value or item.content) for item in run.exit.outputs} == {
        "first": ("value", 1),
        "raw.bin": ("file", b"\x00\xff"),
        "x.txt": ("file", b"file"),
    }


def test_the_last_result_of_a_name_counts(jail: Jail) -> None:
    run = jail.run(
        "import bcai\n"
        "for size in (10, 1000, 10): bcai.output('data', bytes([size % 251]) * size)\n"
        "for i in range(1000): bcai.output('big', b'x' * 1_000_000)\n"
    )
    assert run.exit.cause is Cause.EXITED, run
    contents = {item.name: item.content for item in run.exit.outputs}
    assert contents["data"] == bytes([10]) * 10
    assert contents["big"] == b"x" * 1_000_000


def test_a_named_result_over_the_limit_ends_the_job(jail: Jail) -> None:
    run = jail.run("import bcai\nbcai.output('big', b'x' * 3_000_000)", output_bytes=2_000_000)
    assert run.exit.cause is Cause.OUTPUT_BYTES
    assert "2000000" in run.exit.message
    caught = "import bcai\ntry: bcai.output('big', b'x' * 3_000_000)\nexcept ValueError: pass"
    assert jail.run(caught, output_bytes=2_000_000).exit.cause is Cause.OUTPUT_BYTES


def test_a_variable_over_the_limit_is_left_out_with_a_warning(jail: Jail) -> None:
    run = jail.run(
        "import numpy as np\nbig = np.zeros(10 ** 6)\nloss = 1.0", output_bytes=1_000_000
    )
    assert run.exit.cause is Cause.EXITED
    assert run.values == {"loss": 1.0}
    (warning,) = run.exit.warnings
    assert "'big'" in warning
    assert "bcai.output('big'" in warning


def test_a_required_result_that_is_missing_is_a_failure(jail: Jail) -> None:
    jail.required_outputs = ("loss",)
    ended = jail.run("accuracy = 1").exit
    assert ended.cause is Cause.OUTPUT_MISSING
    assert "'loss'" in ended.message
    assert jail.run("loss = 1").exit.cause is Cause.EXITED


def test_arrays_come_out_as_they_were(jail: Jail) -> None:
    run = jail.run(
        "import numpy as np\n"
        "plain = np.arange(6.0).reshape(2, 3)\nfortran = np.asfortranarray(plain)\n"
        "number = np.float32(0.5)\nzero = np.array(3)\nobjects = np.array([{}])\n"
    )
    assert run.values == {"number": 0.5, "zero": 3}
    arrays = {item.name: item for item in run.exit.outputs if item.kind == "array"}
    assert {name: item.summary for name, item in arrays.items()} == {
        "plain": "float64[2, 3]",
        "fortran": "float64[2, 3]",
    }
    for item in arrays.values():
        found = safetensors.numpy.load(item.content or b"")["value"]
        np.testing.assert_array_equal(found, np.arange(6.0).reshape(2, 3))


def test_torch_trains_and_its_models_come_out(jail: Jail) -> None:
    pytest.importorskip("torch", reason="needs the extra `ml`")
    run = jail.run(
        "import torch, bcai\n"
        "torch.manual_seed(0)\n"
        "model = torch.nn.Linear(4, 2)\n"
        "optimizer = torch.optim.AdamW(model.parameters())\n"
        "x = torch.randn(8, 4)\n"
        "for step in range(3):\n"
        "    loss = model(x).square().mean(); loss.backward(); optimizer.step()\n"
        "    bcai.log(step=step, loss=loss); bcai.progress((step + 1) / 3)\n"
        "half = x.t().to(torch.bfloat16)\n"
        "tied = torch.nn.Module(); tied.a = tied.b = torch.nn.Linear(2, 2)\n"
        "from safetensors.torch import save_file\n"
        "save_file(model.state_dict(), 'model.safetensors')\n"
        "torch.save(model.state_dict(), 'model.pt')\n"
    )
    assert run.exit.cause is Cause.EXITED, run
    kinds = {item.name: (item.kind, item.summary) for item in run.exit.outputs}
    assert kinds["model"] == ("state_dict", "2 tensors")
    assert kinds["tied"] == ("state_dict", "4 tensors")
    assert kinds["half"] == ("array", "bfloat16[4, 8]")
    assert kinds["loss"][0] == "value"
    assert "optimizer" not in kinds
    assert len(run.metrics) == 3
    assert run.progress[-1] == 1.0
    assert run.exit.warnings == ()


def test_loaders_with_workers_and_reports_from_them(jail: Jail) -> None:
    pytest.importorskip("torch", reason="needs the extra `ml`")
    run = jail.run(
        "import torch, bcai\n"
        "class Numbers(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 20\n"
        "    def __getitem__(self, i):\n"
        "        bcai.log(step=i, seen=i); return torch.full((1000,), float(i))\n"
        "loader = torch.utils.data.DataLoader(Numbers(), batch_size=5, num_workers=2)\n"
        "total = sum(batch[:, 0].sum().item() for batch in loader)\n"
    )
    assert run.values["total"] == 190.0, run
    assert sorted(metric.step or 0 for metric in run.metrics) == list(range(20))


def test_processes_and_threads_of_its_own(jail: Jail) -> None:
    run = jail.run(
        "import multiprocessing as mp, threading, bcai\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "def square(x): return x * x\n"
        "with mp.Pool(2) as pool: by_pool = pool.map(square, range(4))\n"
        "with ProcessPoolExecutor(2) as pool: by_futures = list(pool.map(square, range(4)))\n"
        "queue = mp.Queue(); child = mp.Process(target=queue.put, args=('hello',))\n"
        "child.start(); got = queue.get(); child.join()\n"
        "def report(i):\n"
        "    for step in range(50): bcai.log(step=step, **{f't{i}': step})\n"
        "for i in range(4): threading.Thread(target=report, args=(i,)).start()\n"
    )
    assert run.values["by_pool"] == run.values["by_futures"] == [0, 1, 4, 9], run
    assert run.values["got"] == "hello"
    assert len(run.metrics) == 200


def test_scikit_learn_and_matplotlib(jail: Jail) -> None:
    pytest.importorskip("sklearn", reason="needs the extra `ml`")
    pytest.importorskip("matplotlib", reason="needs the extra `ml`")
    run = jail.run(
        "import matplotlib.pyplot as plt, bcai\n"
        "from pathlib import Path\n"
        "from sklearn.datasets import load_digits\n"
        "from sklearn.linear_model import RidgeClassifier\n"
        "from sklearn.model_selection import cross_val_score\n"
        "x, y = load_digits(return_X_y=True)\n"
        "accuracy = cross_val_score(RidgeClassifier(), x, y, n_jobs=2).mean()\n"
        "plt.plot([1, 2]); plt.savefig('curves.png')\n"
        "bcai.output('curves.png', Path('curves.png'))\n"
    )
    assert run.exit.cause is Cause.EXITED, run
    assert float(str(run.values["accuracy"])) > 0.8
    picture = next(item for item in run.exit.outputs if item.name == "curves.png")
    assert (picture.content or b"").startswith(b"\x89PNG")


def test_files_of_its_own(jail: Jail) -> None:
    run = jail.run(
        "import os, shutil, sqlite3, tempfile, asyncio\n"
        "with tempfile.TemporaryDirectory() as folder: open(folder + '/a', 'w').write('x')\n"
        "shutil.copy2('job.py', 'copy.py'); os.rename('copy.py', 'moved.py')\n"
        "base = sqlite3.connect('x.db'); base.execute('create table t (a)'); base.commit()\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "found = sorted(os.listdir())\n"
        "home = [os.getcwd(), os.path.expanduser('~'), tempfile.gettempdir()]\n"
    )
    assert run.values["found"] == ["job.py", "moved.py", "x.db"], run
    assert run.values["home"] == ["/job"] * 3


def test_the_result_says_which_walls_stood(jail: Jail) -> None:
    report = jail.run("pass").exit.jail
    assert report.level in ("A", "B")
    assert any(wall.startswith("Landlock ABI") for wall in report.layers)
    assert len(set(report.layers)) == len(report.layers)
    assert all(len(wall) <= 24 and "," not in wall for wall in report.layers)
    assert report.limits["memory_bytes"] == 2 << 30
    assert bool(report.missing) == (report.level == "B")
