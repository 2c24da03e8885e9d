"""The layouts in which weights of MViT and Video Swin are published: what they call ours, and what shapes decide."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch

from ..modeling.layers.shifted_windows import relative_position_index
from .official_checkpoints import listed

WRAPPER_PREFIX = "module."
POSITION_INDEX = ".relative_position_index"
SEPARATE_PROJECTION = re.compile(r"^(blocks\.\d+\.attn)\.([qkv])\.(weight|bias)$")
PART_OF_PROJECTION = re.compile(r"\.attention\.(query|key|value)\.")
# torchvision keeps its class token and positions without the leading axes that ours have.
FLAT_IN_TORCHVISION = {
    "backbone.embeddings.class_token": 2,
    "backbone.embeddings.class_position": 2,
    "backbone.embeddings.spatial_positions": 1,
    "backbone.embeddings.temporal_positions": 1,
}
# torchvision's pooling norms; official files have the framework's default.
TORCHVISION_POOL_NORM_EPS = 1e-6

# Pairs of a pattern and its replacement, applied one after the other to one of our names.
Rules = tuple[tuple[str, str], ...]

_SCORERS_AND_BLOCKS: Rules = (
    (r"^temporal_selectors\.(\d+)\.scorer\.", r"backbone.time_score_predictor.\1.score_network."),
    (r"^spatial_selectors\.(\d+)\.scorer\.", r"backbone.space_score_predictor.\1.score_network."),
    (r"\.score_network\.norm\.", ".score_network.in_conv.0."),
    (r"\.score_network\.embedding\.", ".score_network.in_conv.1."),
    (r"\.score_network\.hidden\.0\.", ".score_network.out_conv.0."),
    (r"\.score_network\.hidden\.1\.", ".score_network.out_conv.2."),
    (r"\.score_network\.output\.", ".score_network.out_conv.4."),
    (r"\.norm_before_attention\.", ".norm1."),
    (r"\.norm_before_mlp\.", ".norm2."),
    (r"\.attention\.projection\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.expand\.", ".mlp.fc1."),
    (r"\.mlp\.contract\.", ".mlp.fc2."),
)
OFFICIAL_MVIT: Rules = (
    *_SCORERS_AND_BLOCKS,
    (r"^backbone\.", ""),
    (r"^embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.class_token$", "cls_token"),
    (r"^embeddings\.(spatial|temporal)_positions$", r"pos_embed_\1"),
    (r"^embeddings\.class_position$", "pos_embed_class"),
    (r"^embeddings\.positions$", "pos_embed"),
    (r"^embeddings\.norm\.", "norm_stem."),
    (r"\.width_projection\.", ".proj."),
    (r"\.([qkv])[a-z]+_pooling\.convolution\.", r".pool_\1."),
    (r"\.([qkv])[a-z]+_pooling\.norm\.", r".norm_\1."),
    (r"\.attn\.(query|key|value)\.", ".attn.qkv."),
    (r"^classifier\.", "head.projection."),
)
TORCHVISION_MVIT: Rules = (
    *OFFICIAL_MVIT,
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^cls_token$", "pos_encoding.class_token"),
    (r"^pos_embed_class$", "pos_encoding.class_pos"),
    (r"^pos_embed_(spatial|temporal)$", r"pos_encoding.\1_pos"),
    (r"\.attn\.proj\.", ".attn.project.0."),
    (r"\.pool_([qkv])\.", r".pool_\1.pool."),
    (r"\.attn\.norm_([qkv])\.", r".attn.pool_\1.norm_act.0."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
    (r"^head\.projection\.", "head.1."),
)
OFFICIAL_SWIN: Rules = (
    *_SCORERS_AND_BLOCKS,
    (r"^backbone\.embeddings\.projection\.", "backbone.patch_embed.proj."),
    (r"^backbone\.embeddings\.norm\.", "backbone.patch_embed.norm."),
    (r"^backbone\.stages\.", "backbone.layers."),
    (r"\.merging\.", ".downsample."),
    (r"\.position_bias_table$", ".relative_position_bias_table"),
    (r"^classifier\.", "cls_head.fc_cls."),
)
TORCHVISION_SWIN: Rules = (
    *OFFICIAL_SWIN,
    (r"^backbone\.layers\.(\d+)\.blocks\.", lambda match: f"features.{2 * int(match[1])}."),
    (r"^backbone\.layers\.(\d+)\.downsample\.", lambda match: f"features.{2 * int(match[1]) + 1}."),
    (r"^backbone\.(patch_embed|norm)\.", r"\1."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^cls_head\.fc_cls\.", "head."),
)


@dataclass(frozen=True)
class Layout:
    """A checkpoint and the rules by which it names our weights.

    Attributes:
        backbone_type: `"mvit"` or `"video_swin"`.
        is_torchvision: whether it is of torchvision instead of an official code.
        weights: by the checkpoint's names, without a wrapper's prefix and without what can be computed.
        indices: tables of relative positions, which can be computed.
    """

    backbone_type: str
    is_torchvision: bool
    weights: dict[str, torch.Tensor]
    indices: dict[str, torch.Tensor]

    def name_of(self, ours: str) -> str:
        """Give what the checkpoint calls one of our weights."""
        if self.backbone_type == "mvit":
            rules = TORCHVISION_MVIT if self.is_torchvision else OFFICIAL_MVIT
        else:
            rules = TORCHVISION_SWIN if self.is_torchvision else OFFICIAL_SWIN
        for pattern, replacement in rules:
            ours = re.sub(pattern, replacement, ours)
        return ours

    def find(self, ours: str) -> torch.Tensor | None:
        """Give the weight that we call so, in our shape, or None where the checkpoint lacks it."""
        value = self.weights.get(self.name_of(ours))
        if value is None:
            return None
        if match := PART_OF_PROJECTION.search(ours):
            # A checkpoint keeps the three below each other.
            return value.tensor_split(3)[("query", "key", "value").index(match[1])]
        return value[(None,) * FLAT_IN_TORCHVISION.get(ours, 0)] if self.is_torchvision else value

    def count(self, ours: str) -> int:
        """Count the weights that `ours` names when `{}` in it is 0, 1, 2 and so on."""
        number = 0
        while self.name_of(ours.format(number)) in self.weights:
            number += 1
        return number

    def num_scorers(self, kind: str) -> int:
        """Count the scorers of `"temporal"` or `"spatial"` selectors."""
        return self.count(f"{kind}_selectors.{{}}.scorer.embedding.weight")


def recognize_layout(state_dict: Mapping[str, torch.Tensor]) -> Layout:
    """Tell the layout of weights by their names.

    Raises:
        ValueError: for names of none of the layouts, and for queries, keys and values that are separate only in part.
    """
    weights = {key.removeprefix(WRAPPER_PREFIX): value for key, value in state_dict.items()}
    indices = {key: weights.pop(key) for key in list(weights) if key.endswith(POSITION_INDEX)}
    if "conv_proj.weight" in weights:
        return Layout("mvit", True, weights, indices)
    if any(key.startswith("features.0.0.attn.") for key in weights):
        return Layout("video_swin", True, weights, indices)
    if any(key.startswith("backbone.layers.0.") for key in weights):
        return Layout("video_swin", False, weights, indices)
    if any(key.startswith("blocks.0.attn.") for key in weights):
        return Layout("mvit", False, _joined_projections(weights), indices)
    raise ValueError(
        "the weights are of no layout known for stts (official STTS or SlowFast MViT, official STTS or Video Swin, "
        f"torchvision mvit_v1_b or swin3d); their names begin with {listed(list(state_dict))}"
    )


def fields_found(layout: Layout) -> dict[str, Any]:
    """Read fields of `SttsConfig` that the weights decide.

    Raises:
        ValueError: for tables of positions that belong to no window.
    """
    found: dict[str, Any] = {}
    stem = layout.find("backbone.embeddings.projection.weight")
    if stem is not None and stem.ndim == 5:
        found |= {"hidden_size": stem.shape[0], "num_channels": stem.shape[1], "patch_size": list(stem.shape[2:])}
    if (classifier := layout.find("classifier.weight")) is not None:
        found["num_labels"] = classifier.shape[0]
    return found | (_found_in_mvit(layout) if layout.backbone_type == "mvit" else _found_in_swin(layout))


def _joined_projections(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Join queries, keys and values, which SlowFast kept apart for a year."""
    joined = {key: value for key, value in weights.items() if not SEPARATE_PROJECTION.match(key)}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in weights.items():
        if match := SEPARATE_PROJECTION.match(key):
            parts.setdefault(f"{match[1]}.{{}}.{match[3]}", {})[match[2]] = value
    for name, letters in parts.items():
        if missing := [name.format(letter) for letter in "qkv" if letter not in letters]:
            raise ValueError(
                f"the checkpoint keeps {name.format('q')}, k and v apart but lacks {listed(missing)}; queries, keys "
                "and values must all be there"
            )
        joined[name.format("qkv")] = torch.cat([letters[letter] for letter in "qkv"])
    return joined


