"""Faults put into files: each is refused in a sentence or mended, and no table is ever wrong."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from analysis import front, schema
from analysis.runs.load import RunError, load_run
from mpc_router.commands import eval as evaluate
from mpc_router.results.checkpoint import CheckpointError, load
from mpc_router.storage.lane_files import files_by_key
from sweeps import records
from sweeps.driver import session
from sweeps.journal.journal import Journal, read
from sweeps.journal.state import State, replay
from sweeps.plan import plan
from sweeps.records import FAILED
from sweeps.worker import stack
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import LITTLE, assert_same_tables, rows
from tests.sweeps.faults import Damage, Laboratory, damages, examples, laboratory

SHARES = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Iterator[Laboratory]:
    with laboratory(tmp_path_factory.mktemp("faults"), prepared_folder) as found:
        yield found


def states(events: list[Any]) -> list[State]:
    """What the first 0, 1, ... events amount to, as equal runs have it: without the clock."""
    return [replay(events[:count]) for count in range(len(events) + 1)]


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_journal_cut_anywhere_opens_as_what_its_whole_lines_say(
    lab: Laboratory, kind: str
) -> None:
    run = lab.copy(kind)
    path = run / "journal.jsonl"
    whole = path.read_bytes()
    known = states(list(read(path)))
    edges = [end + more for end in _ends(whole) for more in (-1, 0, 1)]

    def opens(length: int) -> None:
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert journal.state == known[whole[:length].count(b"\n")]

    for length in edges:
        opens(length)

    @examples(60)
    @given(st.integers(0, len(whole)))
    def anywhere(length: int) -> None:
        opens(length)

    anywhere()


def _ends(whole: bytes) -> list[int]:
    """Where lines end, but for the last."""
    return [place for place, byte in enumerate(whole[:-1]) if byte == ord("\n")]


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_run_whose_journal_is_cut_anywhere_goes_on_to_the_same_tables(
    lab: Laboratory, kind: str
) -> None:
    @examples(6)
    @given(SHARES)
    @example(0.0)
    def goes_on(share: float) -> None:
        run = lab.copy(kind)
        path = run / "journal.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        begun = b"\n" in path.read_bytes()
        said = lab.resume(run)
        if not begun:
            assert (said.code, "was never begun; delete it" in said.sentence) == (2, True)
            return
        assert said.code == 0, said.err
        assert_same_tables(run, lab.sound(kind))

    goes_on()


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_damaged_journal_is_refused_in_a_sentence_and_not_touched(
    lab: Laboratory, kind: str
) -> None:
    run = lab.copy(kind)
    path = run / "journal.jsonl"
    whole = path.read_bytes()
    before = {file: file.read_bytes() for file in run.glob("*.parquet")}

    @examples(60)
    @given(damages(lines=True))
    def refused(damage: Damage) -> None:
        changed = damage.to(whole)
        assume(not whole.startswith(changed))  # what a crash leaves, and goes on
        assume(not (changed.startswith(whole) and b"\n" not in changed[len(whole) :]))
        path.write_bytes(changed)
        said = lab.resume(run)
        if said.code == 2:
            assert "was never begun" in said.sentence
            assert b"\n" not in changed
            return
        if said.code == 0:  # the damage is in the last line, which is torn then
            assert changed.rpartition(b"\n")[0] in whole
            assert_same_tables(run, lab.sound(kind))
            return
        assert said.code == 3, said.err
        assert str(path) in said.sentence or "event" in said.sentence
        assert path.read_bytes() == changed
        assert before == {file: file.read_bytes() for file in run.glob("*.parquet")}

    refused()


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_repaired_journal_goes_on_to_the_same_tables(lab: Laboratory, kind: str) -> None:
    @examples(6)
    @given(damages(lines=True))
    def repaired(damage: Damage) -> None:
        run = lab.copy(kind)
        path = run / "journal.jsonl"
        whole = path.read_bytes()
        path.write_bytes(damage.to(whole))
        said = lab.resume(run, "--repair")
        if said.code == 2:  # nothing was left of it
            assert "was never begun" in said.sentence
            return
        if said.code == 3:
            assert "journal.jsonl:1: " in said.sentence
            assert path.read_bytes() == damage.to(whole)
            return
        assert said.code == 0, said.err
        assert_same_tables(run, lab.sound(kind))

    repaired()


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_damaged_bulk_file_is_refused_by_its_name(lab: Laboratory, kind: str) -> None:
    run = lab.copy(kind)
    names = sorted(path.name for path in (run / "parts").iterdir())

    @examples(16)
    @given(st.sampled_from(names), damages())
    def refused(name: str, damage: Damage) -> None:
        path = run / "parts" / name
        whole = path.read_bytes()
        changed = damage.to(whole)
        assume(changed != whole)
        path.write_bytes(changed)
        said = lab.resume(run)
        path.write_bytes(whole)
        assert said.code == 2
        assert str(path) in said.sentence
        assert "--repair trains" in said.sentence

    refused()
    assert lab.resume(run).code == 0
    assert_same_tables(run, lab.sound(kind))


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_repaired_bulk_files_give_the_same_tables(lab: Laboratory, kind: str) -> None:
    names = sorted(path.name for path in (lab.sound(kind) / "parts").iterdir())

    @examples(6)
    @given(st.dictionaries(st.sampled_from(names), damages(), min_size=1, max_size=3))
    def repaired(found: dict[str, Damage]) -> None:
        assume(not {"pack00.parquet", "pack02.parquet"} <= found.keys())  # the test below
        run = lab.copy(kind)
        for name, damage in found.items():
            path = run / "parts" / name
            path.write_bytes(damage.to(path.read_bytes()))
        said = lab.resume(run, "--repair")
        assert said.code == 0, said.err
        assert_same_tables(run, lab.sound(kind))

    repaired()


def test_a_bracket_and_its_finished_points_are_repaired_together(lab: Laboratory) -> None:
    run = lab.copy("search")
    for name in ("pack00.parquet", "pack02.parquet"):
        path = run / "parts" / name
        path.write_bytes(path.read_bytes()[1:])
    assert lab.resume(run, "--repair").code == 0
    assert_same_tables(run, lab.sound("search"))


def test_what_a_killed_session_was_writing_stops_nobody_and_goes(lab: Laboratory) -> None:
    run = lab.copy("search")
    view = run / ".optuna.journal-x.tmp"
    view.mkdir()
    (view / "optuna.journal").touch()
    (view / "optuna.journal.lock").symlink_to("optuna.journal")  # Optuna would wait for it
    for name in (".trials.parquet-x.tmp", "parts/.pack00.parquet-x.tmp", ".study.yaml-x.tmp"):
        (run / name).write_bytes(b"half of")
    (run / "checkpoints" / ".pack00.safetensors-1.tmp").touch()
    assert lab.resume(run).code == 0
    assert_same_tables(run, lab.sound("search"))
    assert [path for path in run.rglob("*") if path.name.startswith(".")] == []


TABLES = st.sampled_from(schema.TABLES)


def test_damaged_tables_are_written_anew_by_a_resume(lab: Laboratory) -> None:
    run = lab.copy("grid")

    @examples(6)
    @given(st.dictionaries(TABLES, damages(), min_size=1))
    def anew(found: dict[str, Damage]) -> None:
        for name, damage in found.items():
            path = run / f"{name}.parquet"
            path.write_bytes(damage.to(path.read_bytes()))
        assert lab.resume(run).code == 0
        assert_same_tables(run, lab.sound("grid"))

    anew()


def refusal(reads: Callable[[], object]) -> str | None:
    """The named error that reading ends in; None where it does not."""
    try:
        reads()
    except (RunError, CheckpointError) as error:
        return str(error)
    return None


def tables_of(run: Path) -> dict[str, Any]:
    """All tables, the way analysis reads them."""
    found = load_run(run)
    return {name: getattr(found, name) for name in schema.TABLES}


def test_a_damaged_table_is_refused_or_read_as_it_was(lab: Laboratory) -> None:
    run = lab.copy("grid")
    sound = tables_of(run)

    @examples(60)
    @given(TABLES, damages())
    def refused_or_read(name: str, damage: Damage) -> None:
        found: dict[str, Any] = {}
        path = run / f"{name}.parquet"
        whole = path.read_bytes()
        path.write_bytes(damage.to(whole))
        error = refusal(lambda: found.update(tables_of(run)))
        path.write_bytes(whole)
        if error is None:
            assert found[name].equals(sound[name])
        else:
            assert "\n" not in error
            assert path.name in error

    refused_or_read()


def test_a_cut_table_is_refused_by_the_front_in_a_sentence(
    lab: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    run = lab.copy("grid")

    @examples(20)
    @given(TABLES, SHARES)
    def refused(name: str, share: float) -> None:
        path = run / f"{name}.parquet"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        code = front.main([str(run)])
        said = capsys.readouterr().err
        path.write_bytes(whole)
        assert code == 2
        assert said.count("\n") == 1
        assert path.name in said

    refused()


def a_checkpoint(lab: Laboratory) -> tuple[Path, Path]:
    """The path that names a router, and the file that holds it."""
    folder = lab.copy("grid") / "checkpoints"
    key, file = min(files_by_key(folder).items())
    return folder / key, file.path


def test_a_damaged_file_of_routers_is_a_named_error_or_loads_as_it_was(lab: Laboratory) -> None:
    folder, path = a_checkpoint(lab)
    whole, kept = path.read_bytes(), load(folder)
    sound = said(kept)

    @examples(200)
    @given(damages())
    def refused_or_read(damage: Damage) -> None:
        loaded: list[Any] = []
        path.write_bytes(damage.to(whole))
        error = refusal(lambda: loaded.append(load(folder)))
        if error is None:
            assert said(loaded[0]) == sound
            assert all(
                torch.equal(loaded[0].weights[name], value) for name, value in kept.weights.items()
            )
        else:
            assert str(path.parent) in error
            assert "\n" not in error

    refused_or_read()


def said(checkpoint: Any) -> dict[str, Any]:
    """All that it says but tensors."""
    values = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    return {
        name: value
        for name, value in values.items()
        if name not in ("weights", "optimizer") and not isinstance(value, torch.Tensor)
    }


def test_eval_refuses_a_damaged_checkpoint_in_a_sentence(
    lab: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = a_checkpoint(lab)

    @examples(12)
    @given(SHARES)
    def refused(share: float) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        code = evaluate.main(["--checkpoint", str(folder), "--sample"])
        lines = capsys.readouterr().err.splitlines()
        path.write_bytes(whole)
        assert code == 2
        assert len([line for line in lines if "error" in line]) == 1
        assert path.name in lines[-1]

    refused()


JOINT = (
    *("mrpc_grid", *LITTLE, "experts=joint", "expert_start=fine_tuned", "epochs=3", "--quiet"),
    *("seeds=[0]", "alpha=0.1", "beta=0.1", "start=[]"),
)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", ["last", pytest.param("best_score", marks=pytest.mark.long)])
def test_damaged_epochs_of_a_joint_trial_are_trained_again_and_never_gone_on_from(
    sample: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    words = (*JOINT, f"epoch={epoch}")
    assert sample(*words, "--name", "sound") == 0
    sound, cut, run = (tmp_path / "runs" / name for name in ("sound", "cut", "run"))
    monkeypatch.setattr(session, "_run_pack", dies_after(2))
    with pytest.raises(RuntimeError, match="the process is gone"):
        sample(*words, "--name", "cut")
    monkeypatch.setattr(session, "_run_pack", run_pack)
    files = [path.relative_to(cut) for path in cut.glob("checkpoints/*/epochs/*/*")]
    assert {path.name for path in files} >= {"trial.json", "pool.safetensors"}

    @examples(2)
    @given(st.dictionaries(st.sampled_from(files), damages(), min_size=1, max_size=4))
    def as_if_nothing_had_been(found: dict[Path, Damage]) -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(cut, run)
        for path, damage in found.items():
            (run / path).write_bytes(damage.to((run / path).read_bytes()))
        assert sample("--resume", str(run), "--quiet") == 0
        assert_same_tables(run, sound)

    as_if_nothing_had_been()


def dies_after(messages: int) -> Callable[..., Any]:
    """A worker whose process is gone after so many messages."""

    def run_pack_and_die(*arguments: Any, **named: Any) -> Iterator[Any]:
        said = run_pack(*arguments, **named)
        for _ in range(messages):
            yield next(said)
        raise RuntimeError("the process is gone")

    class Dying:
        """A generator, for whoever sends answers."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            self._said = run_pack_and_die(*arguments, **named)

        def send(self, answer: object) -> Any:
            return next(self._said)

    return Dying


@pytest.mark.slow
def test_a_thousand_failing_trials_are_exit_4_and_few_lines(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_of = functools.cache(records.config_of)  # what takes the time, and is not looked at here
    for module in (plan, stack):
        monkeypatch.setattr(module, "config_of", config_of)
    alphas = ", ".join(str(number / 1000) for number in range(1, 51))
    run = lab.fresh()
    said = lab.ask(
        *("mrpc_grid", "pool=sample", "router_hidden_size=8", "epochs=2", "start=[]", "beta=0.01"),
        *(f"alpha={{grid: [{alphas}]}}", f"seeds={list(range(20))}", "learning_rate=1e30"),
        *("--sample", "--out", str(run.parent), "--name", run.name),
    )
    assert said.code == 4
    trials = rows(run, "trials")
    assert [trial["status"] for trial in trials] == [FAILED] * 1000
    assert all("became NaN or infinite at step" in trial["reason"] for trial in trials)
    assert "1000 trials FAILED; `reason` in trials.parquet says why" in said.err
    assert "Traceback" not in said.err
    packs = len({trial["pack"] for trial in trials})
    assert len(said.err.splitlines()) < 3 * packs + 20
    assert len(said.err) < 20_000
