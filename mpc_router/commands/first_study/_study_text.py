"""Writes a study as YAML with comments, from what was found out about data and models."""

from __future__ import annotations

import json
import os
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_router.commands.first_study._data_files import DataFiles
from mpc_router.commands.first_study._first_steps import Lengths
from mpc_router.commands.first_study._model_folders import PoolFound
from mpc_router.messages import printable, shortened
from mpc_router.run_names import VALIDATION
from mpc_router.source_error import shown
from mpc_router.tasks import Task

_PRESSURES: Final = (0.1, 0.3, 1.0)
"""What beta times the span of costs is: from a light hand to one as strong as the task's loss."""

_WIDTH: Final = 100
"""Characters of a line in the terminal."""

_SHOWN: Final = 8
"""Classes that a comment lists."""

_WORDS: Final = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}
"""What YAML reads as something else than a text."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Holds everything that a study is written from."""

    name: str
    out: Path
    """The study's file."""

    data: DataFiles
    rows: Mapping[str, int]
    """By split."""

    task: Task
    labels: str
    """Words on the balance of classes, or the range of values."""

    reason: str
    """Why the score is what it is."""

    lengths: Lengths
    pool: PoolFound
    named_pool: bool
    """The pool is `minilm`, no folders."""

    cost: str = ""
    """Words on what the experts' training takes."""

    doubts: tuple[str, ...] = ()


def study_text(findings: Findings) -> str:
    """Gives the study's file."""
    blocks = (_head(findings), _data(findings), _task(findings), _trial(findings), _space(findings))
    return "\n".join("\n".join(_aligned(block)) + "\n" for block in blocks)


def summary(findings: Findings) -> str:
    """Gives what a person wants to know now, for the terminal."""
    lengths, pool = findings.lengths, findings.pool
    rows = ", ".join(f"{split} {count:,}" for split, count in findings.rows.items())
    cut = f"cuts {100 * lengths.cut:.2g} % of examples" if lengths.cut else "cuts none"
    facts = [
        ("data", f"{shown(findings.data.path)}: {rows} rows"),
        ("text", " and ".join(findings.task.columns)),
        ("label", f"{findings.task.label}, {findings.labels}"),
        ("score", f"{findings.task.score}: {findings.reason}"),
        (
            "tokens",
            f"half of the texts have up to {lengths.median}, the longest {lengths.most} (of "
            f"{lengths.rows:,} rows); max_length {lengths.max_length} {cut}",
        ),
        ("experts", f"cheapest first; {_tuned_words(pool)}"),
    ]
    lines = [f"{findings.out} is written", ""]
    for key, text in facts:
        lines += _wrapped(f"  {key:<9}", text)
    width = max(len(expert.short) for expert in pool.experts)
    lines += [
        f"{'':11}{expert.short:<{width}}  {expert.parameters:7.3g} M parameters   cost "
        f"{expert.cost:.3g}"
        for expert in pool.experts
    ]
    lines += _wrapped(f"  {'time':<9}", findings.cost)
    if findings.doubts:
        lines += ["", "not known"]
        for text in findings.doubts:
            lines += _wrapped("  - ", text)
    call = f"  mpc-router-sweep {_shell(findings.out)}"
    lines += ["", "next", f"{call} --dry-run    # the plan, nothing is trained", call]
    return "\n".join(map(printable, lines))


def _tuned_words(pool: PoolFound) -> str:
    if pool.fine_tuned:
        return "; ".join(pool.notes)
    return "they are trained here, once"


def _wrapped(head: str, text: str, below: str | None = None) -> list[str]:
    """Breaks a text into lines, the first behind a head, the others below it."""
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head) if below is None else below,
        break_long_words=False,
        break_on_hyphens=False,
    )


def classes_words(counts: Sequence[tuple[str, int]]) -> str:
    """Gives the balance of classes, the most frequent first."""
    total = sum(count for _, count in counts)
    ordered = sorted(counts, key=lambda pair: -pair[1])
    words = [
        f"{shortened(printable(label), 30)} {100 * count / total:.3g} %"
        for label, count in ordered[:_SHOWN]
    ]
    if len(ordered) > _SHOWN:
        least, count = ordered[-1]
        words.append(f"..., {shortened(printable(least), 30)} {100 * count / total:.2g} %")
    return f"{len(counts)} classes: {', '.join(words)}"


def beta_values(costs: Sequence[float]) -> list[float]:
    """Gives weights of cost for these costs, which decide what a weight means."""
    span = max(costs) - min(costs)
    return [float(f"{pressure / (span or 10.0):.1g}") for pressure in _PRESSURES]


def _head(findings: Findings) -> list[str]:
    lines = [
        "# This study was written by mpc-router-init. Each line can be changed.",
        f"# The plan:  mpc-router-sweep {_shell(findings.out)} --dry-run",
        f"# The run:   mpc-router-sweep {_shell(findings.out)}",
    ]
    if findings.doubts:
        lines += ["#", "# What could not be known:"]
        for text in findings.doubts:
            lines += _wrapped("# - ", text, "#   ")
    return [*map(printable, lines), f"study: {_yaml(findings.name)}"]


