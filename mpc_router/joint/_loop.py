"""One joint trial in training: its epochs, what they measure, and what it leaves as it ends.

Letters: N examples, K experts, C outputs of an expert; a report's lane dimension is 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mpc_router.data.tokens import Batch, batch_count, batches
from mpc_router.experts.finetune import SMALL_WIDTH, autocast, own_randomness, schedule, threads_for
from mpc_router.frozen.lanes import Lane
from mpc_router.frozen.randomness import dropout, gumbel, torch_seed
from mpc_router.joint._history import report_json
from mpc_router.joint._loss import TERMS, JointLoss, Part
from mpc_router.joint._parameters import choose, optimizer_of, restore, state_of
from mpc_router.joint.start import (
    Beginning,
    Examined,
    begin_with,
    empty_pool,
    examine,
    standardise,
    widest,
)
from mpc_router.model.description import describe
from mpc_router.model.router import temperature_at
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.prepare.joint import JointInputs
from mpc_router.results.checkpoint import JointCheckpoint
from mpc_router.results.evaluate import split_report
from mpc_router.results.records import Failure, LanesEnded, Routing, SplitReport
from mpc_router.routes import Decisions
from mpc_router.run_names import SELECTION, TRAIN
from mpc_router.terminal.progress import Progress

STEPS: Final = "steps."
"""Prefix, among an optimizer's tensors, of the loss terms of each epoch's steps."""


class JointTraining:
    """Trains a joint trial: holds its pool, optimizer and data."""

    def __init__(
        self,
        lane: Lane,
        inputs: JointInputs,
        device: torch.device,
        *,
        beginning: Beginning | None = None,
        going_on: JointCheckpoint | None = None,
        pieces: int = 1,
    ) -> None:
        self.pieces = pieces
        self.config, self.seed, self.inputs, self.device = lane.config, lane.seed, inputs, device
        training = self.config.training
        self.pool = empty_pool(self.config, inputs, self.seed).to(device)
        self.width = widest(self.pool)
        train = inputs.splits[TRAIN].content
        self.batches = batch_count(len(train), training.batch_size)
        self.steps = batch_count(self.batches, training.accumulation)
        self.epochs = training.epochs
        self.epoch = 0
        self.reports: list[SplitReport] = []
        self.terms: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self.examined: dict[int, Examined] = {}
        """What was said of selection after the last epoch."""

        if going_on is not None:
            self.pool.load_state_dict(going_on.weights)
        elif beginning is not None:
            begin_with(self.pool, beginning)
        else:
            with threads_for(self.width):
                standardise(self.pool, train, seed=self.seed)
        choose(self.pool, training.trainable)
        self.optimizer = optimizer_of(self.pool, self.config)
        if going_on is not None:
            self._go_on(going_on)
        self.loss = JointLoss(
            weights=self.config.loss_weights,
            costs=torch.tensor(self.config.model.expert_costs, dtype=torch.float32, device=device),
            autocast=functools.partial(autocast, self._precision(), device),
        )

    def _precision(self) -> str:
        """Gives the precision; `auto` is float32 for small encoders, where casting costs more."""
        asked = self.config.training.precision
        return "float32" if asked == "auto" and self.width <= SMALL_WIDTH else asked

    def _go_on(self, checkpoint: JointCheckpoint) -> None:
        assert checkpoint.optimizer is not None
        restore(self.optimizer, self.pool, checkpoint.optimizer)
        self.epoch = checkpoint.epoch
        self.terms = [
            checkpoint.optimizer[f"{STEPS}{epoch}"].numpy() for epoch in range(1, self.epoch + 1)
        ]

    def train_epoch(self, epoch: int, progress: Progress | None) -> Failure | None:
        """Trains one epoch; returns the failure that ended it early, if one did."""
        self.epoch = epoch
        training = self.config.training
        terms = np.full((self.steps, len(TERMS)), np.nan, np.float32)
        trained = [value for value in self.pool.parameters() if value.requires_grad]
        self.pool.train()
        with own_randomness(self.seed, self.device), threads_for(self.width):
            for step, parts in enumerate(self._parts()):
                self._set_rates((epoch - 1) * self.steps + step)
                self.optimizer.zero_grad()
                terms[step] = self.loss.backward(self.pool, parts).numpy()
                failure = self._failure(terms[step], step)
                if failure is not None:
                    return failure
                if training.gradient_clip:
                    nn.utils.clip_grad_norm_(trained, training.gradient_clip)
                self.optimizer.step()
                if progress is not None:
                    progress.advance()
        self.terms.append(terms)
        return None

    def _parts(self) -> Iterator[list[Part]]:
        """Yields the batches of each step of the epoch, with their draws."""
        seed, epoch, training = self.seed, self.epoch, self.config.training
        shuffle = torch.Generator().manual_seed(torch_seed(seed, epoch=epoch, step=self.batches))
        shuffled = batches(
            self.inputs.splits[TRAIN].content, training.batch_size, generator=shuffle
        )
        parts: list[Part] = []
        for number, batch in enumerate(shuffled, 1):
            parts += self._part(batch, number - 1).cut(self.pieces)
            if number % training.accumulation == 0 or number == self.batches:
                yield parts
                parts = []

    def _part(self, batch: Batch, number: int) -> Part:
        model, size = self.config.model, len(batch.labels)
        noise = mask = None
        if model.gate == "gumbel":
            noise = gumbel(
                self.seed, epoch=self.epoch, step=number, shape=(size, self.config.experts)
            )
        if model.router_dropout:
            mask = dropout(
                self.seed,
                epoch=self.epoch,
                step=number,
                shape=(size, model.router_hidden_size),
                probability=model.router_dropout,
            )
        encoder_seed = torch_seed(self.seed, epoch=self.epoch, step=number)
        return Part(
            batch.to(self.device),
            None if noise is None else torch.from_numpy(noise).to(self.device),
            None if mask is None else torch.from_numpy(mask).to(self.device),
            functools.partial(torch.manual_seed, encoder_seed),
        )

    def _set_rates(self, step: int) -> None:
        """Sets learning rates and temperature of a step, counted from 0 over the whole training."""
        training, total = self.config.training, self.epochs * self.steps
        share = schedule(step + 1, total, training.warmup, training.decay)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * share
        self.pool.temperature = temperature_at(self.config.model, step, total)

    def _failure(self, terms: np.ndarray[Any, np.dtype[np.float32]], step: int) -> Failure | None:
        bad = np.flatnonzero(~np.isfinite(terms))
        if not len(bad):
            return None
        term = TERMS[bad[0]]
        return self._failed(term, "loss" if term == "total" else f"{term} loss", step)

    def _failed(self, term: str, what: str, step: int) -> Failure:
        number = (self.epoch - 1) * self.steps + step + 1
        return Failure(
            lane=0,
            epoch=self.epoch,
            step=number,
            term=term,
            message=(
                f"{what} became NaN or infinite at step {number} (epoch {self.epoch}); lower "
                "encoder_learning_rate or learning_rate, or set precision=float32"
            ),
        )

    def close_epoch(self) -> Failure | None:
        """Evaluates selection; returns the failure that only shows there, if one does."""
        examined = self._examine(SELECTION)
        if not examined.finite:
            return self._failed("logits", "what is said of selection", self.steps - 1)
        self.examined = {self.epoch: examined}
        self.reports.append(self.report(SELECTION, examined, self.epoch))
        return None

    def _examine(self, split: str) -> Examined:
        with threads_for(self.width):
            return examine(self.pool, self.inputs.splits[split].content, self.inputs.task.outputs)

    def report(self, split: str, examined: Examined, epoch: int) -> SplitReport:
        """Makes the report of a split from its outputs after an epoch."""
        last = temperature_at(self.config.model, epoch * self.steps - 1, self.epochs * self.steps)
        return split_report(
            self._outputs(split, examined),
            task=self.inputs.task,
            lanes=[0],
            configs=[self.config],
            logits=examined.logits[None],
            temperature=[last],
            vectors=self.inputs.vectors,
        )

    def no_report(self) -> SplitReport:
        """Makes a report of selection without any lane."""
        split = self.inputs.splits[SELECTION]
        shape = (len(split), self.config.experts)
        nothing = Examined(
            np.zeros(shape, np.float32), np.zeros((*shape, self.inputs.task.outputs), np.float32)
        )
        return split_report(
            self._outputs(SELECTION, nothing),
            task=self.inputs.task,
            lanes=[],
            configs=[],
            logits=nothing.logits[None][:0],
            temperature=[],
        )

    def _outputs(self, split: str, examined: Examined) -> SplitOutputs:
        tokens = self.inputs.splits[split]
        return SplitOutputs(
            split=split,
            features=np.empty((len(tokens), 0), np.float32),
            outputs=examined.outputs,
            labels=np.asarray(tokens.labels),
            example=np.asarray(tokens.example),
            tokens=np.asarray(tokens.tokens),
            tokens_by_expert=tokens.tokens_by_expert,
        )

    @property
    def scores(self) -> list[float]:
        """Lists the scores on selection, by epoch."""
        return [float(report.metrics["score"][0]) for report in self.reports]

    def checkpoint(self, *, resumable: bool) -> JointCheckpoint:
        """Gives the present state; its tensors are the live ones."""
        optimizer = None
        if resumable:
            optimizer = state_of(self.optimizer, self.pool) | {
                f"{STEPS}{epoch}": torch.from_numpy(terms)
                for epoch, terms in enumerate(self.terms, 1)
            }
        return JointCheckpoint(
            config=self.config,
            seed=self.seed,
            epoch=self.epoch,
            step=self.epoch * self.steps,
            description=describe(self.pool),
            weights=self.pool.state_dict(),
            stem=dataclasses.asdict(self.inputs.stem),
            experts=tuple(dataclasses.asdict(expert) for expert in self.inputs.experts),
            data_fingerprint=self.inputs.data_fingerprint,
            models_id=self.inputs.models_id,
            score=self.scores[-1],
            history=tuple(report_json(report) for report in self.reports),
            optimizer=optimizer,
        )

    @contextlib.contextmanager
    def as_of(self, checkpoint: JointCheckpoint) -> Iterator[None]:
        """Gives the pool the weights of another epoch inside, and its own again afterwards."""
        if checkpoint.epoch == self.epoch:
            yield
            return
        present = copied(self.pool.state_dict())
        self.pool.load_state_dict(checkpoint.weights)
        try:
            yield
        finally:
            self.pool.load_state_dict(present)

    def end(self, result: JointCheckpoint, reason: Literal["completed", "dropped"]) -> LanesEnded:
        """Evaluates the state of an epoch, which the trial leaves, on all splits but train."""
        reports, routing, experts = [], [], []
        with self.as_of(result):
            for name, split in self.inputs.splits.items():
                if name == TRAIN:
                    continue
                kept = self.examined.get(result.epoch) if name == SELECTION else None
                examined = kept or self._examine(name)
                logits = examined.logits[None]
                routing.append(
                    Routing(
                        split=name,
                        example=np.asarray(split.example),
                        routes=Decisions(self.config.paths).routes(logits),
                        logits=logits,
                    )
                )
                experts.append(self._outputs(name, examined))
                if name != SELECTION:
                    reports.append(self.report(name, examined, result.epoch))
        return LanesEnded(
            epoch=self.epoch,
            lanes=np.zeros(1, np.int64),
            reason=reason,
            reports=tuple(reports),
            routing=tuple(routing),
            checkpoints=(result,),
            experts=tuple(experts),
        )


def copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies a state dict to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}
