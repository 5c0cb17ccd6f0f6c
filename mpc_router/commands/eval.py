"""`mpc-router-eval --checkpoint PATH`: what a trained router is worth on a split.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.commands._exits import DONE, InputError, ended
from mpc_router.commands.places import add_place_flags, places_of
from mpc_router.commands.routers import Chosen, add_router_flags, assembled_of, vector_of
from mpc_router.messages import quoted
from mpc_router.storage.paths import cannot_be_made
from mpc_router.terminal.completion import complete_tasks, completed_by
from mpc_router.terminal.flags import Parser, add_trust_flag, place
from mpc_router.terminal.streams import command

if TYPE_CHECKING:
    from mpc_router.commands._progress import Lines
    from mpc_router.config.trial import TrialConfig
    from mpc_router.costs import CostVector
    from mpc_router.data.tokens import Tokens
    from mpc_router.prepare.inputs import Places
    from mpc_router.results.assembled import Assembled

_EXAMPLES: Final = """\
  mpc-router-eval --checkpoint outputs/mrpc_best_model --data DIR
  mpc-router-eval --checkpoint runs/NAME/checkpoints/KEY --sample --split selection
  mpc-router-eval --checkpoint exported/mrpc --data DIR --cost-vector mpc_seconds --json
  mpc-router-eval --checkpoint outputs/mrpc_best_model --data DIR --measure-latency costs.json
