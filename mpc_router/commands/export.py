"""Exports a router: `mpc-router-export --checkpoint PATH FOLDER` needs no cache afterwards.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.commands._exits import DONE, InputError, ended
from mpc_router.commands.places import add_place_flags
from mpc_router.commands.routers import (
    Chosen,
    add_router_flags,
    assembled_of,
    bias_of,
    refuse_idle_vector,
)
from mpc_router.flags import Parser, add_trust_flag, place
from mpc_router.messages import decimal
from mpc_router.paths import cannot_be_made
from mpc_router.streams import command

if TYPE_CHECKING:
    from mpc_router.costs import Bias
    from mpc_router.results.assembled import Assembled

_EXAMPLES: Final = """\
  mpc-router-export --checkpoint outputs/mrpc_best_model exported/mrpc
  mpc-router-export --checkpoint runs/NAME/checkpoints/KEY exported/mrpc --models DIR
  mpc-router-export --checkpoint runs/NAME/checkpoints/KEY --bias 0.1 exported/mrpc
"""

_CARD: Final = "README.md"


def parser() -> Parser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-export",
        "Write a trained router with its experts as one folder that from_pretrained loads.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    add("folder", type=place, metavar="FOLDER", help="the new folder")
    add_router_flags(command_line)
    add_place_flags(command_line)
    add_trust_flag(command_line)
    return command_line


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    from mpc_router.plugins import trust

    trust(args.trust)
    return export(args)


def export(args: argparse.Namespace, chosen: Chosen | None = None) -> int:
    """Does what the flags say, with the bias that was chosen if any; gives the exit code."""
    return ended(lambda: _command(args, chosen))


def _command(args: argparse.Namespace, chosen: Chosen | None) -> int:
    target: Path = args.folder
    if os.path.lexists(target):
        raise InputError(f"{target} exists; give a new folder")
    if (why := cannot_be_made("FOLDER", target.parent)) is not None:
        raise InputError(why)
    refuse_idle_vector(args, chosen)
    assembled = assembled_of(args)
    if assembled.note:
        print(f"note: {assembled.note}", file=sys.stderr)
    if (bias := bias_of(args, assembled, chosen)) is not None:
        assembled = _folded(assembled, bias, chosen)
    _write(assembled, target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.0f} MB; GatedBertPool.from_pretrained({str(target)!r}) loads it")
    return DONE


def _folded(assembled: Assembled, bias: Bias, chosen: Chosen | None) -> Assembled:
    """Folds the bias into the router; what it was worth without a bias is not kept."""
    from mpc_router.results.bias import fold

    splits = {} if chosen is None else dict(chosen.splits)
    summary = None if assembled.summary is None else {**assembled.summary, "splits": splits}
    return dataclasses.replace(fold(assembled, bias), summary=summary)


def _write(assembled: Assembled, target: Path) -> None:
    """Writes the folder under another name and renames it: it is whole, or it is not there."""
    from mpc_router.config.trial import to_tree
    from mpc_router.costs import to_json
    from mpc_router.model.description import write_pool
    from mpc_router.results.assembled import tokenizer_folder
    from mpc_router.results.bias import recorded

    target.parent.mkdir(parents=True, exist_ok=True)
    new_folder = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(new_folder, ignore_errors=True)
    new_folder.mkdir()
    try:
        for number, tokenizer in enumerate(assembled.tokenizers):
            tokenizer.save_pretrained(new_folder / tokenizer_folder(number))
        (new_folder / _CARD).write_text(_card(assembled), encoding="utf-8")
        write_pool(
            new_folder,
            assembled.model,
            {
                "config": to_tree(assembled.config),
                "cost_vectors": to_json(assembled.vectors),
                "origin": assembled.origin,
                "summary": _without_places(assembled.summary),
                **({"bias": recorded(assembled.biases[0])} if assembled.biases else {}),
            },
        )
        new_folder.rename(target)
    finally:
        shutil.rmtree(new_folder, ignore_errors=True)


def _without_places(summary: dict[str, Any] | None) -> dict[str, Any] | None:
    """Gives what the training found, without the paths of the machine that it ran on."""
    if summary is None:
        return None
    return {
        name: value
        for name, value in summary.items()
        if name not in ("places", "arguments", "identity")
    }


def _card(assembled: Assembled) -> str:
    """Gives the model card in Markdown: what it is, what it is worth, where it comes from."""
    from mpc_router.costs import CONSTANTS

    model = assembled.config.model
    experts = zip(model.expert_model_names, model.expert_layers, strict=True)
    constants = assembled.vectors[CONSTANTS]
    lines = [
        "---",
        "library_name: mpc-router",
        "pipeline_tag: text-classification",
        "---",
        "",
        f"# A router over {assembled.config.experts} experts for {assembled.task.name.upper()}",
        "",
        "A router looks at each input through a cheap stem and sends it to one expert.",
        "",
        "```python",
        *_snippet(assembled),
        "```",
        "",
        *_meaning(assembled),
        "`mpc-router-eval` and `mpc-router-demo` take this folder as `--checkpoint`.",
        "",
        "| expert | layers | cost |",
        "|--|--|--|",
        *(
            f"| {name} | {layers or 'all'} | {cost:g} |"
            for (name, layers), cost in zip(experts, constants.experts, strict=True)
        ),
        "",
        f"Costs are in {constants.unit} an example; stem and router cost {constants.router:g}.",
        "",
        *_bias(assembled),
        *_worth(assembled),
        "## Where it comes from",
        "",
        f"- trained as: `{assembled.kind}`, seed {assembled.origin.get('seed')}, "
        f"epoch {assembled.origin.get('epoch')}, alpha {assembled.config.loss_weights.alpha:g}, "
        f"beta {assembled.config.loss_weights.beta:g}",
        f"- stem: {assembled.origin['stem'].get('name')} ({assembled.origin['stem'].get('hash')})",
        *(
            f"- expert: {expert.get('name')} ({expert.get('hash')})"
            for expert in assembled.origin["experts"]
        ),
        *_provenance(assembled.summary),
        "",
        "The weights carry the licences of the models and data they were made from.",
        "",
    ]
    return "\n".join(lines)


def _snippet(assembled: Assembled) -> list[str]:
    """Gives Python that asks the model as it was trained: segments tell a pair's texts apart."""
    columns = assembled.task.columns
    if len(assembled.tokenizers) > 1:
        return _snippet_of_several(assembled)
    texts = ['["He bought it."]', '["It was bought by him."]'][: len(columns)]
    return [
        "from transformers import AutoTokenizer",
        "",
        "from mpc_router import GatedBertPool",
        "",
        'folder = "."  # where this card lies',
        "model = GatedBertPool.from_pretrained(folder)",
        'tokenizer = AutoTokenizer.from_pretrained(f"{folder}/tokenizer")',
        "",
        "",
        f"def answer({', '.join(columns)}):",
        "    tokens = tokenizer(",
        *(f"        {column}," for column in columns),
        "        padding=True,",
        "        truncation=True,",
        f"        max_length={assembled.limits[0]},",
        "        return_token_type_ids=True,",
        '        return_tensors="pt",',
        "    )",
        "    return model.forward_inference(",
        '        tokens["input_ids"], tokens["attention_mask"], tokens["token_type_ids"]',
        "    )",
        "",
        "",
        f"predictions, chosen_expert = answer({', '.join(texts)})",
    ]


