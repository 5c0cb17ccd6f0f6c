"""The module names what is in a run's folder: files, statuses, splits, tables.

Writers (`sweeps`) and readers (`analysis`) import the names from here. It imports nothing heavy.
"""

from __future__ import annotations

from typing import Final

JOURNAL_FILE: Final = "journal.jsonl"
STUDY_FILE: Final = "study.yaml"
PROVENANCE_FILE: Final = "provenance.json"
REPORT_FILE: Final = "report.html"
PARTS_FOLDER: Final = "parts"
CHECKPOINTS_FOLDER: Final = "checkpoints"

TABLES: Final = ("trials", "reports", "routing", "experts", "examples")

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
