"""A stack in training: its live lanes, epoch by epoch, and what each leaves as it ends.

Letters: L live lanes, N examples, K experts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpc_router.frozen._arithmetic import routers_class
from mpc_router.frozen._best_epochs import BestEpochs, LaneResult
from mpc_router.frozen._fitted_routers import FittedRouters
from mpc_router.frozen._labels import Supervision
from mpc_router.frozen._paths import answered, lane_paths
from mpc_router.frozen._stacked_routers import TERMS, SplitTensors, StackedRouters
from mpc_router.frozen.lanes import Lane
from mpc_router.frozen.randomness import epoch_draws
from mpc_router.model.router import temperature_at
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.checkpoint import LaneCheckpoint
from mpc_router.results.evaluate import split_report
from mpc_router.results.records import (
    EpochResult,
    Failure,
    LanesEnded,
    Routing,
    SplitReport,
    StackState,
)
from mpc_router.routes import Decisions
from mpc_router.run_names import SELECTION, TRAIN
from mpc_router.tasks import merit
from mpc_router.terminal.progress import Progress


class Training:
    """Trains a stack: holds its live lanes, and the best epoch of each if that is asked for."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        prepared: Prepared,
        device: str,
        *,
        keep_best: bool = False,
        start: StackState | None = None,
    ) -> None:
        self.prepared = prepared
        self.device = device
        self.config = lanes[0].config
        self.lanes = list(lanes)
        self.live = list(range(len(lanes)))
        self.supervised = self.config.training.router == "supervised"
        self.paths = lane_paths(self.config, prepared)
        self.decisions = Decisions(self.config.paths)
        self.answers = {
            name: answered(split, self.paths, prepared) for name, split in prepared.splits.items()
        }
        self.splits = self._splits()
        self.routers = self._routers()
        self.unfitted = getattr(self.routers, "errors", {})
        self.epoch = 0
        self.epochs = self.config.training.epochs
        rows = len(prepared.splits[TRAIN])
        fitted = self.config.model.fitted
        self.steps = 0 if fitted else -(-rows // self.config.training.batch_size)
        self.temperature = [lane.config.model.temperature for lane in lanes]
        self.logits = np.empty((0, 0, 0), np.float32)
        self.keep_best = keep_best
        self.leave_best = self.config.training.epoch == "best_score"
        self.best = BestEpochs(self.live) if keep_best or self.leave_best else None
        if start is not None:
            self.epoch = start.epoch
            self.routers.restore(start.tensors, steps=start.epoch * self.steps)
            if self.best is not None:
                self.best.restore(start.tensors, device=device)

    def _splits(self) -> dict[str, SplitTensors]:
        return {
            name: SplitTensors(split, self.answers[name], self.prepared, self.device)
            for name, split in self.prepared.splits.items()
        }

    def move(self, device: str) -> None:
        """Takes all that it holds to a device, to the bits."""
        if device == self.device:
            return
        self.device = device
        self.splits = self._splits()
        self.routers.move(device, steps=self.epoch * self.steps)
        if self.best is not None:
            self.best.move(device)

    def state(self) -> StackState:
        """Gives what the live lanes are after the present epoch, without a copy."""
        tensors = self.routers.state()
        if self.best is not None:
            tensors |= self.best.state(self.live)
        return StackState(epoch=self.epoch, lanes=np.array(self.live, np.int64), tensors=tensors)

    def _routers(self) -> StackedRouters | FittedRouters:
        """Makes the routers: those of a kind that is fitted at once are fitted then."""
        if self.config.model.fitted:
            return FittedRouters(
                self.lanes,
                self.splits[TRAIN],
                regression=self.prepared.task.regression,
                device=self.device,
            )
        return routers_class(self.config, self.device)(
            self.lanes,
            features=len(self.prepared.feature_mean),
            device=self.device,
            supervision=self._supervision() if self.supervised else None,
        )

    def _supervision(self) -> Supervision:
        return Supervision.of(
            [lane.config for lane in self.lanes],
            self.answers[TRAIN],
            regression=self.prepared.task.regression,
            device=self.device,
        )

    def train_epoch(self, epoch: int, progress: Progress | None) -> Tensor:
        """Trains every live lane for one epoch; returns its steps' loss terms, (steps, 4, L)."""
        self.epoch = epoch
        if isinstance(self.routers, FittedRouters):
            return torch.empty(0, len(TERMS), len(self.live))
        model = self.config.model
        train = self.splits[TRAIN]
        noisy = model.gate == "gumbel" and not self.supervised
        draws = epoch_draws(
            self.routers.seeds,
            epoch=epoch,
            rows=len(train),
            batch_size=self.config.training.batch_size,
            experts=self.config.experts if noisy else 0,
            hidden_size=model.router_hidden_size,
            probability=model.router_dropout,
        )
        return self.routers.train_epoch(train, draws, self._temperatures(epoch), progress)

    def _temperatures(self, epoch: int) -> Tensor:
        """Gives an epoch's temperatures (steps, L); each pair of ends is computed once."""
        start, total = (epoch - 1) * self.steps, self.epochs * self.steps
        models = [lane.config.model for lane in self.routers.lanes]
        ends = [(model.temperature, model.temperature_end) for model in models]
        columns = {
            end: [temperature_at(model, start + step, total) for step in range(self.steps)]
            for end, model in dict(zip(ends, models, strict=True)).items()
        }
        self.temperature = [columns[end][-1] for end in ends]
        return torch.tensor([columns[end] for end in ends], device=self.device).T.contiguous()

    def close_epoch(self, terms: Tensor) -> EpochResult:
        """Evaluates selection and takes out the lanes that have failed; `terms` are its steps'."""
        logits = self.routers.logits(self.splits[SELECTION])
        failures = self._failures(
            terms.isfinite().cpu().numpy(), np.asarray(np.isfinite(logits).all((1, 2)))
        )
        dead = {failure.lane for failure in failures}
        places = [place for place, lane in enumerate(self.live) if lane not in dead]
        if failures:
            self._keep(places)
            logits, terms = logits[places], terms[:, :, places]
        report = self._report(SELECTION, self.live, logits, self.temperature)
        if self.best is not None:
            scores = merit(self.prepared.task, report.metrics["score"])
            self.best.see(scores, self.live, self.present)
        steps = terms.cpu().numpy()
        return EpochResult(
            epoch=self.epoch,
            report=report,
            failures=failures,
            steps=steps,
            state=self.state,
            park=functools.partial(self.move, "cpu"),
        )

    def _failures(
        self, finite: NDArray[np.bool_], finite_logits: NDArray[np.bool_]
    ) -> tuple[Failure, ...]:
        """Names the first term of each lane that was not finite; `finite` is (steps, 4, L)."""
        failures = []
        for place, lane in enumerate(self.live):
            bad = np.argwhere(~finite[:, :, place])
            if lane in self.unfitted:
                message = f"the router cannot be fitted: {self.unfitted[lane]}"
                failures.append(
                    Failure(lane=lane, epoch=self.epoch, step=0, term="fit", message=message)
                )
                continue
            if len(bad):
                step, term = int(bad[0][0]), TERMS[bad[0][1]]
                what = "loss" if term == "total" else f"{term} loss"
            elif not finite_logits[place]:
                step, term, what = self.steps - 1, "logits", "logits on selection"
            else:
                continue
            number = (self.epoch - 1) * self.steps + step + 1
            message = (
                f"{what} became NaN or infinite at step {number} (epoch {self.epoch}); lower the "
                "learning rate, or look at the features and outputs"
            )
            failures.append(
                Failure(lane=lane, epoch=self.epoch, step=number, term=term, message=message)
            )
        return tuple(failures)

    def _keep(self, places: Sequence[int]) -> None:
        """Keeps the lanes at these places and drops the others."""
        self.live = [self.live[place] for place in places]
        self.temperature = [self.temperature[place] for place in places]
        if places:
            self.routers.keep(places)

    def _report(
        self,
        split: str,
        lanes: Sequence[int],
        logits: NDArray[np.float32],
        temperature: Sequence[float],
    ) -> SplitReport:
        return split_report(
            self.answers[split],
            task=self.prepared.task,
            lanes=lanes,
            configs=[self.lanes[lane].config for lane in lanes],
            logits=logits,
            temperature=temperature,
            vectors=self.prepared.vectors,
        )

    def failed(self, failures: Sequence[Failure]) -> LanesEnded:
        """Gives the ending of lanes that failed."""
        return LanesEnded(
            epoch=self.epoch,
            lanes=np.array([failure.lane for failure in failures], np.int64),
            reason="failed",
            reports=(),
            routing=(),
            checkpoints=(),
        )

    def end(self, lanes: Sequence[int], reason: Literal["completed", "dropped"]) -> LanesEnded:
        """Evaluates what these live lanes leave, and goes on without them."""
        best = [self.best.results[lane] for lane in lanes] if self.best is not None else []
        last = []
        if self.keep_best or not self.leave_best:
            last = self.present([self.live.index(lane) for lane in lanes])
        results = best if self.leave_best else last
        weights = {
            name: torch.stack([result.tensors[f"weights.{name}"] for result in results])
            for name in self.routers.weights
        }
        temperature = [result.temperature for result in results]
        reports, routing = [], []
        for name, split in self.prepared.splits.items():
            if name == TRAIN:
                continue
            logits = self.routers.logits(self.splits[name], weights)
            example = np.asarray(split.example)
            routing.append(
                Routing(
                    split=name,
                    example=example,
                    routes=self.decisions.routes(logits),
                    logits=logits,
                )
            )
            if name != SELECTION:
                reports.append(self._report(name, lanes, logits, temperature))
        ended = LanesEnded(
            epoch=self.epoch,
            lanes=np.array(lanes, np.int64),
            reason=reason,
            reports=tuple(reports),
            routing=tuple(routing),
            paths=self.paths,
            checkpoints=self._checkpoints(lanes, results),
            best=self._checkpoints(lanes, best) if self.keep_best else (),
            last=self._checkpoints(lanes, last) if self.keep_best else (),
        )
        self._keep([place for place, lane in enumerate(self.live) if lane not in set(lanes)])
        return ended

    def present(self, places: Sequence[int]) -> list[LaneResult]:
        """Gives the present state of the live lanes at these places."""
        state = self.routers.snapshot()
        return [
            LaneResult(
                epoch=self.epoch,
                temperature=self.temperature[place],
                tensors={name: value[place] for name, value in state.items()},
            )
            for place in places
        ]

    def _checkpoints(
        self, lanes: Sequence[int], results: Sequence[LaneResult]
    ) -> tuple[LaneCheckpoint, ...]:
        prepared = self.prepared
        of_all: dict[str, Any] = {
            "feature_mean": torch.from_numpy(np.array(prepared.feature_mean)),
            "feature_deviation": torch.from_numpy(np.array(prepared.feature_deviation)),
            "stem": dataclasses.asdict(prepared.stem),
            "experts": tuple(dataclasses.asdict(expert) for expert in prepared.experts),
            "paths": self.paths,
        }
        return tuple(
            self._checkpoint(lane, result, of_all)
            for lane, result in zip(lanes, results, strict=True)
        )

    def _checkpoint(
        self, lane: int, result: LaneResult, of_all: Mapping[str, Any]
    ) -> LaneCheckpoint:
        weights = {
            name.removeprefix("weights."): value.cpu().clone()
            for name, value in result.tensors.items()
            if name.startswith("weights.")
        }
        return LaneCheckpoint(
            config=self.lanes[lane].config,
            seed=self.lanes[lane].seed,
            epoch=result.epoch,
            step=result.epoch * self.steps,
            weights=weights,
            **of_all,
        )
