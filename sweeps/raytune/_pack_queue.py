"""The module gives Ray Tune the packs that the process with the journal has queued."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from sweeps.raytune._pipe import PipeEnd


class NeverCopied:
    """Stays one object of this process where Tune copies and pickles its settings."""

    def __deepcopy__(self, memo: dict[int, Any]) -> NeverCopied:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PackQueue(NeverCopied, Searcher):  # type: ignore[misc]
    """Gives Tune the packs as they become due, as many at a time as `bound` says by then."""

    def __init__(
        self, pipe: PipeEnd, job: Mapping[str, Any], depot_name: str, bound: Callable[[], float]
    ) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._pipe, self._bound = pipe, bound
        self._shared = {"job": json.dumps(job), "depot": depot_name}
        self._out: set[str] = set()
        """It holds Tune's trials that are not over."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Gives Tune the next pack; None while it is open whether there will be one."""
        if len(self._out) >= self._bound():
            return None
        answer = self._pipe.ask("next")
        if answer["pack"] is None:
            return str(Searcher.FINISHED) if answer["over"] else None
        self._out.add(trial_id)
        pack = {"pack": json.dumps(answer["pack"]), "kept": json.dumps(answer["kept"])}
        return {**pack, **self._shared}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Notes that a place is free; the journal tells the search what was learnt."""
        self._out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing, for a run resumes from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing."""
