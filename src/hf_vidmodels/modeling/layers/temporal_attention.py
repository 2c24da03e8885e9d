"""Global temporal attention: He et al., "GTA: Global Temporal Attention for Video Action Understanding", BMVC 2021,
arXiv 2012.08510.

No code of the paper is public. What its abstract and figure state is built as stated: attention in space first;
matrices over frames that are learned directly and shared by all samples; a branch on pixels and one on regions whose
results are added; groups and heads that exchange channels. Reconstructed by us, and options of the configuration, are
the numbers of groups and regions, how regions are normalised, residuals and norms, initial values, and a softmax over
the matrices.

Maps are (B, C, T, H, W).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from .nonlocal_block import NonlocalBlock
from .video_convolution import VideoConvolution, convolve

# Keeps the mean of a region without pixels finite.
LEAST_MASS = 1e-6


def rows_by_place(rows: torch.Tensor, num_groups: int) -> torch.Tensor:
    """Bring the rows (Ci, ...) of a projection from one group after another to one place in all groups after another,
    so that a group's place and its frames become neighbouring axes of the values.
    """
    return rows.unflatten(0, (num_groups, -1)).transpose(0, 1).flatten(0, 1)


class CrossChannelTemporalMixing(nn.Module):
    """Project, and mix frames and groups of channels by learned matrices, the same for all samples and positions.

    Head h of the result is the sum over groups g of A[h, g] applied to the frames of group g, and heads stand side by
    side on the channels. It is done as one product of a (heads T) x (groups T) matrix with the (group, frame) axis,
    for which the projection gives its channels in the order that this axis needs: nothing is copied.

    Args:
        width: C.
        inner_width: Ci, a multiple of `num_groups`.
        num_frames: T.
        num_groups: G, also the number of heads.
        cross_channel: whether heads see all groups, or each its own.
        normalization: `"none"`, or `"softmax"` over source frames.
        initialization: `"uniform"` in +-1 / sqrt(G T), `"normal"` of that deviation, or `"identity"`.
        interpolates: whether clips of another number of frames resize the matrices, or are refused.
    """

    def __init__(
        self,
        width: int,
        inner_width: int,
        num_frames: int,
        num_groups: int,
        cross_channel: bool = True,
        normalization: str = "none",
        initialization: str = "uniform",
        interpolates: bool = False,
    ) -> None:
        super().__init__()
        self.num_frames, self.num_groups, self.cross_channel = num_frames, num_groups, cross_channel
        self.normalization, self.initialization, self.interpolates = normalization, initialization, interpolates
        self.value = VideoConvolution(width, inner_width, 1)
        self.attention = nn.Parameter(torch.empty(num_groups, num_groups, num_frames, num_frames))

    def start(self) -> None:
        """Give the matrices their initial values."""
        deviation = (self.num_groups * self.num_frames) ** -0.5
        if self.initialization == "uniform":
            init.uniform_(self.attention, -deviation, deviation)
        elif self.initialization == "normal":
            init.normal_(self.attention, std=deviation)
        else:
            init.copy_(self.attention, self._own_groups() * torch.eye(self.num_frames, device=self.attention.device))

    def matrices(self, num_frames: int) -> torch.Tensor:
        """Give (heads, groups, target frames, source frames) as they are applied to clips of `num_frames`.

        Raises:
            ValueError: for another number of frames than the matrices have, unless they may be resized.
        """
        matrices = self.attention
        if num_frames != self.num_frames:
            if not self.interpolates:
                raise ValueError(
                    f"this model has global temporal matrices for {self.num_frames} frames, got {num_frames}; set "
                    "interpolate_attention=True, or give clips of the configured num_frames"
                )
            size = (num_frames, num_frames)
            resized = nn.functional.interpolate(matrices, size, mode="bilinear", align_corners=False)
            matrices = resized * (self.num_frames / num_frames)
        if self.normalization == "softmax":
            accurate = torch.promote_types(matrices.dtype, torch.float32)
            matrices = matrices.to(accurate).softmax(-1).to(matrices.dtype)
        return matrices if self.cross_channel else matrices * self._own_groups().to(matrices.dtype)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to (B, Ci, T, H, W), heads side by side."""
        return self.by_place(maps).unflatten(1, (-1, self.num_groups)).transpose(1, 2).flatten(1, 2)

    def by_place(self, maps: torch.Tensor) -> torch.Tensor:
        """Give the same (B, Ci, T, H, W) in another order of channels: of one place in all heads after another."""
        weight, bias = (rows_by_place(rows, self.num_groups) for rows in (self.value.weight, self.value.bias))
        return self.mix(convolve(maps, weight, bias))

    def mix(self, values: torch.Tensor) -> torch.Tensor:
        """Mix values (B, Ci, T, H, W) whose channels are of one place in all groups after another, and so are the
        result's.
        """
        places = values.unflatten(1, (-1, self.num_groups)).flatten(4).flatten(2, 3).flatten(0, 1)
        matrix = self.matrices(values.shape[2]).transpose(1, 2).flatten(2).flatten(0, 1)
        # Not `@`, which in training brings the places into another order first.
        return torch.bmm(matrix.expand(len(places), -1, -1), places).view(values.shape)

    def _own_groups(self) -> torch.Tensor:
        """Give (heads, groups, 1, 1), 1 where a head meets its own group."""
        return torch.eye(self.num_groups, device=self.attention.device)[:, :, None, None]


