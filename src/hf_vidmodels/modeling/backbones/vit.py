"""Plain vision transformer (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) as a part of other networks.

Tokens keep one resolution from the first block to the last. Position embeddings are a table learned for one grid and
resized to any other, the way the official code of MAL does it.
"""

from collections.abc import Callable

import torch
from torch import nn
from torchvision.ops import StochasticDepth
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ...configuration.configuration_vit import VisionTransformerConfig
from ..layers.starting_weights import start_norm, start_transformer_linear, start_truncated_normal, start_uniform
from ..modeling_base import VidModelsPreTrainedModel

STEM_CHANNEL_DIVISORS = (8, 4, 2, 1)
STEM_NORM_EPS = 1e-6
# Keeps the floor of the output size at the wanted grid; the official code maps coordinates with the same factor.
RESIZE_GUARD = 0.1


class LinearPatchEmbedding(nn.Conv2d):
    """One linear map per patch: (B, C, H, W) to a map of tokens (B, D, H / p, W / p)."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size)


class ConvStem(nn.Sequential):
    """Four strided convolutions, each normalised, and a linear map: (B, C, H, W) to (B, D, H / 16, W / 16)."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        layers: list[nn.Module] = []
        channels = config.num_channels
        for divisor in STEM_CHANNEL_DIVISORS:
            width = config.hidden_size // divisor
            layers += [
                nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1, bias=False),
                nn.GroupNorm(1, width, eps=STEM_NORM_EPS),
                nn.GELU(),
            ]
            channels = width
        super().__init__(*layers, nn.Conv2d(channels, channels, kernel_size=1))


class VisionTransformerEmbeddings(nn.Module):
    """Patches to tokens, a class token in front, and their positions."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.grid_size = config.position_grid_size
        embedding = LinearPatchEmbedding if config.patch_embed_type == "linear" else ConvStem
        self.patch_embeddings = embedding(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + self.grid_size**2, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Give (B, 1 + N, D) tokens of (B, C, H, W) pictures, N = H W / p^2, row by row."""
        height, width = pixel_values.shape[-2:]
        patches = self.patch_embeddings(pixel_values).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return self.dropout(tokens + self.interpolated_positions(height, width))

    def interpolated_positions(self, height: int, width: int) -> torch.Tensor:
        """Give the (1, 1 + N, D) position embeddings for pictures of `height` x `width` pixels."""
        rows, columns = height // self.patch_size, width // self.patch_size
        if rows * columns == self.grid_size**2 and height == width:
            return self.position_embeddings
        class_position, table = self.position_embeddings.split([1, self.grid_size**2], dim=1)
        table = table.transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))
        factors = [(size + RESIZE_GUARD) / self.grid_size for size in (rows, columns)]
        resized = nn.functional.interpolate(
            table.float(), scale_factor=factors, mode="bicubic", align_corners=False, recompute_scale_factor=False
        )
        return torch.cat([class_position, resized.to(table.dtype).flatten(2).transpose(1, 2)], dim=1)


class VisionTransformerAttention(nn.Module):
    """Multi-head self-attention over all tokens, in the implementation that the configuration names."""

    is_causal = False

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.scaling = (config.hidden_size // config.num_attention_heads) ** -0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over (B, N, D) tokens; also give the (B, heads, N, N) probabilities where they are computed."""
        query, key, value = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in self.qkv(hidden_states).chunk(3, dim=2)
        )
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, probabilities = attend(
            self,
            query,
            key,
            value,
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        return self.output(attended.flatten(2)), probabilities


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend with the probabilities in sight: (B, heads, N, d) each, to (B, N, heads, d) and (B, heads, N, N)."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = scores.float().softmax(-1).to(query.dtype)
    probabilities = nn.functional.dropout(probabilities, dropout, module.training)
    return (probabilities @ value).transpose(1, 2), probabilities


class VisionTransformerBlock(GradientCheckpointingLayer):
    """Pre-norm residual block: attention, then an MLP; whole branches are left out at random in training."""

    def __init__(self, config: VisionTransformerConfig, drop_path_rate: float) -> None:
        super().__init__()
        size, hidden_size = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        self.attention_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.attention = VisionTransformerAttention(config)
        self.mlp_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(nn.Linear(size, hidden_size), ACT2FN[config.hidden_act], nn.Linear(hidden_size, size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = StochasticDepth(drop_path_rate, mode="row")

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Give (B, N, D) tokens and, where they are computed, attention probabilities."""
        attended, probabilities = self.attention(self.attention_norm(hidden_states))
        hidden_states = hidden_states + self.drop_path(self.dropout(attended))
        hidden_states = hidden_states + self.drop_path(self.dropout(self.mlp(self.mlp_norm(hidden_states))))
        return hidden_states, probabilities


class VisionTransformer(VidModelsPreTrainedModel):
    """Pictures to tokens: a class token and one token for each patch."""

    config: VisionTransformerConfig
    config_class = VisionTransformerConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["VisionTransformerEmbeddings", "VisionTransformerBlock"]

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config)
        self.embeddings = VisionTransformerEmbeddings(config)
        last = max(config.num_hidden_layers - 1, 1)
        self.blocks = nn.ModuleList(
            VisionTransformerBlock(config, config.drop_path_rate * index / last)
            for index in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            start_transformer_linear(module, std)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            start_norm(module)
        elif isinstance(module, nn.Conv2d):
            start_uniform(module)
        elif isinstance(module, VisionTransformerEmbeddings):
            for parameter in (module.cls_token, module.position_embeddings):
                start_truncated_normal(parameter, std)

    def forward(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> BaseModelOutput:
        """Encode pictures.

        Args:
            pixel_values: (B, C, H, W), normalised; H and W multiples of `patch_size`.
            output_hidden_states: also give the tokens before the first and after every block, before the last norm.
            output_attentions: also give each block's attention (B, heads, 1 + N, 1 + N).

        Raises:
            ValueError: when attentions are asked of an implementation that never computes them.
        """
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError(
                f"attention {self.config._attn_implementation!r} computes no probabilities to give; call "
                "model.set_attn_implementation('eager') first"
            )
        tokens = self.embeddings(pixel_values)
        hidden_states, attentions = [tokens], []
        for block in self.blocks:
            tokens, probabilities = block(tokens)
            if output_hidden_states:
                hidden_states.append(tokens)
            if output_attentions:
                attentions.append(probabilities)
        return BaseModelOutput(
            last_hidden_state=self.norm(tokens),
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def freeze(self, first: int, last: int) -> None:
        """Stop learning of the patch embedding (`first` 0, `last` above 0) and of blocks max(first, 1) to last."""
        if first == 0 and last > 0:
            self.embeddings.patch_embeddings.requires_grad_(False)
        for block in self.blocks[max(first, 1) - 1 : max(last, 0)]:
            block.requires_grad_(False)
