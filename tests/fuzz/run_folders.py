"""Run folders that somebody else sent: a small sound run, copied and spoilt in one way each."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mpc_router.storage.lane_files import files_by_key, metadata
from sweeps.journal._lines import line_of
from tests.fuzz.harness import Case
from tests.sweeps.conftest import on_disk
from tests.sweeps.faults import laboratory

Draw = random.Random

HOSTILE: Final = (
    *("../../victim", "/etc/passwd", "..", ".", "", "a/b", ".hidden", "x" * 3000, "a\0b"),
    *("\x1b[31mred\x1b[0m", "[/x]", "[bold]", "<script>alert(1)</script>", "{{7*7}}", "\u202eabc"),
    *("a\nb", "=cmd|' /C calc'!A0", "'; drop table"),
)


def _deep() -> Any:
    found: Any = []
    for _ in range(500):
        found = [found]
    return found


ODD: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 1.5, 1e308, 10**30, 2**63, [], {}, [[]], {"a": {"b": []}}, [None]),
    *("1", "NaN", "\ud800", _deep(), {"": ""}, ["../../victim"]),
    *HOSTILE,
)
"""What no field of a run holds, or only some do."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A copy of the sound run that is being spoilt."""

    path: Path
    victim: Path
    draw: Draw

    @property
    def key(self) -> str:
        """A trial's."""
        return min(files_by_key(self.path / "checkpoints"))

    def odd(self) -> Any:
        """A value that does not belong."""
        return self.draw.choice(ODD)

    def events(self) -> list[dict[str, Any]]:
        """The journal's, without their checksums."""
        found = []
        for line in (self.path / "journal.jsonl").read_bytes().splitlines():
            event = json.loads(line)
            event.pop("check")
            found.append(event)
        return found

    def write(self, events: list[dict[str, Any]]) -> None:
        """A journal of them, every checksum right."""
        lines = b"".join(map(line_of, events))
        (self.path / "journal.jsonl").write_bytes(lines)


def _places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of plain data lie, as tuples of keys and numbers."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, value in inner:
        yield (*above, name)
        if isinstance(value, dict | list):
            yield from _places(value, (*above, name))


def spoilt(tree: Any, draw: Draw) -> str:
    """One value of plain data is gone, replaced or doubled; says which."""
    place = draw.choice(list(_places(tree)))
    inner = tree
    for name in place[:-1]:
        inner = inner[name]
    how = draw.choice(("gone", "odd", "odd", "odd", "added"))
    if how == "gone":
        del inner[place[-1]]
    elif how == "odd" or isinstance(inner, list):
        inner[place[-1]] = draw.choice(ODD)
    else:
        inner[str(draw.choice(HOSTILE))] = draw.choice(ODD)
    return f"{'.'.join(map(str, place))[:60]} {how}"


def event(run: Folder) -> str:
    """Something in an event is odd."""
    events = run.events()
    place = run.draw.randrange(len(events))
    change = spoilt(events[place], run.draw)
    if "check" in events[place]:
        del events[place]["check"]
    run.write(events)
    return f"event {place}: {change}"


def renamed(run: Folder) -> str:
    """A trial, a pack, a point or a bulk file has a hostile name everywhere."""
    events = run.events()
    old = run.draw.choice((run.key, "pack00", "p00", "pack00.parquet", "examples.parquet", "set00"))
    new = run.draw.choice(HOSTILE)
    text = json.dumps(events).replace(json.dumps(old), json.dumps(new))
    run.write(json.loads(text))
    return f"{old} is {new[:30]!r}"


FILES: Final = (
    *("journal.jsonl", "trials.parquet", "reports.parquet", "routing.parquet", "study.yaml"),
    *("provenance.json", "report.html", "stop", "optuna.journal", "parts", "checkpoints"),
    *("parts/examples.parquet", "parts/pack00.parquet", "examples.parquet", ".x.tmp"),
)


