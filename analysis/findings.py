"""What the deeper questions gave, in sentences."""

from __future__ import annotations

from collections import Counter

from analysis.answers import Answers
from analysis.fronts import ABOVE, Survey
from analysis.words import amount, count, least_seeds, percent, signed, unit


def findings(survey: Survey, found: Answers) -> list[str]:
    """What the deeper questions gave, a sentence each."""
    said = [_cascades(found), _biased(survey, found), _chosen(survey), _settings(found)]
    return [each for each in (*said, _next(survey, found)) if each]


def _cascades(found: Answers) -> str:
    """The best cascade beside the best gate, each picked by what it captures on average."""
    if found.headroom is None:
        return ""
    rows = found.headroom[found.headroom["headroom"].notna()]
    gates, cascades = (rows[rows["kind"] == kind] for kind in ("gate", "cascade"))
    if cascades.empty:
        return ""
    best = cascades.iloc[int(cascades["headroom"].to_numpy().argmax())]
    text = (
        f"A cascade without any router ({best['label']}) captures {percent(best['headroom'])} % of "
        f"the room between coin and oracle ({percent(best['headroom_low'])} to "
        f"{percent(best['headroom_high'])}) at cost {amount(best['cost'])}"
    )
    if not gates.empty:
        gate = gates.iloc[int(gates["headroom"].to_numpy().argmax())]
        text += (
            f"; the front's best gate {percent(gate['headroom'])} % "
            f"({percent(gate['headroom_low'])} to {percent(gate['headroom_high'])})"
        )
    ahead = [each for each in found.rivals or () if each.low > 0]
    behind = [each for each in found.rivals or () if each.high < 0]
    if found.rivals:
        text += (
            f". Of {count(len(found.rivals), 'gate')} of the front, {len(ahead)} "
            f"{'beats' if len(ahead) == 1 else 'beat'} the cascade that costs no more, by more "
            f"than the interval, and {len(behind)} {'loses' if len(behind) == 1 else 'lose'} to it"
        )
    return f"{text}."


def _biased(survey: Survey, found: Answers) -> str:
    if not found.operating:
        return ""
    return (
        f"With a bias on cost the trained routers offer {len(found.operating)} operating points on "
        f"the front of their curves, from cost {amount(found.operating[0].cost)} to "
        f"{amount(found.operating[-1].cost)}{unit(survey)}, without training again."
    )


def _chosen(survey: Survey) -> str:
    each = survey.optimism
    sure = survey.points["chance"][survey.points["on_front"]]
    often = int((sure >= 0.5).sum())
    return (
        f"Choosing on selection flatters: the front's scores there exceed those on {survey.split} "
        f"by {signed(each.extra)} ({signed(each.extra_low)} to {signed(each.extra_high)}) more "
        f"than all points' do; {often} of its {count(len(sure), 'point')} "
        f"{'is' if often == 1 else 'are'} on the front in at least half of the resamples."
    )


def _settings(found: Answers) -> str:
    if found.importance is None:
        return ""
    parts = []
    for objective, rows in found.importance.groupby("objective", sort=False):
        known = rows[rows["importance"].notna()]
        if known.empty:
            continue
        top = known.iloc[int(known["importance"].to_numpy().argmax())]
        parts.append(
            f"{top['parameter']} for the {objective} ({percent(top['importance'])} %, "
            f"{percent(top['low'])} to {percent(top['high'])})"
        )
    return f"The setting that mattered most is {' and '.join(parts)}." if parts else ""


def _next(survey: Survey, found: Answers) -> str:
    """What to run next, by what stands between this run and an answer."""
    counts = Counter(survey.points["verdict"])
    if least_seeds(survey) < 3:
        return (
            "Next: more seeds; with fewer than three no difference between points can be trusted."
        )
    best = None if found.headroom is None else found.headroom[found.headroom["kind"] == "cascade"]
    if not counts[ABOVE] and best is not None and (best["verdict"] == ABOVE).any():
        return (
            "Next: no router beats the coin and a cascade does; look for a stem that sees more, or "
            "use the cascade."
        )
    if not counts[ABOVE]:
        return "Next: no router beats the coin; a stem that sees more, or a larger pool, may."
    if found.trusted is not None and found.epochs is not None:
        last = int(found.epochs["epoch"].max()) + 1
        if found.trusted <= last // 3:
            return (
                f"Next: ranks after epoch {found.trusted} are those after epoch {last}; early "
                f"stopping with stopping.grace={found.trusted} would save most of the training."
            )
    return ""
