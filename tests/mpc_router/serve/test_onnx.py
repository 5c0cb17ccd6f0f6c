"""The parts as ONNX: what another runtime computes, this package's own tokens given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router import RoutedClassifier
from mpc_router.commands import export
from mpc_router.serve import onnx_files
from tests.mpc_router.commands.asking import asked, refused
from tests.mpc_router.serve.conftest import Export, pairs_of
from tests.mpc_router.serve.onnx_runtime import OnnxRouter
from tests.trained import Train, Trained


@pytest.fixture(scope="session")
def onnx_export(export_of: Export, router: Trained) -> Path:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra onnx)")
    return export_of(router, "--onnx", "--bias", "0.02")


@pytest.mark.slow
def test_another_runtime_gives_the_same_routes_and_answers(
    onnx_export: Path, router: Trained
) -> None:
    pairs = pairs_of(router)
    answers = RoutedClassifier.from_pretrained(onnx_export)(pairs)
    runtime = OnnxRouter(onnx_export)
    others = [runtime(pair) for pair in pairs]
    assert [expert for _, expert, _ in others] == [answer.expert for answer in answers]
    assert [label for label, _, _ in others] == [answer.label for answer in answers]
    assert [share for _, _, share in others] == pytest.approx(
        [answer.probability for answer in answers], abs=1e-5
    )
    assert len({answer.expert for answer in answers}) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"router_kind": "predictive", "stem": "expert", "router_gain": "loss"},
        pytest.param(
            {
                "router_kind": "sequential",
                "stem": "expert",
                "router_gain": "loss",
                "combine": "logistic",
            },
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"router_kind": "cascade", "stem": "expert", "combine": "average"},
            marks=pytest.mark.long,
        ),
        pytest.param({"stem": "expert", "combine": "logistic"}, marks=pytest.mark.long),
        pytest.param(
            {
                "router_kind": "predictive",
                "stem": "expert",
                "router_sees": "outputs+features",
                "router_data": "cross_fitted",
                "router_folds": 2,
            },
            marks=pytest.mark.long,
        ),
        pytest.param({"router_kind": "clusters", "router_clusters": 4}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_routers_of_every_kind_are_what_they_are_elsewhere(
    kind: dict[str, Any],
    trained: Train,
    export_of: Export,
    onnx_export: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = onnx_files._write
    listed = json.loads((onnx_export / "onnx/onnx.json").read_text("utf-8"))

    def written_once(module: Any, values: Any, path: Path, *names: Any, **more: Any) -> list[str]:
        """Experts are those of the other export: only the router's part is written anew."""
        for part in listed["experts"]:
            if part["file"] == path.name:
                shutil.copy(onnx_export / "onnx" / path.name, path)
                inputs: list[str] = part["inputs"]
                return inputs
        return write(module, values, path, *names, **more)

    monkeypatch.setattr(onnx_files, "_write", written_once)
    lane = trained(**kind)
    folder, pairs = export_of(lane, "--onnx"), pairs_of(lane)
    runtime = OnnxRouter(folder)
    answers = RoutedClassifier.from_pretrained(folder)(pairs)
    others = [runtime(pair) for pair in pairs]
    assert [expert for _, expert, _ in others] == [answer.expert for answer in answers]
    assert [label for label, _, _ in others] == [answer.label for answer in answers]
    begins_with_expert = kind.get("router_kind", "gated") in ("predictive", "gated")
    gives = ["logits", "outputs"] if begins_with_expert else ["logits"]
    assert runtime.parts["router"]["outputs"] == gives
    if begins_with_expert:
        of_router, alone = runtime.outputs_of_the_cheapest(pairs[:7])
        assert of_router == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
def test_the_bias_is_part_of_the_routers_file(
    onnx_export: Path, exported: Path, router: Trained
) -> None:
    pairs = pairs_of(router)
    plain = RoutedClassifier.from_pretrained(exported, bias=0.02)(pairs)
    runtime = OnnxRouter(onnx_export)
    assert [runtime(pair)[1] for pair in pairs] == [answer.expert for answer in plain]


@pytest.mark.slow
def test_a_batch_of_any_size_and_length_goes_through(onnx_export: Path, router: Trained) -> None:
    runtime = OnnxRouter(onnx_export)
    pairs = pairs_of(router)
    for count in (1, 3, 17):
        logits = runtime.logits(pairs[:count])
        assert logits.shape == (count, 3)
        alone = np.concatenate([runtime.logits([pair]) for pair in pairs[:count]])
        assert logits == pytest.approx(alone, abs=1e-4)


@pytest.mark.slow
def test_the_list_names_files_inputs_costs_and_labels(onnx_export: Path) -> None:
    listed: dict[str, Any] = json.loads((onnx_export / "onnx/onnx.json").read_text("utf-8"))
    files = [listed["router"]["file"], *(part["file"] for part in listed["experts"])]
    assert {path.name for path in (onnx_export / "onnx").iterdir()} == {*files, "onnx.json"}
    assert [part["name"] for part in listed["experts"]] == [
        *("sample/tiny", "sample/base", "sample/large"),
    ]
    assert listed["task"]["labels"] == ["not_equivalent", "equivalent"]
    assert listed["cost_vectors"]["constants"]["experts"] == [2, 7, 13]
    for part in (listed["router"], *listed["experts"]):
        assert set(part["inputs"]) <= {"input_ids", "attention_mask", "token_type_ids"}
        assert (onnx_export / part["tokenizer"]).is_dir()


def test_without_the_packages_one_message_says_which(
    router: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(onnx_files, "_NEEDED", ("onnx", "no_such_package"))
    answer = asked(export.main, capfd, *router.flags, "--onnx", str(tmp_path / "out"))
    refused(answer, "no_such_package", "pip install 'mpc-router[onnx]'")
    assert list(tmp_path.iterdir()) == []
