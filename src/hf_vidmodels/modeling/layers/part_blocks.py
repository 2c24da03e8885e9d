"""Blocks of a residual network that give several maps of a picture, its parts, and the layer that merges the parts of
two stages.

OSME is "one squeeze, multiple excitations": Sun et al., ECCV 2018; as in Cross-X, Luo et al., ICCV 2019, official code
(commit 0ed68c1). Squeeze and excitation: Hu et al., CVPR 2018.
"""

import torch
from torch import nn

from ...configuration.configuration_cross_x import BlockPlan
from .convolution_blocks import Bottleneck


class Excitations(nn.Module):
    """Several weightings of a map's channels from one squeeze, (B, C) to (B, N, C) in (0, 1), as one grouped product.

    Args:
        width: channels C.
        hidden_width: of each excitation.
        count: excitations N.
    """

    def __init__(self, width: int, hidden_width: int, count: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, count * hidden_width)
        self.weight = nn.Parameter(torch.empty(count, hidden_width, width))
        self.bias = nn.Parameter(torch.empty(count, width))

    def forward(self, means: torch.Tensor) -> torch.Tensor:
        """Weigh the channels by their means over the map."""
        count, hidden_width, _ = self.weight.shape
        hidden = self.squeeze(means).relu().unflatten(1, (count, hidden_width)).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], hidden, self.weight).transpose(0, 1).sigmoid()


class PartBottleneck(Bottleneck):
    """A bottleneck that may excite its channels, and may give parts: its map as each of P excitations weighs it.

    Args:
        plan: its sizes.
        expansion: channels that it gives over its inner ones.
        norm_eps: of its batch norms.
        is_excited: whether its ordinary map is weighed too, as in a SENet; by the first excitation.
    """

    def __init__(self, plan: BlockPlan, expansion: int, norm_eps: float, *, is_excited: bool) -> None:
        super().__init__(
            plan.in_width,
            plan.width,
            norm_eps,
            stride=plan.stride,
            has_projection=plan.has_projection,
            expansion=expansion,
        )
        self.is_excited = is_excited
        count = plan.num_parts + is_excited
        self.excitations = Excitations(plan.width, plan.excitation_width, count) if count else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give the ordinary map: (B, in_width, h, w) to (B, width, h / stride, w / stride)."""
        residual = self.residual(features)
        if self.is_excited:
            residual = residual * self._excited(residual)[:, 0, :, None, None]
        return (self.shortcut(features) + residual).relu_()

    def forward_parts(
        self, features: torch.Tensor, *, is_last: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """Give the ordinary map, None in the last block, where nobody sees it, and the P parts (B, width, h, w)."""
        residual, shortcut = self.residual(features), self.shortcut(features)
        weights = self._excited(residual)
        parts = [
            (residual * weight[:, :, None, None]).add_(shortcut).relu_()
            for weight in weights[:, int(self.is_excited) :].unbind(1)
        ]
        if is_last:
            return None, parts
        ordinary = residual * weights[:, 0, :, None, None] if self.is_excited else residual
        return (ordinary + shortcut).relu_(), parts

    def _excited(self, residual: torch.Tensor) -> torch.Tensor:
        return self.excitations(residual.mean((2, 3)))


class PartMerge(nn.Module):
    """Merges the maps of one part from two stages, and gives the mean over the merged map.

    The coarse map, narrowed by a 1 x 1 convolution and enlarged (nearest), is added to the fine one; then come a 3 x 3
    convolution and a batch norm, without activation. With fixed statistics all of that is linear, so that the mean
    follows from means of both maps over nine windows, one for each place of the kernel, and no map is convolved.

    Args:
        fine_width: channels of the fine map, and of the merged one.
        coarse_width: channels of the coarse map.
        norm_eps: of its batch norm.
    """

    def __init__(self, fine_width: int, coarse_width: int, norm_eps: float) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse_width, fine_width, 1, bias=False)
        self.spatial = nn.Conv2d(fine_width, fine_width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(fine_width, eps=norm_eps)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Merge (B, fine_width, h, w) and (B, coarse_width, h', w') to (B, fine_width)."""
        if self.norm.training:
            return self.merged_map(fine, coarse).mean((2, 3))
        return self.merged_means(fine, coarse)

    def merged_map(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Give the merged map (B, fine_width, h, w)."""
        enlarged = nn.functional.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="nearest")
        summed = fine + enlarged
        # Of so many channels CPUs convolve maps faster with channels first.
        return self.norm(self.spatial(summed.contiguous() if summed.device.type == "cpu" else summed))

    def merged_means(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Give the mean over the merged map, (B, fine_width), from means over windows; with fixed statistics."""
        rows, columns = (nearest_windows(side, side, fine) for side in fine.shape[2:])
        coarse_rows, coarse_columns = (
            nearest_windows(*sides, fine) for sides in zip(fine.shape[2:], coarse.shape[2:], strict=True)
        )
        windows = window_means(fine, rows, columns)
        narrowed = window_means(coarse, coarse_rows, coarse_columns) @ self.narrow.weight.flatten(1).T
        kernel = self.spatial.weight.permute(0, 2, 3, 1).flatten(1)
        mean = nn.functional.linear((windows + narrowed).flatten(1), kernel)
        norm = self.norm
        return nn.functional.batch_norm(
            mean, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )


def nearest_windows(side: int, source_side: int, like: torch.Tensor) -> torch.Tensor:
    """Say how often each row of a map counts in the windows of a padded kernel of 3 on the map enlarged to `side`.

    Args:
        side: rows of the enlarged map.
        source_side: rows of the map; row i of the enlarged one is row floor(i * source_side / side).
        like: gives device and type.

    Returns:
        (3, source_side), shares of `side`: place 0 of the kernel never sees the last row, place 2 never the first.
    """
    places = torch.arange(side, device=like.device)
    is_seen = torch.stack([places < side - 1, places >= 0, places > 0]).to(like.dtype)
    source = torch.arange(source_side, device=like.device)
    is_source = (places[:, None] * source_side // side == source).to(like.dtype)
    return is_seen @ is_source / side


def window_means(features: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Give means over nine windows, (B, C, h, w) to (B, 9, C), from the weights of rows (3, h) and columns (3, w)."""
    weights = (rows[:, None, :, None] * columns[None, :, None, :]).flatten(2).flatten(0, 1)
    return weights @ features.permute(0, 2, 3, 1).flatten(1, 2)
