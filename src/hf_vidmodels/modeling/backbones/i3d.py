"""The Inception I3D trunk up to Mixed 4f (Carreira and Zisserman, CVPR 2017), and copies of its last two blocks for
heads.

Written from facts about the public PyTorch conversion and the official STEP code (59da38a), equal to the latter on
reference values. Padding is the conversion's: kernel minus stride in all, the smaller half in front. It does not
depend on the size of the map, so that strided layers of odd maps see other windows than TensorFlow's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from ...configuration.configuration_i3d import TAIL_BLOCKS, TRUNK_BLOCKS, I3dConfig
from ..layers.starting_weights import start_norm, start_uniform
from ..layers.video_convolution import VideoConvolution
from ..modeling_base import VidModelsPreTrainedModel


@dataclass
class I3dOutput(ModelOutput):
    """What the trunk gives for B clips.

    Args:
        last_hidden_state: (B, feature_width, T / 4, H / 16, W / 16).
    """

    last_hidden_state: torch.Tensor | None = None


class I3dPreTrainedModel(VidModelsPreTrainedModel):
    """Base of the trunk: how its layers start."""

    config: I3dConfig
    config_class = I3dConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["MixedBlock"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        initialize_i3d_layer(module)


def initialize_i3d_layer(module: nn.Module) -> None:
    """Start a convolution as PyTorch does, and a norm so that it changes nothing."""
    if isinstance(module, nn.Conv3d):
        start_uniform(module)
    elif isinstance(module, nn.BatchNorm3d):
        start_norm(module)


class I3dModel(I3dPreTrainedModel):
    """The trunk.

    Example:
        >>> model = I3dModel(I3dConfig()).eval()
        >>> model(pixel_values).last_hidden_state   # (1, 36, 3, 400, 400) -> (1, 832, 9, 25, 25)
    """

    def __init__(self, config: I3dConfig) -> None:
        super().__init__(config)
        self.stem = I3dStem(config)
        self.blocks = nn.ModuleDict({name: MixedBlock(config, *widths) for name, widths in _trunk_widths(config)})
        self.post_init()

    def forward(self, pixel_values: torch.Tensor) -> I3dOutput:
        """Run the trunk.

        Args:
            pixel_values: (B, T, num_channels, H, W) in [-1, 1].

        Raises:
            ValueError: for anything but clips of the right number of channels.
        """
        if pixel_values.ndim != 5 or pixel_values.shape[2] != self.config.num_channels:
            raise ValueError(
                f"pixel_values must be (batch, frames, {self.config.num_channels}, height, width), got shape "
                f"{tuple(pixel_values.shape)}"
            )
        maps = self.stem(fast_layout(pixel_values.transpose(1, 2)))
        return I3dOutput(last_hidden_state=self.run_blocks(maps))

    def run_blocks(self, maps: torch.Tensor, names: Sequence[str] = TRUNK_BLOCKS) -> torch.Tensor:
        """Run blocks, and the maximum behind Mixed 3c, on what comes before the first of them; by default all."""
        for name in names:
            maps = self.blocks[name](maps)
            if name == "3c":
                maps = pool_half(maps, 3)
        return maps


def _trunk_widths(config: I3dConfig) -> list[tuple[str, tuple[int, tuple[int, ...]]]]:
    entering = [config.stem_widths[-1], *(config.block_width(name) for name in TRUNK_BLOCKS[:-1])]
    return [(name, (width, config.block_widths(name))) for name, width in zip(TRUNK_BLOCKS, entering, strict=True)]


class I3dStem(nn.Module):
    """Three convolutions and two maxima, to a quarter of the frames' sides halved once more, and half the frames."""

    def __init__(self, config: I3dConfig) -> None:
        super().__init__()
        first, second, third = config.stem_widths
        self.conv_1a = ConvUnit(config, config.num_channels, first, 7, stride=2)
        self.conv_2b = ConvUnit(config, first, second, 1)
        self.conv_2c = ConvUnit(config, second, third, 3)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, num_channels, T, H, W) to (B, C, T / 2, H / 8, W / 8)."""
        return self.last_layers(self.first_layers(maps))

    def first_layers(self, maps: torch.Tensor, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Map (B, num_channels, T, H, W) to (B, C, T / 2, H / 4, W / 4), of which frames `start` to `stop` are given.

        Behind the first convolution each frame is looked at alone.
        """
        return self.conv_2b(pool_half(self.conv_1a(maps, start, stop), 1))

    def last_layers(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to (B, C', T, H / 2, W / 2)."""
        return pool_half(self.conv_2c(maps), 1)


class ConvUnit(nn.Module):
    """A convolution without bias, its batch norm and ReLU."""

    def __init__(self, config: I3dConfig, entering: int, leaving: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        total = max(kernel - stride, 0)
        self.kernel, self.stride = kernel, stride
        self.padding = (total // 2, total - total // 2)
        is_even = self.padding[0] == self.padding[1]
        self.convolution = VideoConvolution(
            entering, leaving, kernel, stride, padding=self.padding[0] if is_even else 0, bias=False
        )
        self.normalization = nn.BatchNorm3d(leaving, **config.norm_options)
        self.pads_itself = not is_even

    def forward(self, maps: torch.Tensor, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Map (B, C, T, H, W); of a strided unit the frames from `start` up to `stop` alone, by default all."""
        if self.pads_itself:
            before, behind = self.padding
            if stop is not None:
                begin, end = start * self.stride - before, (stop - 1) * self.stride + self.kernel - before
                before, behind = max(-begin, 0), max(end - maps.shape[2], 0)
                maps = maps[:, :, max(begin, 0) : end]
            maps = nn.functional.pad(maps, (*self.padding, *self.padding, before, behind))
        return nn.functional.relu(self.normalization(self.convolution(maps)), inplace=True)


class MixedBlock(GradientCheckpointingLayer):
    """Four branches side by side, whose channels are joined."""

    def __init__(self, config: I3dConfig, entering: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, second_inner, second, third_inner, third, fourth = widths
        self.pointwise = ConvUnit(config, entering, first, 1)
        self.wide = nn.Sequential(
            ConvUnit(config, entering, second_inner, 1), ConvUnit(config, second_inner, second, 3)
        )
        self.narrow = nn.Sequential(
            ConvUnit(config, entering, third_inner, 1), ConvUnit(config, third_inner, third, 3)
        )
        self.pooled = ConvUnit(config, entering, fourth, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, entering, T, H, W) to (B, sum of the branches, T, H, W)."""
        around = nn.functional.max_pool3d(maps, 3, stride=1, padding=1)
        return torch.cat((self.pointwise(maps), self.wide(maps), self.narrow(maps), self.pooled(around)), dim=1)


class MixedTail(nn.Sequential):
    """A copy of the last two blocks, Mixed 5b and 5c, on maps of the trunk: (B, feature_width, ...) to tail_width."""

    def __init__(self, config: I3dConfig) -> None:
        first, second = TAIL_BLOCKS
        super().__init__(
            MixedBlock(config, config.feature_width, config.block_widths(first)),
            MixedBlock(config, config.block_width(first), config.block_widths(second)),
        )


def fast_layout(maps: torch.Tensor) -> torch.Tensor:
    """Lay out maps (B, C, T, H, W) with channels as the innermost axis on a CPU, where maxima then are much faster.

    Convolutions, norms and maxima keep the layout of what they are given.
    """
    return maps.contiguous(memory_format=torch.channels_last_3d) if maps.device.type == "cpu" else maps


def pool_half(maps: torch.Tensor, frames: int) -> torch.Tensor:
    """Take maxima over 3 x 3 positions, every second row and column, and over 1 frame or every second 3.

    Maps are not negative: what lies outside them counts nothing, as the zeros of the official padding.

    Args:
        maps: (B, C, T, H, W) behind a ReLU.
        frames: 1, or 3 to halve the frames too.
    """
    odd = [size % 2 for size in maps.shape[-1:1:-1]]
    odd[2] = odd[2] if frames == 3 else 0
    if any(odd):
        maps = nn.functional.pad(maps, [side for last in odd for side in (0, last)])
    stride = (2 if frames == 3 else 1, 2, 2)
    return nn.functional.max_pool3d(maps, (frames, 3, 3), stride, ceil_mode=True)
