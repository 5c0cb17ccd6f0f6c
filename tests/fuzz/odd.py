"""Odd values as people, editors and shells produce them; the same for every kind of input."""

from __future__ import annotations

import random
from typing import Final

NUMBERS: Final = (
    *("017", "0x10", "0b1", "0o17", "1:30", "190:20:30.15", "08", "1_000", "1__0", "0_1", "-0"),
    *("-0.0", ".5", "1.", "1e5", "1e-5", "1e400", "1e-400", "-1e400", "+1", "--1", "1e", "e5"),
    *("nan", ".nan", ".NaN", "inf", ".inf", "-.inf", "Infinity", "1,5", "0.1,0.2", "1 000", "5%"),
    *("9" * 19, "9" * 400, "9" * 5000, "-" + "9" * 400, "1" + "0" * 30, "0." + "0" * 400 + "1"),
    *("\uff11", "\u0663", "\u00b2", "\u2212" + "1", "1/2", "1e3.5", "0xg", "00", "-1", "1.5", "3"),
)
WORDS: Final = (
    *("", " ", "~", "null", "true", "yes", "off", "None", "abc", "-", "=", "'", '"', "''", "#x"),
    *("2026-01-02", "2026-13-45", "12:00", "2026-01-02 10:00:00", "1h30m", "-5m", "9" * 400 + "d"),
    *("!!int abc", "!!int 3", "!!float x", "!!timestamp x", "!!binary x", "!!null x", "!!bool 3"),
    *("!!python/object/apply:os.getcwd []", "!!python/name:os.system", "!!set {a}", "!foo x", "!"),
    *("!!omap [a: 1]", "!!pairs [a]", "!!str 3", "!!seq x", "!!map []"),
    *("&x [*x]", "*x", "&a", "<<", "{<<: 1}", "{<<: [1]}", "{<<: {a: 1}}", "? a", "- 1", "a: b"),
    *("${beta}", "${oc.env:HOME}", "???", "${", "{{x}}", "%x", "@x", "`x`", "|", ">", "|\n x"),
    *("\x00", "\udcff", "\ud800", "\ufeff1", "\x1b[31mred", "\x07", "\x85", "\u2028", "\tx", "x\t"),
    *(
        "1\n2",
        "1\nb: 2",
        "1\n---\n2",
        "...",
        "---",
        "\r\n",
        "[/x]",
        "[bold]x",
        "\u202ex",
        "%YAML 3",
    ),
    *("x" * 300, "x" * 5000, "\u00e9" * 400, "~nobody/x", "~/x", "a/b", "../x", "/", "/dev/null"),
)
LISTS: Final = (
    *("[]", "{}", "[", "]", "{", "[1", "[1]]", "[1,,2]", "[1, 2]", "[a, b]", "[[1]]", "[[1], [2]]"),
    *("[null]", "[true]", "[.nan]", "[1, a]", "[0.01, 0.1]", "[bert, minilm]", "[1 2]", "[{}]"),
    *("[" * 600, "{a: " * 600, "[" * 60 + "]" * 60, "[" + "1, " * 2000 + "1]", "[~, ~]", "['']"),
    *("{a: 1}", "{1: 2}", "{null: 1}", "{[1]: 2}", "{? [1]: 2}", "{a: 1, a: 2}", "{true: 1}"),
    *("{grid: [1]}", "{grid: []}", "{grid: 1}", "{grid: all}", "{grid: 0.1,0.2}", "{grid:1}"),
    *("{grid: [.nan]}", "{grid: [[1], [2]]}", "{grid: [{a: 1}]}", "{grid: [a, a]}", "{gird: [1]}"),
    *("{grid: [1], choice: [1]}", "{uniform: [0, 1]}", "{uniform: [1, 0]}", "{loguniform: [0, 1]}"),
    *(
        "{int: [0, 1e300]}",
        "{int: [1, 3]}",
        "{int: [0.5, 2]}",
        "{uniform: [0, .inf]}",
        "{choice: x}",
    ),
    *("{uniform: [a, b]}", "{uniform: 3}", "{int: [true, false]}", "{grid: [017, 1:30]}"),
    *("{max: 3}", "{method: [tpe]}", "{method: {a: 1}}", "{time: 1:30}", "{cost: {max: '8'}}"),
    *("{cost: {max: .nan}}", "{cost: 3}", "{score: [max]}", "{points: 9}", "{gpus: many}"),
    *("[{alpha: [1]}]", "[{}]", "[{alpha: {grid: [1]}}]", "[{a: 1}]", "[{alpha: 017}]", "[3]"),
)
PLAUSIBLE: Final = (
    *("0", "1", "2", "4", "7", "64", "0.5", "0.999", "1e-3", "3e-5", "auto", "cpu", "cls", "mean"),
    *("joint", "frozen", "expert", "model", "softmax", "clean", "mlp", "supervised", "loss_cost"),
    *("fine_tuned", "last_1", "head", "constant", "best_score", "float32", "rte", "stsb", "linear"),
    *("[1, 2]", "[2, 7, 13]", "[13, 7, 2]", "[0, 0, 0]", "[sample/tiny, sample/large]", "sample"),
    *("[0, 1, 2]", "sample/tiny", "sample/stem", "true", "false", "{grid: [1, 2]}", "10000000"),
    *("{method: tpe, points: 9}", "{method: random, points: 12}", "{method: mo_asha}"),
    *("{epochs: 9}",),
    *("[{alpha: 0.5}]", "{score: max}", "{cost: {max: 6}}", "{cpus: 2}", "{time: 2h}", "flops"),
)
"""Sound somewhere, and refused elsewhere by rules between settings."""

VALUES: Final = NUMBERS + WORDS + LISTS + PLAUSIBLE

CHARACTERS: Final = (
    "=:,[]{}'\"#&*!|>%@`~?-_.0123456789eExX \t\n\x00\x1b\x7f\x85\xe9\u2028\ufeff\udcff\uff1d"
)
"""What slips into a word, or out of it."""


def mutated(text: str, draw: random.Random) -> str:
    """The text with one to three slips of the pen."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(text))
        how = draw.randrange(5)
        if how == 0:
            text = text[:at] + draw.choice(CHARACTERS) + text[at:]
        elif how == 1:
            text = text[:at] + text[at + 1 :]
        elif how == 2:
            text = text[:at] + draw.choice(CHARACTERS) + text[at + 1 :]
        elif how == 3:
            end = min(len(text), at + draw.randint(1, 8))
            text = text[:end] + text[at:end] * draw.choice((1, 1, 50)) + text[end:]
        else:
            text = text[:at] + draw.choice(VALUES) + text[at:]
    return text