def _snippet_of_several(assembled: Assembled) -> list[str]:
    """Gives Python that asks a model whose encoders have several tokenizers."""
    from mpc_router.results.assembled import tokenizer_folder

    columns = assembled.task.columns
    texts = ['["He bought it."]', '["It was bought by him."]'][: len(columns)]
    limits = {tokenizer_folder(number): most for number, most in enumerate(assembled.limits)}
    return [
        "from transformers import AutoTokenizer",
        "",
        "from mpc_router import GatedBertPool",
        "",
        'folder = "."  # where this card lies',
        "model = GatedBertPool.from_pretrained(folder)",
        "# the tokens that are kept of a text, by tokenizer: the stem's, then those of experts",
        "limits = {",
        *(f'    "{name}": {most},' for name, most in limits.items()),
        "}",
        "tokenizers = [",
        '    (AutoTokenizer.from_pretrained(f"{folder}/{name}"), limit)',
        "    for name, limit in limits.items()",
        "]",
        "",
        "",
        f"def answer({', '.join(columns)}):",
        "    encodings = [",
        "        tokenizer(",
        *(f"            {column}," for column in columns),
        "            padding=True,",
        "            truncation=True,",
        "            max_length=limit,",
        "            return_token_type_ids=True,",
        '            return_tensors="pt",',
        "        )",
        "        for tokenizer, limit in tokenizers",
        "    ]",
        '    names = ("input_ids", "attention_mask", "token_type_ids")',
        "    return model.forward_inference(",
        "        *(tuple(encoding[name] for encoding in encodings) for name in names)",
        "    )",
        "",
        "",
        f"predictions, chosen_expert = answer({', '.join(texts)})",
    ]


