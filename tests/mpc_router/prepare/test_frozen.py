from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mpc_router.data.sources import Source, data_fingerprint, load_splits
from mpc_router.data.tokens import Tokens, gather
from mpc_router.model.experts import BertExpert
from mpc_router.model.router import RouterStem
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import Prepared, check_inputs, open_prepared, prepare
from mpc_router.prepare.inputs import Places
from mpc_router.pricing.counts import counted
from mpc_router.recipes.recipes import recipes
from tests.mpc_router.prepare.frozen_pools import (
    SHORT,
    config,
    forbid,
    places_at,
    split_tokens,
)

ARRAYS = ("features", "outputs", "labels", "example", "tokens")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return places_at(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def prepared(places: Places) -> Prepared:
    return prepare(config(), places)


def one_by_one(module: torch.nn.Module, tokens: Tokens, rows: list[int]) -> torch.Tensor:
    """What a model says of each example alone, without padding."""
    said = []
    for row in rows:
        batch = gather(tokens, np.array([row]))
        with torch.inference_mode():
            said.append(module(batch.input_ids, batch.attention_mask, batch.token_type_ids))
    return torch.cat(said)


def expert_of(prepared: Prepared, number: int, cache: Path) -> BertExpert:
    info = prepared.experts[number]
    expert = BertExpert(info.name, prepared.task.outputs, layers=info.layers, pooling="mean")
    expert.load_state_dict(load_file(cache / "experts" / info.hash / "model.safetensors"))
    return expert.eval()


def test_shapes_splits_and_names(prepared: Prepared) -> None:
    assert list(prepared.splits) == ["train", "selection", "validation"]
    assert [len(prepared.splits[name]) for name in ("train", "validation")] == [96, 50]
    for split in prepared.splits.values():
        count = len(split)
        assert split.outputs.shape == (count, 3, 2)
        assert split.features.shape == (count, 128)
        assert split.labels.shape == split.example.shape == split.tokens.shape == (count,)
    assert [each.name for each in prepared.experts] == [
        "sample/tiny",
        "sample/base",
        "sample/large",
    ]
    assert prepared.stem.name == "sample/stem"
    assert prepared.split_origin == {
        "train": "train",
        "selection": "train",
        "validation": "validation",
    }


def test_arrays_are_mapped_and_read_only(prepared: Prepared) -> None:
    for split in prepared.splits.values():
        for name in ARRAYS:
            assert isinstance(getattr(split, name), np.memmap)
            assert not getattr(split, name).flags.writeable


def test_outputs_are_what_each_expert_says_of_a_row_alone(
    prepared: Prepared, places: Places
) -> None:
    tokens = split_tokens(config(), "validation", places.cache)
    rows = list(range(0, 50, 7))
    for number in range(3):
        direct = one_by_one(expert_of(prepared, number, places.cache), tokens, rows)
        kept = torch.tensor(prepared.splits["validation"].outputs[rows, number])
        torch.testing.assert_close(kept, direct, atol=1e-4, rtol=1e-4)


def test_features_are_what_the_stem_says_of_a_row_alone(prepared: Prepared, places: Places) -> None:
    stem = RouterStem("sample/stem", pooling="mean", seed=0).eval()
    tokens = split_tokens(config(), "train", places.cache)
    rows = list(range(0, 96, 11))
    kept = torch.tensor(prepared.splits["train"].features[rows])
    torch.testing.assert_close(kept, one_by_one(stem, tokens, rows), atol=1e-4, rtol=1e-4)


def test_rows_are_those_of_the_source(prepared: Prepared, places: Places) -> None:
    splits = load_splits(config(), Source(kind="sample"))
    for name, split in prepared.splits.items():
        assert np.array_equal(split.example, splits[name].example)
        assert np.array_equal(split.labels, splits[name].labels)
        tokens = split_tokens(config(), name, places.cache)
        assert np.array_equal(split.tokens, tokens.lengths)


def test_moments_are_those_of_train(prepared: Prepared) -> None:
    features = np.asarray(prepared.splits["train"].features, np.float64)
    np.testing.assert_allclose(prepared.feature_mean, features.mean(0), atol=1e-5)
    varying = features.std(0) > 1e-6
    np.testing.assert_allclose(
        prepared.feature_deviation[varying], features.std(0)[varying], rtol=1e-5
    )
    assert np.all(prepared.feature_deviation[~varying] == 1)


def test_a_second_call_loads_no_model_and_tokenises_nothing(
    prepared: Prepared, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "mpc_router.experts.encoder_runs.BertExpert",
        "mpc_router.prepare._frozen_outputs.load_tokenizer",
    ):
        monkeypatch.setattr(name, forbid)
    again = prepare(config(), places)
    assert again.folder == prepared.folder
    assert again.experts_id == prepared.experts_id


def test_what_is_prepared_is_checked_and_opened_without_torch(
    prepared: Prepared, places: Places
) -> None:
    vectors = ("constants", "flops")
    check_inputs(config(), places, vectors)
    code = (
        "import pathlib, sys\n"
        "from mpc_router import trainer\n"
        "from mpc_router.config.trial import trial_config\n"
        "from mpc_router.data.sources import Source\n"
        "from mpc_router.model.sources import Models\n"
        "from mpc_router.prepare.inputs import Places\n"
        "from mpc_router.terminal.progress import Silence\n"
        f"config = trial_config({ {'pool': 'sample', 'task': 'mrpc', **SHORT} })\n"
        f"cache = pathlib.Path({str(places.cache)!r})\n"
        "places = Places(source=Source(kind='sample'), models=Models(), cache=cache)\n"
        f"trainer.check(config, places, vectors={vectors})\n"
        "print(trainer.prepare(config, places, Silence()).folder)\n"
        "print({'torch', 'transformers', 'tokenizers', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(prepared.folder), "set()"]


def test_a_worker_opens_the_same(prepared: Prepared) -> None:
    opened = open_prepared(prepared.folder)
    for name in ("experts", "stem", "experts_id", "data_fingerprint", "notes", "synthetic", "task"):
        assert getattr(opened, name) == getattr(prepared, name)
    assert opened.split_notes == prepared.split_notes
    assert list(opened.splits) == list(prepared.splits)
    for name, split in opened.splits.items():
        for array in ARRAYS:
            assert np.array_equal(getattr(split, array), getattr(prepared.splits[name], array))


def test_vectors_hold_constants_and_what_is_counted_and_are_opened_with_the_rest(
    prepared: Prepared,
) -> None:
    assert prepared.vectors["constants"] == config().vectors()["constants"]
    assert {"parameters", "flops", "mpc_seconds_as_if"} <= set(prepared.vectors)
    tokens = float(prepared.splits["train"].tokens.mean())
    assert (
        prepared.vectors == config().vectors() | counted(config(), Models(), tokens=tokens).vectors
    )
    assert open_prepared(prepared.folder).vectors == prepared.vectors


@pytest.mark.parametrize("change", [{"router_hidden_size": 16}, {"router_cost": 5.0}])
def test_what_prices_a_router_changes_its_vectors_and_no_id(
    prepared: Prepared, places: Places, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr("mpc_router.experts.encoder_runs.BertExpert", forbid)
    other = prepare(config(**change), places)
    assert other.vectors != prepared.vectors
    assert prepare(config(), places).vectors == prepared.vectors
    assert (other.models_id, other.data_fingerprint) == (
        prepared.models_id,
        prepared.data_fingerprint,
    )
    assert np.array_equal(other.splits["train"].features, prepared.splits["train"].features)


def test_outputs_do_not_depend_on_how_many_are_in_memory(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Places
) -> None:
    shutil.copytree(places.cache / "experts", tmp_path / "experts")
    monkeypatch.setattr("mpc_router.experts.encoder_runs._WINDOW", 33)
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    parts = prepare(config(), places_at(tmp_path))
    for name, split in prepared.splits.items():
        for array in ("outputs", "features"):
            whole, part = getattr(split, array), getattr(parts.splits[name], array)
            np.testing.assert_allclose(whole, part, atol=1e-5, rtol=1e-4)


def test_nothing_whole_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="prepare them again"):
        open_prepared(tmp_path)


def test_a_missing_file_is_made_again_without_training(
    prepared: Prepared, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = np.array(prepared.splits["validation"].outputs)
    (prepared.folder / "validation.outputs.npy").unlink()
    with pytest.raises(FileNotFoundError):
        open_prepared(prepared.folder)
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    again = prepare(config(), places)
    assert np.array_equal(again.splits["validation"].outputs, before)


def test_a_pool_of_some_of_the_experts_trains_none_and_asks_none(
    prepared: Prepared, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_router.experts.encoder_runs.BertExpert", forbid)
    fewer = prepare(config(expert_model_names=["sample/tiny", "sample/large"]), places)
    whole = prepared.splits["selection"].outputs
    assert np.array_equal(fewer.splits["selection"].outputs, whole[:, [0, 2]])
    assert fewer.experts_id != prepared.experts_id
    assert [each.hash for each in fewer.experts] == [prepared.experts[n].hash for n in (0, 2)]


def test_more_rows_to_quote_train_nothing(
    prepared: Prepared, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    more = prepare(config(validation_rows=60), places)
    assert more.experts_id == prepared.experts_id
    assert more.data_fingerprint != prepared.data_fingerprint
    assert len(more.splits["validation"]) == 60
    assert set(prepared.splits["validation"].example) < set(more.splits["validation"].example)


def test_a_stem_that_is_the_cheapest_expert_gives_its_pooled_states(
    prepared: Prepared, places: Places
) -> None:
    routed = prepare(config(stem="expert"), places)
    expert = expert_of(prepared, 0, places.cache)
    rows = [0, 5, 9]
    tokens = split_tokens(config(), "validation", places.cache)
    direct = one_by_one(expert.body, tokens, rows)
    kept = torch.tensor(routed.splits["validation"].features[rows])
    torch.testing.assert_close(kept, direct, atol=1e-4, rtol=1e-4)
    assert routed.stem.hash == prepared.experts[0].hash
    assert routed.experts_id == prepared.experts_id


def test_ids_are_known_before_anything_is_trained(prepared: Prepared, tmp_path: Path) -> None:
    from mpc_router.data.sources import read, split_fingerprints

    prints = split_fingerprints(config(), read(config(), Source(kind="sample")))
    found = recipes(config(), Models(), trained_on=prints["train"])
    assert found.experts_id == prepared.experts_id
    assert found.stem.key == prepared.stem.hash
    assert data_fingerprint(config(), Source(kind="sample")) == prepared.data_fingerprint


def test_the_sample_is_labelled_synthetic_and_what_the_splits_are_is_said(
    prepared: Prepared,
) -> None:
    assert prepared.synthetic
    assert "tenth of train" in str(prepared.split_notes["selection"])
    assert "96 rows" in str(prepared.split_notes["train"])


def test_a_regression_has_one_output_and_keeps_its_scale(places: Places) -> None:
    stsb = prepare(config(task="stsb", expert_model_names=["sample/tiny", "sample/base"]), places)
    assert stsb.splits["validation"].outputs.shape == (50, 2, 1)
    assert stsb.splits["train"].labels.max() > 2
    assert abs(float(stsb.splits["train"].outputs.mean()) - stsb.splits["train"].labels.mean()) < 1


class Log:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.done: list[int] = []
        self.finished = 0

    def start(self, label: str, total: int) -> None:
        self.steps.append((label, total))
        self.done.append(0)

    def advance(self, n: int = 1) -> None:
        self.done[-1] += n

    def finish(self) -> None:
        self.finished += 1


def test_progress_hears_every_batch(tmp_path: Path) -> None:
    log = Log()
    prepare(
        config(task="rte", expert_model_names=["sample/tiny", "sample/base"]),
        places_at(tmp_path),
        log,
    )
    labels = [label for label, _ in log.steps]
    assert labels[1] == "expert 1 of 2: tiny: training"
    assert any(label.startswith("stem") for label in labels)
    assert log.done == [total for _, total in log.steps]
    assert log.finished == len(log.steps)


def test_waiting_for_another_process_is_said(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    from mpc_router.storage import cache as caching

    monkeypatch.setattr(caching, "WAITING", 0.01)
    folder = tmp_path / "outputs" / prepared.folder.name
    folder.parent.mkdir()
    other = FileLock(folder.with_name(f"{folder.name}.lock"))

    class Releasing(Log):
        def start(self, label: str, total: int) -> None:
            super().start(label, total)
            if "waiting" in label:
                shutil.copytree(prepared.folder, folder)  # the other is done
                other.release()

    log = Releasing()
    other.acquire()
    found = prepare(config(), places_at(tmp_path), log)
    assert found.experts_id == prepared.experts_id
    assert log.steps == [("waiting for another process that prepares the same", 1)]
    assert log.done == [1]
    assert log.finished == 1


def _prepare_at_once(cache: Path, start: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    start.wait()
    found = prepare(config(), places_at(cache))
    answers.put((str(found.folder), float(found.splits["validation"].outputs.sum())))


@pytest.mark.slow
def test_two_processes_at_once_prepare_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    other = context.Process(target=_prepare_at_once, args=(tmp_path, start, answers))
    other.start()
    _prepare_at_once(tmp_path, start, answers)
    found = [answers.get(timeout=600) for _ in range(2)]
    other.join(timeout=300)
    assert found[0] == found[1]
    assert len(list((tmp_path / "experts").glob("*/model.safetensors"))) == 3
