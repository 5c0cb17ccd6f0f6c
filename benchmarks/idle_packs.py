"""The messages of packs that do nothing, for what feeding them costs; loads no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sweeps.records import COMPLETED, SELECTION, Ending, Message, Pack, Report, Trial


def messages(pack: Pack) -> Iterator[Message]:
    """Gives a message an epoch with the reports of all trials, and their endings with the last."""
    epochs = int(json.loads(pack.trials[0].config)["training"]["epochs"])
    for epoch in range(1, epochs + 1):
        reports = tuple(report(trial, epoch) for trial in pack.trials)
        endings = tuple(
            Ending(
                key=trial.key,
                status=COMPLETED,
                epochs=epochs,
                epoch=epochs,
                seconds=float(epochs),
                attempt=pack.attempt,
            )
            for trial in pack.trials
        )
        yield Message(reports=reports, endings=endings if epoch == epochs else ())


def report(trial: Trial, epoch: int) -> Report:
    """Makes a report of the size of a true one: its numbers have all their digits."""
    number = (int(trial.key[:8], 16) % 997 + epoch) / 1009
    return Report(
        key=trial.key,
        epoch=epoch,
        split=SELECTION,
        metrics={"score": number, "accuracy": number / 3, "f1": number / 7},
        cost={
            name: 10 * (37 * number % 1)  # so that few points are on the front, as in a true run
            for name in ("constants", "flops", "mpc_seconds", "parameters")
        },
        losses={name: number / 11 for name in ("loss", "loss_task", "loss_balance", "loss_cost")},
        share=(number / 13, number / 17, 1 - number / 13 - number / 17),
        gate=(number / 19, number / 23, 1 - number / 19 - number / 23),
        gate_entropy=number / 29,
        seconds=float(epoch),
    )
