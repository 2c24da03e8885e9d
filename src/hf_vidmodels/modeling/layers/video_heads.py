"""Heads on the last maps of residual video networks: classes of a clip, and of each box of its middle frame.

Facts of pytorchvideo (f3142bb) and SlowFast (287ec00). For frames larger than in training these two average over
positions of a window, one the logits and the other the probabilities; both are here beside plain global pooling.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import roi_align

from ...configuration.configuration_video_resnet import MULTI_LABEL, VideoResNetConfig

ROI_SIDE = 7
# A mean of probabilities may be rounded to 0 or 1, whose logits are infinite.
LEAST_PROBABILITY = 1e-12


class VideoClassificationHead(nn.Module):
    """Pool, drop out and classify, as `head_pooling` and `head_average` of the configuration say."""

    def __init__(self, config: VideoResNetConfig) -> None:
        super().__init__()
        self.by_window = config.head_pooling == "window"
        self.averages_probabilities = config.head_average == "probabilities"
        self.is_multi_label = config.problem_type == MULTI_LABEL
        self.windows = [(plan.frames[-1], plan.sides[-1], plan.sides[-1]) for plan in config.pathway_plans()]
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.feature_width, config.num_labels)

    def forward(self, feature_maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Give logits (B, num_labels) of the last map (B, C, T, H, W) of each pathway.

        Means of probabilities are given as logits too: their logarithm, or for several labels a clip the logarithm of
        their odds, so that softmax or sigmoid gives them back.

        Raises:
            ValueError: maps smaller than the window, or pathways that give different numbers of positions.
        """
        if not self.by_window:
            return self.classifier(self.dropout(torch.cat([maps.mean((2, 3, 4)) for maps in feature_maps], dim=1)))
        pooled = [self._pool(maps, window) for maps, window in zip(feature_maps, self.windows, strict=True)]
        positions = {tuple(maps.shape[2:]) for maps in pooled}
        if len(positions) > 1:
            shown = " and ".join(str(place) for place in sorted(positions))
            raise ValueError(
                f"head_pooling 'window' needs as many window positions in both pathways, got {shown}; give clips of "
                "the training length, or use head_pooling='global'"
            )
        logits = self.classifier(self.dropout(torch.cat(pooled, dim=1)).movedim(1, -1)).flatten(1, 3)
        if not self.averages_probabilities or logits.shape[1] == 1:
            return logits.mean(1)
        if self.is_multi_label:
            return logits.float().sigmoid().mean(1).logit(LEAST_PROBABILITY)
        return logits.float().softmax(-1).mean(1).clamp_min(LEAST_PROBABILITY).log()

    def _pool(self, maps: torch.Tensor, window: tuple[int, int, int]) -> torch.Tensor:
        if any(size < side for size, side in zip(maps.shape[2:], window, strict=True)):
            raise ValueError(
                f"head_pooling 'window' has a window of {window} (frames, rows, columns), but the last map has only "
                f"{tuple(maps.shape[2:])}; give larger clips, or use head_pooling='global'"
            )
        if tuple(maps.shape[2:]) == window:
            return maps.mean((2, 3, 4), keepdim=True)
        # A CPU pools no half precision.
        return nn.functional.avg_pool3d(maps.float(), window, stride=1).to(maps.dtype)


def boxes_in_pixels(boxes: Sequence[torch.Tensor], height: int, width: int) -> torch.Tensor:
    """Join the boxes of B clips to what `roi_features` takes.

    Args:
        boxes: of each clip (m, 4), x0, y0, x1, y1 relative to its frames.
        height: of the frames in pixels.
        width: of the frames in pixels.

    Returns:
        (sum of m, 5) float32, number of the clip and the box in pixels.
    """
    sides = torch.tensor([width, height, width, height])
    clips = torch.arange(len(boxes)).repeat_interleave(torch.tensor([len(of_clip) for of_clip in boxes]))
    return torch.cat([clips[:, None].float(), torch.cat(list(boxes)) * sides], dim=1)


def roi_features(
    feature_maps: Sequence[torch.Tensor], boxes: torch.Tensor, spatial_stride: int, aligned: bool
) -> torch.Tensor:
    """Describe boxes by the last maps of all pathways: mean over time, RoI-align to 7 x 7, maximum.

    Args:
        feature_maps: (B, C, T, H, W) of each pathway.
        boxes: (N, 5), number of the clip and x0, y0, x1, y1 in pixels of its frames.
        spatial_stride: pixels from one cell of the maps to the next.
        aligned: half-pixel shift of RoI-align.

    Returns:
        (N, sum of channels).

    Raises:
        ValueError: boxes of another shape, or a number of a clip that is not there.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(
            f"boxes must be (N, 5): number of the clip, x0, y0, x1, y1 in pixels, got {tuple(boxes.shape)}"
        )
    batch_size = len(feature_maps[0])
    if boxes.device.type == "cpu" and len(boxes) and not 0 <= boxes[:, 0].min() <= boxes[:, 0].max() < batch_size:
        raise ValueError(
            f"boxes name clips {int(boxes[:, 0].min())} to {int(boxes[:, 0].max())}, but the batch has {batch_size}"
        )
    found = []
    for maps in feature_maps:
        still = maps.mean(2)
        cells = roi_align(
            still, boxes.to(still.dtype), (ROI_SIDE, ROI_SIDE), 1 / spatial_stride, sampling_ratio=0, aligned=aligned
        )
        found.append(cells.amax((2, 3)))
    return torch.cat(found, dim=1)
