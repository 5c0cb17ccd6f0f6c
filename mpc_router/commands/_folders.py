"""Where a training leaves what it makes, and the rule that nothing of another one is overwritten.

`OUT/NAME_best_model`, `OUT/NAME_last_model`: checkpoints, each with its `summary.json`.
`OUT/logs/NAME`: TensorBoard. `OUT/NAME_epochs`: joint training while it runs, gone when it is done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.commands._exits import InputError
from mpc_router.config.keys import canonical
from mpc_router.config.trial import TrialConfig, flatten, to_tree
from mpc_router.messages import quoted
from mpc_router.results.checkpoint import TRIAL_FILE, CheckpointError
from mpc_router.results.summary import SUMMARY_FILE, read_summary
from mpc_router.storage.cache import write_json
from mpc_router.storage.paths import cannot_be_made

RUN_FILE: Final = "run.json"


def identity(config: TrialConfig, seed: int, places: Mapping[str, Any]) -> dict[str, Any]:
    """Gives what makes two trainings the same: settings but the device, seed, data's place.

    Plain data with a flat key each, so that a difference can be named.
    """
    settings = flatten(to_tree(config))
    del settings["device"]
    data = "sample" if places["sample"] else places["data"] or "hub"
    plain: dict[str, Any] = json.loads(canonical({**settings, "seed": seed, "data": data}))
    return plain


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Holds the folders of one training."""

    out: Path
    name: str

    @property
    def best(self) -> Path:
        """Gives the checkpoint of the best epoch by selection score."""
        return self.out / f"{self.name}_best_model"

    @property
    def last(self) -> Path:
        """Gives the checkpoint of the last epoch."""
        return self.out / f"{self.name}_last_model"

    @property
    def logs(self) -> Path:
        """Gives the folder of TensorBoard's events."""
        return self.out / "logs" / self.name

    @property
    def epochs(self) -> Path:
        """Gives the folder of joint training's epochs."""
        return self.out / f"{self.name}_epochs"

    def check(self, wanted: Mapping[str, Any], *, overwrite: bool) -> None:
        """Refuses a place that cannot be written to or holds another training.

        Raises:
            InputError: it does, and `overwrite` is not said; the differences are named.
        """
        if (why := cannot_be_made("--out", self.out)) is not None:
            raise InputError(why)
        for folder in (self.best, self.last, self.epochs, self.logs):
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder} is a file; move it, or give another --out or --name")
        for folder in (self.best, self.last, self.epochs):
            if folder.exists() and not overwrite:
                self._check_same(folder, wanted)

    def _check_same(self, folder: Path, wanted: Mapping[str, Any]) -> None:
        then = self.began() if folder == self.epochs else _identity_of(folder)
        advice = "give another --out or --name, or --overwrite"
        if then is None:
            raise InputError(f"{folder} exists and no training of ours left it; {advice}")
        differing = [key for key in wanted if then.get(key) != wanted[key]]
        if differing:
            named = ", ".join(
                f"{key} {quoted(then.get(key))}, now {quoted(wanted[key])}" for key in differing
            )
            raise InputError(f"{folder} holds another training ({named}); {advice}")

    def began(self) -> dict[str, Any] | None:
        """Gives the identity of the joint training that was begun here and is not done."""
        try:
            begun = json.loads((self.epochs / RUN_FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return begun if isinstance(begun, dict) else None

    def is_done(self, wanted: Mapping[str, Any]) -> bool:
        """Says whether this very training has left its checkpoints."""
        return all(_identity_of(folder) == wanted for folder in (self.best, self.last))

    def begin(self, wanted: Mapping[str, Any], *, resume: bool) -> None:
        """Makes the folder of epochs, empty unless an earlier training goes on."""
        if not resume and self.epochs.exists():
            shutil.rmtree(self.epochs)
        self.epochs.mkdir(parents=True, exist_ok=True)
        write_json(self.epochs / RUN_FILE, wanted)

    def done(self) -> None:
        """Removes the epochs of a joint training that is done."""
        shutil.rmtree(self.epochs, ignore_errors=True)


def replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Puts what `write` makes of an empty folder in the place of `folder`.

    Until it is whole the older one stays; one that is no checkpoint of ours is left in place and
    written into.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new_folder, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    if old.exists() and not folder.exists():  # a crash between two renames
        old.rename(folder)
    for left in (new_folder, old):
        shutil.rmtree(left, ignore_errors=True)
    new_folder.mkdir()
    try:
        write(new_folder)
        if (folder / TRIAL_FILE).is_file() or (folder / SUMMARY_FILE).is_file():
            folder.rename(old)
        elif folder.exists():
            shutil.copytree(new_folder, folder, dirs_exist_ok=True)
            return
        try:
            new_folder.rename(folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new_folder, ignore_errors=True)


def _identity_of(folder: Path) -> dict[str, Any] | None:
    try:
        summary = read_summary(folder)
    except CheckpointError:
        return None
    told = summary.get("identity") if summary else None
    return told if isinstance(told, dict) else None
