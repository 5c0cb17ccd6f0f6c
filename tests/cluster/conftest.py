"""A Slurm of the tests' own."""

from __future__ import annotations

import pytest

from tests.cluster.fake_slurm import FakeSlurm, install


@pytest.fixture
def fake_slurm(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> FakeSlurm:
    """A Slurm whose commands stand first on the path."""
    slurm = install(tmp_path_factory.mktemp("slurm") / "bin")
    monkeypatch.setenv("PATH", str(slurm.folder), prepend=":")
    return slurm
