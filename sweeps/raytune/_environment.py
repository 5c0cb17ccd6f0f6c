"""The module makes the environment variables that Ray gets, each with its reason."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from typing import Final

from cluster.private import without_secrets
from cluster.state import token_of

QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AIR_NEW_OUTPUT": "0",  # this command has its own display
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default warns of tomorrow's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files a trial: the journal has everything
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # this command handles signals
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost pack is one line, not a traceback
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",  # runs resume without it
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the same
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # the queue of packs has a bound, which moves
    "RAY_enable_worker_prestart": "0",  # packs get workers of their own: idle ones are never used
    "RAY_prestart_worker_first_driver": "0",  # the same
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning
    "RAY_gcs_rpc_server_reconnect_timeout_s": "30",  # a head does not come back later
    "RAY_NUM_REDIS_GET_RETRIES": "3",  # a wrong token stays wrong
}

UV: Final = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
"""It sets whether Ray, under `uv run`, packs the current folder and starts workers from that."""

TUNE: Final = ("TUNE_", "RAY_TUNE_", "RAY_TRAIN_", "RAY_AIR_")
"""Settings of Tune begin with them. They are meant for another sweep, or for a worker around this
command, and are not handed on."""

MASKS: Final = "RAY_EXPERIMENTAL_NOSET_"
"""Variables of a machine begin with it that keep Ray from choosing the visible devices."""

LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def environment(address: str | None, caller: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Makes the environment of the process that Ray runs in, from the caller's.

    An embedded Ray (no `address`) keeps to 127.0.0.1 and asks for a token that only its own
    processes have, which is never written to disk. A cluster that is joined decides both itself.
    The authentication mode is always set, for Ray's default depends on how it was started.

    An embedded Ray runs on this machine with this interpreter, wherever the command was called: in
    a job, a task or an actor of another Ray, whose runtime environment and hooks it does not take,
    or under `uv run`. A joined cluster gets the settings of a job; `uv run` is heeded only if the
    user sets Ray's variable, for nodes have environments of their own.

    Secrets stay in the process that prepares; Tune would write some of them to its workers' logs.
    """
    public = without_secrets(caller)
    kept = {name: value for name, value in public.items() if not name.startswith(TUNE)}
    if address is None:
        kept = {name: value for name, value in kept.items() if not _belongs_to_another_ray(name)}
    environ = {UV: "0", **kept, **QUIET}
    if address is None:
        environ[LOOPBACK] = "0"  # with clusters "disabled", every part binds to 127.0.0.1
        environ["RAY_AUTH_MODE"] = "token"
        environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return environ
    has_token = _find_token(address, environ)
    environ.setdefault("RAY_AUTH_MODE", "token" if has_token else "disabled")
    if keeps_to_loopback(address):
        environ[LOOPBACK] = "0"  # else Ray replaces 127.0.0.1 by the outer address
    return environ


def _belongs_to_another_ray(name: str) -> bool:
    """Tells whether a variable binds a process to another Ray: an address, job settings, a hook.

    Variables that set up Ray's core are written in small letters.
    """
    return name.startswith("RAY_") and name[4:5].isupper() and not name.startswith(MASKS)


def _find_token(address: str, environ: dict[str, str]) -> bool:
    """Tells whether there is a token for the cluster, and points Ray to its file.

    The token of `cluster.local` is found by the address, any other where Ray looks for it.
    """
    if environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    if (path := token_of(address)) is not None:
        environ["RAY_AUTH_TOKEN_PATH"] = str(path)
        return True
    return os.path.isfile(os.path.expanduser("~/.ray/auth_token"))


def keeps_to_loopback(address: str) -> bool:
    """Tells whether a port is open on 127.0.0.1, and on no outer address of this machine."""
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        return False
    return answers("127.0.0.1", int(port)) and not answers(_outer_address(), int(port))


def answers(host: str, port: int) -> bool:
    """Tells whether a port of a host accepts connections within some seconds."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except (OSError, OverflowError):
        return False
    return True


def _outer_address() -> str:
    """Gives the address that this machine would use towards others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: only the route is looked up
        except OSError:
            return "0.0.0.1"  # no route: nothing answers at this address
        return str(probe.getsockname()[0])
