"""Video Swin: Liu et al., "Video Swin Transformer", CVPR 2022, arXiv 2106.13230.

Attention inside windows of the token grid, shifted in every other block, with a learned bias for relative positions.
Written from facts about the official code (and its fork in STTS at commit 6ae3404); weights of torchvision's
`swin3d_{t,s,b}` fit. It takes clips of any size, classifies nothing by itself and knows no token selection: before any
stage a caller may exchange the tokens and their grid.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torchvision.ops import StochasticDepth
from transformers.modeling_layers import GradientCheckpointingLayer

from ...configuration.configuration_backbones import Grid, VideoSwinConfig
from ..layers.attention import attend
from ..layers.shifted_windows import fit_window, relative_position_index, window_layout
from ..layers.starting_weights import start_truncated_normal
from .video_transformer import (
    TokenFilter,
    TransformerMlp,
    VideoTransformer,
    VideoTransformerOutput,
    drop_path_rates,
    project_patches,
)


class VideoSwinModel(VideoTransformer):
    """The stages of a Video Swin with patch embedding and last norm.

    Example:
        >>> model = VideoSwinModel(VideoSwinConfig.from_preset("video-swin-t")).eval()
        >>> model(pixel_values).feature_map   # (B, 32, 3, 224, 224) -> (B, 768, 16, 7, 7)
    """

    config: VideoSwinConfig
    config_class = VideoSwinConfig
    _no_split_modules = ["VideoSwinBlock"]

    def __init__(self, config: VideoSwinConfig) -> None:
        super().__init__(config)
        self.embeddings = VideoSwinEmbeddings(config)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        firsts = [sum(config.depths[:stage]) for stage in range(len(config.depths))]
        self.stages = nn.ModuleList(
            VideoSwinStage(config, stage, rates[first : first + depth])
            for stage, (first, depth) in enumerate(zip(firsts, config.depths, strict=True))
        )
        self.norm = nn.LayerNorm(config.stage_widths[-1], eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WindowAttention):
            start_truncated_normal(module.position_bias_table, self.config.initializer_range)

    def forward(
        self,
        pixel_values: torch.Tensor,
        token_filters: Mapping[int, TokenFilter] | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        pooled_only: bool = False,
    ) -> VideoTransformerOutput:
        """Run the network.

        Args:
            pixel_values: (B, T, 3, H, W) normalised frames.
            token_filters: by number of a stage, what is called on the tokens that are about to enter it.
            output_hidden_states: also return what every stage gives.
            output_attentions: also return the attention weights, which takes the unfused attention; windows stand in
                the order of `window_layout`.
            pooled_only: answer `pooler_output` without `last_hidden_state`, of which it is the mean.

        Raises:
            ValueError: for anything but clips.
        """
        self.check_clips(pixel_values)
        token_filters = token_filters or {}
        hidden_states, grid = self.embeddings(pixel_values)
        states, attentions = [], []
        for index, stage in enumerate(self.stages):
            if index in token_filters:
                hidden_states, grid = token_filters[index](hidden_states, grid)
            hidden_states, grid, weights = stage(hidden_states, grid, output_attentions)
            states.append(hidden_states)
            attentions.extend(weights)
        hidden_states = self.norm(hidden_states)
        return VideoTransformerOutput(
            last_hidden_state=None if pooled_only else hidden_states,
            pooler_output=hidden_states.mean(1),
            grid=grid,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class VideoSwinEmbeddings(nn.Module):
    """Clips to tokens: patches side by side, projected and normalised."""

    def __init__(self, config: VideoSwinConfig) -> None:
        super().__init__()
        self.patch_size = tuple(config.patch_size)
        self.projection = nn.Conv3d(config.num_channels, config.hidden_size, self.patch_size, self.patch_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.patch_norm else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, Grid]:
        """Turn (B, T, 3, H, W) into (B, N, hidden_size) on a grid."""
        frames, _, *sides = pixel_values.shape[1:]
        missing = [-side % patch for side, patch in zip((frames, *sides), self.patch_size, strict=True)]
        if any(missing):
            pixel_values = nn.functional.pad(pixel_values, (0, missing[2], 0, missing[1], 0, 0, 0, missing[0]))
        maps = project_patches(self.projection, pixel_values)
        tokens = maps if self.norm is None else self.norm(maps)
        return self.dropout(tokens.flatten(1, 3)), tuple(maps.shape[1:4])


class VideoSwinStage(nn.Module):
    """Blocks of one width, then (but for the last stage) patch merging."""

    def __init__(self, config: VideoSwinConfig, stage: int, drop_path_rates: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            VideoSwinBlock(config, stage, is_shifted=index % 2 == 1, drop_path_rate=rate)
            for index, rate in enumerate(drop_path_rates)
        )
        is_last = stage == len(config.depths) - 1
        self.merging = None if is_last else PatchMerging(config.stage_widths[stage], config.layer_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, grid: Grid, output_attentions: bool = False
    ) -> tuple[torch.Tensor, Grid, list[torch.Tensor | None]]:
        """Map (B, N, C) tokens on a grid to those of the next stage; also give the weights of every block."""
        attentions = []
        for block in self.blocks:
            hidden_states, weights = block(hidden_states, grid, output_attentions)
            attentions.append(weights)
        if self.merging is not None:
            hidden_states, grid = self.merging(hidden_states, grid)
        return hidden_states, grid, attentions


class PatchMerging(nn.Module):
    """Joins 2 x 2 neighbours of a frame and halves their joint width."""

    def __init__(self, width: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps=norm_eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, hidden_states: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, Grid]:
        """Map (B, T * H * W, C) to (B, T * H' * W', 2 C) with H' = ceil(H / 2), W' = ceil(W / 2)."""
        frames, height, width = grid
        maps = hidden_states.unflatten(1, grid)
        if height % 2 or width % 2:
            maps = nn.functional.pad(maps, (0, 0, 0, width % 2, 0, height % 2))
        grid = (frames, (height + 1) // 2, (width + 1) // 2)
        maps = maps.unflatten(3, (grid[2], 2)).unflatten(2, (grid[1], 2))
        # Of the four neighbours the row changes first: (even, even), (odd, even), (even, odd), (odd, odd).
        merged = maps.permute(0, 1, 2, 4, 5, 3, 6).flatten(4).flatten(1, 3)
        return self.reduction(self.norm(merged)), grid


class VideoSwinBlock(GradientCheckpointingLayer):
    """Window attention and an MLP, each after a norm and around a residual."""

    def __init__(self, config: VideoSwinConfig, stage: int, is_shifted: bool, drop_path_rate: float) -> None:
        super().__init__()
        width = config.stage_widths[stage]
        self.norm_before_attention = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = WindowAttention(config, stage, is_shifted)
        self.norm_before_mlp = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = TransformerMlp(width, config.mlp_ratio, width, config.hidden_act, config.hidden_dropout_prob)
        self.drop_path = StochasticDepth(drop_path_rate, "row")

    def forward(
        self, hidden_states: torch.Tensor, grid: Grid, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, N, C) tokens on a grid to as many."""
        attended, weights = self.attention(self.norm_before_attention(hidden_states), grid, output_attentions)
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.norm_before_mlp(hidden_states))), weights


