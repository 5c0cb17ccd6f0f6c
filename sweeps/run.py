"""`python -m sweeps.run STUDY [key=value ...]`: from a study to a Pareto front.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 4 done, but trials failed;
5 a budget was spent before everything was trained, whether trials failed or not; --resume goes on;
130, 143 and 129 stopped by SIGINT, SIGTERM and SIGHUP.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpc_router.messages import quoted
from mpc_router.paths import cannot_be_made
from mpc_router.streams import command, require, say_error
from mpc_router.threads import sleep_while_waiting
from sweeps.arguments import check_flags, mode, parser
from sweeps.records import JOURNAL_FILE, PARTS_FOLDER, InputError, SweepError
from sweeps.signals import EXIT_CODES, Terminated, tell, terminable

PACKAGES: Final = ("ray", "optuna", "pandas", "moocore", "altair", "jinja2")
"""What a run needs at its end, so it is looked for at its beginning."""

if TYPE_CHECKING:
    from sweeps.display import Display
    from sweeps.execution import Outcome, Share
    from sweeps.journal import Journal
    from sweeps.plan import Planner
    from sweeps.preparation import Ready
    from sweeps.run_folder import RunFolder
    from sweeps.state import State
    from sweeps.study import Study


_FAILED, _SPENT = 4, 5
"""Exit codes of a run that is done, and of one whose budget was spent before that."""


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    sleep_while_waiting()
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_intermixed_args(given)
    try:
        with terminable():
            return _command(args, given)
    except InputError as error:
        return say_error(str(error), 2)
    except SweepError as error:
        return say_error(str(error), 3)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except OSError as error:
        return say_error(f"{error}; what is cached or journaled is safe", 3)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Terminated) else signal.SIGINT
        return say_error("stopped; what is cached or journaled is safe", EXIT_CODES[number])


def _command(args: argparse.Namespace, given: Sequence[str]) -> int:
    from mpc_router.config import ConfigError

    check_flags(args)
    try:
        if args.list:
            return _list()
        if not (args.debug or args.dry_run):
            require(*PACKAGES)
        if args.resume is not None:
            return _resume(args)
        if args.key is not None or args.run is not None:
            from sweeps.replay import replay_trial

            return replay_trial(args)
        study = study_of(args)
        _check_gpus(args, study)
        if args.cache is not None and (why := cannot_be_made("--cache", args.cache)) is not None:
            raise InputError(why)
        run = None if args.debug or args.dry_run else _new_folder(args, study)
    except ConfigError as error:
        raise InputError(str(error)) from error
    if not (args.debug or args.dry_run):
        assert run is not None
        return _new(args, given, study, run)
    if args.debug:
        from sweeps.replay import first_trial

        return first_trial(args, study)
    return _dry_run(args, study)


def _list() -> int:
    from mpc_router.config import read_yaml
    from sweeps.study import from_tree, shipped

    for name, path in shipped().items():
        study = from_tree(read_yaml(path))
        points = study.search.points if study.proposes else len(study.points())
        how = [f"{study.task.name}, {points} points x {len(study.first_seeds)} seeds"]
        if study.proposes:
            how.append(f"proposed by {study.search.method}")
        if study.stopping.method != "none":
            epochs = study.base.training.epochs
            how.append(f"stopped early by {study.stopping.method} over {epochs} epochs")
        print(f"{name}: {', '.join(how)}")
    return 0


def study_of(args: argparse.Namespace) -> Study:
    """The study that the words name, with their settings.

    Raises:
        InputError: not one study is named.
        ConfigError: it cannot be.
    """
    from sweeps.study import load

    names = [word for word in args.words if "=" not in word]
    if len(names) != 1:
        raise InputError(
            f"name one study, not {quoted(names) if names else 'none'}; --list shows them, and "
            "settings are key=value, without blanks"
        )
    overrides = [word for word in args.words if "=" in word]
    return load(names[0], overrides, sample=args.sample)


def _new_folder(args: argparse.Namespace, study: Study) -> Path:
    from sweeps.study import check_name

    now = datetime.datetime.now(datetime.UTC)
    name = args.name if args.name is not None else f"{study.study}-{now:%Y%m%d-%H%M%S}"
    run: Path = args.out / check_name("--name", name)
    if (why := cannot_be_made("--out", args.out)) is not None:
        raise InputError(why)
    if os.path.lexists(run):
        raise InputError(f"{run} exists; give another --name, or go on with it: --resume {run}")
    return run


def _check_gpus(args: argparse.Namespace, study: Study) -> None:
    """Refuses before anything is prepared what this machine's GPUs cannot do; a cluster's are asked
    for later."""
    from sweeps.execution import check_without_gpus

    if args.address is None:
        _share(args, study)
    elif study.pack.gpus == 0:
        check_without_gpus(study, "pack.gpus is 0")


def _end_orphans(display: Display) -> None:
    """What a killed run had to leave on this machine goes, and that is said."""
    from sweeps.sessions import remove_orphans

    if (found := remove_orphans()).folders:
        display.say(str(found), style="yellow")


def _share(args: argparse.Namespace, study: Study) -> Share:
    """What a pack gets."""
    from sweeps.execution import share_of

    return share_of(study, args.address)


def _planner(study: Study, ready: Sequence[Ready], share: Share) -> Planner:
    from mpc_router.stack import stack_key
    from sweeps.plan import Planner
    from sweeps.preparation import prints_of

    return Planner(study=study, prints=prints_of(ready), workers=share.workers, stack_key=stack_key)


def _new(args: argparse.Namespace, given: Sequence[str], study: Study, run: Path) -> int:
    from sweeps import origins, worker
    from sweeps.batches import first_plan
    from sweeps.display import make_display
    from sweeps.durable import make_run
    from sweeps.journal import Journal
    from sweeps.preparation import prepare_sets
    from sweeps.provenance import provenance

    display = make_display(quiet=args.quiet)
    _end_orphans(display)
    places = origins.places(args)
    ready = prepare_sets(study, places, display)
    share = _share(args, study)
    planner = _planner(study, ready, share)
    first_plan(planner)  # what cannot be is refused before the folder exists
    tree, facts = study.to_tree(), study.facts()
    try:
        make_run(run, mode=mode(args))
    except FileExistsError as error:
        raise InputError(f"{run} exists; give another --name") from error
    with contextlib.ExitStack() as stack:
        try:
            journal = stack.enter_context(Journal(run / JOURNAL_FILE))
            shared = worker.write_shared_parts([each.inputs for each in ready], run / PARTS_FOLDER)
            journal.append(
                "opened",
                run=run.name,
                study=tree,
                **facts,
                provenance=provenance(run.name, tree, facts, ready, arguments=given),
                parts=shared,
                places=origins.said(args, cache=places.cache),
            )
        except BaseException:
            shutil.rmtree(run, ignore_errors=True)  # it is not begun, and its name is free
            raise
        return _sweep(args, run, journal, display, planner, ready, share)


def _resumable(args: argparse.Namespace) -> RunFolder:
    """The folder of --resume, held to what a run's folder is; nothing is changed in it."""
    from sweeps.journal import check_opened, sound_part
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
        _resumed_study(args, sound)  # what is wrong with the words is said before anything is cut
    return folder


