"""Configuration of residual video networks: SlowFast and Slow (Feichtenhofer et al., ICCV 2019, arXiv 1812.03982), I3D
and C2D in their ResNet form with non-local blocks (Wang et al., CVPR 2018, arXiv 1711.07971), TSN (Wang et al., ECCV
2016, arXiv 1608.00859) and R(2+1)D (Tran et al., CVPR 2018, arXiv 1711.11248).

Numbers are those of the public code (pytorchvideo f3142bb, SlowFast 287ec00). Clips are (B, T, C, H, W); kernels,
strides and sizes are (time, height, width). The residual stages are called res2 to res5 and counted 1 to 4.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from .configuration_base import VidModelsConfig, strict_config

STAGE_NAMES = ("stem", "res2", "res3", "res4", "res5")
NUM_STAGES = 4
# Output channels of a block over its inner ones.
EXPANSION = 4
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# Temporal kernels of stem and stages; a row is repeated along the blocks of its stage.
_INFLATED = ((5,), (3,), (3, 1), (3, 1), (1, 3))
_FLAT = ((1,),) * 5
_LATE = ((1,), (1,), (1,), (3,), (3,))
TEMPORAL_KERNELS = {
    "c2d": _FLAT,
    "r2d": _FLAT,
    "slow": _LATE,
    "i3d": _INFLATED,
    "slow_i3d": _INFLATED,
    "slowfast": _LATE,
    "r2plus1d": ((1,), (3,), (3,), (3,), (3,)),
}
FAST_TEMPORAL_KERNELS = ((5,), (3,), (3,), (3,), (3,))
ARCHITECTURES = tuple(TEMPORAL_KERNELS)
# Those whose frames are halved by a pooling behind res2.
POOLED_ARCHITECTURES = ("c2d", "i3d")
NONLOCAL_FORMS = ("softmax", "dot_product")
HEAD_POOLINGS = ("global", "window")
HEAD_AVERAGES = ("logits", "probabilities")
MULTI_LABEL = "multi_label_classification"
PROBLEM_TYPES = (None, "single_label_classification", MULTI_LABEL)

# The position behind a block: number of the stage (0 = stem, 1 to 4 = res2 to res5) and of the block in it.
Seam = tuple[int, int]


@dataclass(frozen=True)
class BottleneckPlan:
    """Shape of one residual block.

    Attributes:
        input_width: channels that enter.
        inner_width: channels of the spatial convolution.
        temporal_kernel: frames that the temporal convolution sees.
        temporal_stride: frames from one output to the next.
        spatial_stride: pixels from one output to the next.
        dilation: of the spatial convolution.
        is_factorised: whether time has a convolution of its own, between reduction and spatial convolution (R(2+1)D),
            or is seen by the reduction.
    """

    input_width: int
    inner_width: int
    temporal_kernel: int
    temporal_stride: int
    spatial_stride: int
    dilation: int
    is_factorised: bool

    @property
    def output_width(self) -> int:
        """Channels that leave the block."""
        return EXPANSION * self.inner_width

    @property
    def needs_projection(self) -> bool:
        """Whether the shortcut is a convolution."""
        return self.input_width != self.output_width or self.temporal_stride != 1 or self.spatial_stride != 1


@dataclass(frozen=True)
class PathwayPlan:
    """Shape of one pathway.

    Attributes:
        stem_width: channels of the stem.
        stem_kernel: frames that the stem sees.
        stages: the blocks of res2 to res5.
        frames: frames that leave the stem and each stage, five numbers.
        sides: rows (or columns) that leave the stem and each stage for square frames of `image_size`.
    """

    stem_width: int
    stem_kernel: int
    stages: tuple[tuple[BottleneckPlan, ...], ...]
    frames: tuple[int, ...]
    sides: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that leave the stem and each stage (without those of a lateral connection), five numbers."""
        return (self.stem_width, *(blocks[-1].output_width for blocks in self.stages))


