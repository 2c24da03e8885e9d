"""MViT, first version: Fan et al., "Multiscale Vision Transformers", ICCV 2021, arXiv 2104.11227.

A video transformer whose blocks pool their queries, keys and values on the token grid, so that resolution falls while
width grows. Written from facts about the official code (SlowFast, and its fork in STTS at commit 6ae3404); weights of
torchvision's `mvit_v1_b` fit. It classifies nothing by itself and knows no token selection: before any block a caller
may exchange the patch tokens and their grid.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torchvision.ops import StochasticDepth
from transformers.modeling_layers import GradientCheckpointingLayer

from ...configuration.configuration_backbones import Grid, MvitBlockPlan, MvitConfig, Pooling
from ..layers.attention import attend
from ..layers.starting_weights import start_truncated_normal
from ..ops.covered_tokens import covered_tokens, jumps_over_tokens
from ..ops.depthwise_convolution import depthwise_conv3d
from .video_transformer import (
    TokenFilter,
    TransformerMlp,
    VideoTransformer,
    VideoTransformerOutput,
    drop_path_rates,
    project_patches,
)


class MvitModel(VideoTransformer):
    """The blocks of an MViT with stem, positions and last norm.

    Example:
        >>> model = MvitModel(MvitConfig.from_preset("mvit-b-16x4")).eval()
        >>> model(pixel_values).feature_map   # (B, 16, 3, 224, 224) -> (B, 768, 8, 7, 7)
    """

    config: MvitConfig
    config_class = MvitConfig
    _no_split_modules = ["MvitBlock"]

    def __init__(self, config: MvitConfig) -> None:
        super().__init__(config)
        self.embeddings = MvitEmbeddings(config)
        plans = config.block_plans()
        rates = drop_path_rates(config.drop_path_rate, len(plans))
        self.blocks = nn.ModuleList(MvitBlock(config, plan, rate) for plan, rate in zip(plans, rates, strict=True))
        self.norm = nn.LayerNorm(plans[-1].output_width, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MvitEmbeddings):
            for parameter in module.parameters(recurse=False):
                start_truncated_normal(parameter, self.config.initializer_range)

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
            pixel_values: (B, T, 3, H, W) normalised frames of the configured size.
            token_filters: by number of a block, what is called on the patch tokens that are about to enter it.
            output_hidden_states: also return what every block gives.
            output_attentions: also return the attention weights, which takes the unfused attention.
            pooled_only: answer `pooler_output` without `last_hidden_state`. What only the patches of the last block
                need is left out then, unless hidden states or attention weights are asked for.

        Raises:
            ValueError: for clips of another size than configured.
        """
        self.check_clips(pixel_values)
        token_filters = token_filters or {}
        needs_patches = not pooled_only or output_hidden_states or output_attentions
        class_token, patches = self.embeddings(pixel_values)
        hidden_states, grid = None, self.config.patch_grid
        states, attentions = [], []
        for index, block in enumerate(self.blocks):
            if index in token_filters:
                if hidden_states is not None:
                    class_token, patches = split_class_token(hidden_states, class_token is not None)
                patches, grid = token_filters[index](patches, grid)
                hidden_states = None
            if hidden_states is None:
                hidden_states = join_class_token(class_token, patches)
            class_token_only = not needs_patches and index == len(self.blocks) - 1 and block.may_leave_out_patches
            hidden_states, weights = block(hidden_states, grid, output_attentions, class_token_only)
            grid = block.plan.output_grid(grid)
            states.append(hidden_states)
            attentions.append(weights)
        hidden_states = self.norm(hidden_states)
        pooled = hidden_states[:, 0] if self.config.use_cls_token else hidden_states.mean(1)
        return VideoTransformerOutput(
            last_hidden_state=None if pooled_only else hidden_states,
            pooler_output=pooled,
            grid=grid,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def check_clips(self, pixel_values: torch.Tensor) -> None:
        """Refuse clips that the positional tables do not cover."""
        super().check_clips(pixel_values)
        config = self.config
        if pixel_values.shape[1] != config.num_frames:
            raise ValueError(
                f"pixel_values has {pixel_values.shape[1]} frames, but the model takes {config.num_frames}; sample as "
                "many, or set num_frames and train the temporal positions anew"
            )
        if tuple(pixel_values.shape[3:]) != (config.image_size, config.image_size):
            raise ValueError(
                f"pixel_values has frames of {pixel_values.shape[3]} x {pixel_values.shape[4]} pixels, but the model "
                f"takes squares of {config.image_size} x {config.image_size}; resize and crop them"
            )


class MvitEmbeddings(nn.Module):
    """Clips to tokens: convolution, class token, learned positions."""

    def __init__(self, config: MvitConfig) -> None:
        super().__init__()
        size = config.hidden_size
        frames, *sides = config.patch_grid
        self.grid = (frames, sides[0] * sides[1])
        self.projection = nn.Conv3d(
            config.num_channels, size, config.patch_size, config.patch_stride, config.patch_padding
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, size)) if config.use_cls_token else None
        self.is_separable = config.separable_pos_embed
        if self.is_separable:
            self.spatial_positions = nn.Parameter(torch.zeros(1, self.grid[1], size))
            self.temporal_positions = nn.Parameter(torch.zeros(1, frames, size))
            self.class_position = nn.Parameter(torch.zeros(1, 1, size)) if config.use_cls_token else None
        else:
            num_tokens = frames * self.grid[1] + config.use_cls_token
            self.positions = nn.Parameter(torch.zeros(1, num_tokens, size))
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps) if config.norm_stem else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Turn (B, T, 3, H, W) into a class token (B, 1, hidden_size), where there is one, and patches (B, N, ...)."""
        patches = project_patches(self.projection, pixel_values)
        if self.is_separable:
            # In place, because the sum of both tables would be one more tensor of the largest size that there is.
            patches = patches.flatten(2, 3) + self.spatial_positions[:, None]
            patches = patches.add_(self.temporal_positions[:, :, None]).flatten(1, 2)
            class_position = self.class_position
        else:
            class_position, positions = split_class_token(self.positions, self.class_token is not None)
            patches = patches.flatten(1, 3) + positions
        patches, class_token = self._finish(patches), self.class_token
        if class_token is not None:
            class_token = self._finish((class_token + class_position).expand(len(patches), -1, -1))
        return class_token, patches

    def _finish(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = self.dropout(tokens)
        return tokens if self.norm is None else self.norm(tokens)


class MvitBlock(GradientCheckpointingLayer):
    """Pooled attention and an MLP, both around a residual; the MLP is where the width changes."""

    def __init__(self, config: MvitConfig, plan: MvitBlockPlan, drop_path_rate: float) -> None:
        super().__init__()
        self.plan = plan
        self.has_class_token = config.use_cls_token
        self.norm_before_attention = nn.LayerNorm(plan.width, eps=config.layer_norm_eps)
        self.attention = MvitAttention(config, plan)
        self.norm_before_mlp = nn.LayerNorm(plan.width, eps=config.layer_norm_eps)
        self.mlp = TransformerMlp(
            plan.width, config.mlp_ratio, plan.output_width, config.hidden_act, config.hidden_dropout_prob
        )
        is_widening = plan.output_width != plan.width
        self.width_projection = nn.Linear(plan.width, plan.output_width) if is_widening else None
        self.drop_path = StochasticDepth(drop_path_rate, "row")

    @property
    def may_leave_out_patches(self) -> bool:
        """Whether the class token's result needs no result of a patch."""
        return self.has_class_token and self.plan.query_pooling is None and self.plan.skip_pooling is None

    def forward(
        self,
        hidden_states: torch.Tensor,
        grid: Grid,
        output_attentions: bool = False,
        class_token_only: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, N, width) tokens on `grid` to (B, N', output_width) on `plan.output_grid(grid)`.

        With `class_token_only`, where patches may be left out, N' is 1.
        """
        normed = self.norm_before_attention(hidden_states)
        attended, weights = self.attention(normed, grid, output_attentions, class_token_only)
        skipped = hidden_states[:, :1] if class_token_only else self._skip(hidden_states, grid)
        hidden_states = skipped + self.drop_path(attended)
        normed = self.norm_before_mlp(hidden_states)
        # The official code widens the normalised tokens here, not the residual itself.
        residual = hidden_states if self.width_projection is None else self.width_projection(normed)
        return residual + self.drop_path(self.mlp(normed)), weights

    def _skip(self, hidden_states: torch.Tensor, grid: Grid) -> torch.Tensor:
        if self.plan.skip_pooling is None:
            return hidden_states
        return pool_tokens(hidden_states, grid, self.has_class_token, self._max_pool)

    def _max_pool(self, maps: torch.Tensor) -> torch.Tensor:
        pooling = self.plan.skip_pooling
        return nn.functional.max_pool3d(maps, pooling.kernel, pooling.stride, half_of(pooling.kernel))


class MvitAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are pooled on the token grid."""

    def __init__(self, config: MvitConfig, plan: MvitBlockPlan) -> None:
        super().__init__()
        self.num_heads = plan.num_heads
        # Three layers instead of one: each result is pooled and gone before the next fills as much memory.
        self.query = nn.Linear(plan.width, plan.width, bias=config.qkv_bias)
        self.key = nn.Linear(plan.width, plan.width, bias=config.qkv_bias)
        self.value = nn.Linear(plan.width, plan.width, bias=config.qkv_bias)
        self.query_pooling = self._pooling(config, plan, plan.query_pooling)
        self.key_pooling = self._pooling(config, plan, plan.key_value_pooling)
        self.value_pooling = self._pooling(config, plan, plan.key_value_pooling)
        self.projection = nn.Linear(plan.width, plan.width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.attention_dropout = config.attention_probs_dropout_prob

    @staticmethod
    def _pooling(config: MvitConfig, plan: MvitBlockPlan, pooling: Pooling | None) -> "HeadPooling | None":
        return None if pooling is None else HeadPooling(config, plan.width // plan.num_heads, pooling)

    def forward(
        self, hidden_states: torch.Tensor, grid: Grid, need_weights: bool = False, class_token_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, N, width) to (B, N', width), where N' is what query pooling leaves; also give the weights.

        With `class_token_only` the class token alone asks, without query pooling.
        """
        asking = hidden_states[:, :1] if class_token_only else hidden_states
        asked, asked_grid, stride = hidden_states, grid, None
        if self.key_pooling is not None:
            asked, asked_grid, stride = self.key_pooling.covered(hidden_states, grid)
        mixed, weights = attend(
            self._heads(self.query(asking), grid, self.query_pooling),
            self._heads(self.key(asked), asked_grid, self.key_pooling, stride),
            self._heads(self.value(asked), asked_grid, self.value_pooling, stride),
            dropout=self.attention_dropout if self.training else 0.0,
            need_weights=need_weights,
        )
        return self.dropout(self.projection(mixed.transpose(1, 2).flatten(2))), weights

    def _heads(
        self, tokens: torch.Tensor, grid: Grid, pooling: "HeadPooling | None", stride: Grid | None = None
    ) -> torch.Tensor:
        """Pool (B, N, width) and part it into heads (B, heads, N', d)."""
        tokens = tokens.unflatten(2, (self.num_heads, -1))
        return (tokens if pooling is None else pooling(tokens, grid, stride)).transpose(1, 2)


class HeadPooling(nn.Module):
    """Pools the tokens of all heads alike: a depthwise convolution and a norm, or the largest or mean token."""

    def __init__(self, config: MvitConfig, head_size: int, pooling: Pooling) -> None:
        super().__init__()
        self.mode = config.pool_mode
        self.pooling = pooling
        self.has_class_token = config.use_cls_token
        if self.mode == "conv":
            self.convolution = nn.Conv3d(
                head_size,
                head_size,
                pooling.kernel,
                pooling.stride,
                half_of(pooling.kernel),
                groups=head_size,
                bias=False,
            )
            self.norm = nn.LayerNorm(head_size, eps=config.pool_norm_eps)

    def covered(self, tokens: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, Grid, Grid]:
        """Leave out those of (B, N, C) that the pooling jumps over; also give grid and stride of the others."""
        kernel, stride = self.pooling.kernel, self.pooling.stride
        if not jumps_over_tokens(kernel, stride):
            return tokens, grid, stride
        return covered_tokens(tokens, grid, kernel, stride, self.has_class_token)

    def forward(self, tokens: torch.Tensor, grid: Grid, stride: Grid | None = None) -> torch.Tensor:
        """Map (B, N, heads, d) tokens on `grid` to (B, N', heads, d), with the stride of `covered` or its own."""
        pool_maps = partial(self._pool_maps, stride=stride or self.pooling.stride)
        pooled = pool_tokens(tokens.flatten(2), grid, self.has_class_token, pool_maps)
        pooled = pooled.unflatten(2, tokens.shape[2:])
        return self.norm(pooled) if self.mode == "conv" else pooled

    def _pool_maps(self, maps: torch.Tensor, stride: Grid) -> torch.Tensor:
        kernel = self.pooling.kernel
        padding = half_of(kernel)
        if self.mode == "max":
            return nn.functional.max_pool3d(maps, kernel, stride, padding)
        if self.mode == "avg":
            return nn.functional.avg_pool3d(maps, kernel, stride, padding)
        # Heads side by side as channels keep the layout of the tokens (channels last); taking them into the batch, as
        # the weights suggest, would copy every map to channels first and back and is many times slower on a CPU.
        channels = maps.shape[1]
        weight = self.convolution.weight
        weight = torch.cat([weight] * (channels // len(weight)))
        return depthwise_conv3d(maps, weight, stride, padding)


def pool_tokens(
    tokens: torch.Tensor, grid: Grid, has_class_token: bool, pool_maps: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Apply a pooling of maps (B, C, T, H, W) to tokens (B, N, C), around their class token."""
    class_token, patches = split_class_token(tokens, has_class_token)
    maps = pool_maps(patches.unflatten(1, grid).permute(0, 4, 1, 2, 3))
    return join_class_token(class_token, maps.permute(0, 2, 3, 4, 1).flatten(1, 3))


def split_class_token(tokens: torch.Tensor, has_class_token: bool) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Part tokens (B, N, C) into the class token in front, where there is one, and the patches."""
    if not has_class_token:
        return None, tokens
    # Gradients of two slices would each be filled up with zeros and then added; those of a split are joined.
    class_token, patches = tokens.split((1, tokens.shape[1] - 1), dim=1)
    return class_token, patches


def join_class_token(class_token: torch.Tensor | None, patches: torch.Tensor) -> torch.Tensor:
    """Put the class token (B, 1, C), where there is one, before the patches (B, N, C)."""
    return patches if class_token is None else torch.cat((class_token, patches), dim=1)


def half_of(kernel: Grid) -> Grid:
    """Give the padding of a kernel."""
    return tuple(side // 2 for side in kernel)
