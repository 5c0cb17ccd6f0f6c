"""The model card of an exported router: what it is, what it is worth, where it comes from."""

from __future__ import annotations

from typing import Any, Final

from huggingface_hub import EvalResult, ModelCardData

from mpc_router.costs import CONSTANTS
from mpc_router.messages import decimal
from mpc_router.model.sources import SAMPLE_PREFIX
from mpc_router.results.assembled import Assembled
from mpc_router.run_names import SELECTION

LIBRARY: Final = "mpc-router"

UNKNOWN: Final = "unknown"
"""It stands where the licence of a part is not known."""


def card_of(assembled: Assembled) -> str:
    """Gives the model card in Markdown, with the metadata that the hub reads before it."""
    task = assembled.task
    return "\n".join(
        [
            "---",
            metadata(assembled).to_yaml().strip(),
            "---",
            "",
            f"# A router over {assembled.config.experts} experts for {task.name.upper()}",
            "",
            "A router looks at each input through a cheap stem and sends it to one expert.",
            "",
            "```python",
            *_snippet(assembled),
            "```",
            "",
            *_meaning(assembled),
            *_experts(assembled),
            *_bias(assembled),
            *_worth(assembled),
            *_origin(assembled),
            *_licences(assembled),
        ]
    )


def metadata(assembled: Assembled) -> ModelCardData:
    """Gives what the hub lists a model by: task, parts, licence and results."""
    licences = {part["licence"] for part in _parts(assembled)}
    names = {str(part.get("name")) for part in _parts(assembled)}
    on_hub = sorted(name for name in names if _may_be_on_hub(name))
    return ModelCardData(
        base_model=on_hub or None,
        eval_results=_results(assembled) or None,
        library_name=LIBRARY,
        license=licences.pop() if len(licences) == 1 and UNKNOWN not in licences else "other",
        model_name=f"{assembled.task.name} router" if _results(assembled) else None,
        pipeline_tag="text-classification",
        tags=[LIBRARY, "model-routing"],
    )


def _may_be_on_hub(name: str) -> bool:
    """Says whether a part's name has the form of an id on the hub, which no sample encoder has."""
    parts = name.split("/")
    return (
        len(parts) == 2
        and all(parts)
        and parts[0] not in (".", "..", "~")
        and (not name.startswith(SAMPLE_PREFIX))
    )


def _results(assembled: Assembled) -> list[EvalResult]:
    """Gives the scores on quoted splits as the hub lists them."""
    task = assembled.task
    splits = (assembled.summary or {}).get("splits") or {}
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=task.name,
            dataset_name=task.name,
            dataset_split=split,
            metric_type="score",
            metric_name=f"score ({task.score}: {', '.join(task.score_metrics)})",
            metric_value=measures["score"],
        )
        for split, measures in splits.items()
        if split != SELECTION
    ]


def _snippet(assembled: Assembled) -> list[str]:
    """Gives Python that asks the router."""
    pair = len(assembled.task.columns) > 1
    example = '("He bought it.", "It was bought by him.")' if pair else '"He bought it."'
    return [
        "from mpc_router import RoutedClassifier",
        "",
        'router = RoutedClassifier.from_pretrained(".")  # this folder, or its id on the hub',
        f"answer = router({example})",
        "print(answer.label, answer.probability, answer.expert, answer.cost)",
    ]


def _meaning(assembled: Assembled) -> list[str]:
    """Gives what is asked, and what labels there are."""
    task = assembled.task
    asked = (
        f"It takes pairs of texts ({' and '.join(task.columns)}), as tuples"
        if len(task.columns) > 1
        else f"It takes a text ({task.columns[0]})"
    )
    if task.regression:
        span = " on {:g} to {:g}".format(*task.label_range) if task.label_range else ""
        label = f"`label` is a value{span}, and `probability` None"
    else:
        label = f"`label` is one of {', '.join(f'`{word}`' for word in task.label_names)}"
    longest = "refused" if assembled.strict else "cut"
    limits = " / ".join(map(str, assembled.limits))
    return [
        f"{asked}, and lists of them. {label}. Text of more than {limits} tokens is {longest}.",
        "`mpc-router-eval` and `mpc-router-demo` take this folder as `--checkpoint`.",
        "",
    ]


