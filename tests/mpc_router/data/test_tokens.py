from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router import GLUEDataLoader
from mpc_router.config.trial import ConfigError
from mpc_router.data.sources import Examples, Source, SourceError
from mpc_router.data.tokens import Tokens, batch_count, batches, gather, tokenise
from mpc_router.sample import encoders
from mpc_router.storage import cache as caching


def examples(count: int = 50, *, split: str = "train", texts: int = 2) -> Examples:
    words = sorted(encoders.tokenizer().get_vocab())
    draw = np.random.default_rng(0)
    columns = tuple(
        [" ".join(draw.choice(words, draw.integers(1, 12))) for _ in range(count)]
        for _ in range(texts)
    )
    return Examples(
        split=split,
        texts=columns,
        labels=np.arange(count, dtype=np.float64) % 2,
        example=np.arange(count) * 3,
        origin="train",
    )


def tokens_of(lengths: list[int]) -> Tokens:
    ids = np.concatenate([np.full(n, at + 1) for at, n in enumerate(lengths)])
    return Tokens(
        ids=ids.astype(np.int32),
        segments=(np.arange(len(ids)) % 2).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.arange(len(lengths), dtype=np.float64),
        example=np.arange(len(lengths)),
    )


@pytest.mark.parametrize("texts", [1, 2])
def test_tokens_are_what_the_tokenizer_says_of_each_row(tmp_path: Path, texts: int) -> None:
    rows, tokenizer = examples(texts=texts), encoders.tokenizer()
    tokens = tokenise(rows, tokenizer, max_length=16, fingerprint="x", cache=tmp_path)
    for n in (0, 7, 49):
        alone = tokenizer(*(column[n] for column in rows.texts), truncation=True, max_length=16)
        place = slice(tokens.offsets[n], tokens.offsets[n + 1])
        assert tokens.ids[place].tolist() == alone["input_ids"]
        assert tokens.segments[place].tolist() == alone["token_type_ids"]
    assert tokens.labels.tolist() == rows.labels.tolist()
    assert tokens.example.tolist() == rows.example.tolist()
    assert tokens.lengths.max() <= 16


def test_more_rows_than_a_chunk_give_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tokenise(
        examples(), encoders.tokenizer(), max_length=32, fingerprint="x", cache=tmp_path / "a"
    )
    monkeypatch.setattr("mpc_router.data.tokens._CHUNK", 7)
    parts = tokenise(
        examples(), encoders.tokenizer(), max_length=32, fingerprint="x", cache=tmp_path / "b"
    )
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.offsets, parts.offsets)


def test_examples_longer_than_the_tokenizers_models_can_take_are_cut(tmp_path: Path) -> None:
    words = " ".join(sorted(encoders.tokenizer().get_vocab())[:100])
    rows = Examples(
        split="train",
        texts=([words],),
        labels=np.zeros(1),
        example=np.zeros(1, np.int64),
        origin="train",
    )
    tokens = tokenise(rows, encoders.tokenizer(), max_length=512, fingerprint="x", cache=tmp_path)
    assert tokens.lengths.tolist() == [encoders._MAX_LENGTH]


def test_cached_tokens_are_mapped_and_tokenised_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = encoders.tokenizer()
    first = tokenise(examples(), tokenizer, max_length=32, fingerprint="x", cache=tmp_path)
    monkeypatch.setattr("mpc_router.data.tokens._write_tokens", None)
    again = tokenise(examples(), tokenizer, max_length=32, fingerprint="x", cache=tmp_path)
    for name in ("ids", "segments", "offsets", "labels", "example"):
        assert isinstance(getattr(again, name), np.memmap)
        assert not getattr(again, name).flags.writeable
        assert np.array_equal(getattr(again, name), getattr(first, name))


def test_another_length_text_or_vocabulary_is_another_entry(tmp_path: Path) -> None:
    tokenizer, other = encoders.tokenizer(), encoders.tokenizer()
    other.add_tokens(["neologism"])
    for kind, length, fingerprint in (
        (tokenizer, 32, "x"),
        (tokenizer, 16, "x"),
        (tokenizer, 32, "y"),
        (other, 32, "x"),
    ):
        tokenise(examples(), kind, max_length=length, fingerprint=fingerprint, cache=tmp_path)
    assert len([path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "ids.npy").unlink(),
        lambda folder: (folder / "ids.npy").write_bytes(b""),
        lambda folder: (folder / caching._CONTENTS).write_text("{"),
        lambda folder: (folder / caching._CONTENTS).unlink(),
    ],
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: Any) -> None:
    tokenizer = encoders.tokenizer()
    first = tokenise(examples(), tokenizer, max_length=32, fingerprint="x", cache=tmp_path)
    sound = first.ids.tolist()
    (folder,) = [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]
    damage(folder)
    again = tokenise(examples(), tokenizer, max_length=32, fingerprint="x", cache=tmp_path)
    assert again.ids.tolist() == sound


