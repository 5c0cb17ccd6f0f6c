"""Texts a second of a router in use, against its largest expert alone, and a plain pipeline of it.

    python -m benchmarks.serve EXPORTED --texts FILE [--count 512] [--rounds 5] [--threads 1]

EXPORTED is what `mpc-router-export` wrote; FILE a Parquet file with the task's text columns. All
contenders take the same texts, batch by batch, as they come. Every round measures all of them one
after another, so that other work on the machine meets all alike: medians and quartiles are over
rounds, and a ratio is the median of the rounds' ratios to the pipeline. "Always largest" is the
same program with a bias that sends every text to the dearest expert; it pays stem and router too.
Memory is the growth of the resident set over loading and one pass, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
import transformers
from numpy.typing import NDArray

from mpc_router import RoutedClassifier
from mpc_router.serve.texts import Text
from mpc_router.tasks import from_record

BATCHES = (1, 8, 64)
ALWAYS_LARGEST = -1e6
CONTENDERS = ("pipeline of the largest", "always largest", "router", "router, lazy")

Ask = Callable[[Sequence[Text]], object]


def contender(name: str, folder: Path, batch_size: int) -> Ask:
    """Loads one of them: it takes a list of texts."""
    if name == "pipeline of the largest":
        return pipeline(folder, batch_size)
    bias = ALWAYS_LARGEST if name == "always largest" else 0.0
    lazy = name != "router"
    router = RoutedClassifier.from_pretrained(
        folder, bias=bias, lazy=lazy, batch_size=batch_size, device="cpu"
    )
    return lambda texts: router(list(texts))


def pipeline(folder: Path, batch_size: int) -> Ask:
    """Gives transformers' own pipeline over the dearest expert's encoder and head."""
    from transformers import TextClassificationPipeline
    from transformers.modeling_outputs import SequenceClassifierOutput

    router = RoutedClassifier.from_pretrained(folder, lazy=True, device="cpu")
    pool = router.assembled.model
    largest: Any = pool.experts.experts[-1].loaded()
    encoding = pool.experts.encodings[-1]
    body = largest.body if largest.fine_tuned else largest.body.encoder

    class Classifier(type(body)):  # type: ignore[misc]
        """The expert in the form that a pipeline takes."""

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.config = body.config
            self.expert = largest

        def forward(
            self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None
        ) -> Any:
            outputs = self.expert(input_ids, attention_mask, token_type_ids)
            return SequenceClassifierOutput(logits=outputs)

    model = Classifier().eval()
    pipe = TextClassificationPipeline(
        model=model, tokenizer=router.assembled.tokenizers[encoding], device="cpu"
    )
    limit = router.assembled.limits[encoding]

    def ask(texts: Sequence[Text]) -> object:
        given = [
            text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
            for text in texts
        ]
        return pipe(given, batch_size=batch_size, truncation=True, max_length=limit)

    return ask


def texts_of(folder: Path, file: Path, count: int) -> list[Text]:
    """Reads the first texts of a Parquet file as the folder's router takes them, without it."""
    trial = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    names = from_record(trial["config"]["data"]).columns
    columns = [pq.read_table(file)[name].to_pylist()[:count] for name in names]
    pairs = list(zip(*columns, strict=True))
    return [pair if len(pair) > 1 else pair[0] for pair in pairs]


def throughput(ask: Ask, texts: Sequence[Text], batch_size: int) -> float:
    """Counts texts a second, asked a batch at a time."""
    began = time.perf_counter()
    for start in range(0, len(texts), batch_size):
        ask(texts[start : start + batch_size])
    return len(texts) / (time.perf_counter() - began)


def measure(
    folder: Path, texts: Sequence[Text], *, rounds: int
) -> dict[tuple[int, str], NDArray[np.float64]]:
    """Measures texts a second of every contender at every batch size, (rounds,) each."""
    rates: dict[tuple[int, str], list[float]] = {}
    for batch_size in BATCHES:
        asks = {name: contender(name, folder, batch_size) for name in CONTENDERS[:3]}
        for ask in asks.values():
            throughput(ask, texts[: 2 * batch_size], batch_size)
        for _ in range(rounds):
            for name, ask in asks.items():
                rate = throughput(ask, texts, batch_size)
                rates.setdefault((batch_size, name), []).append(rate)
    return {name: np.array(values) for name, values in rates.items()}


def memory(folder: Path, file: Path, name: str, count: int) -> float:
    """Gives MB that loading a contender and one pass add to a new process."""
    command = [sys.executable, "-m", "benchmarks.serve", str(folder), "--texts", str(file)]
    options = ["--count", str(count), "--memory-of", name]
    return float(subprocess.check_output([*command, *options], text=True).split()[-1])


def _grown(folder: Path, texts: Sequence[Text], name: str) -> float:
    """Gives the MB of this process that a contender adds."""
    before = psutil.Process().memory_info().rss
    throughput(contender(name, folder, 8), texts, 8)
    return float(psutil.Process().memory_info().rss - before) / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    transformers.logging.set_verbosity(logging.CRITICAL)  # the pipeline does not know our class
    warnings.simplefilter("ignore")  # some texts are cut
    texts = texts_of(asked.folder, asked.texts, asked.count)
    if asked.memory_of:
        print(_grown(asked.folder, texts, asked.memory_of))
        return
    rates = measure(asked.folder, texts, rounds=asked.rounds)
    answers = RoutedClassifier.from_pretrained(asked.folder, device="cpu")(texts)
    shares = np.bincount([answer.expert for answer in answers], minlength=2) / len(answers)
    print(f"{len(texts)} texts, {asked.rounds} rounds, {asked.threads} threads")
    print("shares of the experts", " / ".join(f"{share:.3f}" for share in shares))
    print(f"{'texts a second':38} {'median':>8} {'quartiles':>18} {'of pipeline':>12}")
    for (batch_size, name), values in rates.items():
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        ratio = np.median(values / rates[batch_size, CONTENDERS[0]])
        spread = f"{low:.1f} .. {high:.1f}"
        print(f"batch {batch_size:<3} {name:28} {middle:8.1f} {spread:>18} {ratio:12.2f}")
    base = None
    for name in CONTENDERS:
        grown = memory(asked.folder, asked.texts, name, min(64, asked.count))
        base = base or grown
        print(f"memory    {name:28} {grown:8.1f} MB {grown / base:27.2f}")


if __name__ == "__main__":
    main()
