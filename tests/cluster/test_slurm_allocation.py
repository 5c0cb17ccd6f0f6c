"""What Slurm's variables say of the allocation around a process."""

from __future__ import annotations

import pytest

from cluster.slurm_allocation import end_of, is_ending

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1000"}


def test_the_end_is_that_of_the_job() -> None:
    assert end_of(JOB) == 1000.0


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "1e3", "\u0663", "9" * 20])
def test_an_end_that_is_no_time_is_none(text: str) -> None:
    assert end_of({**JOB, "SLURM_JOB_END_TIME": text}) is None


def test_without_a_job_there_is_no_end() -> None:
    assert end_of({"SLURM_JOB_END_TIME": "1000"}) is None
    assert end_of({"SLURM_JOB_ID": "7"}) is None


def test_only_a_signal_shortly_before_the_end_is_the_end() -> None:
    assert not is_ending(JOB, 800.0)
    assert is_ending(JOB, 880.0)  # Slurm may come a minute before it is asked to
    assert is_ending(JOB, 1001.0)
    assert not is_ending({}, 1001.0)
