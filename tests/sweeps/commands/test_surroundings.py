"""Which Ray a sweep joins, and until when it runs: flags, RAY_ADDRESS, and Slurm's allocation."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import addresses
from sweeps import run
from sweeps.commands.arguments import parser
from sweeps.commands.surroundings import settle
from sweeps.records import InputError, NodesWanted

HEAD = "10.0.0.1:6379"


def settled(
    address: str | None = None,
    session_time: float | None = None,
    wait_nodes: NodesWanted | None = None,
    **environ: str,
) -> argparse.Namespace:
    args = argparse.Namespace(address=address, session_time=session_time, wait_nodes=wait_nodes)
    settle(args, environ)
    return args


def test_ray_address_joins_as_the_flag_does_and_the_first_line_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert settled(RAY_ADDRESS=HEAD).address == settled(HEAD).address == HEAD
    said = capsys.readouterr().err
    assert said == (
        f"note: RAY_ADDRESS is {HEAD}: the sweep joins the Ray cluster at {HEAD}; --address local "
        "starts a Ray here\n"
    )


@pytest.mark.parametrize("variable", ["", HEAD, "auto", "ray://10.0.0.1:10001", "local"])
def test_the_flag_wins_over_ray_address(variable: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert settled("10.0.0.2:1", RAY_ADDRESS=variable).address == "10.0.0.2:1"
    assert settled("local", RAY_ADDRESS=variable).address is None
    assert capsys.readouterr().err == ""


def test_without_any_address_a_ray_is_started_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert settled().address is None
    assert settled(RAY_ADDRESS="").address is None
    assert capsys.readouterr().err == ""
    assert settled(RAY_ADDRESS="local").address is None
    assert "RAY_ADDRESS is local: a Ray is started on this machine" in capsys.readouterr().err


def test_auto_is_the_only_cluster_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = [HEAD]
    monkeypatch.setattr(addresses, "clusters_here", lambda **_: heads)
    assert settled("auto").address == settled(RAY_ADDRESS="auto").address == HEAD
    assert capsys.readouterr().err.count(f"the sweep joins the Ray cluster at {HEAD}") == 2
    heads.append("10.0.0.2:6379")
    with pytest.raises(InputError, match=r"nodes of 2 clusters .*10\.0\.0\.1:6379 or 10\.0\.0\.2"):
        settled("auto")
    heads.clear()
    with pytest.raises(InputError, match="RAY_ADDRESS is auto, but no Ray cluster has a node on"):
        settled(RAY_ADDRESS="auto")


@pytest.mark.parametrize(
    "address",
    [
        "ray://10.0.0.1:10001",
        "http://10.0.0.1:8265",
        "https://head.example.org",
        "RAY://x",
        "ray://",
    ],
)
@pytest.mark.parametrize("by", ["--address", "RAY_ADDRESS"])
def test_an_address_of_ray_s_client_or_dashboard_is_refused_at_once_with_where_to_run(
    address: str,
    by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["mrpc_grid", "--sample", "--out", str(tmp_path / "runs")]
    words += ["--cache", str(tmp_path / "cache")]
    if by == "--address":
        words += ["--address", address]
    else:
        monkeypatch.setenv("RAY_ADDRESS", address)
    assert run.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {by} is ")
    assert "on the cluster's head" in said
    assert "ray job submit" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["10.0.0.1", "head:0", "head:70000", "a b:1", ":1", "x"])
def test_what_is_no_address_is_refused_with_what_is_one(address: str) -> None:
    with pytest.raises(
        InputError, match=r"RAY_ADDRESS is .*, but must be HOST:PORT .* or auto .*lo"
    ):
        settled(RAY_ADDRESS=address)


def test_a_trial_in_this_process_needs_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    assert run.main(["--list"]) == 0


def test_the_session_ends_after_its_time_or_with_the_allocation() -> None:
    now = time.monotonic()
    assert settled().session_end is None
    assert settled(session_time=40.0).session_end == pytest.approx(now + 40.0, abs=5.0)
    job: dict[str, Any] = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_END_TIME": str(int(time.time()) + 600),
    }
    assert settled(**job).session_end == pytest.approx(now + 540.0, abs=5.0)
    assert settled(None, 40.0, **job).session_end == pytest.approx(now + 40.0, abs=5.0)


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf", "1e12", "2h", ""])
def test_a_session_without_a_length_is_refused(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(["mrpc_grid", f"--session-time={seconds}"])
    assert "--session-time" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--debug", "--dry-run"])
@pytest.mark.parametrize("of_a_run", ["--session-time", "--wait-nodes"])
def test_only_a_run_has_a_session_and_waits_for_nodes(
    flag: str, of_a_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["mrpc_grid", "--sample", flag, of_a_run, "40"]) == 2
    assert f"{of_a_run} is for a run" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "count", "seconds"), [("4", 4, 600), ("12:90", 12, 90)])
def test_wait_nodes_takes_a_count_and_seconds(text: str, count: int, seconds: float) -> None:
    args = parser().parse_args(["mrpc_grid", f"--wait-nodes={text}"])
    assert args.wait_nodes == NodesWanted(count=count, seconds=seconds)


@pytest.mark.parametrize("text", ["0", "-1", "1:0", "1:", ":5", "1:2:3", "x", "1.5", "٣", ""])
def test_a_wait_for_no_nodes_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(["mrpc_grid", f"--wait-nodes={text}"])
    assert "is not N or N:SECONDS" in capsys.readouterr().err


def test_without_a_cluster_there_are_no_nodes_to_wait_for() -> None:
    with pytest.raises(InputError, match="--wait-nodes waits for nodes of a cluster, but a Ray is"):
        settled(wait_nodes=NodesWanted(count=1, seconds=1))
