"""Official Semiformer checkpoints as `SemiformerForImageClassification`, and back (wengzejia1/Semiformer, commit
0e3b5be).

The weights lie in a file under `model`, and their moving average under `model_ema`.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import torch

from ..configuration.configuration_semiformer import STEM_STRIDE, SemiformerConfig
from ..modeling.modeling_semiformer import SemiformerForImageClassification
from .official_checkpoints import WEIGHT_KEYS, load_strictly, read_state_dict

logger = logging.getLogger(__name__)

PARALLEL_PREFIX = "module."
# Parts of names, ours and the official ones, by the place they have in a name.
CONV_PARTS = (
    ("reduce.", "conv1."),
    ("reduce_norm.", "bn1."),
    ("spatial.", "conv2."),
    ("spatial_norm.", "bn2."),
    ("expand.", "conv3."),
    ("expand_norm.", "bn3."),
    ("projection.", "residual_conv."),
    ("projection_norm.", "residual_bn."),
)
MIXER_PARTS = (
    ("spatial.", "conv1."),
    ("spatial_norm.", "norm1."),
    ("channels.", "conv2."),
    ("channels_norm.", "norm2."),
)
TRANSFORMER_PARTS = (
    ("attention_norm.", "norm1."),
    ("attention.qkv.", "attn.qkv."),
    ("attention.output.", "attn.proj."),
    ("mlp_norm.", "norm2."),
    ("mlp.0.", "mlp.fc1."),
    ("mlp.2.", "mlp.fc2."),
)
TOP = (
    ("stem.convolution.", "conv1."),
    ("stem.norm.", "bn1."),
    ("conv_embeddings.convolution.", "convmix1_embed.0."),
    ("conv_embeddings.norm.", "convmix1_embed.2."),
    ("embeddings.patches.", "trans_patch_conv."),
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.positions", "pos_embed"),
    ("norm.", "trans_norm."),
    ("classifier.conv.", "conv_cls_head."),
    ("classifier.transformer.", "trans_cls_head."),
)
UNIT_PARTS = {
    "down": ("squeeze_block", (("projection.", "conv_project."), ("norm.", "ln."))),
    "up": ("expand_block", (("projection.", "conv_project."), ("norm.", "bn."))),
}
# Options of the official classes: those that say something, and those that are accepted and ignored there.
OPTIONS = {
    "patch_size": "patch_size",
    "in_chans": "num_channels",
    "num_classes": "num_labels",
    "base_channel": "conv_base_channels",
    "channel_ratio": "conv_channel_ratio",
    "num_med_block": "num_med_blocks",
    "convmixer_dim": "convmixer_dim",
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "qk_scale": "qk_scale",
    "drop_rate": "hidden_dropout_prob",
    "attn_drop_rate": "attention_probs_dropout_prob",
    "drop_path_rate": "drop_path_rate",
}
IGNORED_OPTIONS = frozenset({"add_direct", "cross_attn", "cnn2trans", "trans2cnn", "drop_block", "official_class"})
CLASSES = {
    "Semiformer": {},
    "Semiformer_PE": {"use_position_embeddings": True},
    "Semiformer_convmixer": {"conv_stream": "convmixer", "patch_size": 16},
}
HEADS = ("conv_cls_head.", "trans_cls_head.")


def convert_semiformer(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], official_config: Mapping[str, Any]
) -> SemiformerForImageClassification:
    """Convert a network.

    Args:
        checkpoint: a file or what it holds: weights by official names, alone or under `model`.
        official_config: constructor options by official names, and `official_class`. Missing ones follow from the
            weights where these tell, and are else the small model's. Fields of `SemiformerConfig` may stand beside
            them. `"weights": "model_ema"` takes the moving average; `"new_classes": True` drops both heads, where
            `num_classes` is another, and says so.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: unknown options, a checkpoint of another network (names the first weights that differ), or weights
            left over on either side.
    """
    options = dict(official_config)
    part, drops_heads = options.pop("weights", "model"), options.pop("new_classes", False)
    weights = read_state_dict(checkpoint, (part,) if part != "model" else ("model", *WEIGHT_KEYS))
    weights = {name.removeprefix(PARALLEL_PREFIX): value for name, value in weights.items()}
    if "cls_token" not in weights or "trans_patch_conv.weight" not in weights:
        raise ValueError(
            f"the checkpoint is not of Semiformer: it lacks cls_token or trans_patch_conv.weight under {part!r}"
        )
    config = config_from_official(options, weights)
    model = SemiformerForImageClassification(config)
    names = official_names(model)
    if drops_heads:
        _keep_new_heads(weights, names, model)
    by_official = {official: name for name, official in names.items()}
    ours = {by_official.get(official, official): value for official, value in weights.items()}
    load_strictly(model, ours, names | {name: name for name in ours if name not in names})
    return model.eval()


def export_semiformer(model: SemiformerForImageClassification) -> dict[str, torch.Tensor]:
    """Give a model's weights under their official names, for the official code.

    Raises:
        ValueError: a model of one stream, which the official code does not have.
    """
    if model.config.streams != "both":
        raise ValueError(f"the official code has both streams, but this model has streams={model.config.streams!r}")
    names = official_names(model)
    return {names[name]: value.detach().clone() for name, value in model.state_dict().items()}


def official_names(model: SemiformerForImageClassification) -> dict[str, str]:
    """Give the official name of each weight and buffer of a model, by its own name."""
    conv_parts = MIXER_PARTS if model.config.conv_stream == "convmixer" else CONV_PARTS
    return {name: _official_name(name, conv_parts) for name in model.state_dict()}


def config_from_official(options: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> SemiformerConfig:
    """Make the configuration that official options and weights describe.

    Raises:
        ValueError: for options that nobody knows.
    """
    known = OPTIONS.keys() | IGNORED_OPTIONS
    if unknown := [name for name in options if name not in known and not SemiformerConfig.has_field(name)]:
        raise ValueError(f"official_config has options that Semiformer does not know: {', '.join(unknown)}")
    name = options.get("official_class", _class_of(weights))
    if name not in CLASSES:
        raise ValueError(f"official_class must be one of {', '.join(CLASSES)}, got {name!r}")
    settings = {OPTIONS.get(key, key): value for key, value in options.items() if key not in IGNORED_OPTIONS}
    settings |= CLASSES[name]
    settings.setdefault("hidden_size", weights["cls_token"].shape[-1])
    settings.setdefault("num_labels", len(weights.get("trans_cls_head.weight", ())) or 1000)
    if name == "Semiformer_convmixer":
        settings.setdefault("convmixer_dim", len(weights["conv_1.conv1.weight"]))
    else:
        settings.setdefault("patch_size", STEM_STRIDE * weights["trans_patch_conv.weight"].shape[-1])
        blocks = [int(found[1]) for key in weights if (found := re.match(r"conv_trans_(\d+)\.", key))]
        settings.setdefault("num_hidden_layers", max(blocks, default=0))
        base = settings.setdefault("conv_base_channels", SemiformerConfig.conv_base_channels)
        settings.setdefault("conv_channel_ratio", len(weights["conv_1.conv3.weight"]) / base)
    return SemiformerConfig(**settings)


def _class_of(weights: Mapping[str, torch.Tensor]) -> str:
    if "convmix1_embed.0.weight" in weights:
        return "Semiformer_convmixer"
    return "Semiformer_PE" if "pos_embed" in weights else "Semiformer"


def _official_name(name: str, conv_parts: tuple[tuple[str, str], ...]) -> str:
    if name.startswith("first_conv."):
        return "conv_1." + _renamed(name.removeprefix("first_conv."), conv_parts)
    if name.startswith("first_transformer."):
        return "trans_1." + _renamed(name.removeprefix("first_transformer."), TRANSFORMER_PARTS)
    if not name.startswith("blocks."):
        return _renamed(name, TOP)
    _, number, part, rest = name.split(".", 3)
    block = f"conv_trans_{int(number) + 2}"
    if part in UNIT_PARTS:
        unit, parts = UNIT_PARTS[part]
        return f"{block}.{unit}.{_renamed(rest, parts)}"
    if part == "transformer":
        return f"{block}.trans_block.{_renamed(rest, TRANSFORMER_PARTS)}"
    if part == "middle":
        middle, rest = rest.split(".", 1)
        return f"{block}.med_block.{middle}.{_renamed(rest, conv_parts)}"
    return f"{block}.{ {'conv': 'cnn_block', 'fusion_conv': 'fusion_block'}[part] }.{_renamed(rest, conv_parts)}"


def _renamed(name: str, parts: tuple[tuple[str, str], ...]) -> str:
    ours, official = next((ours, official) for ours, official in parts if name.startswith(ours))
    return official + name.removeprefix(ours)


def _keep_new_heads(
    weights: dict[str, torch.Tensor], names: Mapping[str, str], model: SemiformerForImageClassification
) -> None:
    """Take the model's own, random heads instead of the checkpoint's."""
    own = {names[name]: value for name, value in model.state_dict().items() if names[name].startswith(HEADS)}
    weights.update(own)
    logger.warning("these start afresh and are to be trained: %s", ", ".join(own))
