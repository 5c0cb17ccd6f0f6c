"""Ray Tune drives: one embedded run that several tests look at, a stop, and a joined cluster."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mpc_router.packages import BESIDE
from sweeps.raytune._environment import LOOPBACK, answers
from sweeps.run import main
from tests.sweeps.conftest import FIX, already_prepared, assert_same_tables, in_process

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, os, signal, sys, tempfile, time
from pathlib import Path
from cluster import private
from mpc_router.prepare import frozen
from sweeps.driver import _ledger as ledger
from sweeps import run
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may themselves run under nohup
folder, sockets = Path(sys.argv[1]), Path(sys.argv[2])
frozen.prepare = lambda *_: frozen.open_prepared(folder)
frozen.check_inputs = lambda *_: None
heard, remove, leaked = ledger.Ledger.received, private.remove, set()
def search():
    for path in [*Path(tempfile.gettempdir()).rglob("*"), *Path("/proc").glob("[0-9]*/cmdline")]:
        try:
            if path.is_file() and os.environ["HF_TOKEN"].encode() in path.read_bytes():
                leaked.add(str(path))
        except OSError:
            pass
def last_look(number, path):
    search()
    (sockets.parent / "leaked.json").write_text(json.dumps(sorted(leaked)))
    remove(number, path)
def attack(top, paths):
    got, given = os.pipe()
    if not (child := os.fork()):
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        deeds = {
            "listed": os.listdir,
            "looked at": os.stat,
            "read": lambda path: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1),
            "written": lambda path: os.open(path, os.O_WRONLY | os.O_NONBLOCK),
            "put into": lambda path: os.mkdir(path + "/theirs"),
            "replaced": lambda path: os.rename(path, path + "-theirs"),
        }
        done = []
        for path in paths:
            for name, deed in deeds.items():
                try:
                    deed(path)
                    done.append([name, path])
                except OSError:
                    pass
        done = [each for each in done if each != ["looked at", top]]  # a name that all may see
        os.write(given, json.dumps(done).encode()[:60000])
        os._exit(0)
    os.close(given)
    os.waitpid(child, 0)
    return json.loads(os.read(got, 1 << 16))
def modes(paths):
    return [[path, os.lstat(path).st_mode, os.lstat(path).st_uid] for path in paths]
def look(self, pack, message):
    heard(self, pack, message)
    time.sleep(float(os.environ.get("SLOW", 0)))
    if "WATCH" not in os.environ:
        return
    search()
    if not sockets.exists():
        import psutil
        me = psutil.Process()
        found = [
            (process.name(), connection.laddr.ip)
            for process in [me, *me.children(recursive=True)]
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        names = [process.name() for process in me.children(recursive=True)]
        used = tempfile.gettempdir()
        below = sorted(map(str, Path(used).rglob("*")))
        could = attack(below[0], below) if os.getuid() == 0 else None
        listing = [os.listdir(used), modes(below), could]
        sockets.write_text(json.dumps([found, names, used, *listing]))
ledger.Ledger.received = look
if "WATCH" in os.environ:
    private.remove = last_look
sys.exit(run.main(sys.argv[3:]))
"""


def command(prepared: Path, folder: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-c", SCRIPT, str(prepared), str(folder / "sockets.json")),
        *(*arguments, "--sample", "--no-report", "--cache", str(folder / "cache")),
    ]


def statuses(run: Path) -> list[str]:
    found: list[str] = pq.read_table(run / "trials.parquet").column("status").to_pylist()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driver")


