"""Work that is spread over processes and threads, behind all walls: which ways there are."""

import importlib.util

import pytest

from bcai.bridge.sandbox.jail import Cause

from .jails import Jail


def test_shared_memory_of_forked_processes(jail: Jail) -> None:
    run = jail.run(
        "import multiprocessing as mp\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "import numpy as np\n"
        "context = mp.get_context('fork')\n"
        "def add(name, amount, lock):\n"
        "    shared = SharedMemory(name=name)\n"
        "    with lock: np.ndarray(4, np.float64, shared.buf)[:] += amount\n"
        "    shared.close()\n"
        "shared, lock = SharedMemory(create=True, size=32), context.Lock()\n"
        "np.ndarray(4, np.float64, shared.buf)[:] = 0\n"
        "workers = [context.Process(target=add, args=(shared.name, i, lock)) for i in range(4)]\n"
        "for worker in workers: worker.start()\n"
        "for worker in workers: worker.join()\n"
        "total = float(np.ndarray(4, np.float64, shared.buf).sum())\n"
        "shared.close(); shared.unlink()\n"
        "import os\n"
        "left = os.listdir('/dev/shm')\n"
    )
    assert run.values["total"] == 24.0, run
    assert run.values["left"] == []


def test_managers_arrays_and_pipes_of_forked_processes(jail: Jail) -> None:
    run = jail.run(
        "import multiprocessing as mp\n"
        "context = mp.get_context('fork')\n"
        "numbers = context.Array('d', 4)\n"
        "def fill(i): numbers[i] = i\n"
        "workers = [context.Process(target=fill, args=(i,)) for i in range(4)]\n"
        "for worker in workers: worker.start()\n"
        "for worker in workers: worker.join()\n"
        "filled = list(numbers)\n"
        "with context.Manager() as manager:\n"
        "    words = manager.dict()\n"
        "    worker = context.Process(target=words.update, args=({'a': 1},))\n"
        "    worker.start(); worker.join()\n"
        "    kept = dict(words)\n"
        "reads, writes = context.Pipe()\n"
        "worker = context.Process(target=writes.send, args=('hello',))\n"
        "worker.start(); got = reads.recv(); worker.join()\n"
    )
    assert run.values["filled"] == [0.0, 1.0, 2.0, 3.0], run
    assert run.values["kept"] == {"a": 1}
    assert run.values["got"] == "hello"


@pytest.mark.parametrize(
    ("backend", "warning"),
    [
        ("None", ""),
        ("'threading'", ""),
        ("'loky'", "falling back to threading"),
        ("'multiprocessing'", "falling back to threading"),
    ],
)
def test_joblib_works_in_threads_whatever_was_asked(jail: Jail, backend: str, warning: str) -> None:
    pytest.importorskip("joblib", reason="needs the extra `ml`")
    run = jail.run(
        "import os, threading\n"
        "from joblib import Parallel, delayed\n"
        "def work(x): return x * x, os.getpid() == first\n"
        "first = os.getpid()\n"
        f"found = Parallel(n_jobs=2, backend={backend})(delayed(work)(x) for x in range(6))\n"
        "squares = [square for square, _ in found]\n"
        "is_one_process = all(same for _, same in found)\n"
    )
    assert run.values["squares"] == [0, 1, 4, 9, 16, 25], run
    assert run.values["is_one_process"] is True
    assert warning in run.stderr


def test_scikit_learn_with_jobs_of_its_own(jail: Jail) -> None:
    pytest.importorskip("sklearn", reason="needs the extra `ml`")
    run = jail.run(
        "from sklearn.datasets import load_iris\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "x, y = load_iris(return_X_y=True)\n"
        "forest = RandomForestClassifier(n_estimators=8, n_jobs=2, random_state=0)\n"
        "search = GridSearchCV(forest, {'max_depth': [1, 4]}, n_jobs=2, cv=2).fit(x, y)\n"
        "score = float(search.best_score_)\n"
    )
    assert run.exit.cause is Cause.EXITED, run
    assert float(str(run.values["score"])) > 0.9


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="needs jax, 600 MB that nothing else here uses: pip install jax",
)
def test_jax_trains_on_the_processor(jail: Jail) -> None:
    run = jail.run(
        "import jax, jax.numpy as jnp, numpy as np\n"
        "key = jax.random.PRNGKey(0)\n"
        "weights = jax.random.normal(key, (16, 4))\n"
        "x = jax.random.normal(key, (64, 16)); y = jnp.sin(x[:, :4])\n"
        "@jax.jit\n"
        "def step(weights):\n"
        "    loss = lambda weights: ((x @ weights - y) ** 2).mean()\n"
        "    value, slope = jax.value_and_grad(loss)(weights)\n"
        "    return weights - 0.1 * slope, value\n"
        "losses = []\n"
        "for _ in range(20):\n"
        "    weights, loss = step(weights)\n"
        "    losses.append(float(loss))\n"
        "first, last, device = losses[0], losses[-1], jax.devices()[0].platform\n"
        "trained = np.asarray(weights)\n",
        memory_bytes=4 << 30,
    )
    assert run.values["device"] == "cpu", run
    assert float(str(run.values["last"])) < 0.5 * float(str(run.values["first"]))
    assert "float32[16, 4]" in {item.summary for item in run.exit.outputs}


def test_spawned_workers_where_programs_may_start(jail: Jail) -> None:
    code = (
        "import multiprocessing as mp\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(2) as pool: found = pool.map(abs, [-1, 2])\n"
    )
    refused = jail.run(code)
    assert "'fork'" in refused.exit.message, refused
    jail.security_level = "standard"
    assert jail.run(code).values["found"] == [1, 2]
