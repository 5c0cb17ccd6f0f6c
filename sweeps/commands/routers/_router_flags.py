"""The module takes a router out of a run, for the commands of `mpc_router` that run one."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpc_router.commands.routers import Chosen
from mpc_router.plugins import trust
from mpc_router.run_names import whole_key
from mpc_router.terminal.flags import BAD_INPUT, Parser, add_choice_flags, number, place
from mpc_router.terminal.streams import Main, command, say_error, tell
from sweeps.records import JOURNAL_FILE, InputError, SweepError
from sweeps.run_folder import RunFolder

if TYPE_CHECKING:
    from analysis.choices.choice import Choice
    from analysis.runs.load import Run

_SURROUNDINGS = 3

_DEMANDS = ("at_most", "reach", "knee")


def door(
    module: str,
    parser_of_checkpoints: Callable[[], Parser],
    act: Callable[[argparse.Namespace, Chosen | None], int],
) -> tuple[Callable[[], Parser], Main]:
    """Makes the parser and the `main`, both of `module`, of a command that takes runs too."""

    def parser() -> Parser:
        """Makes the parser of the command line."""
        command_line = parser_of_checkpoints()
        _add_run_flags(command_line)
        return command_line

    @command("analysis")
    def main(arguments: Sequence[str] | None = None) -> int:
        """Runs the command; returns its exit code."""
        args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        trust(args.trust)
        from analysis.runs.untrusted import RunError

        try:
            chosen = _chosen(args)
        except (InputError, RunError) as error:
            return say_error(str(error), BAD_INPUT)
        except (SweepError, OSError) as error:
            return say_error(str(error), _SURROUNDINGS)
        return act(args, chosen)

    parser.__module__ = main.__module__ = module
    return parser, main


def _add_run_flags(command_line: argparse.ArgumentParser) -> None:
    """Adds the flags that name a run, and what is taken of it."""
    add = command_line.add_argument
    add("--run", type=place, metavar="RUN", help="take the router of a run's folder, with one of:")
    add("--point", metavar="POINT", help="a point: its best seed on selection, or --seed")
    add("--seed", type=number(int), metavar="SEED", help="with --point")
    add("--key", metavar="KEY", help="a trial by its key, or the start of it")
    add_choice_flags(command_line)


def _chosen(args: argparse.Namespace) -> Chosen | None:
    """Sets `--checkpoint`, and the places that are not given, to those of what is chosen of a run.

    Gives the bias that was chosen; None where none was.

    Raises:
        InputError, RunError: the flags do not go together, or the run has no such router.
        SweepError: the run's journal cannot be read.
    """
    _check(args)
    if args.run is None:
        return None
    from analysis.runs.load import load_run
    from analysis.runs.recosting import priced
    from analysis.runs.untrusted import guarded

    demand = {name: value for name in _DEMANDS if (value := _asked(args, name)) is not None}
    chosen = None
    with guarded(args.run):
        run = load_run(args.run)
        if args.key is not None:
            key = _key(args, run)
        elif args.point is not None:
            key = _choose(run, point=args.point, seed=args.seed).key
        else:
            run, vector = priced(run, args.vector)
            choice = _choose(run, **demand, vector=vector)
            tell(
                f"chosen: point {choice.point} ({choice.label}), seed {choice.seed}, bias "
                f"{choice.bias:.3g} in {choice.vector.name}, key {choice.key}"
            )
            key, chosen = choice.key, _with_worth(run, choice)
    args.checkpoint = RunFolder(args.run).checkpoint(key)
    _restore(args)
    return chosen


def _asked(args: argparse.Namespace, name: str) -> Any:
    """Gives the value of a flag; None where it was not given."""
    value = getattr(args, name)
    return None if value is False else value


def _check(args: argparse.Namespace) -> None:
    """Refuses flags that do not go together.

    Raises:
        InputError: it names them.
    """
    words = ("point", "key", *_DEMANDS)
    given = [f"--{name.replace('_', '-')}" for name in words if _asked(args, name) is not None]
    if args.run is None:
        if given or args.seed is not None:
            raise InputError(f"{(*given, '--seed')[0]} needs --run RUN; give both")
        return
    if args.checkpoint is not None:
        raise InputError("--run and --checkpoint name two routers; give one of them")
    if len(given) != 1:
        raise InputError(
            f"--run is given with {' and '.join(given) or 'nothing to choose by'}; give one of "
            "--at-most COST, --reach SCORE, --knee, --point POINT and --key KEY"
        )
    if args.seed is not None and args.point is None:
        raise InputError("--seed belongs to --point; give both, or leave it out")
    if args.bias is not None and args.point is None and args.key is None:
        raise InputError(f"{given[0]} chooses the bias too; leave out --bias, or name the point")


def _choose(run: Run, **demand: Any) -> Choice:
    from analysis.choices.choice import choose

    return choose(run, **demand)


def _key(args: argparse.Namespace, run: Run) -> str:
    """Gives the whole key of `--key`.

    Raises:
        RunError: no key of the run begins so, or several do.
    """
    from analysis.runs.untrusted import RunError

    try:
        return whole_key(args.key, run.trials["key"].astype(str), args.run)
    except ValueError as error:
        raise RunError(str(error)) from error


def _with_worth(run: Run, choice: Choice) -> Chosen:
    """Gives the bias of a choice, with what it reaches as a summary has it."""
    import numpy as np

    from mpc_router.costs import Bias
    from mpc_router.run_names import SELECTION

    vectors = run.sets[run.set_of_point[choice.point]].vectors
    sides = {
        SELECTION: (choice.selection_score, choice.selection_share),
        choice.split: (choice.score, choice.share),
    }
    splits: dict[str, dict[str, Any]] = {
        split: {
            "score": score,
            "cost": {
                name: float(vector.mean(np.asarray(share))) for name, vector in vectors.items()
            },
            "share": list(share),
        }
        for split, (score, share) in sides.items()
    }
    if math.isfinite(choice.score_low):
        splits[choice.split]["score_interval"] = [choice.score_low, choice.score_high]
        splits[choice.split]["cost_interval"] = [choice.cost_low, choice.cost_high]
    return Chosen(bias=Bias(value=choice.bias, vector=choice.vector), splits=splits)


def _restore(args: argparse.Namespace) -> None:
    """Takes data, models and cache from where the run began, unless flags name others.

    Raises:
        InputError: its cache is not safe to use.
        SweepError: its journal cannot be read.
    """
    if not (args.run / JOURNAL_FILE).is_file():
        return  # a run's tables alone
    from sweeps.journal.journal import check_opened, state_of
    from sweeps.provenance.places import restore_places

    state = state_of(args.run / JOURNAL_FILE)
    if state.opened is None:
        return
    check_opened(args.run / JOURNAL_FILE, state)
    if note := restore_places(args, state):
        tell(note)