def _experts(assembled: Assembled) -> list[str]:
    model = assembled.config.model
    experts = zip(model.expert_model_names, model.expert_layers, strict=True)
    constants = assembled.vectors[CONSTANTS]
    return [
        "| expert | layers | cost |",
        "|--|--|--|",
        *(
            f"| {name} | {layers or 'all'} | {cost:g} |"
            for (name, layers), cost in zip(experts, constants.experts, strict=True)
        ),
        "",
        f"Costs are in {constants.unit} an example; stem and router cost {constants.router:g}.",
        "",
    ]


def _worth(assembled: Assembled) -> list[str]:
    """Gives scores, costs and shares by split, as far as they are known."""
    splits = (assembled.summary or {}).get("splits") or {}
    if not splits:
        return ["What it is worth was not recorded beside its checkpoint: see `mpc-router-eval`.\n"]
    lines = ["| split | score | cost | shares of the experts |", "|--|--|--|--|"]
    for name, measures in splits.items():
        shares = " / ".join(f"{100 * share:.1f} %" for share in measures["share"])
        score = f"{decimal(measures['score'], 4)}{_ends(measures, 'score')}"
        cost = f"{measures['cost'][CONSTANTS]:.4g}"
        if all(bias.vector.name == CONSTANTS for bias in assembled.biases):
            cost += _ends(measures, "cost")  # which is under the vector of the bias
        lines.append(f"| {name} | {score} | {cost} | {shares} |")
    known = any("score_interval" in measures for measures in splits.values())
    interval = "intervals are 95 %, over examples" if known else "no interval"
    return [*lines, "", f"Shares are hard counts on the named split; one seed, {interval}.", ""]


def _ends(measures: dict[str, Any], name: str) -> str:
    """Gives a 95 % interval in brackets, where it is known."""
    ends = measures.get(f"{name}_interval")
    return "" if ends is None else f" ({ends[0]:.4g} to {ends[1]:.4g})"


def _bias(assembled: Assembled) -> list[str]:
    """Says which bias is folded into the router."""
    return [
        f"A bias on cost is folded into the router: route = argmax(z - b c), b = {bias.value:.6g} "
        f"and c = ({', '.join(f'{cost:g}' for cost in bias.vector.routed)}), the cost vector "
        f"`{bias.vector.name}`. `RoutedClassifier.from_pretrained(..., bias=b)` adds to it.\n"
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


def _origin(assembled: Assembled) -> list[str]:
    origin, weights = assembled.origin, assembled.config.loss_weights
    return [
        "## Where it comes from",
        "",
        f"- trained as: `{assembled.kind}`, seed {origin.get('seed')}, epoch "
        f"{origin.get('epoch')}, alpha {weights.alpha:g}, beta {weights.beta:g}",
        f"- stem: {origin['stem'].get('name')} ({origin['stem'].get('hash')})",
        *(f"- expert: {part.get('name')} ({part.get('hash')})" for part in origin["experts"]),
        *_provenance(assembled.summary),
        "",
    ]


def _parts(assembled: Assembled) -> list[dict[str, Any]]:
    """Gives the parts by name, each once, with the licence that is known of it."""
    parts = [assembled.origin["stem"], *assembled.origin["experts"]]
    by_name = {str(part.get("name")): part for part in parts}
    return [{"licence": UNKNOWN, **part} for part in by_name.values()]


def _licences(assembled: Assembled) -> list[str]:
    return [
        "## Licences",
        "",
        "The weights carry the licences of the models and data that they were made from.",
        "",
        "| part | licence |",
        "|--|--|",
        *(f"| {part.get('name')} | {part['licence']} |" for part in _parts(assembled)),
        "",
    ]
