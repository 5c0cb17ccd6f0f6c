"""The tables of a run as arrays: who predicted what on a split.

Letters: L trials, P points, N examples, K experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run, RunError
from analysis.runs.roster import LeftOut as LeftOut
from analysis.runs.roster import Point as Point
from analysis.runs.roster import Roster as Roster
from analysis.runs.roster import roster as roster
from analysis.words import setting_text as setting_text

if TYPE_CHECKING:
    import pyarrow as pa

Values = NDArray[np.float64]
_NO_ROUTE: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSet:
    """What trained experts, a trial's own or those of a set, said about a split."""

    members: tuple[int, ...]
    """(K,) their numbers among all experts of the run."""

    prediction: Values
    """(K, N): class numbers, or values of a regression."""

    right: NDArray[np.bool_]
    """(K, N): the label, or for a regression the least absolute error of the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What every trial of a roster did with every example of one split."""

    split: str
    example: NDArray[np.int64]
    labels: Values
    routes: NDArray[np.uint8]
    """(L, N): the hard route, a number among all experts of the run; trials in the order of the
    roster's keys."""

    predictions: Values
    """(L, N): what the routed expert said. Both are (0, N) where no routes were recorded."""

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
    """Routes and predictions of a roster's trials on a split, whatever order the rows stand in.

    Raises:
        RunError: a trial or an expert lacks examples of the split, or has one twice; the run has no
            routing table, and `need_routes`.
    """
    if need_routes and not run.routed:
        raise RunError(f"{run.name}: no routing table, so nothing is known of single examples")
    example, labels = _examples(run, split)
    used = dict(zip(run.trials["key"].astype(str), run.trials["experts_id"], strict=True))
    lanes = [str(used[key]) for key in trials.keys]
    sets = [run.set_of_point[point.point] for point in trials.points for _ in point.keys]
    members = {name: run.sets[number].members for name, number in zip(lanes, sets, strict=True)}
    experts = _expert_sets(run, split, example, members)
    routed = trials.keys if run.routed else ()
    local = (
        _routes(run, routed, split, example) if routed else np.empty((0, len(example)), np.uint8)
    )
    routes, predictions = np.empty_like(local), np.empty(local.shape, np.float64)
    for lane, name in enumerate(lanes[: len(local)]):
        mine = experts[name]
        width, highest = len(mine.members), int(local[lane].max(initial=0))
        if highest >= width:
            raise RunError(
                f"{run.path / 'routing.parquet'}: a route to expert {highest} of {width}"
            )
        routes[lane] = np.asarray(mine.members, np.uint8)[local[lane]]
        predictions[lane] = np.take_along_axis(
            mine.prediction, local[lane][None].astype(np.intp), axis=0
        )[0]
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


def _pools(
    experts: dict[str, ExpertSet], labels: Values, *, regression: bool
) -> tuple[tuple[ExpertSet, ...], dict[str, int]]:
    """The pools, and the number of each set's: one pool of all where the sets agree."""
    said: dict[int, Values] = {}
    right: dict[int, NDArray[np.bool_]] = {}
    for each in experts.values():
        for row, member in enumerate(each.members):
            known = said.setdefault(member, each.prediction[row])
            if not np.array_equal(known, each.prediction[row]):
                return tuple(experts.values()), {name: n for n, name in enumerate(experts)}
            right[member] = each.right[row]
    order = sorted(said)
    prediction = np.stack([said[member] for member in order])
    judged = np.stack([right[member] for member in order])
    if regression and len(experts) > 1:  # the best of a larger pool may be another
        errors = np.abs(prediction - labels)
        judged = errors == errors.min(axis=0)
    whole = ExpertSet(members=tuple(order), prediction=prediction, right=judged)
    return (whole,), dict.fromkeys(experts, 0)


def _of_split(run: Run, table: str, columns: list[str], split: str) -> pa.Table:
    import pyarrow.compute as pc

    rows = run.table(table, ["split", *columns])
    return rows.filter(pc.equal(rows["split"], split))


def _examples(run: Run, split: str) -> tuple[NDArray[np.int64], Values]:
    rows = _of_split(run, "examples", ["example", "label"], split)
    example = rows["example"].to_numpy()
    if not len(example) or len(np.unique(example)) != len(example):
        found = "no row" if not len(example) else "an example twice"
        raise RunError(f"{run.path / 'examples.parquet'}: {found} of split {split!r}")
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