def _resume(args: argparse.Namespace) -> int:
    from sweeps import changes, mending, origins, tables, worker
    from sweeps.display import make_display
    from sweeps.journal import Journal, check_opened
    from sweeps.preparation import prepare_sets

    folder = _resumable(args)
    display = make_display(quiet=args.quiet)
    with Journal(folder.journal, repair=args.repair) as journal:
        display.opened(journal)
        if journal.state.opened is None:
            raise InputError(f"{args.resume} was never begun; delete it and start anew")
        check_opened(folder.journal, journal.state)
        study = _resumed_study(args, journal.state)
        tables.check(args.resume, journal.state)
        _end_orphans(display)
        mending.clear(args.resume)
        folder.stop.unlink(missing_ok=True)  # it was meant for the last session
        _check_gpus(args, study)
        if not args.repair:
            mending.refuse_damage(args.resume, journal.state)
        trains = mending.trains(
            args.resume,
            journal.state,
            budget=study.budget.plain(),
            repair=args.repair,
            retry=args.retry_failed,
        )
        found = changes.refuse_or_force(args.resume, journal.state, trains=trains, force=args.force)
        if taken := origins.restore(args, journal.state):
            display.say(taken)
        ready = prepare_sets(study, origins.places(args), display)
        found += changes.refuse_other_data(
            journal.state, ready, rebuilds=not (trains or args.repair), force=args.force
        )
        for each in found:
            display.say(f"--force: {changes.said(each)}", style="yellow")
        if args.repair and (damaged := mending.damaged_parts(args.resume, journal.state)):
            shared = worker.write_shared_parts(
                [each.inputs for each in ready], args.resume / PARTS_FOLDER
            )
            display.say(mending.reopen(journal, damaged, shared), style="yellow")
        if args.retry_failed:
            display.say(mending.retry_failed(journal))
        share = _share(args, study)
        planner = _planner(study, ready, share)
        journal.append("resumed", budget=study.budget.plain(), forced=found)
        return _sweep(args, args.resume, journal, display, planner, ready, share)


