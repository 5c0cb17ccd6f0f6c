"""Disks that fill up or fail: exit 3 with a sentence, and a resume gives the same tables."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sweeps.conftest import LITTLE, assert_same_tables
from tests.sweeps.faults import Answer, Laboratory, examples, laboratory


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Iterator[Laboratory]:
    with laboratory(tmp_path_factory.mktemp("full"), prepared_folder) as found:
        yield found


@contextlib.contextmanager
def failing(call: str, *, after: int, code: int, for_good: bool) -> Iterator[None]:
    """`os.CALL` fails after so many calls: once, or from then on."""
    real: Callable[..., Any] = getattr(os, call)
    calls = 0

    def fails(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1 or (for_good and calls > after):
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fails)
        yield


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Whoever writes past so many bytes of a file is refused, in whatever language."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check(lab: Laboratory, kind: str, run: Path, first: Answer) -> None:
    """After the fault it says what is wrong, and goes on when there is room again."""
    if first.code == 0:
        assert_same_tables(run, lab.sound(kind))
        return
    assert first.code == 3, first.err
    assert first.sentence
    if run.exists():
        again = lab.resume(run)
        if again.code == 2:
            assert "was never begun; delete it" in again.sentence or "holds no" in again.sentence
            shutil.rmtree(run)
    if not run.exists():
        again = lab.new(kind, run.name)
    assert again.code == 0, again.err
    assert_same_tables(run, lab.sound(kind))


@pytest.mark.parametrize("call", [pytest.param("fsync", marks=pytest.mark.long), "replace"])
def test_a_disk_that_fails_at_any_moment_is_exit_3_and_a_resume_mends_it(
    lab: Laboratory, call: str
) -> None:
    @examples(8)
    @given(
        st.integers(0, 20),
        st.sampled_from([errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS]),
        st.booleans(),
    )
    def mended(after: int, code: int, for_good: bool) -> None:
        run = lab.fresh()
        with failing(call, after=after, code=code, for_good=for_good):
            said = lab.new("grid", "fresh")
        check(lab, "grid", run, said)

    mended()


def test_a_disk_without_room_for_a_file_is_exit_3_and_a_resume_mends_it(lab: Laboratory) -> None:
    run = lab.sound("grid")
    largest = max(path.stat().st_size for path in run.rglob("*") if path.is_file())

    @examples(10)
    @given(st.integers(0, largest + 100))
    def mended(size: int) -> None:
        run = lab.fresh()
        with files_of_at_most(size):
            said = lab.new("grid", "fresh")
        check(lab, "grid", run, said)

    mended()


@pytest.fixture
def mounts() -> list[str]:
    """A command's beginning that gives it mounts of its own."""
    own = ["unshare", "-rm"]
    try:
        probe = [*own, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        subprocess.run(probe, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nobody may mount a small disk here")
    return own


@pytest.mark.slow
def test_a_disk_that_is_really_full_is_exit_3_and_a_resume_mends_it(
    mounts: list[str], prepared_folder: Path, tmp_path: Path
) -> None:
    sizes = [4, 16, 32, 60, 92, 124, 1000]
    done = subprocess.run(
        [
            *(*mounts, sys.executable, "-m", "tests.sweeps.small_disk"),
            *(str(tmp_path), str(prepared_folder), *map(str, sizes)),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    codes = [int(line.split()[1]) for line in lines]
    assert codes == [3] * (codes.count(3)) + [0] * codes.count(0)
    assert codes.count(3) >= 4
    assert all("No space left" in line for line in lines[: codes.count(3)])


def test_a_disk_without_room_for_weights_is_exit_3_and_a_resume_mends_it(lab: Laboratory) -> None:
    files = {path.name: path.stat().st_size for path in lab.sound("wide").rglob("*.*")}
    weights = max(size for name, size in files.items() if name.endswith(".safetensors"))
    assert max(size for name, size in files.items() if not name.endswith(".safetensors")) < weights
    run = lab.fresh()
    with files_of_at_most(weights - 1):
        said = lab.new("wide", "fresh")
    check(lab, "wide", run, said)


@pytest.mark.slow
def test_a_disk_without_room_for_a_joint_trial_is_not_the_fault_of_the_trial(
    sample: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("mrpc_grid", *LITTLE, "experts=joint", "expert_start=fine_tuned", "epochs=2")
    one = (*words, "seeds=[0]", "alpha=0.1", "beta=0.1", "start=[]", "--quiet")
    assert sample(*one, "--name", "sound") == 0
    with files_of_at_most(200_000):  # its weights have 600,000
        assert sample(*one, "--name", "full") == 3
    assert "Traceback" not in capsys.readouterr().err
    assert sample("--resume", str(tmp_path / "runs" / "full"), "--quiet") == 0
    assert_same_tables(tmp_path / "runs" / "full", tmp_path / "runs" / "sound")
