"""Tiny random models of every type that transformers can put a classification head on.

Letters: none; a model is named by its type (`config.model_type`).
"""

from __future__ import annotations

import inspect
import shutil
import warnings
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import ConfigError, trial_config
from mpc_router.data.sources import Source
from mpc_router.model.encoders import seeded
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare.frozen import check_inputs, prepare
from mpc_router.prepare.inputs import Places
from mpc_router.sample import encoders

WIDTH: Final = 32
DEPTH: Final = 2
LONGEST: Final = 32
MOST_PARAMETERS: Final = 3_000_000
"""Of a model that is still tiny."""

SIZES: Final[dict[str, Any]] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "d_embed"), WIDTH
    ),
    **dict.fromkeys(
        (
            *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"),
            *("decoder_layers", "num_decoder_layers"),
        ),
        DEPTH,
    ),
    **dict.fromkeys(
        (
            *("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"),
            *("encoder_attention_heads", "decoder_attention_heads"),
        ),
        2,
    ),
    **dict.fromkeys(
        (
            *("intermediate_size", "d_inner", "n_inner", "dff", "ffn_dim", "d_ff", "hidden_dim"),
            *("feed_forward_size", "ffn_hidden_size", "encoder_ffn_dim", "decoder_ffn_dim"),
            *("moe_intermediate_size", "shared_expert_intermediate_size"),
        ),
        WIDTH,
    ),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 128),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "attention_head_size"), WIDTH // 2),
    **{"num_local_experts": 2, "num_experts": 2, "n_routed_experts": 2, "num_experts_per_tok": 1},
    **{
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "moe_topk": 1,
        "num_experts_per_token": 1,
    },
    **{
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
    },
    **{"first_k_dense_replace": 1, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    **{
        "rotary_dim": 8,
        "embedding_dim": WIDTH,
        "input_embedding_size": 16,
        "output_embedding_size": 16,
    },
    **{"sep_token_id": 3, "cls_token_id": 2, "mask_token_id": 4, "classifier_pooling": "cls"},
    **{"global_attn_every_n_layers": 2, "local_attention": 16, "attention_window": 8},
    **{"intra_bottleneck_size": 16, "true_hidden_size": 32, "hidden_size_per_layer_input": 8},
    **{"vocab_size_per_layer_input": 64, "entity_vocab_size": 10, "entity_emb_size": 8},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2},
    **{"linear_num_value_heads": 2, "mamba_d_state": 8, "mamba_d_head": 8, "mamba_headdim": 8},
    **{"n_mamba_heads": 1, "mamba_ngroups": 1, "attn_layer_period": 2, "attn_layer_offset": 1},
    **{"block_size": 8, "num_random_blocks": 1, "tie_word_embeddings": False},
}
"""What each of these settings is, where a type has it."""

BY_TYPE: Final[dict[str, dict[str, Any]]] = {
    "albert": {"embedding_size": 16},
    "reformer": {
        "attn_layers": ["local", "local"],
        "axial_pos_embds": False,
        "local_attn_chunk_length": 8,
        "feed_forward_size": WIDTH,
        "is_decoder": False,
    },
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1], "num_decoder_layers": 1},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "mobilebert": dict.fromkeys(
        ("embedding_size", "true_hidden_size", "intra_bottleneck_size"), WIDTH
    ),
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "lilt": {"hidden_size": 48},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "longformer": {"pad_token_id": 1, "attention_window": [8] * DEPTH},
    "deberta": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
    },
}

ROBERTAS: Final = (
    *("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "xmod"),
    *("data2vec-text", "ibert", "luke", "mpnet", "lilt", "layoutlmv3", "markuplm", "longformer"),
)
"""Types whose positions begin after the padding's."""

ROLES: Final[dict[str, dict[str, Any]]] = {
    "head": {"expert_fine_tuned": True},
    "whole": {"expert_fine_tuned": False},
    "cut": {"expert_fine_tuned": False, "expert_layers": [1, 0]},
    "stem": {"expert_fine_tuned": False},
}
"""What a model is in a pool: an expert that keeps its head, one that is trained whole or cut, or
the stem."""


def model_types() -> list[str]:
    """The types with a classification head, as this version of transformers lists them."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES,
    )

    return list(NAMES)


def tiny(model_type: str, **more: Any) -> Any:
    """The configuration of a tiny model of a type, for the sample's words."""
    from transformers import AutoConfig

    words = len(encoders.tokenizer())
    default = AutoConfig.for_model(model_type)
    stated = {*default.to_dict(), *inspect.signature(type(default).__init__).parameters}
    for name in default.attribute_map:
        stated.discard(default.attribute_map[name])
        stated.add(name)
    given = {name: value for name, value in SIZES.items() if name in stated}
    if model_type in ROBERTAS:
        given["pad_token_id"] = 1
    given |= {"vocab_size": words} | BY_TYPE.get(model_type, {}) | more
    return AutoConfig.for_model(model_type, **given)


def save_tiny(folder: Path, model_type: str, **more: Any) -> None:
    """A tiny random classifier of a type and the sample's tokenizer into `folder`.

    Raises:
        Exception: whatever this type raises where its tiny model cannot be made.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = tiny(model_type, **more)
    with torch.device("meta"):
        count = sum(
            x.numel() for x in AutoModelForSequenceClassification.from_config(config).parameters()
        )
    if count > MOST_PARAMETERS:
        raise ValueError(f"{count} parameters")
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    encoders.tokenizer().save_pretrained(folder)


def outcome(models: Path, cache: Path, name: str, role: str) -> tuple[str, str]:
    """What becomes of a model in a role beside sound ones, and what was said.

    `trains`; `refused` before anything is prepared; `late`: refused while it is prepared;
    `raises`: anything else.
    """
    fine = {"pool": "custom", "expert_costs": [1, 2], "router_cost": 0.1, "max_length": LONGEST}
    settings = fine | {
        "expert_model_names": ["org/bert2" if role == "stem" else name, "org/bert3"],
        "router_model_name": name if role == "stem" else "org/bert2",
        "tokenizer_model_name": "org/bert2",
        "train_rows": 24,
        "validation_rows": 16,
        "expert_epochs": 1,
        "expert_learning_rate": 1e-3,
        **ROLES[role],
    }
    places = Places(source=Source(kind="sample"), models=Models(models), cache=cache)
    began = "refused"
    try:
        config = trial_config(settings)
        check_inputs(config, places)
        began = "late"
        prepare(config, places)
    except (ModelError, ConfigError) as error:
        return began, str(error)
    except Exception as error:  # whatever is raised is what this looks for
        return "raises", f"{type(error).__name__}: {str(error)[:200]}"
    return "trains", ""


def sound_models(folder: Path) -> None:
    """The models that stand beside the one that is looked at."""
    save_tiny(folder / "org" / "bert2", "bert")
    save_tiny(folder / "org" / "bert3", "bert", num_hidden_layers=3)


def table(folder: Path, types: list[str]) -> list[tuple[str, str, str, str]]:
    """(type, role, what became of it, what was said) of every type and role."""
    sound_models(folder / "models")
    rows = []
    for model_type in types:
        place = folder / "models" / "org" / model_type
        try:
            save_tiny(place, model_type)
        except Exception as error:
            rows.append((model_type, "", "not made", f"{type(error).__name__}: {str(error)[:200]}"))
            continue
        for role in ROLES:
            cache = folder / "cache"
            rows.append(
                (model_type, role, *outcome(folder / "models", cache, f"org/{model_type}", role))
            )
        shutil.rmtree(place)
    return rows
