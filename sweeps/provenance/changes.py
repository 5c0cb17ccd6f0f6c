"""What changed between two sessions of a run: named and refused, or let through by `--force`, which
records it.

Code and libraries are compared with what --force let through last, so that a change is forced
once; data and models with the run's beginning, for none are ever let in to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import ConfigError, read_yaml
from sweeps.journal.forced import NUMERIC, Change, change_text, study_text
from sweeps.journal.state import State
from sweeps.plan.preparation import Ready
from sweeps.provenance.facts import code_fingerprint, versions
from sweeps.records import STUDY_FILE, InputError

_MOST_SETTINGS: Final = 10_000
"""That a study can have."""


def refuse_or_force(run: Path, state: State, *, trains: bool, force: bool) -> tuple[Change, ...]:
    """Compares two sessions of a run; gives the changes that were forced.

    An edited study would be written over, so it counts always; code and libraries count where the
    session `trains` something.

    Raises:
        InputError: something changed, and nobody forces it.
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
    then |= {each["what"]: each["now"] for each in state.forced}
    now = {"code": code_fingerprint(), **versions()}
    return tuple(
        Change(what=what, then=then[what], now=now.get(what))
        for what in ("code", *NUMERIC)
        if then.get(what) and then[what] != now.get(what)
    )


def refuse_other_data(
    state: State, ready: Sequence[Ready], *, rebuilds: bool = False, force: bool = False
) -> tuple[Change, ...]:
    """Compares data, experts and stem; gives the changes that were forced.

    That is only where the session `rebuilds` tables of what the run has recorded. Trials of other
    data would share examples and yardsticks with the run's, and no table could tell them apart.

    Raises:
        InputError: the fingerprints differ.
    """
    found = _data_changes(state, ready)
    if not found or (rebuilds and force):
        return found
    ways = "give the same --data, --models and --cache, or start anew"
    if rebuilds:
        ways += ", or --force: nothing is left to train, and tables are made of what is recorded"
    elif force:
        ways += "; --force lets no trials of other data into a run"
    raise InputError(f"{'; '.join(map(change_text, found))}: not what the run began with; {ways}")


def _data_changes(state: State, ready: Sequence[Ready]) -> tuple[Change, ...]:
    """Lists changes of data, experts and stem by their fingerprints, each once."""
    assert state.opened is not None
    provenance = state.opened["provenance"]
    by_set = {each["name"]: each["fingerprints"] for each in provenance.get("sets", ())}
    found: dict[Change, None] = {}
    for each in ready:
        then = by_set.get(each.prepared_set.name, provenance["fingerprints"])
        now = {
            "data": each.inputs.data_fingerprint,
            "experts": each.inputs.experts_id,
            "stem": each.inputs.stem.hash,
        }
        of = f" of {each.prepared_set.label}" if each.prepared_set.label else ""
        found |= {
            Change(what=f"{what}{of}", then=then[what], now=now[what]): None
            for what in now
            if then[what] != now[what]
        }
    return tuple(found)


def _study_changes(run: Path, state: State) -> tuple[Change, ...]:
    """One, if the run's `study.yaml` was edited; none of a file that is missing or damaged, which
    is written anew.

    Its budget may be that of any session: the last one may have been killed before it wrote.
    """
    assert state.opened is not None
    path, own = run / STUDY_FILE, state.study
    given = [state.opened["study"]["budget"], *state.budgets]
    try:
        text = path.read_text(encoding="utf-8")
        for budget in given:
            whole = study_text({**own, "budget": budget})
            if text == whole or (whole.startswith(text) and not text.endswith("\n")):
                return ()  # as it was written, or cut short
        found = read_yaml(path)
        theirs = _flat(found)
    except (OSError, ConfigError, ArithmeticError, RecursionError, TypeError, ValueError):
        return ()
    mine = _flat(own)
    if found.get("budget") in given:
        mine |= _flat({"budget": found["budget"]})
    then = {name: value for name, value in mine.items() if theirs.get(name) != value}
    now = {name: value for name, value in theirs.items() if mine.get(name) != value}
    if not then and not now:
        return ()
    return (Change(what=STUDY_FILE, then=then, now=now),)


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Gives a study's settings by their dotted paths.

    Raises:
        ValueError: more than any study has; a few lines of YAML can stand for a thousand million.
    """
    found: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{above}{name}"
        found |= _flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
        if len(found) > _MOST_SETTINGS:
            raise ValueError(f"more than {_MOST_SETTINGS} settings")
    return found
