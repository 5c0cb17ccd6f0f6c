"""What the journal's process makes of the words of the one that Ray lives in; a thread plays it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, cast

import pytest

from mpc_router.prepare import frozen
from mpc_router.prepare.frozen import open_prepared
from sweeps import run
from sweeps.driver import _supervisor, ray_start
from sweeps.driver._ledger import Ledger
from sweeps.journal import tables
from sweeps.journal.journal import read
from sweeps.raytune._pipe import PipeEnd
from sweeps.raytune.process import Machine, RayProcess
from sweeps.records import Message, Pack, kept_from, pack_from
from sweeps.terminal import live as display
from sweeps.terminal.live import LiveDisplay
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import FIX, assert_same_tables, in_process, rows

GRID = ("mrpc_grid", *FIX, "seeds=[0]", "pack.points=3")
"""Ten trials in four packs."""

Fault = Callable[["Player", dict[str, Any]], bool]
"""Of a pack that has said its first message; True where that was its last."""


class Clock:
    """The supervisor's clock and its waits: only a player lets time pass, never the machine."""

    def __init__(self) -> None:
        self.now = 0.0
        self.silences = 0
        """How many waits for a question are still to end without one."""

    def monotonic(self) -> float:
        return self.now


class SupervisorEnd(PipeEnd):
    """Waits for a question as long as it takes, unless the player is to be silent."""

    def __init__(self, connection: Any, clock: Clock) -> None:
        super().__init__(connection)
        self._pipe, self._clock = connection, clock

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        while not self._clock.silences and not self._pipe.poll(0.01):
            pass
        if self._clock.silences:
            self._clock.silences -= 1
            self._clock.now += seconds
            return None
        return super().question(seconds)


class Player:
    """Does what the driver does, a pack after the other and without Ray."""

    def __init__(self, line: PipeEnd, faults: Mapping[str, Fault], clock: Clock) -> None:
        self.line, self._faults, self.clock = line, faults, clock
        self.attempts: Counter[str] = Counter()
        self.room = 1
        """How many packs the nodes have room for."""

        self.killed: list[str] = []
        self.pending: dict[str, Any] | None = None
        """The pack that waits for a node."""

    def play(self) -> None:
        """Until there is nothing left to do, or the line is at its end."""
        with contextlib.suppress(EOFError, OSError):
            job = Job.from_json(self.line.ask("begun")["job"])
            while not self.turn() and not (found := self.line.ask("next"))["over"]:
                if found["pack"] is not None:
                    self._train(found["pack"], found["kept"], job)
            self.line.ask("done")

    def turn(self, *, seconds: float = 0.0) -> bool:
        """Whether to end, asked so many seconds later; notes who is to be killed."""
        self.clock.now += seconds
        answer = self.line.ask("turn", room=self.room)
        self.killed += answer["kill"]
        LEFT_OUT[:] = answer["leave"]
        return bool(answer["end"])

    def _train(self, pack: dict[str, Any], kept: dict[str, Any] | None, job: Job) -> None:
        name = pack["name"]
        self.attempts[name] += 1
        fault = self._faults.get(name)
        if fault is not None and fault.__name__ == "unstarted" and fault(self, pack):
            return
        bad = getattr(fault, "attempts_on_bad_node", 0) >= self.attempts[name]
        if self.start(name, node="bad" if bad else "here")["end"]:
            return
        if bad and not getattr(fault, "after_a_message", False):
            self.line.ask("lost", pack=name, reason="no room on its disk", how="failed")
            return
        state = kept_from(kept) if kept else None
        for message in run_pack(pack_from(json.loads(json.dumps(pack))), job, kept=state):
            answer = self.line.ask("heard", pack=name, message=message.to_json())
            if answer["end"] or (fault is not None and fault(self, pack)):
                return
        self.line.ask("over", pack=name)

    def start(self, name: str, *, node: str = "here") -> dict[str, Any]:
        """The answer to a worker that has a pack."""
        answer: dict[str, Any] = self.line.ask("started", pack=name, node=node, pid=1)
        return answer


LEFT_OUT: list[str] = []
"""The nodes that get no more packs, as the last turn was told."""


def waits_beside(player: Player, pack: dict[str, Any]) -> bool:
    """Another pack waits for a node while this one trains to its end."""
    if player.pending is None:
        player.pending = player.line.ask("next")["pack"]
    return False


