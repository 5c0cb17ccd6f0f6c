"""Searches with early stopping, end to end in this process, on random outputs of experts."""

from __future__ import annotations

import datetime
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.fronts.survey import survey
from analysis.runs.load import load_run
from sweeps.driver._results import result_of
from sweeps.driver.queue import Batches
from sweeps.journal._lines import line_of
from sweeps.journal.journal import read
from sweeps.journal.state import State, apply, replay
from sweeps.records import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    SELECTION,
    STOPPED,
    Pack,
    Report,
)
from sweeps.stopping import rungs
from sweeps.stopping.rule import Rule
from sweeps.study.read import from_tree
from sweeps.terminal.counts import counts
from sweeps.terminal.outline import Outline
from tests.sweeps.conftest import assert_same_tables, rows

Command = Callable[..., int]

SEARCH = (
    *("mrpc_pareto", "pool=sample", "epochs=4", "seeds=[0, 1]", "search.points=12"),
    "search.method=tpe",
    *("stopping.bracket=6", "stopping.finish=false", "router_hidden_size={choice: [8, 16]}"),
)
"""Two brackets of six points in two stacks; rungs after epochs 1 and 3."""

FINISHED = tuple(word for word in SEARCH if word != "stopping.finish=false")
"""The same, and stopped points of the front are finished."""


def search(command: Command, *more: str, name: str = "r") -> int:
    return command(*SEARCH, *more, "--name", name, "--no-report", "--quiet")


@pytest.fixture
def searched(made_run: Callable[..., Path], tmp_path: Path) -> Path:
    return made_run(tmp_path / "runs" / "r", *SEARCH)


def state_of(run: Path) -> State:
    return replay(read(run / "journal.jsonl"))


def view(run: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(run / "optuna.journal")))
    return optuna.load_study(study_name=run.name, storage=storage)


def test_of_each_bracket_a_third_goes_on_at_every_rung(searched: Path) -> None:
    trials = rows(searched, "trials")
    ends = Counter((trial["pack"], trial["status"], trial["epochs"]) for trial in trials)
    for pack in ("pack00", "pack01"):
        assert ends[pack, STOPPED, 1] == 4 * 2
        assert ends[pack, STOPPED, 3] == 1 * 2
        assert ends[pack, COMPLETED, 4] == 1 * 2
    for trial in trials:
        assert ("go on" in (trial["reason"] or "")) == (trial["status"] == STOPPED)
        assert trial["validation_score"] is not None


def test_stopped_trials_leave_routes_and_a_checkpoint_of_their_last_epoch(searched: Path) -> None:
    from mpc_router.results.checkpoint import load

    routed = {row["key"] for row in rows(searched, "routing")}
    for trial in rows(searched, "trials"):
        assert trial["key"] in routed
        assert load(searched / "checkpoints" / trial["key"]).epoch == trial["epochs"]


def test_every_decision_and_its_reason_is_in_the_journal_and_recomputes_from_it(
    searched: Path,
) -> None:
    recomputed = 0
    state = State()
    for event in read(searched / "journal.jsonl"):
        if event["event"] == "decided":
            assert state.opened is not None
            ranking = from_tree(state.opened["study"]).ranking
            assert ranking is not None
            pack, epoch = state.packs[event["pack"]], event["decisions"][0]["epoch"]
            at = {
                key: report
                for (key, when, split), report in state.reports.items()
                if when == epoch and split == SELECTION
            }
            mine = {trial.key: at[trial.key] for trial in pack.trials if trial.key in at}
            found = rungs.decide_inside(pack, epoch, mine, ranking)
            assert [(each.key, each.goes_on, each.reason) for each in found] == [
                (each["key"], each["goes_on"], each["reason"]) for each in event["decisions"]
            ]
            recomputed += len(found)
        apply(state, event)
    assert recomputed == 2 * (6 + 2) * 2


