"""Official STEP checkpoints (NVlabs/STEP, commit 59da38a) as `StepForActionDetection`.

A release is a dict of networks: `base_net` and `context_net`, saved under data parallelism with `module.` before
their names, and `det_net0` and so on. The file of the first phase, which classifies boxes, has one head without local
branch.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..configuration.configuration_step import CLASSIFICATION, StepConfig
from ..modeling.modeling_step import StepForActionDetection
from .i3d_weights import BLOCK_PLACES, COUNTER, STEM_PLACES, is_kinetics_network, unit_name
from .official_checkpoints import load_strictly, read_state_dict, read_weight_file

NETWORK = re.compile(r"base_net|context_net|det_net\d+")
STEM_WEIGHT = "base_net.base_model.0.conv3d.weight"
FULL_STEM_WIDTH = 64
HEAD_LAYERS = {
    "downsample": "projection",
    "global_cls": "classifier",
    "downsample2": "local.projection",
    "local_reg": "local.deltas",
    "neighbor_reg1": "local.first_deltas",
    "neighbor_reg2": "local.last_deltas",
}
FIRST_BOTTLENECK = {"conv1": "shortcut", "conv2": "reduce", "conv3": "spatial", "conv4": "expand"}
OTHER_BOTTLENECKS = {"conv1": "reduce", "conv2": "spatial", "conv3": "expand"}
# Scales and overlaps by the official name of a set of cuboids.
ANCHOR_MODES = {
    "1": ((4 / 3, 2), (5 / 6, 3 / 4)),
    "2": ((4 / 3, 2, 3), (5 / 6, 3 / 4, 1 / 2)),
    "3": ((4 / 3, 2, 3, 4), (5 / 6, 3 / 4, 1 / 2, 1 / 4)),
    "4": ((4 / 3, 2, 3, 4, 5), (5 / 6, 3 / 4, 1 / 2, 1 / 4, 0)),
}
CHUNKS_OF_MODE = {"spatial": (1, 1, 1, 1), "temporal": (1, 1, 3, 3), "temporal2": (1, 3, 3, 5)}
FIELD_OF_OPTION = {
    "num_classes": "num_labels",
    "T": "chunk_length",
    "fps": "frame_rate",
    "pool_mode": "roi_pool_mode",
    "pool_size": "roi_pool_size",
    "fc_dim": "hidden_size",
    "dropout": "classifier_dropout",
    "freeze_stats": "freeze_batch_norm_stats",
    "freeze_affine": "freeze_batch_norm_affine",
    "temporal_mode": "temporal_mode",
    "lambda_reg": "loss_reg_weight",
    "lambda_neighbor": "loss_neighbor_weight",
    "cls_thresh": "cls_iou_thresholds",
    "reg_thresh": "reg_iou_thresholds",
    "max_pos_num": "max_positives",
    "neg_ratio": "negative_ratio",
    "selection_sampling": "negative_sampling",
    "evaluate_topk": "detections_per_clip",
    "conf_thresh": "score_threshold",
    "nms_thresh": "nms_threshold",
    "id2label": "id2label",
}


def convert_step(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], official_config: Mapping[str, Any]
) -> StepForActionDetection:
    """Convert an official checkpoint of either phase.

    Args:
        checkpoint: a file, or what it holds, nested or with the names joined by dots.
        official_config: options by their official names, at the top or under `official`; what is left out has the
            value of the release. `id2label` may stand among them.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: weights of something else, options that contradict the weights, or weights left over on either
            side.
    """
    state_dict = read_state_dict(_joined(checkpoint))
    if is_kinetics_network(state_dict):
        raise ValueError(
            "the checkpoint is an I3D network of Kinetics, which detects nothing yet: train a detector from it with "
            "hf-vidmodels train --recipe step/ava_i3d --i3d_weights FILE"
        )
    weights, names = {}, {}
    for key, value in state_dict.items():
        plain = key.replace(".module.", ".", 1)
        ours = our_name(plain)
        if ours is None:
            raise ValueError(f"the checkpoint is none of STEP: it has a weight {key}, but expected are base_net...")
        weights[ours] = value.flatten(1) if ours.endswith("classifier.weight") else value
        names[ours] = key
    plain_names = {key.replace(".module.", ".", 1): value for key, value in state_dict.items()}
    model = StepForActionDetection(config_from_official(official_config, plain_names))
    for name, value in model.state_dict().items():
        if name.endswith(COUNTER) and name not in weights:
            weights[name], names[name] = torch.zeros_like(value), name
    load_strictly(model, weights, names)
    return model.eval()


def config_from_official(official_config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> StepConfig:
    """Translate official options; widths, and whether boxes move, are read from the weights.

    Args:
        official_config: see `convert_step`.
        weights: by official names without `module.`.

    Raises:
        ValueError: an unknown set of cuboids or course of chunks, or a value out of range.
    """
    options = official_config.get("official", official_config)
    fields = {field: options[name] for name, field in FIELD_OF_OPTION.items() if name in options}
    heads = [key for key in weights if key.startswith("det_net")]
    if STEM_WEIGHT not in weights or not heads:
        raise ValueError(f"the checkpoint lacks weights of the model: expected {STEM_WEIGHT} and det_net0...")
    fields["use_context"] = not options.get("no_context", False)
    fields["backbone_config"] = {"width_multiplier": len(weights[STEM_WEIGHT]) / FULL_STEM_WIDTH}
    if not any(".local_conv." in key for key in heads):
        fields = CLASSIFICATION | fields | {"num_steps": 1, "chunks_per_step": [1]}
    else:
        steps = fields["num_steps"] = options.get("max_iter", 3)
        mode = options.get("iterative_mode", "temporal")
        if mode not in CHUNKS_OF_MODE or not 1 <= steps <= len(CHUNKS_OF_MODE[mode]):
            raise ValueError(
                f"iterative_mode must be one of {', '.join(CHUNKS_OF_MODE)} and max_iter from 1 to 4, got {mode!r} "
                f"and {steps}"
            )
        fields["chunks_per_step"] = CHUNKS_OF_MODE[mode][:steps]
    if "image_size" in options:
        width, height = options["image_size"]
        fields["image_size"] = [height, width]
    if options.get("topk", 0) > 0:
        fields["train_topk"] = options["topk"]
    anchors = str(options.get("anchor_mode", "1"))
    if anchors not in ANCHOR_MODES:
        raise ValueError(f"anchor_mode must be one of {', '.join(ANCHOR_MODES)}, got {anchors!r}")
    fields["proposal_scales"], fields["proposal_overlaps"] = ANCHOR_MODES[anchors]
    return StepConfig(**fields)


def our_name(key: str) -> str | None:
    """Give our name of an official weight, `module.` left out; None for one that is not of STEP."""
    network, _, rest = key.partition(".")
    part, _, rest = rest.partition(".")
    place, _, unit = rest.partition(".")
    head = re.fullmatch(r"det_net(\d+)", network)
    if network == "base_net" and part == "base_model" and place in STEM_PLACES:
        return f"backbone.{STEM_PLACES[place]}.{unit_name(unit)}"
    if network == "base_net" and part == "base_model" and place in BLOCK_PLACES:
        return f"backbone.blocks.{BLOCK_PLACES[place]}.{unit_name(unit)}"
    if network == "context_net" and part == "i3d_conv_context" and place in ("1", "2"):
        return f"context.blocks.{int(place) - 1}.{unit_name(unit)}"
    if head is None:
        return None
    prefix = f"heads.{head.group(1)}"
    if part == "i3d_conv":
        return f"{prefix}.blocks.{place}.{unit_name(unit)}"
    if part == "local_conv":
        layer, _, parameter = unit.partition(".")
        layers = FIRST_BOTTLENECK if place == "0" else OTHER_BOTTLENECKS
        return f"{prefix}.local.blocks.{place}.{layers.get(layer, layer)}.{parameter}"
    return f"{prefix}.{HEAD_LAYERS.get(part, part)}.{rest}"


def _joined(checkpoint: str | os.PathLike[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the weights of all networks of a release by one name each; what is beside them (optimizer, ...) is left."""
    content = read_weight_file(Path(checkpoint)) if isinstance(checkpoint, str | os.PathLike) else checkpoint
    networks = {
        name: weights
        for name, weights in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(weights, Mapping) and NETWORK.fullmatch(str(name))
    }
    if not networks:
        return content
    return {f"{name}.{key}": value for name, weights in networks.items() for key, value in weights.items()}
