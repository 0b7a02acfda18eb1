"""A TrainingJob says what it needs in its own words."""

import math
from typing import Any

import pytest

from bcai.base.errors import InputError
from bcai_sdk import TrainingJob


def test_the_documents_job_is_understood() -> None:
    job = TrainingJob(
        name="mnist-classifier",
        code="x = 1",
        requirements=["torch>=2.0.0"],
        resources={"gpu_memory_gb": 8},
        reward_tokens=1000,
    )
    spec = job.to_draft().submission.to_spec()
    assert spec.name == "mnist-classifier"
    assert (spec.hardware.gpu_count, spec.hardware.gpu_memory_bytes) == (1, 8 * 10**9)
    assert (spec.requirements, spec.reward_tokens) == (("torch>=2.0.0",), 1000)


def test_every_resource_arrives() -> None:
    resources = {
        "cpu_count": 2,
        "memory_gb": 1.5,
        "disk_gb": 2,
        "gpu_count": 3,
        "gpu_memory_gb": 4,
        "timeout": "15m",
    }
    spec = TrainingJob("job", "x = 1", resources=resources).to_draft().submission.to_spec()
    assert (spec.hardware.cpu_count, spec.hardware.gpu_count) == (2, 3)
    assert spec.limits.memory_bytes == 1_500_000_000
    assert spec.limits.disk_bytes == 2 * 10**9
    assert spec.limits.wall_s == 900


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpu_memory": 8}, "resources.gpu_memory: unknown; did you mean 'gpu_memory_gb'"),
        ({"memory_gb": "8GB"}, "resources.memory_gb: found '8GB'"),
        ({"memory_gb": 0}, "resources.memory_gb: found 0"),
        ({"memory_gb": math.inf}, "resources.memory_gb: found inf"),
        ({"timeout": 0}, "timeout: found 0"),
    ],
)
def test_a_wrong_resource_is_refused_where_it_is_written(
    resources: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TrainingJob("job", "x = 1", resources=resources)
