"""The module refuses a resume after changes, unless `--force` allows and records them.

Code and libraries are compared with what --force allowed last, so that a change is forced once;
data and models with the run's beginning, for other data never train in a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.plugins import Part
from sweeps.journal.forced import NUMERIC, PART, Change, change_text, study_text
from sweeps.journal.state import State
from sweeps.plan.preparation import Ready
from sweeps.provenance.facts import code_fingerprint, versions
from sweeps.records import STUDY_FILE, InputError

_MOST_SETTINGS: Final = 10_000
"""It is the most settings that a study can have."""


def refuse_or_force(run: Path, state: State, *, trains: bool, force: bool) -> tuple[Change, ...]:
    """Compares two sessions of a run; gives the changes that were forced.

    An edited study always counts, because it would be overwritten; code and libraries count where
    the session `trains` something.

    Raises:
        InputError: something changed, and `force` is not set.
    """
    study = _study_changes(run, state)
    program = _program_changes(state) if trains else ()
    if study and not force:
        raise InputError(
            f"{run / STUDY_FILE} was edited ({change_text(study[0])}), but a resume takes the "
            "run's own study; begin a new run with a copy of it, or give --force, which keeps the "
            "run's study and writes it over the file"
        )
    if program and not force:
        raise InputError(
            f"{run} has trials left to train, and would mix them with those of another program: "
            f"{'; '.join(map(change_text, program))}; take the program it began with, start anew, "
            "or give --force, which records it"
        )
    return (*study, *program)


def _program_changes(state: State) -> tuple[Change, ...]:
    """Lists changes of the code and of the libraries that the numbers depend on."""
    assert state.opened is not None
    provenance = state.opened["provenance"]
    then = {"code": provenance["fingerprints"].get("code"), **provenance["versions"]}
    then |= {change["what"]: change["now"] for change in state.forced}
    now = {"code": code_fingerprint(), **versions()}
    return tuple(
        Change(what=what, then=then[what], now=now.get(what))
        for what in ("code", *NUMERIC)
        if then.get(what) and then[what] != now.get(what)
    )


def changed_parts(state: State, parts: Sequence[Part]) -> tuple[Change, ...]:
    """Lists the parts of one's own that --trust takes in another version than the run has used."""
    assert state.opened is not None
    versions_by_name = {
        f"{PART}{record.get('name')}": _origin(record)
        for record in state.opened["study"].get("parts") or ()
    }
    versions_by_name |= {change["what"]: change["now"] for change in state.forced}
    return tuple(
        Change(what=what, then=versions_by_name[what], now=now)
        for what, now in ((f"{PART}{part.name}", _origin(part.record())) for part in parts)
        if what in versions_by_name and versions_by_name[what] != now
    )


def _origin(record: Mapping[str, Any]) -> str:
    """Names the package and the version of a recorded part."""
    return f"{record.get('package') or 'no package'} {record.get('version')}"


def refuse_other_data(state: State, ready: Sequence[Ready], *, force: bool = False) -> None:
    """Compares data, experts and stem with those that the run began with.

    Trials of other data would share examples and baselines with the run's, and tables could not
    tell them apart, so that no `force` lets them in.

    Raises:
        InputError: the fingerprints differ.
    """
    differing = _data_changes(state, ready)
    if not differing:
        return
    ways = "give the same --data, --models and --cache, or start anew"
    if force:
        ways += "; --force does not allow trials of other data"
    raise InputError(
        f"{'; '.join(map(change_text, differing))}: not what the run began with; {ways}"
    )


def _data_changes(state: State, ready: Sequence[Ready]) -> tuple[Change, ...]:
    """Lists changes of data, experts and stem by their fingerprints, each once."""
    assert state.opened is not None
    provenance = state.opened["provenance"]
    by_set = {entry["name"]: entry["fingerprints"] for entry in provenance.get("sets", ())}
    changes: dict[Change, None] = {}
    for prepared in ready:
        then = by_set.get(prepared.prepared_set.name, provenance["fingerprints"])
        now = {
            "data": prepared.inputs.data_fingerprint,
            "experts": prepared.inputs.experts_id,
            "stem": prepared.inputs.stem.hash,
        }
        suffix = f" of {prepared.prepared_set.label}" if prepared.prepared_set.label else ""
        changes |= {
            Change(what=f"{what}{suffix}", then=then[what], now=now[what]): None
            for what in now
            if then[what] != now[what]
        }
    return tuple(changes)


def _study_changes(run: Path, state: State) -> tuple[Change, ...]:
    """Gives a change if the run's `study.yaml` was edited.

    A missing or damaged file counts as no change, for it is written again. Its budget may be that
    of any session: the last session may have been killed before it wrote the file.
    """
    assert state.opened is not None
    path, study = run / STUDY_FILE, state.study
    budgets = [state.opened["study"]["budget"], *state.budgets]
    try:
        text = path.read_text(encoding="utf-8")
        for budget in budgets:
            expected = study_text({**study, "budget": budget})
            if text == expected or (expected.startswith(text) and not text.endswith("\n")):
                return ()  # as it was written, or cut short
        tree = read_yaml(path)
        edited = _flat(tree)
    except (OSError, ConfigError, ArithmeticError, RecursionError, TypeError, ValueError):
        return ()
    original = _flat(study)
    if tree.get("budget") in budgets:
        original |= _flat({"budget": tree["budget"]})
    then = {name: value for name, value in original.items() if edited.get(name) != value}
    now = {name: value for name, value in edited.items() if original.get(name) != value}
    if not then and not now:
        return ()
    return (Change(what=STUDY_FILE, then=then, now=now),)


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Gives a study's settings by their dotted paths.

    Raises:
        ValueError: it has more settings than any study; some lines of YAML can mean a billion.
    """
    settings: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{above}{name}"
        settings |= _flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
        if len(settings) > _MOST_SETTINGS:
            raise ValueError(f"more than {_MOST_SETTINGS} settings")
    return settings