def _resumed_study(args: argparse.Namespace, state: State) -> Study:
    """The run's own study, with the budget of its last session or the one that is given now."""
    from mpc_router.config import ConfigError, parse_overrides
    from sweeps.overrides import with_overrides
    from sweeps.study import from_tree

    try:
        kept = from_tree(state.study)
    except Exception as error:
        # Whatever is raised: the journal may come from elsewhere, and its study can be of any shape
        raise InputError(
            f"{args.resume / JOURNAL_FILE}:1: the run's own study cannot be ({error}); start anew"
        ) from error
    if not args.words:
        return kept
    try:
        return from_tree(with_overrides(state.study, parse_overrides(args.words)))
    except ConfigError as error:
        raise InputError(str(error)) from error


def _sweep(
    args: argparse.Namespace,
    run: Path,
    journal: Journal,
    display: Display,
    planner: Planner,
    ready: Sequence[Ready],
    share: Share,
) -> int:
    from sweeps import execution, tables

    study = planner.study
    points = study.search.points if study.proposes else len(study.points())
    display.study(
        study.objectives,
        study.cost_vector,
        trials=points * len(study.first_seeds),
        constraints=study.constraints,
    )
    failure: SweepError | OSError | None = None
    outcome: Outcome | None = None
    try:
        common = execution.job(run, study, ready, share)
        refresh = tables.Refresh(journal)
        outcome = execution.train(journal, display, planner, common, share, refresh.maybe)
    except (SweepError, OSError) as error:
        failure = error
    try:
        tables.write(run, journal.state)
    except (SweepError, OSError) as error:  # of what broke off the run is said what came first
        failure = failure or error
    if failure is not None or outcome is None:
        journal.check_place()  # else the line to go on with would name a folder that is gone
        raise SweepError(f"{failure}; what was done is safe, go on with {_again(run)}")
    if outcome.signal is not None and outcome.left:
        tell(
            f"stopped by {signal.Signals(outcome.signal).name}: {outcome.unended} trials have not "
            f"ended; go on with {_again(run)}"
        )
        return EXIT_CODES[signal.Signals(outcome.signal)]
    _show(args, run)
    spent = outcome.used_up is not None and not outcome.lost and outcome.left
    if spent:
        tell(_spent(outcome, run))
    elif outcome.unended or outcome.unasked:
        reasons = "; ".join(f"{pack}: {reason}" for pack, reason in outcome.lost.items())
        asked = f", {outcome.unasked} points were not asked" if outcome.unasked else ""
        raise SweepError(
            f"{outcome.unended} trials have not ended{asked} ({reasons}); go on with {_again(run)}"
        )
    if outcome.failed:
        tell(f"{outcome.failed} trials FAILED; `reason` in trials.parquet says why")
    return _SPENT if spent else _FAILED if outcome.failed else 0


def _spent(outcome: Outcome, run: Path) -> str:
    """What a budget that is used up has left undone."""
    open_ends = []
    if outcome.unended:
        open_ends.append(f"{outcome.unended} trials were interrupted")
    if outcome.unasked:
        open_ends.append(f"{outcome.unasked} points were not tried")
    if outcome.unfinished:
        open_ends.append("points of the front were not followed up")
    assert outcome.used_up is not None
    name = outcome.used_up.split()[0]
    return (
        f"{outcome.used_up} is used up: {' and '.join(open_ends)}; go on with more: "
        f"{_again(run)} {name}=..."
    )


def _again(run: Path) -> str:
    return f"python -m sweeps.run --resume {run}"


def _show(args: argparse.Namespace, run: Path) -> None:
    """The front in the terminal, and the report."""
    from analysis.front import print_front
    from analysis.load import RunError, load_run
    from analysis.report import write_report
    from analysis.untrusted import guarded
    from mpc_router.console import LastingConsole
    from mpc_router.messages import one_line

    try:
        with guarded(run):
            loaded = load_run(run)
            print_front(loaded, LastingConsole())
            tell(f"run: {run}", sys.stdout)
            if not args.no_report:
                tell(f"report: {write_report(loaded)}", sys.stdout)
    except RunError as error:
        tell(f"no front: {one_line(str(error))}")


def _dry_run(args: argparse.Namespace, study: Study) -> int:
    from sweeps import origins
    from sweeps.batches import first_plan
    from sweeps.display import make_display
    from sweeps.forecast import forecast
    from sweeps.preparation import prepare_sets

    ready = prepare_sets(study, origins.places(args), make_display(quiet=args.quiet))
    share = _share(args, study)
    forecast(study, ready, first_plan(_planner(study, ready, share)), share)
    return 0


if __name__ == "__main__":
    sys.exit(main())
