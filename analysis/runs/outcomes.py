"""Reads the tables of a run as arrays: which trial or expert predicted what on a split.

Letters: L trials, P points, N examples, K experts, A alternatives (see `alternatives`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs._roster import GATED as GATED
from analysis.runs._roster import LeftOut as LeftOut
from analysis.runs._roster import Point as Point
from analysis.runs._roster import Roster as Roster
from analysis.runs._roster import roster as roster
from analysis.runs._roster import router_kinds as router_kinds
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.recorded import answers, expert_outputs, text_codes
from analysis.words import setting_text as setting_text
from mpc_router.routes import Paths

if TYPE_CHECKING:
    import pyarrow as pa

_Values = NDArray[np.float64]
_NO_ROUTE: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSet:
    """Holds what trained experts, a trial's own or those of a set, predicted on a split."""

    members: tuple[int, ...]
    """(K,) their numbers among all experts of the run."""

    prediction: _Values
    """(K, N): class numbers, or values of a regression."""

    right: NDArray[np.bool_]
    """(K, N): the label, or for a regression the least absolute error of the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Holds what every trial of a roster did with every example of one split."""

    split: str
    example: NDArray[np.int64]
    labels: _Values
    routes: NDArray[np.uint16]
    """(L, N): the hard route, a number among the run's alternatives, of which its K experts are the
    first; trials in the order of the roster's keys."""

    predictions: _Values
    """(L, N): what the routed expert or path said; (0, N) as `routes` where none were recorded."""

    pools: tuple[ExpertSet, ...]
    """What trials are held against. Sets that agree on the experts they share are one pool, the
    union of all; where experts of one name differ (joint training, several `expert_seed`), every
    set of trained experts is a pool of its own."""

    pool_of: NDArray[np.intp]
    """(L,) each trial's pool."""

    set_of: NDArray[np.intp]
    """(L,) each trial's prepared set."""

    own: tuple[tuple[int, ...], ...]
    """(L,) the experts that each trial routes between, numbers among all of the run."""


def outcomes(run: Run, trials: Roster, split: str, *, need_routes: bool = True) -> Outcomes:
    """Reads routes and predictions of a roster's trials on a split, in any order of rows.

    Those of all trials that can be judged are read once: every question of a report asks for them.

    Raises:
        RunError: a trial or an expert lacks examples of the split, or has one twice; the run has no
            routing table, and `need_routes`.
    """
    if need_routes and not run.routed:
        raise RunError(f"{run.name}: no routing table, so nothing is known of single examples")
    return _of_roster(run, split) if trials is roster(run) else _outcomes(run, trials, split)


@lru_cache(maxsize=2)
def _of_roster(run: Run, split: str) -> Outcomes:
    """Reads the outcomes of the run's own roster, and keeps those of two splits."""
    kept = _outcomes(run, roster(run), split)
    for values in (kept.routes, kept.predictions):
        values.flags.writeable = False  # many questions share them
    return kept


def _outcomes(run: Run, trials: Roster, split: str) -> Outcomes:
    """Reads the outcomes of a roster's trials."""
    example, labels = _examples(run, split)
    used = dict(zip(run.trials["key"].astype(str), run.trials["experts_id"], strict=True))
    lanes = [str(used[key]) for key in trials.keys]
    sets = [run.set_of_point[point.point] for point in trials.points for _ in point.keys]
    members = {name: run.sets[number].members for name, number in zip(lanes, sets, strict=True)}
    experts = _expert_sets(run, split, example, members)
    routed = trials.keys if run.routed else ()
    local = (
        _routes(run, routed, split, example) if routed else np.empty((0, len(example)), np.int16)
    )
    routes, predictions = np.empty(local.shape, np.uint16), np.empty(local.shape, np.float64)
    choices, spoken = alternatives(run), _Spoken(run, split, experts)
    alike: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    for lane, key in enumerate(routed):
        paths = choices.paths.get(key)
        group = lanes[lane], choices.places[key], "" if paths is None else paths.name
        alike.setdefault(group, []).append(lane)
    for (experts_id, places, _), members_of in alike.items():
        key = routed[members_of[0]]
        highest = local[members_of].max(axis=1, initial=0)
        if (highest >= len(places)).any():
            kind = "path" if key in choices.paths else "expert"
            first = int(highest[highest >= len(places)][0])
            raise RunError(
                f"{run.path / 'routing.parquet'}: a route to {kind} {first} of {len(places)}"
            )
        answers_by_route = spoken.by_route(experts_id, choices.paths.get(key))
        example_place = np.arange(len(example))
        for lane in members_of:
            routes[lane] = np.asarray(places, np.uint16)[local[lane]]
            predictions[lane] = answers_by_route[local[lane], example_place]
    pools, place = _pools(experts, labels, regression=run.task.regression)
    return Outcomes(
        split=split,
        example=example,
        labels=labels,
        routes=routes,
        predictions=predictions,
        pools=pools,
        pool_of=np.array([place[name] for name in lanes], np.intp),
        set_of=np.array(sets, np.intp),
        own=tuple(run.sets[number].members for number in sets),
    )


