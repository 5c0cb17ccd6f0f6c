"""The command: its flags, exit codes, and runs in process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import schema
from mpc_router.data.sources import SourceError
from mpc_router.prepare import frozen
from mpc_router.tasks import TASKS
from sweeps import records, run
from sweeps.commands.arguments import parser
from sweeps.driver import session, session_clock
from sweeps.journal import tables
from sweeps.journal._lines import line_of
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.provenance.facts import code_fingerprint
from sweeps.records import COMPLETED, FAILED, INTERRUPTED, Message, Pack
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import FIX, LITTLE, assert_same_tables, in_process, rows
from tests.sweeps.study.test_study import BAD

Command = Callable[..., int]

FLAGS = {
    *("--sample", "--data", "--models", "--cache", "--out", "--name", "--address", "--debug"),
    "--session-time",
    "--wait-nodes",
    *(
        "--key",
        "--point",
        "--seed",
        "--run",
        "--dry-run",
        "--resume",
        "--repair",
        "--retry-failed",
        "--force",
        "--track",
        "--trust",
        "--umask",
        "--no-report",
        "--quiet",
        "--list",
        "--settings",
        "--schema",
        "--completion",
        "--help",
    ),
}


def sweep(command: Command, *extra: str, name: str = "r") -> int:
    return command("mrpc_grid", *FIX, "--name", name, "--no-report", *extra)


def test_the_command_line_is_frozen() -> None:
    found = {
        option
        for action in parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert found == FLAGS


def test_flags_may_stand_anywhere() -> None:
    parsed = parser().parse_intermixed_args(["--sample", "a", "b=1", "--quiet", "c=2"])
    assert parsed.words == ["a", "b=1", "c=2"]
    assert parsed.sample
    assert parsed.quiet


def test_a_flag_is_never_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run.main(["mrpc_grid", "--dry"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("override", BAD)
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str
) -> None:
    assert command("mrpc_grid", override) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mrpc_gird"], "did you mean mrpc_grid"),
        ([], "name one study, not none; --list shows them"),
        (["--trust", "mrpc_grid"], "none: --trust has taken 'mrpc_grid', so give --trust its own"),
        (["--name", "my_study.yaml", "beta=0"], "--name has taken 'my_study.yaml'"),
        (["mrpc_grid", "sst2_grid"], "name one study"),
        (["missing.yaml"], "missing.yaml"),
        (["mrpc_grid", "--name", "../up"], "--name is '../up'"),
        (["mrpc_grid", "--name", ""], "--name is ''"),
        (["--resume", "nowhere"], "holds no journal.jsonl"),
        (["--key", "abc"], "go together"),
        (["--debug", "--run", "x", "--key", "abc", "--point", "p00"], "go together"),
        (["--debug", "--run", "x", "--key", "abc", "--seed", "1"], "--seed belongs to --point"),
        (["--debug", "--key", "abc", "--run", "nowhere"], "holds no journal.jsonl"),
    ],
)
def test_other_bad_input_is_one_line_too(
    command: Command,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    assert command(*arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_data_is_found_before_the_run_folder_exists(
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def refuse(*_: Any) -> None:
        raise SourceError("train.parquet has no column 'label'")

    monkeypatch.setattr(frozen, "check_inputs", refuse)
    assert sweep(command) == 2
    assert capsys.readouterr().err == "error: train.parquet has no column 'label'\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_is_refused_and_left_alone(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs" / "r").mkdir(parents=True)
    assert sweep(command) == 2
    assert "exists" in capsys.readouterr().err
    assert list((tmp_path / "runs" / "r").iterdir()) == []


@pytest.fixture
def finished(made_run: Callable[..., Path], tmp_path: Path) -> Path:
    return made_run(tmp_path / "runs" / "r", "mrpc_grid", *FIX)


def test_a_grid_ends_with_thirty_completed_trials_and_sound_tables(finished: Path) -> None:
    trials = rows(finished, "trials")
    assert len(trials) == 30
    assert {trial["status"] for trial in trials} == {COMPLETED}
    assert {trial["epochs"] for trial in trials} == {2}
    assert len(rows(finished, "reports")) == 30 * (2 + 1)
    vectors = tuple(json.loads((finished / "provenance.json").read_text())["cost_vectors"])
    metrics = TASKS["mrpc"].metrics
    expected = {
        "trials": schema.trials(
            {"alpha": pa.float64(), "beta": pa.float64()},
            metrics=metrics,
            quoted=("validation",),
            vectors=vectors,
        ),
        "reports": schema.reports(metrics),
        "routing": schema.ROUTING,
        "experts": schema.EXPERTS,
        # its last column is there only where the experts' tokenizers differ
        "examples": pa.schema(list(schema.EXAMPLES)[:-1]),
    }
    for table, wanted in expected.items():
        found = pq.read_schema(finished / f"{table}.parquet")
        stamped = schema.stamped(wanted, "r")
        assert found.equals(stamped), table
        assert found.metadata == stamped.metadata


def test_tables_are_rebuilt_from_journal_and_parts_alone(finished: Path) -> None:
    files = [f"{table}.parquet" for table in schema.TABLES] + ["study.yaml", "provenance.json"]
    before = {name: (finished / name).read_bytes() for name in files}
    for name in files:
        (finished / name).unlink()
    state = replay(read(finished / "journal.jsonl"))
    tables.write(finished, state, code=code_fingerprint())
    assert {name: (finished / name).read_bytes() for name in files} == before


def test_a_damaged_part_is_named(finished: Path) -> None:
    part = finished / "parts" / "pack00.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(tables._PartError, match=r"pack00\.parquet is damaged"):
        tables.write(finished, replay(read(finished / "journal.jsonl")))


def test_the_names_that_writers_use_are_those_that_readers_know() -> None:
    names = ("JOURNAL_FILE", "STUDY_FILE", "PARTS_FOLDER", "CHECKPOINTS_FOLDER", "SELECTION")
    for name in (*names, "COMPLETED", "STOPPED", "FAILED", "INTERRUPTED"):
        assert getattr(records, name) == getattr(schema, name)


def test_every_trial_leaves_a_checkpoint(finished: Path) -> None:
    from mpc_router.results.checkpoint import load

    for trial in rows(finished, "trials"):
        found = load(finished / "checkpoints" / trial["key"])
        assert (found.seed, found.epoch) == (trial["seed"], 2)
        assert found.config.loss_weights.alpha == trial["alpha"]


def test_a_trial_replayed_alone_is_equal_to_the_one_in_the_sweep(
    command: Command, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(finished.rglob("*"))
    for trial in rows(finished, "trials")[::11]:
        assert command("--debug", "--key", trial["key"], "--run", str(finished)) == 0
        assert "equal to the run's numbers" in capsys.readouterr().out
    assert sorted(finished.rglob("*")) == before


def test_a_replay_that_differs_says_so(
    command: Command, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = rows(finished, "trials")[0]["key"]
    path = finished / "journal.jsonl"
    events = list(read(path))
    for event in events:
        for report in event.get("reports", ()):
            report["metrics"]["score"] += 0.5
    path.write_bytes(b"".join(map(line_of, events)))
    assert command("--debug", "--key", key, "--run", str(finished)) == 4
    assert "differs from the run" in capsys.readouterr().out


def test_debug_trains_the_first_point_and_writes_nothing(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command("mrpc_grid", *FIX, "--debug") == 0
    said = capsys.readouterr().out
    assert "point p00, seed 0" in said
    assert "epoch 2 validation" in said
    assert list(tmp_path.iterdir()) == []


def test_debug_draws_nothing_over_a_prompt(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def stopped_at_a_breakpoint(*arguments: Any, **named: Any) -> Iterator[Message]:
        named["progress"].start("training", 5)
        threads.append(threading.active_count())
        yield from run_pack(*arguments)

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sweeps.commands.debug.run_pack", stopped_at_a_breakpoint)
    before = threading.active_count()
    assert command("mrpc_grid", *FIX, "--debug") == 0
    assert threads == [before]  # nobody prints while a debugger waits for an answer
    assert "training ..." in screen.getvalue()
    assert "\x1b[" not in re.sub(r"\x1b\[\d*m", "", screen.getvalue())  # no cursor is moved


def test_dry_run_prints_the_plan_and_writes_nothing(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command("mrpc_grid", *FIX, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "10 points x 3 seeds = 30 trials" in said
    assert "ms a step and router (measured)" in said
    assert list(tmp_path.iterdir()) == []


def test_a_failed_trial_is_reported_the_others_go_on_and_the_exit_code_is_4(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ("alpha=0.1", "beta=0.01", "learning_rate={grid: [1e-3, 1e30]}", "seeds=[0]")
    assert sweep(command, *extra) == 4
    trials = {trial["learning_rate"]: trial for trial in rows(tmp_path / "runs" / "r", "trials")}
    assert trials[1e-3]["status"] == COMPLETED
    assert trials[1e30]["status"] == FAILED
    assert "step" in trials[1e30]["reason"]
    assert trials[1e30]["validation_score"] is None
    assert "FAILED" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGTERM, 143)]
)
def test_a_run_that_a_signal_stops_resumes_to_the_tables_of_an_undisturbed_one(
    number: signal.Signals,
    code: int,
    command: Command,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # under nohup SIGHUP is ignored on purpose; the tests may run so themselves
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    other = tmp_path / "runs" / "cut"

    def interrupted(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        for place, message in enumerate(run_pack(pack, job, **more)):
            yield message
            if pack.name == "pack01" and place == 0:
                signal.raise_signal(number)

    monkeypatch.setattr(session, "_run_pack", interrupted)
    try:
        assert sweep(command, name="cut") == code
    finally:
        signal.signal(signal.SIGHUP, before)
    statuses = {trial["status"] for trial in rows(other, "trials")}
    assert statuses == {COMPLETED, INTERRUPTED}
    monkeypatch.setattr(session, "_run_pack", run_pack)
    assert command("--resume", str(other), "--no-report") == 0
    assert_same_tables(other, finished)
    attempts = {trial["pack"]: trial["attempt"] for trial in rows(other, "trials")}
    assert attempts["pack00"] == 1
    assert attempts["pack01"] == 2


def interrupting(deed: Callable[[], object]) -> Callable[..., Iterator[Message]]:
    """Trains packs, and does the deed after the first message of the second one."""

    def interrupted(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        for place, message in enumerate(run_pack(pack, job, **more)):
            yield message
            if pack.name == "pack01" and place == 0:
                deed()

    return interrupted


@pytest.mark.parametrize(("seconds_left", "code"), [(60, 75), (3600, 143)])
def test_sigterm_means_another_session_only_where_the_allocation_ends(
    seconds_left: int,
    code: int,
    command: Command,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + seconds_left))
    deed = interrupting(lambda: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(session, "_run_pack", deed)
    assert sweep(command, "--session-time", "7200", name="cut") == code
    said = capsys.readouterr().err
    assert ("the Slurm allocation ends: " in said) == (code == 75)
    assert ("stopped by SIGTERM: " in said) == (code == 143)
    monkeypatch.setattr(session, "_run_pack", run_pack)
    monkeypatch.delenv("SLURM_JOB_ID")
    assert command("--resume", str(tmp_path / "runs" / "cut"), "--no-report") == 0
    assert_same_tables(tmp_path / "runs" / "cut", finished)


def test_a_session_whose_time_is_over_closes_with_75_and_a_resume_goes_on(
    command: Command,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The clock jumps to the session's end while a pack trains."""
    later = [0.0]
    monkeypatch.setattr(
        session_clock.SessionClock.__init__,
        "__kwdefaults__",
        {"now": lambda: time.monotonic() + later[0]},
    )
    monkeypatch.setattr(session, "_run_pack", interrupting(lambda: later.insert(0, 7200.0)))
    assert sweep(command, "--session-time", "3600", name="cut") == 75
    assert "the session's time is over: " in capsys.readouterr().err
    folder = tmp_path / "runs" / "cut"
    assert list(read(folder / "journal.jsonl"))[-1]["outcome"] == "the session's time is over"
    assert {trial["status"] for trial in rows(folder, "trials")} == {COMPLETED, INTERRUPTED}
    later.insert(0, 0.0)
    monkeypatch.setattr(session, "_run_pack", run_pack)
    assert command("--resume", str(folder), "--no-report", "--session-time", "3600") == 0
    assert_same_tables(folder, finished)