@pytest.fixture(scope="module")
def short() -> Iterator[Path]:
    """A temporary folder for Ray, as open as /tmp, whose path is short enough to be taken."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


GRID = [
    *("mrpc_grid", *FIX, "seeds=[0, 1]", "beta=0.01", "alpha={grid: [0.01, 1]}"),
    *("learning_rate={grid: [1e-3, 1e30]}", "start=[]", "pack.points=2"),
]


PLANTED = {
    name: "planted"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
} | {"HTTPS_PROXY": "http://me:planted@127.0.0.1:1"}

OF_A_JOB = {
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "/none"}, "metadata": {}}',
    "RAY_RUNTIME_ENV_HOOK": "no.such.hook",
    "RAY_ADDRESS": "127.0.0.1:1",
    "TUNE_RESULT_DIR": "/none",
}
"""What the command finds inside a job of another Ray."""


@pytest.fixture(scope="module")
def embedded(prepared_folder: Path, folder: Path, short: Path) -> subprocess.CompletedProcess[str]:
    """A whole grid on an embedded Ray, one of its points failing, beside files of our names."""
    pytest.importorskip("psutil", reason="psutil sees which processes listen where")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("mpc_router", *BESIDE):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('foreign')\n")
    words = command(
        prepared_folder,
        folder,
        *(*GRID, "--out", str(folder), "--name", "whole", "--address", "local"),
    )
    watched = {"TMPDIR": str(short), "WATCH": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [words[0], "-P", *words[1:]],  # as an installed command, which has no current folder
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={**os.environ, **PLANTED, **OF_A_JOB, **watched},
        check=False,
        timeout=PATIENCE,
    )


def test_a_run_on_ray_ends_with_every_trial_and_exit_4_for_the_failed(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert embedded.returncode == 4, embedded.stderr
    assert sorted(statuses(folder / "whole")) == ["COMPLETED"] * 4 + ["FAILED"] * 4


def test_files_with_names_of_our_packages_in_the_current_folder_hide_none_of_them(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert "foreign" not in embedded.stderr
    assert "lost its worker" not in embedded.stderr
    assert {path.stem for path in (folder / "elsewhere").iterdir()} == {"mpc_router", *BESIDE}


def test_ray_says_nothing_and_failures_are_a_line_each(
    embedded: subprocess.CompletedProcess[str],
) -> None:
    lines = embedded.stderr.splitlines()
    assert len([line for line in lines if line.startswith("FAILED")]) == 4
    assert len([line for line in lines if line.startswith("pack0")]) == 2
    steps = [
        line
        for line in lines
        if line.startswith("training: ")
        or re.fullmatch(r"[a-z ]+( \.\.\.|: [0-9.]+ s)", line)
        or re.match(r"\d+ of \d+ trials done", line)  # one a minute
    ]
    assert len(lines) == 4 + 2 + 1 + len(steps), lines
    assert "Traceback" not in embedded.stdout


def test_nothing_of_ours_listens_outside_this_machine(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    listening, names = json.loads((folder / "sockets.json").read_text())[:2]
    assert "raylet" in names
    assert listening
    assert {address.removeprefix("::ffff:") for _, address in listening} <= {"127.0.0.1", "::1"}


def test_ray_leaves_no_session_behind(
    embedded: subprocess.CompletedProcess[str], folder: Path, short: Path
) -> None:
    used, listing = json.loads((folder / "sockets.json").read_text())[2:4]
    assert used == str(short)
    assert len(listing) == 1
    assert list(short.iterdir()) == []


def test_while_a_worker_runs_all_of_a_session_lies_below_a_folder_that_is_ours_alone(
    embedded: subprocess.CompletedProcess[str], folder: Path, short: Path
) -> None:
    _, _, _, [top], modes, _ = json.loads((folder / "sockets.json").read_text())
    found = {path: (mode, owner) for path, mode, owner in modes}
    mode, owner = found.pop(str(short / top))
    assert stat.S_IMODE(mode) == 0o700
    assert owner == os.geteuid()
    assert all(path.startswith(f"{short / top}/") for path in found)
    assert any(stat.S_ISSOCK(mode) for mode, _ in found.values())
    assert any(mode & 0o002 for mode, _ in found.values() if stat.S_ISDIR(mode))  # Ray's own doing


@pytest.mark.skipif(os.getuid() != 0, reason="only root may try as another user")
def test_another_user_reads_writes_and_replaces_nothing_of_a_session(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert json.loads((folder / "sockets.json").read_text())[5] == []


def test_no_secret_reaches_a_log_a_run_folder_or_a_command_line(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert json.loads((folder / "leaked.json").read_text()) == []
    assert "planted" not in embedded.stdout + embedded.stderr
    files = [path for path in (folder / "whole").rglob("*") if path.is_file()]
    assert folder / "whole" / "provenance.json" in files
    assert not [path for path in files if b"planted" in path.read_bytes()]


def test_a_run_on_ray_equals_one_in_this_process(
    embedded: subprocess.CompletedProcess[str], prepared_folder: Path, folder: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)
        assert main([*GRID, "--sample", "--no-report", "--out", str(folder), "--name", "here"]) == 4
    assert_same_tables(folder / "whole", folder / "here")


LONG = ["mrpc_grid", *FIX, "epochs=40", "seeds=[0]"]
"""Of this a run that is disturbed as it begins leaves nearly all, also on a slow machine."""

PATIENCE = 300.0
"""Seconds that starting Ray, and then a sweep on it, may take beside other work."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a disturbed process ended."""

    code: int
    said: str
    left: list[str]
    """Processes it had started that outlived it by a minute."""

    statuses: list[str]