def link(run: Folder) -> str:
    """A link, a pipe or a folder lies where something of the run does."""
    name = run.draw.choice(FILES)
    kind = run.draw.choice(("link", "link", "pipe", "folder", "second name"))
    path = run.path / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "file").touch()
    elif kind == "second name":
        os.link(run.victim / "secret.parquet", path)
    else:
        folder = "." not in name.rpartition("/")[2] and name != "stop"
        path.symlink_to(run.victim if folder else run.victim / "secret.parquet")
    return f"{name} is a {kind}"


NO_PROVENANCE: Final = ("", "[]", "{", "null", "[" * 5000, "1" * 5000, '"\\ud800"')


def provenance(run: Folder) -> str:
    """Something in provenance.json is odd."""
    path = run.path / "provenance.json"
    if run.draw.random() < 0.2:
        path.write_text(
            run.draw.choice(("", "[]", "{", "null", "[" * 5000, "1" * 5000, '"\\ud800"'))
        )
        return "provenance is no provenance"
    data = json.loads(path.read_text())
    change = spoilt(data, run.draw)
    path.write_text(json.dumps(data))
    return f"provenance: {change}"


YAMLS: Final = (
    *("", "[]", "1", "a: !!int abc", "a: 2001-99-99", "[" * 600, "a: &a [*a]", "\x00", "a: 1" * 3),
    *("seeds: 3", "space: [1]", "search: x", "racing: [1]", "start: {a: 1}", "stopping: 1"),
    *("seeds: ['a']", "space: {a: 1}", 'study: "\\e[31m"', "? [1, 2]\n: 3", "budget: 1"),
)


def study(run: Folder) -> str:
    """study.yaml is of some shape."""
    text = run.draw.choice(YAMLS)
    (run.path / "study.yaml").write_text(text)
    return f"study {text[:20]!r}"


def table(run: Folder) -> str:
    """A column of a table holds something else; the checksums are right."""
    name = run.draw.choice(("trials", "trials", "reports", "routing", "experts", "examples"))
    path = run.path / f"{name}.parquet"
    before = pq.read_table(path)
    column = run.draw.choice(before.column_names)
    how = run.draw.choice(("text", "text", "nulls", "gone", "numbers"))
    place = before.schema.get_field_index(column)
    values = {
        "text": pa.array([run.draw.choice(HOSTILE)] * len(before)),
        "nulls": pa.nulls(len(before), before.schema.field(column).type),
        "numbers": pa.array([run.draw.choice((float("nan"), -1.0, 1e300))] * len(before)),
    }
    if how == "gone":
        after = before.drop_columns([column])
    else:
        after = before.set_column(place, column, values[how])
    metadata = dict(before.schema.metadata)
    metadata.pop(b"mpc_router.columns")
    pq.write_table(after.replace_schema_metadata(metadata), path)
    return f"{name}.{column}: {how}"


OFFSETS: Final[tuple[Any, ...]] = (
    *([], [0], [4, 0], [-4, 4], [0, 10**30], [0, 0], [True, 8], [0.0, 4.0], ["0", "4"], None),
    [0, 4, 8],
)
"""Places of a tensor that is not there."""


def checkpoint(run: Folder) -> str:
    """Something in a checkpoint's description is odd; its checksum is right."""
    key = run.key
    file = files_by_key(run.path / "checkpoints")[key]
    trial = {name: value for name, value in file.trials[key].items() if name != "sha256"}
    change = spoilt(trial, run.draw)
    check = hashlib.sha256(json.dumps(trial, sort_keys=True).encode()).hexdigest()
    trials = {**file.trials, key: {**trial, "sha256": check}}
    file.path.write_bytes(b"".join(file._packed(file._spans, metadata(trials))))
    return f"checkpoint: {change}"