def test_a_session_starts_no_pack_for_which_there_is_no_time(
    command: Command,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The first pack needs most of the session for its first report, so the second waits."""
    later = [0.0]
    clock = {"now": lambda: time.monotonic() + later[0]}
    monkeypatch.setattr(session_clock.SessionClock.__init__, "__kwdefaults__", clock)

    def slow(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        later.insert(0, 2000.0)
        yield from run_pack(pack, job, **more)

    monkeypatch.setattr(session, "_run_pack", slow)
    assert sweep(command, "--session-time", "3600", name="cut") == 75
    events = read(tmp_path / "runs" / "cut" / "journal.jsonl")
    assert [event["pack"] for event in events if event["event"] == "started"] == ["pack00"]
    statuses = Counter(trial["status"] for trial in rows(tmp_path / "runs" / "cut", "trials"))
    assert statuses[COMPLETED] > 0
    monkeypatch.setattr(session, "_run_pack", run_pack)
    assert command("--resume", str(tmp_path / "runs" / "cut"), "--no-report") == 0
    assert_same_tables(tmp_path / "runs" / "cut", finished)


def test_a_budget_that_is_spent_stays_5_in_a_session(command: Command, tmp_path: Path) -> None:
    assert sweep(command, "budget.epochs=1", "--session-time", "3600", name="cut") == 5


def test_resuming_a_finished_run_trains_nothing(command: Command, finished: Path) -> None:
    before = replay(read(finished / "journal.jsonl"))
    assert command("--resume", str(finished), "--no-report") == 0
    after = replay(read(finished / "journal.jsonl"))
    assert after.endings == before.endings
    assert after.attempts == before.attempts


@pytest.mark.parametrize("flag", ["--help", "--list"])
def test_help_and_the_list_of_studies_load_no_framework(flag: str) -> None:
    heavy = {"torch", "ray", "pandas", "datasets", "pyarrow", "optuna", "moocore", "rich"}
    code = (
        "import sys; from sweeps import run\n"
        f"try: run.main(['{flag}'])\n"
        "except SystemExit: pass\n"
        f"print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--resume", "runs/r", "--dry-run"], "--dry-run"),
        (["--resume", "runs/r", "--debug"], "--debug"),
        (["--resume", "runs/r", "--name", "other"], "--name"),
        (["--resume", "runs/r", "--umask", "022"], "--umask"),
        (["mrpc_grid", "--sample", "--debug", "--umask", "022"], "--umask"),
        (["mrpc_grid", "--sample", "--dry-run", "--umask", "022"], "--umask"),
        (["mrpc_grid", "--sample", "--umask", "777"], "--umask is '777'"),
        (["mrpc_grid", "--sample", "--umask", "27"], "--umask is '27'"),
        (["mrpc_grid", "--sample", "--umask", "u=rwx"], "--umask is 'u=rwx'"),
        (["mrpc_grid", "--sample", "--force"], "--force needs --resume RUN"),
        (["mrpc_grid", "--sample", "--debug", "--dry-run"], "--debug"),
        (["alpha=7", "--debug", "--key", "k", "--run", "runs/r"], "alpha=7"),
        (
            ["mrpc_grid", "--sample", "pack.gpus=64"],
            "pack.gpus is 64, but must be auto, measured, 0, or a",
        ),
    ],
)
def test_what_would_be_passed_over_or_wait_for_ever_is_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def unheard(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, of `2>&1 | tee log`, say, whose tee ends as the first begins."""
    out = tmp_path_factory.mktemp("unheard")
    words = ("mrpc_grid", *FIX, "seeds=[0]", "pack.points=1", "alpha=0.1", "start=[]", "--sample")
    reading, writing = os.pipe()
    reader, writer = os.fdopen(reading), os.fdopen(writing, "w", buffering=1)

    def tee() -> None:
        assert reader.readline()
        reader.close()

    ends_soon = threading.Thread(target=tee)
    ends_soon.start()
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)
        with contextlib.redirect_stdout(writer), contextlib.redirect_stderr(writer):
            known = ("--quiet", "--out", str(out))
            failing = run.main([*words, *known, "--name", "failing", "learning_rate=1e30"])
            sound = run.main([*words, *known, "--name", "sound"])
    ends_soon.join()
    writer.close()
    assert (failing, sound) == (4, 0)
    return out


@pytest.mark.parametrize(("name", "status"), [("sound", "COMPLETED"), ("failing", "FAILED")])
def test_a_run_goes_on_when_nobody_listens_any_more(unheard: Path, name: str, status: str) -> None:
    assert {row["status"] for row in rows(unheard / name, "trials")} == {status}
    assert (unheard / name / "report.html").exists() == (status == "COMPLETED")


def test_two_tasks_of_the_same_rows_are_each_judged_by_their_own_metrics(
    sample: Command, tmp_path: Path
) -> None:
    definition = {"name": "mrpc", "text": ["sentence1", "sentence2"], "labels": ["no", "yes"]}
    for metric in ("accuracy", "macro_f1"):
        task = json.dumps({**definition, "metrics": [metric]})
        words = ("mrpc_grid", *LITTLE, "alpha=0.1", "beta=0.1", "epochs=1", "seeds=[0]")
        assert sample(*words, f"task_definition={task}", "--name", metric, "--quiet") == 0
    for metric, other in (("accuracy", "macro_f1"), ("macro_f1", "accuracy")):
        (trial,) = rows(tmp_path / "runs" / metric, "trials")
        assert trial["validation_score"] == trial[f"validation_{metric}"]
        assert f"validation_{other}" not in trial