def on_bad_node(*, attempts: int, after_a_message: bool = False) -> Fault:
    """A pack that gets a node whose surroundings fail in its first attempts."""

    def fault(player: Player, pack: dict[str, Any]) -> bool:
        return player.attempts[pack["name"]] <= attempts and bad(player, pack)

    bad = lost("failed")
    cast(Any, fault).attempts_on_bad_node = attempts
    cast(Any, fault).after_a_message = after_a_message
    return fault


def lost(how: str, *, attempts: int = 99) -> Fault:
    """A worker that is lost in its first attempts."""

    def fault(player: Player, pack: dict[str, Any]) -> bool:
        if player.attempts[pack["name"]] > attempts:
            return False
        player.line.ask("lost", pack=pack["name"], reason="it is gone", how=how)
        return True

    return fault


def unstarted(player: Player, pack: dict[str, Any]) -> bool:
    player.line.ask("lost", pack=pack["name"], reason="no torch", how="died")
    return True


def cancelled(*, times: int) -> Fault:
    """An actor that so often is gone before it has started."""

    def unstarted(player: Player, pack: dict[str, Any]) -> bool:
        if player.attempts[pack["name"]] <= times:
            player.clock.now += 1
            player.line.ask("lost", pack=pack["name"], reason="never ran", how="cancelled")
            return True
        return False

    return unstarted


def hangs(player: Player, pack: dict[str, Any]) -> bool:
    if player.attempts[pack["name"]] > 1:
        return False
    while pack["name"] not in player.killed:
        player.turn(seconds=1)
    player.line.ask("lost", pack=pack["name"], reason="killed", how="died")
    return True


def silent(player: Player, pack: dict[str, Any]) -> bool:
    player.clock.silences = 10**9
    raise EOFError if player.turn() else AssertionError("a question was heard in the silence")


def deaf(player: Player, pack: dict[str, Any]) -> bool:
    while not player.turn(seconds=1):
        pass
    return True


def gone(player: Player, pack: dict[str, Any]) -> bool:
    player.line.close()
    raise EOFError


def gives_up(player: Player, pack: dict[str, Any]) -> bool:
    player.line.ask("failed", reason="Ray gave up: enough")
    raise EOFError


