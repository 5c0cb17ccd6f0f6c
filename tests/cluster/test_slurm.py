"""The batch script of a sweep on Slurm, and the command that submits it; a fake Slurm is asked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster import slurm
from cluster.slurm_script import Job, batch_script
from sweeps.commands.arguments import check_flags, parser
from sweeps.terminal.signals import SESSION_OVER
from tests.cluster.fake_slurm import FakeSlurm

RUN = Path("/shared/runs/grid")


def job(**more: object) -> Job:
    settings: dict[str, object] = {
        "run": RUN,
        "words": ("mrpc_grid", "alpha={grid: [0, 1]}", "budget.time=4h", "budget={epochs: 9}"),
        "flags": ("--sample", "--cache", "/shared/it's a cache"),
        "python": "/env/bin/python",
        "folder": Path("/home/me"),
        **more,
    }
    return Job(**settings)  # type: ignore[arg-type]


def test_the_same_job_gives_the_same_script() -> None:
    assert batch_script(job()) == batch_script(job())


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_script_is_sound_to_the_shell(nodes: int, tmp_path: Path) -> None:
    script = tmp_path / "batch.sh"
    script.write_text(batch_script(job(nodes=nodes, gpus=2)))
    checks = [["bash", "-n"], ["shellcheck"]]
    for check in checks[: 2 if shutil.which("shellcheck") else 1]:
        done = subprocess.run([*check, str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def options(script: str) -> list[str]:
    """The lines that Slurm reads: those before the first command."""
    head = script.partition("\n\n")[0]
    return re.findall("^#SBATCH (.*)$", head, flags=re.MULTILINE)


def test_slurm_is_asked_for_what_the_job_says() -> None:
    asked = options(batch_script(job(nodes=3, cpus=8, gpus=2, minutes=90, options=("--qos=x",))))
    assert {"--nodes=3", "--cpus-per-task=8", "--gpus-per-node=2", "--time=90"} <= set(asked)
    assert {"--requeue", "--no-kill", "--signal=B:USR1@20", "--open-mode=append"} <= set(asked)
    assert "--output=/shared/runs/grid.slurm/%j.out" in asked
    assert "--chdir=/home/me" in asked
    assert asked[-1] == "--qos=x"  # the user's own win
    assert not [option for option in options(batch_script(job())) if "gpu" in option]


def array(script: str, name: str) -> list[str]:
    """The words of an array of the script, as bash reads them."""
    line = next(line for line in script.splitlines() if line.startswith(f"{name}="))
    text = f'{line}; printf "%s\\0" "${{{name}[@]}}"'
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_the_first_session_starts_the_study_and_the_others_resume_it() -> None:
    script = batch_script(job())
    first, again, flags = (array(script, name) for name in ("first", "again", "flags"))
    assert first == [*job().words, "--out", "/shared/runs", "--name", "grid"]
    assert again == ["--resume", "/shared/runs/grid", "budget.time=4h", "budget={epochs: 9}"]
    assert flags == list(job().flags)
    for words in (first, again):  # both are calls that the sweep takes
        args = parser().parse_intermixed_args([*words, *flags, "--address", "10.0.0.1:9000"])
        check_flags(args)


def test_only_the_sweep_s_75_of_a_running_job_is_queued_again() -> None:
    lines = batch_script(job()).splitlines()
    place = next(place for place, line in enumerate(lines) if "scontrol requeue" in line)
    guard = lines[place - 1]
    code = f"{SESSION_OVER}"
    for value, state, wanted in (
        (code, "RUNNING", 0),
        *((value, "RUNNING", 1) for value in ("0", "2", "3", "4", "5", "143", "130")),
        *((code, state, 1) for state in ("CANCELLED", "COMPLETING", "")),
    ):
        text = f"code={value} state={state}\n{guard} exit 0; fi; exit 1"
        done = subprocess.run(["bash", "-c", text], check=False)
        assert done.returncode == wanted, (value, state)
    assert sum("scontrol requeue" in line for line in lines) == 1


def test_the_token_stands_in_a_private_file_and_in_no_variable() -> None:
    script = batch_script(job())
    assert "umask 077" in script
    assert "RAY_AUTH_TOKEN_PATH=$beside/$session.token" in script
    assert "RAY_AUTH_TOKEN=" not in script
    assert 'rm -f -- "$RAY_AUTH_TOKEN_PATH"' in script


WORDS = ["mrpc_grid", "--run", "runs/grid"]


def test_render_prints_the_script_that_submit_writes(
    fake_slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mrpc_grid", "beta=0", "--run", str(tmp_path / "runs" / "grid"), "--nodes", "2"]
    assert slurm.main(["render", *words, "--", "--sample"]) == 0
    script = capsys.readouterr().out
    assert list(tmp_path.glob("runs*")) == []
    assert slurm.main(["submit", *words, "--", "--sample"]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "runs" / "grid.slurm" / "batch.sh").read_text() == script
    assert "submitted job 1;" in said
    assert "scancel 1" in said
    assert not (tmp_path / "runs" / "grid").exists()  # the sweep makes it


def test_a_run_whose_job_waits_is_not_submitted_twice(
    fake_slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "mrpc_grid", "--run", str(tmp_path / "grid")]
    assert slurm.main(words) == 0
    assert slurm.main(words) == 2
    assert "job 1 of this run waits or runs" in capsys.readouterr().err
    fake_slurm.set("FAILED")
    assert slurm.main(words) == 0


def test_status_says_how_the_job_stands(
    fake_slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--run", str(tmp_path / "grid")]
    assert slurm.main(["status", *run]) == 2
    assert slurm.main(["submit", "mrpc_grid", *run]) == 0
    capsys.readouterr()
    for state, code in (("PENDING", 0), ("RUNNING", 0), ("COMPLETED", 0), ("TIMEOUT", 3)):
        fake_slurm.set(state)
        assert slurm.main(["status", *run]) == code
        assert f"job 1: {state}" in capsys.readouterr().out
    fake_slurm.forget()
    assert slurm.main(["status", *run]) == 0
    assert "has ended" in capsys.readouterr().out


def test_what_sbatch_refuses_is_exit_2_and_leaves_nothing(
    fake_slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_slurm.refuse("sbatch", "error: invalid partition specified: none")
    run = tmp_path / "grid"
    assert slurm.main(["submit", "mrpc_grid", "--run", str(run), "--sbatch=--partition=none"]) == 2
    said = capsys.readouterr().err
    assert "invalid partition specified: none" in said
    assert said.count("\n") == 1
    assert list(tmp_path.glob("grid*")) == []


@pytest.mark.parametrize("kind", ["link", "open"])
def test_a_folder_beside_the_run_that_others_could_reach_gets_no_script(
    kind: str, fake_slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, elsewhere = tmp_path / "grid.slurm", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if kind == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        folder.chmod(0o770)
    assert slurm.main(["submit", "mrpc_grid", "--run", str(tmp_path / "grid")]) == 2
    said = capsys.readouterr().err
    assert str(folder) in said
    assert "give --run another name" in said
    assert said.count("\n") == 1
    assert [*elsewhere.iterdir(), *folder.iterdir()] == []
    assert not any(call.startswith("sbatch") for call in fake_slurm.calls())


def test_without_slurm_the_message_says_where_to_call_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.main(["submit", "mrpc_grid", "--run", str(tmp_path / "grid")]) == 2
    assert "no sbatch on this machine; call this on a login node" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        *([*WORDS, "--nodes", text] for text in ("0", "-1", "x", "9" * 30)),
        *([*WORDS, "--cpus", "0"], [*WORDS, "--gpus", "-1"], [*WORDS, "--minutes", "1"]),
        *([*WORDS, "--", flag] for flag in ("--resume=x", "--address", "--name", "--dry-run")),
        *([*WORDS, f"--sbatch={text}"] for text in ("x", "", "--a\n--b", "-")),
        *(["mrpc_grid", "--run", text] for text in ("/", "a b", "a\nb", "a%j", "", "x" * 5000)),
        *(["--run", "runs/x"], ["mrpc_grid"], [*WORDS, "--bogus"], [*WORDS, "--sample"]),
    ],
)
@pytest.mark.parametrize("verb", ["render", "submit"])
def test_bad_input_is_exit_2_in_a_line_and_submits_nothing(
    verb: str,
    words: list[str],
    fake_slurm: FakeSlurm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: object = slurm.main([verb, *words])
    except SystemExit as error:
        code = error.code
    assert code == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert fake_slurm.calls() == []
    assert list(tmp_path.glob("runs*")) == []


def test_the_line_that_submit_prints_can_be_typed(
    fake_slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slurm.main(["submit", "mrpc_grid", "--run", os.path.relpath(tmp_path / "grid")]) == 0
    line = re.findall("`(mpc-router-cluster slurm .*?)`", capsys.readouterr().out)[0]
    assert slurm.main(shlex.split(line)[2:]) == 0
