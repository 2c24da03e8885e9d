"""The networks that L2-CAF wraps: how they are built, described by a configuration, read and kept unchanged."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from ...configuration.configuration_l2_caf import L2CafConfig
from ..modeling_base import lacking_weights, refuse_random_weights
from .embedding_networks import ImageEmbeddingNetwork, RecurrentEmbeddingNetwork

# Where the output of a network is looked for, in this order.
LOGITS_NAMES = ("logits",)
EMBEDDING_NAMES = ("image_embeds", "embeddings", "embedding", "pooler_output")


def build_network(config: L2CafConfig) -> nn.Module:
    """Build the network that a configuration describes, with fresh weights.

    Raises:
        ValueError: when it describes none.
    """
    if config.network_config is None:
        raise ValueError(
            "network_config is missing, so the wrapped network cannot be built; pass network=... or use "
            "L2CafForObjectLocalization.from_network"
        )
    # Loading with another id2label changes the configuration after it was made.
    config.share_classes()
    if config.task == "classification":
        return AutoModelForImageClassification.from_config(config.network_config)
    encoder = AutoModel.from_config(config.network_config)
    if config.task == "retrieval" and config.embedding_size is None:
        return encoder
    num_channels = _num_channels(config.network_config)
    embedding_size = num_channels if config.embedding_size is None else config.embedding_size
    if config.task == "retrieval":
        return ImageEmbeddingNetwork(encoder, num_channels, embedding_size, config.normalize_embedding)
    return RecurrentEmbeddingNetwork(
        encoder, num_channels, config.lstm_hidden_size, embedding_size, config.normalize_embedding
    )


def load_network(model_or_id: nn.Module | str) -> tuple[nn.Module, dict[str, Any]]:
    """Give a network and what `L2CafConfig` has to know of it.

    Raises:
        OSError: when an id or folder cannot be loaded.
        ValueError: when it holds no image classifier, or not all of one.
    """
    if not isinstance(model_or_id, nn.Module):
        try:
            network, info = AutoModelForImageClassification.from_pretrained(
                model_or_id, output_loading_info=True, ignore_mismatched_sizes=True
            )
        except ValueError as error:
            if not str(error).startswith("Unrecognized configuration class"):
                raise
            # transformers lists the configurations of all classifiers that it knows.
            kind = AutoConfig.from_pretrained(model_or_id).model_type
            raise ValueError(
                f"{model_or_id} is a {kind}, which transformers opens as no image classifier; name a classifier, or "
                "open the network yourself and give it to L2CafForObjectLocalization.from_network"
            ) from None
        refuse_random_weights(lacking_weights(info), model_or_id)
        return network, {**_described(network), **_preprocessing(model_or_id)}
    return model_or_id, _described(model_or_id)


def read_output(answer: Any) -> torch.Tensor:
    """Take logits or an embedding, (B, K), from whatever a network returns.

    Raises:
        ValueError: when there is neither.
    """
    if torch.is_tensor(answer):
        found = answer
    else:
        names = (*LOGITS_NAMES, *EMBEDDING_NAMES)
        found = next((part for name in names if (part := getattr(answer, name, None)) is not None), None)
        if found is None:
            raise ValueError(
                f"the network returns {type(answer).__name__} with neither logits nor an embedding "
                f"({', '.join(names)}); wrap it in a module that returns one tensor (B, K)"
            )
    if found.dim() == 4 and found.shape[-2:] == (1, 1):
        found = found.flatten(1)
    if found.dim() != 2:
        raise ValueError(
            f"the network's output must be logits or an embedding of shape (B, K), got {tuple(found.shape)}; wrap it "
            "in a module that returns one tensor (B, K)"
        )
    return found


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode and leave every module in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        # The fused recurrent kernels have no backward pass in eval mode.
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not _is_recurrent(network)):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _is_recurrent(network: nn.Module) -> bool:
    return any(isinstance(module, nn.RNNBase) for module in network.modules())


def _described(network: nn.Module) -> dict[str, Any]:
    """Give the fields of `L2CafConfig` that a network answers itself."""
    if isinstance(network, RecurrentEmbeddingNetwork | ImageEmbeddingNetwork):
        found = {"embedding_size": network.embedding.out_features, "normalize_embedding": network.normalize}
        found["network_config"] = getattr(network.encoder, "config", None)
        if isinstance(network, ImageEmbeddingNetwork):
            return {**found, "task": "retrieval"}
        return {**found, "task": "video_retrieval", "lstm_hidden_size": network.lstm.hidden_size}
    if not isinstance(network, PreTrainedModel):
        return {}
    config = network.config
    is_classifier = "ForImageClassification" in type(network).__name__
    found = {"network_config": config, "task": "classification" if is_classifier else "retrieval"}
    size = getattr(config, "image_size", None)
    cfg = getattr(config, "pretrained_cfg", None) or {}
    if cfg.get("input_size"):
        found |= {"image_size": list(cfg["input_size"][-2:])}
    elif size is not None:
        found |= {"image_size": size if isinstance(size, int) else list(size)}
    if cfg.get("mean"):
        found |= {"image_mean": list(cfg["mean"]), "image_std": list(cfg["std"])}
    return found


def _preprocessing(model_id: str) -> dict[str, Any]:
    """Read mean and deviation from the processor that is stored with a network, if one is."""
    try:
        processor = AutoImageProcessor.from_pretrained(model_id)
    except (OSError, ValueError):
        warnings.warn(f"{model_id} has no image processor; ImageNet's mean and deviation are assumed", stacklevel=3)
        return {}
    if getattr(processor, "image_mean", None) is None:
        return {}
    return {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}


def _num_channels(config: PreTrainedConfig) -> int:
    """Give the channels of an encoder's last feature map."""
    sizes = getattr(config, "hidden_sizes", None)
    if sizes:
        return sizes[-1]
    if getattr(config, "hidden_size", None):
        return config.hidden_size
    raise ValueError(f"{type(config).__name__} does not say how many channels its feature map has (hidden_sizes)")
