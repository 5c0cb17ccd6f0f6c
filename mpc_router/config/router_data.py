"""Settings of what a router learns from: rows that experts have seen, or rows that none has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from mpc_router.messages import quoted
from mpc_router.run_names import TRAIN
from mpc_router.settings.allowed import Number, OneOf
from mpc_router.settings.rules import ConfigError

TRAIN_ROWS: Final = TRAIN
HELD_OUT: Final = "held_out"
UNUSED: Final = "unused"
CROSS_FITTED: Final = "cross_fitted"

_LEAST_FOLDS: Final = 2


@dataclass(frozen=True, kw_only=True)
class RouterData:
    """Holds the settings of what a router learns from; they are part of the section `data`."""

    router_data: Annotated[str, OneOf((TRAIN_ROWS, HELD_OUT, UNUSED, CROSS_FITTED))] = TRAIN_ROWS
    """What a router learns from (experts: frozen): `train`, the rows that the experts were trained
    on (published); `held_out`, a share of train that is kept from the experts; `unused`, rows of
    train beyond `train_rows`; or `cross_fitted`, all of train, each row with outputs of experts
    that were trained on the other folds. There too the experts that run are those trained on all of
    train; with stem: expert the features of a row are theirs, for features of two trainings cannot
    be compared."""

    router_share: Annotated[float, Number(0, above=True, below=1)] = 0.25
    """Share of train that is kept from the experts, by a hash of the row (router_data: held_out).
    """

    router_folds: Annotated[int, Number(_LEAST_FOLDS)] = 3
    """Folds of train, by a hash of the row: each expert is trained once without each
    (router_data: cross_fitted)."""

    router_rows: Annotated[int, Number(0)] = 0
    """Rows beyond `train_rows` used at most, chosen by a hash of the row; 0 is all of them
    (router_data: unused)."""

    def check_router_data(self, *, joint: bool, handed_in: bool, fine_tuned: bool) -> None:
        """Refuses settings that cannot be, alone or beside the experts of the pool.

        `handed_in` says that experts are tables of outputs, `fine_tuned` that they come fine-tuned.

        Raises:
            ConfigError: there is one.
        """
        if self.router_data == TRAIN_ROWS:
            return
        setting = f"router_data={self.router_data}"
        if joint:
            raise ConfigError(
                f"{setting} is for experts that stay as they are, but experts=joint trains them "
                "with the router on one set of rows; set experts=frozen or router_data=train"
            )
        if fine_tuned:
            raise ConfigError(
                f"{setting} is for experts that are trained here, but these come fine-tuned "
                "(expert_fine_tuned, or `seen: true` of outputs) and may have seen every row of "
                "train; set router_data=train"
            )
        if handed_in and self.router_data != UNUSED:
            raise ConfigError(
                f"{setting} trains experts on a part of the rows, but outputs that are handed in "
                "come from experts that were trained elsewhere; set router_data=train"
            )
        if self.router_data == UNUSED and not getattr(self, "train_rows", 0):
            raise ConfigError(
                "router_data=unused takes the rows of train beyond train_rows, but train_rows is "
                f"{quoted(0)}, which is all of them; set train_rows, or router_data=held_out"
            )