"""


def parser() -> Parser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-eval",
        "Score, cost and shares of a trained router, beside its experts alone.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    add_router_flags(command_line, "--cost-vector")
    add("--split", metavar="NAME", help="default: the task's first quoted split")
    task = add("--task", metavar="NAME", help="refuse a checkpoint of another task")
    completed_by(task, complete_tasks)
    add("--measure-latency", type=place, metavar="FILE", help="time every expert, write a vector")
    add("--json", action="store_true", help="for programs")
    add_place_flags(command_line)
    add("--quiet", action="store_true", help="the result, no more")
    add_trust_flag(command_line)
    return command_line


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    from mpc_router.plugins import trust

    trust(args.trust)
    return evaluate(args)


def evaluate(args: argparse.Namespace, chosen: Chosen | None = None) -> int:
    """Does what the flags say, with the bias that was chosen if any; gives the exit code."""
    return ended(lambda: _command(args, chosen))


def _command(args: argparse.Namespace, chosen: Chosen | None) -> int:
    from mpc_router.commands._progress import progress
    from mpc_router.costs import Bias
    from mpc_router.results.bias import add

    places = places_of(args)
    target: Path | None = args.measure_latency
    if target is not None and os.path.lexists(target):
        raise InputError(f"{target} exists; give --measure-latency another file")
    if target is not None and (why := cannot_be_made("--measure-latency", target.parent)):
        raise InputError(why)
    assembled = assembled_of(args)
    with progress(args.quiet or args.json) as shown:
        if assembled.note:
            shown.say(f"note: {assembled.note}")
        places = _places(assembled, places, shown)
        split, tokens = _split(args.split, assembled, places)
        if chosen is None:
            vector = _vector(args.vector, assembled, places, tokens)
            bias = Bias(value=args.bias or 0.0, vector=vector)
        else:
            vector, bias = chosen.bias.vector, chosen.bias
        if bias.value:
            assembled = add(assembled, bias)
        told = measured(assembled, split, tokens, vector, shown)
        told["note"] = _seen_note(assembled.config, split)
        told["synthetic"] = places.source.kind == "sample"
        if target is not None:
            told["latency"] = _measure(assembled, tokens, target, shown)
    if args.json:
        print(json.dumps(told, indent=1))
        return DONE
    from mpc_router.commands._evaluation_lines import evaluation_lines

    for line in evaluation_lines(told, vector):
        print(line)
    if target is not None:
        print(f"\n{target}: seconds and memory on this machine; cost_vector=file:{target} takes it")
    return DONE


def _places(assembled: Assembled, places: Places, shown: Lines) -> Places:
    """Gives where data are: the sample, for a router of the sample and no flag that says else."""
    from mpc_router.data.sources import Source

    synthetic = (assembled.summary or {}).get("synthetic") is True
    if places.source.kind != "hub" or not synthetic:
        return places
    shown.say(
        "note: this router was trained on the embedded sample, so that the sample is read here "
        "too; --data DIR reads other examples"
    )
    return dataclasses.replace(places, source=Source(kind="sample", folder=None))


def _vector(asked: str | None, assembled: Assembled, places: Places, tokens: Tokens) -> CostVector:
    """Gives the vector of that name; a counted one that no checkpoint carries is counted now."""
    from mpc_router.costs import FLOPS, PARAMETERS

    if asked in (PARAMETERS, FLOPS) and asked not in assembled.vectors:
        from mpc_router.pricing.counts import check_counted, counted

        check_counted(assembled.config, places.models, asked)
        means = [float(encoding.lengths.mean()) for encoding in (tokens, *tokens.others)]
        lengths = [means[number] for number in (0, *assembled.model.experts.encodings)]
        assembled.vectors.update(counted(assembled.config, places.models, tokens=lengths).vectors)
    return vector_of(asked, assembled)


def _split(asked: str | None, assembled: Assembled, places: Places) -> tuple[str, Tokens]:
    from mpc_router.data.sources import cut, read, split_fingerprints

    files = read(assembled.config, places.source)
    prints = split_fingerprints(assembled.config, files)
    name = asked or next(split for split in assembled.task.quoted if split in prints)
    if name not in prints:
        raise InputError(
            f"--split is {quoted(name)}, but {assembled.task.name} has "
            f"{', '.join(prints)}; take one of them"
        )
    tokens = assembled.tokenise(
        cut(assembled.config, files)[name], fingerprint=prints[name], cache=places.cache
    )
    return name, tokens


def _seen_note(config: TrialConfig, split: str) -> str | None:
    """Says which of the router's parts have seen a split's rows, if they are those of its training.

    None where no part has.
    """
    from mpc_router.config.router_data import HELD_OUT, UNUSED
    from mpc_router.run_names import TRAIN

    if split != TRAIN:
        return None
    if config.model.expert_fine_tuned:
        seen = (
            "the experts come fine-tuned and may have seen these rows, and the router learned from "
            "them, so the scores here are too high"
        )
    elif config.data.router_data in (HELD_OUT, UNUSED):
        seen = (
            "the experts have not seen these rows, but the router learned from them and looks "
            "better here than it is"
        )
    else:
        seen = (
            "the experts were trained on these rows, and the router learned from them, so the "
            "scores here are too high"
        )
    return f"if these are the data of its training, {seen}"


def measured(
    assembled: Assembled, split: str, tokens: Tokens, vector: CostVector, shown: Lines
) -> dict[str, Any]:
    """Gives what the router, and its experts alone, do with a split: plain JSON."""
    import numpy as np

    from mpc_router import tasks
    from mpc_router.joint.start import examine
    from mpc_router.results.evaluate import expert_confidence, routed_predictions

    task = assembled.task
    shown.start(f"{split}: {len(tokens)} examples", 1)
    seen = examine(assembled.model, tokens, task.outputs)
    shown.finish()
    labels = np.asarray(tokens.labels)
    pool = assembled.model
    routes = pool.decisions.routes(seen.logits)
    outputs = seen.outputs
    if pool.paths is not None:
        outputs = pool.paths.answers(outputs, regression=task.regression)
    answers = routed_predictions(routes[None], outputs, regression=task.regression)
    count = seen.outputs.shape[1]
    alone = np.stack(
        [
            routed_predictions(
                np.full_like(routes, k)[None], seen.outputs, regression=task.regression
            )[0]
            for k in range(count)
        ]
    )
    paths = pool.decisions.paths
    taken = np.array([(routes == path).mean() for path in range(len(paths))])
    runs = np.array([[k in path for k in range(count)] for path in paths])[routes]  # (N, K)
    share = runs.mean(axis=0)
    sure = expert_confidence(task, outputs, labels)
    routed_sure = None if sure is None else sure.routed(routes[None])
    values = tasks.evaluate(task, answers, labels, confidence=routed_sure)
    scores = {name: float(value[0]) for name, value in values.items()}
    singles = tasks.score_of(task, alone, labels)
    vectors = {
        name: prices.on(paths)
        for name, prices in (assembled.vectors | {vector.name: vector}).items()
    }
    model = assembled.config.model
    return {
        "checkpoint": assembled.kind,
        "task": task.name,
        "split": split,
        "examples": len(tokens),
        "score": scores.pop("score"),
        "metrics": scores,
        "cost_vector": vector.name,
        "biases": [
            {"bias": bias.value, "cost_vector": bias.vector.name} for bias in assembled.biases
        ],
        "cost": {name: float(prices.mean(taken)) for name, prices in vectors.items()},
        "speed_up": {name: float(prices.speed_up(taken)) for name, prices in vectors.items()},
        "majority": _majority(assembled, labels),
        "experts": [
            {
                "expert": k,
                "name": model.expert_model_names[k],
                "layers": model.expert_layers[k],
                "examples": int(runs[:, k].sum()),
                "share": float(share[k]),
                "cost": vector.experts[k],
                "score": float(singles[k]),
                "score_routed": _on(assembled, alone[k], labels, runs[:, k]),
            }
            for k in range(count)
        ],
        "paths": [
            {"experts": list(path), "share": float(taken[number])}
            for number, path in enumerate(paths)
            if pool.paths is not None
        ],
    }


def _on(assembled: Assembled, answers: Any, labels: Any, routed: Any) -> float | None:
    """Scores an expert on the examples routed to it; none where the metric has no meaning."""
    from mpc_router import tasks

    if routed.sum() < 2:
        return None
    return float(tasks.score_of(assembled.task, answers[None, routed], labels[routed])[0])


def _majority(assembled: Assembled, labels: Any) -> float | None:
    """Gives the score of the split's most frequent class as every answer; none for a regression."""
    import numpy as np

    from mpc_router import tasks

    if assembled.task.regression:
        return None
    names, counts = np.unique(labels, return_counts=True)
    constant = np.full((1, len(labels)), names[counts.argmax()])
    return float(tasks.score_of(assembled.task, constant, labels)[0])


def _measure(assembled: Assembled, tokens: Tokens, target: Path, shown: Lines) -> dict[str, Any]:
    """Times the pool's parts on this split, and writes the file that studies take."""
    from mpc_router.pricing.latency import measure_latency
    from mpc_router.pricing.measured_file import write_measured

    timed = measure_latency(assembled.model, tokens, progress=shown)
    write_measured(target, timed, assembled.config)
    return {
        "file": str(target),
        "router": timed.router.seconds,
        "experts": [timing.seconds for timing in timed.experts],
    }


if __name__ == "__main__":
    sys.exit(main())
