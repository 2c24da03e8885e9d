"""What transformers over the token grid of a clip share: their output, their MLP, their initialisation, and the seam
through which a caller exchanges tokens between blocks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.utils import ModelOutput

from ...configuration.configuration_backbones import Grid
from ..layers.starting_weights import start_norm, start_transformer_linear, start_uniform
from ..modeling_base import VidModelsPreTrainedModel, refuse_integers
from ..ops.cached_mlp import cached_mlp, exceeds_cache, parts, takes_cached_mlp

# Takes patch tokens (B, T * H * W, C), frames outermost and rows before columns, with their grid (T, H, W), and gives
# the tokens and the grid that the network goes on with.
TokenFilter = Callable[[torch.Tensor, Grid], tuple[torch.Tensor, Grid]]


@dataclass
class VideoTransformerOutput(ModelOutput):
    """What a video transformer backbone answers.

    Args:
        last_hidden_state: (B, N, C) tokens after the last norm, a class token first where there is one; none where
            only the pooled result was asked for.
        pooler_output: (B, C) the class token, or the mean of the tokens.
        grid: (T, H, W) of the patch tokens in `last_hidden_state`.
        hidden_states: per block or stage the tokens (B, N, C) that leave it; on request.
        attentions: per attention its weights (B, heads, L, N), for windows (B * windows, heads, L, L); on request.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    grid: Grid | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None

    @property
    def feature_map(self) -> torch.Tensor:
        """(B, C, T, H, W) patch tokens after the last norm."""
        patches = self.last_hidden_state[:, -math.prod(self.grid) :]
        return patches.unflatten(1, self.grid).permute(0, 4, 1, 2, 3)


class TransformerMlp(nn.Module):
    """Linear, activation, linear, with dropout after both."""

    def __init__(self, width: int, ratio: float, output_width: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, int(width * ratio))
        self.activation = ACT2FN[activation]
        self.contract = nn.Linear(int(width * ratio), output_width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (B, N, width) to (B, N, output_width)."""
        if not exceeds_cache(hidden_states, self.expand.out_features):
            return self._map(hidden_states)
        if not torch.is_grad_enabled():
            tokens = hidden_states.flatten(0, 1)
            mapped = [self._map(tokens[rows]) for rows in parts(len(tokens), self.expand.out_features)]
            return torch.cat(mapped).unflatten(0, hidden_states.shape[:2])
        is_dropping = self.training and self.dropout.p > 0
        if not is_dropping and takes_cached_mlp(hidden_states, self.expand, self.activation, self.contract):
            return cached_mlp(hidden_states, self.expand, self.activation, self.contract)
        return self._map(hidden_states)

    def _map(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.contract(self.dropout(self.activation(self.expand(hidden_states)))))


class VideoTransformer(VidModelsPreTrainedModel):
    """Base of the backbones: how their linear layers, norms and convolutions start."""

    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            start_transformer_linear(module, self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            start_norm(module)
        elif isinstance(module, nn.Conv3d):
            start_uniform(module)

    def check_clips(self, pixel_values: torch.Tensor) -> None:
        """Refuse anything but normalised clips (B, T, 3, H, W) with the right number of channels.

        Raises:
            ValueError: saying what was expected and what came.
        """
        channels = self.config.num_channels
        if pixel_values.ndim != 5 or pixel_values.shape[2] != channels:
            raise ValueError(
                f"pixel_values must be (batch, frames, channels, height, width) with {channels} channels, got shape "
                f"{tuple(pixel_values.shape)}"
            )
        refuse_integers(pixel_values)


def project_patches(projection: nn.Conv3d, pixel_values: torch.Tensor) -> torch.Tensor:
    """Convolve (B, T, 3, H, W) into maps (B, T', H', W', channels), which lie in memory as tokens do.

    With channels last from the start the convolution needs no other layout inside, and no copy behind it.
    """
    clips = pixel_values.permute(0, 1, 3, 4, 2).contiguous().permute(0, 4, 1, 2, 3)
    weight = projection.weight.contiguous(memory_format=torch.channels_last_3d)
    maps = nn.functional.conv3d(clips, weight, projection.bias, projection.stride, projection.padding)
    return maps.permute(0, 2, 3, 4, 1)


def drop_path_rates(rate: float, count: int) -> list[float]:
    """Give the rate of every block: from 0 in the first linearly to `rate` in the last."""
    return torch.linspace(0, rate, count, device="cpu").tolist()
