"""What TensorBoard reads of a run, by its own readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from sweeps.journal.journal import Journal
from sweeps.tracking._follow import follow
from sweeps.tracking._tensorboard import TensorBoard
from sweeps.tracking._tracker import TrackedTrial
from tests.sweeps.conftest import rows
from tests.sweeps.tracking.conftest import Memory, measured, results


def _trials(run: Path) -> dict[str, TrackedTrial]:
    memory = Memory()
    follow(run, memory, lambda: True)
    return memory.trials


def _scalars(folder: Path) -> dict[tuple[int, str], float]:
    """Everything that was written of a trial, without costs of other vectors."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        (event.step, tag): event.value
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
        if "/cost_" not in tag
    }


def _check(run: Path) -> None:
    """All numbers are those of the tables, as far as TensorBoard's 32 bits hold them."""
    reports, ends, trials = measured(run), results(run), _trials(run)
    epochs = {row["key"]: row["epochs"] for row in rows(run, "trials")}
    assert len(list((run / "tensorboard").iterdir())) == len(trials) + 1
    for key, trial in trials.items():
        wanted = {**reports[key], **{(epochs[key], column): v for column, v in ends[key].items()}}
        assert _scalars(run / "tensorboard" / trial.name) == {
            place: float(np.float32(value)) for place, value in wanted.items()
        }


def test_tensorboard_holds_the_numbers_of_the_tables_with_their_times(searched: Path) -> None:
    trials, text = follow(searched, TensorBoard(searched), lambda: True)
    assert trials == len(rows(searched, "trials"))
    assert text == f"tensorboard --logdir {searched / 'tensorboard'}"
    _check(searched)
    trial = next(iter(_trials(searched).values()))
    events = EventAccumulator(str(searched / "tensorboard" / trial.name)).Reload()
    assert [event.wall_time for event in events.Scalars("selection/score")] == [
        item.time for item in trial.measurements if "selection/score" in item.values
    ]


def test_a_run_that_is_written_while_it_goes_on_is_the_same(searched: Path) -> None:
    step = 3
    journal = searched / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"")
    places = iter(range(0, len(lines), step))

    def is_over() -> bool:
        place = next(places, None)
        if place is not None:
            with journal.open("ab") as file:
                file.write(b"".join(lines[place : place + step]))
        return place is None

    follow(searched, TensorBoard(searched), is_over)
    _check(searched)


def test_what_an_earlier_session_has_written_is_replaced(searched: Path) -> None:
    (searched / "tensorboard" / "p99-seed0").mkdir(parents=True)
    for _ in range(2):
        follow(searched, TensorBoard(searched), lambda: True)
    _check(searched)


def _session_groups(folder: Path) -> Any:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=1000,
        allowed_statuses=list(api_pb2.Status.values()),
        include_metrics=True,
    )
    for name in ("validation_score", "validation_cost"):
        request.col_params.add(metric=api_pb2.MetricName(tag=name))
    for name in ("alpha", "beta", "seed"):
        request.col_params.add(hparam=name, include_in_result=True)
    context = Context(TBContext(data_provider=provider))
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    return handler.run()


def test_the_page_of_hparams_has_settings_results_status_and_times(searched: Path) -> None:
    trials = _trials(searched)
    follow(searched, TensorBoard(searched), lambda: True)
    answer = _session_groups(searched / "tensorboard")
    assert answer.total_size == len(trials)
    table = {row["key"]: row for row in rows(searched, "trials")}
    for group in answer.session_groups:
        (session,), trial, row = group.sessions, trials[group.name], table[group.name]
        assert trial.end is not None
        settings = {name: value.number_value for name, value in group.hparams.items()}
        for name in ("alpha", "beta", "seed"):
            assert settings[name] == row[name]
        values = {metric.name.tag: metric.value for metric in group.metric_values}
        for name in ("validation_score", "validation_cost"):
            assert values[name] == np.float32(row[name])
        assert session.status == api_pb2.STATUS_SUCCESS
        assert session.start_time_secs == trial.begun
        assert session.end_time_secs == trial.end.time


def test_a_link_in_place_of_the_folder_is_not_followed(searched: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("keep")
    (searched / "tensorboard").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic link"):
        follow(searched, TensorBoard(searched), lambda: True)
    assert [path.name for path in elsewhere.iterdir()] == ["file"]


def test_files_are_as_open_as_the_run(searched: Path) -> None:
    searched.chmod(0o750)
    follow(searched, TensorBoard(searched), lambda: True)
    files = [path for path in (searched / "tensorboard").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}


def test_replaced_numbers_are_not_drawn_beside_the_new_ones(searched: Path) -> None:
    tracker, calls = TensorBoard(searched), iter([False, True])

    def is_over() -> bool:
        over = next(calls)
        if over:
            with Journal(searched / "journal.jsonl") as journal:
                pack = journal.state.packs["pack00"]
                keys = [trial.key for trial in pack.trials]
                journal.append("unlike", pack="pack00", keys=keys, epoch=1, reason="a test")
        return over

    follow(searched, tracker, is_over)
    replaced = [trial for trial in _trials(searched).values() if not trial.measurements]
    assert replaced
    for trial in replaced:
        assert not _scalars(searched / "tensorboard" / trial.name)
