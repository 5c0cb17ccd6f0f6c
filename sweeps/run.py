"""The command `mpc-router-sweep STUDY [key=value ...]` goes from a study to a Pareto front.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 4 done, but trials failed;
5 a budget was spent before everything was trained, whether trials failed or not; --resume goes on;
75 the session's time, its Slurm allocation or its nodes have gone with work left; --resume goes on;
130, 143 and 129 stopped by SIGINT, SIGTERM and SIGHUP.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpc_router.messages import quoted, shown
from mpc_router.storage.paths import cannot_be_made
from mpc_router.terminal.flags import Parser
from mpc_router.terminal.streams import command, require, say_error
from mpc_router.threads import sleep_while_waiting
from sweeps.records import InputError, NodesGone, SweepError

_PACKAGES: Final = ("ray", "psutil", "optuna", "pandas", "moocore", "altair", "jinja2")
"""They are looked for at the beginning, although a run needs some of them only at its end."""

if TYPE_CHECKING:
    from sweeps.study.study import Study


def parser() -> Parser:
    """Makes the parser of the command line."""
    # Imported here, for it imports `cluster`, and `command` has just found which one is ours
    from sweeps.commands import arguments

    return arguments.parser()


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    from sweeps.terminal.signals import SESSION_OVER, Terminated, stop_code, terminable

    sleep_while_waiting()
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_intermixed_args(words)
    try:
        with terminable():
            return _command(args, words)
    except InputError as error:
        return say_error(str(error), 2)
    except NodesGone as error:
        return say_error(str(error), SESSION_OVER)
    except SweepError as error:
        return say_error(str(error), 3)
    except BrokenPipeError:
        raise  # a closed reader is no error
    except OSError as error:
        return say_error(f"{error}; what is cached or journaled is safe", 3)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Terminated) else signal.SIGINT
        notes = getattr(error, "__notes__", [])  # what an expert's training has kept
        text = "; ".join(["stopped", *notes, "what is cached or journaled is safe"])
        return say_error(text, stop_code(number))


def _command(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Runs what the flags ask for; gives the exit code.

    Raises:
        InputError: the input is wrong.
        SweepError: the machine failed later; what was done is safe.
    """
    from mpc_router.config.trial import ConfigError
    from sweeps.commands.arguments import check_flags

    check_flags(args)
    try:
        if args.list:
            return _list()
        if args.settings or args.schema or args.completion:
            return _describe(args)
        if not (args.debug or args.dry_run):
            require(*_PACKAGES)
        if args.resume is not None:
            from sweeps.commands.resume import resume_run

            return resume_run(args)
        replays = any(value is not None for value in (args.key, args.point, args.seed))
        if args.run is not None and args.track and not replays:
            from sweeps.commands.track import track_run

            return track_run(args)
        if replays or args.run is not None:
            from sweeps.commands.debug import replay_trial

            return replay_trial(args)
        if not (args.debug or args.dry_run):
            return begin(args, words)[1]
        study = _checked_study(args)
    except ConfigError as error:
        raise InputError(str(error)) from error
    if args.debug:
        from sweeps.commands.debug import first_trial

        return first_trial(args, study)
    from sweeps.commands.dry_run import show_plan

    return show_plan(args, study)


def begin(args: argparse.Namespace, words: Sequence[str]) -> tuple[Path, int]:
    """Begins a new run and trains it; gives its folder and the exit code of the command.

    Raises:
        InputError, ConfigError: the input is wrong; nothing was written but caches.
        SweepError: the machine failed later; what was done is safe.
    """
    from sweeps.commands.new import new_folder, new_run

    study = _checked_study(args)
    run = new_folder(args, study)
    return run, new_run(args, words, study, run)


def _checked_study(args: argparse.Namespace) -> Study:
    """Reads the study, settles where it runs, and checks GPUs and the cache's folder.

    Raises:
        InputError, ConfigError: the study, the address, the GPUs or the folder are wrong.
    """
    from sweeps.commands.surroundings import settle
    from sweeps.commands.sweep import check_gpus

    study = study_of(args)
    if not args.debug:
        settle(args)
    check_gpus(args, study)
    if args.cache is not None and (why := cannot_be_made("--cache", args.cache)) is not None:
        raise InputError(why)
    return study


def _list() -> int:
    """Prints the shipped studies, each with its size and method on a line of 80 columns."""
    from sweeps.study.read import load
    from sweeps.study.shipped import shipped_studies

    for name in shipped_studies():
        study = load(name)
        points = study.search.points if study.proposes else len(study.points())
        facts = [f"{points} points x {len(study.first_seeds)} seeds"]
        if study.proposes:
            facts.append(f"proposed by {study.search.method}")
        if study.stopping.method != "none":
            facts.append(f"stopped early by {study.stopping.method}")
        print(f"{name}: {', '.join(facts)}")
    return 0


def _describe(args: argparse.Namespace) -> int:
    """Prints settings, the schema of studies, or a shell's completion; gives exit code 0."""
    if args.completion:
        from mpc_router.terminal.completion import registration

        print(registration(args.completion))
        return 0
    from mpc_router.terminal.console import LastingConsole
    from sweeps.commands import settings_list

    if args.schema:
        return settings_list.print_schema()
    return settings_list.show_settings(LastingConsole(highlight=False))


def study_of(args: argparse.Namespace) -> Study:
    """Reads the study that the words name, with their settings.

    Raises:
        InputError: the words name no study, or several.
        ConfigError: the study or a setting is wrong.
    """
    from mpc_router.commands.places import places_of
    from sweeps.study.read import load

    names = [word for word in args.words if "=" not in word]
    if len(names) != 1:
        named = quoted(names) if names else _none(args)
        raise InputError(
            f"name one study, not {named}; --list shows them, and settings are key=value, without "
            "blanks"
        )
    overrides = [word for word in args.words if "=" in word]
    study = load(names[0], overrides, sample=args.sample, places=lambda: places_of(args))
    if study.dataset is not None and (args.sample or args.data is not None):
        flag = "--sample" if args.sample else f"--data {shown(args.data)}"
        raise InputError(
            f"{flag} and the study's dataset ({quoted(study.dataset['path'])}) are two sources of "
            "examples; leave one of them out"
        )
    return study


def _none(args: argparse.Namespace) -> str:
    """Says that the words name no study, and which flag has a study in place of its own value."""
    from sweeps.study.shipped import shipped_studies

    studies = shipped_studies()
    for name, value in vars(args).items():
        for text in map(str, value if isinstance(value, list) else [value]):
            if name != "words" and (text in studies or text.endswith((".yaml", ".yml"))):
                flag = f"--{name.replace('_', '-')}"
                return f"none: {flag} has taken {quoted(text)}, so give {flag} its own value first"
    return "none"


if __name__ == "__main__":
    sys.exit(main())
