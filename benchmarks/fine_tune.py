"""An epoch of an expert's training against transformers' Trainer, and batches of passes.

    python -m benchmarks.fine_tune --data DIR --json FILE [--task mrpc] [--rows 512] [--layers 6]
        [--rounds 3] [--threads 1] [--models DIR]

All train the same encoder (all-MiniLM-L6-v2, cut) for one epoch on the same tokens, in batches of
32, float32, at the same rate with the same warm-up. Tokens and models are made before the clock
starts. The Trainer pads each batch to its longest text (its own collator), once in random order
and once with its own grouping by length. Then the encoder is asked about the same texts without
gradients, in batches of so many texts or of at most so many tokens. Rounds are interleaved, so that
other work on the machine meets all alike; a ratio is the median of the rounds' ratios. On one
thread the processor's seconds leave other work out.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from mpc_router.config.pools import MINILM_MODEL
from mpc_router.config.trial import trial_config
from mpc_router.data.sources import Source, load_splits
from mpc_router.data.tokens import Tokens, batches, gather, tokenise
from mpc_router.experts.finetune import fine_tune
from mpc_router.model.encoders import load_tokenizer
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import Models
from mpc_router.tasks import TASKS

BATCH: Final = 32
RATE: Final = 1e-4
OURS: Final = "fine_tune"
TRAINERS: Final = {"Trainer": "random", "Trainer, grouped by length": "group_by_length"}
"""Sampling by contender."""

SIZES: Final = (16, 32, 64, 128, 256)
BUDGETS: Final = (512, 1024, 2048, 4096, 8192)
"""Tokens of a batch, padding included."""

BASE: Final = "64 texts"

Groups = list[NDArray[np.int64]]


def tokens_of(asked: argparse.Namespace, cache: Path) -> Tokens:
    """Gives the first rows of train as tokens of the encoder."""
    source = Source(kind="folder", folder=asked.data) if asked.data else Source(kind="sample")
    config = trial_config({"task": asked.task, "pool": "minilm"})
    tokens = tokenise(
        load_splits(config, source)["train"],
        load_tokenizer(MINILM_MODEL, Models(asked.models)),
        max_length=config.data.max_length,
        fingerprint="benchmark",
        cache=cache,
    )
    return tokens.take(np.arange(min(asked.rows, len(tokens))))


def expert_of(asked: argparse.Namespace) -> BertExpert:
    """Gives an untrained expert."""
    task, models = TASKS[asked.task], Models(asked.models)
    return BertExpert(
        MINILM_MODEL, task.outputs, layers=asked.layers, pooling="mean", models=models
    )


def our_epoch(asked: argparse.Namespace, tokens: Tokens) -> Callable[[], object]:
    """Gives a call that trains an expert of ours for an epoch."""
    return functools.partial(
        fine_tune,
        expert_of(asked),
        tokens,
        TASKS[asked.task],
        epochs=1,
        learning_rate=RATE,
        batch_size=BATCH,
        seed=0,
        precision="float32",
        device="cpu",
    )


class Collator:
    """Pads a batch as transformers' own collator does, and counts."""

    def __init__(self, tokenizer: Any) -> None:
        from transformers import DataCollatorWithPadding

        self._pad = DataCollatorWithPadding(tokenizer)
        self.tokens = self.places = 0

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """Pads the rows to the longest of them."""
        batch = self._pad(rows)
        self.tokens += int(batch["attention_mask"].sum())
        self.places += batch["attention_mask"].numel()
        return batch


def trainer_epoch(
    asked: argparse.Namespace, tokens: Tokens, sampling: str, folder: Path
) -> tuple[Callable[[], object], Collator]:
    """Gives a call by which transformers' Trainer trains the encoder for an epoch."""
    from transformers import (
        AutoModelForSequenceClassification,
        PrinterCallback,
        Trainer,
        TrainingArguments,
        logging,
    )

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    models, task = Models(asked.models), TASKS[asked.task]
    model = AutoModelForSequenceClassification.from_pretrained(
        models.resolve(MINILM_MODEL).path_or_name,
        num_hidden_layers=asked.layers,
        num_labels=task.outputs,
    )
    collator = Collator(load_tokenizer(MINILM_MODEL, models))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=0.01,
            warmup_steps=0.1,
            max_grad_norm=1.0,
            train_sampling_strategy=sampling,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=_rows_of(tokens, regression=task.regression),
        data_collator=collator,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer.train, collator


def _rows_of(tokens: Tokens, *, regression: bool) -> list[dict[str, Any]]:
    """Gives the rows that the Trainer takes."""
    kind = float if regression else int
    spans = zip(tokens.offsets[:-1], tokens.offsets[1:], tokens.labels, strict=True)
    return [
        {
            "input_ids": tokens.ids[start:stop].tolist(),
            "token_type_ids": tokens.segments[start:stop].tolist(),
            "attention_mask": [1] * int(stop - start),
            "label": kind(label),
        }
        for start, stop, label in spans
    ]


