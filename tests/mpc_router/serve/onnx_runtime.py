"""A router of ONNX files alone, as docs/explanations/secure_runtime.md describes one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

Values = NDArray[np.float32]


class OnnxRouter:
    """Tokenises, runs router.onnx, and then the file of the expert that it chooses."""

    def __init__(self, folder: Path) -> None:
        from onnxruntime import InferenceSession

        self.parts: dict[str, Any] = json.loads((folder / "onnx/onnx.json").read_text("utf-8"))
        parts = [self.parts["router"], *self.parts["experts"]]
        self.sessions = [InferenceSession(str(folder / "onnx" / part["file"])) for part in parts]
        self.tokenizers = {
            part["tokenizer"]: AutoTokenizer.from_pretrained(folder / part["tokenizer"])
            for part in parts
        }

    def _run(self, number: int, pairs: Sequence[tuple[str, str]], *, output: int = 0) -> Values:
        """Gives one of the outputs that a part's entry in the list names."""
        part = (self.parts["router"], *self.parts["experts"])[number]
        encoded = self.tokenizers[part["tokenizer"]](
            *map(list, zip(*pairs, strict=True)),
            truncation=True,
            max_length=self.parts["limits"][0],
            padding=True,
            return_token_type_ids=True,
            return_tensors="np",
        )
        feed = {name: encoded[name].astype(np.int64) for name in part["inputs"]}
        outputs: Values = self.sessions[number].run([part["outputs"][output]], feed)[0]
        return outputs

    def outputs_of_the_cheapest(self, pairs: Sequence[tuple[str, str]]) -> tuple[Values, Values]:
        """Gives them (B, C) as the router's file does, and as the expert's own does."""
        return self._run(0, pairs, output=1), self._run(1, pairs)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> Values:
        """Gives the router's logits (B, K), the folded bias taken off."""
        return self._run(0, pairs)

    def __call__(self, pair: tuple[str, str]) -> tuple[str, int, float]:
        """Gives label, expert and probability of one pair."""
        expert = int(self.logits([pair])[0].argmax())
        outputs = self._run(1 + expert, [pair])[0].astype(np.float64)
        shares = np.exp(outputs - outputs.max())
        shares /= shares.sum()
        best = int(shares.argmax())
        return self.parts["task"]["labels"][best], expert, float(shares[best])
