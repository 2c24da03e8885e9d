"""Residual video networks of one pathway (Slow, I3D, C2D, TSN, R(2+1)D) or two (SlowFast); the papers are named in
`configuration_video_resnet.py`. Written from facts about pytorchvideo (f3142bb) and SlowFast (287ec00), equal to both
on reference values.

A method puts its modules into *seams*: positions behind the stem and behind every residual block, where a caller may
exchange the map that passes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from ...configuration.configuration_video_resnet import (
    NUM_STAGES,
    BottleneckPlan,
    PathwayPlan,
    Seam,
    VideoResNetConfig,
)
from ..layers.convolution_forms import fold_batch_norms
from ..layers.nonlocal_block import NonlocalBlock
from ..layers.starting_weights import start_norm
from ..layers.video_convolution import VideoConvolution
from ..modeling_base import VidModelsPreTrainedModel, refuse_integers

# Takes a map (B, C, T, H, W) of the first pathway and gives the one that the network goes on with, of the same
# channels.
MapFilter = Callable[[torch.Tensor], torch.Tensor]
_FOLDED = "the batch norms of this model are folded into its convolutions, so that it cannot be {}; load it again"


@dataclass
class VideoResNetOutput(ModelOutput):
    """What the trunk gives for B clips. Maps are (B, C, T, H, W).

    Args:
        last_hidden_state: the last map of the first (slow) pathway.
        fast_hidden_state: the last map of the fast pathway; SlowFast only.
        pooler_output: (B, feature_width) means over all positions, the slow pathway's first.
        hidden_states: maps of the first pathway that leave the stem and res2 to res5, with the channels of lateral
            connections behind its own; on request.
        fast_hidden_states: the same of the fast pathway.
    """

    last_hidden_state: torch.Tensor | None = None
    fast_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    fast_hidden_states: tuple[torch.Tensor, ...] | None = None

    @property
    def feature_maps(self) -> tuple[torch.Tensor, ...]:
        """The last map of each pathway."""
        return (
            (self.last_hidden_state,)
            if self.fast_hidden_state is None
            else (
                self.last_hidden_state,
                self.fast_hidden_state,
            )
        )


class VideoResNetPreTrainedModel(VidModelsPreTrainedModel):
    """Base of the trunk and of the models on it: how their layers start."""

    config: VideoResNetConfig
    config_class = VideoResNetConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Bottleneck"]
    is_folded: bool = False

    def fold_batch_norms(self) -> None:
        """Multiply batch norms into the convolutions before them, which answers the same in less time.

        The model only answers from now on: it can be neither trained nor saved.

        Raises:
            ValueError: the model is in training mode.
        """
        fold_batch_norms(self)
        self.is_folded = True

    def train(self, mode: bool = True) -> "VideoResNetPreTrainedModel":
        """Set the mode, see torch.

        Raises:
            ValueError: training is asked for of a model without batch norms.
        """
        if mode and self.is_folded:
            raise ValueError(_FOLDED.format("trained"))
        return super().train(mode)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the model, see transformers.

        Raises:
            ValueError: its weights are those of folded batch norms, which no other model would take.
        """
        if self.is_folded:
            raise ValueError(_FOLDED.format("saved"))
        super().save_pretrained(*args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        initialize_residual_layer(module, self.config.initializer_range)


def initialize_residual_layer(module: nn.Module, classifier_std: float) -> None:
    """Start a layer as the public code does; marks `starts_at_zero` are set where layers are made."""
    if isinstance(module, nn.Conv3d):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm3d):
        start_norm(module, scale=0.0 if getattr(module, "starts_at_zero", False) else 1.0)
    elif isinstance(module, nn.Linear):
        init.normal_(module.weight, std=classifier_std)
        init.zeros_(module.bias)


