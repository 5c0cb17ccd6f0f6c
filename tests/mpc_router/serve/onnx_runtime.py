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
        """Gives label, answering expert and probability of one pair."""
        if "paths" in self.parts:
            expert, outputs = self._along_path(pair)
        else:
            expert = int(self.logits([pair])[0].argmax())
            outputs = self._run(1 + expert, [pair])[0].astype(np.float64)
        shares = np.exp(outputs - outputs.max())
        shares /= shares.sum()
        best = int(shares.argmax())
        return self.parts["task"]["labels"][best], expert, float(shares[best])

    def _along_path(self, pair: tuple[str, str]) -> tuple[int, NDArray[np.float64]]:
        """Runs expert by expert as the list's states say; gives the last one and the answer."""
        listed = self.parts["paths"]
        spoken: dict[int, NDArray[np.float64]] = {}

        def run(expert: int) -> None:
            if expert not in spoken:
                spoken[expert] = self._run(1 + expert, [pair])[0].astype(np.float64)

        state = 0
        for expert in listed["states"][0]["experts"]:
            run(expert)
        while True:
            here = listed["states"][state]
            logits = self._numbers(pair, spoken)[here["first"] :][: len(here["paths"])]
            route = here["paths"][int(logits.argmax())]
            path, ran = listed["paths"][route], here["experts"]
            if path == ran:
                break
            after = path[: len(ran) + 1]
            run(after[-1])
            states = [each["experts"] for each in listed["states"]]
            if after not in states:
                (route,) = [
                    number
                    for number, other in enumerate(listed["paths"])
                    if other[: len(after)] == after
                ]
                break
            state = states.index(after)
        path = listed["paths"][route]
        for expert in path:
            run(expert)
        return path[-1], self._answer(route, spoken)

    def _numbers(
        self, pair: tuple[str, str], spoken: dict[int, NDArray[np.float64]]
    ) -> NDArray[np.float32]:
        """Gives the router's numbers, of what experts have said where it takes that."""
        router = self.parts["router"]
        if "outputs" not in router["inputs"]:
            alone: NDArray[np.float32] = self.logits([pair])[0]
            return alone
        outputs = np.zeros((1, len(self.parts["experts"]), len(spoken[0])), np.float32)
        for expert, said in spoken.items():
            outputs[0, expert] = said
        numbers: NDArray[np.float32] = self.sessions[0].run(["logits"], {"outputs": outputs})[0]
        first: NDArray[np.float32] = numbers[0]
        return first

    def _answer(self, route: int, spoken: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Gives the logits that a path answers, as the page on runtimes says."""
        listed = self.parts["paths"]
        path = listed["paths"][route]
        if len(path) == 1 or listed["combine"] == "last":
            return spoken[path[-1]]
        if listed["combine"] == "average":
            chances = [np.exp(spoken[expert]) / np.exp(spoken[expert]).sum() for expert in path]
            mixed: NDArray[np.float64] = np.log(np.mean(chances, axis=0))
            return mixed
        weighted = [listed["weights"][route][expert] * spoken[expert] for expert in path]
        total: NDArray[np.float64] = np.sum(weighted, axis=0) + listed["offset"][route]
        return total
