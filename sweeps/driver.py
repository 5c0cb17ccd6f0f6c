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
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from sweeps.batches import Batches
from sweeps.environment import answers
from sweeps.job import Job
from sweeps.ledger import BUDGET, Ledger
from sweeps.records import BETWEEN, Message, Pack, SweepError, pack_from
from sweeps.sessions import session_folder
from sweeps.signals import EXIT_CODES, Terminated
from sweeps.worker import run_pack

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
    batches: Batches,
    job: Job,
    ledger: Ledger,
    *,
    workers: Workers,
    stopped: Callable[[], bool],
) -> None:
    """Trains the packs as they become due; returns when all are over, when no budget is left, or
    soon after `stopped()` turns true.

    A pack whose worker is lost is noted in `ledger.lost`, the others go on.

    Raises:
        SweepError: Ray could not be started or joined, or gave up.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost pack is the ledger's to say
    with session_folder() as folder, _ray(workers, folder):
        if stopped():
            return
        mailbox = _Mailboxes() if job.ranking is not None else None
        tuner = tune.Tuner(
            tune.with_resources(PackTrainable, {"cpu": workers.cpus, "gpu": workers.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=PackQueue(batches, ledger, job, mailbox),
                scheduler=LedgerScheduler(ledger, mailbox),
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
        pack = pack_from(json.loads(config["pack"]))
        self._messages = run_pack(pack, Job.from_json(json.loads(config["job"])))
        self._mailbox = ray.get_actor(config["mailbox"]) if config["mailbox"] else None
        self._pack = pack.name

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The same actor takes another pack."""
        self._messages.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The next message; JSON, so that Tune neither flattens nor copies it in parts.

        Whoever is to be stopped ends in here, with routes and checkpoint, and not by Tune's hand.
        """
        drop = ray.get(self._mailbox.take.remote(self._pack)) if self._mailbox else None
        try:
            message = self._messages.send(drop)
        except StopIteration:
            return {"message": "", "done": True}
        return {"message": json.dumps(message.to_json()), "done": False}

    def cleanup(self) -> None:
        """Ends the pack where it stands."""
        self._messages.close()


class Mailbox:
    """Keeps what a pack's worker is to be told before its next epoch."""

    def __init__(self) -> None:
        self._drop: dict[str, dict[str, str]] = {}

    def put(self, pack: str, drop: dict[str, str]) -> None:
        """Trials to end, each with the reason."""
        self._drop[pack] = drop

    def take(self, pack: str) -> dict[str, str] | None:
        """What there is, once."""
        return self._drop.pop(pack, None)


class _Mailboxes:
    """The run's mailbox: an actor, for packs may run on any node."""

    def __init__(self) -> None:
        self.name = f"mpc-mailbox-{uuid.uuid4().hex}"
        self._actor = ray.remote(Mailbox).options(name=self.name, num_cpus=0).remote()

    def put(self, pack: str, drop: dict[str, str]) -> None:
        """Returns when it is there: only then may the pack go on."""
        ray.get(self._actor.put.remote(pack, drop))


class PackQueue(Searcher):  # type: ignore[misc]
    """Gives Tune the packs as they become due."""

    def __init__(
        self, batches: Batches, ledger: Ledger, job: Job, mailbox: _Mailboxes | None
    ) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._here = _Held(batches=batches, ledger=ledger, out=set())
        self._job = json.dumps(job.to_json())
        self._mailbox = mailbox.name if mailbox is not None else ""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next pack; None while it is still to be seen whether there is one."""
        batches, ledger, out = self._here.batches, self._here.ledger, self._here.out
        pack = None if ledger.used_up() else batches.take()
        if pack is not None:
            ledger.over.discard(pack.name)
            out.add(pack.name)
            return {
                "pack": json.dumps(dataclasses.asdict(pack)),
                "job": self._job,
                "mailbox": self._mailbox if pack.stopping == BETWEEN else "",
            }
        waits = out - ledger.over and not batches.complete and not ledger.used_up()
        return None if waits else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn: the journal tells the search."""

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


@dataclass(frozen=True, kw_only=True)
class _Held(_Here):
    """What a queue gives packs from."""

    batches: Batches
    ledger: Ledger
    out: set[str]
    """Packs that were given."""


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


class LedgerScheduler(_Here, FIFOScheduler):  # type: ignore[misc]
    """Carries every word of the packs into the ledger, and decisions between packs to their
    workers, before Tune lets a pack go on."""

    def __init__(self, ledger: Ledger, mailbox: _Mailboxes | None) -> None:
        super().__init__()
        self._ledger, self._mailbox = ledger, mailbox

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """A worker said something; it goes on, unless the budget is used up.

        Tune is never told to stop a pack whose trials are to be stopped: their worker ends them.
        """
        pack, message = _pack(trial), Message.from_json(json.loads(result["message"]))
        drop = self._ledger.heard(pack, message)
        if self._ledger.breaks_off(pack, message):
            self._ledger.interrupted(pack, BUDGET)
            return str(FIFOScheduler.STOP)
        if drop and pack.stopping == BETWEEN:
            assert self._mailbox is not None
            self._mailbox.put(pack.name, drop)
        return str(FIFOScheduler.CONTINUE)


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
        """What was said does not stay in Tune's memory; a pack that has said everything is over."""
        result.pop("message", None)
        pack = _pack(trial)
        if result.get("done") and pack.name not in self._ledger.over:
            self._ledger.finished(pack)

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
