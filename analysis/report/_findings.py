"""Says in sentences what the deeper questions gave."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from analysis.fronts.survey import ABOVE, Survey, least_seeds, unit
from analysis.words import LARGER, amount, count, number, percent, signed
from analysis.worth.worth import Estimate, Worth, half_words

if TYPE_CHECKING:
    import pandas as pd

    from analysis.questions.answers import Answers


def findings(survey: Survey, answered: Answers) -> list[str]:
    """Gives a sentence for each of the deeper questions."""
    texts = [
        _worth(survey, answered),
        _cascades(survey, answered),
        _biased(survey, answered),
        _chosen(survey),
        _settings(answered),
    ]
    return [text for text in (*texts, _next(survey, answered)) if text]


def _worth(survey: Survey, answered: Answers) -> str:
    """Says what the front captures of the label-blind yardstick, and what is had for which cost."""
    worth = answered.worth
    if worth is None:
        return ""
    text = (
        f"{blind_words(survey, worth)}. Of the area between random mix and that yardstick the "
        f"front captures {_share(worth.blind_share)}, of that up to the oracle "
        f"{_share(worth.labelled_share)}"
    )
    if worth.luck is None:
        text += "; how much of the oracle is luck is unknown, for the experts had one seed"
    else:
        text += (
            f"; two seeds of {worth.expert} already show {percent(worth.luck)} % of the oracle's "
            "lead, which is luck"
        )
    for stated in worth.at_costs:
        over = stated.over_coin
        text += (
            f". For at most {amount(stated.cap)}{unit(survey)} the front lies {signed(over.value)} "
            f"over the coin ({signed(over.low)} to {signed(over.high)}) at {amount(stated.cost)}"
        )
    price = worth.price
    half = half_words(survey)
    if price is None:
        return f"{text}. No router reaches the score of {worth.expert} less {half} on selection."
    return (
        f"{text}. The score of {worth.expert} less {half} is had for {amount(price.cost.value)}"
        f"{unit(survey)} ({amount(price.cost.low)} to {amount(price.cost.high)}), "
        f"{price.of_best:.2f} of its price, by {price.label}, which scores "
        f"{number(price.score.value)} ({number(price.score.low)} to {number(price.score.high)})."
    )


def blind_words(survey: Survey, worth: Worth) -> str:
    """Says what the label-blind yardstick is and reaches."""
    near = f" within {amount(worth.tolerance)}" if worth.tolerance else ""
    best = worth.expert if worth.pools == 1 else "the best of its pool"
    over = "" if worth.pools == 1 else f" (the mean over {worth.pools} pools of trained experts)"
    return (
        f"Label-blind, each example from the cheapest expert that answers as {best} "
        f"does{near}, reaches {number(worth.score.value)}{over} at {amount(worth.free.value)}"
        f"{unit(survey)}, or at {amount(worth.paid.value)} where the cheapest expert always runs "
        "first"
    )


def _share(share: Estimate) -> str:
    if share.value != share.value:
        return "no share (there is no room)"
    return f"{percent(share.value)} % ({percent(share.low)} to {percent(share.high)})"


def _cascades(survey: Survey, answered: Answers) -> str:
    """Compares the cascade and the gate that lie highest over the coin on selection, quoted."""
    if answered.headroom is None:
        return ""
    best = _picked(survey, answered.headroom, "cascade")
    gate = _picked(survey, answered.headroom, "gate")
    if best is None or gate is None:
        return ""
    text = (
        f"Without any router a cascade ({best['label']}, picked on selection) lies "
        f"{signed(best['over_mix'])} over the coin ({signed(best['over_mix_low'])} to "
        f"{signed(best['over_mix_high'])}){_room(best)} at cost {amount(best['cost'])}; the gate "
        f"picked alike {signed(gate['over_mix'])} ({signed(gate['over_mix_low'])} to "
        f"{signed(gate['over_mix_high'])}){_room(gate)} at {amount(gate['cost'])}"
    )
    ahead = [rival for rival in answered.rivals or () if rival.low > 0]
    behind = [rival for rival in answered.rivals or () if rival.high < 0]
    if answered.rivals:
        text += (
            f". Of {count(len(answered.rivals), 'gate')} of the front, {len(ahead)} "
            f"{'beats' if len(ahead) == 1 else 'beat'} the cascade that costs no more on "
            f"selection, by more than the interval, and {len(behind)} "
            f"{'loses' if len(behind) == 1 else 'lose'} to it"
        )
    return f"{text}."


def _picked(survey: Survey, headroom: pd.DataFrame, kind: str) -> pd.Series | None:
    """Gives the row of its kind that lies highest over the coin on selection.

    It is one that keeps the study's constraints on score and cost; there is no gate where every
    point breaks one.
    """
    rows = headroom[headroom["kind"] == kind]
    kept = [
        survey.judged.allows(
            score=row["selection_score"], cost=row["selection_cost"], vector=survey.vector.name
        )
        for row in rows.to_dict("records")
    ]
    rows = rows[np.asarray(kept, np.bool_)]
    if rows.empty or (kind == "gate" and survey.judged.none_feasible):
        return None
    picked: pd.Series = rows.iloc[int(rows["selection_over_mix"].to_numpy().argmax())]
    return picked


def _room(row: pd.Series) -> str:
    """Says how much of the room up to the oracle that is, where there is room."""
    if row["headroom"] != row["headroom"]:
        return ""
    low, high = percent(row["headroom_low"]), percent(row["headroom_high"])
    return f", {percent(row['headroom'])} % of the room up to the oracle ({low} to {high})"


def _biased(survey: Survey, answered: Answers) -> str:
    if not answered.operating:
        return ""
    if answered.operating[0].breaks:
        return (
            "With a bias on cost the trained routers offer no operating point either that keeps "
            "the study's constraints on selection."
        )
    barred = len(answered.barred or ())
    without = f"; the study's constraints keep {barred} from it, which are marked" if barred else ""
    return (
        f"With a bias on cost the trained routers offer {len(answered.operating)} operating points "
        f"on the front of their curves, from cost {amount(answered.operating[0].cost)} to "
        f"{amount(answered.operating[-1].cost)}{unit(survey)}, without training again"
        f"{without}."
    )


def _chosen(survey: Survey) -> str:
    optimism = survey.optimism
    lifted = "lifted" if survey.task.direction == "max" else "bettered"
    sure = survey.points["chance"][survey.points["on_front"]]
    often = int((sure >= 0.5).sum())
    return (
        f"Being chosen on selection has {lifted} the front's scores there by "
        f"{signed(optimism.extra)} ({signed(optimism.extra_low)} to {signed(optimism.extra_high)}) "
        f"beyond what all points' differ from {survey.split}; {often} of its "
        f"{count(len(sure), 'point')} {'is' if often == 1 else 'are'} on the front in at least "
        "half of the resamples."
    )


def _settings(answered: Answers) -> str:
    if answered.importance is None:
        return ""
    parts = []
    for objective, rows in answered.importance.groupby("objective", sort=False):
        moved = rows[rows["importance"].notna() & (rows["p"] < LARGER)]
        if moved.empty:
            continue
        top = moved.iloc[int(moved["importance"].to_numpy().argmax())]
        parts.append(
            f"{top['parameter']} for the {objective} ({percent(top['importance'])} %, "
            f"{percent(top['low'])} to {percent(top['high'])})"
        )
    if not parts:
        return (
            f"Which setting moved score or cost most cannot be told from "
            f"{count(int(answered.importance['points'].iloc[0]), 'point')}: of 20 shuffles of the "
            "points' results more than one makes a setting look as important."
        )
    return f"The setting that mattered most is {' and '.join(parts)}."


def _next(survey: Survey, answered: Answers) -> str:
    """Says what to run next, by what stands between this run and an answer.

    Where there is nothing to route the verdict says it.
    """
    if answered.verdicts is not None and answered.verdicts.nothing_to_route:
        return ""
    counts = Counter(survey.points["verdict"])
    if least_seeds(survey) < 3:
        return (
            "Next: more seeds; with fewer than three no difference between points can be trusted."
        )
    cascade = None if answered.headroom is None else _picked(survey, answered.headroom, "cascade")
    if not counts[ABOVE] and cascade is not None and cascade["verdict"] == ABOVE:
        return (
            "Next: no router beats the coin and a cascade does; look for a stem that sees more, or "
            "use the cascade."
        )
    if not counts[ABOVE]:
        return "Next: no router beats the coin; a stem that sees more, or a larger pool, may."
    if answered.trusted is not None and answered.epochs is not None:
        last = int(answered.epochs["epoch"].max()) + 1
        if answered.trusted <= last // 3:
            return (
                f"Next: ranks after epoch {answered.trusted} are those after epoch {last}; early "
                f"stopping with stopping.grace={answered.trusted} would save most of the training."
            )
    return ""