class _Spoken:
    """Gives what a trial's routes say of every example, each set of paths once."""

    def __init__(self, run: Run, split: str, experts: dict[str, ExpertSet]) -> None:
        self._run, self._split, self._experts = run, split, experts
        self._answers: dict[tuple[str, str], _Values] = {}

    def by_route(self, experts_id: str, paths: Paths | None) -> _Values:
        """Gives the predictions of experts (K, N), or of the paths of them (P, N)."""
        if paths is None:
            return self._experts[experts_id].prediction
        place = experts_id, paths.name
        if place not in self._answers:
            experts = expert_outputs(self._run, experts_id, self._split)
            regression = self._run.task.regression
            self._answers[place] = answers(experts, paths, regression=regression).prediction
        return self._answers[place]


def _pools(
    experts: dict[str, ExpertSet], labels: _Values, *, regression: bool
) -> tuple[tuple[ExpertSet, ...], dict[str, int]]:
    """Gives the pools and the number of each set's: one pool of all where the sets agree."""
    prediction_of: dict[int, _Values] = {}
    right: dict[int, NDArray[np.bool_]] = {}
    for trained in experts.values():
        for row, member in enumerate(trained.members):
            first = prediction_of.setdefault(member, trained.prediction[row])
            if not np.array_equal(first, trained.prediction[row]):
                return tuple(experts.values()), {name: n for n, name in enumerate(experts)}
            right[member] = trained.right[row]
    order = sorted(prediction_of)
    prediction = np.stack([prediction_of[member] for member in order])
    judged = np.stack([right[member] for member in order])
    if regression and len(experts) > 1:  # the best of a larger pool may be another
        errors = np.abs(prediction - labels)
        judged = errors == errors.min(axis=0)
    pool = ExpertSet(members=tuple(order), prediction=prediction, right=judged)
    return (pool,), dict.fromkeys(experts, 0)


def _of_split(run: Run, table: str, columns: list[str], split: str) -> pa.Table:
    import pyarrow.compute as pc

    rows = run.table(table, ["split", *columns])
    return rows.filter(pc.equal(rows["split"], split))


def _examples(run: Run, split: str) -> tuple[NDArray[np.int64], _Values]:
    rows = _of_split(run, "examples", ["example", "label"], split)
    example = rows["example"].to_numpy()
    if not len(example) or len(np.unique(example)) != len(example):
        problem = "no row" if not len(example) else "an example twice"
        raise RunError(f"{run.path / 'examples.parquet'}: {problem} of split {split!r}")
    order = np.argsort(example)
    return example[order], rows["label"].to_numpy()[order].astype(np.float64)


def _positions(
    wanted: NDArray[np.int64], example: NDArray[np.int64], where: str
) -> NDArray[np.intp]:
    position = np.searchsorted(example, wanted).clip(0, len(example) - 1)
    strangers = wanted[example[position] != wanted]
    if len(strangers):
        raise RunError(f"{where}: example {strangers[0]} is not in examples.parquet")
    return position


