"""The module goes on with a run: it refuses or forces changes, and repairs damage."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from mpc_router.commands.places import places_of
from sweeps.commands.surroundings import settle
from sweeps.commands.sweep import (
    check_gpus,
    end_orphans,
    pack_share,
    planner_of,
    prepared_on,
    run_rest,
    run_sweep,
)
from sweeps.driver.ray_start import RayStart
from sweeps.journal import made_from, repair, tables
from sweeps.journal.journal import Journal, check_opened, sound_part
from sweeps.plan.preparation import prepare_sets
from sweeps.provenance.facts import code_fingerprint
from sweeps.records import JOURNAL_FILE, PARTS_FOLDER, InputError
from sweeps.terminal.live import make_display

if TYPE_CHECKING:
    from sweeps.journal.forced import Change
    from sweeps.journal.state import State
    from sweeps.plan.preparation import Ready
    from sweeps.run_folder import RunFolder
    from sweeps.study.study import Study
    from sweeps.terminal.display import Display


def _resumable(args: argparse.Namespace) -> RunFolder:
    """Checks the folder of --resume and gives it; changes nothing in it.

    Raises:
        InputError: the folder holds no run, or the words do not fit it.
    """
    from sweeps.run_folder import RunFolder

    folder = RunFolder(args.resume)
    path = folder.journal
    if not path.is_file():
        raise InputError(f"{args.resume} holds no {JOURNAL_FILE}; name a run's folder")
    folder.check()
    others = [word for word in args.words if not word.startswith("budget")]
    if others:
        raise InputError(
            f"--resume takes the run's own study, of which only the budget may change; leave out "
            f"{' '.join(others)}"
        )
    if args.repair and (sound := sound_part(path)).opened is not None:
        check_opened(path, sound)
        _resumed_study(args, sound)  # wrong words are refused before the journal is cut
    return folder


def resume_run(args: argparse.Namespace) -> int:
    """Runs `--resume RUN`: goes on with a run, or repairs it; gives the exit code."""
    from sweeps.provenance import changes
    from sweeps.provenance.places import restore_places

    folder = _resumable(args)
    settle(args)
    display = make_display(quiet=args.quiet)
    with ExitStack() as hold, Journal(folder.journal, repair=args.repair) as journal:
        display.opened(journal)
        if journal.state.opened is None:
            raise InputError(f"{args.resume} was never begun; delete it and start anew")
        check_opened(folder.journal, journal.state)
        if (recorded := _complete(args, journal.state)) is not None:
            return _show_again(args, folder, journal, display, recorded)
        study = _resumed_study(args, journal.state)
        tables.check(args.resume, journal.state)
        end_orphans(display)
        repair.clear(args.resume, journal.state)
        folder.stop.unlink(missing_ok=True)  # it was meant for the last session
        if not args.repair:
            repair.refuse_damage(args.resume, journal.state)
        trains = repair.trains(
            args.resume,
            journal.state,
            budget=study.budget.plain(),
            repair=args.repair,
            retry=args.retry_failed,
        )
        forced = changes.refuse_or_force(
            args.resume, journal.state, trains=trains, force=args.force
        )
        parts = changes.changed_parts(journal.state, study.parts)
        if not (trains or args.repair):
            _say_changes(display, forced, parts)
            _reopen(args, journal, (), display)
            journal.append("resumed", budget=study.budget.plain(), forced=(*forced, *parts))
            return run_rest(args, args.resume, journal, display, study)
        check_gpus(args, study)
        if note := restore_places(args, journal.state):
            display.say(note)
        share = pack_share(args, study)
        ray = hold.enter_context(closing(RayStart(share)))
        places = prepared_on(share, places_of(args), display)
        ready = prepare_sets(study, places, display, hold=hold, checked=ray.begin)
        changes.refuse_other_data(journal.state, ready, force=args.force)
        _say_changes(display, forced, parts)
        _reopen(args, journal, ready, display)
        planner = planner_of(study, ready, share)
        journal.append("resumed", budget=study.budget.plain(), forced=(*forced, *parts))
        return run_sweep(args, args.resume, journal, display, planner, ready, ray)


def _complete(args: argparse.Namespace, state: State) -> Mapping[str, Any] | None:
    """Gives what the tables of a run that is done were made from; None where work may be left.

    Work is left where tables are not whole or not those of this journal and this program, and where
    flags, a budget or parts of one's own may change something.
    """
    changing = args.repair or args.retry_failed or args.words or args.trust
    if changing or state.study.get("parts"):
        return None
    return made_from.current(args.resume, code_fingerprint()) if state.done else None


def _show_again(
    args: argparse.Namespace,
    folder: RunFolder,
    journal: Journal,
    display: Display,
    recorded: Mapping[str, Any],
) -> int:
    """Shows a run again that is complete; gives the exit code.

    Ten thousand points are neither resolved nor written again for it.
    """
    from sweeps.provenance import changes

    state = journal.state
    end_orphans(display)
    repair.clear(args.resume, state)
    folder.stop.unlink(missing_ok=True)  # it was meant for the last session
    repair.refuse_damage(args.resume, state)
    forced = changes.refuse_or_force(args.resume, state, trains=False, force=args.force)
    _say_changes(display, forced, ())
    journal.append("resumed", budget=state.study["budget"], forced=forced)
    return run_rest(args, args.resume, journal, display, None, recorded)


def _reopen(
    args: argparse.Namespace, journal: Journal, ready: Sequence[Ready], display: Display
) -> None:
    """Reopens the trials that --repair and --retry-failed train again, and says which."""
    from sweeps.worker.shared_parts import write_shared_parts

    if args.repair and (damaged := repair.damaged_parts(args.resume, journal.state)):
        shared = write_shared_parts(
            [prepared.inputs for prepared in ready], args.resume / PARTS_FOLDER
        )
        display.say(repair.reopen(journal, damaged, shared), style="yellow")
    if args.retry_failed:
        display.say(repair.retry_failed(journal))


def _say_changes(display: Display, forced: Sequence[Change], parts: Sequence[Change]) -> None:
    """Says what is not as it was, and was taken because of a flag."""
    from sweeps.journal.forced import change_text

    for change in forced:
        display.say(f"--force: {change_text(change)}", style="yellow")
    for change in parts:
        display.say(f"--trust: {change_text(change)}", style="yellow")


def _resumed_study(args: argparse.Namespace, state: State) -> Study:
    """Gives the run's own study, with the budget of its last session or of the command.

    Raises:
        InputError: the journal's study is damaged, or the words do not fit it.
    """
    from mpc_router.config.trial import ConfigError, parse_overrides
    from mpc_router.plugins import part_error
    from sweeps.study.overrides import with_overrides
    from sweeps.study.parts import trust_run
    from sweeps.study.read import from_tree

    trust_run(args.resume, state.study, args.trust)
    try:
        study = from_tree(state.study)
    except Exception as error:
        # Whatever is raised: the journal may come from elsewhere, and its study can be of any shape
        if (fault := part_error(error)) is not None:
            raise InputError(str(fault)) from error
        raise InputError(
            f"{args.resume / JOURNAL_FILE}:1: the run's own study is damaged ({error}); start anew"
        ) from error
    if not args.words:
        return study
    try:
        return from_tree(with_overrides(state.study, parse_overrides(args.words)))
    except ConfigError as error:
        raise InputError(str(error)) from error
