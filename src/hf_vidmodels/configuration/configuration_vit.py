"""Configuration of the plain vision transformer, which methods use as a part of their networks.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv 2010.11929; layer order and constants are those
of the checkpoints of MAE and DeiT.
"""

from .configuration_base import VidModelsConfig, strict_config

PATCH_EMBED_TYPES = ("linear", "conv_stem")
# The convolutional stem halves the picture four times.
CONV_STEM_STRIDE = 16


@strict_config
class VisionTransformerConfig(VidModelsConfig):
    """Sizes of a plain vision transformer.

    Args:
        hidden_size: width D of the tokens; divisible by `num_attention_heads`, with `"conv_stem"` also by 8.
        num_hidden_layers: blocks.
        num_attention_heads: heads of each attention.
        mlp_ratio: width of the hidden layer of each MLP over D.
        hidden_act: its activation.
        qkv_bias: whether queries, keys and values have a bias.
        layer_norm_eps: of all layer norms.
        drop_path_rate: chance that a residual branch of the last block is left out; linear from 0 at the first.
        hidden_dropout_prob: dropout after embeddings, attention output and MLP.
        attention_probs_dropout_prob: dropout of attention probabilities.
        num_channels: of the pictures.
        patch_size: pixels from one token to the next.
        patch_embed_type: `"linear"` (one convolution per patch) or `"conv_stem"` (four strided convolutions).
        pretrain_image_size: side of the pictures that the position table was made for.
        pretrain_patch_size: side of the patches that it was made for; None = `patch_size`.
        initializer_range: standard deviation of initial weights.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "vision_transformer"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float | int = 4.0
    hidden_act: str = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float | int = 1e-6
    drop_path_rate: float | int = 0.0
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    num_channels: int = 3
    patch_size: int = 16
    patch_embed_type: str = "linear"
    pretrain_image_size: int = 224
    pretrain_patch_size: int | None = None
    initializer_range: float | int = 0.02

    @property
    def position_grid_size(self) -> int:
        """Rows (and columns) of the position table."""
        return self.pretrain_image_size // (self.pretrain_patch_size or self.patch_size)

    def validate_vision_transformer(self) -> None:
        """Refuse widths that do not divide, counts below 1, rates outside [0, 1) and an unknown patch embedding."""
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_channels", "patch_size", "mlp_ratio")
        for name in sizes:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("drop_path_rate", "hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be divisible by num_attention_heads {self.num_attention_heads}"
            )
        if self.patch_embed_type not in PATCH_EMBED_TYPES:
            known = " or ".join(map(repr, PATCH_EMBED_TYPES))
            raise ValueError(f"patch_embed_type must be {known}, got {self.patch_embed_type!r}")
        if self.patch_embed_type == "conv_stem" and (self.hidden_size % 8 or self.patch_size != CONV_STEM_STRIDE):
            raise ValueError(
                f"patch_embed_type 'conv_stem' needs a hidden_size divisible by 8 and patch_size {CONV_STEM_STRIDE}, "
                f"got {self.hidden_size} and {self.patch_size}"
            )
        pretrain_patch_size = self.pretrain_patch_size or self.patch_size
        if self.pretrain_image_size <= 0 or pretrain_patch_size <= 0 or self.pretrain_image_size % pretrain_patch_size:
            raise ValueError(
                f"pretrain_image_size {self.pretrain_image_size} must be a multiple of pretrain_patch_size "
                f"{pretrain_patch_size}, because together they make the position table"
            )


VisionTransformerConfig.presets = {
    "vit-mae-base": {},
    "vit-mae-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "vit-mae-huge": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "pretrain_patch_size": 14,
    },
    "vit-deit-tiny": {"hidden_size": 192, "num_attention_heads": 3},
    "vit-deit-small": {"hidden_size": 384, "num_attention_heads": 6},
    "vit-deit-base": {},
}
