"""Convolutions over frames that are as fast as a CPU allows when channels are the innermost axis."""

import torch
from torch import nn
from torch.nn import functional

ONES, ZEROS = (1, 1, 1), (0, 0, 0)
TIME, SPACE = slice(0, 1), slice(1, 3)
# Up to so many values (channels x frames x rows) PyTorch convolves a single clip by a slow kernel of its own.
SMALL_CLIP = 20480


class VideoConvolution(nn.Conv3d):
    """PyTorch's convolution in the form that `convolve` chooses."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to (B, C', T', H', W')."""
        return convolve(maps, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def convolve(
    maps: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, ...] = ONES,
    padding: tuple[int, ...] = ZEROS,
    dilation: tuple[int, ...] = ONES,
    groups: int = 1,
) -> torch.Tensor:
    """Convolve maps (B, C, T, H, W), in the form of another operation where a CPU computes that faster.

    With channels innermost (`torch.channels_last_3d`) some of PyTorch's CPU kernels take up to fourteen times the time
    of an equal operation (`benchmarks/speed_video_convolution.py`). So a kernel of 1 x 1 x 1 becomes a matrix product,
    one over frames alone a convolution of pictures of frames by positions, and one over space alone, where a single
    clip is small, a convolution of its frames. Results differ by rounding. With other layouts and on other devices
    this is PyTorch's convolution.

    Args:
        maps: (B, C, T, H, W).
        weight: (C', C / groups, k_t, k_h, k_w).
        bias: (C',) or None.
        stride: over frames, rows and columns, as the next two.
        padding: zeros on either side.
        dilation: positions from one value of the kernel to the next.
        groups: of channels that see only themselves.

    Returns:
        (B, C', T', H', W'), of the faster forms with channels innermost too.
    """
    options = stride, padding, dilation
    if groups == 1 and maps.device.type == "cpu" and has_innermost_channels(maps):
        kernel, places = weight.shape[2:], maps.permute(0, 2, 3, 4, 1)
        over_time, over_space = (
            kernel[axes] != ONES[axes] or stride[axes] != ONES[axes] or padding[axes] != ZEROS[axes]
            for axes in (TIME, SPACE)
        )
        if not (over_time or over_space):
            return functional.linear(places, weight.flatten(1), bias).permute(0, 4, 1, 2, 3)
        # Of the other kernels those for bfloat16 are the fastest ones.
        if not computes_in_bfloat16(maps):
            if not over_space:
                rows = _convolve_pictures(places.flatten(2, 3), weight.squeeze(4), bias, [of[:2] for of in options])
                return _as_maps(rows, (len(maps), rows.shape[1], *maps.shape[3:]))
            if not over_time and len(maps) == 1 and maps.shape[1:4].numel() <= SMALL_CLIP:
                rows = _convolve_pictures(places.flatten(0, 1), weight.squeeze(2), bias, [of[1:] for of in options])
                return _as_maps(rows, (len(maps), maps.shape[2], *rows.shape[1:3]))
    return functional.conv3d(maps, weight, bias, *options, groups)


def has_innermost_channels(maps: torch.Tensor) -> bool:
    """Whether maps (B, C, T, H, W) are laid out with channels innermost, and could not be meant otherwise."""
    return maps.is_contiguous(memory_format=torch.channels_last_3d) and not maps.is_contiguous()


def computes_in_bfloat16(maps: torch.Tensor) -> bool:
    """Whether a convolution of these maps computes in bfloat16, by their type or by autocasting."""
    casts = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return casts or maps.dtype == torch.bfloat16


def _convolve_pictures(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, options: list[tuple[int, ...]]
) -> torch.Tensor:
    """Map pictures (N, h, w, C) by stride, padding and dilation to (N, h', w', C')."""
    kernel = weight.contiguous(memory_format=torch.channels_last)
    return functional.conv2d(rows.permute(0, 3, 1, 2), kernel, bias, *options).permute(0, 2, 3, 1)


def _as_maps(rows: torch.Tensor, grid: tuple[int, int, int, int]) -> torch.Tensor:
    """Give rows (..., C) as (B, C, T, H, W)."""
    # By way of a matrix, because the stride of an axis of length 1, which tells the layout too, is then the usual one.
    return rows.flatten(0, -2).view(*grid, rows.shape[-1]).permute(0, 4, 1, 2, 3)
