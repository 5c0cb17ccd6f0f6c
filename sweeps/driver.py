"""Ray Tune drives: packs on reused actors, every word of theirs into the ledger.

`sweeps.environment.prepare` must have run before this module is imported: Ray reads its settings
while it is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.search import Searcher

from sweeps.environment import answers
from sweeps.ledger import Ledger
from sweeps.records import Message, Pack, SweepError, pack_from
from sweeps.sessions import session_folder
from sweeps.signals import EXIT_CODES, Terminated
from sweeps.worker import Job, run_pack

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where packs run: how many at once, and each one's share."""

    count: int
    cpus: float
    gpus: float = 0.0
    address: str | None = None
    """A running Ray cluster; None starts one on this machine for the time of the run."""


def drive(
    packs: Sequence[Pack],
    job: Job,
    ledger: Ledger,
    *,
    workers: Workers,
    stopped: Callable[[], bool],
) -> None:
    """Trains the packs; returns when all are over, or soon after `stopped()` turns true.

    A pack whose worker is lost is noted in `ledger.lost`, the others go on.

    Raises:
        SweepError: Ray could not be started or joined, or gave up.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost pack is the ledger's to say
    with session_folder() as folder, _ray(workers, folder):
        if stopped():
            return
        tuner = tune.Tuner(
            tune.with_resources(PackTrainable, {"cpu": workers.cpus, "gpu": workers.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=PackQueue(packs, job),
                num_samples=-1,
                max_concurrent_trials=workers.count,
                reuse_actors=True,
                trial_name_creator=_pack_name,
                trial_dirname_creator=_pack_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder / "storage"),
                stop=StopAll(stopped),
                callbacks=[LedgerCallback(ledger)],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except (RayError, TuneError) as error:
            raise SweepError(f"Ray gave up: {_last_line(error.__cause__ or error)}") from error


def capacity(address: str, *, cpus: float, gpus: float) -> int:
    """Packs that a running cluster has room for at once."""
    with (
        session_folder() as folder,
        _ray(Workers(count=1, cpus=cpus, gpus=gpus, address=address), folder),
    ):
        found = ray.cluster_resources()
    room = found.get("CPU", 0.0) / cpus
    if gpus:
        room = min(room, found.get("GPU", 0.0) / gpus)
    if room < 1:
        raise SweepError(
            f"the cluster at {address} has no room for a pack of {cpus:g} cpus and {gpus:g} gpus"
        )
    return int(room)


@contextlib.contextmanager
def _ray(workers: Workers, folder: Path) -> Iterator[None]:
    """Ray, embedded or joined, for the time of the block."""
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "error",
        "configure_logging": True,
    }
    host, _, port = (workers.address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host and not answers(host, int(port)):
        raise SweepError(
            f"nothing answers at {workers.address}; start the cluster, or leave out --address"
        )
    handlers = {number: signal.getsignal(number) for number in EXIT_CODES}
    try:
        if workers.address is None:
            ray.init(
                num_cpus=max(1, -int(-workers.count * workers.cpus // 1)),
                object_store_memory=100 * 2**20,
                include_dashboard=False,
                _temp_dir=str(folder),
                **common,
            )
        else:
            ray.init(address=workers.address, **common)
    except SystemExit as error:  # Ray's own answer to SIGTERM, while its handler is in place
        ray.shutdown()
        if callable(ours := handlers[signal.SIGTERM]):
            ours(signal.SIGTERM, None)
        raise Terminated from error
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        place = workers.address or "this machine"
        raise SweepError(f"Ray on {place} is not to be had: {_last_line(error)}") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray has put its own, which ends this process, for SIGTERM
    try:
        if workers.address is None:
            address = ray.util.get_node_ip_address()
            if address != LOOPBACK:
                raise SweepError(f"Ray listens on {address} instead of {LOOPBACK}; it was stopped")
        yield
    finally:
        ray.shutdown()


class PackTrainable(tune.Trainable):  # type: ignore[misc]
    """One pack on an actor; a step is one message of its worker."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begins the pack."""
        job = Job.from_json(json.loads(config["job"]))
        self._messages = run_pack(pack_from(json.loads(config["pack"])), job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The same actor takes another pack."""
        self._messages.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The next message; JSON, so that Tune neither flattens nor copies it in parts."""
        message = next(self._messages, None)
        return {
            "message": json.dumps((message or Message()).to_json()),
            "done": message is None,
        }

    def cleanup(self) -> None:
        """Ends the pack where it stands."""
        self._messages.close()


class PackQueue(Searcher):  # type: ignore[misc]
    """Gives Tune the packs in their order."""

    def __init__(self, packs: Sequence[Pack], job: Job) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._packs = deque(packs)
        self._job = json.dumps(job.to_json())

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next pack."""
        if not self._packs:
            return str(Searcher.FINISHED)
        return {"pack": json.dumps(dataclasses.asdict(self._packs.popleft())), "job": self._job}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn: the grid is fixed."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the journal resumes, Tune does not."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _Here:
    """Belongs to this process: Tune copies and pickles its settings, this stays what it is."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Here:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StopAll(_Here, tune.Stopper):  # type: ignore[misc]
    """Ends everything when asked from outside."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended alone."""
        return False

    def stop_all(self) -> bool:
        """Whether to end."""
        return self._stopped()


class LedgerCallback(_Here, tune.Callback):  # type: ignore[misc]
    """Carries Tune's news into the ledger. Runs in the driver, one call after the other."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A pack has its actor."""
        self._ledger.started(_pack(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """A worker said something; it does not stay in Tune's memory."""
        message = result.pop("message", None)
        if message:
            self._ledger.heard(_pack(trial), Message.from_json(json.loads(message)))
        if result.get("done"):
            self._ledger.finished(_pack(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker is lost, or its surroundings failed."""
        error = trial.get_error() or "its worker is gone"
        self._ledger.interrupted(_pack(trial), _last_line(error), lost=True)


def _pack(trial: Any) -> Pack:
    return pack_from(json.loads(trial.config["pack"]))


def _pack_name(trial: Any) -> str:
    return _pack(trial).name


def _last_line(error: object) -> str:
    """What a traceback, which may be thousands of lines long, says in the end."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
