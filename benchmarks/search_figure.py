"""Tables and pictures of `benchmarks.search`, from its replays or from their summary.

    python -m benchmarks.search_figure DIR [--out DIR]

DIR holds `parts/` as the replays leave them, or `search.parquet`, their summary: means over seeds
with half of a 95 % interval, and differences to each rival paired by seed (same points, same
order, same speeds). The summary is written where it is not there, so a picture needs no replay.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.figures.style import styled
from benchmarks.looks import MEASURES
from benchmarks.search import interval, rivals

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

TABLE: Final = (100, 200, 400, 800, 1600)
"""Epochs of the tables."""

RIVALS: Final = (*rivals(), *rivals("qmc"))

AXES: Final = {"by_epochs": "epochs", "by_time": "simulated time"}
KEYS: Final = ["curves", "workers", "method", "measure", "budget"]

DRAWN: Final = {
    "random, no stopping": ("random, never stopped", "#9aa5b1"),
    "all stopped after one epoch": ("one epoch each", "#c9a227"),
    "Ray ASHA on score": ("Ray ASHA on the score", "#7b5ea7"),
    "Syne Tune MOASHA 0.16": ("Syne Tune MOASHA 0.16", "#236a8e"),
    "ours, async, crowding": ("ours, the same points", "#e39a7b"),
    "ours, async, crowding, qmc": ("ours, points by qmc", "#c2491d"),
}
"""Methods of the picture: name there, colour."""

TASKS: Final = {"mrpc": "MRPC", "sst2": "SST-2"}

SUMMARY: Final = "search.parquet"

LOWEST: Final = 70.0
"""Of the picture's axis, in percent."""


def summarised(parts: Path) -> pd.DataFrame:
    """A row a curves x workers x method x measure x budget: `by_epochs` and `by_time` as means.

    `<axis>_half` is half of their interval, `<axis> over <rival>` the mean paired difference to a
    rival on the seeds that both have, with `... half`.
    """
    import pandas as pd

    whole = pd.concat([pq.read_table(path).to_pandas() for path in sorted(parts.glob("*.parquet"))])
    values = {axis: whole.pivot_table(index=KEYS, columns="seed", values=axis) for axis in AXES}
    found = []
    for key in values["by_epochs"].index:
        row: dict[str, Any] = dict(zip(KEYS, key, strict=True))
        for axis, table in values.items():
            mine = table.loc[key].to_numpy()
            there = np.isfinite(mine)
            row |= {
                "seeds": int(there.sum()),
                axis: mine[there].mean(),
                f"{axis} half": interval(mine[there]),
            }
            for rival in RIVALS:
                other_key = (key[0], key[1], rival, key[3], key[4])
                if other_key not in table.index:
                    continue
                gain = mine - table.loc[other_key].to_numpy()
                gain = gain[np.isfinite(gain)]
                row |= {
                    f"{axis} over {rival}": gain.mean(),
                    f"{axis} over {rival} half": interval(gain),
                }
        found.append(row)
    costs = ["curves", "workers", "method"]
    extra = whole.groupby(costs)[["spent", "points", "seconds"]].mean()
    return pd.DataFrame(found).merge(extra, left_on=costs, right_index=True)


def table(summary: pd.DataFrame, curves: str, workers: int, measure: str) -> str:
    """Markdown: hypervolume after the table's epochs, a method a row."""
    mine = summary[
        (summary["curves"] == curves)
        & (summary["workers"] == workers)
        & (summary["measure"] == measure)
    ]
    budgets = [budget for budget in TABLE if (mine["budget"] == budget).any()]
    lines = [
        f"| {curves}, {workers} workers, {measure} | "
        + " | ".join(map(str, budgets))
        + " | seeds |",
        "|--" * (len(budgets) + 2) + "|",
    ]
    for name in sorted(set(mine["method"]), key=_place):
        rows = mine[mine["method"] == name].set_index("budget")
        cells = [_cell(rows, budget) for budget in budgets]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {rows['seeds'].max()} |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame, budget: int) -> str:
    if budget not in rows.index:
        return "."
    row = rows.loc[budget]
    used_up = "*" if row["spent"] < budget else ""
    return f"{row['by_epochs']:.1f} ±{row['by_epochs half']:.1f}{used_up}"


