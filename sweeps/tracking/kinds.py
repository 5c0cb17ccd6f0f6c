"""Says which trackers there are and what they need, and makes them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_router.messages import quoted
from sweeps.records import InputError
from sweeps.tracking._tracker import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Says what a tracker needs."""

    packages: tuple[str, ...]
    install: str
    """Says what pip is to install."""


KINDS: Final[Mapping[str, _Kind]] = {
    "wandb": _Kind(packages=("wandb",), install="wandb"),
    "trackio": _Kind(packages=("trackio",), install="trackio"),
    "tensorboard": _Kind(packages=("tensorboard",), install="tensorboard"),
    "mlflow": _Kind(packages=("mlflow",), install="mlflow-skinny sqlalchemy alembic"),
}
"""Gives the trackers by name."""


def refuse_missing(names: Sequence[str]) -> None:
    """Checks that trackers are installed, without importing them.

    Raises:
        InputError: one is not, or there is no such tracker.
    """
    for name in names:
        if name not in KINDS:
            raise InputError(f"there is no tracker {quoted(name)}; take one of {', '.join(KINDS)}")
        for package in KINDS[name].packages:
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"--track {name} needs the package {package}, which is not installed: pip "
                    f"install {KINDS[name].install}"
                )


def tracker_of(name: str, run: Path) -> Tracker:
    """Makes the tracker of this name for the run in this folder; imports its library."""
    if name == "tensorboard":
        from sweeps.tracking._tensorboard import TensorBoard

        return TensorBoard(run)
    if name == "mlflow":
        from sweeps.tracking._mlflow import Mlflow

        return Mlflow()
    from sweeps.tracking._wandb import Wandb

    return Wandb(name)
