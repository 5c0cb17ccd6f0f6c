"""Study files and configurations: those that ship, with odd values, lost and doubled parts, and
damaged text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.fuzz.harness import Case
from tests.fuzz.odd import VALUES, mutated

ROOT: Final = Path(__file__).parents[2]

ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1.5, 10**18, 10**30, -(10**400), 1e308, float("nan"), float("inf")),
    *("", "x", "x" * 3000, "017", "1:30", "\x1b[31m", "[/x]", "${a}", "???", "a b", "\u202e"),
    *([], [1], [[]], [None], ["x"] * 500, {}, {"a": 1}, {"a": {"b": [1]}}, {"grid": [1]}),
    *(
        [{"a": 1}],
        {"": 1},
        {"method": "tpe"},
        {"grid": "all"},
        {"uniform": [0, 1]},
        {"x": "x" * 900},
    ),
    *({1: 2}, {None: 1}, {True: 1}, {(1, 2): 3}),
)
"""Values in the place of sound ones."""


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """A file alone, every fourth a configuration; half are spoilt as data, half as text."""
    draw = random.Random(f"study_files {seed}")
    folder.mkdir(parents=True, exist_ok=True)
    studies = [path.read_text() for path in sorted(ROOT.glob("sweeps/studies/*.yaml"))]
    config = (ROOT / "configs" / "base_config.yaml").read_text()
    trainer = ("--sample", "--out", str(folder / "outputs"), "--cache", str(folder / "cache"))
    for number in range(count):
        text = config if number % 4 == 3 else draw.choice(studies)
        path = folder / f"own{number}.yaml"
        if draw.random() < 0.5:
            tree, keys = _spoilt_tree(text, draw)
            how, raw = "tree", yaml.dump(tree).encode("utf-8", "surrogatepass")
        else:
            (how, raw), keys = _spoilt_text(text, draw), []
        path.write_bytes(raw)
        yield Case(
            kind="study_files",
            name=f"{number} {how}",
            command="mpc_router.commands.train" if text == config else "sweeps.run",
            arguments=("--config", str(path), *trainer)
            if text == config
            else (str(path), "--sample", "--debug"),
            culprits=(path.name, *keys),
            unchanged=(path,),
        )


def _spoilt_tree(text: str, draw: random.Random) -> tuple[Any, list[str]]:
    """A study with one or two odd parts, and the keys that lead to them."""
    tree: Any = yaml.safe_load(text)
    touched: list[str] = []
    for _ in range(draw.randint(1, 2)):
        place = tree
        while True:
            key = (
                draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
            )
            below = place[key]
            touched += [key] if isinstance(key, str) else []
            if not (isinstance(below, dict | list) and below) or draw.random() < 0.4:
                break
            place = below
        how = draw.randrange(4)
        if how == 0:
            del place[key]
        elif how == 1 and isinstance(place, dict):
            place[mutated(str(key), draw)] = place.pop(key)
        elif how == 2:
            place[key] = [below]
        else:
            place[key] = draw.choice(ODD)
        if not place:
            break
    return tree, touched


def _spoilt_text(text: str, draw: random.Random) -> tuple[str, bytes]:
    lines = text.splitlines()
    at = draw.randrange(len(lines))
    how = draw.randrange(8)
    if how == 0:
        return "slips", mutated(text, draw).encode("utf-8", "surrogatepass")
    if how == 1:
        lines.insert(at, draw.choice(lines))
        return "a line twice", "\n".join(lines).encode()
    if how == 2:
        lines[at] = draw.choice(("\t", "  ", " ")) + lines[at]
        return "indentation", "\n".join(lines).encode()
    if how == 3:
        key, colon, _ = lines[at].partition(":")
        lines[at] = f"{key}{colon} {draw.choice(VALUES)}"
        return "a value", "\n".join(lines).encode("utf-8", "surrogatepass")
    if how == 4:
        code = draw.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-le", "latin-1"))
        return code, (text + "# \xe9\n").encode(code)
    if how == 5:
        raw = bytearray(text.encode())
        for _ in range(draw.randint(1, 20)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        return "bytes", bytes(raw)
    if how == 6:
        return "cut", text[: draw.randrange(len(text))].encode()
    lines.insert(at, draw.choice(VALUES))
    return "a line of its own", "\n".join(lines).encode("utf-8", "surrogatepass")
