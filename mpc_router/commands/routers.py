"""The router that eval, demo and export take: a checkpoint, a bias, and the costs it is of."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpc_router.commands._exits import InputError
from mpc_router.commands.places import places_of
from mpc_router.messages import quoted
from mpc_router.terminal.flags import number, place

if TYPE_CHECKING:
    from mpc_router.costs import Bias, CostVector
    from mpc_router.results.assembled import Assembled


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Holds what was chosen beside a checkpoint by a program that calls a command."""

    bias: Bias
    splits: Mapping[str, Any]
    """What both reach together, by split, as `summary.json` has it."""


def add_router_flags(command_line: argparse.ArgumentParser, *vector: str) -> None:
    """Adds `--checkpoint`, `--bias` and `--vector`; `vector` are more names of the last."""
    add = command_line.add_argument
    add("--checkpoint", type=place, metavar="PATH", help="a checkpoint's folder, or a key's start")
    bias = "route = argmax(z - B c): above 0 saves, below 0 spends"
    add("--bias", type=number(float), metavar="B", help=bias)
    costs = "the costs c: a name, or file:PATH (default: constants)"
    add("--vector", *vector, dest="vector", metavar="VECTOR", help=costs)


def assembled_of(args: argparse.Namespace) -> Assembled:
    """Loads the model of `--checkpoint`, without the bias that the flags name.

    Raises:
        InputError: no checkpoint is given, or one of another task than `--task` names.
        CheckpointError: there is none, or it cannot be loaded.
    """
    if args.checkpoint is None:
        raise InputError("--checkpoint is missing; give the folder of a trained router")
    from mpc_router.results.assembly import assemble

    assembled = assemble(args.checkpoint, places_of(args))
    task = getattr(args, "task", None)
    if task not in (None, assembled.task.name):
        raise InputError(
            f"{args.checkpoint} is a router of {assembled.task.name}, not of {task}; give another "
            "checkpoint, or leave out --task"
        )
    return assembled


def bias_of(args: argparse.Namespace, assembled: Assembled, chosen: Chosen | None) -> Bias | None:
    """Gives the bias that was chosen, or that `--bias` and `--vector` name; None without any.

    Raises:
        InputError: there is no such vector.
    """
    from mpc_router.costs import Bias

    if chosen is not None:
        return chosen.bias if chosen.bias.value else None
    if not args.bias:
        return None
    return Bias(value=args.bias, vector=vector_of(args.vector, assembled))


def refuse_idle_vector(args: argparse.Namespace, chosen: Chosen | None) -> None:
    """Refuses `--vector` where it says nothing.

    Raises:
        InputError: it is given without a bias.
    """
    if chosen is None and args.vector is not None and args.bias is None:
        raise InputError("--vector names the costs of --bias; give both, or leave both out")


def vector_of(name: str | None, assembled: Assembled) -> CostVector:
    """Gives a cost vector by its name: one of the checkpoint's, or a measured one of a file.

    Without a name it is that of the bias that the router has, or the pool's constants.

    Raises:
        InputError: the checkpoint has no such vector.
        ConfigError: the file holds no costs of this pool.
    """
    from mpc_router.costs import CONSTANTS, COSTS_FILE

    if name is None:
        name = assembled.biases[0].vector.name if assembled.biases else CONSTANTS
    if name.startswith(COSTS_FILE):
        from mpc_router.pricing.measured_file import read_named

        return read_named(name).vector(assembled.config)
    if name not in assembled.vectors:
        raise InputError(
            f"the cost vector is {quoted(name)}; this checkpoint has "
            f"{', '.join(assembled.vectors)}, and file:PATH takes a measured one"
        )
    return assembled.vectors[name]