def _codes(column: pa.ChunkedArray, names: tuple[str, ...] | list[str]) -> NDArray[np.intp]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(column, value_set=pa.array(list(names), pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy(), np.intp)


def _routes(
    run: Run, keys: tuple[str, ...], split: str, example: NDArray[np.int64]
) -> NDArray[np.uint8]:
    where = f"{run.path / 'routing.parquet'}: split {split!r}"
    rows = _of_split(run, "routing", ["key", "example", "route"], split)
    lane = _codes(rows["key"], keys)
    mine = lane >= 0
    lane = lane[mine]
    position = _positions(rows["example"].to_numpy()[mine], example, where)
    routes = np.full((len(keys), len(example)), _NO_ROUTE, np.uint8)
    routes[lane, position] = rows["route"].to_numpy()[mine]
    lacking = (routes == _NO_ROUTE).sum(axis=1)
    if lacking.any() or len(lane) != routes.size:
        worst = int(lacking.argmax())
        raise RunError(
            f"{where}: {len(lane)} rows where {len(keys)} trials x {len(example)} examples make "
            f"{routes.size}; trial {keys[worst]} lacks {lacking[worst]}"
        )
    return routes


def _expert_sets(
    run: Run, split: str, example: NDArray[np.int64], members: dict[str, tuple[int, ...]]
) -> dict[str, ExpertSet]:
    """What each set of trained experts, by its experts_id, said about a split."""
    where = f"{run.path / 'experts.parquet'}: split {split!r}"
    columns = ["experts_id", "expert", "example", "prediction", "right"]
    rows = _of_split(run, "experts", columns, split)
    names = sorted(members)
    code = _codes(rows["experts_id"], names)
    expert = rows["expert"].to_numpy()
    position = _positions(rows["example"].to_numpy()[code >= 0], example, where)
    places = np.zeros(len(code), np.intp)
    places[code >= 0] = position
    said = rows["prediction"].to_numpy()
    judged = rows["right"].to_numpy(zero_copy_only=False)
    found = {}
    for number, name in enumerate(names):
        mine = code == number
        shape = (len(members[name]), len(example))
        if int(mine.sum()) != np.prod(shape) or expert[mine].max(initial=0) >= shape[0]:
            raise RunError(
                f"{where}: {mine.sum()} rows of the experts {name} where {shape[0]} experts on "
                f"{shape[1]} examples make {np.prod(shape)}"
            )
        prediction, right = np.full(shape, np.nan), np.zeros(shape, np.bool_)
        prediction[expert[mine], places[mine]] = said[mine]
        right[expert[mine], places[mine]] = judged[mine]
        if not np.isfinite(prediction).all():
            raise RunError(f"{where}: a prediction is missing, NaN or infinite")
        found[name] = ExpertSet(members=members[name], prediction=prediction, right=right)
    return found


def recorded_scores(run: Run, whole: Roster, split: str) -> Values:
    """(L,) each trial's own score on a split.

    Raises:
        RunError: a trial of the roster has none.
    """
    said = run.trials.set_index("key")[f"{split}_score"].astype(float)
    scores = np.asarray(said.reindex(list(whole.keys)), np.float64)
    return _finite(run, "trials", scores, whole, "score")


def recorded_shares(run: Run, whole: Roster, split: str) -> Values:
    """(L, K) the hard routes' shares that each trial reported after its last epoch on a split.

    Raises:
        RunError: a trial of the roster has none, or of another number of experts than its set.
    """
    reports = run.reports[run.reports["split"] == split].sort_values("epoch")
    last = reports.drop_duplicates("key", keep="last")
    said = dict(zip(last["key"].astype(str), last["share"], strict=True))
    found = np.full((len(whole.keys), len(run.expert_names)), np.nan)
    points = [point.point for point in whole.points for _ in point.keys]
    for lane, (key, point) in enumerate(zip(whole.keys, points, strict=True)):
        members = run.sets[run.set_of_point[point]].members
        share = said.get(key)
        if share is not None and len(share) == len(members):
            found[lane] = 0
            found[lane, list(members)] = share
    return _finite(run, "reports", found, whole, "share of every expert")


def _finite(run: Run, table: str, values: Values, whole: Roster, what: str) -> Values:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise RunError(
            f"{run.path / f'{table}.parquet'}: trial {whole.keys[bad[0][0]]} has no {what}, and "
            "without a routing table it cannot be found otherwise; "
            f"`python -m sweeps.run --resume {run.path}` writes the tables anew"
        )
    return values
