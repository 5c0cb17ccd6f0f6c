"""Which rows of train the experts are trained on, and which ones routers learn from.

All is decided by hashes of the rows' texts, so that rows of equal texts go together and no expert
knows from a copy what a router learns from. Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.router_data import CROSS_FITTED, HELD_OUT, UNUSED
from mpc_router.config.sections import DataConfig
from mpc_router.source_error import SourceError
from mpc_router.storage.cache import digest

_VERSION: Final = 1
"""Raised when the same rows would be shared out otherwise."""

_SALT: Final = 2
"""Of the hash that cuts shares and folds; 1 cuts validation from train."""

_BITS: Final = 2**64


@dataclass(frozen=True, kw_only=True)
class RouterRows:
    """Holds which rows of a source file each learns from; row numbers rise."""

    experts: NDArray[np.int64]
    """Rows that the experts are trained on."""

    routers: NDArray[np.int64]
    """(N,) rows that routers learn from."""

    folds: NDArray[np.int64] | None = None
    """(N,) the fold of each row, from 0, of cross-fitted ones."""


@dataclass(frozen=True, kw_only=True)
class Fingerprints:
    """Holds hex digits of the content that a configuration learns from and is judged on."""

    splits: dict[str, str]
    """Of each split; of train the rows that routers learn from."""

    experts: str
    """Of the rows that the experts are trained on."""

    folds: tuple[tuple[str, str], ...] = ()
    """Of cross-fitted rows: of each fold, and of all rows of train but the fold."""

    @property
    def data(self) -> str:
        """Names all of it: what a trial's key holds of the data."""
        return digest(self.splits, *(parts[0] for parts in self.folds))


def router_rows(
    data: DataConfig,
    rows: NDArray[np.int64],
    left: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> RouterRows:
    """Shares out `rows`, those of train under its limit, and `left`, those beyond it.

    `hashes` (of every row of the source file) are those of `Columns.row_hashes`.
    """
    kind = data.router_data
    if kind == HELD_OUT:
        texts, places = np.unique(salted(hashes[rows], _SALT), return_inverse=True)
        kept = places < round(data.router_share * len(texts))
        return RouterRows(experts=rows[~kept], routers=rows[kept])
    if kind == UNUSED:
        # a copy of the last row under the limit was seen too
        unseen = left[hashes[left] > hashes[rows].max()] if len(rows) else left
        return RouterRows(experts=rows, routers=lowest(unseen, hashes, data.router_rows))
    if kind == CROSS_FITTED:
        texts, places = np.unique(salted(hashes[rows], _SALT), return_inverse=True)
        folds = places.astype(np.int64) * data.router_folds // max(1, len(texts))
        return RouterRows(experts=rows, routers=rows, folds=folds)
    return RouterRows(experts=rows, routers=rows)


def fingerprints(data: DataConfig, splits: Mapping[str, str], train: str) -> Fingerprints:
    """Gives the fingerprints, of those of splits where routers learn from all of `train`."""
    of_train, kind = splits[train], data.router_data
    if kind == HELD_OUT:
        share: list[Any] = [kind, _VERSION, data.router_share, of_train]
        routers = {train: digest(*share, "routers")}
        return Fingerprints(splits={**splits, **routers}, experts=digest(*share, "experts"))
    if kind == UNUSED:
        routers = {train: digest(kind, _VERSION, data.router_rows, of_train)}
        return Fingerprints(splits={**splits, **routers}, experts=of_train)
    folds = tuple(
        (
            digest(kind, _VERSION, data.router_folds, fold, of_train, "fold"),
            digest(kind, _VERSION, data.router_folds, fold, of_train, "others"),
        )
        for fold in range(data.router_folds if kind == CROSS_FITTED else 0)
    )
    return Fingerprints(splits=dict(splits), experts=of_train, folds=folds)


def check_router_rows(data: DataConfig, shares: RouterRows, labels: NDArray[np.float64]) -> None:
    """Refuses parts of train that nothing can be learned from; `labels` are of every row.

    Raises:
        SourceError: there is one.
    """
    setting = f"task {data.task}: router_data={data.router_data}"
    if data.router_data == UNUSED and not len(shares.routers):
        raise SourceError(
            f"{setting} takes the rows of train beyond train_rows, but there are none beyond "
            f"train_rows={data.train_rows}; lower train_rows, or set router_data=held_out"
        )
    if data.router_data == HELD_OUT:
        advice = f"change router_share (it is {data.router_share:g}) or give more rows"
        parts = {"the share for routers": shares.routers, "the rest for experts": shares.experts}
    elif shares.folds is not None:
        advice = f"lower router_folds (it is {data.router_folds}) or give more rows"
        if len(np.unique(shares.folds)) < data.router_folds:
            raise SourceError(
                f"{setting} needs a row of other texts for each of {data.router_folds} folds, but "
                f"train has {len(np.unique(shares.folds))} of them; {advice}"
            )
        parts = {
            f"fold {fold + 1} of {data.router_folds}": shares.routers[shares.folds == fold]
            for fold in range(data.router_folds)
        }
    elif data.router_data == UNUSED:
        advice = "raise router_rows or lower train_rows"
        parts = {"the rows for routers": shares.routers}
    else:
        return
    task = data.definition
    for part, rows in parts.items():
        if not len(rows):
            raise SourceError(f"{setting}: {part} comes out empty; {advice}")
        if not task.regression and len(np.unique(labels[rows])) == 1:
            only = task.label_names[int(labels[rows[0]])]
            raise SourceError(
                f"{setting}: {part} has {len(rows)} rows, all of them with the label {only!r}; "
                f"{advice}"
            )


def lowest(rows: NDArray[np.int64], hashes: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Gives so many of these rows, those with the lowest hashes, in rising order; 0 is all."""
    if not limit or limit >= len(rows):
        return rows
    return np.sort(rows[np.argsort(hashes[rows], kind="stable")[:limit]])


def salted(hashes: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """Gives another hash of rows, of their first hash alone and independent of it, (N,).

    Salt 1, 2, ... gives that number of a stream of splitmix64 (Steele et al. 2014), one to one on
    64 bits.
    """
    mixed = hashes + np.uint64(salt * 0x9E3779B97F4A7C15 % _BITS)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
