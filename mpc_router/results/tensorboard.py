"""What a training yields as TensorBoard events: the published tags, and ours.

It listens to the generator of `frozen.train` or `joint.train`, of one lane; the trainers know
nothing of it. Published: `loss/task`, `loss/balance`, `loss/cost` (every step of train where the
trainer tells them, else the soft gate's on selection, every epoch) and
`eval_avg_gate_prob_expert_<k>` (selection, every epoch). Ours: `selection/...` every epoch, the
quoted splits (`validation/...`) once at the end.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mpc_router.results.records import EpochResult, LanesEnded, SplitReport
from mpc_router.run_names import REPORT_LOSSES, REPORT_NUMBERS

_EVENT_FILES: Final = "events.out.tfevents.*"

_TERMS: Final = REPORT_LOSSES[1:]


class TensorBoard:
    """Writes the events of one lane into a folder; a context manager.

    Event files of an earlier training there are removed: two in one folder would be drawn as one
    zigzag. A training that goes on is heard from its beginning.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for old in folder.glob(_EVENT_FILES):
            old.unlink()
        self._writer: Any = SummaryWriter(str(folder))

    def hear(self, event: EpochResult | LanesEnded) -> None:
        """Writes the numbers of an event; a failed lane has none."""
        if isinstance(event, LanesEnded):
            for report in event.reports:
                self._report(report, event.checkpoints[0].epoch)
        elif len(event.report.lanes):
            self._losses(event)
            self._report(event.report, event.epoch)
            for expert, gate in enumerate(event.report.gate[0]):
                self._add(f"eval_avg_gate_prob_expert_{expert}", gate, event.epoch)
        self._writer.flush()

    def _losses(self, event: EpochResult) -> None:
        """Writes the losses under the published tags."""
        steps = event.steps
        if steps is None:
            for name in _TERMS:
                self._add(f"loss/{name[5:]}", getattr(event.report, name)[0], event.epoch)
            return
        first = (event.epoch - 1) * len(steps) + 1
        for row, terms in enumerate(steps):
            for name, value in zip(_TERMS, terms[:, 0], strict=False):
                self._add(f"loss/{name[5:]}", value, first + row)

    def _report(self, report: SplitReport, epoch: int) -> None:
        split = report.split
        scalars = {
            **report.metrics,
            **{f"cost_{name}": values for name, values in report.cost.items()},
        }
        scalars |= {name: getattr(report, name) for name in (*REPORT_NUMBERS, *REPORT_LOSSES)}
        for name, values in scalars.items():
            self._add(f"{split}/{name}", values[0], epoch)
        for expert, share in enumerate(report.share[0]):
            self._add(f"{split}/share_expert_{expert}", share, epoch)

    def _add(self, tag: str, value: Any, step: int) -> None:
        self._writer.add_scalar(tag, float(value), step)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
