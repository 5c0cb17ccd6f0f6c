"""Prepares what a study's trials train on: every set is checked before the first is prepared."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpc_router.costs import CostVector, to_json
from sweeps.plan.plan import Fingerprints
from sweeps.records import InputError
from sweeps.study.prepared_sets import PreparedSet
from sweeps.study.sources import places_of_study
from sweeps.study.study import Study
from sweeps.terminal.signals import tell

if TYPE_CHECKING:
    from mpc_router.prepare.inputs import Places
    from mpc_router.trainer import Inputs
    from sweeps.terminal.display import Display


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Holds a prepared set of a study."""

    of: PreparedSet
    inputs: Inputs
    measured: Mapping[str, CostVector]
    """Costs that the study brings along, by their name."""

    @property
    def vectors(self) -> dict[str, CostVector]:
        """Everything that the set's trials are reported under, by name."""
        return {**self.inputs.vectors, **self.of.config.vectors(), **self.measured}

    def costs(self) -> dict[str, dict[str, Any]]:
        """The vectors as plain data."""
        return to_json(self.vectors)

    @property
    def prints(self) -> Fingerprints:
        """What its trials' keys hold."""
        return Fingerprints(data=self.inputs.data_fingerprint, models=self.inputs.models_id)


def prepare_sets(
    study: Study, places: Places, display: Display, *, only: str | None = None
) -> tuple[Ready, ...]:
    """The study's sets, prepared one after the other; `only` names a single one.

    Raises:
        InputError: data or models that are missing or bad, of whichever set.
    """
    from mpc_router.sample.examples import NOTICE
    from mpc_router.trainer import INPUT_ERRORS, check, prepare

    places = places_of_study(study, places)
    wanted = [each for each in study.sets if only in (None, each.name)]
    try:
        for each in wanted:
            check(each.config, places, vectors=study.reported_vectors)
        if places.source.kind == "sample":
            tell(f"data: {NOTICE}", sys.stdout)
        with display:
            return tuple(
                Ready(
                    of=each,
                    inputs=prepare(each.config, places, _Named(display, each.label)),
                    measured=study.measured_vectors(each),
                )
                for each in wanted
            )
    except INPUT_ERRORS as error:
        raise InputError(str(error)) from error


class _Named:
    """A display that says which set is being prepared."""

    def __init__(self, display: Display, label: str) -> None:
        self._display = display
        self._label = label

    def start(self, label: str, total: int) -> None:
        """Starts a step of preparation."""
        self._display.start(f"{self._label}: {label}" if self._label else label, total)

    def advance(self, n: int = 1) -> None:
        """Advances the step by `n`."""
        self._display.advance(n)

    def finish(self) -> None:
        """Ends the step."""
        self._display.finish()


def prints_of(ready: Sequence[Ready]) -> dict[str, Fingerprints]:
    """The fingerprints of prepared sets by name."""
    return {each.of.name: each.prints for each in ready}