def gains(summary: pd.DataFrame, curves: str, name: str, measure: str, *, axis: str) -> str:
    """Markdown: the paired difference of a method to each rival, by workers and budget."""
    mine = summary[
        (summary["curves"] == curves)
        & (summary["method"] == name)
        & (summary["measure"] == measure)
    ]
    budgets = [budget for budget in TABLE if (mine["budget"] == budget).any()]
    lines = [
        f"| {curves}: {name} over, at equal {AXES[axis]} | workers | "
        + " | ".join(map(str, budgets))
        + " |",
        "|--" * (len(budgets) + 2) + "|",
    ]
    for rival in (each for each in RIVALS if f"{axis} over {each}" in summary):
        for workers in sorted(set(mine["workers"])):
            rows = mine[mine["workers"] == workers].set_index("budget")
            cells = []
            for budget in budgets:
                gain = rows[f"{axis} over {rival}"].get(budget, np.nan)
                wide = rows[f"{axis} over {rival} half"].get(budget, np.nan)
                nothing = not np.isfinite(gain) or (gain == 0 and rows[axis].get(budget) == 0)
                cells.append("." if nothing else f"{gain:+.1f} ±{wide:.1f}")
            lines.append(f"| {rival} | {workers} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _place(name: str) -> tuple[int, str]:
    return (RIVALS.index(name), "") if name in RIVALS else (len(RIVALS), name)


def figure(
    summary: pd.DataFrame, measure: str, *, width: int = 190, height: int = 150
) -> alt.VConcatChart:
    """Hypervolume against epochs and simulated time, by curves and workers, with intervals."""
    import altair as alt

    frame = _drawn(summary, measure)
    panels = []
    for curves in sorted(set(frame["curves"])):
        for axis, title in AXES.items():
            row = frame[(frame["curves"] == curves) & (frame["axis"] == axis)]
            charts = [
                _panel(part, f"{TASKS.get(curves, curves)}, {_counted(int(workers))}", title)
                for workers, part in row.groupby("workers")
            ]
            sized = [chart.properties(width=width, height=height) for chart in charts]
            panels.append(alt.hconcat(*sized))
    done: alt.VConcatChart = styled(alt.vconcat(*panels))
    return done


def _drawn(summary: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A row a mark of the picture; what lies below its axis is left out."""
    import pandas as pd

    mine = summary[(summary["measure"] == measure) & summary["method"].isin(list(DRAWN))]
    parts = []
    for axis in AXES:
        mean, wide = mine[axis], mine[f"{axis} half"]
        parts.append(
            pd.DataFrame(
                {
                    "curves": mine["curves"],
                    "workers": mine["workers"],
                    "axis": axis,
                    "method": [DRAWN[name][0] for name in mine["method"]],
                    "x": mine["budget"] / (mine["workers"] if axis == "by_time" else 1),
                    "y": mean,
                    "low": (mean - wide).clip(lower=LOWEST),
                    "high": (mean + wide).clip(upper=100.0),
                }
            )
        )
    frame = pd.concat(parts)
    return frame[frame["y"] > LOWEST].round(3)


def _panel(part: pd.DataFrame, head: str, title: str) -> alt.LayerChart:
    import altair as alt

    names, colours = zip(*DRAWN.values(), strict=True)
    ends = [float(part["x"].min()), float(part["x"].max())]
    ticks = [x for x in sorted(set(part["x"]))[::-2] if x >= ends[0]][::-1]
    base = alt.Chart(part).encode(
        x=alt.X(
            "x:Q",
            scale=alt.Scale(type="log", nice=False, domain=ends),
            axis=alt.Axis(title=title, values=ticks, format="~r", labelFlush=False),
        ),
        color=alt.Color(
            "method:N",
            scale=alt.Scale(domain=list(names), range=list(colours)),
            legend=alt.Legend(
                title=None,
                orient="top",
                columns=3,
                symbolType="stroke",
                symbolOpacity=1,
                symbolStrokeWidth=3,
                labelLimit=0,
            ),
        ),
    )
    y = alt.Y(
        "low:Q",
        scale=alt.Scale(domain=[LOWEST, 100]),
        axis=alt.Axis(title="hypervolume, % of all points", tickCount=4),
    )
    return alt.layer(
        base.mark_area(opacity=0.18).encode(y=y, y2=alt.Y2("high:Q")),
        base.mark_line(strokeWidth=1.8).encode(y="y:Q"),
        title=head,
    )


def _counted(workers: int) -> str:
    return f"{workers} worker" + ("s" if workers > 1 else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="of the replays, or of their summary")
    parser.add_argument("--out", type=Path, help="folder of the summary and the picture")
    parser.add_argument("--measure", choices=MEASURES, default=MEASURES[0])
    parser.add_argument("--method", default="ours, async, crowding, qmc", help="for differences")
    given = parser.parse_args(arguments)
    import pandas as pd

    out = given.out or given.folder
    out.mkdir(parents=True, exist_ok=True)
    if (given.folder / "parts").is_dir():
        summary = summarised(given.folder / "parts")
        summary = summary.round(3).astype(
            dict.fromkeys(summary.select_dtypes("float64"), "float32")
        )
        whole = pa.Table.from_pandas(summary, preserve_index=False)
        pq.write_table(whole, out / SUMMARY, compression="zstd", compression_level=19)
    else:
        summary = pd.read_parquet(given.folder / SUMMARY)
    for curves in sorted(set(summary["curves"])):
        for workers in sorted(set(summary.loc[summary["curves"] == curves, "workers"])):
            print(table(summary, curves, int(workers), given.measure) + "\n")
        for axis in AXES:
            print(gains(summary, curves, given.method, given.measure, axis=axis) + "\n")
    picture = figure(summary, given.measure)
    picture.save(out / "search.svg")
    picture.save(out / "search.png", scale_factor=2)


if __name__ == "__main__":
    main()
