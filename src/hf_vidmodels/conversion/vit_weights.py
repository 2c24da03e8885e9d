"""Published weights of plain vision transformers, whatever their layout, for the encoders of this package.

Layouts: timm (DeiT, MAE, MoCo v3 and DINO releases use its names) and transformers (ViT, ViT-MAE, DeiT, DINOv2; the
names of files and those of its current classes). All have pre-norm blocks of one attention and one MLP, so only
names and a few shapes differ; what is adapted, left out or lacking is reported.
"""

import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

from ..modeling.backbones.vit import VisionTransformer
from ..modeling.modeling_base import lacking_weights
from ..modeling.modeling_mal import MalForMaskLabeling
from .official_checkpoints import PICKLE_SUFFIXES, WEIGHT_KEYS, listed, read_state_dict

logger = logging.getLogger(__name__)

# DINO keeps student and teacher apart; the teacher is the one that is used.
PRETRAINING_WEIGHT_KEYS = ("teacher", "model", *WEIGHT_KEYS)
# Where one file holds several encoders (MoCo v3), the first of these that is part of a prefix wins.
PREFERRED_PREFIXES = ("base_encoder", "teacher", "encoder_q")
FIRST_WEIGHT = re.compile(
    r"(?P<prefix>.*?)(?:embeddings\.)?(?:patch_embed\.proj|patch_embeddings\.projection)\.weight"
)
LAYER = r"^(?:blocks|layers|encoder\.layer|layer)\.(\d+)\."
LINEAR_PATCH = "embeddings.patch_embeddings.weight"
POSITIONS = "embeddings.position_embeddings"

# (pattern, replacement) from the names of timm and transformers to those of `modeling/backbones/vit.py`. Parts of
# `attention.qkv` and layer scales get names that are resolved afterwards.
RENAMING = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(?:embeddings\.)?cls_token$", "embeddings.cls_token"),
        (r"^(?:pos_embed|embeddings\.position_embeddings)$", POSITIONS),
        (r"^(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.", "embeddings.patch_embeddings."),
        (r"^layernorm\.", "norm."),
        (LAYER + r"(?:norm1|layernorm_before)\.", r"blocks.\1.attention_norm."),
        (LAYER + r"(?:norm2|layernorm_after)\.", r"blocks.\1.mlp_norm."),
        (LAYER + r"(?:attn|attention)\.qkv\.", r"blocks.\1.attention.qkv."),
        (LAYER + r"attention\.(?:attention\.query|q_proj)\.", r"blocks.\1.attention.q."),
        (LAYER + r"attention\.(?:attention\.key|k_proj)\.", r"blocks.\1.attention.k."),
        (LAYER + r"attention\.(?:attention\.value|v_proj)\.", r"blocks.\1.attention.v."),
        (LAYER + r"(?:attn\.proj|attention\.output\.dense|attention\.o_proj)\.", r"blocks.\1.attention.output."),
        (LAYER + r"(?:mlp\.fc1|intermediate\.dense)\.", r"blocks.\1.mlp.0."),
        (LAYER + r"(?:mlp\.fc2|output\.dense)\.", r"blocks.\1.mlp.2."),
        (LAYER + r"(?:ls1\.gamma|gamma_1|layer_scale1\.lambda1)$", r"blocks.\1.attention.output.scale"),
        (LAYER + r"(?:ls2\.gamma|gamma_2|layer_scale2\.lambda1)$", r"blocks.\1.mlp.2.scale"),
    )
)