def test_two_at_once_leave_one_sound_entry(tmp_path: Path) -> None:
    """Processes at once are the cache's tests' matter, and those of what is prepared."""
    rows, start = examples(500), threading.Barrier(2)

    def tokenised(tokenizer: Any) -> Tokens:
        start.wait()
        return tokenise(rows, tokenizer, max_length=32, fingerprint="x", cache=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(tokenised, [encoders.tokenizer(), encoders.tokenizer()])
    assert first.ids.tolist() == second.ids.tolist()
    assert len(first) == len(second) == 500
    left = [path.name for path in (tmp_path / "tokens").iterdir() if path.is_dir()]
    assert len(left) == 1
    assert not left[0].startswith(".")


def test_a_part_of_a_split_is_its_examples() -> None:
    whole = tokens_of([3, 5, 2, 4])
    part = whole.part(1, 3)
    assert len(part) == 2
    assert part.lengths.tolist() == [5, 2]
    assert np.shares_memory(part.ids, whole.ids)
    rows, same = gather(part, np.array([1, 0])), gather(whole, np.array([2, 1]))
    assert torch.equal(rows.input_ids, same.input_ids)
    assert torch.equal(rows.token_type_ids, same.token_type_ids)
    assert torch.equal(rows.labels, same.labels)
    assert len(whole.part(2, 99)) == 2


LENGTHS = np.random.default_rng(1).integers(2, 40, 333).tolist()


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("size", [1, 8, 100, 1000])
def test_batches_give_every_example_once_as_it_is(size: int, seed: int | None) -> None:
    tokens = tokens_of(LENGTHS)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    found = list(batches(tokens, size, generator=generator))
    assert sorted(torch.cat([batch.rows for batch in found]).tolist()) == list(range(333))
    assert len(found) == batch_count(333, size)
    for batch in found:
        for at, row in enumerate(batch.rows.tolist()):
            assert batch.input_ids[at][batch.attention_mask[at].bool()].eq(row + 1).all()
            assert int(batch.attention_mask[at].sum()) == LENGTHS[row]
            assert batch.labels[at] == row
        assert int(batch.attention_mask.sum(1).max()) == batch.input_ids.shape[1]


def test_a_seed_gives_one_order_and_another_seed_another() -> None:
    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        parts = [batch.rows for batch in batches(tokens_of(LENGTHS), 8, generator=generator)]
        return torch.cat(parts).tolist()

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_buckets_pad_little() -> None:
    tokens = tokens_of(np.random.default_rng(2).integers(2, 100, 3000).tolist())
    generator = torch.Generator().manual_seed(0)
    cells = sum(b.input_ids.numel() for b in batches(tokens, 32, generator=generator))
    assert cells < 1.1 * len(tokens.ids)


def test_without_a_generator_the_longest_come_first() -> None:
    widths = [b.input_ids.shape[1] for b in batches(tokens_of(LENGTHS), 16, generator=None)]
    assert widths == sorted(widths, reverse=True)


def test_padding_is_the_pad_token_up_to_the_multiple() -> None:
    tokens = Tokens(**{**vars(tokens_of([3, 5])), "pad": 9})
    batch = gather(tokens, np.array([1, 0]), multiple=8)
    assert batch.input_ids.tolist() == [[2] * 5 + [9] * 3, [1] * 3 + [9] * 5]
    assert batch.attention_mask.sum(1).tolist() == [5, 3]
    assert batch.token_type_ids[0, 5:].eq(0).all()


def loader(cache: Path, **options: Any) -> GLUEDataLoader:
    return GLUEDataLoader(
        tokenizer_name="sample/tokenizer", source=Source(kind="sample"), cache=cache, **options
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_the_published_loader_gives_batches_that_models_take(cache: Path) -> None:
    data = loader(cache, task_name="mrpc", batch_size=32, max_length=128, split="validation")
    found = list(data)
    assert len(found) == len(data) == batch_count(len(data.tokens), 32)
    assert set(found[0]) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert found[0]["labels"].dtype == torch.int64
    assert found[0]["input_ids"].shape == found[0]["attention_mask"].shape
    assert sum(len(batch["labels"]) for batch in found) == len(data.tokens)


def test_the_published_loader_shuffles_train_anew_every_pass(cache: Path) -> None:
    data = loader(cache, split="train")
    first, second = next(iter(data)), next(iter(data))
    assert not torch.equal(first["labels"], second["labels"]) or (
        first["input_ids"].shape != second["input_ids"].shape
        or not torch.equal(first["input_ids"], second["input_ids"])
    )


def test_labels_of_a_regression_are_values(cache: Path) -> None:
    batch = next(iter(loader(cache, task_name="stsb", split="selection")))
    assert batch["labels"].dtype == torch.float32


def test_unknown_tasks_and_splits_are_refused(cache: Path) -> None:
    with pytest.raises(ConfigError, match="mrpc"):
        loader(cache, task_name="mrcp")
    with pytest.raises(SourceError, match="no split 'test', it has train, selection, validation"):
        loader(cache, split="test")
