"""An expert's training is kept every epoch, and goes on from there to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mpc_router.data.tokens import batch_count
from mpc_router.experts import encoder_runs, kept_epochs
from mpc_router.experts.encoder_runs import Bench, Split, load_trained
from mpc_router.experts.finetune import fine_tune
from mpc_router.experts.kept_epochs import KeptEpochs
from mpc_router.model.encoders import weights_hash
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import Models
from mpc_router.recipes.recipes import Recipe
from mpc_router.storage import cache as caching
from mpc_router.tasks import TASKS
from mpc_router.terminal.progress import Silence
from tests.mpc_router.small_models import save_encoder, some_split

EPOCHS, BATCH = 4, 8
TOKENS = some_split(40)
STEPS = batch_count(40, BATCH)


class SlowClock:
    """Every look at it is a minute after the last one."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds, self._now = seconds, 0.0

    def __call__(self) -> float:
        self._now += self._seconds
        return self._now


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    save_encoder(folder / "net", layers=1)
    return Models(folder)


def kept_in(folder: Path, clock: Callable[[], float] | None = None) -> KeptEpochs:
    return KeptEpochs(folder, "key", epochs=EPOCHS, now=clock or SlowClock())


def train(models: Models, kept: KeptEpochs | None, *, stop_after: int = 10**6) -> tuple[str, int]:
    """Trains an expert; gives its hash and the steps that were made. It stops by Ctrl-C."""
    expert = BertExpert("net", pooling="mean", models=models)
    steps: list[int] = []

    def advance(count: int) -> None:
        steps.append(count)
        if sum(steps) >= stop_after:
            raise KeyboardInterrupt

    fine_tune(
        expert,
        TOKENS,
        TASKS["sst2"],
        epochs=EPOCHS,
        learning_rate=3e-3,
        batch_size=BATCH,
        seed=5,
        precision="float32",
        device="cpu",
        progress=advance,
        kept=kept,
    )
    return weights_hash(expert), steps.count(1)


def stopped(models: Models, folder: Path, *, after: int) -> KeptEpochs:
    kept = kept_in(folder)
    with pytest.raises(KeyboardInterrupt):
        train(models, kept, stop_after=after)
    return kept


def files(folder: Path) -> list[Path]:
    return sorted((folder / "training").glob("*/*.safetensors"))


@pytest.fixture(scope="module")
def undisturbed(models: Models) -> str:
    return train(models, None)[0]


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_a_stopped_training_goes_on_to_the_bits_of_one_that_never_stopped(
    models: Models, undisturbed: str, tmp_path: Path, epoch: int
) -> None:
    stopped(models, tmp_path, after=epoch * STEPS + 2)
    assert train(models, kept_in(tmp_path)) == (undisturbed, (EPOCHS - epoch) * STEPS)


def test_a_training_that_is_stopped_again_and_again_ends_with_the_same_bits(
    models: Models, undisturbed: str, tmp_path: Path
) -> None:
    for epoch in (1, 2, 3):
        stopped(models, tmp_path, after=epoch * STEPS + 3)
        assert len(files(tmp_path)) == 1
    assert train(models, kept_in(tmp_path))[0] == undisturbed


def test_keeping_epochs_changes_no_bit_of_the_training(
    models: Models, undisturbed: str, tmp_path: Path
) -> None:
    assert train(models, kept_in(tmp_path)) == (undisturbed, EPOCHS * STEPS)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "empty"])
def test_a_damaged_epoch_is_trained_anew(
    models: Models, undisturbed: str, tmp_path: Path, damage: str
) -> None:
    stopped(models, tmp_path, after=2 * STEPS + 1)
    (file,) = files(tmp_path)
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        parts = {"cut": content[:-1], "changed": content, "empty": bytearray()}
        file.write_bytes(parts[damage])
    assert train(models, kept_in(tmp_path)) == (undisturbed, EPOCHS * STEPS)


