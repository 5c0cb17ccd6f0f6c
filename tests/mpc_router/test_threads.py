from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mpc_router import threads
from mpc_router.experts import finetune


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "250000 100000\n"}, 2.5),
        ({"cpu.max": "odd\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "0\n"}, math.inf),
    ],
)
def test_the_quota_of_a_container_is_read_in_both_versions(
    files: dict[str, str], allowed: float, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads._quota(tmp_path) == allowed


@pytest.mark.parametrize(("allowed", "count"), [(math.inf, 8), (64, 8), (2.5, 2), (0.5, 1)])
def test_no_more_cores_are_used_than_a_container_may(
    allowed: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_quota", lambda _: allowed)
    assert threads.cores() == count


@pytest.mark.parametrize(
    ("before", "cores", "width", "used"),
    [(4, 8, 384, 4), (4, 2, 384, 2), (1, 8, 384, 1), (4, 8, 128, 1)],
)
def test_an_encoder_has_no_more_threads_than_there_are_cores(
    before: int, cores: int, width: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: before)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(finetune, "cores", lambda: cores)
    with finetune.threads_for(width):
        assert asked == [used]
    assert asked[-1] == before


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
@pytest.mark.parametrize("command", ["sweeps.run", "mpc_router.commands.train"])
def test_a_command_sets_how_threads_wait_before_torch_is_imported(
    command: str, given: str | None, policy: str
) -> None:
    code = (
        f"import os, sys\nfrom {command} import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        kept["OMP_WAIT_POLICY"] = given
    shown = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[-1] == f"False {policy}"
