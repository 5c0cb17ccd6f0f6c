"""`mpc-router-train --config FILE [key=value ...]`: one router trained, from YAML to a checkpoint.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 4 training became NaN; 130
stopped by Ctrl-C (joint training goes on with `--resume`).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.commands._exits import DONE, FAILED, STOPPED, Halted, InputError, ended
from mpc_router.commands.places import add_place_flags, places_of
from mpc_router.messages import quoted
from mpc_router.terminal.completion import completed_by
from mpc_router.terminal.flags import Parser, number, place
from mpc_router.terminal.streams import command
from mpc_router.threads import sleep_while_waiting

if TYPE_CHECKING:
    from mpc_router.commands._folders import Folders
    from mpc_router.commands._progress import Lines
    from mpc_router.commands._training_log import Record
    from mpc_router.config.yaml_files import Completion, Settled
    from mpc_router.prepare.inputs import Places
    from mpc_router.trainer import Events, Inputs

_EXAMPLES: Final = """\
  mpc-router-train --config configs/task_mrpc.yaml --sample
  mpc-router-train --config configs/task_mrpc.yaml --alpha 0.01 --beta 0.03
  mpc-router-train --config configs/task_sst2.yaml --data DIR pool=minilm epochs=2
  mpc-router-train --config configs/task_rte.yaml experts=frozen --seed 1 --name rte_frozen