def _found_in_mvit(layout: Layout) -> dict[str, Any]:
    found: dict[str, Any] = {"pool_norm_eps": TORCHVISION_POOL_NORM_EPS} if layout.is_torchvision else {}
    found["num_hidden_layers"] = layout.count("backbone.blocks.{}.norm_before_attention.weight")
    found["use_cls_token"] = layout.find("backbone.embeddings.class_token") is not None
    found["separable_pos_embed"] = layout.find("backbone.embeddings.positions") is None
    found["norm_stem"] = layout.find("backbone.embeddings.norm.weight") is not None
    found["qkv_bias"] = layout.find("backbone.blocks.0.attention.query.bias") is not None
    return found


def _found_in_swin(layout: Layout) -> dict[str, Any]:
    num_stages = layout.count("backbone.stages.{}.blocks.0.norm_before_attention.weight")
    found: dict[str, Any] = {
        "depths": [
            layout.count(f"backbone.stages.{stage}.blocks.{{}}.norm_before_attention.weight")
            for stage in range(num_stages)
        ],
        "patch_norm": layout.find("backbone.embeddings.norm.weight") is not None,
        "qkv_bias": layout.find("backbone.stages.0.blocks.0.attention.qkv.bias") is not None,
    }
    names = [f"backbone.stages.{stage}.blocks.0.attention.position_bias_table" for stage in range(num_stages)]
    tables = [table for name in names if (table := layout.find(name)) is not None]
    if tables and len(tables) == num_stages:
        found["num_attention_heads"] = [table.shape[1] for table in tables]
        if layout.indices:
            found["window_size"] = _window_of(layout.indices, len(tables[0]))
    return found


def _window_of(indices: Mapping[str, torch.Tensor], num_offsets: int) -> list[int]:
    """Find the window (d, w, w) of tables over all pairs of its tokens that number `num_offsets` offsets."""
    num_tokens = isqrt(next(iter(indices.values())).numel())
    for side in range(1, isqrt(num_tokens) + 1):
        depth, rest = divmod(num_tokens, side**2)
        if rest or (2 * depth - 1) * (2 * side - 1) ** 2 != num_offsets:
            continue
        expected = relative_position_index((depth, side, side), torch.device("cpu")).flatten()
        if all(torch.equal(index.flatten().long().cpu(), expected) for index in indices.values()):
            return [depth, side, side]
    raise ValueError(
        f"{listed(list(indices))} belong to no window (d, w, w) whose relative_position_bias_table has {num_offsets} "
        "rows; the checkpoint is damaged or of another network"
    )
