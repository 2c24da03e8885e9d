"""Configurations of the backbones that several methods share: MViT (Fan et al., "Multiscale Vision Transformers", ICCV
2021, arXiv 2104.11227; its first version) and Video Swin (Liu et al., "Video Swin Transformer", CVPR 2022, arXiv
2106.13230).

Clips are (B, T, 3, H, W); strides, kernels, windows and grids are (time, height, width).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from .configuration_base import VidModelsConfig, strict_config

Grid = tuple[int, int, int]

# Names that files of earlier versions have for fields.
OLDER_NAMES = {"attention_dropout_prob": "attention_probs_dropout_prob"}
POOL_MODES = ("conv", "max", "avg")
# A rounded width is at least this share of the exact one.
LEAST_SHARE_OF_WIDTH = 0.9


@dataclass(frozen=True)
class Pooling:
    """Kernel and stride of a pooling over the token grid; padding is half the kernel."""

    kernel: Grid
    stride: Grid

    def output_grid(self, grid: Grid) -> Grid:
        """Give the grid that remains of `grid`."""
        sides = zip(grid, self.kernel, self.stride, strict=True)
        return tuple((side + 2 * (kernel // 2) - kernel) // stride + 1 for side, kernel, stride in sides)


@dataclass(frozen=True)
class MvitBlockPlan:
    """Shape of one MViT block.

    Attributes:
        width: channels that enter it.
        output_width: channels that leave it.
        num_heads: attention heads.
        query_pooling: of the queries, or None.
        key_value_pooling: of keys and values, each with weights of its own, or None.
        skip_pooling: of the skip connection, or None.
    """

    width: int
    output_width: int
    num_heads: int
    query_pooling: Pooling | None
    key_value_pooling: Pooling | None
    skip_pooling: Pooling | None

    def output_grid(self, grid: Grid) -> Grid:
        """Give the token grid after the block."""
        return grid if self.query_pooling is None else self.query_pooling.output_grid(grid)


@strict_config
class MvitConfig(VidModelsConfig):
    """An MViT without classifier; the defaults are MViT-B 16x4.

    Args:
        num_channels: of a frame.
        num_frames: T of a clip; the positional table has a row per stride.
        image_size: height and width of a frame in pixels, one number.
        patch_size: kernel of the convolution that makes the tokens.
        patch_stride: its stride.
        patch_padding: its padding.
        hidden_size: width of the first block.
        num_hidden_layers: blocks.
        num_attention_heads: heads of the first block, one number.
        mlp_ratio: hidden width of the MLPs over the block's width.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        hidden_act: activation of the MLPs.
        dim_mul: pairs (block, factor): the width is multiplied before that block.
        head_mul: pairs (block, factor) for the heads.
        pool_mode: `"conv"` (depthwise, followed by a LayerNorm), `"max"` or `"avg"` (both without norm).
        pool_q_stride: rows (block, t, h, w): these blocks pool queries and the skip connection.
        pool_kv_stride_adaptive: stride of keys and values in block 0, divided by each query stride on the way; `None`
            to take `pool_kv_stride`.
        pool_kv_stride: rows (block, t, h, w), in place of the adaptive rule; other blocks do not pool keys and values.
        pool_kvq_kernel: kernel of all poolings; `None` for stride + 1 along axes whose stride exceeds 1, else 1.
        pool_kv_kernel: kernel of keys and values by block, in place of `pool_kvq_kernel`; with (1, 1, 1) and stride 1
            the block has no such pooling.
        use_cls_token: whether a class token precedes the others (otherwise a classifier takes their mean).
        separable_pos_embed: add a spatial, a temporal and a class table instead of one for all positions.
        norm_stem: a LayerNorm after the positional embedding.
        layer_norm_eps: of all norms but those after poolings.
        pool_norm_eps: of the norms after poolings: 1e-5 in the official STTS code, 1e-6 in torchvision.
        hidden_dropout_prob: after the embedding, the attention's projection and inside the MLPs.
        attention_probs_dropout_prob: of the attention weights.
        drop_path_rate: of the last block; it grows linearly from 0.
        initializer_range: deviation of the initial linear weights, class token and positional tables.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "hfvid_mvit"
    attribute_map: ClassVar[dict[str, str]] = OLDER_NAMES

    num_channels: int = 3
    num_frames: int = 16
    image_size: int | list | tuple = 224
    patch_size: list | tuple = (3, 7, 7)
    patch_stride: list | tuple = (2, 4, 4)
    patch_padding: list | tuple = (1, 3, 3)
    hidden_size: int = 96
    num_hidden_layers: int = 16
    num_attention_heads: int | list | tuple = 1
    mlp_ratio: float | int = 4.0
    qkv_bias: bool = True
    hidden_act: str = "gelu"
    dim_mul: list | tuple = ((1, 2.0), (3, 2.0), (14, 2.0))
    head_mul: list | tuple = ((1, 2.0), (3, 2.0), (14, 2.0))
    pool_mode: str = "conv"
    pool_q_stride: list | tuple = ((1, 1, 2, 2), (3, 1, 2, 2), (14, 1, 2, 2))
    pool_kv_stride_adaptive: list | tuple | None = (1, 8, 8)
    pool_kv_stride: list | tuple | None = None
    pool_kvq_kernel: list | tuple | None = (3, 3, 3)
    pool_kv_kernel: dict | None = None
    use_cls_token: bool = True
    separable_pos_embed: bool = True
    norm_stem: bool = False
    layer_norm_eps: float | int = 1e-6
    pool_norm_eps: float | int = 1e-5
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.2
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        """Undo what JSON does to the keys of `pool_kv_kernel` and to rows of tuples."""
        if self.pool_kv_kernel is not None:
            self.pool_kv_kernel = {int(block): list(kernel) for block, kernel in self.pool_kv_kernel.items()}
        for name in ("dim_mul", "head_mul", "pool_q_stride", "pool_kv_stride"):
            if (rows := getattr(self, name)) is not None:
                setattr(self, name, [list(row) for row in rows])
        super().__post_init__(**kwargs)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return (self.image_size, self.image_size)

    @property
    def patch_grid(self) -> Grid:
        """The token grid (T, H, W) of a clip of the configured size."""
        sizes = zip(
            (self.num_frames, *self.frame_size),
            self.patch_size,
            self.patch_stride,
            self.patch_padding,
            strict=True,
        )
        return tuple((size + 2 * padding - kernel) // stride + 1 for size, kernel, stride, padding in sizes)

    def block_plans(self) -> list[MvitBlockPlan]:
        """Give the shape of every block."""
        dim_mul, head_mul = dict(map(tuple, self.dim_mul)), dict(map(tuple, self.head_mul))
        query_strides = {row[0]: tuple(row[1:]) for row in self.pool_q_stride}
        key_value_strides = self._key_value_strides(query_strides)
        plans = []
        num_heads = round_width(self.num_attention_heads, head_mul.get(0, 1.0))
        width = round_width(self.hidden_size, dim_mul.get(0, 1.0), num_heads)
        for block in range(self.num_hidden_layers):
            next_heads = round_width(num_heads, head_mul.get(block + 1, 1.0))
            output_width = round_width(width, dim_mul.get(block + 1, 1.0), next_heads)
            query_stride = query_strides.get(block)
            plans.append(
                MvitBlockPlan(
                    width=width,
                    output_width=output_width,
                    num_heads=num_heads,
                    query_pooling=self._pooling(query_stride, self.pool_kvq_kernel),
                    key_value_pooling=self._pooling(
                        key_value_strides.get(block), (self.pool_kv_kernel or {}).get(block, self.pool_kvq_kernel)
                    ),
                    skip_pooling=self._pooling(query_stride, None),
                )
            )
            num_heads, width = next_heads, output_width
        return plans

    def _key_value_strides(self, query_strides: dict[int, Grid]) -> dict[int, Grid]:
        if self.pool_kv_stride_adaptive is None:
            return {row[0]: tuple(row[1:]) for row in self.pool_kv_stride or ()}
        strides, stride = {}, tuple(self.pool_kv_stride_adaptive)
        for block in range(self.num_hidden_layers):
            divisors = query_strides.get(block, (1, 1, 1))
            stride = tuple(max(side // divisor, 1) for side, divisor in zip(stride, divisors, strict=True))
            strides[block] = stride
        return strides

    @staticmethod
    def _pooling(stride: Grid | None, kernel: Sequence[int] | None) -> Pooling | None:
        if stride is None:
            return None
        kernel = tuple(step + 1 if step > 1 else 1 for step in stride) if kernel is None else tuple(kernel)
        return None if prod(kernel) == prod(stride) == 1 else Pooling(kernel, stride)

    def validate_choices(self) -> None:
        """Refuse an unknown kind of pooling."""
        if self.pool_mode not in POOL_MODES:
            raise ValueError(f"pool_mode must be one of {', '.join(map(repr, POOL_MODES))}, got {self.pool_mode!r}")

    def validate_clip_size(self) -> None:
        """Refuse clips that are no squares or that the stride does not divide."""
        if not isinstance(self.image_size, int):
            raise ValueError(f"image_size must be one number for an MViT, which takes squares, got {self.image_size}")
        for name in ("patch_size", "patch_stride", "patch_padding"):
            check_triple(name, getattr(self, name), least=0 if name == "patch_padding" else 1)
        refuse_undivided("num_frames", self.num_frames, self.patch_stride[0])
        refuse_undivided("image_size", self.image_size, self.patch_stride[1])
        refuse_undivided("image_size", self.image_size, self.patch_stride[2])

    def validate_blocks(self) -> None:
        """Refuse rows that name no block, strides of the wrong length, and widths that the heads do not divide."""
        if not isinstance(self.num_attention_heads, int):
            raise ValueError(
                "num_attention_heads must be one number for an MViT (head_mul multiplies it), got "
                f"{self.num_attention_heads}"
            )
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        depth = self.num_hidden_layers
        for name, length, last in (
            ("dim_mul", 2, depth),
            ("head_mul", 2, depth),
            ("pool_q_stride", 4, depth - 1),
            ("pool_kv_stride", 4, depth - 1),
        ):
            for row in getattr(self, name) or ():
                if len(row) != length or not 0 <= row[0] <= last or min(row[1:]) <= 0:
                    raise ValueError(
                        f"{name} must hold rows of a block in 0..{last} and {length - 1} positive numbers, got "
                        f"{list(row)}"
                    )
        if self.pool_kv_stride_adaptive is not None:
            check_triple("pool_kv_stride_adaptive", self.pool_kv_stride_adaptive)
            if self.pool_kv_stride is not None:
                raise ValueError("pool_kv_stride_adaptive and pool_kv_stride exclude each other; set one to None")
        if self.pool_kvq_kernel is not None:
            check_triple("pool_kvq_kernel", self.pool_kvq_kernel)
        for block, kernel in (self.pool_kv_kernel or {}).items():
            check_triple(f"pool_kv_kernel of block {block}", kernel)
            if not 0 <= block < depth:
                raise ValueError(f"pool_kv_kernel names block {block}, but the blocks are 0..{depth - 1}")
        first = self.block_plans()[0]
        if first.width != self.hidden_size or first.width % first.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of the {first.num_heads} heads of block 0, and "
                "dim_mul must not change it before that block"
            )

    def validate_rates(self) -> None:
        """Refuse rates outside [0, 1)."""
        check_rates(self)


@strict_config
class VideoSwinConfig(VidModelsConfig):
    """A Video Swin transformer without classifier; the defaults are Swin-B with 32 frames.

    Args:
        num_channels: of a frame.
        num_frames: T of the clips that it is meant for; the network itself takes any.
        image_size: height and width of their frames in pixels, one number or a pair; the network itself takes any.
        patch_size: kernel and stride of the patch embedding; clips are padded with zeros to multiples of it.
        hidden_size: width of the first stage; it doubles with every further one.
        depths: blocks of each stage.
        num_attention_heads: heads of each stage.
        window_size: largest attention window.
        mlp_ratio: hidden width of the MLPs over the block's width.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        hidden_act: activation of the MLPs.
        patch_norm: a LayerNorm after the patch embedding.
        layer_norm_eps: of all norms.
        hidden_dropout_prob: after the patch embedding, the attention's projection and inside the MLPs.
        attention_probs_dropout_prob: of the attention weights.
        drop_path_rate: of the last block; it grows linearly from 0.
        initializer_range: deviation of the initial linear weights and position bias tables.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "hfvid_video_swin"
    attribute_map: ClassVar[dict[str, str]] = OLDER_NAMES

    num_channels: int = 3
    num_frames: int = 32
    image_size: int | list | tuple = 224
    patch_size: list | tuple = (2, 4, 4)
    hidden_size: int = 128
    depths: list | tuple = (2, 2, 18, 2)
    num_attention_heads: int | list | tuple = (4, 8, 16, 32)
    window_size: list | tuple = (8, 7, 7)
    mlp_ratio: float | int = 4.0
    qkv_bias: bool = True
    hidden_act: str = "gelu"
    patch_norm: bool = True
    layer_norm_eps: float | int = 1e-5
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.2
    initializer_range: float | int = 0.02

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else tuple(self.image_size)

    @property
    def patch_grid(self) -> Grid:
        """The token grid (T, H, W) of a clip of the configured size."""
        sizes = zip((self.num_frames, *self.frame_size), self.patch_size, strict=True)
        return tuple(-(-size // patch) for size, patch in sizes)

    @property
    def stage_widths(self) -> list[int]:
        """Channels of every stage."""
        return [self.hidden_size * 2**stage for stage in range(len(self.depths))]

    def validate_shapes(self) -> None:
        """Refuse patches, windows and sizes that are no sizes."""
        check_triple("patch_size", self.patch_size)
        check_triple("window_size", self.window_size)
        if len(self.frame_size) != 2 or min(self.frame_size) < 1 or self.num_frames < 1:
            raise ValueError(
                "num_frames must be positive and image_size one positive number or (height, width), got "
                f"{self.num_frames} and {self.image_size}"
            )

    def validate_stages(self) -> None:
        """Refuse stages without blocks or with a width that the heads do not divide."""
        if isinstance(self.num_attention_heads, int):
            raise ValueError(
                "num_attention_heads must hold one number for each stage of a Video Swin, got "
                f"{self.num_attention_heads}"
            )
        if not self.depths or min(self.depths) < 1 or len(self.num_attention_heads) != len(self.depths):
            raise ValueError(
                "depths and num_attention_heads must hold a positive number for each stage, got "
                f"{self.depths} and {self.num_attention_heads}"
            )
        for stage, (width, heads) in enumerate(zip(self.stage_widths, self.num_attention_heads, strict=True)):
            if heads < 1 or width < 1 or width % heads:
                raise ValueError(
                    f"stage {stage} has width {width}, which its {heads} heads do not divide; change hidden_size or "
                    "num_attention_heads"
                )

    def validate_rates(self) -> None:
        """Refuse rates outside [0, 1)."""
        check_rates(self)


def round_width(width: int, factor: float, divisor: int = 1) -> int:
    """Multiply a width and round it to the nearest multiple of `divisor` that is not below 90 % of the product."""
    exact = width * factor
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < LEAST_SHARE_OF_WIDTH * exact else rounded


def check_triple(name: str, values: Sequence[int], least: int = 1) -> None:
    """Refuse anything but three integers (time, height, width) of at least `least`."""
    if len(values) != 3 or not all(isinstance(value, int) and value >= least for value in values):
        raise ValueError(f"{name} must be three integers (time, height, width) of at least {least}, got {values}")


def refuse_undivided(name: str, size: int, stride: int) -> None:
    """Refuse a size that the patch stride does not divide, naming the nearest that it does."""
    if size < 1 or size % stride:
        nearest = max(round(size / stride), 1) * stride
        raise ValueError(
            f"{name} must be a positive multiple of the patch stride {stride}, got {size}; the nearest is {nearest}"
        )


def check_rates(config: VidModelsConfig) -> None:
    """Refuse dropout and drop path rates outside [0, 1)."""
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(config, name)}")


MvitConfig.presets = {
    "mvit-b-16x4": {},
    "mvit-b-32x3": {"num_frames": 32},
}
VideoSwinConfig.presets = {
    "video-swin-t": {
        "hidden_size": 96,
        "depths": (2, 2, 6, 2),
        "num_attention_heads": (3, 6, 12, 24),
        "drop_path_rate": 0.1,
    },
    "video-swin-s": {"hidden_size": 96, "num_attention_heads": (3, 6, 12, 24), "drop_path_rate": 0.1},
    "video-swin-b": {},
}