@dataclass
class EncoderLoadReport:
    """What became of published weights.

    Attributes:
        loaded: our names of the weights that were filled.
        missing: our names of weights that keep their initial values.
        ignored: the source's names of weights that have no place.
        adapted: a sentence for each weight that was not taken as it was.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} encoder weights loaded"]
        for name in ("missing", "ignored"):
            if values := getattr(self, name):
                parts.append(f"{len(values)} {name} ({listed(values)})")
        return "; ".join([*parts, *self.adapted])


def load_encoder_weights(
    model: VisionTransformer | MalForMaskLabeling, source: str | os.PathLike[str] | Mapping[str, Any] | nn.Module
) -> EncoderLoadReport:
    """Fill a plain vision transformer, or the encoders of a MAL model, with published weights.

    Args:
        model: is changed in place.
        source: a weight file (see `read_state_dict`), what it holds, a folder or Hub id that transformers' AutoModel
            opens, or a network.

    Returns:
        What was loaded, lacking, left out and adapted; also logged.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: a folder or id cannot be opened.
        ValueError: when the weights are none of a plain vision transformer, or their blocks do not fit the model's.
    """
    encoders = [model]
    if isinstance(model, MalForMaskLabeling):
        encoders = [network.encoder for network in (model.student, model.teacher) if network is not None]
    weights, report = fit_encoder_weights(encoders[0], _read(source))
    for encoder in encoders:
        encoder.load_state_dict(weights, strict=False)
    logger.info("%s", report)
    return report


def fit_encoder_weights(
    encoder: VisionTransformer, state_dict: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], EncoderLoadReport]:
    """Translate published weights to the names and shapes of `encoder`; see `load_encoder_weights`."""
    report = EncoderLoadReport()
    weights, names = _renamed(_without_prefix(state_dict, report), report)
    _join_queries_keys_values(weights, names)
    _fold_layer_scales(weights, report)
    wanted = encoder.state_dict()
    _fit_positions(weights, wanted, report)
    _fit_patches(weights, wanted, report)
    _check_blocks(weights, wanted, names)
    report.ignored += [names.get(name, name) for name in weights if name not in wanted]
    fitting = {name: value for name, value in weights.items() if name in wanted}
    for name, value in fitting.items():
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{names.get(name, name)} has shape {tuple(value.shape)} but the model's {name} has "
                f"{tuple(wanted[name].shape)}; choose the configuration of these weights"
            )
    report.loaded = sorted(fitting)
    report.missing = sorted(set(wanted) - set(fitting))
    return fitting, report


def rename_key(key: str) -> str:
    """Give our name of a weight that timm or transformers call `key`; a name of none of theirs stays."""
    for pattern, replacement in RENAMING:
        renamed, count = pattern.subn(replacement, key)
        if count:
            return renamed
    return key


def _read(source: Any) -> Mapping[str, torch.Tensor]:
    if isinstance(source, nn.Module):
        return source.state_dict()
    if isinstance(source, Mapping) or Path(source).suffix in (".safetensors", *PICKLE_SUFFIXES):
        return read_state_dict(source, PRETRAINING_WEIGHT_KEYS)
    model, info = AutoModel.from_pretrained(source, output_loading_info=True)
    return {name: value for name, value in model.state_dict().items() if name not in lacking_weights(info)}


def _without_prefix(state_dict: Mapping[str, torch.Tensor], report: EncoderLoadReport) -> dict[str, torch.Tensor]:
    """Keep the weights of one encoder, told by its patch embedding."""
    prefixes = [match["prefix"] for key in state_dict if (match := FIRST_WEIGHT.fullmatch(key))]
    if not prefixes:
        raise ValueError(
            "the weights are none of a plain vision transformer: no patch embedding among "
            f"{', '.join(list(state_dict)[:4])}, ..."
        )
    preferred = (prefix for part in PREFERRED_PREFIXES for prefix in prefixes if part in prefix)
    prefix = next(preferred, prefixes[0])
    if len(prefixes) > 1 or prefix not in ("", "vit.", "deit.", "dinov2."):
        report.adapted.append(f"took the weights under {prefix!r}")
    report.ignored += [key for key in state_dict if not key.startswith(prefix)]
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def _renamed(
    state_dict: Mapping[str, torch.Tensor], report: EncoderLoadReport
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Give the weights under our names, and the source's name of each."""
    names = {rename_key(key): key for key in state_dict}
    return {ours: state_dict[key].detach().float() for ours, key in names.items()}, names


