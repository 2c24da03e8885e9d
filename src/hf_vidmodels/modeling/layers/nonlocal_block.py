"""The non-local block: Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971, as the public SlowFast
code (287ec00) has it; over all positions of a map, or over those of a frame or at a place alone.
"""

from typing import Any

import torch
from torch import nn

from .attention import attend
from .video_convolution import VideoConvolution


class NonlocalBlock(nn.Module):
    """Lets positions of a map see each other, and adds what they find.

    Args:
        width: channels C of the map.
        inner_width: channels of queries, keys and values.
        form: `"softmax"` (embedded Gaussian; scaled dot-product attention) or `"dot_product"` (divided by the number
            of keys).
        over: what sees each other: `"all"` positions, those of a frame (`"space"`), or the frames at a place
            (`"time"`).
        pool_size: (t, h, w) of a maximum over keys and values, or None.
        num_groups: parts of the time axis that are apart; for `"all"`.
        starts_at_zero: whether a new block changes nothing at first.
        norm_options: `eps` and `momentum` of the norm behind the output.
    """

    def __init__(
        self,
        width: int,
        inner_width: int,
        form: str = "softmax",
        over: str = "all",
        pool_size: tuple[int, int, int] | None = None,
        num_groups: int = 1,
        starts_at_zero: bool = True,
        norm_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.form, self.over, self.num_groups = form, over, num_groups
        self.pool = nn.MaxPool3d(pool_size) if pool_size is not None and max(pool_size) > 1 else None
        self.query = VideoConvolution(width, inner_width, 1)
        self.key = VideoConvolution(width, inner_width, 1)
        self.value = VideoConvolution(width, inner_width, 1)
        self.output = VideoConvolution(inner_width, width, 1)
        self.normalization = nn.BatchNorm3d(width, **(norm_options or {}))
        self.normalization.starts_at_zero = starts_at_zero

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to the same shape."""
        pooled = maps if self.pool is None else self.pool(maps)
        query, key, value = (
            self._as_rows(layer(source))
            for layer, source in ((self.query, maps), (self.key, pooled), (self.value, pooled))
        )
        if self.form == "softmax":
            mixed = attend(query, key, value)[0]
        else:
            # Without a softmax the products may be taken in any order; this one needs no matrix of all pairs.
            mixed = query @ (key.transpose(-1, -2) @ value) / key.shape[-2]
        return maps + self.normalization(self.output(self._as_maps(mixed, maps.shape[2:])))

    def _as_rows(self, maps: torch.Tensor) -> torch.Tensor:
        """Give (B', 1, N, C): the N positions of a row see each other."""
        if self.over == "space":
            rows = maps.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)
        elif self.over == "time":
            rows = maps.permute(0, 3, 4, 2, 1).flatten(0, 2)
        else:
            rows = maps.unflatten(2, (self.num_groups, -1)).flatten(3).permute(0, 2, 3, 1).flatten(0, 1)
        # Fused attention takes channels side by side only, and else makes the matrix of all pairs.
        return rows[:, None].contiguous()

    def _as_maps(self, rows: torch.Tensor, grid: torch.Size) -> torch.Tensor:
        """Undo `_as_rows`: (B, C, T, H, W)."""
        frames, height, width = grid
        rows = rows.squeeze(1)
        if self.over == "space":
            return rows.unflatten(0, (-1, frames)).unflatten(2, (height, width)).permute(0, 4, 1, 2, 3)
        if self.over == "time":
            return rows.unflatten(0, (-1, height, width)).permute(0, 4, 3, 1, 2)
        parts = rows.unflatten(0, (-1, self.num_groups)).permute(0, 3, 1, 2)
        return parts.flatten(2).unflatten(2, (frames, height, width))
