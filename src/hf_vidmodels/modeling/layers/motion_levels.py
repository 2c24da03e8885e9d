"""The parts of hierarchical contrastive motion learning (Yang et al., BMVC 2021): what makes motion features of a map
of the network, what is learned from them, and how they join the map again.

No code of the paper is public. That the lowest level is learned by reconstructing frames, that each level above
predicts the future of the level below, and that motion is fused with the map is stated in its abstracts; the layers in
this module are our reconstruction.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...configuration.configuration_hierarchical_motion import HierarchicalMotionConfig
from ..backbones.video_resnet import ConvNorm
from ..ops.cost_volume import cost_volume
from .video_convolution import VideoConvolution

POINT, IN_SPACE, IN_ALL = (1, 1, 1), (1, 3, 3), (3, 3, 3)


class MotionBlock(GradientCheckpointingLayer):
    """Motion features of a map: matches of neighbouring frames, their differences, or convolutions over time.

    Args:
        config: of the model.
        level: number of the level; the prime one is 0.
    """

    def __init__(self, config: HierarchicalMotionConfig, level: int) -> None:
        super().__init__()
        backbone = config.backbone_config
        width, hidden = backbone.seam_shape(config.level_seams[level])[0], config.motion_hidden_sizes[level]
        self.kind = config.motion_block if level else "cost_volume"
        self.matching = (config.max_displacement, config.displacement_stride, config.cost_volume_similarity)
        offsets = 2 * config.max_displacement // config.displacement_stride + 1
        inner = hidden if self.kind == "conv" else width // config.reduction_ratio
        made = {"conv": hidden, "cost_volume": offsets**2, "difference": inner}[self.kind]
        self.reduce = ConvNorm(backbone, (width, inner), POINT)
        self.first = None if self.kind == "conv" else ConvNorm(backbone, (made, hidden), IN_SPACE)
        self.last = ConvNorm(backbone, (hidden, hidden), IN_ALL if self.kind == "conv" else IN_SPACE)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to (B, D, T, H, W), not negative."""
        # In place: behind a norm nothing else needs what was there.
        features = self.reduce(maps).relu_()
        if self.kind == "cost_volume":
            features = cost_volume(features, *self.matching)
        elif self.kind == "difference":
            features = torch.cat((features[:, :, 1:], features[:, :, -1:]), dim=2) - features
        if self.first is not None:
            features = self.first(features).relu_()
        return self.last(features).relu_()


class DisplacementHead(nn.Conv3d):
    """Reads from the prime level how far every place moves until the next frame.

    Args:
        config: of the model.
    """

    # Small, so that at first nothing moves.
    initial_std = 1e-3

    def __init__(self, config: HierarchicalMotionConfig) -> None:
        super().__init__(config.motion_hidden_sizes[0], 2, IN_SPACE, padding=(0, 1, 1))


class MotionPredictor(nn.Sequential):
    """Predicts from the features of a level those of the level below, some frames later.

    Args:
        config: of the model.
        level: number of the level, 1 or more.
    """

    def __init__(self, config: HierarchicalMotionConfig, level: int) -> None:
        below, hidden = config.motion_hidden_sizes[level - 1 : level + 1]
        super().__init__(VideoConvolution(hidden, hidden, 1), nn.ReLU(), VideoConvolution(hidden, below, 1))


class MotionFusion(nn.Module):
    """Adds motion features to the map that they were made of, as much as a gate of both lets through.

    A new one adds nothing.

    Args:
        config: of the model.
        level: number of the level.
    """

    def __init__(self, config: HierarchicalMotionConfig, level: int) -> None:
        super().__init__()
        width = config.backbone_config.seam_shape(config.level_seams[level])[0]
        self.project = ConvNorm(config.backbone_config, (config.motion_hidden_sizes[level], width), POINT)
        self.project.normalization.starts_at_zero = True
        self.gate = nn.Linear(2 * width, width) if config.fusion_type == "gated" else None

    def forward(self, maps: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W), and motion (B, D, T, H, W), to the shape of the first."""
        update = self.project(motion)
        if self.gate is None:
            return maps + update
        means = torch.cat((maps.mean((2, 3, 4)), update.mean((2, 3, 4))), dim=1)
        return torch.addcmul(maps, update, self.gate(means).sigmoid()[:, :, None, None, None])
