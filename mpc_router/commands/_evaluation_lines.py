"""The module writes what `mpc-router-eval` found out for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpc_router.commands._training_log import expert_words
from mpc_router.messages import decimal

if TYPE_CHECKING:
    from mpc_router.costs import CostVector


def evaluation_lines(told: dict[str, Any], vector: CostVector) -> list[str]:
    """Gives the result for people: a head, and a table by expert."""
    metrics = ", ".join(f"{name} {decimal(value, 4)}" for name, value in told["metrics"].items())
    cost, faster = told["cost"][vector.name], told["speed_up"][vector.name]
    costs = [entry["cost"] for entry in told["experts"]]
    names = expert_words([(entry["name"], entry["layers"]) for entry in told["experts"]])
    head = [
        f"{told['task']}, {told['split']}: {told['examples']} examples"
        + (" of the embedded synthetic sample" if told["synthetic"] else ""),
        f"score     {decimal(told['score'], 4)}  ({metrics})",
        f"cost      {cost:.4g} {vector.unit} an example ({vector.name}, router {vector.router:g} "
        "paid)",
        f"speed-up  {faster:.2f}x projected, over sending all to {names[costs.index(max(costs))]}",
    ]
    if told["note"]:
        head.insert(1, f"note: {told['note']}")
    if told["majority"] is not None:
        head.append(
            f"majority  {decimal(told['majority'], 4)}  "
            f"(the most frequent class of {told['split']})"
        )
    head += [
        f"          cost {value:.4g}, {told['speed_up'][name]:.2f}x under {name}"
        for name, value in told["cost"].items()
        if name != vector.name
    ]
    head += [f"bias      {entry['bias']:.4g} in {entry['cost_vector']}" for entry in told["biases"]]
    width = max(len("expert"), *map(len, names))
    head += ["", f"{'expert':<{width}}    share     cost   alone  routed"]
    for name, entry in zip(names, told["experts"], strict=True):
        routed = "-" if entry["score_routed"] is None else decimal(entry["score_routed"], 4)
        head.append(
            f"{name:<{width}}  {100 * entry['share']:5.1f} %  {entry['cost']:7.4g}  "
            f"{decimal(entry['score'], 4):>6}  {routed:>6}"
        )
    head += ["alone: its score on the whole split; routed: on the examples that it gets"]
    if told["paths"]:
        head += ["", "path" + " " * (width - 4) + "    share"]
        for entry in told["paths"]:
            path = " + ".join(names[expert] for expert in entry["experts"])
            head.append(f"{path:<{width}}  {100 * entry['share']:5.1f} %")
    return head
