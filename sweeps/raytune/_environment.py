"""The environment variables that Ray gets, each with its reason."""

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
    "RAY_AIR_NEW_OUTPUT": "0",  # our display is the only one
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default warns of tomorrow's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files a trial: the journal has everything
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost pack is one line, not a traceback
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",  # nobody restores from it
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the same
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what they meant
    "RAY_gcs_rpc_server_reconnect_timeout_s": "30",  # a head that is dead for so long stays so
    "RAY_NUM_REDIS_GET_RETRIES": "3",  # who is refused once is refused twenty times
}

UV: Final = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
"""Whether Ray, under `uv run`, packs up the current folder and starts workers from that."""

TUNE: Final = ("TUNE_", "RAY_TUNE_", "RAY_TRAIN_", "RAY_AIR_")
"""What somebody else's sweep, or a worker that this command runs in, tells Tune: ours is none of
its business."""

MASKS: Final = "RAY_EXPERIMENTAL_NOSET_"
"""Of a machine: that Ray is not to choose the visible devices."""

LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def environment(address: str | None, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Makes the environment of a process that Ray will live in.

    An embedded Ray (no `address`) keeps to 127.0.0.1 and asks for a token that only its own
    processes know, which is never written to disk. A cluster that is joined decides both itself.
    The mode is said in any case: Ray's own default depends on how it was started.

    An embedded Ray runs on this machine with this interpreter, wherever the command was called: in
    a job, a task or an actor of another Ray, whose runtime environment and hooks are not its, or
    under `uv run`. One that is joined hears what a job says of itself; `uv run` only if the user
    sets Ray's variable, for its nodes have environments of their own.

    Secrets stay in the process that prepares; Tune would hand some to its workers, by way of logs.
    """
    told = without_secrets(given)
    ours = {name: value for name, value in told.items() if not name.startswith(TUNE)}
    if address is None:
        ours = {name: value for name, value in ours.items() if not _of_another_ray(name)}
    environ = {UV: "0", **ours, **QUIET}
    if address is None:
        environ[LOOPBACK] = "0"  # with clusters "disabled", every part binds to 127.0.0.1
        environ["RAY_AUTH_MODE"] = "token"
        environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return environ
    known = _find_token(address, environ)
    environ.setdefault("RAY_AUTH_MODE", "token" if known else "disabled")
    if keeps_to_loopback(address):
        environ[LOOPBACK] = "0"  # else Ray puts this machine's outer address for 127.0.0.1
    return environ


def _of_another_ray(name: str) -> bool:
    """Whether a variable tells a process of a Ray that it belongs to (`RAY_ADDRESS`, a job's
    configuration, a hook): those that set up Ray's core are written in small letters."""
    return name.startswith("RAY_") and name[4:5].isupper() and not name.startswith(MASKS)


def _find_token(address: str, environ: dict[str, str]) -> bool:
    """Tells whether there is a token to show, and points Ray to its file.

    That of `cluster.local` is found by the address, any other where Ray looks for it.
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
            return "0.0.0.1"  # no way out: nothing answers there
        return str(probe.getsockname()[0])
