"""What the journal costs: of a sweep's time, an event, and in bytes.

    python -m benchmarks.journal [--repeats 3] [--rounds 25] [--sizes 10 1000 30000]

Whole sweeps on the embedded sample are run by `benchmarks.timed_sweep`, in turn: the published
grid, a search whose rungs are inside packs, and joint trials, each a pack of its own, ranked as
they arrive. Of each is said which share of its time went into the journal and the other books: of
its command's from start to end, and of the time from its first pack's start to its last trial's
end, in which parts that lie before or after it do not count.

Then the events of these very runs are appended to journals that hold 10, 1,000 and 30,000 events
(those of the joint trials over and over, under other keys), in turn, so that other work on the
machine meets all alike; beside them the same bytes are written to a plain file, and fsynced where
the journal does. Medians and quartiles are over repeats and rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.timed_sweep import JOURNAL, Sweep, timed
from sweeps.journal._lines import VERSION, line_of
from sweeps.journal.journal import Journal, read
from sweeps.journal.state import Event
from sweeps.records import JOURNAL_FILE, PARTS_FOLDER, Decision, Point, pack_from

SCRATCH: Final = Path(__file__).resolve().parent.parent / "build"
"""Runs and journals lie here for the time of a benchmark: temporary folders may be in memory."""

LIMIT: Final = 0.02
"""Of a sweep's time."""

JOINT: Final = ("mrpc_grid", "experts=joint", "expert_start=fine_tuned", "train_rows=300")
SWEEPS: Final = {
    "grid": ("mrpc_grid",),
    "search": ("mrpc_pareto", "search.points=54"),
    "joint": (*JOINT, "epochs=9", "stopping={method: mo_asha, eta: 3, grace: 1}"),
}
"""By name, the study and what it is run with."""

KINDS: Final = (
    ("search", "asked"),
    ("search", "started"),
    ("search", "reported"),
    ("grid", "reported"),
    ("joint", "reported"),
    ("search", "decided"),
    ("search", "ended"),
    ("joint", "ended"),
    ("search", "told"),
)
"""Runs, and the events of theirs that are appended; in an order in which they can follow."""

FLUSHED: Final = ("started", "reported")
"""Events that are not fsynced."""

AFRESH: Final = 1_000_000
"""Number of the first round's trials, which no journal holds."""

_NAME: Final = re.compile(r'"([0-9a-f]{16}|p\d+|pack\d+[\w.-]*)"')
"""Keys, points, packs and bulk files."""

Found = dict[str, list[float]]


def measured_bytes(run: Path) -> dict[str, float]:
    """What a run folder holds of its trials and reports, in bytes each."""
    import pyarrow.parquet as pq

    rows = {name: pq.read_metadata(run / f"{name}.parquet").num_rows for name in _TABLES}
    size = {name: (run / f"{name}.parquet").stat().st_size for name in _TABLES}
    lines = list(read(run / JOURNAL_FILE))
    report_bytes = sum(len(line_of(event)) for event in lines if event["event"] == "reported")
    journal = (run / JOURNAL_FILE).stat().st_size
    parts = sum(path.stat().st_size for path in (run / PARTS_FOLDER).iterdir())
    return {
        "trials": rows["trials"],
        "events": len(lines),
        "reports": rows["reports"],
        "journal, a trial": journal / rows["trials"],
        "its reports, a report": report_bytes / rows["reports"],
        "trials.parquet, a trial": size["trials"] / rows["trials"],
        "reports.parquet, a report": size["reports"] / rows["reports"],
        "trials and reports, a trial": (size["trials"] + size["reports"]) / rows["trials"],
        "routes (routing.parquet), a trial": size["routing"] / rows["trials"],
        "parts/, a trial": parts / rows["trials"],
    }


_TABLES: Final = ("trials", "reports", "routing")


