"""What a GTA network shows of itself, for evaluations and predictions: its matrices, and its regions in a clip."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedModel

from ..configuration.configuration_video_resnet import Seam
from ..modeling.modeling_gta import GtaForVideoClassification
from ..visualization.temporal_mixing import draw_temporal_matrices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MATRICES_STEM = "temporal_matrices"
_BRANCHES = {"pixel": "pixels", "region": "regions"}


def has_temporal_matrices(model: PreTrainedModel) -> bool:
    """Say whether a model mixes frames by learned matrices."""
    return isinstance(model, GtaForVideoClassification) and model.config.has_matrices


def has_regions(model: PreTrainedModel) -> bool:
    """Say whether a model also mixes regions."""
    return has_temporal_matrices(model) and model.config.use_region_branch


def draw_matrices_of(model: GtaForVideoClassification) -> "Figure":
    """Draw all temporal matrices of a model, of pixels and of regions beside each other."""
    branches = [name for name in _BRANCHES if getattr(model.config, f"use_{name}_branch")]
    matrices = {name: model.temporal_matrices(name) for name in branches}
    return draw_temporal_matrices(
        {
            f"{_BRANCHES[name]} {_place(seam)}": matrices[name][seam].float().cpu().numpy()
            for seam in model.config.attention_seams
            for name in branches
        }
    )


def region_shares_of_clip(
    model: GtaForVideoClassification, shares: tuple[torch.Tensor, ...], clip: int
) -> dict[str, np.ndarray]:
    """Name the region shares of one clip of a batch by their places, for `draw_regions`.

    Args:
        model: the one that gave them.
        shares: `GtaOutput.region_shares`.
        clip: its number in the batch.
    """
    seams = model.config.attention_seams
    return {_place(seam): part[clip].float().cpu().numpy() for seam, part in zip(seams, shares, strict=True)}


def _place(seam: Seam) -> str:
    stage, block = seam
    return f"behind res{stage + 1}, block {block + 1}"
