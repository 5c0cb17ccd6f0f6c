from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpc_router.model.encoders import (
    PooledEncoder,
    load_encoder,
    load_tokenizer,
    summarise,
    weights_hash,
    width_of,
)
from mpc_router.model.sources import ModelError, Models
from tests.mpc_router.small_models import save_encoder, small_config, some_tokens


def encoder(folder: Path, name: str = "net", layers: int = 0) -> Any:
    return load_encoder(name, layers, Models(folder), seed=0)


def test_a_cut_encoder_is_the_whole_one_s_state_after_that_many_layers(tmp_path: Path) -> None:
    whole = save_encoder(tmp_path / "net", layers=4)
    ids, mask = some_tokens()
    with torch.no_grad():
        states = whole(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        for layers in (1, 3, 4):
            found = encoder(tmp_path, layers=layers)(ids, attention_mask=mask).last_hidden_state
            assert torch.allclose(found, states[layers], atol=1e-6)


def test_layers_that_are_cut_off_are_not_kept(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net", layers=4)
    sizes = [sum(p.numel() for p in encoder(tmp_path, layers=n).parameters()) for n in (1, 2, 4)]
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
    assert not any(".2." in name for name in encoder(tmp_path, layers=2).state_dict())


def test_layers_that_are_cut_off_are_not_read(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net", layers=3)
    path = tmp_path / "net" / "model.safetensors"
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    for name, entry in header.items():
        if ".layer.2." in name:
            start, end = (8 + size + place for place in entry["data_offsets"])
            content[start:end] = b"\xff" * (end - start)
    path.write_bytes(content)
    assert all(value.isfinite().all() for value in encoder(tmp_path, layers=2).parameters())
    assert not all(value.isfinite().all() for value in encoder(tmp_path).parameters())


def test_more_layers_than_there_are_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net", layers=2)
    with pytest.raises(ModelError, match="net has 2 layers, 3 were asked for"):
        encoder(tmp_path, layers=3)


def test_an_encoder_comes_without_pooler_and_in_evaluation_mode(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")
    found = encoder(tmp_path)
    assert not any("pooler" in name for name in found.state_dict())
    assert not found.training
    assert {value.dtype for value in found.parameters()} == {torch.float32}


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    BertForMaskedLM(small_config()).save_pretrained(tmp_path / "net")  # has no pooler: one is drawn
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    encoder(tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", ["DistilBert", "Roberta", "Electra"])
def test_other_bert_like_encoders_load_cut_and_run(tmp_path: Path, kind: str) -> None:
    import transformers

    sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16}
    if kind == "DistilBert":
        sizes = {"n_layers": 3, "n_heads": 2, "dim": 16, "hidden_dim": 32}
    else:
        sizes["intermediate_size"] = 32
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=40, max_position_embeddings=40, **sizes
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "net")
    ids, mask = some_tokens()
    found = PooledEncoder(encoder(tmp_path, layers=2), "mean").eval()
    with torch.no_grad():
        # second segments are told to those that know them and kept from those that do not
        features = found(ids, mask, torch.ones_like(ids))
    assert features.shape == (5, 16)
    assert features.isfinite().all()
    whole = sum(p.numel() for p in encoder(tmp_path).parameters())
    assert sum(p.numel() for p in found.parameters()) < whole


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_features_do_not_depend_on_the_padding(tmp_path: Path, pooling: str) -> None:
    save_encoder(tmp_path / "net")
    found = PooledEncoder(encoder(tmp_path), pooling).eval()
    ids, _ = some_tokens(3, 6)
    padded = torch.cat([ids, torch.full((3, 4), 7)], 1)
    mask = (torch.arange(10) < 6).long().expand(3, -1)
    with torch.no_grad():
        assert torch.allclose(found(ids), found(padded, mask), atol=1e-5)


def test_pooling_is_the_first_token_or_the_mean_of_the_unmasked() -> None:
    hidden = torch.arange(12.0).reshape(1, 3, 4)
    mask = torch.tensor([[1, 1, 0]])
    assert torch.equal(summarise(hidden, mask, "cls"), hidden[:, 0])
    assert torch.equal(summarise(hidden, mask, "mean"), hidden[:, :2].mean(1))


def test_an_encoder_without_a_width_is_refused() -> None:
    with pytest.raises(ModelError, match="Linear states no hidden_size"):
        width_of(nn.Linear(2, 2))


def test_truncated_weights_are_an_error_that_names_the_model(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")
    path = tmp_path / "net" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="net cannot be read from"):
        encoder(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_encoder(tmp_path / "net")
    save_file(
        {"something.weight": torch.zeros(2)},
        tmp_path / "net" / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError, match=r"lack \d+ tensors"):
        encoder(tmp_path)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("trapped",))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "net")
    (tmp_path / "net" / "model.safetensors").unlink()
    path = tmp_path / "net" / "pytorch_model.bin"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Trap()))
    else:
        torch.save({"weights": Trap()}, path)
    with pytest.raises(ModelError, match="net cannot be read"):
        encoder(tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_safetensors_are_preferred_over_a_pickle(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")
    (tmp_path / "net" / "pytorch_model.bin").write_bytes(b"not a model")
    assert encoder(tmp_path) is not None


def test_plain_weights_of_torch_are_read(tmp_path: Path) -> None:
    whole = save_encoder(tmp_path / "net")
    (tmp_path / "net" / "model.safetensors").unlink()
    torch.save(whole.state_dict(), tmp_path / "net" / "pytorch_model.bin")
    whole.pooler = None
    assert weights_hash(encoder(tmp_path)) == weights_hash(whole)


def test_code_that_a_model_brings_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "net")
    path = tmp_path / "net" / "config.json"
    config = json.loads(path.read_text())
    config["model_type"] = "homemade"
    config["auto_map"] = {"AutoConfig": "homemade.Config", "AutoModel": "homemade.Model"}
    path.write_text(json.dumps(config))
    (tmp_path / "net" / "homemade.py").write_text("import os; os.mkdir('trapped')")
    with pytest.raises(ModelError, match="net cannot be read"):
        encoder(tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")
    with pytest.raises(ModelError, match=r"holds no tokenizer.*tokenizer_model_name"):
        load_tokenizer("net", Models(tmp_path))


def test_a_tokenizer_is_read_from_its_vocabulary(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (tmp_path / "net" / "vocab.txt").write_text("\n".join(words))
    found = load_tokenizer("net", Models(tmp_path))
    assert found("Good", "bad")["input_ids"] == [2, 5, 3, 6, 3]


def test_the_hash_sees_values_shapes_and_names() -> None:
    layer = nn.Linear(2, 3)
    first = weights_hash(layer)
    twin = nn.Linear(2, 3)
    twin.load_state_dict(layer.state_dict())
    assert weights_hash(twin) == first
    with torch.no_grad():
        layer.weight[0, 0] += 1
    assert weights_hash(layer) != first
    assert weights_hash(nn.Sequential(layer)) != weights_hash(layer)
    zeros = [nn.ParameterDict({"x": torch.zeros(shape)}) for shape in ((6,), (2, 3))]
    assert weights_hash(zeros[0]) != weights_hash(zeros[1])
