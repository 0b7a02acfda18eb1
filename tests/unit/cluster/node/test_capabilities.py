from pathlib import Path

from bcai.base.units import GIB
from bcai.cluster.node.capabilities import (
    installed_packages,
    measure_capabilities,
)
from bcai.settings import EnhancedVmSettings, NodeSettings, Settings

KEY = "ed25519:" + "ab" * 32


def test_packages_are_named_as_jobs_ask_for_them() -> None:
    packages = installed_packages()
    assert "pydantic" in packages
    assert all(name == name.lower() and "_" not in name for name in packages)


def test_a_node_says_whom_it_trusts_and_builds_no_more_than_it_may(tmp_path: Path) -> None:
    node = NodeSettings(jail_level_max="none", trusted_keys=(KEY,))
    capabilities = measure_capabilities(Settings(home=tmp_path, node=node))
    assert capabilities.jail.level == "none"
    assert "jail_level_max" in capabilities.jail.missing[0]
    assert capabilities.trusted_keys == (KEY,)


def test_an_owner_who_switches_python_off_offers_no_jail(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        node=NodeSettings(slots=3, cpu_count=2, memory_mb=2048, trusted_keys=(KEY,)),
        enhanced_vm=EnhancedVmSettings(enable_python=False, max_memory_mb=1024),
    )
    capabilities = measure_capabilities(settings)
    assert capabilities.jail.level == "none"
    assert "enable_python" in capabilities.jail.missing[0]
    assert (capabilities.slots, capabilities.cpu_count) == (3, 2)
    assert (capabilities.memory_bytes, capabilities.job_memory_bytes_max) == (2 * GIB, GIB)
    assert capabilities.trusted_keys == ()
    assert capabilities.gpus == ()
