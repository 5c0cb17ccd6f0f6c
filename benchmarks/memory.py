"""Memory and seconds of preparing a task, by the size of its train set: it should stay flat.

    python -m benchmarks.memory [--rows 50000 400000] [--asked 50000] [--doors parquet csv jsonl]

For each size a set of generated pairs is written as Parquet files into a temporary folder;
`parquet` is that folder as `--data` takes it, the other doors are files of that format as
`dataset:` takes them. A process of its own reads and cuts the set, tokenises it and asks the
sample's smallest expert (untrained) for its outputs and features of the first `--asked` examples
and all others of train if there are no more. Peak memory is the anonymous memory of that process
(RssAnon, sampled): what lies in mapped files is the page cache's, which gives it back under
pressure. `read` is when every row is checked, `tokens` before the expert is asked, `begun` before
anything is read: Python, torch and transformers themselves.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from mpc_router.tasks import TASKS

TASK: Final = "qqp"
ROW_GROUP: Final = 10_000
VALIDATION_ROWS: Final = 1_000
DOORS: Final = ("parquet", "csv", "jsonl")
INTERVAL: Final = 0.01
"""Seconds between two looks at the memory."""

MEGABYTE: Final = 1 << 20


def write_pairs(folder: Path, *, rows: int) -> None:
    """A train set of so many generated pairs, and a small validation set, as `--data` takes it."""
    (folder / TASK).mkdir(parents=True)
    for seed, (split, count) in enumerate((("train", rows), ("validation", VALIDATION_ROWS))):
        _write_split(folder / TASK / f"{split}.parquet", count, seed)


def _write_split(path: Path, rows: int, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mpc_router.sample import language

    words = np.array(list(language.words()))
    draw = np.random.default_rng(seed)
    kind = pa.schema(
        [("question1", pa.string()), ("question2", pa.string()), ("label", pa.int64())]
    )
    with pq.ParquetWriter(path, kind) as writer:
        for start in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - start)
            texts = [
                [
                    " ".join(words[draw.integers(0, len(words), draw.integers(5, 18))])
                    for _ in range(count)
                ]
                for _ in range(2)
            ]
            labels = draw.integers(0, 2, count)
            writer.write_table(pa.table([*texts, labels], schema=kind))


class Peak:
    """Looks at this process's anonymous memory until it is told to stop."""

    def __init__(self) -> None:
        self.value = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(INTERVAL):
            self.value = max(self.value, anonymous())


def anonymous() -> int:
    """Bytes of this process's anonymous memory that are resident."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("/proc/self/status says nothing of RssAnon; this benchmark needs Linux")


def write_as(door: str, data: Path) -> None:
    """Writes the splits that lie in a folder as Parquet as csv or jsonl beside it."""
    import pyarrow.parquet as pq

    for path in sorted((data / TASK).glob("*.parquet")):
        with path.with_suffix(f".{door}").open("w", encoding="utf-8", newline="") as file:
            for number, batch in enumerate(pq.ParquetFile(path).iter_batches(ROW_GROUP)):
                frame = batch.to_pandas()
                if door == "csv":
                    frame.to_csv(file, index=False, header=not number)
                else:
                    frame.to_json(file, orient="records", lines=True)
        path.unlink()


def prepare(data: Path, cache: Path, *, door: str, asked: int) -> dict[str, float]:
    """Peaks (bytes) and seconds of one preparation in this process."""
    import torch

    from mpc_router.config.trial import trial_config
    from mpc_router.data.dataset import dataset_of
    from mpc_router.data.sources import Source, cut, read, split_fingerprints
    from mpc_router.model.encoders import load_tokenizer
    from mpc_router.model.sources import Models
    from mpc_router.recipes.recipes import recipes

    torch.set_num_threads(1)
    config = trial_config({"pool": "sample", "task": TASK, "max_length": 64})
    tokenizer = load_tokenizer(config.model.tokenizer_model_name, Models())
    tokenizer("a word")
    found = {"begun": float(anonymous())}
    started = time.perf_counter()
    with Peak() as peak:
        from mpc_router.data.tokens import tokenise

        source = Source(kind="folder", folder=data)
        if door != "parquet":
            source = Source(kind="dataset", dataset=dataset_of({"path": TASK}, data))
        files = read(config, source)
        found |= {"read": float(peak.value), "read_seconds": time.perf_counter() - started}
        prints = split_fingerprints(config, files)
        tokens = {
            split: tokenise(
                examples, tokenizer, max_length=64, fingerprint=prints[split], cache=cache
            )
            for split, examples in cut(config, files).items()
        }
        found |= {"tokens": float(peak.value), "tokens_seconds": time.perf_counter() - started}
        found["rows"] = float(sum(map(len, tokens.values())))
        stem = recipes(config, Models(), trained_on=prints["train"]).stem
        _ask(stem, tokens["train"].part(0, asked), prints["train"], cache)
    found |= {"peak": float(peak.value), "seconds": time.perf_counter() - started}
    return found


def _ask(recipe: Any, tokens: Any, fingerprint: str, cache: Path) -> None:
    """The pass of an encoder over some examples, as preparing makes it."""
    from mpc_router.experts.encoder_runs import Bench, Split
    from mpc_router.model.sources import Models
    from mpc_router.terminal.progress import Silence

    bench = Bench(
        task=TASKS[TASK],
        splits={"train": Split(tokens=tokens, fingerprint=fingerprint)},
        models=Models(),
        cache=cache,
        tokenizer="",
        device="cpu",
        progress=Silence(),
    )
    bench.features(recipe, "stem")


def measured(rows: int, *, asked: int, door: str = "parquet") -> dict[str, float]:
    """What preparing so many rows of train takes in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "data", rows=rows)
        if door != "parquet":
            write_as(door, folder / "data")
        command = [sys.executable, "-m", "benchmarks.memory", "--asked", str(asked)]
        said = subprocess.run(
            [
                *(*command, "--doors", door),
                *("--prepare", str(folder / "data"), "--cache", str(folder / "cache")),
            ],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    found: dict[str, float] = json.loads(said.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 400_000])
    parser.add_argument("--asked", type=int, default=50_000, help="examples the encoder is asked")
    parser.add_argument("--doors", nargs="+", default=["parquet", "csv"], choices=DOORS)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.prepare is not None:
        print(json.dumps(prepare(args.prepare, args.cache, door=args.doors[0], asked=args.asked)))
        return
    print("rows of train     door   begun    read  tokens    peak (MB)   read s  tokens s    all s")
    for rows, door in itertools.product(args.rows, args.doors):
        figures = measured(rows, door=door, asked=args.asked)
        megabytes = [figures[name] / MEGABYTE for name in ("begun", "read", "tokens", "peak")]
        sizes = "".join(f"{value:8.1f}" for value in megabytes)
        seconds = [figures[name] for name in ("read_seconds", "tokens_seconds", "seconds")]
        times = "".join(f"{value:9.1f}" for value in seconds)
        print(f"{rows:13,}{door:>9}{sizes}{times}", flush=True)


if __name__ == "__main__":
    main()
