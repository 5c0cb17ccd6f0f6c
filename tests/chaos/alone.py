"""Trials trained alone in this process: what their numbers must be in any company and order."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import schema
from mpc_router.commands.places import places_of
from sweeps.driver import session
from sweeps.driver.share import share_of
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.plan.preparation import prepare_sets
from sweeps.records import SELECTION, Message, Pack, Report, Trial
from sweeps.study.read import from_tree
from sweeps.terminal.display import Display
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack

Rows = Mapping[str, list[dict[str, Any]]]
"""By table."""


class Alone:
    """Of the trials of an undisturbed run; each is trained once for all rounds."""

    def __init__(self, undisturbed: Path, cache: Path, folder: Path) -> None:
        self._undisturbed, self._cache, self._folder = undisturbed, cache, folder

    def rows(self, trial: Trial, *, epochs: int) -> Rows:
        """The trial's rows of reports, routing and experts when it leaves after so many epochs."""
        kept = self._folder / f"{trial.key}-{epochs}.json"
        if not kept.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(self._trained(trial, epochs)))
        found: Rows = json.loads(kept.read_text())
        return found

    def _trained(self, trial: Trial, epochs: int) -> Rows:
        scratch = self._folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        job, vector = self._job_and_vector(scratch)
        pack = Pack(name="alone", trials=(trial,))
        messages = run_pack(pack, job)
        reports: list[Report] = []
        drop: dict[str, str] | None = None
        while True:
            try:
                message: Message = messages.send(drop)
            except StopIteration:
                break
            reports += message.reports
            reached = {each.epoch for each in message.reports if each.split == SELECTION}
            drop = {trial.key: "as in the run"} if reached == {epochs} else None
        said = {
            "reports": [_row(report, vector) for report in reports],
            "routing": _part(job.parts / pack.file(), schema.ROUTING),
            "experts": _part(job.parts / pack.experts_file(), schema.EXPERTS),
        }
        shutil.rmtree(scratch)
        return said

    def _job_and_vector(self, scratch: Path) -> tuple[Job, str]:
        study, ready = self._prepared
        share = share_of(study, None)
        return session.job(scratch, study, ready, share), study.cost_vector

    @cached_property
    def _prepared(self) -> tuple[Any, Any]:
        state = replay(read(self._undisturbed / "journal.jsonl"))
        assert state.opened is not None
        study = from_tree(state.opened["study"])
        args = argparse.Namespace(sample=True, data=None, models=None, cache=self._cache)
        return study, prepare_sets(study, places_of(args), Display(quiet=True))


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows by what makes each of them unique: an order that both sides can be brought into."""
    names = ("epoch", "split", "expert", "example")
    return sorted(rows, key=lambda row: [row[name] for name in names if name in row])


def _row(report: Report, vector: str) -> dict[str, Any]:
    """As `reports.parquet` has it, without the clock."""
    return {
        "key": report.key,
        "epoch": report.epoch,
        "split": report.split,
        **report.metrics,
        "cost": report.cost[vector],
        **report.losses,
        "share": list(report.share),
        "gate": list(report.gate),
        "gate_entropy": report.gate_entropy,
    }


def _part(path: Path, columns: pa.Schema) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).cast(columns).to_pylist()
    return found
