"""How the tests themselves are given to the processes that run them."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.waiting import WAITING_FILES, WaitingInOneProcess


def test_files_that_wait_go_to_one_process_and_each_other_file_to_any() -> None:
    scheduler = object.__new__(WaitingInOneProcess)  # what it takes to begin, xdist alone has
    units = {scheduler._split_scope(f"{file}::test_it") for file in WAITING_FILES}
    assert len(units) == 1
    assert scheduler._split_scope("tests/test_docs.py::test_it[a::b]") == "tests/test_docs.py"


def test_files_that_wait_are_there() -> None:
    assert [file for file in WAITING_FILES if not (ROOT / file).is_file()] == []
