"""The shared stem: experts that begin where the stem ends, and which encoders can be cut so.

Embeddings and the first n layers run once an example; each expert is its layers from the n-th on,
with its head. It remains a `BertExpert`, whose encoder is handed hidden states instead of token
numbers. Letters: B examples, T tokens, F features, n layers of the stem.
"""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor, nn

from mpc_router.config.trial import TrialConfig
from mpc_router.model.encoders import blank_encoder, depth_of
from mpc_router.model.experts import BertExpert
from mpc_router.model.reading import load_config, reading
from mpc_router.model.sources import ModelError, Models

_WHOLE: Final = "set shared_stem=false, or name a stem and experts that fit"


class _StemStates(nn.Module):
    """Stands in place of an encoder's embeddings and passes hidden states (B, T, F) on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        """Layers n that these states have passed."""

    def forward(
        self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, **_: object
    ) -> Tensor:
        """Gives the states back, by whichever argument they come."""
        states = inputs_embeds if input_ids is None else input_ids
        assert states is not None
        return states


def base_of(expert: BertExpert) -> Any:
    """Gives an expert's encoder: the module that has `embeddings` and `encoder.layer`."""
    body: Any = expert.body
    return body.base_model if expert.fine_tuned else body.encoder


def layers_of(encoder: Any, name: str) -> nn.ModuleList:
    """Gives the layers of an encoder.

    Raises:
        ModelError: they do not lie where BERT's do.
    """
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(encoder, "embeddings"):
        raise ModelError(
            f"{name} ({type(encoder).__name__}) is not built like BERT (embeddings, encoder.layer)"
            "; set shared_stem=false and trainable=all, or name one that is"
        )
    return layers


def behind_stem(expert: BertExpert, after: int) -> BertExpert:
    """Cuts an expert in place to its layers from number `after` on, and returns it.

    What it takes as `input_ids` are then the stem's hidden states (B, T, F). With as many layers
    as the stem it is a head alone.

    Raises:
        ModelError: it is not built like BERT, or has fewer layers.
    """
    base = base_of(expert)
    layers = layers_of(base, expert.name)
    if after > len(layers):
        raise ModelError(_too_shallow(expert.name, len(layers), after))
    base.embeddings = _StemStates(after)
    base.encoder.layer = nn.ModuleList(list(layers)[after:])
    return expert


def layers_before(expert: BertExpert) -> int | None:
    """Gives the layers n of the stem before an expert; None if it is a whole encoder."""
    embeddings = getattr(base_of(expert), "embeddings", None)
    return embeddings.after if isinstance(embeddings, _StemStates) else None


def check_layers(name: str, models: Models) -> None:
    """Makes sure that an encoder is built like BERT, without reading its weights.

    Raises:
        ModelError: it is not.
    """
    resolved = models.resolve(name)
    with reading(resolved):
        layers_of(blank_encoder(load_config(resolved)), name)


def check_shared_stem(config: TrialConfig, models: Models, *, fine_tuned: bool) -> None:
    """Checks, from the models' configurations alone, that a stem can be shared.

    `fine_tuned` experts have learned the task on the states of their own first layers, so they
    stand only behind a stem that is the same model.

    Raises:
        ModelError: stem and experts differ in kind or width, an expert ends before the stem, or
            is fine-tuned and of another model.
    """
    model = config.model
    if fine_tuned:
        same = {models.resolve(name).path_or_name for name in model.expert_model_names}
        if same != {models.resolve(model.router_model_name).path_or_name}:
            raise ModelError(
                "shared_stem=true puts the experts' last layers on the stem's states, and experts "
                "that were fine-tuned before (expert_start=fine_tuned, router=supervised) know "
                "only their own; set expert_start=checkpoint and router=gated, or make "
                "router_model_name the experts' own model"
            )
    stem = load_config(models.resolve(model.router_model_name))
    after = model.router_stem_layers or depth_of(stem)
    for name, layers in zip(model.expert_model_names, model.expert_layers, strict=True):
        expert = load_config(models.resolve(name))
        if expert.model_type != stem.model_type:
            raise ModelError(
                f"shared_stem=true needs encoders of one kind: the stem {model.router_model_name} "
                f"is of type {stem.model_type!r}, {name} of type {expert.model_type!r}; {_WHOLE}"
            )
        if expert.hidden_size != stem.hidden_size:
            raise ModelError(
                f"shared_stem=true needs encoders of one width: the stem "
                f"{model.router_model_name} has {stem.hidden_size} features, {name} has "
                f"{expert.hidden_size}; {_WHOLE}"
            )
        depth = layers or depth_of(expert)
        if depth < after:
            raise ModelError(_too_shallow(name, depth, after))
    for name in sorted({model.router_model_name, *model.expert_model_names}):
        check_layers(name, models)


def _too_shallow(name: str, depth: int, after: int) -> str:
    return (
        f"shared_stem=true makes experts of the layers after the stem's: the stem has {after}, "
        f"{name} only {depth}; set router_stem_layers={depth} or less"
    )
