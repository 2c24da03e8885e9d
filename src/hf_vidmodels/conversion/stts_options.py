"""Official options of both STTS trees as fields of `SttsConfig`."""

import logging
from collections.abc import Mapping
from math import isqrt
from typing import Any

from ..configuration.configuration_backbones import MvitConfig
from ..configuration.configuration_stts import SttsConfig
from .official_checkpoints import listed
from .stts_layouts import Layout, fields_found

logger = logging.getLogger(__name__)

MVIT_FIELDS = {
    "MODEL.NUM_CLASSES": "num_labels",
    "MODEL.DROPOUT_RATE": "classifier_dropout",
    "DATA.NUM_FRAMES": "num_frames",
    "DATA.TRAIN_CROP_SIZE": "image_size",
    "MVIT.MODE": "pool_mode",
    "MVIT.CLS_EMBED_ON": "use_cls_token",
    "MVIT.SEP_POS_EMBED": "separable_pos_embed",
    "MVIT.PATCH_KERNEL": "patch_size",
    "MVIT.PATCH_STRIDE": "patch_stride",
    "MVIT.PATCH_PADDING": "patch_padding",
    "MVIT.EMBED_DIM": "hidden_size",
    "MVIT.NUM_HEADS": "num_attention_heads",
    "MVIT.MLP_RATIO": "mlp_ratio",
    "MVIT.QKV_BIAS": "qkv_bias",
    "MVIT.DROPPATH_RATE": "drop_path_rate",
    "MVIT.DROPOUT_RATE": "hidden_dropout_prob",
    "MVIT.DEPTH": "num_hidden_layers",
    "MVIT.NORM_STEM": "norm_stem",
    "MVIT.DIM_MUL": "dim_mul",
    "MVIT.HEAD_MUL": "head_mul",
    "MVIT.POOL_Q_STRIDE": "pool_q_stride",
    "MVIT.POOL_KV_STRIDE_ADAPTIVE": "pool_kv_stride_adaptive",
    "MVIT.POOL_KV_STRIDE": "pool_kv_stride",
    "MVIT.POOL_KVQ_KERNEL": "pool_kvq_kernel",
    "MVIT.TIME_PRUNING_LOC": "temporal_select_layers",
    "MVIT.TIME_LEFT_RATIO": "temporal_keep_ratios",
    "MVIT.SPACE_PRUNING_LOC": "spatial_select_layers",
    "MVIT.SPACE_LEFT_RATIO": "spatial_keep_ratios",
    "MVIT.SIGMA": "sigma",
}
SWIN_FIELDS = {
    "backbone.num_frames": "num_frames",
    "backbone.image_size": "image_size",
    "backbone.in_chans": "num_channels",
    "backbone.patch_size": "patch_size",
    "backbone.window_size": "window_size",
    "backbone.mlp_ratio": "mlp_ratio",
    "backbone.qkv_bias": "qkv_bias",
    "backbone.drop_rate": "hidden_dropout_prob",
    "backbone.attn_drop_rate": "attention_probs_dropout_prob",
    "backbone.drop_path_rate": "drop_path_rate",
    "backbone.patch_norm": "patch_norm",
    "backbone.embed_dim": "hidden_size",
    "backbone.depths": "depths",
    "backbone.num_heads": "num_attention_heads",
    "backbone.time_pruning_loc": "temporal_select_layers",
    "backbone.time_left_ratio": "temporal_keep_ratios",
    "backbone.space_pruning_loc": "spatial_select_layers",
    "backbone.space_left_ratio": "spatial_keep_ratios",
    "backbone.sigma": "sigma",
    "cls_head.num_classes": "num_labels",
    "cls_head.dropout_ratio": "classifier_dropout",
}
FIELDS_OF_OPTIONS = {"mvit": MVIT_FIELDS, "video_swin": SWIN_FIELDS}
# Options that the network knows one value of.
FIXED_OPTIONS = {
    "MVIT.PATCH_2D": False,
    "MVIT.NORM": "layernorm",
    "MVIT.TIME_SCORE": "tpool",
    "MVIT.SPACE_SCORE": "spatch",
    "backbone.time_score": "tpool",
    "backbone.space_score": "spatch",
    "backbone.qk_scale": None,
    "cls_head.spatial_type": "avg",
}
# Read apart, or known to change nothing here.
OTHER_OPTIONS = {
    "DATA.TEST_CROP_SIZE",
    "DATA.INPUT_CHANNEL_NUM",
    "backbone.type",
    "backbone.frozen_stages",
    "backbone.use_checkpoint",
    "backbone.pretrained",
    "backbone.pretrained2d",
    "cls_head.type",
    "cls_head.in_channels",
}
SELECTION_LISTS = (
    "temporal_select_layers",
    "temporal_keep_ratios",
    "spatial_select_layers",
    "spatial_keep_ratios",
)
POOLED_PARTS = ("key_pooling.convolution", "key_pooling.norm", "value_pooling.convolution", "value_pooling.norm")