class WindowAttention(nn.Module):
    """Multi-head attention inside windows.

    Padding takes part in it as the official code has it: its keys and values are those of a zero token.
    """

    def __init__(self, config: VideoSwinConfig, stage: int, is_shifted: bool) -> None:
        super().__init__()
        width = config.stage_widths[stage]
        self.num_heads = config.num_attention_heads[stage]
        self.window_size = tuple(config.window_size)
        self.is_shifted = is_shifted
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        num_offsets = 1
        for size in self.window_size:
            num_offsets *= 2 * size - 1
        self.position_bias_table = nn.Parameter(torch.zeros(num_offsets, self.num_heads))
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.attention_dropout = config.attention_probs_dropout_prob

    def forward(
        self, hidden_states: torch.Tensor, grid: Grid, need_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, N, C) tokens on a grid to as many; also give the weights (B * windows, heads, n, n)."""
        layout = window_layout(grid, *fit_window(grid, self.window_size, self.is_shifted), hidden_states.device)
        batch_size = len(hidden_states)
        if layout.is_padded:
            hidden_states = nn.functional.pad(hidden_states, (0, 0, 0, 1))
        # Windows first, so that those of one kind stand together whatever the number of clips.
        windows = hidden_states.index_select(1, layout.gather).unflatten(1, (layout.num_windows, -1)).transpose(0, 1)
        qkv = self.qkv(windows).flatten(0, 1).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.position_bias(layout.window_tokens)
        mixed, weights = [], []
        for part, (_, mask) in zip(
            qkv.split([batch_size * count for count, _ in layout.kinds], dim=1), layout.kinds, strict=True
        ):
            tokens, part_weights = attend(
                *part.unbind(0),
                bias=bias if mask is None else bias + mask.to(bias.dtype),
                dropout=self.attention_dropout if self.training else 0.0,
                need_weights=need_weights,
            )
            mixed.append(tokens.transpose(1, 2).flatten(2))
            weights.append(part_weights)
        mixed = torch.cat(mixed) if len(mixed) > 1 else mixed[0]
        mixed = self.projection(mixed).unflatten(0, (layout.num_windows, batch_size)).transpose(0, 1).flatten(1, 2)
        return self.dropout(mixed.index_select(1, layout.scatter)), torch.cat(weights) if need_weights else None

    def position_bias(self, window_tokens: int) -> torch.Tensor:
        """Give the bias (heads, n, n) of the first n tokens of the configured window.

        For a window that is shorter in time only, these are its own offsets, because time is the slowest axis. For one
        that is smaller in space they are not, but trained weights expect them.
        """
        index = relative_position_index(self.window_size, self.position_bias_table.device)
        index = index[:window_tokens, :window_tokens]
        bias = self.position_bias_table.index_select(0, index.reshape(-1))
        return bias.view(window_tokens, window_tokens, -1).permute(2, 0, 1).contiguous()
