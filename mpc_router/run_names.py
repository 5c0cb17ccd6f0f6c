"""The words that a run's folder is written and read with: files, statuses, splits, tables.

Writers (`sweeps`) and readers (`analysis`) import them from here. Nothing is loaded with them.
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
"""The split that stopping, search and the display see; it is cut off what training reads."""

VALIDATION: Final = "validation"
