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


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 4096e3),
        ({"memory.max": "max", "memory.current": "1000"}, 4096e3),
        ({"memory.max": "3000", "memory.current": "1000"}, 2000),
        (
            {
                "memory.max": "3000",
                "memory.current": "2500",
                "memory.stat": "anon 1500\ninactive_file 700\n",
            },
            1200,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "9000",
                "memory/memory.usage_in_bytes": "8000",
                "memory/memory.stat": "total_inactive_file 500\n",
            },
            1500,
        ),
        ({"memory.max": "9" * 30, "memory.current": "1000"}, 4096e3),
    ],
    ids=["none", "no limit", "a limit", "files make room", "version 1", "more than there is"],
)
def test_free_memory_is_what_machine_and_container_leave(
    files: dict[str, str], free: float, tmp_path: Path
) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.free_memory(machine, tmp_path) == free
    assert threads.free_memory(tmp_path / "none", tmp_path / "none") == math.inf


@pytest.mark.parametrize(
    ("own", "free"),
    [("/job/step", 700), ("/job", 800), ("/", 5000), ("/../other", 5000)],
)
def test_the_limit_of_a_batch_job_around_this_process_counts(
    own: str, free: float, tmp_path: Path
) -> None:
    for folder, limit, used in (("", 9000, 4000), ("job", 1000, 200), ("job/step", 900, 200)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "memory.max").write_text(str(limit))
        (tmp_path / folder / "memory.current").write_text(str(used))
    (tmp_path / "own").write_text(f"1:name=systemd:/else\n0::{own}\n")
    assert threads.free_memory(tmp_path / "none", tmp_path, tmp_path / "own") == free
