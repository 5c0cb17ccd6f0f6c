"""Trials whose memory runs out: once more with less of it, or FAILED with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from mpc_router.frozen import train as frozen_training
from mpc_router.frozen._loop import Training
from mpc_router.joint._loss import JointLoss
from sweeps.records import COMPLETED, FAILED, STOPPED
from sweeps.worker import pack as worker_pack
from sweeps.worker import stack
from tests.sweeps.conftest import FIX, LITTLE, rows

Command = Callable[..., int]

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB."
GRID = ("mrpc_grid", *FIX, "seeds=[0, 1]", "pack.points=10", "--no-report", "--quiet")
"""Twenty lanes in one stack."""

SEARCH = (
    *("mrpc_pareto", "pool=sample", "epochs=4", "seeds=[0, 1]", "search.points=6", "--no-report"),
    *("stopping.bracket=6", "stopping.finish=false", "router_hidden_size={choice: [8, 16]}"),
    "--quiet",
)
"""A bracket of six points in two stacks."""

OF_THE_WAY = ("seconds", "reason")


def room_for(monkeypatch: pytest.MonkeyPatch, most: int, *, error: Exception) -> list[int]:
    """Stacks of more lanes than that run out of memory in their first epoch; sizes of all."""
    train, sizes = frozen_training.train, []

    def limited(lanes: Any, *args: Any, **more: Any) -> Generator[Any, Any, None]:
        sizes.append(len(lanes))
        if len(lanes) > most:
            raise error
        yield from train(lanes, *args, **more)

    monkeypatch.setattr(frozen_training, "train", limited)
    return sizes


def same_but_for_the_way(found: Path, wanted: Path, table: str = "trials") -> None:
    mine, others = rows(found, table), rows(wanted, table)
    assert len(mine) == len(others) > 0
    for one, other in zip(mine, others, strict=True):
        for name, value in other.items():
            if name not in OF_THE_WAY:
                assert one[name] == value or one[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize(
    "words",
    [pytest.param(GRID, marks=pytest.mark.long, id="grid"), pytest.param(SEARCH, id="bracket")],
)
def test_a_stack_too_large_for_its_gpu_is_trained_in_two_with_the_same_numbers(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    assert command(*words, "--name", "whole") == 0
    whole = tmp_path / "runs" / "whole"
    largest = max(Counter(row["pack"] for row in rows(whole, "trials")).values())
    most = largest // 2 if words is GRID else largest // 2 - 2
    sizes = room_for(monkeypatch, most, error=torch.OutOfMemoryError(CUDA))
    assert command(*words, "--name", "r") == 0
    run = tmp_path / "runs" / "r"
    assert max(sizes) > most >= min(sizes)
    for table in ("trials", "reports", "routing"):
        same_but_for_the_way(run, whole, table)
    said = [row["reason"] or "" for row in rows(run, "trials") if row["status"] == COMPLETED]
    assert any("the GPU's memory ran out: trained in two stacks" in each for each in said)
    for row in rows(run, "trials"):
        if row["status"] == STOPPED:
            assert row["reason"].startswith("rank ")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError(CUDA), f"out of GPU memory: {CUDA}; take a smaller batch_size"),
        (MemoryError(), "out of memory on the host: MemoryError; take a smaller batch_size"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"),
            "out of memory on the host: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator",
        ),
    ],
)
def test_a_stack_that_still_does_not_fit_fails_by_name(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    sizes = room_for(monkeypatch, 2, error=error)
    assert command(*GRID, "--name", "r") == 4
    found = rows(tmp_path / "runs" / "r", "trials")
    assert {row["status"] for row in found} == {FAILED}
    assert all(row["reason"].startswith(reason) for row in found)
    assert sizes == ([20, 10, 10] if isinstance(error, torch.OutOfMemoryError) else [20])


def test_of_a_stack_only_the_lane_fails_that_breaks_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*GRID, "--name", "whole") == 0
    whole = rows(tmp_path / "runs" / "whole", "trials")
    guilty, train = whole[7], frozen_training.train

    def asserts(lanes: Any, *args: Any, **more: Any) -> Generator[Any, Any, None]:
        if any(
            (lane.seed, lane.config.loss_weights.alpha, lane.config.loss_weights.beta)
            == (guilty["seed"], guilty["alpha"], guilty["beta"])
            for lane in lanes
        ):
            raise AssertionError("a route to nowhere")
        yield from train(lanes, *args, **more)

    monkeypatch.setattr(frozen_training, "train", asserts)
    assert command(*GRID, "--name", "r") == 4
    found = {row["key"]: row for row in rows(tmp_path / "runs" / "r", "trials")}
    assert found[guilty["key"]]["reason"] == "AssertionError: a route to nowhere"
    assert [key for key, row in found.items() if row["status"] == FAILED] == [guilty["key"]]
    for row in whole:
        if row is not guilty:
            assert found[row["key"]]["validation_score"] == row["validation_score"]
            assert found[row["key"]]["reason"] is None


JOINT = (
    *("mrpc_grid", *LITTLE, "alpha=0.05", "beta=0.08", "seeds=[0]", "epochs=2", "start=[]"),
    *("experts=joint", "expert_start=fine_tuned", "--no-report", "--quiet"),
)


@pytest.mark.slow
def test_a_joint_trial_too_large_for_its_gpu_accumulates_its_batches_from_smaller_ones(
    sample: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sample(*JOINT, "--name", "whole") == 0
    (wanted,) = rows(tmp_path / "runs" / "whole", "trials")
    backward: Any = JointLoss.backward
    for name, calls in (("first epoch", 1), ("second", 5)):
        seen: list[int] = []

        def limited(
            self: JointLoss, pool: Any, parts: Any, calls: int = calls, seen: list[int] = seen
        ) -> torch.Tensor:
            seen.append(max(len(part.batch.labels) for part in parts))
            if seen[-1] > 16 and len(seen) >= calls:
                raise torch.OutOfMemoryError(CUDA)
            return cast(torch.Tensor, backward(self, pool, parts))

        monkeypatch.setattr(JointLoss, "backward", limited)
        assert sample(*JOINT, "--name", name.replace(" ", "-")) == 0
        run = tmp_path / "runs" / name.replace(" ", "-")
        (found,) = rows(run, "trials")
        assert max(seen[calls:]) <= 16 < max(seen)
        assert found["status"] == COMPLETED
        assert found["key"] == wanted["key"]
        assert found["config"] == wanted["config"]
        assert found["reason"] == (
            "the GPU's memory ran out: batches were accumulated from 2 pieces each"
        )
        losses = [
            [row["loss"] for row in rows(each, "reports")]
            for each in (run, tmp_path / "runs" / "whole")
        ]
        np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)  # the sample has no dropout


def test_a_joint_trial_that_still_does_not_fit_fails_by_name(
    sample: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(JointLoss, "backward", never)
    assert sample(*JOINT, "--name", "r") == 4
    (found,) = rows(tmp_path / "runs" / "r", "trials")
    assert found["status"] == FAILED
    assert found["reason"].startswith(f"out of GPU memory: {CUDA}; take a smaller batch_size")


def test_a_bracket_whose_stacks_have_no_room_together_gives_the_same_tables(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # another name than that of the processor, where what is parked goes
    monkeypatch.setattr(stack, "device_of", lambda *_: "cpu:0")
    moves: list[str] = []
    move = Training.move

    def counted(training: Training, device: str) -> None:
        moves.append(device) if device != training.device else None
        move(training, device)

    monkeypatch.setattr(Training, "move", counted)
    assert command(*SEARCH, "--name", "open") == 0
    assert not moves
    monkeypatch.setattr(worker_pack, "gpu_room", lambda _: 0.0)
    assert command(*SEARCH, "--name", "parked") == 0
    assert moves.count("cpu") == moves.count("cpu:0") > 0
    open_run, parked_run = (tmp_path / "runs" / name for name in ("open", "parked"))
    for table in ("trials", "reports", "routing"):
        same_but_for_the_way(parked_run, open_run, table)
