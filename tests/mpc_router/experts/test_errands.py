"""What preparation asks of encoders, as a list: each once, small to send, done anywhere."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mpc_router.data.tokens import KeptTokens, open_tokens
from mpc_router.experts.errands import Errand, unfinished
from mpc_router.experts.work import work_of
from mpc_router.prepare.frozen import Prepared, prepare
from mpc_router.prepare.joint import prepare_joint
from mpc_router.terminal.progress import Progress, Silence, StepCounts
from tests.mpc_router.prepare.frozen_pools import (
    config,
    custom,
    forbid,
    models_folder,
    places_at,
)


class Recorder:
    """Keeps the errands that it is given; does them, the last one first, if it is to."""

    def __init__(self, *, does: bool = False) -> None:
        self.lists: list[tuple[Errand, ...]] = []
        self._does = does

    @property
    def elsewhere(self) -> bool:
        return False

    def run(self, errands: Sequence[Errand], progress: Progress) -> None:
        self.lists.append(tuple(errands))
        for errand in reversed(errands) if self._does else ():
            errand.run(Silence())

    @property
    def labels(self) -> list[str]:
        (errands,) = self.lists
        return [errand.label for errand in errands]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def recorder(cache: Path) -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def usual(cache: Path, recorder: Recorder) -> Prepared:
    """Prepared in this process, for the recorder does nothing."""
    return prepare(config(), places_at(cache, runner=recorder))


@pytest.fixture
def errands(usual: Prepared, recorder: Recorder) -> tuple[Errand, ...]:
    return recorder.lists[0]


def test_experts_and_stem_are_listed_once_each_with_all_splits(
    errands: tuple[Errand, ...], recorder: Recorder
) -> None:
    assert recorder.labels == [
        "expert 1 of 3: tiny",
        "expert 2 of 3: base",
        "expert 3 of 3: large",
        "stem: stem",
    ]
    assert len({errand.key for errand in errands}) == 4
    for errand in errands:
        assert list(errand.splits) == ["train", "selection", "validation"]


def test_nothing_is_listed_that_the_cache_holds_and_of_others_what_it_lacks(
    usual: Prepared, cache: Path
) -> None:
    fewer, more = Recorder(), Recorder()
    names = ["sample/tiny", "sample/large"]
    prepare(config(expert_model_names=names), places_at(cache, runner=fewer))
    assert fewer.lists == [()]
    prepare(config(validation_rows=60), places_at(cache, runner=more))
    assert [list(errand.splits) for errand in more.lists[0]] == 4 * [["validation"]]
    assert not any(errand.trains for errand in more.lists[0])


def test_a_stem_that_is_an_expert_is_the_expert_s_errand(tmp_path: Path) -> None:
    recorder = Recorder(does=True)
    settings = {"stem": "expert", "router_data": "cross_fitted"}
    prepare(
        config(**settings, expert_model_names=["sample/tiny", "sample/base"]),
        places_at(tmp_path, runner=recorder),
    )
    assert recorder.labels == [
        *(f"expert 1 of 2, fold {fold} of 3: tiny" for fold in (1, 2, 3)),
        "expert 1 of 2: tiny",
        *(f"expert 2 of 2, fold {fold} of 3: base" for fold in (1, 2, 3)),
        "expert 2 of 2: base",
    ]
    by_label = {errand.label: list(errand.splits) for errand in recorder.lists[0]}
    assert by_label["expert 1 of 2, fold 2 of 3: tiny"] == ["train"]
    assert set(by_label["expert 1 of 2: tiny"]) == {"train", "selection", "validation"}
    assert set(by_label["expert 2 of 2: base"]) == {"selection", "validation"}


def test_errands_in_any_order_leave_the_same_bits_and_nothing_to_train(
    usual: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Done(Recorder):
        def run(self, errands: Sequence[Errand], progress: Progress) -> None:
            super().run(errands, progress)
            monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
            monkeypatch.setattr("mpc_router.experts.encoder_runs.predict", forbid)
            assert unfinished(errands) == ()

    other = prepare(config(), places_at(tmp_path, runner=Done(does=True)))
    assert other.folder.name == usual.folder.name
    for name, split in usual.splits.items():
        assert np.array_equal(split.outputs, other.splits[name].outputs)
        assert np.array_equal(split.features, other.splits[name].features)


def test_joint_training_lists_experts_that_start_fine_tuned_and_asks_them_nothing(
    tmp_path: Path,
) -> None:
    recorder = Recorder(does=True)
    names = ["sample/tiny", "sample/base"]
    settings = {"experts": "joint", "expert_start": "fine_tuned", "expert_model_names": names}
    prepare_joint(config(**settings), places_at(tmp_path, runner=recorder))
    assert recorder.labels == ["expert 1 of 2: tiny", "expert 2 of 2: base"]
    assert all(errand.splits == {} for errand in recorder.lists[0])
    assert not (tmp_path / "passes").exists()
    assert unfinished(recorder.lists[0]) == ()


def test_an_errand_is_small_to_send_and_the_same_after_it(errands: tuple[Errand, ...]) -> None:
    for errand in errands:
        sent = pickle.dumps(errand)
        arrived = pickle.loads(sent)
        assert arrived == errand
        assert arrived.key == errand.key
        assert len(sent) < 5_000  # the tokens alone have more


def test_an_errand_is_done_with_copies_of_what_it_reads_in_another_cache(tmp_path: Path) -> None:
    models = models_folder(tmp_path / "models", tuned=False)
    recorder = Recorder()
    here = prepare(
        custom(expert_epochs=1, expert_learning_rate=1e-3),
        places_at(tmp_path / "here", models, recorder),
    )
    (errands,) = recorder.lists
    assert {errand.recipe.name for errand in errands} == {"org/small", "org/large"}
    for number, errand in enumerate(errands):
        begun = dataclasses.replace(errand, cache=tmp_path / "empty")
        copies: dict[str, str] = {}
        for folder, names in begun.folders.items():
            copy = tmp_path / "there" / str(number) / str(len(copies))
            copy.mkdir(parents=True)
            for path in folder.iterdir() if names is None else map(folder.joinpath, names):
                if path.is_file():
                    shutil.copy(path, copy)
            copies[str(folder)] = str(copy)
        pinned = begun.pinned()
        models.rename(tmp_path / "gone")  # as on a machine that does not see them
        moved = pinned.moved(copies, tmp_path / "cache there")
        moved.run(Silence())
        (tmp_path / "gone").rename(models)
        assert moved.is_done
        assert not begun.is_done
    made = sorted((tmp_path / "cache there" / "passes").glob("[!.]*/*.npy"))
    assert len(made) == 3 * 3 * 2  # three encoders, three splits, outputs and features
    for path in made:
        assert (
            path.read_bytes()
            == (here.folder.parents[1] / path.relative_to(tmp_path / "cache there")).read_bytes()
        )


def test_of_a_folder_of_weights_an_errand_reads_no_more_than_loading_does(tmp_path: Path) -> None:
    models = models_folder(tmp_path / "models", tuned=False)
    recorder = Recorder()
    chosen = custom(expert_epochs=1, expert_learning_rate=1e-3)
    prepare(chosen, places_at(tmp_path / "cache", models, recorder))
    (errands,) = recorder.lists
    folder = models / "org" / "small"
    small = next(errand for errand in errands if errand.recipe.name == "org/small")
    assert small.folders[folder] == ("config.json", "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"embeddings": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert small.folders[folder] == (
        *("config.json", "model.safetensors", "model.safetensors.index.json"),
        "model-1.safetensors",
    )


def test_an_expert_that_is_trained_already_is_taken_from_where_it_lies(
    errands: tuple[Errand, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "here"
    shutil.copytree(errands[0].cache / "experts", cache / "experts")
    expert = dataclasses.replace(errands[0], cache=cache)
    assert not expert.trains
    trained = [folder for folder in expert.folders if folder.parent.name == "experts"]
    assert [folder.name for folder in trained] == [expert.recipe.key]
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    moved = expert.pinned().moved({str(trained[0]): str(copy)}, tmp_path / "there")
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    moved.run(Silence())
    assert moved.is_done


def test_kept_tokens_of_some_rows_are_those_rows_of_all(errands: tuple[Errand, ...]) -> None:
    kept = errands[0].train.tokens
    tokens = open_tokens(kept.folder, pad=kept.pad)
    rows = np.array([7, 3, 90])
    some = kept.take(rows).take(np.array([2, 0]))
    opened = some.open()
    assert np.array_equal(opened.example, tokens.example[[90, 7]])
    assert np.array_equal(some.lengths(), opened.lengths)
    assert np.array_equal(some.lengths(), tokens.lengths[[90, 7]])
    assert opened.kept is not None
    assert opened.kept.rows is not None
    assert opened.kept.rows.tolist() == [90, 7]
    assert tokens.part(3, 9).kept is None
    assert tokens.kept == KeptTokens(folder=kept.folder, pad=kept.pad)


def test_work_counts_the_steps_that_the_progress_hears_of(
    errands: tuple[Errand, ...], tmp_path: Path
) -> None:
    errand = dataclasses.replace(errands[1], cache=tmp_path)
    counted: list[int] = []
    expected = work_of(errand).steps
    errand.run(StepCounts(counted.append))
    assert sum(counted) == expected > 0
    assert work_of(errand).steps == 0


def test_work_grows_with_epochs_depth_and_rows(errands: tuple[Errand, ...], tmp_path: Path) -> None:
    tiny, base = (dataclasses.replace(errand, cache=tmp_path) for errand in errands[:2])

    def seconds(errand: Errand, epochs: int) -> float:
        recipe = dataclasses.replace(errand.recipe, epochs=epochs)
        return work_of(dataclasses.replace(errand, recipe=recipe)).seconds

    passes, once, twice = (seconds(tiny, epochs) for epochs in (0, 1, 2))
    assert twice - once == pytest.approx(once - passes)
    assert seconds(base, 1) > once > passes > 0
    asked_less = dataclasses.replace(tiny, splits={"train": tiny.splits["train"]})
    assert work_of(asked_less).seconds < work_of(tiny).seconds
    assert (
        work_of(tiny).memory
        > work_of(
            dataclasses.replace(tiny, recipe=dataclasses.replace(tiny.recipe, epochs=0))
        ).memory
    )