def _meaning(assembled: Assembled) -> list[str]:
    """Gives what the snippet's predictions are, and what they need."""
    task = assembled.task
    rows = (
        "one value" + (" on {:g} to {:g}".format(*task.label_range) if task.label_range else "")
        if task.regression
        else "logits of "
        + ", ".join(f"{number} {word}" for number, word in enumerate(task.label_names))
    )
    pairs = [
        "It was trained on pairs: without `token_type_ids` it cannot tell the two texts apart.",
        "",
    ]
    lines = [f"A row of `predictions` is an example's: {rows}.", ""]
    return lines + (pairs if len(task.columns) > 1 else [])


def _worth(assembled: Assembled) -> list[str]:
    """Gives scores, costs and shares by split, as far as they are known."""
    from mpc_router.costs import CONSTANTS

    splits = (assembled.summary or {}).get("splits") or {}
    if not splits:
        return ["What it is worth was not recorded beside its checkpoint: see `mpc-router-eval`.\n"]
    lines = ["| split | score | cost | shares of the experts |", "|--|--|--|--|"]
    for name, measures in splits.items():
        shares = " / ".join(f"{100 * share:.1f} %" for share in measures["share"])
        score = f"{decimal(measures['score'], 4)}{_ends(measures, 'score')}"
        cost = f"{measures['cost'][CONSTANTS]:.4g}"
        lines.append(f"| {name} | {score} | {cost} | {shares} |")
    known = any("score_interval" in measures for measures in splits.values())
    interval = "the interval is over examples" if known else "no interval"
    return [*lines, "", f"Shares are hard counts on the named split; one seed, {interval}.", ""]


def _ends(measures: dict[str, Any], name: str) -> str:
    """Gives a 95 % interval in brackets, where it is known."""
    ends = measures.get(f"{name}_interval")
    return "" if ends is None else f" ({decimal(ends[0], 3)} to {decimal(ends[1], 3)})"


def _bias(assembled: Assembled) -> list[str]:
    """Says which bias is folded into the router."""
    return [
        f"A bias on cost is folded into the router: route = argmax(z - b c), b = {bias.value:.6g} "
        f"and c = ({', '.join(f'{cost:g}' for cost in bias.vector.routed)}), the cost vector "
        f"`{bias.vector.name}`. `model.forward_inference(..., bias=b)` adds to it.\n"
        for bias in assembled.biases
    ]


def _provenance(summary: dict[str, Any] | None) -> list[str]:
    if summary is None:
        return []
    versions = ", ".join(
        f"{name} {version}" for name, version in (summary.get("versions") or {}).items()
    )
    notes = [f"- note: {note}" for note in summary.get("notes") or ()]
    synthetic = ["- data: the embedded synthetic sample"] if summary.get("synthetic") else []
    prints = summary.get("fingerprints") or {}
    data = [f"- data fingerprint: {prints['data']}"] if "data" in prints else []
    return [*synthetic, *data, f"- versions: {versions}", *notes]


if __name__ == "__main__":
    sys.exit(main())
