"""Preparation on a cluster, without Ray: its process is played, and nodes are other caches."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import pickle
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router.experts.encoder_runs import WEIGHTS_FILE
from mpc_router.experts.errands import Errand
from mpc_router.model.sources import ModelError
from mpc_router.prepare.frozen import Prepared, check_inputs, prepare
from mpc_router.storage import cache as caching
from mpc_router.terminal.progress import Silence
from sweeps.plan import cluster_errands
from sweeps.plan.cluster_errands import ClusterErrands, _lock_of
from sweeps.records import NodesGone, SweepError
from tests.mpc_router.prepare.frozen_pools import config, forbid, places_at

ADDRESS = "10.0.0.1:6379"
NAMES = ["sample/tiny", "sample/base"]

Questions = Generator[tuple[str, dict[str, Any]], Any, None]


class Played:
    """A process with Ray that asks these questions, each as the answers before say."""

    def __init__(self, questions: Callable[[], Questions]) -> None:
        self._questions = questions()
        self._next = next(self._questions)

    def question(self, seconds: float) -> tuple[str, dict[str, Any]]:
        return self._next

    def answer(self, data: Any) -> None:
        with contextlib.suppress(StopIteration):
            self._next = self._questions.send(data)


def turn(facts: dict[str, Any] | None = None, *, room: int = 1) -> tuple[str, dict[str, Any]]:
    return "turn", {"facts": facts or {}, "room": room, "cpus": 1}


def over(name: str, **ending: str | None) -> tuple[str, Any]:
    return "over", {"name": name, "refused": None, "lost": None, "arrived": None} | ending


def leave(wanted: dict[str, Any], name: str, errand: Errand, attempt: str = "1") -> str:
    """Does an errand in a cache of its own, as a node whose files have arrived; gives where."""
    arrived = f"{name}/{attempt}"
    cache = Path(wanted["staging"]) / arrived
    dataclasses.replace(errand, device="cpu").moved({}, cache).run(Silence())
    return arrived


def sent_errands(wanted: dict[str, Any]) -> dict[str, Errand]:
    errands = {
        errand["name"]: pickle.loads(base64.b64decode(errand["pickled"]))
        for errand in wanted["errands"]
    }
    for errand in wanted["errands"]:
        assert errand["memory"] > 5e8  # at least a process with torch
        folders = errands[errand["name"]].folders
        assert errand["folders"] == {str(path): names for path, names in folders.items()}
    return errands


def node_without_the_cache() -> Questions:
    """Does each errand in a cache of its own, whose entries arrive; the first one has to begin
    anew."""
    wanted = yield "begun", {}
    assert wanted["what"] == "errands"
    errands = sent_errands(wanted)
    first = next(iter(errands))
    for steps in (2, 1):
        yield turn({first: {"node": f"n{steps}", "gpu": False, "steps": steps}})
    for name, errand in errands.items():
        arrived = leave(wanted, name, errand)
        yield turn({name: {"node": "n1", "gpu": True, "steps": 1000}})
        yield over(name, arrived=arrived)
    yield "done", {}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the process with Ray ask these questions; without any, none may be started."""

    def play(questions: Callable[[], Questions] | None) -> None:
        @contextlib.contextmanager
        def process(address: str) -> Iterator[Played]:
            assert address == ADDRESS
            if questions is None:
                pytest.fail("a cluster was joined")
            yield Played(questions)

        monkeypatch.setattr(cluster_errands, "ray_process", process)

    return play


def runner(lines: list[str] | None = None, **changes: Any) -> ClusterErrands:
    say = (lines if lines is not None else []).append
    settings = {"address": ADDRESS, "scaled": False, "patience": 60.0, "say": say, "pays": 0.0}
    return ClusterErrands(**{**settings, **changes})


def short(**settings: Any) -> Any:
    return config(expert_model_names=NAMES, **settings)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(short(), places_at(tmp_path_factory.mktemp("cache")))


