"""How a map of convolutions and a sequence of tokens hand features to each other (Semiformer, after Conformer)."""

import torch
from torch import nn


class MapToTokens(nn.Module):
    """Down unit: a map (B, C, h, w) to tokens (B, 1 + N, D), N = h w / ratio^2, behind a copy of the class token.

    The paper's code projects all cells and then averages; both are linear, so averaging first gives the same for a
    fraction of the products.
    """

    def __init__(self, width: int, hidden_size: int, ratio: int, norm_eps: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.projection = nn.Conv2d(width, hidden_size, 1)
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Give the map as tokens, with the class token of `tokens` (B, 1 + N, D) in front."""
        if self.ratio > 1:
            features = nn.functional.avg_pool2d(features, self.ratio)
        patches = self.projection(features).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1], nn.functional.gelu(self.norm(patches))], dim=1)


class TokensToMap(nn.Module):
    """Up unit: tokens (B, 1 + N, D) without the class token to a map (B, C, h, w), enlarged by `ratio`."""

    def __init__(self, hidden_size: int, width: int, ratio: int, norm_eps: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.projection = nn.Conv2d(hidden_size, width, 1)
        self.norm = nn.BatchNorm2d(width, eps=norm_eps)

    def forward(self, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Give the tokens as a map of `height` x `width` cells."""
        grid = tokens[:, 1:].transpose(1, 2).unflatten(2, (height // self.ratio, width // self.ratio))
        features = self.norm(self.projection(grid)).relu_()
        if self.ratio > 1:
            features = nn.functional.interpolate(features, scale_factor=self.ratio, mode="nearest")
        return features