@strict_config
class VideoResNetConfig(VidModelsConfig):
    """A residual video network with its classifier; the defaults are the network of Slow-only R50 8x8.

    Args:
        arch: `"slow"`, `"slowfast"`, `"i3d"`, `"slow_i3d"` (without the pooling behind res2), `"c2d"`, `"r2d"` (TSN:
            frames apart) or `"r2plus1d"`.
        depth: 50, 101 or 152 layers.
        depths: blocks of res2 to res5 in place of `depth`.
        embedding_size: channels of the stem; a stage's inner width is this times 1, 2, 4 and 8.
        num_channels: of a frame.
        num_frames: T of a clip, of SlowFast that of the fast pathway.
        image_size: side of the square frames of training, in pixels; other sizes work, it decides the window of
            `head_pooling`.
        temporal_kernel_sizes: frames that convolutions see, five rows for stem and stages, each repeated along the
            blocks of its stage; None = those of `arch`.
        fast_temporal_kernel_sizes: the same of the fast pathway.
        num_block_temporal_kernel: blocks at the beginning of each stage that have a temporal kernel, four numbers, of
            SlowFast four pairs (slow, fast); None = all.
        spatial_strides: pixels from one output of each stage to the next; None = those of `arch`.
        spatial_dilations: of the spatial convolutions of each stage; detection models have 2 in the last stage.
        temporal_strides: frames from one output of each stage to the next; None = those of `arch`.
        stem_pool: a maximum over 3 x 3 pixels with stride 2 behind the stem; None = as `arch` has.
        res2_pool: a maximum over pairs of frames behind res2; None = as `arch` has.
        nonlocal_blocks: numbers of the blocks of each stage that a non-local block follows, four lists; of SlowFast in
            the slow pathway.
        nonlocal_instantiation: `"softmax"` (embedded Gaussian) or `"dot_product"`.
        nonlocal_pool_size: maximum pooling of keys and values.
        nonlocal_groups: parts of the time axis that attend separately.
        alpha: frames of the fast pathway for one of the slow (SlowFast).
        beta_inv: width of the slow pathway over that of the fast (SlowFast).
        fusion_kernel_size: frames that a lateral connection sees (SlowFast).
        fusion_channel_ratio: channels of a lateral connection over those of the fast pathway (SlowFast).
        fusion_norm: batch norm and ReLU in lateral connections; mmaction2's weights have none.
        hidden_act: activation.
        batch_norm_eps: of all batch norms.
        batch_norm_momentum: of all batch norms.
        zero_init_residual: start residual branches at zero.
        classifier_dropout: dropout before the classifier.
        head_pooling: average over all positions (`"global"`) or over a moving window of the training size
            (`"window"`, as in the public code, which matters for larger frames).
        head_average: with `"window"`, whether positions are averaged as `"logits"` or as `"probabilities"`.
        roi_aligned: half-pixel shift of the RoI-align of detection heads; False for Caffe2's and pytorchvideo's
            models.
        problem_type: `"single_label_classification"` (None too) or `"multi_label_classification"`.
        initializer_range: deviation of the classifier's initial weights.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "video_resnet"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["hidden_states", "fast_hidden_states"]

    arch: str = "slow"
    depth: int = 50
    depths: list | tuple | None = None
    embedding_size: int = 64
    num_channels: int = 3
    num_frames: int = 8
    image_size: int = 224
    temporal_kernel_sizes: list | tuple | None = None
    fast_temporal_kernel_sizes: list | tuple = FAST_TEMPORAL_KERNELS
    num_block_temporal_kernel: list | tuple | None = None
    spatial_strides: list | tuple | None = None
    spatial_dilations: list | tuple = (1, 1, 1, 1)
    temporal_strides: list | tuple | None = None
    stem_pool: bool | None = None
    res2_pool: bool | None = None
    nonlocal_blocks: list | tuple = ((), (), (), ())
    nonlocal_instantiation: str = "softmax"
    nonlocal_pool_size: list | tuple = (1, 2, 2)
    nonlocal_groups: int = 1
    alpha: int = 4
    beta_inv: int = 8
    fusion_kernel_size: int = 7
    fusion_channel_ratio: int = 2
    fusion_norm: bool = True
    hidden_act: str = "relu"
    batch_norm_eps: float | int = 1e-5
    batch_norm_momentum: float | int = 0.1
    zero_init_residual: bool = True
    classifier_dropout: float | int = 0.5
    head_pooling: str = "global"
    head_average: str = "logits"
    roi_aligned: bool = True
    initializer_range: float | int = 0.01

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what the architecture decides, and make rows of nested tuples lists."""
        if self.arch not in ARCHITECTURES:
            raise ValueError(f"arch must be one of {', '.join(map(repr, ARCHITECTURES))}, got {self.arch!r}")
        if self.depths is None:
            if self.depth not in DEPTHS:
                raise ValueError(
                    f"depth must be one of {', '.join(map(str, DEPTHS))}, got {self.depth}; other numbers of blocks "
                    "are given as depths"
                )
            self.depths = DEPTHS[self.depth]
        is_factorised = self.arch == "r2plus1d"
        for name, value in (
            ("temporal_kernel_sizes", TEMPORAL_KERNELS[self.arch]),
            ("spatial_strides", (2, 2, 2, 2) if is_factorised else (1, 2, 2, 2)),
            ("temporal_strides", (1, 1, 2, 2) if is_factorised else (1, 1, 1, 1)),
            ("stem_pool", not is_factorised),
            ("res2_pool", self.arch in POOLED_ARCHITECTURES),
        ):
            if getattr(self, name) is None:
                setattr(self, name, value)
        for name in ("temporal_kernel_sizes", "fast_temporal_kernel_sizes", "nonlocal_blocks"):
            setattr(self, name, [list(row) for row in getattr(self, name)])
        if self.num_block_temporal_kernel is not None:
            counts = self.num_block_temporal_kernel
            self.num_block_temporal_kernel = [row if isinstance(row, int) else list(row) for row in counts]
        super().__post_init__(**kwargs)

    @property
    def num_pathways(self) -> int:
        """2 of SlowFast, else 1."""
        return 2 if self.arch == "slowfast" else 1

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames of training in pixels."""
        return self.image_size, self.image_size

    @property
    def feature_width(self) -> int:
        """Channels that the classifier sees, of all pathways together."""
        return sum(plan.widths[-1] for plan in self.pathway_plans())

    @property
    def norm_options(self) -> dict[str, float]:
        """Arguments of all batch norms."""
        return {"eps": self.batch_norm_eps, "momentum": self.batch_norm_momentum}

    @property
    def seams(self) -> tuple[Seam, ...]:
        """All positions behind the stem and behind blocks, in the order in which they are passed."""
        blocks = ((stage, block) for stage, depth in enumerate(self.depths, 1) for block in range(depth))
        return ((0, 0), *blocks)

    @property
    def spatial_stride(self) -> int:
        """Pixels of a frame from one cell of the last maps to the next."""
        total = 4 if self.stem_pool else 2
        for stride in self.spatial_strides:
            total *= stride
        return total

    def seam_shape(self, seam: Seam) -> tuple[int, int]:
        """Give the channels and frames of the map that passes a seam of the first (slow) pathway.

        Raises:
            ValueError: there is no such block.
        """
        if seam not in self.seams:
            stage, block = seam
            there = f"res{stage + 1} has blocks 0..{self.depths[stage - 1] - 1}" if 1 <= stage <= NUM_STAGES else ""
            raise ValueError(f"there is no block {block} of stage {stage}; {there or 'stages are 0 to 4'}")
        plan = self.pathway_plans()[0]
        return plan.widths[seam[0]], plan.frames[seam[0]]

    def pathway_plans(self) -> tuple[PathwayPlan, ...]:
        """Give the shapes of all pathways, the slow one first."""
        if self.num_pathways == 1:
            return (self._plan(0, self.embedding_size, self.temporal_kernel_sizes, self.num_frames, 0),)
        fast_width = self.embedding_size // self.beta_inv
        lateral = self.fusion_channel_ratio * fast_width
        slow_frames = self.num_frames // self.alpha
        return (
            self._plan(0, self.embedding_size, self.temporal_kernel_sizes, slow_frames, lateral),
            self._plan(1, fast_width, self.fast_temporal_kernel_sizes, self.num_frames, 0),
        )

    def _plan(
        self, pathway: int, stem_width: int, kernels: list[list[int]], num_frames: int, lateral_width: int
    ) -> PathwayPlan:
        """Plan one pathway whose stages take in channels of a lateral connection, `lateral_width` behind the stem."""
        stages, frames, sides = [], [num_frames], [_strided(_strided(self.image_size, 2), 2 if self.stem_pool else 1)]
        width = stem_width + lateral_width
        for stage, depth in enumerate(self.depths):
            inner = stem_width * 2**stage
            row = kernels[stage + 1]
            blocks = []
            for block in range(depth):
                has_time = block < self._num_temporal_blocks(stage, pathway)
                first = block == 0
                blocks.append(
                    BottleneckPlan(
                        input_width=width if first else EXPANSION * inner,
                        inner_width=inner,
                        temporal_kernel=row[block % len(row)] if has_time else 1,
                        temporal_stride=self.temporal_strides[stage] if first else 1,
                        spatial_stride=self.spatial_strides[stage] if first else 1,
                        dilation=self.spatial_dilations[stage],
                        is_factorised=self.arch == "r2plus1d",
                    )
                )
            stages.append(tuple(blocks))
            width = EXPANSION * (inner + lateral_width * 2**stage)
            # The pooling behind res2 is the first thing that happens to the maps of res3.
            coming = frames[-1] // 2 if stage == 1 and self.res2_pool else frames[-1]
            frames.append(_strided(coming, self.temporal_strides[stage]))
            sides.append(_strided(sides[-1], self.spatial_strides[stage]))
        return PathwayPlan(stem_width, kernels[0][0], tuple(stages), tuple(frames), tuple(sides))

    def _num_temporal_blocks(self, stage: int, pathway: int) -> int:
        if self.num_block_temporal_kernel is None:
            return self.depths[stage]
        count = self.num_block_temporal_kernel[stage]
        return count if isinstance(count, int) else count[pathway]

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        for name, allowed in (
            ("nonlocal_instantiation", NONLOCAL_FORMS),
            ("head_pooling", HEAD_POOLINGS),
            ("head_average", HEAD_AVERAGES),
            ("problem_type", PROBLEM_TYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")

    def validate_block_rows(self) -> None:
        """Refuse rows of another length than the network's, and sizes that are not positive."""
        for name in ("depths", "spatial_strides", "spatial_dilations", "temporal_strides", "nonlocal_blocks"):
            if len(getattr(self, name)) != NUM_STAGES:
                raise ValueError(f"{name} must have one entry for each of res2 to res5, got {getattr(self, name)}")
        for name in ("temporal_kernel_sizes", "fast_temporal_kernel_sizes"):
            rows = getattr(self, name)
            if len(rows) != NUM_STAGES + 1 or not all(row and all(size % 2 == 1 for size in row) for row in rows):
                raise ValueError(f"{name} must have five rows of odd numbers, for stem and stages, got {rows}")
        numbers = ("embedding_size", "num_channels", "num_frames", "image_size", "nonlocal_groups", "alpha")
        rows = ("depths", "spatial_strides", "spatial_dilations", "temporal_strides", "nonlocal_pool_size")
        for name in (*numbers, *rows, "beta_inv", "fusion_kernel_size", "fusion_channel_ratio"):
            value = getattr(self, name)
            if min(value if isinstance(value, list) else [value]) < 1:
                raise ValueError(f"{name} must be positive, got {value}")
        if not 0 <= self.classifier_dropout < 1:
            raise ValueError(f"classifier_dropout must be in [0, 1), got {self.classifier_dropout}")

    def validate_frames(self) -> None:
        """Refuse clips that leave no frame for a pathway or a stage."""
        if self.num_pathways == 2:
            if self.num_frames % self.alpha:
                raise ValueError(
                    f"num_frames must be a multiple of alpha {self.alpha}, the frames of the fast pathway for one of "
                    f"the slow, got {self.num_frames}"
                )
            if self.embedding_size < self.beta_inv:
                raise ValueError(
                    f"embedding_size {self.embedding_size} leaves the fast pathway no channel with beta_inv "
                    f"{self.beta_inv}"
                )
        for plan in self.pathway_plans():
            if min(plan.frames) < 1:
                raise ValueError(
                    f"num_frames {self.num_frames} is too few for {self.arch}, whose stages would have "
                    f"{', '.join(map(str, plan.frames))} frames"
                )

    def validate_nonlocal_blocks(self) -> None:
        """Refuse non-local blocks behind blocks that do not exist."""
        for stage, (blocks, depth) in enumerate(zip(self.nonlocal_blocks, self.depths, strict=True), 1):
            for block in blocks:
                if not 0 <= block < depth:
                    raise ValueError(
                        f"nonlocal_blocks names block {block} of res{stage + 1}, which has blocks 0..{depth - 1}"
                    )
            if blocks and (frames := self.seam_shape((stage, blocks[0]))[1]) % self.nonlocal_groups:
                raise ValueError(
                    f"nonlocal_groups {self.nonlocal_groups} does not divide the {frames} frames of res{stage + 1}"
                )


