"""The heads of STEP: classes of tubes from global features, boxes from each frame's, and the whole frames as context
(Yang et al., CVPR 2019, section 3.3; details of the official code 59da38a).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torchvision.ops import roi_align, roi_pool

from ...configuration.configuration_step import StepConfig
from ..backbones.i3d import MixedTail, fast_layout, pool_half
from .video_convolution import VideoConvolution

BOX = 4


@dataclass
class TubeScores:
    """What a head says of N tubes of T_s frames.

    Attributes:
        logits: (N, C) before sigmoid.
        deltas: (N, F, 4) how the boxes of the F asked frames move; None without local branch.
        first_deltas: (N, F', 4) the same for the chunk before the tube, of those asked frames that lie in its first
            chunk; None when not asked for.
        last_deltas: for the chunk after it, of those in its last chunk.
    """

    logits: torch.Tensor
    deltas: torch.Tensor | None = None
    first_deltas: torch.Tensor | None = None
    last_deltas: torch.Tensor | None = None


class ContextNetwork(nn.Module):
    """What a clip's frames show as a whole: Mixed 5b and 5c on maps of half size, mean over positions."""

    def __init__(self, config: StepConfig) -> None:
        super().__init__()
        self.blocks = MixedTail(config.backbone_config)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, feature_width, T, h, w) to (B, T, tail_width)."""
        return self.blocks(pool_half(maps, 1)).mean((3, 4)).transpose(1, 2)


class TwoBranchHead(nn.Module):
    """One progressive step: a global branch for the classes and a local one for the boxes."""

    def __init__(self, config: StepConfig) -> None:
        super().__init__()
        trunk, cells = config.backbone_config, config.roi_pool_size**2
        self.blocks = MixedTail(trunk)
        self.projection = VideoConvolution(trunk.tail_width, config.hidden_size, 1)
        context_width = trunk.tail_width if config.use_context else 0
        self.classifier = nn.Linear(config.hidden_size * cells + context_width, config.num_labels)
        self.dropout_rate = config.classifier_dropout
        self.local = LocalBranch(config) if config.use_local_branch else None

    def forward(
        self,
        regions: torch.Tensor,
        context: torch.Tensor | None,
        frames: list[int] | None = None,
        neighbors: tuple[list[int], list[int]] | None = None,
        drops: bool | None = None,
    ) -> TubeScores:
        """Look at tubes.

        The classifier is linear, so that the mean over time is taken before it; the official code takes it behind
        (and drops out each frame by itself).

        Args:
            regions: (N, T_s, C, P, P) what was cut out of the feature frames.
            context: (N, T_s, tail_width) of each tube's clip, or None.
            frames: frames whose boxes are wanted; `None` for all.
            neighbors: of `frames`, the places of those from which boxes of the chunk before and of that after the tube
                are told; `None` for none.
            drops: whether dropout acts; by default in training mode.
        """
        drops = self.training if drops is None else drops
        features = self.projection(self.blocks(fast_layout(regions.transpose(1, 2))))
        seen = features.mean(2).flatten(1)
        if context is not None:
            seen = torch.cat((seen, context.mean(1)), dim=1)
        logits = self.classifier(nn.functional.dropout(seen, self.dropout_rate, drops))
        if self.local is None:
            return TubeScores(logits)
        features = features.transpose(1, 2)
        if frames is not None:
            regions, features = regions[:, frames], features[:, frames]
        return TubeScores(logits, *self.local(torch.cat((regions, features), dim=2), neighbors, drops))


class LocalBranch(nn.Module):
    """Three residual blocks without norms on each frame, and from them how boxes move."""

    def __init__(self, config: StepConfig) -> None:
        super().__init__()
        width, inner = config.local_widths
        entering = config.backbone_config.feature_width + config.hidden_size
        self.blocks = nn.Sequential(
            LocalBottleneck(entering, inner, width, projects=True),
            *(LocalBottleneck(width, inner, width, projects=False) for _ in range(2)),
        )
        self.projection = nn.Conv2d(width, config.hidden_size, 1)
        seen = config.hidden_size * config.roi_pool_size**2
        self.deltas, self.first_deltas, self.last_deltas = (nn.Linear(seen, BOX) for _ in range(3))
        self.dropout_rate = config.classifier_dropout

    def forward(
        self, regions: torch.Tensor, neighbors: tuple[list[int], list[int]] | None, drops: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Map (N, F, C, P, P) to deltas (N, F, 4), and to those of the neighbouring chunks at the places asked for."""
        maps = regions.flatten(0, 1)
        if maps.device.type == "cpu":
            maps = maps.contiguous(memory_format=torch.channels_last)
        maps = self.projection(self.blocks(maps))
        seen = nn.functional.dropout(maps, self.dropout_rate, drops).flatten(1).unflatten(0, regions.shape[:2])
        # Boxes stay single precision: of bfloat16 a pixel in 400 is not left.
        deltas = self.deltas(seen).float()
        if neighbors is None:
            return deltas, None, None
        first, last = neighbors
        return (
            deltas,
            deltas[:, first] + self.first_deltas(seen[:, first]).float(),
            deltas[:, last] + self.last_deltas(seen[:, last]).float(),
        )


class LocalBottleneck(nn.Module):
    """Reduce, look around, expand and add the shortcut; without norms and biases."""

    def __init__(self, entering: int, inner: int, leaving: int, *, projects: bool) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(entering, leaving, 1, bias=False) if projects else None
        self.reduce = nn.Conv2d(entering, inner, 1, bias=False)
        self.spatial = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.expand = nn.Conv2d(inner, leaving, 1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (N, entering, P, P) to (N, leaving, P, P)."""
        branch = nn.functional.relu(self.reduce(maps), inplace=True)
        branch = self.expand(nn.functional.relu(self.spatial(branch), inplace=True))
        return nn.functional.relu(branch + (maps if self.shortcut is None else self.shortcut(maps)), inplace=True)


def cut_tubes(
    feature_frames: torch.Tensor, tubes: torch.Tensor, clips: torch.Tensor, config: StepConfig
) -> torch.Tensor:
    """Cut every box of tubes out of its own feature frame.

    Args:
        feature_frames: (B, T_s, C, h, w).
        tubes: (N, T_s, 4) in pixels; no gradient flows into them.
        clips: (N,) int64, the clip of each tube.
        config: size and kind of the pooling.

    Returns:
        (N, T_s, C, P, P).
    """
    count = feature_frames.shape[1]
    rows = clips[:, None] * count + torch.arange(count, device=clips.device)
    # The operators take no bfloat16.
    frames = feature_frames.flatten(0, 1).float()
    rois = torch.cat((rows[..., None].to(frames.dtype), tubes.detach().to(frames.dtype)), dim=-1).flatten(0, 1)
    size, scale = (config.roi_pool_size,) * 2, 1 / config.spatial_stride
    if config.roi_pool_mode == "align":
        cells = roi_align(frames, rois, size, scale, sampling_ratio=0, aligned=False)
    else:
        cells = roi_pool(frames, rois, size, scale)
    return cells.to(feature_frames.dtype).unflatten(0, tubes.shape[:2])