"""


_LONGEST_NAME: Final = 100
"""Bytes; the names of folders begin with it."""


def parser() -> argparse.ArgumentParser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-train",
        "Train one router, its stem and (unless experts=frozen) its experts; keep the best epoch.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    words = add("words", nargs="*", metavar="key=value", help="a setting, by its name or path")
    completed_by(words, _complete_settings)
    add("--config", type=place, required=True, metavar="FILE", help="a YAML file")
    add("--alpha", type=number(float), metavar="A", help="weight of the balance of load")
    add("--beta", type=number(float), metavar="B", help="weight of cost")
    add(
        "--seed",
        type=number(int),
        metavar="S",
        help="of everything random (default: the file's, or 0)",
    )
    add("--out", type=place, default=Path("outputs"), metavar="DIR", help="default: outputs")
    add("--name", metavar="NAME", help="of what is left there (default: the task's)")
    add("--resume", action="store_true", help="go on with joint training that was stopped")
    add("--overwrite", action="store_true", help="replace what another configuration left there")
    add_place_flags(command_line)
    add("--quiet", action="store_true", help="the result, no more")
    return command_line


def _complete_settings(prefix: str, **facts: Any) -> Iterable[str]:
    """Completes settings, for argcomplete."""
    from mpc_router.config.setting_words import complete_settings

    return complete_settings(prefix, **facts)


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    sleep_while_waiting()
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_intermixed_args(words)
    return ended(lambda: _command(args, words))


def _command(args: argparse.Namespace, words: Sequence[str]) -> int:
    from mpc_router.commands import _folders
    from mpc_router.commands._progress import progress
    from mpc_router.sample.examples import NOTICE
    from mpc_router.trainer import check

    settled = _settled(args)
    config, seed = settled.config, _seed(args, settled)
    name = _name(args.name if args.name is not None else config.data.task)
    places = places_of(args)
    where = _said(args, places)
    identity = _folders.identity(config, seed, where)
    target = _folders.Folders(out=args.out, name=name)
    target.check(identity, overwrite=args.overwrite)
    resume = _resumable(args, target, identity)
    if args.resume and not resume and target.is_done(identity):
        print(f"{target.best} is done; leave out --resume to train it again", file=sys.stderr)
        return DONE
    check(config, places)
    about = {"name": name, "arguments": list(words), "places": where, "identity": identity}
    with progress(args.quiet) as shown:
        for note in settled.notes:
            shown.say(f"note: {note}")
        if places.source.kind == "sample":
            shown.say(f"data: {NOTICE}")
        if args.resume and not resume:
            shown.say(f"note: {target.epochs} holds no epoch to go on with; training starts anew")
        job = _Job(settled, seed, target, identity, resume=resume, shown=shown)
        told = job.run(places, about)
    for line in told:
        print(line)
    return DONE


class _Job:
    """Holds one training, from prepared inputs to what it leaves."""

    def __init__(
        self,
        settled: Settled,
        seed: int,
        target: Folders,
        identity: dict[str, Any],
        *,
        resume: bool,
        shown: Lines,
    ) -> None:
        self.config = settled.config
        self.seed = seed
        self.target = target
        self.identity = identity
        self.resume = resume
        self.shown = shown
        self.joint = self.config.training.joint

    def run(self, places: Places, about: dict[str, Any]) -> list[str]:
        """Prepares, trains and keeps; gives what is to be told of it, in lines.

        Raises:
            Halted: Ctrl-C, or a loss that is no number.
        """
        from mpc_router.commands._save import keep
        from mpc_router.commands._training_log import Record
        from mpc_router.trainer import prepare

        inputs = prepare(self.config, places, self.shown)
        for note in inputs.notes:
            self.shown.tell(f"note: {note}")
        if self.joint:
            self.target.begin(self.identity, resume=self.resume)
        record = Record(self.config.data.definition)
        try:
            self._train(inputs, record)
        except KeyboardInterrupt:
            raise Halted(self._stopped(record), STOPPED) from None
        if record.failure is not None:
            raise Halted(f"training failed: {record.failure.message}", FAILED)
        told = keep(record, self.config, self.seed, inputs, self.target, about)
        if self.joint:
            self.target.done()
        return told

    def _events(self, inputs: Inputs) -> Events:
        """Begins the training of the one lane."""
        from mpc_router.trainer import Lane, train

        return train(
            [Lane(config=self.config, seed=self.seed)],
            inputs,
            device=_device(self.config.training.device),
            progress=self.shown,
            keep_best=True,
            checkpoints=self.target.epochs / "checkpoints",
            resume=self.resume,
        )

    def _train(self, inputs: Inputs, record: Record) -> None:
        from mpc_router.commands._training_log import HEADER, epoch_line
        from mpc_router.results.records import EpochResult
        from mpc_router.results.tensorboard import TensorBoard

        self.shown.tell(HEADER)
        epochs = self.config.training.epochs
        board = TensorBoard(self.target.logs)
        with board, _threads(0 if self.joint else 1):
            for event in self._events(inputs):
                best = record.hear(event)
                board.hear(event)
                if isinstance(event, EpochResult) and not event.failures:
                    self.shown.tell(epoch_line(record.history[-1], epochs=epochs, best=best))

    def _stopped(self, record: Record) -> str:
        """Gives what the command prints after Ctrl-C."""
        done = record.history[-1]["epoch"] if record.history else 0
        if not self.joint:
            return f"stopped after epoch {done}; what is prepared is cached, begin again"
        return f"stopped after epoch {done}; the same command with --resume goes on"


def _settled(args: argparse.Namespace) -> Settled:
    from mpc_router.config.trial import parse_overrides
    from mpc_router.config.yaml_files import settle

    overrides = parse_overrides(args.words)
    for name in ("alpha", "beta"):
        value = getattr(args, name)
        if value is None:
            continue
        if any(setting.rpartition(".")[2] == name for setting in overrides):
            raise InputError(f"{name} is given twice, as --{name} and as {name}=; keep one")
        overrides[name] = value
    return settle(args.config, overrides, sample=args.sample, complete=_completion(args))


def _completion(args: argparse.Namespace) -> Completion:
    """Gives the step that fills in named costs, which looks at the models."""

    def complete(settings: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        if not isinstance(settings.get("expert_costs"), str):
            return settings, None
        from mpc_router.model.sources import Models
        from mpc_router.pricing.named_costs import with_costs

        return with_costs(settings, Models(args.models), base=args.config.parent)

    return complete


def _seed(args: argparse.Namespace, settled: Settled) -> int:
    if args.seed is None:
        return settled.seed or 0
    if not 0 <= args.seed < 2**31:
        raise InputError(f"--seed is {args.seed}, but must be an integer from 0 to 2^31 - 1")
    return int(args.seed)


def _name(name: str) -> str:
    letters = name.replace("-", "").replace("_", "").replace(".", "")
    if not letters.isalnum() or name[0] in ".-_" or len(name.encode()) > _LONGEST_NAME:
        raise InputError(
            f"--name is {quoted(name)}, but must be up to {_LONGEST_NAME} letters, digits, '.', "
            "'_' or '-', the first a letter or a digit"
        )
    return name


def _said(args: argparse.Namespace, places: Places) -> dict[str, Any]:
    """Gives the places as plain data; paths are absolute."""
    return {
        "sample": args.sample,
        "data": str(args.data.absolute()) if args.data else None,
        "models": str(args.models.absolute()) if args.models else None,
        "cache": str(places.cache),
    }


def _resumable(args: argparse.Namespace, target: Folders, identity: dict[str, Any]) -> bool:
    """Says whether `--resume` finds a training to go on with."""
    if not args.resume:
        return False
    began = target.began()
    if began is not None and began != identity:
        raise InputError(
            f"{target.epochs} is of another training; give its settings, or leave out --resume"
        )
    return began is not None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sets torch's threads in the block; 0 leaves them as they are.

    A router alone is too small to share: a second thread on a busy core makes it forty times slower
    and one gives the numbers of a sweep's packs.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
