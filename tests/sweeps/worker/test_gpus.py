"""Packs on GPUs: which they get, who gets none, and what is refused. GPUs are claimed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mpc_router.config.trial import to_tree, trial_config
from mpc_router.frozen.lanes import Lane, stack_key
from mpc_router.prepare.frozen import Prepared
from mpc_router.settings.rules import SpaceError
from sweeps import run
from sweeps.driver import share as shares
from sweeps.driver._cluster_view import ClusterView
from sweeps.driver.share import share_of
from sweeps.plan.plan import Fingerprints, Planner
from sweeps.raytune import _trainable
from sweeps.raytune._environment import environment
from sweeps.raytune._gpus import HIDE_GPUS
from sweeps.raytune.process import Machine
from sweeps.records import FIRST_SET, InputError, NodesWanted, Pack, Trial, config_of
from sweeps.study.pack_share import DryStep, PackSettings, largest_share, share_of_memory
from sweeps.study.read import from_tree, load
from sweeps.study.study import Study
from sweeps.worker import dry_step as dry_steps
from sweeps.worker import stack
from sweeps.worker.gpus import count_gpus
from sweeps.worker.job import Job
from sweeps.worker.step_time import Measurement

ROOT = Path(__file__).resolve().parents[3]
ADDRESS = "10.0.0.1:6379"

auto_study = load("mrpc_grid", ["pool=sample"])


def study_with(*words: str) -> Study:
    return load("mrpc_grid", ["pool=sample", *words])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how many processors and GPUs this machine has."""

    def has(*, cpus: int, gpus: int) -> None:
        monkeypatch.setattr("sweeps.driver.share.cores", lambda: cpus)
        monkeypatch.setattr("sweeps.driver.share.count_gpus", lambda: gpus)

    return has


def test_torch_is_asked_for_gpus_only_where_a_machine_may_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert count_gpus(tmp_path) == 0
    driver = tmp_path / "proc/driver/nvidia/version"  # it is there before any program used a GPU
    driver.parent.mkdir(parents=True)
    driver.touch()
    assert count_gpus(tmp_path) == 3
    driver.unlink()
    (tmp_path / "dev/nvidia0").touch()
    assert count_gpus(tmp_path) == 3


@pytest.mark.parametrize(
    ("words", "cpus", "gpus", "share", "workers"),
    [
        ([], 16, 4, 1, 4),
        ([], 2, 4, 1, 2),
        ([], 16, 0, 0, 16),
        (["device=cpu"], 16, 4, 0, 16),
        (["device=cuda"], 16, 1, 1, 1),
        (["pack.gpus=0"], 16, 4, 0, 16),
        (["pack.gpus=0.25"], 16, 2, 0.25, 8),
        (["pack.gpus=0.6"], 16, 4, 0.6, 4),
        (["pack.gpus=0.1"], 64, 1, 0.1, 10),
    ],
)
def test_a_pack_gets_a_gpu_where_there_are_any_unless_told_otherwise(
    machine: Any, words: list[str], cpus: int, gpus: int, share: float, workers: int
) -> None:
    machine(cpus=cpus, gpus=gpus)
    found = share_of(study_with(*words), None)
    assert (found.gpus, found.workers) == (share, workers)


def test_a_cluster_is_asked_for_its_own_gpus(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cpus=1, gpus=0)
    resources = {"CPU": 32.0, "GPU": 8.0}
    monkeypatch.setattr(shares, "view_of", lambda *_: ClusterView(nodes=[resources]))
    found = share_of(auto_study, ADDRESS)
    assert (found.gpus, found.workers) == (1, 8)
    del resources["GPU"]
    found = share_of(auto_study, ADDRESS)
    assert (found.gpus, found.workers) == (0, 32)
    with pytest.raises(InputError, match=r"pack\.gpus is 1, but there is no GPU on the"):
        share_of(study_with("pack.gpus=1"), ADDRESS)
    resources["CPU"] = 0.0
    with pytest.raises(InputError, match="a pack takes 1 CPU and 0 GPU, but no node of the clu"):
        share_of(auto_study, ADDRESS)


