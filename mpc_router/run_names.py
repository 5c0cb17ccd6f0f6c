"""The module names what is in a run's folder: files, statuses, splits, tables.

Writers (`sweeps`) and readers (`analysis`) import the names from here. It imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mpc_router.messages import quoted

JOURNAL_FILE: Final = "journal.jsonl"
STUDY_FILE: Final = "study.yaml"
PROVENANCE_FILE: Final = "provenance.json"
REPORT_FILE: Final = "report.html"
PARTS_FOLDER: Final = "parts"
CHECKPOINTS_FOLDER: Final = "checkpoints"
STATES_FOLDER: Final = "states"

ALL, FRONT, NONE = "all", "front", "none"
KEEPS: Final = (ALL, FRONT, NONE)
"""Say which routers a run keeps: a study's `checkpoints`."""

TABLES: Final = ("trials", "reports", "routing", "experts", "examples")
PATHS: Final = "paths"
CURVES: Final = "curves"
FURTHER_TABLES: Final = (PATHS, CURVES)
"""They are the tables that a run has only where its routers need them."""

COMPLETED: Final = "COMPLETED"
STOPPED: Final = "STOPPED"
FAILED: Final = "FAILED"
INTERRUPTED: Final = "INTERRUPTED"
STATUSES: Final = (COMPLETED, STOPPED, FAILED, INTERRUPTED)

SELECTION: Final = "selection"
"""It is the split that stopping, search and the display see; it is held out of training."""

VALIDATION: Final = "validation"
"""It is the first split that results are quoted on."""

TRAIN: Final = "train"

REPORT_LISTS: Final = ("share", "gate")
REPORT_NUMBERS: Final = ("gate_entropy",)
REPORT_LOSSES: Final = ("loss", "loss_task", "loss_balance", "loss_cost")
"""They are the columns of a report beside metrics and costs: lists by expert, numbers, and the loss
with its terms. Whatever writes, keeps or reads reports takes the names from here."""


def table_file(table: str) -> str:
    """Gives the file name of a table in its run folder."""
    return f"{table}.parquet"


_SHOWN: Final = 4
"""Of the keys that begin alike, as many are named."""


def whole_key(start: str, keys: Iterable[str], where: object) -> str:
    """Gives the one key of a run that begins so; a whole key is its own start.

    `where` names the run in messages.

    Raises:
        ValueError: no key begins so, or several do.
    """
    alike = sorted({key for key in keys if key.startswith(start)}) if start else []
    if start in alike:
        return start
    if not alike:
        raise ValueError(
            f"{where} has no trial {quoted(start)}, nor one whose key begins so; the run's "
            "trials.parquet names them"
        )
    if len(alike) > 1:
        more = ", ..." if len(alike) > _SHOWN else ""
        raise ValueError(
            f"{quoted(start)} begins {len(alike)} keys of {where} ({', '.join(alike[:_SHOWN])}"
            f"{more}); give more of the one that is meant"
        )
    return alike[0]