def disturb(
    prepared: Path,
    folder: Path,
    short: Path,
    *,
    arguments: list[str],
    disturbance: Callable[[int], None],
    before: Callable[[int, Callable[[], bytes]], None] = lambda *_: None,
) -> Told:
    """Starts a run in `folder`, disturbs it as soon as a worker has reported, waits for its end."""
    import psutil

    run = folder / "r"
    known = (run / "journal.jsonl").stat().st_size if run.exists() else 0
    running = subprocess.Popen(
        command(prepared, folder, *arguments, "--quiet"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(short), "SLOW": "0.05"},
    )
    deadline = time.monotonic() + PATIENCE
    while b'"reported"' not in news(run, known):
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before(running.pid, lambda: news(run, known))
    started = psutil.Process(running.pid).children(recursive=True)
    disturbance(running.pid)
    _, said = running.communicate(timeout=PATIENCE)
    _, alive = psutil.wait_procs(started, timeout=60)
    return Told(
        code=running.returncode,
        said=said,
        left=[process.name() for process in alive],
        statuses=statuses(run) if (run / "trials.parquet").exists() else [],
    )


def news(run: Path, known: int) -> bytes:
    """What the journal has gained since it had so many bytes."""
    journal = run / "journal.jsonl"
    return journal.read_bytes()[known:] if journal.exists() else b""


def twice(process: int) -> None:
    os.kill(process, signal.SIGINT)
    time.sleep(0.2)
    os.kill(process, signal.SIGINT)


def terminate_all(process: int) -> None:
    """As a batch system does."""
    import psutil

    ours = psutil.Process(process)
    for each in [*ours.children(recursive=True), ours]:
        each.terminate()


def rob(process: int, gained: Callable[[], bytes]) -> None:
    """Kills a worker, and waits until its pack is tried again: started twice in this session."""
    import psutil

    kill_a_worker(process)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        events = [json.loads(line) for line in gained().splitlines(keepends=True)[:-1]]
        started = [event["pack"] for event in events if event["event"] == "started"]
        if len(set(started)) < len(started):
            return
        assert psutil.Process(process).status() != psutil.STATUS_ZOMBIE
        time.sleep(0.05)
    raise AssertionError("no pack was tried again")


def kill_a_worker(process: int) -> None:
    """Kills the first that is found: one may just have ended its pack and the next be starting."""
    import psutil

    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in psutil.Process(process).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("PackTrainable" in word for word in child.cmdline()):
                    child.kill()
                    return
        time.sleep(0.02)
    raise AssertionError("no worker was found")