def test_room_for_packs_is_that_of_each_node_and_not_of_their_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 7.0}, {"memory": 1.0}]
    monkeypatch.setattr(shares, "view_of", lambda *_: ClusterView(nodes=nodes))
    assert share_of(study_with("pack.cpus=3", "pack.gpus=0"), ADDRESS).workers == 1 + 1 + 2
    assert share_of(study_with("pack.cpus=2", "pack.gpus=0.5"), ADDRESS).workers == 2
    assert share_of(study_with("pack.cpus=7", "pack.gpus=0"), ADDRESS).workers == 1
    with pytest.raises(InputError, match=r"takes 8 CPU and 0 GPU.*: they have 0 CPU and 0 GPU, 4"):
        share_of(study_with("pack.cpus=8", "pack.gpus=0"), ADDRESS)
    with pytest.raises(InputError, match="takes 5 CPU and 1 GPU, but no node of"):
        share_of(study_with("pack.cpus=5", "pack.gpus=1"), ADDRESS)


@pytest.mark.parametrize(
    ("words", "gpus"), [([], 0), (["pack.gpus=1"], 1), (["device=cuda"], 1), (["device=cpu"], 0)]
)
def test_a_cluster_with_an_autoscaler_may_be_empty_at_the_start(
    monkeypatch: pytest.MonkeyPatch, words: list[str], gpus: float
) -> None:
    lines: list[str] = []
    view = ClusterView(nodes=[{"memory": 1.0}], scaled=True)
    monkeypatch.setattr(shares, "view_of", lambda *_: view)
    found = share_of(study_with(*words), ADDRESS, None, lines.append)
    assert (found.gpus, found.workers, found.scaled) == (gpus, 1, True)
    place = f"the cluster at {ADDRESS}"
    assert lines == [
        f"no node of {place} has room for a pack yet; its autoscaler will be asked for some"
    ]


def test_nodes_that_do_not_come_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares, "view_of", lambda *_: ClusterView(nodes=[{"CPU": 0.0}]))
    with pytest.raises(
        InputError, match=r"no node of .* as many after 1\.5 m of --wait-nodes: they"
    ):
        share_of(auto_study, ADDRESS, NodesWanted(count=2, seconds=90))


def test_the_time_of_the_wait_is_also_that_without_any_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares, "view_of", lambda *_: ClusterView(nodes=[{"CPU": 2.0}]))
    assert share_of(auto_study, ADDRESS, NodesWanted(count=1, seconds=90)).patience == 90
    assert share_of(auto_study, ADDRESS).patience == 600