def our_padding(tokens: Tokens) -> float:
    """Gives the share of padding in an epoch's batches of ours."""
    order = torch.Generator().manual_seed(0)
    places = sum(batch.input_ids.numel() for batch in batches(tokens, BATCH, generator=order))
    return 1 - float(tokens.lengths.sum()) / places


def epochs(asked: argparse.Namespace, tokens: Tokens) -> dict[str, dict[str, Any]]:
    """Measures the seconds of an epoch and the share of padding of every contender."""
    names = [OURS, *(TRAINERS if importlib.util.find_spec("accelerate") else ())]
    measured: dict[str, dict[str, Any]] = {name: {"clocks": []} for name in names}
    measured[OURS]["padding"] = our_padding(tokens)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds):
            for name in names:
                collator = None
                if name == OURS:
                    epoch = our_epoch(asked, tokens)
                else:
                    epoch, collator = trainer_epoch(asked, tokens, TRAINERS[name], Path(folder))
                measured[name]["clocks"].append(_clocks(epoch))
                if collator is not None:
                    measured[name]["padding"] = 1 - collator.tokens / collator.places
    return measured


def by_size(lengths: NDArray[np.int64], size: int) -> Groups:
    """Cuts texts, the longest first, into batches of so many."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def by_budget(lengths: NDArray[np.int64], budget: int) -> Groups:
    """Cuts texts, the longest first, into batches of at most so many tokens with padding."""
    order = np.argsort(-lengths, kind="stable")
    return list(_cut(order, lengths, budget))


def _cut(
    order: NDArray[np.int64], lengths: NDArray[np.int64], budget: int
) -> Iterator[NDArray[np.int64]]:
    start = 0
    while start < len(order):
        count = max(1, budget // int(lengths[order[start]]))
        yield order[start : start + count]
        start += count


def passes(asked: argparse.Namespace, tokens: Tokens) -> dict[str, dict[str, Any]]:
    """Measures the seconds of a pass over all texts by the way that they are cut into batches."""
    expert = expert_of(asked).eval()
    cuts = {f"{size} texts": by_size(tokens.lengths, size) for size in SIZES}
    cuts |= {f"{budget} tokens": by_budget(tokens.lengths, budget) for budget in BUDGETS}
    measured: dict[str, dict[str, Any]] = {name: {"clocks": []} for name in cuts}

    def run(groups: Groups) -> None:
        with torch.inference_mode():
            for rows in groups:
                batch = gather(tokens, rows)
                expert.examine(batch.input_ids, batch.attention_mask, batch.token_type_ids)

    for _ in range(asked.rounds):
        for name, groups in cuts.items():
            measured[name]["clocks"].append(_clocks(functools.partial(run, groups)))
    return measured


def _clocks(call: Callable[[], object]) -> tuple[float, float]:
    """Gives the seconds of a call by the wall clock and by the processor's."""
    began, worked = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - worked


def table(measured: dict[str, Any]) -> str:
    """Lays out medians, and ratios to ours and to batches of 64 texts."""
    head = f"{'seconds':>8} {'ratio':>8} {'processor':>10} {'ratio':>8}"
    lines = [f"{'an epoch':28} {head}  padding"]
    for name, entry in measured["epochs"].items():
        columns = _columns(entry, measured["epochs"][OURS])
        lines.append(f"{name:28} {columns} {entry['padding']:8.1%}")
    if len(measured["epochs"]) == 1:
        lines.append("no Trainer: it needs the package accelerate, which is not installed")
    lines += ["", f"{'a pass without gradients':28} {head}"]
    for name, entry in measured["passes"].items():
        lines.append(f"{name:28} {_columns(entry, measured['passes'][BASE])}")
    return "\n".join(lines)


def _columns(entry: dict[str, Any], base: dict[str, Any]) -> str:
    """Lays out both clocks' medians, and the medians of the rounds' ratios."""
    clocks = np.array(entry["clocks"])
    (wall, processor), ratios = np.median(clocks, axis=0), clocks / np.array(base["clocks"])
    wall_ratio, processor_ratio = np.median(ratios, axis=0)
    return f"{wall:8.1f} {wall_ratio:7.2f}x {processor:10.1f} {processor_ratio:7.2f}x"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables and writes all numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="DIR/TASK/train.parquet; else the sample")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--task", choices=list(TASKS), default="mrpc")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as cache:
        tokens = tokens_of(asked, Path(cache))
        measured = {
            "task": asked.task,
            "rows": len(tokens),
            "layers": asked.layers,
            "threads": asked.threads,
            "epochs": epochs(asked, tokens),
            "passes": passes(asked, tokens),
        }
    asked.json.write_text(json.dumps(measured, indent=1))
    print(table(measured))


if __name__ == "__main__":
    main()