def _data(findings: Findings) -> list[str]:
    base = findings.out.parent.absolute()
    path = findings.data.path.absolute()
    inside = path == base or base in path.parents
    written = os.path.relpath(path, base) if inside else str(path)
    rows = ", ".join(f"{split} {count:,} rows" for split, count in findings.rows.items())
    lines = [
        "dataset:",
        f"  path: {_yaml(written)}  # relative to this file, or a whole path; {rows}",
    ]
    if findings.data.splits:
        pairs = ", ".join(f"{key}: {_yaml(name)}" for key, name in findings.data.splits.items())
        lines.append(f"  splits: {{{pairs}}}  # what is called otherwise there")
    if VALIDATION not in findings.rows:
        lines.append(
            "  # without a validation file, a tenth of train is cut off for it by a hash of the row"
        )
    return lines


def _task(findings: Findings) -> list[str]:
    task = findings.task
    texts = task.columns
    text = _yaml(texts[0]) if len(texts) == 1 else f"[{', '.join(map(_yaml, texts))}]"
    lines = [
        "task_definition:",
        f"  name: {_yaml(task.name)}",
        f"  text: {text}  # the column of texts; a pair of texts is [one, other]",
        f"  label: {_yaml(task.label)}  # {findings.labels}",
    ]
    if task.regression:
        lines.append("  kind: regression  # labels are values, not classes")
    return [
        *lines,
        f"  metrics: [{', '.join(task.metrics)}]",
        f"  score: {task.score}  # {findings.reason}",
    ]


def _trial(findings: Findings) -> list[str]:
    pool, lengths = findings.pool, findings.lengths
    if findings.named_pool:
        lines = [
            "trial:",
            "  pool: minilm  # one encoder that pip installs, cut at 2, 4 and 6 layers",
            "  stem: expert  # the router looks through the cheapest expert",
        ]
    else:
        lines = ["trial:", "  pool: custom", "  expert_model_names:  # cheapest first"]
        lines += [
            f"    - {_yaml(str(expert.folder))}  # {expert.parameters:.3g} million parameters"
            f"{_head_words(expert.head)}"
            for expert in pool.experts
        ]
        if pool.experts[0].layers:
            cuts = ", ".join(str(expert.layers) for expert in pool.experts)
            lines.append(f"  expert_layers: [{cuts}]  # the one model, cut at these depths")
        costs = ", ".join(f"{expert.cost:.3g}" for expert in pool.experts)
        tuned = "they are taken as they come" if pool.fine_tuned else "they are trained here, once"
        lines += [
            f"  expert_costs: {pool.costs}  # that is {costs}; parameters, or a list, also works",
            f"  expert_fine_tuned: {_yaml(pool.fine_tuned)}  # {tuned}",
        ]
    lines += _wrapped("  # ", findings.cost, "  # ")
    if not pool.fine_tuned:
        lines.append("  expert_epochs: 3  # passes over train of each expert")
    cut = f"cuts {100 * lengths.cut:.2g} % of examples" if lengths.cut else "cuts none"
    lines += [
        f"  max_length: {lengths.max_length}  # tokens; {cut} (half have up to {lengths.median}, "
        f"the longest {lengths.most})",
        "  epochs: 5  # of a router; they are quick",
    ]
    return lines


def _space(findings: Findings) -> list[str]:
    betas = beta_values([expert.cost for expert in findings.pool.experts])
    return [
        "space:  # one router for each pair of values and each seed",
        "  alpha: {grid: [0, 0.01, 0.1]}  # how evenly the experts are used",
        f"  beta: {{grid: [{', '.join(f'{beta:g}' for beta in betas)}]}}"
        "  # how much cost weighs, for costs as above",
        "seeds: [0, 1, 2]",
    ]


def _head_words(head: str) -> str:
    words = {"fits": "its head fits", "unnamed": "its head names no class", "other": "another head"}
    return f"; {words[head]}" if head in words else ""


def _aligned(lines: Sequence[str]) -> list[str]:
    """Puts comments below each other where lines are short."""
    parts = [re.split(r"(?<=\S)  (?=# )", line, maxsplit=1) for line in lines]
    width = max((len(part[0]) for part in parts if len(part) == 2 and len(part[0]) < 50), default=0)
    return [part[0] if len(part) == 1 else f"{part[0]:<{width}}  {part[1]}" for part in parts]


def _yaml(value: object) -> str:
    """Writes a value so that YAML reads the same one."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z/][\w/.-]*|\.", value, flags=re.ASCII)
        if plain and value.lower() not in _WORDS:
            return value
        quoted_value = json.dumps(value, ensure_ascii=not value.isprintable())
        return quoted_value.replace("#", "\\u0023")  # else it would look like a comment
    return json.dumps(value)


def _shell(path: Path) -> str:
    return shlex.quote(str(path))
