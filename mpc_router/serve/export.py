"""An exported folder: router, experts and tokenizers, what they are worth, and a model card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from mpc_router.config.trial import to_tree
from mpc_router.costs import to_json
from mpc_router.model.description import write_pool
from mpc_router.model.lazy_expert import load_experts
from mpc_router.results.assembled import Assembled, tokenizer_folder
from mpc_router.results.bias import recorded
from mpc_router.serve._card import card_of
from mpc_router.serve._hub import CARD_FILE
from mpc_router.serve.onnx_files import ONNX_FOLDER, check_onnx, write_onnx


def write_export(assembled: Assembled, target: Path, *, onnx: bool = False) -> None:
    """Writes the folder under another name and renames it: it is whole, or it is not there.

    With `onnx` the parts lie below it as ONNX, too; see `write_onnx`.

    Raises:
        SourceError: ONNX is asked for, and a package that writes it is not installed.
    """
    if onnx:
        check_onnx()
    load_experts(assembled.model.experts)
    target.parent.mkdir(parents=True, exist_ok=True)
    new_folder = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(new_folder, ignore_errors=True)
    new_folder.mkdir()
    try:
        for number, tokenizer in enumerate(assembled.tokenizers):
            tokenizer.save_pretrained(new_folder / tokenizer_folder(number))
        (new_folder / CARD_FILE).write_text(card_of(assembled), encoding="utf-8")
        write_pool(
            new_folder,
            assembled.model,
            {
                "config": to_tree(assembled.config),
                "cost_vectors": to_json(assembled.vectors),
                "origin": assembled.origin,
                "summary": _without_places(assembled.summary),
                **({"bias": recorded(assembled.biases[0])} if assembled.biases else {}),
                **({"strict": True} if assembled.strict else {}),
            },
        )
        if onnx:
            write_onnx(assembled, new_folder / ONNX_FOLDER)
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