def _join_queries_keys_values(weights: dict[str, torch.Tensor], names: dict[str, str]) -> None:
    for query in [name for name in weights if ".attention.q." in name]:
        parts = [query.replace(".attention.q.", f".attention.{part}.") for part in "qkv"]
        if all(part in weights for part in parts):
            joined = query.replace(".attention.q.", ".attention.qkv.")
            weights[joined] = torch.cat([weights.pop(part) for part in parts])
            names[joined] = names[query]


def _fold_layer_scales(weights: dict[str, torch.Tensor], report: EncoderLoadReport) -> None:
    """Multiply each layer scale into the linear layer before it, which gives the same output."""
    scales = [name for name in weights if name.endswith(".scale")]
    for name in scales:
        scale, layer = weights.pop(name), name.removesuffix(".scale")
        for parameter in ("weight", "bias"):
            if (value := weights.get(f"{layer}.{parameter}")) is not None:
                weights[f"{layer}.{parameter}"] = value * (scale[:, None] if value.dim() == 2 else scale)
    if scales:
        report.adapted.append(f"{len(scales)} layer scales multiplied into the layers before them")


def _fit_positions(
    weights: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], report: EncoderLoadReport
) -> None:
    """Bring the position table to one row for the class token and the model's grid."""
    table = weights.get(POSITIONS)
    if table is None:
        return
    rows = table.shape[1]
    extra = next((count for count in (1, 2, 0) if math.isqrt(rows - count) ** 2 == rows - count), None)
    if extra is None:
        raise ValueError(f"the position table has {rows} rows, which is no square grid with 0 to 2 further rows")
    side, grid = math.isqrt(rows - extra), math.isqrt(wanted[POSITIONS].shape[1] - 1)
    class_row = table[:, :1] if extra else torch.zeros_like(table[:, :1])
    if extra != 1:
        what = "the distillation token's row was left out" if extra else "the class token's row is zero, it had none"
        report.adapted.append(f"of {rows} position rows {what}")
    patches = table[:, extra:]
    if side != grid:
        patches = patches.transpose(1, 2).unflatten(2, (side, side))
        patches = nn.functional.interpolate(patches, (grid, grid), mode="bicubic", align_corners=False)
        patches = patches.flatten(2).transpose(1, 2)
        report.adapted.append(f"positions were resized from {side} x {side} to {grid} x {grid}")
    weights[POSITIONS] = torch.cat([class_row, patches], dim=1)


def _fit_patches(
    weights: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], report: EncoderLoadReport
) -> None:
    """Resample the filters of another patch size, so that they answer to an enlarged patch as they did before."""
    filters, target = weights.get(LINEAR_PATCH), wanted.get(LINEAR_PATCH)
    if filters is None or target is None or filters.shape[-1] == target.shape[-1]:
        return
    old, new = filters.shape[-1], target.shape[-1]
    basis = torch.eye(old * old).view(old * old, 1, old, old)
    enlarge = nn.functional.interpolate(basis, (new, new), mode="bicubic", align_corners=False).flatten(1)
    weights[LINEAR_PATCH] = (filters.flatten(2) @ torch.linalg.pinv(enlarge).T).unflatten(2, (new, new))
    report.adapted.append(f"patch filters were resampled from {old} x {old} to {new} x {new} pixels")


def _check_blocks(
    weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], names: Mapping[str, str]
) -> None:
    """Refuse weights whose blocks are not exactly the model's."""
    theirs, ours = (
        {int(name.split(".")[1]) for name in side if re.match(r"blocks\.\d+\.", name)} for side in (weights, wanted)
    )
    if not theirs:
        raise ValueError(f"no block was loaded: no weight is named like one, the first are {list(names.values())[:4]}")
    if theirs != ours:
        raise ValueError(f"the weights are of {len(theirs)} blocks but the model has {len(ours)} (num_hidden_layers)")
    lacking = sorted(name for name in wanted if name.startswith("blocks.") and name not in weights)
    if lacking:
        raise ValueError(f"the weights lack parts of the model's blocks, for example {', '.join(lacking[:4])}")