class RegionMixing(nn.Module):
    """Gather pixels in regions by a learned soft assignment, mix the regions over time, and give them back to the
    pixels.

    Args:
        width: C.
        num_regions: K.
        normalization: `"mean"` (a region is divided by its mass) or `"sum"`.
        mixing: what is done to the regions, with K in the place of pixels.
    """

    def __init__(self, width: int, num_regions: int, normalization: str, mixing: CrossChannelTemporalMixing) -> None:
        super().__init__()
        self.normalization = normalization
        self.assignment = VideoConvolution(width, num_regions, 1)
        self.mixing = mixing

    def assign(self, maps: torch.Tensor) -> torch.Tensor:
        """Give the share of every region in every pixel: (B, K, T, H, W), 1 in sum over K."""
        return self.assignment(maps).softmax(1)

    def gather(self, maps: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Give the features of regions (B, T, K, C), computed in float32 at least."""
        accurate = torch.promote_types(maps.dtype, torch.float32)
        weights = shares.flatten(3).transpose(1, 2).to(accurate)
        features = weights @ maps.flatten(3).permute(0, 2, 3, 1).to(accurate)
        if self.normalization == "mean":
            features = features / (weights.sum(-1, keepdim=True) + LEAST_MASS)
        return features.to(maps.dtype)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to (B, Ci, T, H, W), heads side by side."""
        return self._mixed(maps, self.mixing)

    def by_place(self, maps: torch.Tensor) -> torch.Tensor:
        """Give the same in the order of channels of `CrossChannelTemporalMixing.by_place`."""
        return self._mixed(maps, self.mixing.by_place)

    def _mixed(self, maps: torch.Tensor, mix: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        shares = self.assign(maps)
        regions = self.gather(maps, shares).permute(0, 3, 1, 2)[..., None]
        mixed = mix(regions).squeeze(-1).transpose(1, 2)
        back = mixed @ shares.flatten(3).transpose(1, 2).to(mixed.dtype)
        return back.transpose(1, 2).unflatten(3, maps.shape[3:])


class GlobalTemporalAttention(nn.Module):
    """The whole block: attention in space, then both branches over time, their sum projected, normed and added.

    Args:
        spatial: attention among the positions of a frame, or None.
        pixel: branch on pixels, or None.
        region: branch on regions, or None; one of the two is there.
        width: C.
        inner_width: Ci.
        norm_options: `eps` and `momentum` of the batch norm.
        starts_at_zero: whether the temporal part changes nothing at first.
    """

    def __init__(
        self,
        spatial: NonlocalBlock | None,
        pixel: CrossChannelTemporalMixing | None,
        region: RegionMixing | None,
        width: int,
        inner_width: int,
        norm_options: dict[str, Any] | None = None,
        starts_at_zero: bool = True,
    ) -> None:
        super().__init__()
        self.spatial, self.pixel, self.region = spatial, pixel, region
        self.num_groups = (region.mixing if pixel is None else pixel).num_groups
        self.output = VideoConvolution(inner_width, width, 1)
        self.normalization = nn.BatchNorm3d(width, **(norm_options or {}))
        self.normalization.starts_at_zero = starts_at_zero

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to the same shape."""
        seen = maps if self.spatial is None else self.spatial(maps)
        mixed = sum(branch.by_place(seen) for branch in (self.pixel, self.region) if branch is not None)
        weight = rows_by_place(self.output.weight.transpose(0, 1), self.num_groups).transpose(0, 1)
        return seen + self.normalization(convolve(mixed, weight, self.output.bias))
