"""Model folders that are spoiled: configurations, tokenizers and weights of every odd shape."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from mpc_router.sample import examples
from mpc_router.sample.encoders import tokenizer
from tests.fuzz.harness import Case

SOUND: Final = ("small", "large")
SPOILED: Final = "org/large"

POOL: Final = (
    *("mrpc_grid", "pool=custom", "expert_model_names=[org/small, org/large]"),
    *("expert_costs=[1, 3]", "router_cost=0", "tokenizer_model_name=org/small"),
    *("max_length=32", "expert_epochs=1", "expert_learning_rate=1e-3"),
)
"""Org/large is an expert, or the stem, and org/small stands beside it."""

ROLES: Final = (
    ("expert_fine_tuned=true", "router_model_name=org/small"),
    ("expert_fine_tuned=false", "router_model_name=org/small"),
    ("expert_fine_tuned=false", "router_model_name=org/small", "expert_layers=[1, 2]"),
    ("expert_fine_tuned=true", "router_model_name=org/large"),
)

ODD: Final[tuple[Any, ...]] = (
    *(None, "", "abc", "16", [], {}, [1, 2], {"a": 1}, True, -1, 0, 1, 3, 7, 1.5, 1e300),
    *(2**31, 10**12, "\x1b[31mred", "x" * 5000, [[]], float("nan")),
)

KINDS_OF_MODEL: Final = (
    *("bert", "roberta", "t5", "vit", "gpt2", "deberta-v2", "xlnet", "bart", "nothing", "", 7),
    *("clip", "whisper", "longformer", "encoder-decoder", "albert", "distilbert", "mamba"),
)

SETTINGS: Final = (
    *("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "max_position_embeddings", "type_vocab_size", "pad_token_id"),
    *("hidden_act", "hidden_dropout_prob", "layer_norm_eps", "architectures", "id2label"),
    *("label2id", "num_labels", "dtype", "torch_dtype", "auto_map", "quantization_config"),
    *("is_decoder", "is_encoder_decoder", "return_dict", "output_hidden_states", "use_cache"),
    *("problem_type", "classifier_dropout", "initializer_range", "add_cross_attention"),
    *("attn_implementation", "_attn_implementation", "chunk_size_feed_forward"),
    *("tie_word_embeddings", "position_embedding_type", "sep_token_id", "transformers_version"),
)

TEXTS: Final = (
    *(b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"{}", b'"a"', b"[" * 100_000, b"\x00" * 99),
    *(b'{"model_type": "bert", "model_type": 3}', b"version https://git-lfs.github.com/spec/v1\n"),
    *(b'{"a": ' * 2000, b'{"model_type": "bert"}', b"\xef\xbb\xbf{}", b"1" * 5000),
)

TOKENIZERS: Final = ("tokenizer.json", "tokenizer_config.json")


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """Pools with one spoiled model in a folder for `--models`."""
    sound = folder / "sound"
    _save_sound(sound, folder / "data")
    for number in range(count):
        draws = random.Random(f"{seed} {number}")
        models = folder / f"models{number}"
        shutil.copytree(sound, models)
        spoil = draws.choice(SPOILERS)
        what = spoil(draws, models / SPOILED)
        role = draws.choice(ROLES)
        yield Case(
            kind="model_folders",
            name=f"{number} {spoil.__name__.strip('_')} {what[:80]!r} {role}",
            arguments=(*POOL, *role, "--data", str(folder / "data"), "--models", str(models)),
            culprits=(SPOILED,),
            unchanged=(models,),
        )
        shutil.rmtree(models)


def _save_sound(folder: Path, data: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification
    from transformers.utils import logging

    from mpc_router.model.encoders import seeded

    logging.disable_progress_bar()
    words = tokenizer()
    for layers, name in enumerate(SOUND, 2):
        shape = BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        )
        with seeded(layers):
            model = BertForSequenceClassification(shape)
        model.save_pretrained(folder / "org" / name)
        words.save_pretrained(folder / "org" / name)
    (data / "mrpc").mkdir(parents=True)
    for split in ("train", "validation"):
        pq.write_table(
            examples.table("mrpc", split).slice(0, 60), data / "mrpc" / f"{split}.parquet"
        )


def _odd_setting(draws: random.Random, folder: Path) -> str:
    """One or two settings of config.json."""
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    changes = {draws.choice(SETTINGS): draws.choice(ODD) for _ in range(draws.choice((1, 1, 2)))}
    path.write_text(json.dumps(tree | changes))
    return str(changes)


def _other_kind(draws: random.Random, folder: Path) -> str:
    """A config.json of another kind of model than the weights."""
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    kind = draws.choice(KINDS_OF_MODEL)
    if draws.random() < 0.5:
        tree = {}
    path.write_text(json.dumps(tree | {"model_type": kind}))
    return str(kind)


def _lost_setting(draws: random.Random, folder: Path) -> str:
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    lost = draws.choice(sorted(tree))
    del tree[lost]
    path.write_text(json.dumps(tree))
    return str(lost)


def _other_text(draws: random.Random, folder: Path) -> str:
    """A file of the folder is anything at all."""
    name = draws.choice(("config.json", "tokenizer.json", "tokenizer_config.json"))
    text = draws.choice(TEXTS)
    (folder / name).write_bytes(text)
    return f"{name} {text[:30]!r}"


def _code_of_its_own(draws: random.Random, folder: Path) -> str:
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    tree["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    tree["model_type"] = draws.choice(("evil", "bert"))
    path.write_text(json.dumps(tree))
    (folder / "evil.py").write_text("raise SystemExit('the code of a model was run')\n")
    return str(tree["model_type"])


def _odd_tokenizer(draws: random.Random, folder: Path) -> str:
    """Something within tokenizer.json or tokenizer_config.json."""
    name = draws.choice(TOKENIZERS)
    path = folder / name
    tree = json.loads(path.read_text())
    at = tree
    key = draws.choice(sorted(at))
    while isinstance(at[key], dict) and at[key] and draws.random() < 0.6:
        at = at[key]
        key = draws.choice(sorted(at))
    at[key] = draws.choice(ODD)
    path.write_text(json.dumps(tree))
    return f"{name} {key}"


def _lost_file(draws: random.Random, folder: Path) -> str:
    name = draws.choice(sorted(path.name for path in folder.iterdir()))
    (folder / name).unlink()
    if draws.random() < 0.3:
        (folder / name).mkdir()
    return name


def _cut_file(draws: random.Random, folder: Path) -> str:
    path = draws.choice(sorted(folder.iterdir()))
    raw = path.read_bytes()
    path.write_bytes(raw[: draws.randrange(len(raw))])
    return path.name


def _flipped_file(draws: random.Random, folder: Path) -> str:
    path = draws.choice(sorted(folder.iterdir()))
    raw = bytearray(path.read_bytes())
    for _ in range(draws.choice((1, 8, 64))):
        raw[draws.randrange(min(len(raw), 4000))] = draws.randrange(256)
    path.write_bytes(bytes(raw))
    return path.name


def _odd_header(draws: random.Random, folder: Path) -> str:
    """A header of safetensors that lies."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    tensor = draws.choice(sorted(header))
    key = draws.choice(("dtype", "shape", "data_offsets"))
    header[tensor][key] = draws.choice((*ODD[:-1], "F64", "I8", [0, 2**40], [4, 4]))
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + raw[8 + size :])
    return f"{tensor} {key}"


