"""A Slurm of three nodes here, in a network of its own: Debian's packages, started by root."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.cluster import networks

NEEDED: Final = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    **networks.NEEDED,
}
"""Programs, and the packages that bring them."""

NODES: Final = ("n1", "n2", "n3")
CPUS: Final = 2


def missing() -> str:
    """Says why there can be no such Slurm here; empty where there can."""
    return networks.missing(NEEDED)


@dataclass(kw_only=True)
class Site:
    """A running Slurm."""

    folder: Path
    inside: tuple[str, ...]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RAY_", "SLURM_"))
        }
        return {
            **kept,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def call(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the network."""
        return subprocess.run(
            [*self.inside, *words],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [*self.inside, *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def node(self, name: str) -> None:
        """Starts a node."""
        self.start(name, "slurmd", "-D", "-N", name)

    def kill(self, name: str) -> None:
        """Kills a node at once with all that runs on it, as a power failure does."""
        daemon = self.processes.pop(name)
        victims = [psutil.Process(daemon.pid)]
        victims += victims[0].children(recursive=True)
        for process in psutil.process_iter():  # steps run in daemons of their own
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURMD_NODENAME") == name:
                    daemons = [each for each in process.parents() if each.name() == "slurmstepd"]
                    victims += [*daemons, process]
                    victims += process.children(recursive=True)
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        daemon.wait()

    def wait_for_nodes(self, state: str, names: Sequence[str] = NODES, seconds: float = 40) -> None:
        """Waits until nodes have a state."""
        words = ("sinfo", "--noheader", "--Node", "--format=%T", f"--nodes={','.join(names)}")
        until(lambda: set(self.call(*words).stdout.split()) == {state}, seconds, self.report)

    def report(self) -> str:
        """What the daemons and the commands say."""
        logs = sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("*.out"))
        tails = [f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs]
        return "\n".join([self.call("sinfo", "-R").stdout, self.call("squeue").stdout, *tails])


def until(true: object, seconds: float, report: object = lambda: "") -> None:
    """Waits until something is true."""
    assert callable(true)
    assert callable(report)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, report()
        time.sleep(0.5)


def _configuration(folder: Path) -> str:
    host = socket.gethostname()
    settings: Mapping[str, object] = {
        "ClusterName": "proof",
        "SlurmctldHost": f"{host}({networks.ADDRESS})",
        "SlurmUser": "root",
        "SlurmctldPort": 16817,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool-%n",
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/slurmd-%n.pid",
        "SlurmctldLogFile": f"{folder}/slurmctld.log",
        "SlurmdLogFile": f"{folder}/slurmd-%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SlurmdParameters": "config_overrides",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        "ReturnToService": 2,
        "SlurmdTimeout": 15,
        "JobRequeue": 1,
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += [
        f"NodeName={name} NodeHostname={host} NodeAddr={networks.ADDRESS} "
        f"Port={17000 + place} CPUs={CPUS}"
        for place, name in enumerate(NODES)
    ]
    return "\n".join([*lines, "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE", ""])


@contextlib.contextmanager
def running(folder: Path, name: str) -> Iterator[Site]:
    """Starts munge, slurmctld and three slurmd in a new network; ends them all."""
    folder.chmod(0o755)  # munge looks who may write to the folders above its socket
    (folder / "state").mkdir()
    for node in NODES:
        (folder / f"spool-{node}").mkdir()
    (folder / "slurm.conf").write_text(_configuration(folder))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    with networks.network(name) as inside:
        site = Site(folder=folder, inside=inside)
        try:
            places = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            site.start(
                "munged",
                *("munged", "--foreground", "--force", f"--key-file={key}"),
                *(f"--{flag}={folder}/munge.{end}" for flag, end in places.items()),
            )
            until((folder / "munge.socket").exists, 30, site.report)
            site.start("slurmctld", "slurmctld", "-D", "-i")
            for node in NODES:
                site.node(node)
            site.wait_for_nodes("idle")
            yield site
        finally:
            site.call("scancel", "--user=root")
            for process in reversed(site.processes.values()):
                process.send_signal(signal.SIGTERM)
            for process in site.processes.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                process.kill()
                process.wait()
