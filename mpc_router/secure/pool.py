"""Measures what a pool takes of one example: stem with router, every expert, and the argmax.

Letters: T tokens, F width, V words, K experts, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mpc_router.results.assembled import Assembled
from mpc_router.secure._usage import Usage
from mpc_router.secure.jobs import Job, Setting, run_job
from mpc_router.secure.layers import LayerFit, LayerSize, layer_form, layer_weights, smaller_sizes
from mpc_router.secure.parts import (
    Options,
    SecurePart,
    check_lengths,
    checked_length,
    secure_parts,
)
from mpc_router.secure.programs import encoders
from mpc_router.secure.programs.encoders import Form, Library
from mpc_router.terminal.progress import Progress

NUMPY: Final = Library(np, special.erf, lambda values: 1 / np.sqrt(values))

_SHARE_BYTES: Final = 8
"""A party's share of a number: one of a ring of 2^64."""

_TEXTS: Final = (
    "The company said on Monday that it would buy the shop next to its oldest store, and that the "
    "price, which had been in doubt since the spring, was agreed on after a week of talks between "
    "both families and their lawyers.",
    "On Monday the company told its shareholders that, after a week of talks, the price of the "
    "shop beside its oldest store was agreed on by both families, and that their lawyers would "
    "write the contract before the end of the month.",
)
"""They are what is measured on: what an example takes does not depend on its words."""

_Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """Holds what an encoder with its head takes."""

    name: str
    layers: int
    """As in the configuration; 0 is all."""

    by_tokens: Mapping[int, Usage]
    lookups: Mapping[int, Usage]
    """What the secret lookup of an example's words takes more, by length; empty if not measured."""

    predicted: Mapping[int, Usage] = field(default_factory=dict)
    """What the fit of layers says of an encoder that was measured whole, where layers were."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolMeasure:
    """Holds what a pool takes."""

    router: Measure
    """Stem with the router's network, and the argmax over its K numbers."""

    experts: tuple[Measure, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Example:
    """Holds the example as one tokenizer reads it, padded to T."""

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    mask: _Values


def measure_pool(
    assembled: Assembled, options: Options, setting: Setting, progress: Progress
) -> PoolMeasure:
    """Measures all parts of a pool at every length.

    Raises:
        ModelError: the secure form of a part is not known.
        SecureError: a length is no room for a text, or is beyond an encoder's positions, or the
            layers of a large encoder have one head.
        PartyError: a party has died.
    """
    parts = secure_parts(assembled, options)
    check_lengths(assembled, parts, options.tokens)
    measuring = _Measuring(assembled, options, setting, progress)
    fit = measuring.fit_of(parts)
    measures = [measuring.of(part, fit) for part in parts]
    argmax = measuring.argmax(len(assembled.config.paths))
    first = measures[0]
    router = dataclasses.replace(
        first,
        by_tokens={tokens: usage + argmax for tokens, usage in first.by_tokens.items()},
        predicted={
            tokens: dataclasses.replace(usage + argmax, memory_bytes=None, error=None)
            for tokens, usage in first.predicted.items()
        },
    )
    return PoolMeasure(router=router, experts=tuple(measures[1:]))


class _Measuring:
    """Runs the jobs of a pool, equal ones once."""

    def __init__(
        self, assembled: Assembled, options: Options, setting: Setting, progress: Progress
    ) -> None:
        self._assembled, self._options = assembled, options
        self._setting, self._progress = setting, progress
        self._lookups: dict[Any, Usage] = {}

    def fit_of(self, parts: Sequence[SecurePart]) -> LayerFit | None:
        """Measures layers alone, for the widest part that is too large; None where none is."""
        large = [part for part in parts if not self._is_whole(part)]
        if not large:
            return None
        form = max((part.encoder.form for part in large), key=lambda form: form.width)
        sizes = smaller_sizes(LayerSize.of(form, max(self._options.tokens)))
        return LayerFit(tuple(sizes), tuple(self._layer(size, form) for size in sizes))

    def of(self, part: SecurePart, fit: LayerFit | None) -> Measure:
        """Measures one part at every length, whole or by its layers."""
        by_tokens: dict[int, Usage] = {}
        lookups: dict[int, Usage] = {}
        predicted: dict[int, Usage] = {}
        for tokens in self._options.tokens:
            example = self._example(part, tokens)
            summed = None if fit is None else self._summed(part, example, fit)
            if self._is_whole(part):
                by_tokens[tokens] = self._whole(part, example)
                predicted |= {} if summed is None else {tokens: summed}
            else:
                assert summed is not None
                by_tokens[tokens] = summed
            if self._options.lookups:
                lookups[tokens] = self._lookup(part, example)
        return Measure(
            name=part.name,
            layers=part.layers,
            by_tokens=by_tokens,
            lookups=lookups,
            predicted=predicted,
        )

    def argmax(self, numbers: int) -> Usage:
        """Measures which of the router's numbers is the largest."""
        scores = np.linspace(-1, 1, numbers, dtype=np.float32)[::-1]
        job = Job(kind="argmax", form=None, inputs={"scores": scores}, weights={})
        return self._run(f"argmax over {numbers}", job, np.zeros(()))

    def _is_whole(self, part: SecurePart) -> bool:
        return part.millions <= self._options.largest

    def _example(self, part: SecurePart, tokens: int) -> _Example:
        """Gives the texts as the part's tokenizer reads them, cut and padded to T tokens."""
        tokenizer = self._assembled.tokenizers[part.tokenizer]
        texts = _TEXTS[: len(self._assembled.task.columns)]
        encoding = tokenizer(
            *texts,
            truncation=True,
            max_length=tokens,
            padding="max_length",
            return_token_type_ids=True,
        )
        return _Example(
            ids=checked_length(np.asarray(encoding["input_ids"]), tokens),
            segments=np.asarray(encoding["token_type_ids"]),
            mask=np.asarray(encoding["attention_mask"], np.float32),
        )

    def _whole(self, part: SecurePart, example: _Example) -> Usage:
        encoder = part.encoder
        hidden = encoders.embedded(
            encoder.weights, example.ids, example.segments, encoder.form, NUMPY
        )
        return self._answered(part.label, encoder.form, encoder.weights, hidden, example.mask)

    def _summed(self, part: SecurePart, example: _Example, fit: LayerFit) -> Usage:
        """Adds up the layers that the fit gives and the head, which is measured."""
        encoder, tokens = part.encoder, len(example.mask)
        head = dataclasses.replace(encoder.form, layers=0)
        hidden = np.zeros((tokens, encoder.form.width), np.float32)
        measured = self._answered(
            f"head of {part.label}", head, encoder.weights, hidden, example.mask
        )
        layer = fit.of(LayerSize.of(encoder.form, tokens))
        summed = layer.times(encoder.form.layers) + measured
        return dataclasses.replace(summed, memory_bytes=None, error=None)

    def _layer(self, size: LayerSize, form: Form) -> Usage:
        """Measures one layer of random weights alone."""
        generator = np.random.default_rng(0)
        hidden = generator.normal(size=(size.tokens, size.width)).astype(np.float32)
        return self._answered(
            f"a layer of {size.width}",
            layer_form(size, form),
            layer_weights(size, generator),
            hidden,
            np.ones(size.tokens, np.float32),
        )

    def _answered(
        self, label: str, form: Form, weights: Mapping[str, _Values], hidden: _Values, mask: _Values
    ) -> Usage:
        """Measures layers and head from embedded tokens (T, F) on."""
        names = [name for name in weights if name.startswith(_kinds(form))]
        held = {name: weights[name] for name in names}
        job = Job(
            kind="encoder",
            form=dataclasses.asdict(form),
            inputs={"hidden": hidden.astype(np.float32), "mask": mask},
            weights=held,
        )
        exact = dataclasses.replace(form, gelu=encoders.EXACT, softmax=encoders.EXACT)
        clear = encoders.answered(held, hidden, mask, exact, NUMPY)
        return self._run(f"{label}, {len(mask)} tokens", job, clear)

    def _lookup(self, part: SecurePart, example: _Example) -> Usage:
        """Measures the secret lookup of the example's words; tables of equal sizes once."""
        encoder, tokens = part.encoder, len(example.mask)
        names = [name for name in encoder.weights if not name.startswith(("layer", "dense"))]
        held = {name: encoder.weights[name] for name in names}
        held["position"] = held["position"][:tokens]
        sizes = tuple(sorted((name, values.shape) for name, values in held.items()))
        if sizes not in self._lookups:
            words, kinds = len(held["word"]), len(held.get("segment", (0,)))
            inputs = {
                "words": _one_hot(example.ids, words),
                "segments": _one_hot(example.segments % kinds, kinds),
            }
            clear = encoders.embedded(held, example.ids, example.segments, encoder.form, NUMPY)
            job = Job(
                kind="lookup", form=dataclasses.asdict(encoder.form), inputs=inputs, weights=held
            )
            label = f"secret lookup in {words} words of {encoder.form.width}"
            usage = self._run(f"{label}, {tokens} tokens", job, clear)
            self._lookups[sizes] = with_sharing(usage, inputs)
        return self._lookups[sizes]

    def _run(self, label: str, job: Job, clear: NDArray[Any]) -> Usage:
        """Runs a job, and compares its output with that in the clear."""
        self._progress.start(label, 1)
        usage, output = run_job(job, self._setting)
        self._progress.advance()
        self._progress.finish()
        return dataclasses.replace(usage, error=float(np.abs(output - clear).max()))


def with_sharing(usage: Usage, inputs: Mapping[str, _Values]) -> Usage:
    """Adds what party 0 sends before the program runs: a share of each number that it has.

    A share is a number of a ring of 2^64, 8 bytes. Of one-hot words they are many.
    """
    shares = sum(values.size for values in inputs.values())
    first, second = usage.sent_bytes
    return dataclasses.replace(usage, sent_bytes=(first + _SHARE_BYTES * shares, second))


def _one_hot(numbers: NDArray[np.int64], choices: int) -> _Values:
    """Gives rows (T, choices) that are 1 at their number (T,), else 0."""
    rows = np.zeros((len(numbers), choices), np.float32)
    rows[np.arange(len(numbers)), numbers] = 1
    return rows


def _kinds(form: Form) -> tuple[str, ...]:
    """Gives how the names of the weights of layers and head begin that a form has."""
    layers = tuple(f"layer{number}." for number in range(form.layers))
    return (*layers, *(f"dense{number}." for number in range(len(form.dense))))
