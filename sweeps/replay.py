"""`--debug`: a study's first trial, or a trial of a run again, in this process and without Ray."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mpc_router.messages import quoted
from sweeps import origins
from sweeps.records import JOURNAL_FILE, InputError

if TYPE_CHECKING:
    from sweeps.study import Study


def first_trial(args: argparse.Namespace, study: Study) -> int:
    """`--debug`: the study's first point with its first seed; 0, or 4 where it failed."""
    from sweeps.debug import debug
    from sweeps.display import make_display
    from sweeps.execution import share_of
    from sweeps.plan import trial_of
    from sweeps.preparation import prepare_sets

    display = make_display(quiet=args.quiet)
    point, config = study.first
    (ready,) = prepare_sets(study, origins.places(args), display, only=study.set_of(config).name)
    trial = trial_of(config, point, study.seeds[0], each=ready.of, prints=ready.prints)
    share = share_of(study, None)
    sound = debug(trial, ready, display, threads=share.pack.threads, gpus=share.gpus)
    return 0 if sound else 4


def replay_trial(args: argparse.Namespace) -> int:
    """`--debug --key KEY --run RUN`: 0, or 4 where it failed or differs from the run.

    Raises:
        InputError: flags that do not go together, or no such trial.
    """
    from sweeps.changes import refuse_other_data
    from sweeps.debug import Before, debug
    from sweeps.display import make_display
    from sweeps.execution import share_of
    from sweeps.journal import check_opened, state_of
    from sweeps.preparation import prepare_sets
    from sweeps.study import from_tree

    if not (args.debug and args.key and args.run):
        raise InputError("--key and --run go together, and with --debug")
    if args.words:
        raise InputError(f"a replay takes the run's own study; leave out {' '.join(args.words)}")
    if not (args.run / JOURNAL_FILE).is_file():
        raise InputError(f"{args.run} holds no {JOURNAL_FILE}; name a run's folder")
    state = state_of(args.run / JOURNAL_FILE)
    if state.opened is None or args.key not in state.trials:
        raise InputError(
            f"{args.run} has no trial {quoted(args.key)}; its trials.parquet names them"
        )
    check_opened(args.run / JOURNAL_FILE, state)
    study = from_tree(state.opened["study"])
    display = make_display(quiet=args.quiet)
    if taken := origins.restore(args, state):
        display.say(taken)
    trial, before = state.trials[args.key], Before.of(state, args.key, args.run)
    (ready,) = prepare_sets(study, origins.places(args), display, only=trial.prepared)
    refuse_other_data(state, (ready,))
    share = share_of(study, None)
    sound = debug(trial, ready, display, threads=share.pack.threads, gpus=share.gpus, before=before)
    return 0 if sound else 4