def test_epochs_of_a_training_with_another_key_are_not_its_own(
    models: Models, undisturbed: str, tmp_path: Path
) -> None:
    stopped(models, tmp_path, after=2 * STEPS + 1)
    kept = KeptEpochs(tmp_path, "another", epochs=EPOCHS, now=SlowClock())
    assert train(models, kept) == (undisturbed, EPOCHS * STEPS)


def test_an_epoch_that_was_kept_without_a_gpu_is_not_gone_on_from_with_one(
    models: Models, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(models, tmp_path, after=2 * STEPS + 1)
    monkeypatch.setattr(kept_epochs, "_cards", lambda _: [0])
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda _: torch.zeros(16, dtype=torch.uint8))
    assert train(models, kept_in(tmp_path)) == (undisturbed, EPOCHS * STEPS)


def test_short_epochs_are_not_kept(models: Models, tmp_path: Path) -> None:
    assert train(models, kept_in(tmp_path, SlowClock(0.1)))[1] == EPOCHS * STEPS
    assert files(tmp_path) == []


def test_a_full_disk_costs_the_epoch_and_not_the_training(
    models: Models, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr(kept_epochs, "write_tensors", full)
    kept = kept_in(tmp_path)
    assert train(models, kept) == (undisturbed, EPOCHS * STEPS)
    assert kept.kept == 0


def test_a_sentence_says_what_is_kept(models: Models, tmp_path: Path) -> None:
    kept = stopped(models, tmp_path, after=1)
    assert kept.sentence() == "no epoch of 4 is kept yet, so the training begins anew"
    kept = stopped(models, tmp_path, after=3 * STEPS + 1)
    assert kept.sentence() == "3 of 4 epochs are kept, and the training goes on from there"


def bench_of(models: Models, cache: Path) -> Bench:
    return Bench(
        task=TASKS["sst2"],
        splits={"train": Split(tokens=TOKENS, fingerprint="rows")},
        models=models,
        cache=cache,
        tokenizer="tokenizer",
        device="cpu",
        progress=Silence(),
    )


def test_a_finished_expert_leaves_no_epoch_and_a_stop_says_what_is_kept(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    monkeypatch.setattr(
        encoder_runs, "KeptEpochs", lambda *args, **more: KeptEpochs(*args, **more, now=SlowClock())
    )
    bench = bench_of(models, tmp_path)
    told: list[int] = []

    class Stopping(Silence):
        def advance(self, n: int = 1) -> None:
            told.append(n)
            if sum(told) == 2 * STEPS + 1:
                raise KeyboardInterrupt

    object.__setattr__(bench, "progress", Stopping())
    with pytest.raises(KeyboardInterrupt) as stop:
        load_trained(recipe, bench, "expert 1 of 3")
    (note,) = stop.value.__notes__
    assert note.startswith("expert 1 of 3: 2 of 4 epochs are kept")
    assert len(files(tmp_path)) == 1
    trained = load_trained(recipe, bench, "expert 1 of 3")
    assert sum(told) == 2 * STEPS + 1 + EPOCHS * STEPS
    assert list((tmp_path / "training").iterdir()) == []
    other = load_trained(recipe, bench_of(models, tmp_path / "other"), "alone")
    assert weights_hash(trained) == weights_hash(other)


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `net` is trained by; its key is given."""

    class Plain:
        name, layers, pooling, seed, keep_head = "net", 0, "mean", 5, False
        epochs, learning_rate, batch_size, precision = EPOCHS, 3e-3, BATCH, "float32"
        weight_decay, warmup, key = 0.01, 0.1, caching.digest("recipe")

    return Plain()


def test_torchs_random_state_is_left_alone(models: Models, tmp_path: Path) -> None:
    stopped(models, tmp_path, after=2 * STEPS + 1)
    state = torch.get_rng_state()
    train(models, kept_in(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
