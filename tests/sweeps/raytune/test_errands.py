"""The share of a node that an errand of preparation gets."""

from __future__ import annotations

import pytest
import ray

from sweeps.raytune._errands import TaskShare, do_errand, task_options, task_share
from sweeps.raytune._ship import ReachError

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


GIB = 2.0**30
ROOMY = {"CPU": 4.0, "memory": 8 * GIB}


@pytest.mark.parametrize(
    ("nodes", "share", "memory"),
    [
        ([ROOMY, {"CPU": 4.0, "memory": 2 * GIB}], TaskShare(cpus=4, gpus=0), 5 * GIB),
        ([{"CPU": 4.0, "memory": 2 * GIB}], TaskShare(cpus=4, gpus=0), 2 * GIB),
        ([{**ROOMY, "memory": 99 * GIB, "CPU": 0.0}, ROOMY], TaskShare(cpus=1, gpus=0), 5 * GIB),
        ([ROOMY, {**GPU, "memory": 3 * GIB}], TaskShare(cpus=1, gpus=1), 3 * GIB),
        ([{**ROOMY, "CPU": 0.0}], TaskShare(cpus=1, gpus=0), 0),
        ([], TaskShare(cpus=1, gpus=0), 0),
    ],
)
def test_an_errand_asks_for_its_memory_and_for_no_more_than_a_node_with_room_has(
    nodes: list[dict[str, float]], share: TaskShare, memory: float
) -> None:
    options = task_options(share, nodes, 5 * GIB)
    assert options["memory"] == memory
    ray.remote(do_errand).options(**options)  # Ray refuses options that it cannot use


def test_what_a_disk_or_the_way_to_a_node_refuses_is_tried_again_but_no_mistake_of_a_program() -> (
    None
):
    options = task_options(TaskShare(cpus=1, gpus=0), [ROOMY], GIB)
    tried_again = tuple(options["retry_exceptions"])
    assert options["max_retries"] > 0
    for error in (OSError("no space left on device"), ReachError("damaged on its way")):
        assert isinstance(error, tried_again)
    assert not isinstance(ValueError("a mistake"), tried_again)
