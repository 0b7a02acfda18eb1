"""Nodes that compare what an honest script printed must get the same order of its sets."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bcai.bridge.sandbox.environment import HASH_SEED
from bcai.bridge.sandbox.probe import probe_jail

from .jails import Jail
from .test_attacks import standing
from .test_ordinary_user import NOBODY, only_as_root, run_apart

SHOW = """
import os, sys
def order():
    return "".join({chr(letter) for letter in range(65, 91)})
"""
PRINT = f"{SHOW}print(order())"
CHILDREN = f"""
import multiprocessing, torch
{SHOW}
class Orders(torch.utils.data.Dataset):
    def __len__(self): return 2
    def __getitem__(self, index): return order()
print(order())
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply(order))
for each in torch.utils.data.DataLoader(Orders(), batch_size=None, num_workers=1):
    print(each)
"""
PROGRAMS = f"""
import subprocess, os, sys
code = {PRINT!r}
for seed in (None, "7"):
    if seed: os.environ["PYTHONHASHSEED"] = seed
    print(subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True).stdout)
"""


def order_outside(seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    return done.stdout.strip()


def test_a_set_has_one_order_in_every_start_and_child(jail: Jail) -> None:
    assert order_outside("1") != order_outside(HASH_SEED)  # the control: it does depend on it
    runs = [jail.run(CHILDREN) for _ in range(2)]
    printed = [line for run in runs for line in run.stdout.split()]
    assert printed == [order_outside(HASH_SEED)] * 8, runs


def test_a_set_has_one_order_at_level_c(jail: Jail) -> None:
    if jail.zygotes is not None:
        pytest.skip("level C starts every job cold")
    standing("C", "cold")
    alone = replace(jail, level_max="C", security_level="standard")
    assert alone.run(PRINT).stdout.split() == [order_outside(HASH_SEED)]


def test_a_job_may_choose_another_seed_for_its_programs(jail: Jail) -> None:
    if probe_jail().level == "C":
        pytest.skip("level C starts no programs: see bcai doctor")
    run = replace(jail, security_level="standard", zygotes=None).run(PROGRAMS)
    assert run.stdout.split() == [order_outside(HASH_SEED), order_outside("7")], run


@only_as_root
def test_the_same_of_a_node_that_a_user_runs(tmp_path: Path) -> None:
    run_apart(tmp_path, NOBODY, "-k", "level_c and cold or start_and_child", "test_set_order.py")
