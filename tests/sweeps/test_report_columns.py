"""Columns of reports are named once: what trains, what is journaled and what is stored agree."""

from __future__ import annotations

from dataclasses import fields

from analysis import schema
from mpc_router.results.records import ARRAYS, SplitReport
from mpc_router.run_names import REPORT_LISTS, REPORT_LOSSES, REPORT_NUMBERS
from sweeps.records import Report


def test_every_array_that_training_reports_is_a_column_of_the_table() -> None:
    arrays = {each.name for each in fields(SplitReport)} - {"split", "lanes", "metrics", "cost"}
    assert arrays == set(ARRAYS)
    assert set(ARRAYS) <= set(schema.reports(()).names)


def test_a_journaled_report_has_each_column_or_holds_it_among_losses() -> None:
    held = {each.name for each in fields(Report)}
    assert {*REPORT_LISTS, *REPORT_NUMBERS, "losses"} <= held
    assert not held & set(REPORT_LOSSES)