def _strided(size: int, stride: int) -> int:
    """Give the size that a convolution with half padding leaves."""
    return -(-size // stride)


_KINETICS = {"num_labels": 400}
_FIVE_NONLOCAL = ((), (1, 3), (1, 3, 5), ())
_SLOWFAST = {"arch": "slowfast", "num_frames": 32, **_KINETICS}
_SLOWFAST_R101 = {**_SLOWFAST, "depth": 101, "fusion_kernel_size": 5}
_DETECTION = {
    "spatial_strides": (1, 2, 2, 1),
    "spatial_dilations": (1, 1, 1, 2),
    "num_labels": 80,
    "problem_type": MULTI_LABEL,
}
_TINY = {"embedding_size": 8, "depths": (1, 1, 1, 1), "image_size": 32, "classifier_dropout": 0.0, "num_labels": 5}
# For the embedded corpora: learned from scratch in minutes on a CPU.
_EMBEDDED = {"embedding_size": 16, "depths": (1, 1, 1, 1), "image_size": 32, "classifier_dropout": 0.0}

VideoResNetConfig.presets = {
    "slow_r50_4x16": {"num_frames": 4, **_KINETICS},
    "slow_r50_8x8": _KINETICS,
    "slow_r101_8x8": {"depth": 101, **_KINETICS},
    "i3d_r50_8x8": {"arch": "i3d", **_KINETICS},
    "i3d_nln_r50_8x8": {"arch": "i3d", "nonlocal_blocks": _FIVE_NONLOCAL, **_KINETICS},
    "c2d_r50_8x8": {"arch": "c2d", **_KINETICS},
    "tsn_r50": {"arch": "r2d", **_KINETICS},
    "r2plus1d_r50_16x4": {"arch": "r2plus1d", "num_frames": 16, **_KINETICS},
    "slowfast_r50_4x16": {**_SLOWFAST, "alpha": 8, "fusion_kernel_size": 5},
    "slowfast_r50_8x8": _SLOWFAST,
    "slowfast_r101_8x8": _SLOWFAST_R101,
    "slowfast_r101_16x8": {
        **_SLOWFAST_R101,
        "num_frames": 64,
        "num_block_temporal_kernel": ((3, 3), (4, 4), (6, 6), (3, 3)),
    },
    "slow_r50_ava": {"num_frames": 4, **_DETECTION},
    "slowfast_r50_ava": {**_SLOWFAST, **_DETECTION},
    "embedded-slow": {**_EMBEDDED, "arch": "slow"},
    "embedded-r2d": {**_EMBEDDED, "arch": "r2d"},
    "tiny-slow": {**_TINY, "num_frames": 4},
    "tiny-slowfast": {**_TINY, "arch": "slowfast", "num_frames": 8, "beta_inv": 4, "fusion_kernel_size": 5},
    "tiny-i3d-nonlocal": {**_TINY, "arch": "i3d", "nonlocal_blocks": ((), (0,), (0,), ())},
    "tiny-r2plus1d": {**_TINY, "arch": "r2plus1d"},
}
