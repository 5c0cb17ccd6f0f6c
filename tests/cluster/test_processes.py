"""Processes of this machine: which run, who started them, and which belong to a session."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from cluster.processes import Process, boot, descendants, kill, members, processes


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        yield process
        process.kill()


def test_a_process_is_listed_with_its_parent_session_and_start(
    child: subprocess.Popen[bytes],
) -> None:
    before, after = processes()[os.getpid()], processes()[child.pid]
    assert (before.parent, before.session) == (os.getppid(), os.getsid(0))
    assert (after.parent, after.session) == (os.getpid(), child.pid)
    assert before.start <= after.start
    assert processes()[child.pid] == after


def test_a_start_is_read_anew_each_time(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = processes()[child.pid]
    start = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: start(process) + 60)
    later = processes()[child.pid]  # as if another process had this number now
    assert later.start == earlier.start + 6000
    assert members({child.pid: earlier.start}, {child.pid: later}) == []


def test_a_clock_that_is_set_moves_no_start(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = processes()[child.pid]
    start, boot_time = psutil.Process.create_time, psutil.boot_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: start(process) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time + 3600)
    assert processes()[child.pid] == before


def test_a_process_that_has_ended_but_was_not_waited_for_is_not_listed(
    child: subprocess.Popen[bytes],
) -> None:
    kill([processes()[child.pid]])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert child.pid not in processes()
    assert child.pid not in {process.pid for process in descendants(os.getpid())}


FIRST_THREAD_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone calls such a process a zombie")
def test_a_process_whose_first_thread_has_ended_is_listed_while_others_run() -> None:
    with subprocess.Popen([sys.executable, "-c", FIRST_THREAD_ENDS]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            assert process.poll() is None
            time.sleep(0.02)
        assert process.pid in processes()
        kill([processes()[process.pid]])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.pid not in processes()


def test_members_are_the_session_and_all_descendants_and_nothing_of_a_reused_number() -> None:
    def process(pid: int, parent: int, session: int) -> Process:
        return Process(pid=pid, parent=parent, session=session, start=10 * pid)

    listed = [process(2, 1, 2), process(3, 2, 2), process(4, 3, 4), process(5, 1, 5)]
    running = {each.pid: each for each in listed}
    assert [each.pid for each in members({2: 20}, running)] == [2, 3, 4]
    del running[2]  # the leader has ended
    assert [each.pid for each in members({2: 20}, running)] == [3, 4]
    assert members({5: 49}, running) == []


def test_boots_have_names() -> None:
    assert boot() == boot() != ""