def _odd_weights(draws: random.Random, folder: Path) -> str:
    """Sound files of weights that are not the model's."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    name = draws.choice(sorted(weights))
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
        "lost": lambda _: None,
        "nan": lambda value: torch.full_like(value, float("nan")),
        "huge": lambda value: torch.full_like(value, 1e38),
        "integers": lambda value: value.to(torch.int64),
        "half": lambda value: value.half(),
        "flat": lambda value: value.reshape(-1),
        "longer": lambda value: torch.cat([value, value]),
        "empty": lambda value: value[:0],
    }
    way = draws.choice(sorted(ways))
    new = ways[way](weights.pop(name))
    save_file(weights | ({} if new is None else {name: new}), path, metadata={"format": "pt"})
    return f"{name} {way}"


class _Evil:
    """What a pickle must not be able to do."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


def _torch_files(draws: random.Random, folder: Path) -> str:
    """Weights in torch's own format: sound, or holding more than tensors."""
    import torch
    from safetensors.torch import load_file

    path = folder / "pytorch_model.bin"
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    way = draws.choice(("sound", "evil", "plain", "list", "numbers", "nothing"))
    if way in ("evil", "plain"):
        path.write_bytes(pickle.dumps({"weight": _Evil() if way == "evil" else 3}))
        return way
    trees = {"sound": weights, "list": list(weights.values()), "numbers": {"a": 1}, "nothing": None}
    torch.save(trees[way], path)
    return way


def _shards(draws: random.Random, folder: Path) -> str:
    """An index of weights whose parts are not there, or are no names."""
    (folder / "model.safetensors").rename(folder / "part1.safetensors")
    index: Any = draws.choice(
        (
            *({}, [], {"weight_map": []}, {"weight_map": {"a": "part1.safetensors"}}),
            *({"weight_map": {"a": "../part"}}, {"weight_map": {"a": "x" * 3000}}),
            *({"weight_map": {"a": "p\x00"}}, {"weight_map": {"a": 3}}, {"weight_map": {}}),
            {"weight_map": {"a": "part1.safetensors", "b": "part2.safetensors"}},
        )
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return str(index)


SPOILERS: Final[tuple[Callable[[random.Random, Path], str], ...]] = (
    *(_odd_setting, _odd_setting, _odd_setting, _other_kind, _lost_setting, _other_text),
    *(_code_of_its_own, _odd_tokenizer, _odd_tokenizer, _lost_file, _cut_file, _flipped_file),
    *(_odd_header, _odd_weights, _odd_weights, _torch_files, _shards),
)