@pytest.mark.parametrize("gpus", [1.5, 2, 8, -1, 1e-9, float("nan"), float("inf"), True, "1", "a"])
def test_a_share_of_a_gpu_is_auto_or_from_0_to_1(gpus: Any) -> None:
    with pytest.raises(
        SpaceError, match=r"pack\.gpus is .*, but must be auto, measured, 0, or a s"
    ):
        PackSettings(gpus=gpus)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pack.gpus=1"], "pack.gpus is 1, but there is no GPU on this machine"),
        (["pack.gpus=0.5"], "pack.gpus is 0.5, but there is no GPU on this machine"),
        (
            ["device=cuda"],
            "device is 'cuda', but packs get no GPU, because there is no GPU on this",
        ),
        (
            ["device=cuda", "pack.gpus=0"],
            "device is 'cuda', but packs get no GPU, because pack.gpus",
        ),
        (
            ["device=cuda", "pack.gpus=0", "--address", ADDRESS],
            "device is 'cuda', but packs get no GPU, because pack.gpus is 0",
        ),
        (["budget.gpu_hours=1", "device=cpu", "pack.gpus=0", "--address", ADDRESS], "gpu_hours"),
    ],
)
def test_a_gpu_that_is_not_to_be_had_is_refused_before_anything_is_prepared(
    machine: Any, words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(cpus=2, gpus=0)
    places = ["--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    assert run.main(["mrpc_grid", "--sample", *words, *places]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_pack_without_a_gpu_trains_on_the_processor_whatever_torch_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        "mpc_router.frozen.train.train", lambda *_, device, **__: devices.append(device)
    )
    trial = Lane(config=trial_config({"pool": "sample"}), seed=0)
    monkeypatch.setattr(stack, "config_of", lambda _: trial.config)

    class Trial:
        config, seed = "", 0

    given: Any = [Trial()]
    inputs = object.__new__(Prepared)
    for gpus in (0.0, 0.25, 1.0):
        stack.begin_training(given, inputs, None, gpus=gpus)
    assert devices == ["cpu", "cuda", "cuda"]


def test_a_study_keeps_auto_and_old_ones_keep_their_0() -> None:
    tree = yaml.safe_load(yaml.safe_dump(auto_study.to_tree()))
    assert tree["pack"]["gpus"] == "auto"
    assert from_tree(tree).pack == auto_study.pack
    tree["pack"]["gpus"] = 0.0
    assert from_tree(tree).pack.gpus_of(8, "auto") == 0


def test_an_embedded_ray_has_the_gpus_that_its_packs_share() -> None:
    shares = [(4, 0), (4, 1), (3, 0.5), (3, 0.6), (20, 0.1)]
    machines = [Machine.of(count, 1, gpus) for count, gpus in shares]
    assert [machine.num_gpus for machine in machines] == [0, 4, 2, 3, 2]


def test_an_embedded_ray_has_the_processors_of_its_packs_or_all_where_a_share_is_measured() -> None:
    assert [Machine.of(3, cpus, 0).num_cpus for cpus in (0.2, 0.5, 1, 1.5)] == [1, 2, 3, 5]
    everything = {"CPU": 8.0, "GPU": 2.0}
    assert Machine.of(1, 2, 1, everything=everything) == Machine(num_cpus=8, num_gpus=2)
    assert Machine.of(1, 16, 1, everything=everything) == Machine(num_cpus=16, num_gpus=2)


WORKERS = """
import json, os, sys
import ray
from sweeps.raytune import ray_node
from sweeps.raytune._gpus import HIDE_GPUS, own_gpus

class Worker:
    def looks(self):
        return [own_gpus(), *(os.environ.get(name) for name in HIDE_GPUS)]

machine = {"num_cpus": 1, "num_gpus": 2}
ray_node.begin({"address": None, "machine": machine, "folder": sys.argv[1]})
worker = ray.remote(Worker)
workers = [worker.options(num_cpus=0.1, num_gpus=gpus).remote() for gpus in (1, 0.5, 0.5, 0)]
print(json.dumps([ray.cluster_resources()["GPU"], *ray.get([w.looks.remote() for w in workers])]))
ray.shutdown()
"""


@pytest.mark.slow
def test_packs_of_a_node_get_gpus_of_their_own_and_who_asks_for_none_sees_none() -> None:
    given = {name: value for name, value in os.environ.items() if name not in HIDE_GPUS}
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:  # sockets lie in there
        done = subprocess.run(
            [sys.executable, "-c", WORKERS, short],
            env=environment(None, given),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    claimed, alone, *sharing, without = json.loads(done.stdout.splitlines()[-1])
    assert claimed == 2
    assert sharing[0] == sharing[1]
    assert {alone[0][0], sharing[0][0][0]} == {"0", "1"}
    for [name], cuda, *_ in (alone, *sharing):
        assert cuda == name
    assert without == [[], "", "-1", "-1"]


def test_a_worker_hides_gpus_before_it_looks_at_its_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", list)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(KeyError, match="pack"):
        _trainable.PackTrainable({})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("peak", "share"),
    [(0, 1 / 8), (1, 1 / 8), (10, 1 / 8), (11, 2 / 8), (40, 4 / 8), (41, 5 / 8), (79, 1), (99, 1)],
)
def test_a_measured_share_is_the_peak_over_the_memory_rounded_up_to_an_eighth(
    peak: float, share: float
) -> None:
    assert share_of_memory(peak, 80) == share
    assert share_of_memory(peak * 10**9, 80 * 10**9) == share


@pytest.mark.parametrize(
    ("cpu_seconds", "may_do_without", "share"),
    [(2.0, True, 0.5), (0.5, True, 0.0), (1.0, True, 0.0), (0.5, False, 0.5), (None, True, 0.5)],
)
def test_routers_go_to_a_gpu_only_where_a_step_is_faster_there(
    cpu_seconds: float | None, may_do_without: bool, share: float
) -> None:
    step = DryStep(peak=40, memory=80, gpu_seconds=1.0, cpu_seconds=cpu_seconds)
    assert step.share(may_do_without=may_do_without) == share
    assert ("packs get no GPU" in step.text(share)) == (share == 0)


def test_a_dry_step_is_measured_where_torch_sees_a_gpu(
    monkeypatch: pytest.MonkeyPatch, prepared_folder: Path, tmp_path: Path
) -> None:
    trials = [trial_on(auto_study, seed) for seed in range(3)]
    pack = Pack(name="sample", trials=tuple(trials))
    job = Job(
        prepared={FIRST_SET: prepared_folder},
        parts=tmp_path,
        checkpoints=tmp_path,
        states=tmp_path,
    )
    assert torch.cuda.is_available() or dry_steps.dry_step(pack, job) is None
    zeros, calls = torch.zeros, list[float]()

    def steps(pack: Pack, inputs: Any, *, threads: int, gpus: float) -> Measurement:
        calls.append(gpus)
        return Measurement(step=0.001 if gpus else 0.002, epoch=1.0)

    monkeypatch.setattr(dry_steps, "measured_steps", steps)
    monkeypatch.setattr(torch, "zeros", lambda *shape, **_: zeros(*shape))
    for name, value in {
        "is_available": True,
        "mem_get_info": (70, 80),
        "memory_reserved": 2,
        "max_memory_reserved": 24,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    measured = dry_steps.dry_step(pack, job)
    assert measured == DryStep(peak=32, memory=80, gpu_seconds=0.001, cpu_seconds=0.002)
    assert measured.share(may_do_without=True) == 4 / 8
    assert calls == [1.0, 0.0]


def trial_on(study: Study, seed: int) -> Trial:
    point, config = study.first
    config_json = json.dumps(to_tree(config))
    return Trial(key=f"k{seed}", point=point.name, seed=seed, config=config_json)


@pytest.mark.parametrize(("gpus", "measures"), [(4, True), (0, False)])
def test_a_share_is_measured_where_there_is_a_gpu(machine: Any, gpus: int, measures: bool) -> None:
    machine(cpus=16, gpus=gpus)
    found = share_of(study_with("pack.gpus=measured"), None)
    assert found.measures == measures
    assert found.machine == {"CPU": 16, "GPU": gpus}
    assert not share_of(auto_study, None).measures


@pytest.mark.parametrize(
    ("words", "lanes"),
    [([], 128), (["pack.points=4"], 12), (["stopping.method=mo_asha", "stopping.bracket=9"], 27)],
)
def test_the_pack_that_is_measured_is_as_large_as_any(words: list[str], lanes: int) -> None:
    study = study_with(*words)
    prints = {item.name: Fingerprints(data="d", models="m") for item in study.sets}
    planner = Planner(study=study, prints=prints, workers=4, stack_key=lambda _: "")
    (sample,) = planner.sample_packs()
    assert len(sample.trials) == lanes


def test_every_kind_of_stack_is_measured_or_else_the_largest() -> None:
    sizes = [16, 8, 32, 4, 128, 64, 256, 512, 2, 1024]

    def widths(*words: str) -> list[int]:
        study = study_with("start=[]", *words)
        prints = {item.name: Fingerprints(data="d", models="m") for item in study.sets}
        planner = Planner(study=study, prints=prints, workers=4, stack_key=stack_key)
        packs = planner.sample_packs()
        for pack in packs:
            assert len({stack_key(config_of(trial)) for trial in pack.trials}) == 1
        return [config_of(pack.trials[0]).model.router_hidden_size for pack in packs]

    assert widths("router_hidden_size={grid: [16, 64]}") == [64, 16]
    assert widths(f"router_hidden_size={{grid: {sizes}}}") == sorted(sizes, reverse=True)[:8]


def test_a_session_has_the_share_of_its_largest_kind_of_pack() -> None:
    small = DryStep(peak=8, memory=80, gpu_seconds=2.0, cpu_seconds=1.0)
    large = DryStep(peak=30, memory=80, gpu_seconds=1.0, cpu_seconds=2.0)
    share, words = largest_share([small, large], may_do_without=True)
    assert share == 3 / 8
    assert "its share is 0.375" in words
    assert largest_share([small], may_do_without=True)[0] == 0
    assert largest_share([small], may_do_without=False)[0] == 1 / 8
