"""The share of a node that an errand of preparation gets."""

from __future__ import annotations

import pytest

from sweeps.raytune._errands import TaskShare, task_share

SMALL, LARGE, GPU = {"CPU": 4.0}, {"CPU": 16.0}, {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "errands", "device", "share"),
    [
        ([SMALL, GPU], 3, "auto", TaskShare(cpus=1, gpus=1)),
        ([SMALL, GPU], 3, "cpu", TaskShare(cpus=4, gpus=0)),
        ([SMALL, {**SMALL, "GPU": 0.5}], 8, "auto", TaskShare(cpus=1, gpus=0)),
        ([SMALL, SMALL], 3, "auto", TaskShare(cpus=2, gpus=0)),
        ([SMALL, LARGE], 1, "auto", TaskShare(cpus=16, gpus=0)),
        ([{"CPU": 0.0}, {"CPU": 1.0}], 4, "auto", TaskShare(cpus=1, gpus=0)),
        ([], 4, "auto", TaskShare(cpus=1, gpus=0)),
        ([], 4, "cuda", TaskShare(cpus=1, gpus=1)),
    ],
)
def test_an_errand_gets_a_gpu_where_there_is_one_else_an_equal_share_of_processors(
    nodes: list[dict[str, float]], errands: int, device: str, share: TaskShare
) -> None:
    assert task_share(nodes, errands, device) == share