class Steps(Silence):
    """Adds up the steps of a progress by its label."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self._label = ""

    def start(self, label: str, total: int) -> None:
        self._label, self.totals[label] = label, total

    def advance(self, n: int = 1) -> None:
        self.done[self._label] += n


def test_what_nodes_leave_comes_to_the_cache_and_is_what_this_machine_would_have_left(
    usual: Prepared, played: Callable[..., None], tmp_path: Path
) -> None:
    played(node_without_the_cache)
    lines, steps = list[str](), Steps()
    made = prepare(short(), places_at(tmp_path, runner=runner(lines)), steps)
    assert made.folder.name == usual.folder.name
    for name, split in usual.splits.items():
        assert np.array_equal(made.splits[name].outputs, split.outputs)
        assert np.array_equal(made.splits[name].features, split.features)
    label = f"3 encoders on the cluster at {ADDRESS}"
    assert list(steps.totals) == ["tokens", label]
    assert dict(steps.done) == steps.totals
    assert sorted(lines) == sorted(
        [
            *(f"expert 2 of 2: base on node {node}" for node in ("n1", "n2", "n1 (GPU)")),
            "expert 1 of 2: tiny on node n1 (GPU)",
            "stem: stem on node n1 (GPU)",
        ]
    )
    left = [path.name for path in (tmp_path / "errands").iterdir()]
    assert all(name.endswith(".lock") for name in left)
    assert len(list((tmp_path / "experts").glob("[!.]*/model.safetensors"))) == 2


def test_an_errand_is_taken_in_alone_and_from_its_last_attempt(
    usual: Prepared, played: Callable[..., None], tmp_path: Path
) -> None:
    early: list[str] = []

    def questions() -> Questions:
        wanted = yield "begun", {}
        errands = sent_errands(wanted)
        arrived = {name: leave(wanted, name, errand) for name, errand in errands.items()}
        first, *others = errands
        for weights in (Path(wanted["staging"]) / arrived[first]).rglob(WEIGHTS_FILE):
            weights.write_bytes(b"x" * weights.stat().st_size)  # of a node that is lost
        arrived[first] = leave(wanted, first, errands[first], "2")
        yield over(first, arrived=arrived[first])
        early.extend(path.name for path in (tmp_path / "experts").glob("[!.]*[!k]"))
        for name in others:
            yield over(name, arrived=arrived[name])
        yield "done", {}

    played(questions)
    made = prepare(short(), places_at(tmp_path, runner=runner()))
    assert len(early) == 1
    assert len(list((tmp_path / "experts").glob("[!.]*[!k]"))) == 2
    for weights in (tmp_path / "experts").glob(f"*/{WEIGHTS_FILE}"):
        assert weights.read_bytes()[:1] != b"x"
    for name, split in usual.splits.items():
        assert np.array_equal(made.splits[name].outputs, split.outputs)


def test_an_errand_that_is_over_twice_but_leaves_nothing_is_one_message(
    played: Callable[..., None], tmp_path: Path
) -> None:
    rounds: list[int] = []

    def questions() -> Questions:
        wanted = yield "begun", {}
        rounds.append(len(wanted["errands"]))
        for name, errand in sent_errands(wanted).items():
            arrived = None if "base" in errand.label else leave(wanted, name, errand)
            yield over(name, arrived=arrived)
        yield "done", {}

    played(questions)
    message = r"has prepared expert 2 of 2: base 2 times, but the cache .* then begin again$"
    with pytest.raises(SweepError, match=message):
        prepare(short(), places_at(tmp_path, runner=runner()))
    assert rounds == [3, 1]


def test_what_arrived_for_a_killed_sweep_is_removed_and_for_one_that_goes_on_is_kept(
    played: Callable[..., None], tmp_path: Path
) -> None:
    killed, alive = (tmp_path / "errands" / f".{key}-arriving" for key in ("a1", "b2"))
    for folder in (killed, alive):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x")
    played(node_without_the_cache)
    with caching.removable(tmp_path / "errands" / "b2") as free:
        assert free
        prepare(short(), places_at(tmp_path, runner=runner()))
    assert [killed.exists(), alive.exists()] == [False, True]


def test_little_work_is_left_to_this_process(played: Callable[..., None], tmp_path: Path) -> None:
    played(None)
    steps = Steps()
    prepare(short(), places_at(tmp_path, runner=runner(pays=20.0)), steps)
    assert "expert 2 of 2: base: training" in steps.totals


def test_a_machine_without_a_gpu_has_experts_for_gpus_trained_elsewhere(
    usual: Prepared, played: Callable[..., None], tmp_path: Path
) -> None:
    played(node_without_the_cache)
    places = places_at(tmp_path, runner=runner(pays=1e9))
    check_inputs(short(device="cuda"), places)
    made = prepare(short(device="cuda"), places)
    assert made.models_id == usual.models_id


@pytest.mark.parametrize(
    ("ending", "kind", "message"),
    [
        ({"refused": "the loss is not finite"}, ModelError, "^the loss is not finite$"),
        (
            {"lost": "its node has died"},
            SweepError,
            r"expert 2 of 2: base was not prepared on the cluster at .* \(its node has died\); what"
            " is done is cached, begin again",
        ),
        (None, SweepError, "Ray gave up"),
    ],
)
def test_an_errand_that_fails_is_one_message_and_leaves_nothing(
    ending: dict[str, str] | None,
    kind: type[Exception],
    message: str,
    played: Callable[..., None],
    tmp_path: Path,
) -> None:
    def questions() -> Questions:
        wanted = yield "begun", {}
        if ending is None:
            yield "failed", {"reason": "Ray gave up: no reason"}
        else:
            yield over(wanted["errands"][0]["name"], **ending)

    played(questions)
    with pytest.raises(kind, match=message):
        prepare(short(), places_at(tmp_path, runner=runner()))
    left = [path for path in (tmp_path / "errands").iterdir() if path.suffix != ".lock"]
    assert left == []
    for lock in (tmp_path / "errands").glob("*.lock"):
        with caching.removable(lock.with_suffix("")) as free:
            assert free


def test_without_a_node_that_has_room_it_waits_and_then_gives_up(
    played: Callable[..., None], tmp_path: Path
) -> None:
    times = iter([0.0, 30.0, 59.0, 100.0, 130.0, 159.0, 161.0])

    def questions() -> Questions:
        yield "begun", {}
        yield from (turn(room=room) for room in (0, 0, 0, 1, 0, 0, 0, 0))

    played(questions)
    lines: list[str] = []
    with pytest.raises(NodesGone, match=r"had room for an encoder for 61 s; .* begin again"):
        prepare(short(), places_at(tmp_path, runner=runner(lines, now=lambda: next(times))))
    assert lines == 2 * ["waiting for a node with room for an encoder (1 CPU)"]
    assert list(times) == []


def test_of_two_sweeps_the_second_waits_for_what_the_first_one_does(
    usual: Prepared, played: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(None)
    given: list[Errand] = []
    with contextlib.ExitStack() as other:

        def other_sweep(seconds: float) -> None:
            """Does what the first sweep does meanwhile, and ends."""
            for errand in given:
                errand.run(Silence())
            monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
            other.close()

        class Second(ClusterErrands):
            def run(self, errands: Any, progress: Any) -> None:
                for errand in errands:
                    _lock_of(errand).parent.mkdir(exist_ok=True)
                    assert other.enter_context(caching.removable(_lock_of(errand)))
                given.extend(errands)
                super().run(errands, progress)

        monkeypatch.setattr("sweeps.plan.cluster_errands.time.sleep", other_sweep)
        second = Second(**{**vars(runner())})
        steps = Steps()
        made = prepare(short(), places_at(tmp_path, runner=second), steps)
    assert "expert 2 of 2: base: waiting for another process that prepares it" in steps.totals
    for name, split in usual.splits.items():
        assert np.array_equal(made.splits[name].outputs, split.outputs)