def samples(runs: Mapping[str, Path]) -> dict[str, Event]:
    """Of each kind the event of median length; the search's are those of a whole bracket."""
    found = {}
    for name, kind in KINDS:
        events = [event for event in read(runs[name] / JOURNAL_FILE) if event["event"] == kind]
        if kind == "asked":  # a batch, and not what is asked at the end
            events = [event for event in events if event.get("proposals")]
        events.sort(key=lambda event: len(line_of(event)))
        event = events[-1 if name == "search" else len(events) // 2]
        found[_title(name, event)] = event
    return found


def _title(name: str, event: Event) -> str:
    inside = [len(event[what]) for what in ("reports", "endings", "decisions") if event.get(what)]
    inside += [sum(len(pack["trials"]) for pack in event.get("packs", ()))]
    return f"{event['event']} {max(inside) or ''}".strip() + f" ({name})"


def renamed(event: Event, number: int) -> dict[str, Any]:
    """The same of other trials, points and packs; without what the journal adds."""
    text = json.dumps({name: event[name] for name in event if name not in _ADDED})
    found: dict[str, Any] = json.loads(_NAME.sub(rf'"\1-{number}"', text))
    return found


_ADDED: Final = ("v", "n", "time", "mono", "check")


def filled(path: Path, events: int, run: Path) -> None:
    """A journal of so many events: a run's, over and over."""
    opened, *others = read(run / JOURNAL_FILE)
    cycle = [event for event in others if event["event"] != "closed"]
    with path.open("wb") as file:
        file.write(line_of(opened))
        for number in range(1, events):
            copy, place = divmod(number - 1, len(cycle))
            added = {name: cycle[place][name] for name in ("time", "mono")}
            event = {"v": VERSION, "n": number + 1, **added, **renamed(cycle[place], copy)}
            file.write(line_of(event))


def as_appended(event: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """With the nouns that the sweep hands over, and the number of the next batch to tell."""
    if event["event"] == "asked":
        event["points"] = [Point(**each) for each in event["points"]]
        event["packs"] = [pack_from(each) for each in event["packs"]]
    if event["event"] == "decided":
        event["decisions"] = [Decision(**each) for each in event["decisions"]]
    if event["event"] == "told":
        event["batch"] = journal.state.told_batches
    return event


def appends(
    sizes: Sequence[int], runs: Mapping[str, Path], folder: Path, *, rounds: int
) -> tuple[Found, Found]:
    """Seconds of appending each kind of event, by kind and size of the journal, a value a round;
    and seconds of opening each journal."""
    found: Found = {}
    opening: Found = {}
    journals: dict[int, Journal] = {}
    for size in sizes:
        path = folder / f"{size}.jsonl"
        filled(path, size, runs["joint"])
        for _ in range(3):
            began = time.perf_counter()
            with Journal(path) as journal:
                seconds = time.perf_counter() - began
            title = f"{size:,} events, {path.stat().st_size / 1e6:.3g} MB"
            opening.setdefault(title, []).append(seconds)
            assert journal.state.events == size
        journals[size] = Journal(path)
    kinds = samples(runs)
    with (folder / "plain").open("ab", buffering=0) as plain:
        for number in range(AFRESH, AFRESH + rounds):
            for title, event in kinds.items():
                line = line_of(event)
                began = time.perf_counter()
                plain.write(line)
                if event["event"] not in FLUSHED:
                    os.fsync(plain.fileno())
                found.setdefault(f"{title}, plain", []).append(time.perf_counter() - began)
                for size, journal in journals.items():
                    data = as_appended(renamed(event, number), journal)
                    began = time.perf_counter()
                    journal.append(**data)
                    found.setdefault(f"{title}, {size}", []).append(time.perf_counter() - began)
    for journal in journals.values():
        journal.close()
    return found, opening


def middle(values: Sequence[float], *, scale: float = 1.0) -> str:
    """Median and quartiles; of three values these lie half way to the least and the greatest."""
    quartiles = np.quantile(scale * np.array(values), [0.25, 0.5, 0.75])
    low, median, high = (f"{each:.{3 if each < 10 else 1}f}" for each in quartiles)
    return f"{median:>7} {f'{low} .. {high}':>17}"


def show_shares(found: Mapping[str, Sequence[Sweep]]) -> None:
    """Of each sweep: seconds, and each part's share of them in percent."""
    for name, sweeps in found.items():
        walls = [each.wall for each in sweeps]
        spans = [each.training[1] - each.training[0] for each in sweeps]
        shares = [each.shares() for each in sweeps]
        print(f"\n{name + ', seconds':22} {middle(walls)} {middle(spans)}")
        print(f"{'% of':22} {'start to end':>25} {'training':>25}")
        for part in shares[0]:
            columns = [[share[part][which] for share in shares] for which in (0, 1)]
            limit = ""
            if part == JOURNAL:
                worst = max(max(column) for column in columns)
                limit = f"  {'under' if worst < LIMIT else 'OVER'} {LIMIT:.0%} every time"
            print(f"{part:22} {' '.join(middle(each, scale=100) for each in columns)}{limit}")


def show_bytes(runs: Mapping[str, Path]) -> None:
    """Of the first run of each."""
    found = {name: measured_bytes(run) for name, run in runs.items()}
    print(f"\n{'bytes':36}" + "".join(f"{name:>10}" for name in found))
    for what in next(iter(found.values())):
        print(f"{what:36}" + "".join(f"{each[what]:10,.0f}" for each in found.values()))


def show_appends(
    sizes: Sequence[int], kinds: Mapping[str, Event], found: Found, opening: Found
) -> None:
    """Milliseconds of an append by what the journal holds, and beside a plain write."""
    print(f"\n{'ms an append, at':27} {'bytes':>8}" + "".join(f"{size:>26,}" for size in sizes))
    for title, event in kinds.items():
        columns = [middle(found[f"{title}, {size}"], scale=1e3) for size in sizes]
        print(f"{title:27} {len(line_of(event)):8,} {' '.join(columns)}")
    headings = "".join(f"{each:>15}" for each in ("append : plain", "last : first", "a second"))
    print(f"\n{'':27} {'ms, plain write':>25}{headings}")
    for title, event in kinds.items():
        plain, first, last = (
            np.array(found[f"{title}, {which}"]) for which in ("plain", sizes[0], sizes[-1])
        )
        synced = "" if event["event"] in FLUSHED else " + fsync"
        ratios = f"{np.median(last / plain):15.2f}{np.median(last / first):15.2f}"
        rate = f"{1 / np.median(last):15,.0f}"
        print(f"{title:27} {middle(list(plain), scale=1e3)}{ratios}{rate}{synced}")
    print(f"\n{'opening, ms':27}")
    for title, values in opening.items():
        print(f"{title:27} {middle(values, scale=1e3)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3, help="of each sweep")
    parser.add_argument("--rounds", type=int, default=25, help="of appends")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1_000, 30_000])
    asked = parser.parse_args(arguments)
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="journal-", dir=SCRATCH) as scratch:
        folder = Path(scratch)
        found: dict[str, list[Sweep]] = {name: [] for name in SWEEPS}
        for number in range(asked.repeats):
            for name, words in SWEEPS.items():
                run = folder / "runs" / f"{name}-{number}"
                found[name].append(timed(words, run, cache=folder / "cache"))
        runs = {name: sweeps[0].run for name, sweeps in found.items()}
        print(f"{asked.repeats} sweeps each; load {os.getloadavg()[1]:.1f} on {os.cpu_count()}")
        show_shares(found)
        show_bytes(runs)
        times, opening = appends(asked.sizes, runs, folder, rounds=asked.rounds)
        show_appends(asked.sizes, samples(runs), times, opening)


if __name__ == "__main__":
    main()