def _routes(
    run: Run, keys: tuple[str, ...], split: str, example: NDArray[np.int64]
) -> NDArray[np.int16]:
    """Reads the routes of trials on a split, (L, N)."""
    where = f"{run.path / 'routing.parquet'}: split {split!r}"
    routes = np.full((len(keys), len(example)), _NO_ROUTE, np.int16)
    columns = ["split", "key", "example", "route"]
    count = 0
    for chunk in run.chunks("routing", columns, coded=["split", "key"]):
        rows = np.flatnonzero(text_codes(chunk["split"], [split]) == 0)
        lane = text_codes(chunk["key"], keys)[rows]
        rows, lane = rows[lane >= 0], lane[lane >= 0]
        position = _positions(chunk["example"].to_numpy()[rows], example, where)
        routes[lane, position] = chunk["route"].to_numpy()[rows]
        count += len(lane)
    lacking = (routes == _NO_ROUTE).sum(axis=1)
    if lacking.any() or count != routes.size:
        worst = int(lacking.argmax())
        raise RunError(
            f"{where}: {count} rows where {len(keys)} trials x {len(example)} examples make "
            f"{routes.size}; trial {keys[worst]} lacks {lacking[worst]}"
        )
    return routes


def _expert_sets(
    run: Run, split: str, example: NDArray[np.int64], members: dict[str, tuple[int, ...]]
) -> dict[str, ExpertSet]:
    """Reads what each set of trained experts, by its experts_id, predicted on a split."""
    where = f"{run.path / 'experts.parquet'}: split {split!r}"
    columns = ["experts_id", "expert", "example", "prediction", "right"]
    rows = _of_split(run, "experts", columns, split)
    names = sorted(members)
    code = text_codes(rows["experts_id"], names)
    expert = rows["expert"].to_numpy()
    position = _positions(rows["example"].to_numpy()[code >= 0], example, where)
    places = np.zeros(len(code), np.intp)
    places[code >= 0] = position
    predictions = rows["prediction"].to_numpy()
    judged = rows["right"].to_numpy(zero_copy_only=False)
    expert_sets = {}
    for number, name in enumerate(names):
        in_set = code == number
        shape = (len(members[name]), len(example))
        if int(in_set.sum()) != np.prod(shape) or expert[in_set].max(initial=0) >= shape[0]:
            raise RunError(
                f"{where}: {in_set.sum()} rows of the experts {name} where {shape[0]} experts on "
                f"{shape[1]} examples make {np.prod(shape)}"
            )
        prediction, right = np.full(shape, np.nan), np.zeros(shape, np.bool_)
        prediction[expert[in_set], places[in_set]] = predictions[in_set]
        right[expert[in_set], places[in_set]] = judged[in_set]
        if not np.isfinite(prediction).all():
            raise RunError(f"{where}: a prediction is missing, NaN or infinite")
        expert_sets[name] = ExpertSet(members=members[name], prediction=prediction, right=right)
    return expert_sets


def recorded_scores(run: Run, run_roster: Roster, split: str) -> _Values:
    """Gives each trial's own score on a split, (L,).

    Raises:
        RunError: a trial of the roster has none.
    """
    return recorded_values(run, run_roster, split, "score")


def recorded_values(run: Run, run_roster: Roster, split: str, name: str) -> _Values:
    """Gives each trial's own score, or another metric, on a split, (L,).

    Raises:
        RunError: a trial of the roster has none.
    """
    value_of = run.trials.set_index("key")[f"{split}_{name}"].astype(float)
    values = np.asarray(value_of.reindex(list(run_roster.keys)), np.float64)
    return _finite(run, "trials", values, run_roster, name)


def recorded_shares(run: Run, run_roster: Roster, split: str) -> _Values:
    """Gives the hard routes' shares that each trial reported last on a split, (L, A).

    Raises:
        RunError: a trial of the roster has none, or of another number of routes than it has.
    """
    reports = run.reports[run.reports["split"] == split].sort_values("epoch")
    last = reports.drop_duplicates("key", keep="last")
    share_of = dict(zip(last["key"].astype(str), last["share"], strict=True))
    choices = alternatives(run)
    shares = np.full((len(run_roster.keys), len(choices.experts)), np.nan)
    for lane, key in enumerate(run_roster.keys):
        places, share = choices.places[key], share_of.get(key)
        if share is not None and len(share) == len(places):
            shares[lane] = 0
            shares[lane, list(places)] = share
    return _finite(run, "reports", shares, run_roster, "share of every expert")


def _finite(run: Run, table: str, values: _Values, run_roster: Roster, what: str) -> _Values:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise RunError(
            f"{run.path / f'{table}.parquet'}: trial {run_roster.keys[bad[0][0]]} has no {what}, "
            "and without a routing table it cannot be found otherwise; "
            f"`mpc-router-sweep --resume {run.path}` writes the tables anew"
        )
    return values
