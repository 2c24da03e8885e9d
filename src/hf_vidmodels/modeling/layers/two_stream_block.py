"""The parts of Semiformer's two streams: how tokens begin, and the block in which both streams meet.

Facts of the official code (commit 0e3b5be); position embeddings of another size are ours.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...configuration.configuration_semiformer import BOTH, BlockPlan, SemiformerConfig
from ..backbones.vit import VisionTransformerBlock
from .convolution_blocks import Bottleneck, ConvMixerBlock
from .stream_fusion import MapToTokens, TokensToMap


class TokenEmbeddings(nn.Module):
    """The stem's map, or the pixels themselves, to tokens behind a class token.

    Args:
        config: whose `token_stride` and positions they have.
        in_width: channels of what is embedded.
        stride: its cells from one token to the next.
    """

    def __init__(self, config: SemiformerConfig, in_width: int, stride: int) -> None:
        super().__init__()
        self.grid = config.position_grid
        self.interpolates = config.interpolate_position_embeddings
        self.patches = nn.Conv2d(in_width, config.hidden_size, stride, stride=stride)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.positions = None
        if config.use_position_embeddings:
            self.positions = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], config.hidden_size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give (B, 1 + N, D); the class token has no position."""
        patches = self.patches(features)
        tokens = patches.flatten(2).transpose(1, 2)
        if self.positions is not None:
            tokens = tokens + self._positions_of(tuple(patches.shape[-2:]))
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def _positions_of(self, grid: tuple[int, int]) -> torch.Tensor:
        if grid == self.grid:
            return self.positions
        if not self.interpolates:
            raise ValueError(
                f"pixel_values make a grid of {grid[0]} x {grid[1]} tokens, but the position embeddings were learned "
                f"on {self.grid[0]} x {self.grid[1]}; give pictures of that size, or interpolate_position_embeddings"
            )
        table = self.positions.transpose(1, 2).unflatten(2, self.grid)
        resized = nn.functional.interpolate(table.float(), size=grid, mode="bicubic", align_corners=False)
        return resized.to(table.dtype).flatten(2).transpose(1, 2)


class TwoStreamBlock(GradientCheckpointingLayer):
    """A step of both streams, in which each sees what the other has just found; or of the one stream that there is."""

    def __init__(self, config: SemiformerConfig, plan: BlockPlan) -> None:
        super().__init__()
        self.ratio = plan.ratio
        self.conv = self.fusion_conv = self.transformer = self.down = self.up = None
        self.middle = nn.ModuleList()
        self.fuses = config.use_fusion and config.streams == BOTH
        if config.has_conv_stream:
            self.conv = conv_block(config, plan.in_width, plan.width, plan.stride)
            if config.conv_stream == "bottleneck":
                self.middle.extend(conv_block(config, plan.width, plan.width) for _ in range(config.num_med_blocks))
            self.fusion_conv = conv_block(config, plan.width, plan.width, plan.last_stride)
        if config.has_transformer_stream:
            self.transformer = transformer_block(config, plan.drop_path_rate)
        if config.streams == BOTH:
            self.down = MapToTokens(plan.width, config.hidden_size, plan.ratio, config.layer_norm_eps)
            self.up = TokensToMap(config.hidden_size, plan.width, plan.ratio, config.batch_norm_eps)
            for unit in (self.down, self.up):
                unit.requires_grad_(self.fuses)

    def forward(
        self, features: torch.Tensor | None, tokens: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Give the map, the tokens and, where they are computed, the attention probabilities."""
        if self.conv is not None:
            features = self.conv(features)
        probabilities = None
        if self.transformer is not None:
            # The class token, which the down unit copies, is doubled by the sum; checkpoints depend on it.
            seen = tokens + self.down(features, tokens) if self.fuses else tokens
            tokens, probabilities = self.transformer(seen)
        if self.conv is not None:
            for block in self.middle:
                features = block(features)
            added = self.up(tokens, *features.shape[-2:]) if self.fuses else None
            features = self.fusion_conv(features, added)
        return features, tokens, probabilities


def conv_block(
    config: SemiformerConfig, in_width: int, width: int, stride: int = 1, *, is_first: bool = False
) -> Bottleneck | ConvMixerBlock:
    """Make a block of the convolution stream; where a bottleneck changes the shape its shortcut is a projection."""
    if config.conv_stream == "convmixer":
        return ConvMixerBlock(width, config.convmixer_kernel_size, config.convmixer_batch_norm_eps)
    has_projection = is_first or stride != 1 or in_width != width
    return Bottleneck(in_width, width, config.batch_norm_eps, stride=stride, has_projection=has_projection)


def transformer_block(config: SemiformerConfig, drop_path_rate: float) -> VisionTransformerBlock:
    """Make a block of the transformer stream."""
    block = VisionTransformerBlock(config, drop_path_rate)
    block.attention.scaling = config.qk_scale or block.attention.scaling
    return block
