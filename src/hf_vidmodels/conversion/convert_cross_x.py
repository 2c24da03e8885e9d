"""Checkpoints as `CrossXForImageClassification`, and back: of the official code (cswluo/CrossX, commit 0ed68c1), and
trunks of torchvision and timm (ResNet-50, SE-ResNet-50) and of the authors, to start a training from.

Official weights lie in a file alone, or under `state_dict` and `best_state_dict` in a checkpoint of training; those of
the authors' SENet-50 under `weight`.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..configuration.configuration_cross_x import (
    MERGED,
    NUM_STAGES,
    PENULTIMATE,
    RESNET,
    SENET,
    ULTIMATE,
    CrossXConfig,
)
from ..modeling.modeling_cross_x import CrossXForImageClassification
from .official_checkpoints import WEIGHT_KEYS, listed, load_strictly, read_state_dict

logger = logging.getLogger(__name__)

PARALLEL_PREFIX, PRESET = "module.", "preset"
TRUNK_PART = "weight"
# Parts of names, ours and those of torchvision's layout, which the official code has too.
STEM = {"stem.convolution.": "conv1.", "stem.norm.": "bn1."}
BLOCK = {
    "reduce.": "conv1.",
    "reduce_norm.": "bn1.",
    "spatial.": "conv2.",
    "spatial_norm.": "bn2.",
    "expand.": "conv3.",
    "expand_norm.": "bn3.",
    "projection.": "downsample.0.",
    "projection_norm.": "downsample.1.",
}
MERGE = {"narrow.": "conv2_{}.", "spatial.": "conv3_{}.", "norm.": "bn3_{}."}
HEADS = {ULTIMATE: "fc_ulti", PENULTIMATE: "fc_plty", MERGED: "fc_cmbn"}
HEAD_WEIGHT = f"{HEADS[ULTIMATE]}.weight"
PLAIN_HEAD = "fc."
EXCITATIONS = "excitations."
EXCITATION_LAYERS = {"squeeze.weight": "0.weight", "squeeze.bias": "0.bias", "weight": "2.weight", "bias": "2.bias"}
# The excitations of timm, whose layers are 1 x 1 convolutions, by official names.
TIMM_LAYERS = {".se.fc1.": ".se.fc.0.", ".se.fc2.": ".se.fc.2."}
# What a plain trunk lacks.
NEW_PARTS = re.compile(r"fc_|conv[23]_\d|bn3_\d|layer[34]\.\d+\.[ms]e\.parts\.")
COUNTER = ".num_batches_tracked"
# Options as the reference values name them.
OPTIONS = {
    "backbone": "backbone_type",
    "layers": "depths",
    "block_expansion": "expansion",
    "base_width": "base_width",
    "nparts": "num_parts",
    "num_classes": "num_labels",
    "me_reduction": "excitation_reduction",
    "se_reductions": "se_reductions",
    "penultimate_pool": "penultimate_pooling",
    "gamma_ulti": "gamma_ultimate",
    "gamma_plty": "gamma_penultimate",
    "gamma_cmbn": "gamma_merged",
    "use_combined_branch_in_loss_and_scores": "use_merged_head",
    "bn_eps": "batch_norm_eps",
    "image_size": "image_size",
}
# They say how the official code was run, or follow from others.
IGNORED_OPTIONS = frozenset(
    {
        "official_file",
        "builder",
        "dataset_recipe",
        "official_base_width",
        "stage_widths",
        "interpolate_to",
        "official_interpolate_to",
        "official_me_reduction",
        "official_se_reductions",
        "optimizer",
        "lr",
        "momentum",
        "weight_decay",
        "nesterov",
        "sgd_steps_recorded",
        "batch_size",
        "bn_momentum",
    }
)


def convert_cross_x(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], official_config: Mapping[str, Any]
) -> CrossXForImageClassification:
    """Convert a network, or make one around the trunk of another.

    Args:
        checkpoint: a file or what it holds: weights by official names, or those of torchvision's `resnet50`, timm's
            `resnet50` and `seresnet50`, or the authors' SENet-50. Such a trunk has its classifier `fc` dropped, unless
            `num_parts` is 1 and the classes are as many; what else the model has starts afresh, and is named.
        official_config: `preset`, options by official names, and fields of `CrossXConfig`, which may stand beside
            them; sizes that are not given follow from the weights. `id2label` names the classes, as a list or by ids;
            the official code numbers the sorted folders of its pictures, as this package's corpora do.
            `"weights": "best_state_dict"` takes that part of a checkpoint of training. `"new_classes": true` drops
            the heads, where the classes are others. `"excite_parts": true` lets the parts of a SENet's trunk begin
            with the excitation of its own block.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: unknown options, a checkpoint of another network (names the first weights that differ), another
            number of classes, or weights left over on either side.
    """
    options = dict(official_config)
    part, drops_heads = options.pop("weights", None), options.pop("new_classes", False)
    excites_parts = options.pop("excite_parts", False)
    weights = read_state_dict(checkpoint, (*WEIGHT_KEYS, TRUNK_PART) if part is None else (part,))
    weights = {_without_timm(name.removeprefix(PARALLEL_PREFIX)): value for name, value in weights.items()}
    weights = {
        name: value.flatten(1) if ".se." in name and value.dim() == 4 else value for name, value in weights.items()
    }
    if "conv1.weight" not in weights or "layer4.0.conv3.weight" not in weights:
        raise ValueError(
            "the checkpoint is neither of Cross-X nor a ResNet or SENet in torchvision's layout: it lacks "
            f"conv1.weight or layer4.0.conv3.weight, its first names are {listed(list(weights)[:3])}"
        )
    is_trunk = HEAD_WEIGHT not in weights
    config = config_from_official(options, weights)
    model = CrossXForImageClassification(config)
    own = official_weights(model)
    if is_trunk:
        if excites_parts and not (config.has_parts and config.backbone_type == SENET):
            raise ValueError("excite_parts is for the excitations of a SENet's trunk under a model of several parts")
        weights = _around_trunk(own, _trunk(weights, config, excites_parts))
    elif excites_parts:
        raise ValueError("excite_parts is for a trunk without parts, but the checkpoint has parts of its own")
    elif drops_heads:
        fresh = {name: value for name, value in own.items() if name.startswith(tuple(HEADS.values()))}
        weights = weights | fresh
        logger.warning("these start afresh and are to be trained: %s", listed(sorted(fresh)))
    else:
        _refuse_other_classes(weights, config)
    _load(model, weights)
    return model.eval()


def export_cross_x(model: CrossXForImageClassification) -> dict[str, torch.Tensor]:
    """Give a model's weights under their official names, for the official code.

    Raises:
        ValueError: a model of one part, which the official code does not have.
    """
    if not model.config.has_parts:
        raise ValueError("the official code has two or three parts, but this model has num_parts=1")
    return official_weights(model)


def official_weights(model: CrossXForImageClassification) -> dict[str, torch.Tensor]:
    """Give copies of a model's weights and buffers under official names; with one part by the same rules."""
    state, weights = model.state_dict(), {}
    for name, officials in official_names(model).items():
        pieces = _pieces(name, state[name], len(officials))
        weights |= {
            official: piece.detach().contiguous().clone() for official, piece in zip(officials, pieces, strict=True)
        }
    return weights