Sweep = Callable[..., tuple[int, str]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sweep(
    prepared_folder: Path,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Sweep:
    """The command, with faults by pack; its exit code and what it said."""
    monkeypatch.setattr(frozen, "prepare", lambda *_: open_prepared(prepared_folder))
    monkeypatch.setattr(frozen, "check_inputs", lambda *_: None)

    def call(faults: Mapping[str, Fault], *more: str) -> tuple[int, str]:
        @contextlib.contextmanager
        def ray_process(address: str | None, machine: Machine | None) -> Iterator[RayProcess]:
            ours, theirs = Pipe()
            player = threading.Thread(target=Player(PipeEnd(theirs), faults, clock).play)
            player.start()
            try:
                pipe = SupervisorEnd(ours, clock)
                yield RayProcess(pipe=pipe, folder=tmp_path, process=cast(Any, None))
            finally:
                ours.close()
                player.join()

        monkeypatch.setattr(ray_start, "ray_process", ray_process)
        monkeypatch.setattr(_supervisor, "time", clock)
        where = ("--sample", "--no-report", "--quiet", "--out", str(tmp_path), "--name", "r")
        code = run.main([*GRID, *more, *where])
        return code, capsys.readouterr().err

    return call


def attempts(folder: Path) -> Counter[str]:
    events = read(folder / "r" / "journal.jsonl")
    return Counter(event["pack"] for event in events if event["event"] == "started")


def test_a_run_through_the_line_equals_one_in_this_process(
    sweep: Sweep, tmp_path: Path, prepared_folder: Path
) -> None:
    assert sweep({})[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)
        arguments = [*GRID, "--sample", "--no-report", "--out", str(tmp_path), "--name", "other"]
        assert run.main(arguments) == 0
    assert_same_tables(tmp_path / "r", tmp_path / "other")


def test_a_pack_is_tried_again_as_often_as_the_study_says(sweep: Sweep, tmp_path: Path) -> None:
    faults = {"pack00": lost("died", attempts=3), "pack01": lost("died")}
    code, said = sweep(faults, "pack.retries=3")
    assert code == 3
    assert attempts(tmp_path) == {"pack00": 4, "pack01": 4, "pack02": 1, "pack03": 1}
    assert "pack00 lost its worker (it is gone); it is tried again" in said
    assert "(pack01: it is gone); go on with" in said
    found = {row["pack"]: row for row in rows(tmp_path / "r", "trials")}
    assert found["pack00"]["status"] == "COMPLETED"
    assert found["pack00"]["attempt"] == 4
    assert found["pack01"]["status"] == "INTERRUPTED"


def test_without_retries_a_lost_pack_is_left_to_resume(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep({"pack00": lost("died")}, "pack.retries=0")[0] == 3
    assert attempts(tmp_path)["pack00"] == 1


def test_surroundings_that_fail_are_not_tried_again_and_end_the_run_after_three(
    sweep: Sweep, tmp_path: Path
) -> None:
    code, said = sweep({f"pack0{number}": lost("failed") for number in range(4)})
    assert code == 3
    assert attempts(tmp_path) == {"pack00": 1, "pack01": 1, "pack02": 1}
    assert "3 workers in a row failed on this machine: it is gone; what was done is safe" in said


@pytest.mark.parametrize("after_a_message", [False, True])
def test_a_node_that_fails_while_another_trains_is_left_out_and_ends_no_run(
    sweep: Sweep, tmp_path: Path, after_a_message: bool
) -> None:
    faults = {
        f"pack0{3 - attempts}": on_bad_node(attempts=attempts, after_a_message=after_a_message)
        for attempts in (2, 1)
    }
    code, said = sweep(faults, "pack.retries=0")
    assert code == 0
    assert LEFT_OUT == ["bad"]
    reason = "it is gone" if after_a_message else "no room on its disk"
    assert f"node bad is left out: packs fail there in a row ({reason})" in said
    assert attempts(tmp_path) == {"pack00": 1, "pack01": 3, "pack02": 2, "pack03": 1}
    assert {row["status"] for row in rows(tmp_path / "r", "trials")} == {"COMPLETED"}


def test_a_pack_that_fails_before_another_node_has_trained_is_tried_again_there(
    sweep: Sweep, tmp_path: Path
) -> None:
    code, said = sweep({"pack00": on_bad_node(attempts=1)}, "pack.retries=0")
    assert code == 0, said
    assert attempts(tmp_path) == {"pack00": 2, "pack01": 1, "pack02": 1, "pack03": 1}
    assert {row["status"] for row in rows(tmp_path / "r", "trials")} == {"COMPLETED"}


def test_a_node_that_is_alone_ends_the_run_by_failing(sweep: Sweep, tmp_path: Path) -> None:
    faults = {f"pack0{number}": on_bad_node(attempts=9) for number in range(4)}
    code, said = sweep(faults)
    assert code == 3
    assert attempts(tmp_path) == {"pack00": 1, "pack01": 1, "pack02": 1}
    assert "3 workers in a row failed" in said


def test_failures_with_a_pack_in_between_that_goes_well_do_not_end_the_run(
    sweep: Sweep, tmp_path: Path
) -> None:
    faults = {name: lost("failed") for name in ("pack00", "pack01", "pack03")}
    code, said = sweep(faults)
    assert code == 3
    assert "in a row" not in said
    assert {row["pack"] for row in rows(tmp_path / "r", "trials") if row["epochs"] == 2} == {
        "pack02"
    }


@pytest.mark.parametrize("live", [False, True])
def test_workers_that_never_start_end_the_run(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    if live:  # as on a terminal
        monkeypatch.setattr(display, "make_display", lambda quiet: LiveDisplay())
    code, said = sweep({f"pack0{number}": unstarted for number in range(4)})
    assert code == 3
    assert "3 workers in a row did not start on this machine: no torch" in said
    assert attempts(tmp_path) == {}


def test_an_actor_that_was_cancelled_before_it_started_is_no_loss(
    sweep: Sweep, tmp_path: Path
) -> None:
    faults = {f"pack0{number}": cancelled(times=3) for number in range(4)}
    code, said = sweep(faults, "pack.retries=0")
    assert code == 0, said
    assert "lost its worker" not in said
    assert attempts(tmp_path) == {f"pack0{number}": 1 for number in range(4)}
    assert {row["status"] for row in rows(tmp_path / "r", "trials")} == {"COMPLETED"}


def test_actors_that_are_cancelled_for_ever_end_the_run(sweep: Sweep, tmp_path: Path) -> None:
    code, said = sweep({f"pack0{number}": cancelled(times=10**9) for number in range(4)})
    assert code == 3
    assert "no worker has started on this machine for 60" in said  # of STARTING's 600 s
    assert attempts(tmp_path) == {}


def test_a_worker_that_was_ended_for_its_memory_fails_its_trials_by_name(
    sweep: Sweep, tmp_path: Path
) -> None:
    code, said = sweep({"pack00": lost("memory")})
    assert code == 4
    found = [row for row in rows(tmp_path / "r", "trials") if row["status"] == "FAILED"]
    assert {row["pack"] for row in found} == {"pack00"}
    assert {row["reason"] for row in found} == {"out of memory on the host: it is gone"}
    assert attempts(tmp_path)["pack00"] == 1
    assert said.count("out of memory on the host") == len(found) == 3


def test_a_pack_that_hangs_is_killed_and_tried_again(sweep: Sweep, tmp_path: Path) -> None:
    code, said = sweep({"pack01": hangs}, "pack.timeout=30")
    assert code == 0, said
    assert (
        "pack01 lost its worker (sent no message for 30 s, pack.timeout); it is tried again" in said
    )
    assert attempts(tmp_path) == {"pack00": 1, "pack01": 2, "pack02": 1, "pack03": 1}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (silent, "Ray on this machine has not answered for 60 s"),
        (deaf, "pack00 hangs, and Ray cannot end its worker"),
        (gone, "Ray is gone: it printed nothing"),
        (gives_up, "Ray gave up: enough"),
    ],
)
def test_a_ray_that_hangs_or_goes_ends_the_run_with_the_line_to_go_on(
    sweep: Sweep, tmp_path: Path, fault: Fault, sentence: str
) -> None:
    code, said = sweep({"pack00": fault}, "pack.timeout=30")
    assert code == 3
    assert sentence in said
    assert f"what was done is safe, go on with mpc-router-sweep --resume {tmp_path}" in said
    assert len(rows(tmp_path / "r", "trials")) == 10


def test_the_time_that_writing_tables_takes_is_no_silence_of_ray(
    sweep: Sweep, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(self: tables.Refresh) -> None:
        clock.now += _supervisor.SILENCE + 1
        clock.silences = 1  # and Ray's next question does not come at once

    monkeypatch.setattr(tables.Refresh, "maybe", slowly)
    code, said = sweep({})
    assert code == 0, said
    assert clock.now > 2 * _supervisor.SILENCE


def test_after_a_stop_no_pack_is_given_any_more(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def stops(player: Player, pack: dict[str, Any]) -> bool:
        (tmp_path / "r" / "stop").touch()
        while not player.turn():
            pass
        given.append(player.line.ask("next")["pack"])
        return True

    assert sweep({"pack01": stops})[0] == 143
    assert given == [None]


def test_time_in_which_the_journals_process_was_suspended_is_no_silence_of_packs(
    sweep: Sweep, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, killed = Ledger.received, list[str]()

    def suspended(self: Ledger, pack: Pack, message: Message) -> dict[str, str]:
        clock.now += 31
        return real(self, pack, message)

    def turns(player: Player, pack: dict[str, Any]) -> bool:
        player.turn()
        killed.extend(player.killed)
        return False

    monkeypatch.setattr(Ledger, "received", suspended)
    assert sweep({"pack00": turns}, "pack.timeout=30", "pack.points=5")[0] == 0
    assert killed == []
    assert clock.now >= 31


def test_what_ended_the_run_is_said_though_its_tables_cannot_be_written(
    sweep: Sweep, tmp_path: Path
) -> None:
    def loses_a_file(player: Player, pack: dict[str, Any]) -> bool:
        (tmp_path / "r" / "parts" / "examples.parquet").unlink()
        return gives_up(player, pack)

    code, said = sweep({"pack01": loses_a_file})
    assert code == 3
    assert "Ray gave up: enough; what was done is safe, go on with " in said


def test_packs_that_wait_for_a_worker_for_ever_end_the_run(
    sweep: Sweep,
) -> None:
    def unstarted(player: Player, pack: dict[str, Any]) -> bool:
        while not player.turn(seconds=1):
            pass
        return True

    code, said = sweep({"pack00": unstarted})
    assert code == 3
    assert "no worker has started on this machine for 601 s" in said


@pytest.mark.parametrize("comes", [True, False])
def test_packs_wait_for_a_node_where_all_have_left_and_a_line_says_so(
    sweep: Sweep, tmp_path: Path, comes: bool
) -> None:
    def leaves(player: Player, pack: dict[str, Any]) -> bool:
        if player.attempts[pack["name"]] > 1:
            return False
        player.room = 0
        player.line.ask("lost", pack=pack["name"], reason="its node has died", how="left")
        return True

    def unstarted(player: Player, pack: dict[str, Any]) -> bool:
        for _ in range(595 if comes else 10**6):
            if player.turn(seconds=1):
                return True
        player.room = 1  # its worker now has as much time to start as any
        return any([player.turn(seconds=1) for _ in range(60)])

    code, said = sweep({"pack00": leaves, "pack01": unstarted})
    assert said.count("waiting for a node with room for a pack (1 CPU)") == 1
    if comes:
        assert code == 0
        assert attempts(tmp_path)["pack00"] == 2
    else:
        assert code == 75
        assert "no node of this machine had room for a pack (1 CPU) for 601 s; what was" in said
        assert f"go on with mpc-router-sweep --resume {tmp_path}" in said


def test_workers_that_leave_with_their_nodes_as_they_start_do_not_end_the_run(
    sweep: Sweep, tmp_path: Path
) -> None:
    def unstarted(player: Player, pack: dict[str, Any]) -> bool:
        if player.attempts[pack["name"]] > 1:
            return False
        player.line.ask("lost", pack=pack["name"], reason="its node has died", how="left")
        return True

    code, _ = sweep({f"pack0{number}": unstarted for number in range(4)})
    assert code == 0
    assert {row["status"] for row in rows(tmp_path / "r", "trials")} == {"COMPLETED"}


def test_tables_are_there_while_the_run_goes_on(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(tables, "_PAUSE_FACTOR", 0)
    seen: list[Counter[str]] = []

    def looks(player: Player, pack: dict[str, Any]) -> bool:
        seen.append(Counter(row["status"] for row in rows(tmp_path / "r", "trials")))
        return False

    assert sweep({"pack01": looks})[0] == 0
    assert set(seen[0].items()) == {("COMPLETED", 3), ("INTERRUPTED", 7)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pack.retries=-1"], "pack.retries is -1, but must be an integer from 0"),
        (["pack.retries=true"], "pack.retries is True, but must be an integer from 0"),
        (["pack.timeout=0"], "pack.timeout is 0, but must be a length of time above 0"),
        (["pack.timeout=soon"], "pack.timeout is 'soon', but must be a length of time such as 2h"),
    ],
)
def test_impossible_settings_are_refused(sweep: Sweep, words: list[str], sentence: str) -> None:
    code, said = sweep({}, *words)
    assert code == 2
    assert sentence in said


def test_a_pack_that_waits_for_a_node_does_not_keep_a_spent_run_open(
    sweep: Sweep, tmp_path: Path
) -> None:
    code, message = sweep({"pack00": waits_beside}, "budget.epochs=4")
    assert code == 5, message
    assert attempts(tmp_path) == {"pack00": 1}
    assert list(read(tmp_path / "r" / "journal.jsonl"))[-1]["outcome"] == "budget"


def test_a_pack_whose_node_comes_when_the_budget_is_spent_does_not_train(
    sweep: Sweep, tmp_path: Path
) -> None:
    ends: list[bool] = []

    def node_comes(player: Player, pack: dict[str, Any]) -> bool:
        if player.pending is None:
            return waits_beside(player, pack)
        if not ends:  # the second epoch of three routers has spent the budget
            ends.append(player.start(player.pending["name"])["end"])
        return False

    code, message = sweep({"pack00": node_comes}, "budget.epochs=4")
    assert code == 5, message
    assert ends == [True]
    assert attempts(tmp_path) == {"pack00": 1}
