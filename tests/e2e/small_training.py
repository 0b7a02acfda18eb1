"""A training of 16 steps and 4 checkpoints, for tests about who did it right."""

from typing import Any

import numpy as np

import bcai
from bcai import SDK
from bcai.sdk.fit import Trained
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

_GENERATOR = np.random.default_rng(0)
X = _GENERATOR.normal(size=(32, 6)).astype(np.float32)
Y = _GENERATOR.integers(0, 3, 32)
WEIGHTS = _GENERATOR.normal(size=(6, 3)).astype(np.float32)
OPTIONS: dict[str, Any] = {
    "parameters": {"weights": WEIGHTS},
    "batch_size": 8,
    "epochs": 4,
    "checkpoint_every": 4,
}


def program() -> VerifiedProgram:
    """Dropout, a product and a loss; its seed and step are inputs."""
    build = Builder()
    x, y = build.input("x", "float32[8,6]"), build.input("y", "int64[8]")
    seed, step = build.input("seed", "int64[]"), build.input("step", "int64[]")
    weights = build.parameter("weights", "float32[6,3]")
    kept = x.emit("Dropout", seed, step, p=0.1, stream=0)
    loss, *_ = build.emit("CrossEntropy", [kept @ weights, y], {})
    return build.finish(loss=loss)


def fit(client: SDK, seed: int, verify: str = "full") -> Trained:
    """Train it on the network."""
    return bcai.fit(program(), (X, Y), seed=seed, verify=verify, client=client, **OPTIONS)


def inputs(seed: int, step: int) -> dict[str, Any]:
    """What one run of the program takes, as a job of its own."""
    own = {"seed": np.int64(seed), "step": np.int64(step)}
    return {"x": X[:8], "y": Y[:8], "weights": WEIGHTS, **own}
