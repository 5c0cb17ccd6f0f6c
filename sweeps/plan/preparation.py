"""Prepares the data and models of a study; all of its sets are checked before any is prepared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
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

    prepared_set: PreparedSet
    inputs: Inputs
    measured: Mapping[str, CostVector]
    """Holds the measured costs that the study names, by name of their vector."""

    @property
    def vectors(self) -> dict[str, CostVector]:
        """Gives all cost vectors that the set's trials are reported under, by name."""
        return {**self.inputs.vectors, **self.prepared_set.config.vectors(), **self.measured}

    def costs(self) -> dict[str, dict[str, Any]]:
        """Gives the cost vectors as plain data."""
        return to_json(self.vectors)

    @property
    def prints(self) -> Fingerprints:
        """Gives the fingerprints that the keys of the set's trials contain."""
        return Fingerprints(data=self.inputs.data_fingerprint, models=self.inputs.models_id)


def prepare_sets(
    study: Study,
    places: Places,
    display: Display,
    *,
    only: str | None = None,
    hold: ExitStack | None = None,
    checked: Callable[[], object] = lambda: None,
) -> tuple[Ready, ...]:
    """Prepares the study's sets one after the other; `only` names a single one.

    Until `hold` ends, what they use of the cache is not pruned. `checked` is called once, as soon
    as all sets have passed the checks.

    Raises:
        InputError: data or models of a set are missing or bad.
    """
    from mpc_router.sample.examples import NOTICE
    from mpc_router.storage.cache import in_use
    from mpc_router.trainer import INPUT_ERRORS, check, prepare

    places = places_of_study(study, places)
    sets = [item for item in study.sets if only in (None, item.name)]
    try:
        for item in sets:
            check(item.config, places, vectors=study.reported_vectors)
        checked()
        for note in study.notes:
            tell(f"note: {note}")
        if places.source.kind == "sample":
            tell(f"data: {NOTICE}", sys.stdout)
        if hold is not None:
            hold.enter_context(in_use(places.cache))
        with display:
            return tuple(
                Ready(
                    prepared_set=item,
                    inputs=prepare(item.config, places, _Labelled(display, item.label)),
                    measured=study.measured_vectors(item),
                )
                for item in sets
            )
    except INPUT_ERRORS as error:
        raise InputError(str(error)) from error


class _Labelled:
    """Shows the steps of preparation with the label of the set that is prepared."""

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
    """Gives the fingerprints of prepared sets by name."""
    return {item.prepared_set.name: item.prints for item in ready}
