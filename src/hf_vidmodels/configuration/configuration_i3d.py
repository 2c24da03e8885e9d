"""Configuration of the Inception I3D trunk (Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, arXiv
1705.07750) in the form that detectors take, up to its block Mixed 4f.

The block table is that of the published network; the norms are those of its public PyTorch conversion.
"""

from typing import Any

from .configuration_base import VidModelsConfig, strict_config

# Output channels of a block: branch 0; reduction and convolution of branch 1; the same of branch 2; branch 3.
MIXED_CHANNELS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
# The trunk's blocks; the last two stand in what is built on it.
TRUNK_BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f")
TAIL_BLOCKS = ("5b", "5c")
STEM_LAYERS = 3
TEMPORAL_STRIDE = 4
SPATIAL_STRIDE = 16


@strict_config
class I3dConfig(VidModelsConfig):
    """Sizes and norms of an Inception I3D trunk.

    Args:
        num_channels: colour channels of the input.
        width_multiplier: scales all channels; every product must be a whole number.
        stem_channels: channels of the three convolutions before the first block.
        mixed_channels: by block six widths: branch 0, reduction and convolution of branches 1 and 2, branch 3.
        batch_norm_eps: of all norms.
        batch_norm_momentum: of all norms.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "i3d_trunk"

    num_channels: int = 3
    width_multiplier: float | int = 1.0
    stem_channels: list | tuple = (64, 64, 192)
    mixed_channels: dict | None = None
    batch_norm_eps: float | int = 1e-5
    batch_norm_momentum: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        """Take the published blocks where none are given."""
        blocks = MIXED_CHANNELS if self.mixed_channels is None else self.mixed_channels
        self.mixed_channels = {name: list(widths) for name, widths in blocks.items()}
        super().__post_init__(**kwargs)

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """Channels of the three convolutions of the stem, scaled."""
        return tuple(self.scaled(width) for width in self.stem_channels)

    @property
    def norm_options(self) -> dict[str, float]:
        """Arguments of all batch norms."""
        return {"eps": self.batch_norm_eps, "momentum": self.batch_norm_momentum}

    @property
    def feature_width(self) -> int:
        """Channels that leave the trunk."""
        return self.block_width(TRUNK_BLOCKS[-1])

    @property
    def tail_width(self) -> int:
        """Channels that leave a copy of the last two blocks."""
        return self.block_width(TAIL_BLOCKS[-1])

    def block_widths(self, name: str) -> tuple[int, ...]:
        """Give the six widths of a block, scaled."""
        return tuple(self.scaled(width) for width in self.mixed_channels[name])

    def block_width(self, name: str) -> int:
        """Give the channels that leave a block."""
        first, _, second, _, third, fourth = self.block_widths(name)
        return first + second + third + fourth

    def scaled(self, width: int) -> int:
        """Give `width` times `width_multiplier`."""
        return round(width * self.width_multiplier)

    def validate_widths(self) -> None:
        """Refuse channels that are no positive whole numbers, and other blocks than the network's."""
        if sorted(self.mixed_channels) != sorted(MIXED_CHANNELS):
            raise ValueError(
                f"mixed_channels must have the blocks {', '.join(MIXED_CHANNELS)}, got "
                f"{', '.join(map(str, self.mixed_channels))}"
            )
        for name, widths in (("stem", self.stem_channels), *self.mixed_channels.items()):
            count = STEM_LAYERS if name == "stem" else 6
            if len(widths) != count:
                raise ValueError(f"{name} must have {count} widths, got {list(widths)}")
            for width in widths:
                product = width * self.width_multiplier
                if product < 1 or product != int(product):
                    raise ValueError(
                        f"width_multiplier {self.width_multiplier} makes {product:g} of width {width} in {name}, "
                        "which must be a positive whole number"
                    )
        if self.num_channels < 1:
            raise ValueError(f"num_channels must be positive, got {self.num_channels}")