def test_replicates_leave_together(searched: Path) -> None:
    points: dict[str, set[tuple[str, int]]] = {}
    for trial in rows(searched, "trials"):
        points.setdefault(trial["point"], set()).add((trial["status"], trial["epochs"]))
    assert len(points) == 12
    assert all(len(ends) == 1 for ends in points.values())


@pytest.mark.parametrize("key", [STOPPED, COMPLETED])
def test_a_trial_of_a_search_is_replayed_alone_and_equal(
    searched: Path, command: Command, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    trial = next(trial for trial in rows(searched, "trials") if trial["status"] == key)
    assert command("--debug", "--key", trial["key"], "--run", str(searched)) == 0
    assert "equal to the run's numbers" in capsys.readouterr().out


def test_the_optuna_study_opens_in_plain_optuna_and_leaves_nothing_running(searched: Path) -> None:
    study = view(searched)
    assert [way.name for way in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["score", "cost"]
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 12}
    ended = Counter(trial.user_attrs["ended"] for trial in study.trials)
    assert ended == {"complete": 2, "stopped": 10}
    feasible = {trial.number for trial in study.trials if trial.user_attrs["ended"] == "complete"}
    assert {trial.number for trial in study.best_trials} <= feasible


def test_means_over_replicates_are_what_the_search_is_told(searched: Path) -> None:
    state = state_of(searched)
    told = [
        (point, result)
        for names, batch in zip(state.proposed, state.batches, strict=True)
        for point, result in zip(names, batch.results, strict=True)
    ]
    trials = rows(searched, "trials")
    for point, result in told:
        mine = [trial for trial in trials if trial["point"] == point]
        assert result.values[0] == pytest.approx(
            sum(trial["selection_score"] for trial in mine) / 2, abs=1e-15
        )
        assert result.reached == mine[0]["epochs"] / 4


def cut(run: Path, at: int) -> None:
    """The journal as a kill after event `at` leaves it; what was built from it is gone."""
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join(lines[:at]))
    for file in (*run.glob("*.parquet"), run / "optuna.journal"):
        file.unlink(missing_ok=True)


