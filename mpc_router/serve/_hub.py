"""Where an exported router lies: a folder here, or a model on the hub that is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mpc_router.messages import one_line, quoted, shortened
from mpc_router.model.description import POOL_FILE
from mpc_router.model.sources import TRANSPORTS, ModelError
from mpc_router.storage.tensor_files import TRIAL_FILE

CARD_FILE: Final = "README.md"

_FILES: Final = (POOL_FILE, TRIAL_FILE, CARD_FILE, "tokenizer/*", "tokenizer-*/*")
"""What of a model on the hub is fetched."""

_LONGEST_REASON: Final = 300


def exported_folder(name: Path | str, *, revision: str | None = None, **fetch: Any) -> Path:
    """Gives the folder of an export: the one that `name` is, or what the hub has under this id.

    `fetch` is passed on to `huggingface_hub.snapshot_download`.

    Raises:
        ModelError: there is no such folder, and the hub does not give it.
    """
    path = Path(name).expanduser()
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        is_folder = False
    if is_folder:
        if revision is not None:
            raise ModelError(
                f"revision is {quoted(revision)}, and {quoted(str(name))} is a folder, which has "
                "none; leave revision out, or give the id of a model on the hub"
            )
        return path
    if isinstance(name, Path) or path.is_absolute() or name.startswith(("./", "../", "~")):
        raise ModelError(f"{quoted(str(name))} is no folder; give one that mpc-router-export wrote")
    return _fetched(name, revision, fetch)


def _fetched(name: str, revision: str | None, fetch: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(_FILES), **fetch)
        )
    except Exception as error:
        # the client's transport differs by version, and its errors share no root of ours to name
        ours = isinstance(error, OSError | ValueError)
        if not ours and not type(error).__module__.startswith(TRANSPORTS):
            raise
        at = "" if revision is None else f" at revision {quoted(revision)}"
        reason = shortened(one_line(str(error).partition("\n")[0]), _LONGEST_REASON).rstrip(".")
        raise ModelError(
            f"{quoted(name)} is no folder here, and the hub did not give it{at} "
            f"({reason or type(error).__name__}); give a folder that mpc-router-export wrote, or "
            "the id of a model on the hub that can be reached"
        ) from error