def routers(run: Folder) -> str:
    """Something in the header of a file of routers is odd, and the run was killed."""
    path = run.draw.choice(sorted((run.path / "checkpoints").glob("*.safetensors")))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    trials = json.loads(header["__metadata__"]["trials"])
    name = run.draw.choice(sorted(header.keys() - {"__metadata__"}))
    if run.draw.random() < 0.5:  # of a trial that the run does not have: the file is shortened
        trials["zz"], header["zz.w"] = {}, {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    how = run.draw.choice(("entry", "entry", "offsets", "doubled", "trials", "infinity"))
    if how == "offsets":
        header[name]["data_offsets"] = run.draw.choice(OFFSETS)
    elif how == "doubled":
        header |= {f"{name}.{number}": header[name] for number in range(50)}
    text = json.dumps(trials)
    if how == "infinity":
        text = text.replace("{", run.draw.choice(('{"x": NaN, ', '{"x": 1e999, ')), 2)
    header["__metadata__"]["trials"] = text
    change = how
    if how == "entry":
        change = spoilt({name: header[name]}, run.draw)
    elif how == "trials":
        change = spoilt(header["__metadata__"], run.draw)
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    run.write(run.events()[:-1])
    return f"routers: {change}"


Spoil = Callable[[Folder], str]

KINDS: Final[tuple[tuple[Spoil, tuple[str, ...]], ...]] = (
    (event, ("resume", "repair")),
    (renamed, ("resume", "repair")),
    (link, ("resume", "repair", "front", "report", "export")),
    (event, ("resume",)),
    (provenance, ("front", "compare", "export", "front")),
    (study, ("front", "resume", "front", "report")),
    (table, ("front", "compare", "export", "front", "report")),
    (checkpoint, ("eval",)),
    (routers, ("resume", "repair", "eval")),
)
"""Ways of spoiling, and the commands that meet what is spoilt."""


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """So many run folders, each with a command that is given it."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / "prepared" / "entry"
    on_disk(prepared)
    with laboratory(folder / "laboratory", prepared) as lab:
        sound = lab.sound("grid")
    victim = folder / "victim"
    victim.mkdir()
    shutil.copy(sound / "trials.parquet", victim / "secret.parquet")
    for name in ("file", ".x.tmp"):
        (victim / name).write_text("kept")
    (victim / "epochs").mkdir()
    for number in range(count):
        draw = random.Random(f"run_folders {seed} {number}")
        spoil, commands = KINDS[number % len(KINDS)]
        run = folder / f"run{number}" / "run"
        shutil.copytree(sound, run)
        change = spoil(Folder(path=run, victim=victim, draw=draw))
        command = draw.choice(commands)
        yield _case(f"{number} {command}: {change}", command, run, sound, victim)
        shutil.rmtree(run.parent)


def _case(name: str, command: str, run: Path, sound: Path, victim: Path) -> Case:
    out = run.parent / "tables"
    key = min(files_by_key(sound / "checkpoints"))
    calls: dict[str, tuple[str, tuple[str, ...]]] = {
        "resume": ("sweeps.run", ("--resume", str(run), "--quiet")),
        "repair": ("sweeps.run", ("--resume", str(run), "--repair", "--quiet")),
        "front": ("analysis.front", (str(run),)),
        "report": ("analysis.report", (str(run),)),
        "compare": ("analysis.compare", (str(sound), str(run))),
        "export": ("analysis.export", (str(run), "--to", "csv", str(out))),
        "eval": (
            "mpc_router.commands.eval",
            (
                *("--checkpoint", str(run / "checkpoints" / key), "--sample", "--quiet"),
                *("--cache", str(run.parent / "cache")),
            ),
        ),
    }
    module, arguments = calls[command]
    return Case(
        kind="run folders",
        name=name,
        command=module,
        arguments=arguments,
        culprits=(str(run), key, f"{run.parent.name}/{run.name}"),
        codes=(2, 3) if module == "sweeps.run" else (2,),
        unchanged=(victim, sound),
    )