@pytest.fixture(scope="module")
def disturbed(
    prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory, short: Path
) -> tuple[Path, Told]:
    """A run that is robbed of a worker, and then ended by SIGTERM to all of its processes."""
    pytest.importorskip("psutil", reason="psutil sees which processes are left")
    folder = tmp_path_factory.mktemp("d")
    told = disturb(
        *(prepared_folder, folder, short),
        arguments=[*LONG, "pack.points=10", "--out", str(folder), "--name", "r"],  # in one pack
        before=rob,
        disturbance=terminate_all,
    )
    return folder / "r", told


def test_a_lost_worker_is_a_line_and_its_pack_is_tried_again(disturbed: tuple[Path, Told]) -> None:
    _, told = disturbed
    assert told.said.count("lost its worker") == 1
    assert "it is tried again" in told.said
    assert "Traceback" not in told.said


def test_a_signal_stops_cleanly_and_says_how_to_go_on(disturbed: tuple[Path, Told]) -> None:
    run, told = disturbed
    assert told.code == 143, told.said
    assert f"mpc-router-sweep --resume {run}" in told.said
    assert "INTERRUPTED" in told.statuses
    assert told.left == []


def test_after_all_that_the_tables_equal_those_of_an_undisturbed_run(
    disturbed: tuple[Path, Told], prepared_folder: Path, tmp_path: Path
) -> None:
    run, _ = disturbed
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)
        known = ["--no-report", "--cache", str(tmp_path)]
        assert main(["--resume", str(run), *known]) == 0
        words = [*LONG, "pack.points=10", "--sample"]
        assert main([*words, *known, "--out", str(tmp_path), "--name", "r"]) == 0
    assert set(statuses(run)) == {"COMPLETED"}
    assert_same_tables(run, tmp_path / "r")


@pytest.mark.long
def test_a_second_ctrl_c_ends_at_once_and_leaves_no_process(
    prepared_folder: Path, tmp_path: Path, short: Path
) -> None:
    pytest.importorskip("psutil", reason="psutil sees which processes are left")
    told = disturb(
        *(prepared_folder, tmp_path, short),
        arguments=[*LONG, "--out", str(tmp_path), "--name", "r"],
        disturbance=twice,
    )
    assert told.code == 130, told.said
    assert "journaled is safe" in told.said  # or it was writing tables already
    assert told.left == []


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray cluster of this machine, started and ended as one process of ours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    environment[LOOPBACK] = "0"
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
            *(f"--port={port}", "--num-cpus=2", "--include-dashboard=false"),
            *("--disable-usage-stats", "--object-store-memory=100000000"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=tmp_path_factory.mktemp("cluster"),
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers("127.0.0.1", port):
            assert head.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(timeout=PATIENCE)


@pytest.mark.long  # tests/cluster/test_local.py joins one that has a token
def test_a_running_cluster_is_joined_and_left_running(
    cluster: str,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    already_prepared(monkeypatch, prepared_folder)
    arguments = ["mrpc_grid", *FIX, "alpha=0.1", "seeds=[0]", "--sample", "--no-report"]
    places = ["--out", str(tmp_path), "--cache", str(tmp_path / "cache")]
    code = main([*arguments, *places, "--name", "r", "--address", cluster])
    assert code == 0, capsys.readouterr().err
    assert statuses(tmp_path / "r") == ["COMPLETED"] * 4
    host, _, port = cluster.partition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) == 0


def test_a_cluster_that_is_not_there_is_exit_2_in_a_line(
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    already_prepared(monkeypatch, prepared_folder)
    out = tmp_path / "out"
    places = ["--out", str(out), "--cache", str(tmp_path / "cache")]
    assert main(["mrpc_grid", *FIX, "--sample", *places, "--address", "127.0.0.1:1"]) == 2
    assert not out.exists()
    assert "nothing answers at 127.0.0.1:1" in capsys.readouterr().err
