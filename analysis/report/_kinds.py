"""Puts what was found of kinds of routers into tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.fronts.survey import Survey, unit
from analysis.questions.answers import Answers
from analysis.report._tables import (
    LABEL,
    Cell,
    Column,
    Row,
    Table,
    bias_text,
    records,
    share_text,
    table_of,
)
from analysis.words import amount, number, signed
from analysis.worth.kinds import GATED
from analysis.worth.worth import half_words

if TYPE_CHECKING:
    import pandas as pd

_NOTHING = "\N{EN DASH}"


def tables(answered: Answers) -> dict[str, Table]:
    """Gives the tables by name; a run of one kind has no rows of them."""
    return {"kinds": kind_table(answered), "kind_worth": worth_table(answered)}


def sentences(survey: Survey, answered: Answers) -> dict[str, str]:
    """Gives what is said beside the tables, by the table's name, and what half a point is."""
    return {
        "kinds": kind_sentence(survey, answered),
        "kind_worth": worth_sentence(survey, answered),
        "half": half_words(survey),
    }


def kind_table(answered: Answers) -> Table:
    """Compares kinds of routers at stated costs; what selection picks there is in bold."""
    columns = [
        Column("at most", "cap", amount),
        Column("kind", lambda row: Cell(row["kind"], strong=row["best"]), kind=LABEL),
        Column("bias", "bias", bias_text, phone=False),
        Column("score", "score", number, interval=True, strong=True),
        Column("cost", "cost", amount, interval=True),
        Column("over the mix", "over_coin", signed, interval=True),
        Column("over the best gated", _over_gated),
    ]
    return table_of(columns, [] if answered.kinds is None else records(answered.kinds))


def worth_table(answered: Answers) -> Table:
    """Says of each kind the price of nearly the best single score, and the shares it captures."""
    columns = [
        Column("kind", lambda row: Cell(row["kind"], strong=row["cheapest"]), kind=LABEL),
        Column("price", _price),
        Column("of the best's", lambda row: share_text(row["of_best"])),
        Column("score there", lambda row: _estimated(row, "price_score"), phone=False),
        Column("of label-blind", lambda row: _captured(row, "blind_share")),
        Column("of the oracle", lambda row: _captured(row, "labelled_share")),
    ]
    rows = [] if answered.kind_worth is None else records(answered.kind_worth)
    return table_of(columns, [row | {"point": row["price_point"]} for row in rows])


def _over_gated(row: Row) -> Cell:
    """Shows the lead over the gated router, a dash where there is none to compare."""
    if row["router_kind"] == GATED or row["over_gated"] != row["over_gated"]:
        return Cell(_NOTHING)
    low, high = signed(row["over_gated_low"]), signed(row["over_gated_high"])
    return Cell(signed(row["over_gated"]), (f"{low} to {high}",))


def _price(row: Row) -> Cell:
    if not row["price_point"]:
        return Cell("not reached")
    return Cell(
        amount(row["price"]), (f"{amount(row['price_low'])} to {amount(row['price_high'])}",)
    )


def _estimated(row: Row, name: str) -> Cell:
    if row[name] != row[name]:
        return Cell(_NOTHING)
    return Cell(
        number(row[name]), (f"{number(row[f'{name}_low'])} to {number(row[f'{name}_high'])}",)
    )


def _captured(row: Row, name: str) -> Cell:
    """Shows a share in per cent, a dash where there is no room."""
    if row[name] != row[name]:
        return Cell(_NOTHING)
    low, high = share_text(row[f"{name}_low"]), share_text(row[f"{name}_high"])
    return Cell(share_text(row[name]), (f"{low} to {high}",))


def kind_sentence(survey: Survey, answered: Answers) -> str:
    """Says at each stated cost which kind selection picks, and whether it beats the published."""
    if answered.kinds is None or answered.kinds.empty:
        return ""
    texts = []
    for _, row in answered.kinds[answered.kinds["best"]].iterrows():
        at = f"For at most {amount(row['cap'])}{unit(survey)} selection picks {row['kind']}"
        reached = f"{number(row['score'])} at {amount(row['cost'])} on {survey.split}"
        texts.append(f"{at}: {reached}, {_lead(row)}.")
    if (seeds := int(answered.kinds["expert_seeds"].max())) > 1:
        texts.append(f"All are means over {seeds} seeds of experts, a router chosen with each.")
    return " ".join(texts)


def worth_sentence(survey: Survey, answered: Answers) -> str:
    """Says which kind has nearly the best single score for the least, and what it is worth."""
    if answered.kind_worth is None:
        return ""
    cheapest = answered.kind_worth[answered.kind_worth["cheapest"]]
    goal = f"the best single expert's score less {half_words(survey)}"
    if cheapest.empty:
        return f"On selection no kind of router reaches {goal}."
    row = cheapest.iloc[0]
    return (
        f"On selection {row['kind']} is the cheapest kind that reaches {goal}. On {survey.split} "
        f"it scores {number(row['price_score'])} at {amount(row['price'])}{unit(survey)} "
        f"({amount(row['price_low'])} to {amount(row['price_high'])}), "
        f"{share_text(row['of_best'])} of that expert's cost."
    )


def _lead(row: pd.Series) -> str:
    """Says how a kind stands to the best gated router at its cost."""
    if row["router_kind"] == GATED:
        return "the published kind" if row["kind"] == GATED else "a gated router"
    if row["over_gated"] != row["over_gated"]:
        return "with no gated router that costs as little"
    low, high = row["over_gated_low"], row["over_gated_high"]
    lead = f"{signed(row['over_gated'])} over the best gated router"
    lead = f"{lead} ({signed(low)} to {signed(high)})"
    return lead if low > 0 or high < 0 else f"{lead}, which may be chance"
