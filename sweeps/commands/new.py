"""The module begins a new run: its folder, its first line in the journal, its sweep."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpc_router.commands.places import places_of
from mpc_router.storage.paths import cannot_be_made
from sweeps.commands.arguments import mode
from sweeps.commands.sweep import end_orphans, pack_share, planner_of, prepared_on, run_sweep
from sweeps.records import JOURNAL_FILE, PARTS_FOLDER, InputError

if TYPE_CHECKING:
    from sweeps.study.study import Study


def new_folder(args: argparse.Namespace, study: Study) -> Path:
    """Gives the folder of a new run, which does not exist yet and can be made.

    Raises:
        InputError: the folder exists, or cannot be made.
    """
    from sweeps.study.study import check_name

    now = datetime.datetime.now(datetime.UTC)
    name = args.name if args.name is not None else f"{study.study}-{now:%Y%m%d-%H%M%S}"
    run: Path = args.out / check_name("--name", name)
    if (why := cannot_be_made("--out", args.out)) is not None:
        raise InputError(why)
    if os.path.lexists(run):
        raise InputError(f"{run} exists; give another --name, or go on with it: --resume {run}")
    return run


def new_run(args: argparse.Namespace, words: Sequence[str], study: Study, run: Path) -> int:
    """Begins a run: prepares its sets, opens its journal, trains; gives the exit code."""
    from mpc_router.storage.files import make_run
    from sweeps.driver.queue import first_plan
    from sweeps.driver.ray_start import RayStart
    from sweeps.journal.journal import Journal
    from sweeps.plan.preparation import prepare_sets
    from sweeps.provenance.facts import provenance
    from sweeps.provenance.places import record_places
    from sweeps.terminal.live import make_display
    from sweeps.worker.shared_parts import write_shared_parts

    display = make_display(quiet=args.quiet)
    end_orphans(display)
    places = places_of(args)
    with contextlib.ExitStack() as stack:
        share = pack_share(args, study)  # a cluster that refuses does so before hours of training
        ray = stack.enter_context(contextlib.closing(RayStart(share)))
        places = prepared_on(share, places, display)
        ready = prepare_sets(study, places, display, hold=stack, checked=ray.begin)
        planner = planner_of(study, ready, share)
        first_plan(planner)  # an impossible plan is refused before the folder exists
        tree, facts = study.to_tree(), study.facts()
        try:
            make_run(run, mode=mode(args))
        except FileExistsError as error:
            raise InputError(f"{run} exists; give another --name") from error
        try:
            journal = stack.enter_context(Journal(run / JOURNAL_FILE))
            shared = write_shared_parts([prepared.inputs for prepared in ready], run / PARTS_FOLDER)
            journal.append(
                "opened",
                run=run.name,
                study=tree,
                **facts,
                provenance=provenance(run.name, tree, facts, ready, arguments=words),
                parts=shared,
                places=record_places(args, cache=places.cache),
            )
        except BaseException:
            shutil.rmtree(run, ignore_errors=True)  # the run has not begun, and its name stays free
            raise
        return run_sweep(args, run, journal, display, planner, ready, ray)
