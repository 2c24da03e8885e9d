"""Blocks of convolution streams that take what another stream gives: bottlenecks as in ResNets, and ConvMixer's.

He et al., CVPR 2016; Trockman and Kolter, TMLR 2023; the places of the added map, norms and biases are those of
Semiformer's official code (commit 0e3b5be).
"""

import torch
from torch import nn


class ResNetStem(nn.Sequential):
    """Halves a picture twice: (B, C, H, W) to (B, width, H / 4, W / 4), rounded up."""

    def __init__(self, num_channels: int, width: int, norm_eps: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(num_channels, width, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=norm_eps)
        self.activation = nn.ReLU()
        self.pooling = nn.MaxPool2d(3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """Residual block of a narrow 3 x 3 convolution between two of 1 x 1, (B, C, h, w) to (B, width, h / stride, ...).

    Args:
        in_width: channels of the map.
        width: channels that it gives.
        norm_eps: of its batch norms.
        stride: of the middle convolution.
        has_projection: whether the shortcut is a convolution.
        expansion: `width` over the channels of the middle convolution.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        norm_eps: float,
        *,
        stride: int = 1,
        has_projection: bool = False,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        inner = width // expansion
        self.reduce = nn.Conv2d(in_width, inner, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(inner, eps=norm_eps)
        self.spatial = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.spatial_norm = nn.BatchNorm2d(inner, eps=norm_eps)
        self.expand = nn.Conv2d(inner, width, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(width, eps=norm_eps)
        self.projection = nn.Conv2d(in_width, width, 1, stride=stride, bias=False) if has_projection else None
        self.projection_norm = nn.BatchNorm2d(width, eps=norm_eps) if has_projection else None

    def forward(self, features: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """Transform a map; `added`, of its shape, is seen by the convolutions and not by the shortcut."""
        residual = self.residual(features if added is None else features + added)
        return (self.shortcut(features) + residual).relu_()

    def residual(self, features: torch.Tensor) -> torch.Tensor:
        """Give what the convolutions make of a map."""
        hidden = self.reduce_norm(self.reduce(features)).relu_()
        hidden = self.spatial_norm(self.spatial(hidden)).relu_()
        return self.expand_norm(self.expand(hidden))

    def shortcut(self, features: torch.Tensor) -> torch.Tensor:
        """Give what of a map goes past the convolutions."""
        return features if self.projection is None else self.projection_norm(self.projection(features))


class ConvMixerEmbedding(nn.Sequential):
    """Patches of a picture to a map: (B, C, H, W) to (B, width, H / patch, W / patch)."""

    def __init__(self, num_channels: int, width: int, patch_size: int, norm_eps: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(num_channels, width, patch_size, stride=patch_size)
        self.activation = nn.GELU()
        self.norm = nn.BatchNorm2d(width, eps=norm_eps)


class ConvMixerBlock(nn.Module):
    """Mixes cells of a map (B, width, h, w) by a large depthwise convolution, then channels."""

    def __init__(self, width: int, kernel_size: int, norm_eps: float) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.spatial_norm = nn.BatchNorm2d(width, eps=norm_eps)
        self.channels = nn.Conv2d(width, width, 1)
        self.channels_norm = nn.BatchNorm2d(width, eps=norm_eps)

    def forward(self, features: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """Transform a map; `added`, of its shape, is seen by the depthwise convolution alone."""
        hidden = features if added is None else features + added
        hidden = features + self.spatial_norm(nn.functional.gelu(self.spatial(hidden)))
        return self.channels_norm(nn.functional.gelu(self.channels(hidden)))
