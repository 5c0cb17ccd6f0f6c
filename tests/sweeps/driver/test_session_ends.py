"""How a session's end is told from a user's stop, and from one that no further session mends."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.driver.session import _ask
from sweeps.driver.session_clock import SessionClock
from sweeps.terminal.signals import ASKED, TIME, CleanStop


@pytest.mark.parametrize(("reason", "stays"), [(TIME, True), (None, False)])
def test_a_stop_file_stays_where_the_session_had_ended_before_it(
    tmp_path: Path, reason: str | None, stays: bool
) -> None:
    (tmp_path / "stop").touch()
    with CleanStop(lambda: None) as stop:
        if reason is not None:
            stop.ask(reason)
        _ask(stop, tmp_path / "stop", SessionClock())
    assert stop.reason == (reason or ASKED)
    assert (tmp_path / "stop").exists() == stays