def config_from_official(official_config: Mapping[str, Any], layout: Layout) -> SttsConfig:
    """Translate options; those left out are read from the weights, or have the values of the release.

    Options that do not shape the model are ignored; those not known to be so are named in a log warning.

    Raises:
        ValueError: options for the other backbone, a value that the network does not know, or fields that contradict
            each other.
    """
    options = _flattened(official_config)
    own = {name: options.pop(name) for name in list(options) if _is_own(name)}
    own |= own.pop("backbone_config", {})
    _check_backbone(options, layout)
    names = FIELDS_OF_OPTIONS[layout.backbone_type]
    settings = {field: options[name] for name, field in names.items() if name in options}
    if layout.backbone_type == "mvit":
        _read_mvit_options(options, settings)
    for name, value in FIXED_OPTIONS.items():
        if options.get(name, value) not in (value, None):
            raise ValueError(f"the official option {name} must be {value!r} for this model, got {options[name]!r}")
    if unused := sorted(set(options) - set(names) - set(FIXED_OPTIONS) - OTHER_OPTIONS):
        logger.warning("these official options have no effect on the model: %s", listed(unused))
    for name in SELECTION_LISTS:
        settings[name] = list(settings.get(name) or ())
    settings |= {} if layout.is_torchvision else {"anchor_sizing": "official"}
    given = settings | own
    found = fields_found(layout) | _sizes_found(layout, given)
    if layout.backbone_type == "mvit" and "pool_kv_kernel" not in given:
        found |= _unpooled_blocks(layout, found | given)
    return SttsConfig(**{**found, **given, "backbone_type": layout.backbone_type})


def _is_own(name: str) -> bool:
    return name == "num_labels" or SttsConfig.has_field(name)


def _flattened(official_config: Mapping[str, Any]) -> dict[str, Any]:
    """Give options by dotted names, whether they came flat, nested, or inside the sections of a configuration file."""
    for section in ("official", "model"):
        if isinstance(official_config.get(section), Mapping):
            official_config = official_config[section]
    options: dict[str, Any] = {}
    for name, value in official_config.items():
        if isinstance(value, Mapping) and not _is_own(name):
            options |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            options[name] = value
    return options


def _check_backbone(options: Mapping[str, Any], layout: Layout) -> None:
    for backbone_type, prefixes in (("mvit", ("MVIT.",)), ("video_swin", ("backbone.", "cls_head."))):
        if backbone_type != layout.backbone_type and (
            names := [name for name in options if name.startswith(prefixes)]
        ):
            raise ValueError(
                f"the weights are of backbone_type {layout.backbone_type!r}, but {names[0]} is an option of "
                f"{backbone_type!r}; give the options that belong to the checkpoint"
            )


def _read_mvit_options(options: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """Read options that are more than a field by another name."""
    if channels := options.get("DATA.INPUT_CHANNEL_NUM"):
        settings["num_channels"] = channels[0]
    sizes = [options[name] for name in ("DATA.TRAIN_CROP_SIZE", "DATA.TEST_CROP_SIZE") if name in options]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"DATA.TRAIN_CROP_SIZE and DATA.TEST_CROP_SIZE must be equal, because the positional tables belong to one "
            f"size, got {sizes[0]} and {sizes[1]}"
        )
    # The official code writes the strides that it works out from the adaptive one back beside it.
    if settings.get("pool_kv_stride_adaptive") is not None:
        settings.pop("pool_kv_stride", None)
    elif settings.get("pool_kv_stride"):
        settings["pool_kv_stride_adaptive"] = None
    else:
        settings.pop("pool_kv_stride", None)


def _sizes_found(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read the clip's size from an MViT's positional tables."""
    found = {}
    stride = given.get("patch_stride", MvitConfig().patch_stride)
    if (table := layout.find("backbone.embeddings.temporal_positions")) is not None:
        found["num_frames"] = table.shape[1] * stride[0]
    if (table := layout.find("backbone.embeddings.spatial_positions")) is not None:
        found["image_size"] = isqrt(table.shape[1]) * stride[1]
    return found


def _unpooled_blocks(layout: Layout, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Find blocks whose keys and values an older MViT did not pool, where this changes no grid.

    Files with scorers are of the STTS code, which pools in all blocks: what they lack is missing.
    """
    config = SttsConfig(**{**settings, "backbone_type": "mvit"})
    if config.backbone_config.pool_mode != "conv" or layout.num_scorers("temporal") or layout.num_scorers("spatial"):
        return {}
    blocks = [
        block
        for block, plan in enumerate(config.backbone_config.block_plans())
        if plan.key_value_pooling is not None
        and set(plan.key_value_pooling.stride) == {1}
        and all(layout.find(f"backbone.blocks.{block}.attention.{part}.weight") is None for part in POOLED_PARTS)
    ]
    if not blocks:
        return {}
    logger.warning(
        "the checkpoint pools no keys and values in blocks %s, as SlowFast did until June 2021; the model is built "
        "likewise (pool_kv_kernel)",
        ", ".join(map(str, blocks)),
    )
    return {"pool_kv_kernel": {block: [1, 1, 1] for block in blocks}}