def official_names(model: CrossXForImageClassification) -> dict[str, list[str]]:
    """Give for each weight and buffer of a model the official ones that it holds, several in grouped excitations."""
    return {name: _official_names(name, model.config) for name in model.state_dict()}


def config_from_official(options: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> CrossXConfig:
    """Make the configuration that a preset, official options and weights describe.

    Raises:
        ValueError: for options that nobody knows.
    """
    known = OPTIONS.keys() | IGNORED_OPTIONS | {PRESET, "num_labels"}
    if unknown := [name for name in options if name not in known and not CrossXConfig.has_field(name)]:
        raise ValueError(f"official_config has options that Cross-X does not know: {', '.join(unknown)}")
    given = {OPTIONS.get(name, name): value for name, value in options.items() if name not in IGNORED_OPTIONS}
    preset = given.pop(PRESET, None)
    if given.get("id2label") is not None:
        given |= _class_names(given["id2label"])
    sizes = _sizes(weights)
    names_classes = preset is not None or given.keys() & {"id2label", "num_labels"}
    if not names_classes and HEAD_WEIGHT in weights:
        sizes["num_labels"] = len(weights[HEAD_WEIGHT])
    # The reference values leave out what a trunk does not have.
    settings = sizes | {name: value for name, value in given.items() if value is not None}
    return CrossXConfig(**settings) if preset is None else CrossXConfig.from_preset(preset, **settings)


def _class_names(names: Sequence[str] | Mapping[Any, str]) -> dict[str, Any]:
    by_id = {int(key): name for key, name in (names.items() if isinstance(names, Mapping) else enumerate(names))}
    return {"id2label": by_id, "label2id": {name: key for key, name in by_id.items()}, "num_labels": len(by_id)}


def _without_timm(name: str) -> str:
    theirs = next((theirs for theirs in TIMM_LAYERS if theirs in name), None)
    return name if theirs is None else name.replace(theirs, TIMM_LAYERS[theirs])


def _sizes(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Read from the shapes of weights by official names what they tell of the network."""
    depths = [0] * NUM_STAGES
    for name in weights:
        if found := re.match(r"layer([1-4])\.(\d+)\.", name):
            depths[int(found[1]) - 1] = max(depths[int(found[1]) - 1], int(found[2]) + 1)
    base_width = _rows(weights, "layer1.0.conv1.weight")
    expansion = _rows(weights, "layer4.0.conv3.weight") // (8 * base_width)
    sizes = {
        "depths": depths,
        "embedding_size": _rows(weights, "conv1.weight"),
        "base_width": base_width,
        "expansion": expansion,
        "backbone_type": SENET if any(".se." in name for name in weights) else RESNET,
    }
    parts = {found[1] for name in weights if (found := re.match(r"layer4\.\d+\.[ms]e\.parts\.(\d+)\.", name))}
    if parts:
        sizes["num_parts"] = len(parts)
    widths = [base_width * expansion * 2**stage for stage in range(NUM_STAGES)]
    if sizes["backbone_type"] == SENET:
        hidden = [_rows(weights, f"layer{stage + 1}.0.se.fc.0.weight") for stage in range(NUM_STAGES)]
        sizes["se_reductions"] = [width // narrow for width, narrow in zip(widths, hidden, strict=True)]
    elif parts:
        hidden = _rows(weights, f"layer4.{depths[-1] - 1}.me.parts.0.0.weight")
        sizes["excitation_reduction"] = widths[-1] // hidden
    return sizes


def _rows(weights: Mapping[str, torch.Tensor], name: str) -> int:
    """Give the first side of a weight that sizes follow from."""
    if name not in weights or weights[name].dim() == 0 or len(weights[name]) == 0:
        raise ValueError(f"the checkpoint lacks weights of the model: {name}, which tells its sizes")
    return len(weights[name])


def _official_names(name: str, config: CrossXConfig) -> list[str]:
    if name.startswith("stem."):
        return [_renamed(name, STEM)]
    if name.startswith("classifier."):
        _, head, kind = name.split(".")
        return [f"{HEADS[head]}.{kind}"]
    room, number, rest = name.split(".", 2)
    if room == "merges":
        return [_renamed(rest, MERGE).format(int(number) + 1)]
    block, rest = rest.split(".", 1)
    prefix = f"layer{int(number) + 1}.{block}."
    if not rest.startswith(EXCITATIONS):
        return [prefix + _renamed(rest, BLOCK)]
    plan = config.block_plans()[int(number)][int(block)]
    layer = EXCITATION_LAYERS[rest.removeprefix(EXCITATIONS)]
    if config.backbone_type == RESNET:
        units = [f"me.parts.{part}" for part in range(plan.num_parts)]
    elif plan.num_parts:
        units = ["se.dresponse", *(f"se.parts.{part}" for part in range(plan.num_parts))]
    else:
        units = ["se.fc"]
    return [f"{prefix}{unit}.{layer}" for unit in units]


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    ours = next(ours for ours in parts if name.startswith(ours))
    return parts[ours] + name.removeprefix(ours)


def _pieces(name: str, value: torch.Tensor, count: int) -> Sequence[torch.Tensor]:
    """Take one of our tensors apart into official ones."""
    if EXCITATIONS not in name:
        return [value]
    if ".squeeze." in name:
        return value.chunk(count)
    return [piece.T if piece.dim() == 2 else piece for piece in value]


def _joined(name: str, pieces: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put official tensors together into one of ours."""
    if EXCITATIONS not in name:
        return pieces[0]
    if ".squeeze." in name:
        return torch.cat(tuple(pieces))
    return torch.stack([piece.T if piece.dim() == 2 else piece for piece in pieces])


def _load(model: CrossXForImageClassification, weights: Mapping[str, torch.Tensor]) -> None:
    """Fill the model with weights by official names, so that none is left over on either side."""
    ours, shown, left = {}, {}, dict(weights)
    for name, officials in official_names(model).items():
        pieces = [left.pop(official) for official in officials if official in left]
        # Messages name what is missing, and else the first piece.
        shown[name] = ", ".join(official for official in officials if official not in weights) or officials[0]
        if len({piece.shape for piece in pieces}) > 1:
            raise ValueError(f"{', '.join(officials)} must have one shape, got {[tuple(p.shape) for p in pieces]}")
        if len(pieces) == len(officials):
            ours[name] = _joined(name, pieces)
    load_strictly(model, ours | left, shown | {name: name for name in left})


def _refuse_other_classes(weights: Mapping[str, torch.Tensor], config: CrossXConfig) -> None:
    there = len(weights[HEAD_WEIGHT])
    if there != config.num_labels:
        raise ValueError(
            f"the checkpoint has {there} classes but num_labels is {config.num_labels}; leave it out, or give "
            '"new_classes": true to train new heads'
        )


def _trunk(weights: Mapping[str, torch.Tensor], config: CrossXConfig, excites_parts: bool) -> dict[str, torch.Tensor]:
    """Give a plain trunk's weights by the names they have in the official network, its classifier where it fits."""
    trunk = {}
    for name, value in weights.items():
        if name.startswith(PLAIN_HEAD):
            if not config.has_parts and len(value) == config.num_labels:
                trunk[f"{HEADS[ULTIMATE]}.{name.removeprefix(PLAIN_HEAD)}"] = value
            continue
        for official in _places_in_network(name, config, excites_parts):
            trunk[official] = value
    return trunk


def _places_in_network(name: str, config: CrossXConfig, excites_parts: bool) -> list[str]:
    """Name the tensors of the official network that begin as one of a trunk."""
    if not (found := re.fullmatch(r"layer([34])\.(\d+)\.se\.fc\.(.+)", name)) or not config.has_parts:
        return [name]
    stage, block, rest = int(found[1]), int(found[2]), found[3]
    if block != config.depths[stage - 1] - 1:
        return [name]
    units = ["dresponse", *(f"parts.{part}" for part in range(config.num_parts if excites_parts else 0))]
    return [f"layer{stage}.{block}.se.{unit}.{rest}" for unit in units]


def _around_trunk(own: Mapping[str, torch.Tensor], trunk: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add to a trunk what a network has besides, as it was initialised, and name it.

    Raises:
        ValueError: the trunk lacks a weight.
    """
    fresh = {name: value for name, value in own.items() if name not in trunk}
    # Files of old versions of PyTorch do not count batches; nothing is computed from that.
    lacking = [name for name in fresh if not NEW_PARTS.match(name) and not name.endswith(COUNTER)]
    if lacking:
        raise ValueError(f"the trunk lacks weights of the model: {listed(sorted(lacking))}")
    if named := sorted(name for name in fresh if not name.endswith(COUNTER)):
        logger.warning("these start afresh and are to be trained: %s", listed(named))
    return {**fresh, **trunk}