def test_every_view_is_rebuilt_from_the_journal_and_its_bulk_files_alone(
    command: Command, searched: Path, tmp_path: Path
) -> None:
    def told(run: Path) -> list[tuple[object, ...]]:
        return [
            (trial.number, trial.state, trial.values, trial.params, trial.user_attrs["ended"])
            for trial in view(run).trials
        ]

    wanted = tmp_path / "wanted" / "r"
    shutil.copytree(searched, wanted)
    for path in searched.iterdir():
        if path.name not in ("journal.jsonl", "parts"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert command("--resume", str(searched), "--no-report", "--quiet") == 0
    assert_same_tables(searched, wanted)
    assert told(searched) == told(wanted)
    assert (searched / "study.yaml").read_text() == (wanted / "study.yaml").read_text()
    before, after = (
        json.loads((run / "provenance.json").read_text()) for run in (wanted, searched)
    )
    assert before == after
    counted = Counter(row["status"] for row in rows(searched, "trials"))
    done = counted[COMPLETED] + counted[STOPPED]
    state = state_of(searched)
    now = counts(state, Outline.of(state.study))
    assert (now.done, now.failed, now.running) == (done, counted[FAILED], 0)


@pytest.mark.usefixtures("no_front")
@pytest.mark.parametrize("words", [SEARCH, FINISHED], ids=["stopped", "finished"])
def test_a_search_killed_after_any_event_resumes_to_the_same_tables(
    command: Command, made_run: Callable[..., Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    run, wanted = made_run(tmp_path / "runs" / "r", *words), tmp_path / "wanted"
    whole = (run / "journal.jsonl").read_bytes()
    kinds = [event["event"] for event in read(run / "journal.jsonl")]
    wanted.mkdir()
    for file in run.glob("*.parquet"):
        (wanted / file.name).write_bytes(file.read_bytes())
    following = [at for at, event in enumerate(read(run / "journal.jsonl")) if "following" in event]
    begins = following[0] - 1 if following else 1  # before that both runs are the same
    for at in range(begins, len(kinds), 11):
        (run / "journal.jsonl").write_bytes(whole)
        cut(run, at)
        assert command("--resume", str(run), "--no-report", "--quiet") == 0, kinds[at - 1]
        assert_same_tables(run, wanted)
        assert {trial.state.name for trial in view(run).trials} == {"COMPLETE"}


def test_stopped_points_of_the_front_train_to_the_end_when_the_rest_is_done(
    command: Command,
    made_run: Callable[..., Path],
    tmp_path: Path,
    searched: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = made_run(tmp_path / "runs" / "f", *FINISHED)
    state = state_of(run)
    assert state.following
    before = {trial["key"]: trial for trial in rows(searched, "trials")}
    for trial in rows(run, "trials"):
        old = before[trial["key"]]
        if trial["point"] in state.following:
            assert (old["status"], trial["status"], trial["epochs"]) == (STOPPED, COMPLETED, 4)
            assert trial["pack"] not in ("pack00", "pack01")
        else:
            assert trial["status"] == old["status"]
            assert trial["validation_score"] == old["validation_score"]
    values = {
        point: result.values
        for names, batch in zip(state.proposed, state.batches, strict=True)
        for point, result in zip(names, batch.results, strict=True)
    }
    for point in state.following:
        score, cost = values[point]
        assert not any(
            (other[0] >= score and other[1] < cost) or (other[0] > score and other[1] <= cost)
            for other in values.values()
        )
    key = next(trial["key"] for trial in rows(run, "trials") if trial["point"] in state.following)
    assert command("--debug", "--key", key, "--run", str(run)) == 0
    assert "equal to the run's numbers" in capsys.readouterr().out


@pytest.mark.usefixtures("no_front")
@pytest.mark.parametrize("parallel", [1, 2])
def test_the_points_do_not_depend_on_when_results_arrive(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    more = (f"search.parallel={parallel}", "search.points=18", "epochs=2", "seeds=[0]")
    assert search(command, *more, name="one") == 0

    def newest_first(self: Batches) -> Pack | None:
        found = take(self)
        if found is not None and self._due:
            self._due.append(found)
            found = self._due.popleft()
        return found

    take = Batches.take
    monkeypatch.setattr(Batches, "take", newest_first)
    assert search(command, *more, name="other") == 0
    one, other = tmp_path / "runs" / "one", tmp_path / "runs" / "other"
    assert_same_tables(other, one)
    started = [
        [event["pack"] for event in read(run / "journal.jsonl") if event["event"] == "started"]
        for run in (one, other)
    ]
    assert (started[0] == started[1]) == (parallel == 1)


def test_a_point_with_a_failed_replicate_comes_last_and_is_told_as_failed(
    command: Command, tmp_path: Path
) -> None:
    more = ("learning_rate={choice: [1e-3, 1e30]}", "search.method=random")
    assert search(command, *more) == 4
    run = tmp_path / "runs" / "r"
    trials = rows(run, "trials")
    failed = {trial["point"] for trial in trials if trial["status"] == FAILED}
    assert failed
    assert {t["learning_rate"] for t in trials if t["status"] == FAILED} == {1e30}
    assert all(t["learning_rate"] == 1e-3 for t in trials if t["status"] == COMPLETED)
    states = Counter(trial.state.name for trial in view(run).trials)
    assert states["FAIL"] == len(failed)
    assert states["RUNNING"] == states["WAITING"] == 0


def test_a_proposal_that_was_there_before_is_not_trained_again(
    command: Command, tmp_path: Path
) -> None:
    fixed = ("alpha={choice: [0.01, 1.0]}", "beta=0.01", "learning_rate=1e-3", "temperature=1")
    more = (*fixed, "epochs=1", "search.method=random", "search.batch=6", "stopping={method: none}")
    assert search(command, *more) == 0
    run = tmp_path / "runs" / "r"
    assert len(rows(run, "trials")) <= 4 * 2
    state = state_of(run)
    assert sum(map(len, state.proposed)) == 12
    assert len(view(run).trials) == 12
    values: dict[str, tuple[float, ...]] = {}
    for names, batch in zip(state.proposed, state.batches, strict=True):
        for name, result in zip(names, batch.results, strict=True):
            assert values.setdefault(name, result.values) == result.values


@pytest.mark.usefixtures("no_front")
@pytest.mark.parametrize("fidelity", ["complete", "left_out", "infeasible"])
def test_stopped_points_are_told_as_the_study_says(
    command: Command, tmp_path: Path, fidelity: str
) -> None:
    assert search(command, f"search.fidelity={fidelity}", "epochs=2", "seeds=[0]") == 0
    states = Counter(trial.state.name for trial in view(tmp_path / "runs" / "r").trials)
    assert states == ({"COMPLETE": 4, "PRUNED": 8} if fidelity == "left_out" else {"COMPLETE": 12})


def test_a_grid_is_cut_into_brackets_and_stopped_too(command: Command, tmp_path: Path) -> None:
    grid = ("mrpc_grid", "pool=sample", "router_hidden_size=8", "epochs=3", "seeds=[0]")
    stop = "stopping={method: mo_asha, bracket: 5, finish: false}"
    assert command(*grid, stop, "--name", "g", "--no-report", "--quiet") == 0
    trials = rows(tmp_path / "runs" / "g", "trials")
    assert [(t["pack"], t["point"]) for t in trials] == [
        (f"pack{n // 5:02d}", f"p{n:02d}") for n in range(10)
    ]
    assert Counter(trial["status"] for trial in trials) == {STOPPED: 6, COMPLETED: 4}
    study = view(tmp_path / "runs" / "g")
    ended = Counter(trial.user_attrs["ended"] for trial in study.trials)
    assert ended == {"stopped": 6, "complete": 4}


GRID = ("mrpc_grid", "pool=sample", "router_hidden_size=8", "epochs=2", "seeds=[0,1]")


def _times(run: Path) -> list[tuple[float, float]]:
    """Start and end by trial of Optuna's, in seconds."""
    return [
        (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for trial in view(run).trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
    ]


def test_a_grid_too_is_a_study_of_optunas_with_the_means_and_times_of_its_points(
    made_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = made_run(tmp_path / "runs" / "r", *GRID)
    study, state, trials = view(run), state_of(run), rows(run, "trials")
    assert [trial.user_attrs["point"] for trial in study.trials] == list(state.points)
    for trial in study.trials:
        replicates = [row for row in trials if row["point"] == trial.user_attrs["point"]]
        assert trial.params == {name: replicates[0][name] for name in ("alpha", "beta")}
        for value, column in zip(trial.values, ("selection_score", "selection_cost"), strict=True):
            assert value == pytest.approx(sum(row[column] for row in replicates) / 2, abs=1e-15)
    events = list(read(run / "journal.jsonl"))
    seconds = {
        kind: [
            datetime.datetime.fromisoformat(event["time"]).timestamp()
            for event in events
            if event["event"] == kind
        ]
        for kind in ("started", "ended")
    }
    assert {start for start, _ in _times(run)} == set(seconds["started"])
    assert {end for _, end in _times(run)} <= set(seconds["ended"])


def test_the_times_of_a_view_are_those_of_the_run_after_a_resume(
    command: Command, made_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = made_run(tmp_path / "runs" / "r", *GRID)
    times = _times(run)
    assert len(times) == len(view(run).trials)
    (run / "optuna.journal").unlink()
    assert command("--resume", str(run), "--no-report", "--quiet") == 0
    assert _times(run) == times


def test_constraints_put_points_that_keep_them_first(command: Command, tmp_path: Path) -> None:
    assert search(command, "constraints={cost: {max: 10}}", "search.points=6") == 0
    run = tmp_path / "runs" / "r"
    state = state_of(run)
    first = [decision for (_, epoch), decision in state.decisions.items() if epoch == 1]
    cost = {
        decision.key: state.reports[decision.key, 1, SELECTION].cost["constants"]
        for decision in first
    }
    point = {trial["key"]: trial["point"] for trial in rows(run, "trials")}
    means: dict[str, list[float]] = {}
    for key, value in cost.items():
        means.setdefault(point[key], []).append(value)
    kept = {name for name, values in means.items() if sum(values) / len(values) <= 10}
    going = {point[decision.key] for decision in first if decision.goes_on}
    assert kept
    assert going <= kept or kept <= going
    reasons = [each.reason for each in first if point[each.key] not in kept]
    assert all("breaks a constraint by" in reason for reason in reasons)


BUDGETS = [("budget.epochs=10", "budget.epochs of 10"), ("budget.time=1e-9", "budget.time of")]


@pytest.mark.parametrize(("budget", "said"), BUDGETS)
def test_a_budget_that_is_used_up_ends_clean_and_a_larger_one_goes_on_to_the_same(
    command: Command,
    tmp_path: Path,
    searched: Path,
    capsys: pytest.CaptureFixture[str],
    budget: str,
    said: str,
) -> None:
    assert search(command, budget, name="b") == 5
    run = tmp_path / "runs" / "b"
    text = capsys.readouterr().err
    assert said in text
    assert "is used up" in text
    trials = rows(run, "trials")
    if "epochs" in budget:
        ends = {(trial["status"], trial["epochs"]): trial["reason"] for trial in trials}
        assert ends.keys() == {(STOPPED, 1), (INTERRUPTED, 1)}
        assert ends[INTERRUPTED, 1] == "budget"  # who had left at the rung has ended all the same
        routed = {row["key"] for row in rows(run, "routing")}
        assert routed == {trial["key"] for trial in trials if trial["status"] == STOPPED}
        assert {trial.state.name for trial in view(run).trials} == {"WAITING", "COMPLETE"}
    assert command("--resume", str(run), "--no-report", "--quiet") == 5
    assert "is used up" in capsys.readouterr().err
    name = budget.partition("=")[0]
    assert command("--resume", str(run), f"{name}=1000000", "--no-report", "--quiet") == 0
    assert "is used up" not in capsys.readouterr().err
    assert_same_tables(run, searched)


def test_time_between_two_sessions_is_not_spent(searched: Path) -> None:
    events = [dict(event) for event in read(searched / "journal.jsonl")]
    spent = replay(events).seconds
    later = {**events[-1], "n": len(events) + 1, "mono": events[-1]["mono"] + 1e6}
    resumed = [*events, {**later, "event": "resumed", "budget": {}}]
    assert replay(resumed).seconds == spent
    closed = {**later, "n": len(events) + 2, "mono": later["mono"] + 7}
    assert replay([*resumed, {**closed, "event": "closed", "outcome": "done"}]).seconds == (
        pytest.approx(spent + 7)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stopping.grace=4"], "stopping.grace is 4"),
        (["stopping.method=asha"], "asha' ranks by one objective"),
        (["objectives={speed: max}"], "unknown objectives 'speed'"),
        (["search.method=cmaes"], "allowed are grid, random, qmc"),
        (["seeds=[]"], "seeds is empty"),
        (["budget.epochs=0"], "budget.epochs is 0"),
        (["budget.gpu_hours=3"], "there is no GPU on this machine, so no GPU hours are ever spent"),
        (["budget.gpu_hours=3", "pack.gpus=0"], "pack.gpus is 0, so no GPU hours are ever spent"),
        (["budget.gpu_hours=3", "device=cpu"], "device is 'cpu', so no GPU hours are ever spent"),
        (["epochs=1"], "a trial has 1 epoch and cannot be stopped"),
        (["alpha={choice: [0.1, .nan]}"], "numbers must be finite"),
    ],
)
def test_what_cannot_be_searched_is_one_line_and_exit_2(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert search(command, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_resume_takes_a_budget_and_nothing_else(
    searched: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (searched / "journal.jsonl").read_bytes()
    for words in (["search.points=99"], ["budget.epochs=0"], ["budget.money=3"]):
        assert command("--resume", str(searched), *words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (searched / "journal.jsonl").read_bytes() == before


def test_a_journal_of_another_space_is_refused(
    searched: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = searched / "journal.jsonl"
    opened, *rest = read(journal)
    opened["study"]["space"]["alpha"] = {"loguniform": [10, 20]}
    journal.write_bytes(b"".join(map(line_of, [opened, *rest])))
    (searched / "study.yaml").unlink()  # the view of another journal
    assert command("--resume", str(searched), "--quiet") == 2
    assert "lies outside of the study's space" in capsys.readouterr().err


def test_one_objective_is_stopped_by_asha_and_the_search_is_over_one(
    command: Command, tmp_path: Path
) -> None:
    one = ("stopping.method=asha", "objectives={score: max}", "search.points=6")
    assert search(command, *one) == 0
    run = tmp_path / "runs" / "r"
    state = state_of(run)
    scores: dict[str, list[float]] = {}
    for (key, epoch), decision in state.decisions.items():
        if epoch == 1:
            score = state.reports[key, 1, SELECTION].metrics["score"]
            scores.setdefault(state.trials[key].point, []).append(score)
            assert decision.goes_on or "rank" in decision.reason
    best = max(scores, key=lambda point: sum(scores[point]))
    going = {
        state.trials[key].point
        for (key, epoch), each in state.decisions.items()
        if epoch == 1 and each.goes_on
    }
    assert best in going
    assert len(going) == 2
    assert view(run).direction.name == "MAXIMIZE"


def report(key: str, epoch: int, score: float, cost: float) -> Report:
    return Report(
        key=key,
        epoch=epoch,
        split=SELECTION,
        metrics={"score": score},
        cost={"constants": cost},
        losses={},
        share=(0.5, 0.5),
        gate=(),
        gate_entropy=0.0,
        seconds=0.0,
    )


RANKING = rungs.Ranking(
    rule=Rule(method="mo_asha", eta=2, grace=1),
    objectives={"score": "max", "cost": "min"},
    cost_vector="constants",
    epochs=4,
)


def test_an_arrival_is_judged_by_those_before_it_in_its_own_bracket_alone() -> None:
    good, bad = report("good", 1, 0.9, 1.0), report("bad", 1, 0.1, 9.0)
    first = rungs.decide_between(bad, [], RANKING)
    assert first is not None
    assert first.goes_on
    later = rungs.decide_between(bad, [good], RANKING)
    assert later is not None
    assert not later.goes_on
    again = rungs.decide_between(bad, [good, bad], RANKING)
    assert again == later
    other_epoch = rungs.decide_between(bad, [report("good", 2, 0.9, 1.0)], RANKING)
    assert other_epoch is not None
    assert other_epoch.goes_on
    assert rungs.decide_between(report("bad", 3, 0.1, 9.0), [], RANKING) is None


def test_a_ranking_survives_its_way_to_a_worker() -> None:
    assert rungs.Ranking.from_json(json.loads(json.dumps(RANKING.to_json()))) == RANKING


@pytest.mark.usefixtures("no_front")
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_batches_of_nothing_new_do_not_end_a_search(
    command: Command, tmp_path: Path, method: str
) -> None:
    """Two points in all, forty asked for: both are trained, and all forty proposals are told."""
    fixed = ("alpha={choice: [0.01, 1.0]}", "beta=0.01", "learning_rate=1e-3", "temperature=1")
    more = ("router_hidden_size=8", "search.points=40", "search.batch=2", "stopping={method: none}")
    short = ("epochs=1", "seeds=[0]", f"search.method={method}")
    assert search(command, *fixed, *more, *short) == 0
    state = state_of(tmp_path / "runs" / "r")
    assert state.told_batches == len(state.batches) == 20
    assert len(state.points) == 2


@pytest.mark.usefixtures("no_front")
def test_a_budget_that_is_used_up_by_the_last_epoch_leaves_nothing_to_resume(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("mrpc_grid", "pool=sample", "epochs=2", "alpha=0.05", "beta=0.1", "seeds=[0, 1]")
    race = ("racing=1", "seeds=[0, 1]", "search.points=3", "stopping.method=none", "epochs=2")
    searched = ("mrpc_pareto", "pool=sample", "search.method=random", *race)
    assert command(*words, "budget.epochs=4", "--name", "g", "--no-report", "--quiet") == 0
    assert "is used up" not in capsys.readouterr().err
    assert state_of(tmp_path / "runs" / "g").closed == "done"
    assert command(*searched, "--name", "w", "--no-report", "--quiet") == 0
    spent = sum(trial["epochs"] for trial in rows(tmp_path / "runs" / "w", "trials"))
    budget = f"budget.epochs={spent}"
    assert command(*searched, budget, "--name", "r", "--no-report", "--quiet") == 0
    state = state_of(tmp_path / "runs" / "r")
    assert (state.closed, state.following) == ("done", ())
    assert_same_tables(tmp_path / "runs" / "r", tmp_path / "runs" / "w")


@pytest.mark.usefixtures("no_front")
def test_a_run_is_judged_by_its_constraints_as_the_search_judged_it(
    command: Command, tmp_path: Path
) -> None:
    words = [word for word in SEARCH if not word.startswith("stopping.")]
    bounds = "constraints={cost: {max: 6}, score: {min: 0.5}, dead_experts: {max: 0}}"
    more = ("stopping.method=none", bounds, "--name", "c", "--no-report", "--quiet")
    assert command(*words, *more) == 0
    run = tmp_path / "runs" / "c"
    state = state_of(run)
    study = from_tree(state.study)
    taken = survey(load_run(run), resamples=0)
    judged = dict(zip(taken.points["point"], taken.judged.violation.tolist(), strict=True))
    for point in state.points:
        result = result_of(state, point, study)
        assert judged[point] == pytest.approx(list(result.violations.values()))
    front = dict(zip(taken.points["point"], taken.points["on_front"], strict=True))
    searched = [result_of(state, point, study) for point in front]
    chosen = rungs.front(searched, list(front), study.objectives)
    assert set(chosen) == {point for point, there in front.items() if there}


def test_a_spent_budget_exits_with_5_also_where_trials_failed(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("learning_rate={choice: [0.001, 1.0e30]}", "stopping.method=none")
    words = [word for word in SEARCH if not word.startswith("stopping.")]
    code = command(*words, *more, "budget.epochs=50", "--name", "x", "--no-report", "--quiet")
    text = capsys.readouterr().err
    assert "trials FAILED" in text
    assert "budget.epochs of 50 is used up" in text
    assert code == 5


def test_a_budget_that_leaves_the_front_unfinished_says_so_and_goes_on(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = 2 * (6 * 1 + 2 * 2 + 1 * 1) * 2
    assert command(*FINISHED, f"budget.epochs={whole}", "--name", "f", "--no-report") == 5
    assert "points of the front were not followed up" in capsys.readouterr().err
    run = tmp_path / "runs" / "f"
    assert state_of(run).closed == "budget"
    assert command("--resume", str(run), "--no-report", "--quiet") == 5
    assert "points of the front were not followed up" in capsys.readouterr().err
    assert command("--resume", str(run), "budget.epochs=9999", "--no-report", "--quiet") == 0
    assert state_of(run).following
    assert state_of(run).closed == "done"
