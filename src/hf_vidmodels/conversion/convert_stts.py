"""Published checkpoints as `SttsForVideoClassification`.

Read are official STTS files of both trees (wangjk666/STTS, commit 6ae3404), MViT files of SlowFast, Video Swin files,
and the weights of torchvision's `mvit_v1_b` and `swin3d_{t,s,b}`. The weights' names tell them apart; what options
leave out is read from the weights where these decide it, and else has the value of the release.
"""

import logging
import os
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch

from ..configuration.configuration_stts import SttsConfig
from ..modeling.modeling_stts import SttsForVideoClassification
from .official_checkpoints import listed, load_strictly, read_state_dict
from .stts_layouts import Layout, recognize_layout
from .stts_options import config_from_official

logger = logging.getLogger(__name__)

SELECTORS = ("temporal_selectors.", "spatial_selectors.")
SELECTION_OPTIONS = {
    ("mvit", "temporal"): "MVIT.TIME_PRUNING_LOC and MVIT.TIME_LEFT_RATIO",
    ("mvit", "spatial"): "MVIT.SPACE_PRUNING_LOC and MVIT.SPACE_LEFT_RATIO",
    ("video_swin", "temporal"): "time_pruning_loc and time_left_ratio of the backbone",
    ("video_swin", "spatial"): "space_pruning_loc and space_left_ratio of the backbone",
}


def convert_stts(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any],
    official_config: Mapping[str, Any],
    allow_new_scorer: bool = False,
) -> SttsForVideoClassification:
    """Convert one network.

    Args:
        checkpoint: a file or a state dict of one of the layouts above.
        official_config: options by their official names: of the MViT tree flat (`"MVIT.DEPTH"`) or nested, of the
            Video Swin tree `{"backbone": {...}, "cls_head": {...}}`. Fields of `SttsConfig` may stand beside them and
            win, which is how selectors are added to weights of other projects.
        allow_new_scorer: let scorers that the checkpoint lacks start at random (from torch's generator), to train
            them; also an option `"allow_new_scorer"` of `official_config`.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: weights of an unknown layout, options that contradict each other or the weights (the message names
            the field that would fit), or weights left over on either side.
    """
    options = dict(official_config)
    allow_new_scorer = options.pop("allow_new_scorer", allow_new_scorer)
    layout = recognize_layout(read_state_dict(checkpoint))
    config = config_from_official(options, layout)
    _check_number_of_scorers(layout, config)
    model = SttsForVideoClassification(config)
    names = {key: layout.name_of(key) for key in model.state_dict()}
    weights = {key: value for key in names if (value := layout.find(key)) is not None}
    leftover = {name: value for name, value in layout.weights.items() if name not in set(names.values())}
    if allow_new_scorer:
        _keep_new_scorers(weights, model)
    elif missing := [names[key] for key in names if key not in weights and key.startswith(SELECTORS)]:
        raise ValueError(
            f"the checkpoint lacks scorers of the selection that the options ask for: {listed(missing)}; to train new "
            "ones say allow_new_scorer=True, or ask for no selection"
        )
    _check_shapes(weights, names, model)
    load_strictly(model, weights | leftover, names | {name: name for name in leftover})
    return model.eval()


def _check_number_of_scorers(layout: Layout, config: SttsConfig) -> None:
    """Refuse a checkpoint with scorers that no option places."""
    plans = config.selector_plans() if config.selection_mode == "learned" else []
    for kind in ("temporal", "spatial"):
        there, wanted = layout.num_scorers(kind), sum(plan.kind == kind for plan in plans)
        if there > wanted:
            raise ValueError(
                f"the checkpoint holds {there} {kind} scorers but the options place {wanted}; give "
                f"{SELECTION_OPTIONS[layout.backbone_type, kind]}"
            )


def _keep_new_scorers(weights: dict[str, torch.Tensor], model: SttsForVideoClassification) -> None:
    """Take the model's own scorers where the checkpoint has none at all."""
    own = {key: value for key, value in model.state_dict().items() if key.startswith(SELECTORS)}
    scorers = {key.partition(".scorer.")[0] for key in own}
    new = sorted(scorer for scorer in scorers if not any(key.startswith(f"{scorer}.") for key in weights))
    weights.update({key: value for key, value in own.items() if key.partition(".scorer.")[0] in new})
    if new:
        logger.warning("new scorers, to be trained: %s", ", ".join(new))


def _check_shapes(weights: Mapping[str, torch.Tensor], names: Mapping[str, str], model: torch.nn.Module) -> None:
    """Refuse a weight of another shape, saying which field would fit."""
    for key, expected in model.state_dict().items():
        if key in weights and weights[key].shape != expected.shape:
            there, wanted = tuple(weights[key].shape), tuple(expected.shape)
            raise ValueError(
                f"{names[key]} has shape {there} but the options ask for {wanted}: "
                f"{_fitting_field(key, there, wanted, model.config)}"
            )


def _fitting_field(key: str, there: tuple[int, ...], wanted: tuple[int, ...], config: SttsConfig) -> str:
    """Name the field that shapes a weight, with the value that would fit where the shape tells it."""
    if key.startswith("classifier.") and there[0] != wanted[0]:
        return f"num_labels={there[0]} would fit"
    if key.endswith(".position_bias_table"):
        if there[0] != wanted[0]:
            return (
                f"window_size={list(config.backbone_config.window_size)} has {wanted[0]} relative positions and the "
                f"checkpoint's window {there[0]}; give the window_size that it was trained with"
            )
        return f"num_attention_heads={there[1]} would fit this stage"
    if key.endswith(".temporal_positions") and there[1] != wanted[1]:
        return f"num_frames={there[1] * config.backbone_config.patch_stride[0]} would fit"
    if key.endswith(".spatial_positions") and there[1] != wanted[1]:
        return f"image_size={isqrt(there[1]) * config.backbone_config.patch_stride[1]} would fit"
    if key.endswith(".positions") and there[1] != wanted[1]:
        return "another num_frames or image_size would fit"
    if key.endswith("embeddings.projection.weight") and there[1:] != wanted[1:]:
        return f"num_channels={there[1]} and patch_size={list(there[2:])} would fit"
    if key.startswith("backbone.embeddings."):
        return f"hidden_size={there[0] if 'projection' in key else there[-1]} would fit"
    if "_pooling.convolution." in key and there[2:] != wanted[2:]:
        return f"pool_kvq_kernel={list(there[2:])} would fit, or pool_kv_kernel for one block"
    if "_pooling." in key:
        return f"heads of width {there[0]} would fit, by num_attention_heads and head_mul"
    if ".mlp." in key:
        return "another mlp_ratio, hidden_size or dim_mul would fit"
    if key.startswith(SELECTORS):
        return "the selector belongs before a layer of another width; change the layers of the selection"
    return "another hidden_size or dim_mul would fit"