class VideoResNetModel(VideoResNetPreTrainedModel):
    """The trunk, without classifier.

    Example:
        >>> model = VideoResNetModel(VideoResNetConfig.from_preset("slow_r50_8x8")).eval()
        >>> model(pixel_values).last_hidden_state   # (B, 8, 3, 224, 224) -> (B, 2048, 8, 7, 7)
    """

    def __init__(self, config: VideoResNetConfig) -> None:
        super().__init__(config)
        plans = config.pathway_plans()
        self.pathways = nn.ModuleList(Pathway(config, plan, has_nonlocal=not i) for i, plan in enumerate(plans))
        widths = plans[1].widths[:NUM_STAGES] if len(plans) == 2 else ()
        self.laterals = nn.ModuleList(LateralConnection(config, width) for width in widths)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        pixel_values_slow: torch.Tensor | None = None,
        map_filters: Mapping[Seam, MapFilter] | None = None,
        output_hidden_states: bool = False,
        last_stage: int = NUM_STAGES,
    ) -> VideoResNetOutput:
        """Run the network.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames; of SlowFast those of the fast pathway.
            pixel_values_slow: (B, T / alpha, C, H, W) frames of the slow pathway; by default taken from
                `pixel_values`.
            map_filters: by position (`config.seams`) what is called on the maps of the first pathway.
            output_hidden_states: also return what stem and stages give.
            last_stage: number of the stage behind which the network ends, 4 for all of it.

        Raises:
            ValueError: for anything but clips, a number of frames that does not fit, or a seam that does not exist.
        """
        filters = dict(map_filters or {})
        if unknown := set(filters) - set(self.config.seams):
            self.config.seam_shape(min(unknown))
        maps = [clips.transpose(1, 2) for clips in self._inputs(pixel_values, pixel_values_slow)]
        states: list[list[torch.Tensor]] = []
        for stage in range(last_stage + 1):
            maps = [
                pathway(stage, features, filters if pathway is self.pathways[0] else {})
                for pathway, features in zip(self.pathways, maps, strict=True)
            ]
            if stage < len(self.laterals):
                maps[0] = torch.cat((maps[0], self.laterals[stage](maps[1])), dim=1)
            states.append(maps)
        slow_states, *fast_states = zip(*states, strict=True) if output_hidden_states else ((), ())
        return VideoResNetOutput(
            last_hidden_state=maps[0],
            fast_hidden_state=maps[1] if len(maps) == 2 else None,
            pooler_output=torch.cat([features.mean((2, 3, 4)) for features in maps], dim=1),
            hidden_states=tuple(slow_states) if output_hidden_states else None,
            fast_hidden_states=tuple(fast_states[0]) if output_hidden_states and len(maps) == 2 else None,
        )

    def parts_of_stages(self, first: int, last: int) -> Iterator[nn.Module]:
        """Yield what leads from the maps of the first pathway behind one stage to those behind another.

        A lateral connection, and the stage of the fast pathway that it comes from, lead to the stage after it.

        Args:
            first: number of the first stage that is among them, 0 for the stem.
            last: number of the last.
        """
        for stage in range(first, last + 1):
            yield self.pathways[0].part_of_stage(stage)
            if stage and len(self.pathways) == 2:
                yield self.pathways[1].part_of_stage(stage - 1)
                yield self.laterals[stage - 1]

    def _inputs(self, clips: torch.Tensor, slow_clips: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Check clips and give the frames of each pathway."""
        config = self.config
        for name, given in (("pixel_values", clips), ("pixel_values_slow", slow_clips)):
            if given is not None and (given.ndim != 5 or given.shape[2] != config.num_channels):
                channels = f", got {given.shape[2]} channels" if given.ndim == 5 else ""
                raise ValueError(
                    f"{name} must be (batch, frames, channels, height, width): expected {config.num_channels} "
                    f"channels{channels or ''} in shape {tuple(given.shape)}"
                )
            if given is not None:
                refuse_integers(given, name)
        if config.num_pathways == 1:
            if slow_clips is not None:
                raise ValueError(f"pixel_values_slow is for slowfast, but this is a {config.arch} network")
            least = 2 if config.res2_pool else 1
            if clips.shape[1] < least:
                raise ValueError(
                    f"{config.arch} pools pairs of frames: clips need {least} or more, got {clips.shape[1]}"
                )
            return (clips,)
        num_frames = clips.shape[1]
        if num_frames % config.alpha or not num_frames:
            raise ValueError(
                f"a slowfast network with alpha {config.alpha} takes clips of a multiple of {config.alpha} frames, "
                f"got {num_frames}"
            )
        if slow_clips is None:
            slow_clips = clips[:, slow_frame_index(num_frames, config.alpha, clips.device)]
        elif slow_clips.shape[1] * config.alpha != num_frames:
            raise ValueError(
                f"pixel_values_slow must have {num_frames // config.alpha} frames for {num_frames} of the fast "
                f"pathway with alpha {config.alpha}, got {slow_clips.shape[1]}"
            )
        return slow_clips, clips


def slow_frame_index(num_frames: int, alpha: int, device: torch.device | None = None) -> torch.Tensor:
    """Give the places of the slow pathway's frames among the fast one's, first and last included: int64 (T / alpha,).

    In integers, because a rounded division may fall below the whole number that it should give.
    """
    count = num_frames // alpha
    return torch.arange(count, device=device) * (num_frames - 1) // max(count - 1, 1)


class Pathway(nn.Module):
    """Stem and stages, with non-local blocks where the configuration has them."""

    def __init__(self, config: VideoResNetConfig, plan: PathwayPlan, has_nonlocal: bool) -> None:
        super().__init__()
        self.stem = Stem(config, plan)
        self.stages = nn.ModuleList(
            nn.ModuleList(Bottleneck(config, block) for block in blocks) for blocks in plan.stages
        )
        self.res2_pool = nn.MaxPool3d((2, 1, 1)) if config.res2_pool else None
        self.nonlocal_blocks = nn.ModuleDict(
            {
                seam_name((stage, block)): NonlocalBlock(
                    plan.widths[stage],
                    plan.widths[stage] // 2,
                    config.nonlocal_instantiation,
                    pool_size=tuple(config.nonlocal_pool_size),
                    num_groups=config.nonlocal_groups,
                    norm_options=config.norm_options,
                )
                for stage, blocks in enumerate(config.nonlocal_blocks, 1)
                for block in blocks
                if has_nonlocal
            }
        )

    def part_of_stage(self, stage: int) -> nn.Module:
        """Give the layers of the stem (0) or of a stage (1 to 4), non-local blocks included."""
        if stage == 0:
            return self.stem
        names = (seam_name((stage, block)) for block in range(len(self.stages[stage - 1])))
        nonlocal_blocks = [self.nonlocal_blocks[name] for name in names if name in self.nonlocal_blocks]
        return nn.ModuleList([self.stages[stage - 1], *nonlocal_blocks])

    def forward(self, stage: int, maps: torch.Tensor, filters: Mapping[Seam, MapFilter]) -> torch.Tensor:
        """Run the stem (stage 0) or one of the stages 1 to 4 on (B, C, T, H, W), filters behind their blocks."""
        if stage == 0:
            return _filtered(filters, (0, 0), self.stem(maps))
        if stage == 2 and self.res2_pool is not None:
            maps = self.res2_pool(maps)
        for index, block in enumerate(self.stages[stage - 1]):
            maps = block(maps)
            if (name := seam_name((stage, index))) in self.nonlocal_blocks:
                maps = self.nonlocal_blocks[name](maps)
            maps = _filtered(filters, (stage, index), maps)
        return maps


def seam_name(seam: Seam) -> str:
    """Give the name of what stands at a position, in names of weights."""
    return "{}_{}".format(*seam)


def _filtered(filters: Mapping[Seam, MapFilter], seam: Seam, maps: torch.Tensor) -> torch.Tensor:
    return filters[seam](maps) if seam in filters else maps


def activation_of(config: VideoResNetConfig) -> nn.Module:
    """Give the activation, in place where it can be: of what goes into it, a norm or a sum, nothing else is made."""
    return nn.ReLU(inplace=True) if config.hidden_act == "relu" else ACT2FN[config.hidden_act]


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(
        self,
        config: VideoResNetConfig,
        widths: tuple[int, int],
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] = (1, 1, 1),
        dilation: int = 1,
    ) -> None:
        super().__init__()
        padding = tuple(size // 2 * dilation if axis else size // 2 for axis, size in enumerate(kernel))
        spread = (1, dilation, dilation)
        self.convolution = VideoConvolution(*widths, kernel, stride, padding, spread, bias=False)
        self.normalization = nn.BatchNorm3d(widths[1], **config.norm_options)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W)."""
        return self.normalization(self.convolution(maps))


class Stem(ConvNorm):
    """Convolution over 7 x 7 pixels and some frames, norm, activation and mostly a maximum."""

    def __init__(self, config: VideoResNetConfig, plan: PathwayPlan) -> None:
        super().__init__(config, (config.num_channels, plan.stem_width), (plan.stem_kernel, 7, 7), (1, 2, 2))
        self.activation = activation_of(config)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if config.stem_pool else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, num_channels, T, H, W) to (B, stem_width, T, H / 4, W / 4)."""
        return self.pool(self.activation(super().forward(maps)))


class Bottleneck(GradientCheckpointingLayer):
    """Reduce, look around in space, expand, and add the shortcut. Time is seen by the reduction or, factorised, by a
    convolution of its own."""

    def __init__(self, config: VideoResNetConfig, plan: BottleneckPlan) -> None:
        super().__init__()
        inner, time = plan.inner_width, (plan.temporal_kernel, 1, 1)
        time_stride = (plan.temporal_stride, 1, 1)
        if plan.is_factorised:
            self.reduce = ConvNorm(config, (plan.input_width, inner), (1, 1, 1))
            self.temporal = ConvNorm(config, (inner, inner), time, time_stride)
        else:
            self.reduce = ConvNorm(config, (plan.input_width, inner), time, time_stride)
            self.temporal = None
        self.spatial = ConvNorm(
            config, (inner, inner), (1, 3, 3), (1, plan.spatial_stride, plan.spatial_stride), plan.dilation
        )
        self.expand = ConvNorm(config, (inner, plan.output_width), (1, 1, 1))
        self.expand.normalization.starts_at_zero = config.zero_init_residual
        stride = (plan.temporal_stride, plan.spatial_stride, plan.spatial_stride)
        widths = (plan.input_width, plan.output_width)
        self.shortcut = ConvNorm(config, widths, (1, 1, 1), stride) if plan.needs_projection else None
        self.activation = activation_of(config)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, input_width, T, H, W) to (B, output_width, T', H', W')."""
        branch = self.activation(self.reduce(maps))
        if self.temporal is not None:
            branch = self.activation(self.temporal(branch))
        branch = self.expand(self.activation(self.spatial(branch)))
        return self.activation(branch + (maps if self.shortcut is None else self.shortcut(maps)))


class LateralConnection(nn.Module):
    """From the fast pathway's frames to channels for the slow one's."""

    def __init__(self, config: VideoResNetConfig, fast_width: int) -> None:
        super().__init__()
        kernel, width = config.fusion_kernel_size, config.fusion_channel_ratio * fast_width
        self.convolution = VideoConvolution(
            fast_width, width, (kernel, 1, 1), (config.alpha, 1, 1), (kernel // 2, 0, 0), bias=False
        )
        self.normalization = nn.BatchNorm3d(width, **config.norm_options) if config.fusion_norm else None
        self.activation = activation_of(config)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) of the fast pathway to (B, ratio * C, T / alpha, H, W)."""
        maps = self.convolution(maps)
        return maps if self.normalization is None else self.activation(self.normalization(maps))
