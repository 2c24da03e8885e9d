"""Configuration of GTA (He et al., "GTA: Global Temporal Attention for Video Action Understanding", BMVC 2021, arXiv
2012.08510).

No code and no weights of the paper are public. Numbers and choices that its abstract and figure do not state are our
reconstruction: the place of the blocks, the numbers of groups and regions, inner widths, norms, residuals, initial
values. They are fields here.
"""

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .configuration_base import VidModelsConfig, strict_config
from .configuration_video_resnet import NUM_STAGES, PROBLEM_TYPES, Seam, VideoResNetConfig

ATTENTION_TYPES = ("gta", "joint", "decoupled", "none")
MATRIX_NORMALIZATIONS = ("none", "softmax")
MATRIX_STARTS = ("uniform", "normal", "identity")
REGION_NORMALIZATIONS = ("mean", "sum")


@strict_config
class GtaConfig(VidModelsConfig):
    """A residual video network with attention over time behind some of its blocks, and a classifier.

    Args:
        backbone_config: the network; its own classifier is not used.
        attention_type: `"gta"`, or what the paper compares it with: `"joint"` attention over all positions,
            `"decoupled"` attention over space and then time, or `"none"`.
        gta_blocks: numbers of the blocks of res2 to res5 that an attention follows, four lists; of SlowFast in the
            slow pathway.
        inner_ratio: channels of a map over those inside the attention.
        num_groups: groups of channels, and heads, of the temporal matrices.
        cross_channel: whether every head sees all groups, or each its own.
        attention_normalization: `"none"`: matrices are applied as they are; `"softmax"` over source frames.
        attention_init: `"uniform"` in +-1 / sqrt(groups * frames), `"normal"` of that deviation, or `"identity"`.
        use_pixel_branch: mix pixels over time.
        use_region_branch: mix regions over time.
        num_regions: regions of a map.
        region_normalization: a region is the `"mean"` or the `"sum"` of its pixels.
        spatial_attention: attention among the positions of each frame, before time.
        zero_init_output_norm: let new attentions change nothing at first.
        interpolate_attention: resize the matrices for clips of another number of frames, instead of refusing these.
        classifier_dropout: dropout before the classifier.
        problem_type: `"single_label_classification"` (None too) or `"multi_label_classification"`.
        initializer_range: deviation of the classifier's initial weights.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "gta_video"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["hidden_states", "region_shares"]
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"backbone_config": VideoResNetConfig}

    backbone_config: VideoResNetConfig | dict | None = None
    attention_type: str = "gta"
    gta_blocks: list | tuple = ((), (1, 3), (1, 3, 5), ())
    inner_ratio: int = 2
    num_groups: int = 4
    cross_channel: bool = True
    attention_normalization: str = "none"
    attention_init: str = "uniform"
    use_pixel_branch: bool = True
    use_region_branch: bool = True
    num_regions: int = 8
    region_normalization: str = "mean"
    spatial_attention: bool = True
    zero_init_output_norm: bool = True
    interpolate_attention: bool = False
    classifier_dropout: float | int = 0.5
    initializer_range: float | int = 0.01

    def __post_init__(self, **kwargs: Any) -> None:
        """Take the 2D network where none is given."""
        if self.backbone_config is None:
            self.backbone_config = {"arch": "r2d"}
        self.gta_blocks = [list(blocks) for blocks in self.gta_blocks]
        super().__post_init__(**kwargs)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames of training in pixels."""
        return self.backbone_config.frame_size

    @property
    def has_matrices(self) -> bool:
        """Whether frames are mixed by learned matrices."""
        return self.attention_type == "gta" and any(self.gta_blocks)

    @property
    def attention_seams(self) -> list[Seam]:
        """The positions in the backbone that an attention stands at."""
        if self.attention_type == "none":
            return []
        return [(stage, block) for stage, blocks in enumerate(self.gta_blocks, 1) for block in blocks]

    def inner_width(self, seam: Seam) -> int:
        """Give the channels inside the attention at a position."""
        return self.backbone_config.seam_shape(seam)[0] // self.inner_ratio

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones, and an attention without branches."""
        for name, allowed in (
            ("attention_type", ATTENTION_TYPES),
            ("attention_normalization", MATRIX_NORMALIZATIONS),
            ("attention_init", MATRIX_STARTS),
            ("region_normalization", REGION_NORMALIZATIONS),
            ("problem_type", PROBLEM_TYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")
        if not self.use_pixel_branch and not self.use_region_branch:
            raise ValueError("use_pixel_branch and use_region_branch are both false: nothing would be mixed over time")

    def validate_numbers(self) -> None:
        """Refuse numbers outside their ranges."""
        for name in ("inner_ratio", "num_groups", "num_regions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.classifier_dropout < 1:
            raise ValueError(f"classifier_dropout must be in [0, 1), got {self.classifier_dropout}")

    def validate_blocks(self) -> None:
        """Refuse attentions behind blocks that do not exist, and channels that do not part into groups."""
        if len(self.gta_blocks) != NUM_STAGES:
            raise ValueError(f"gta_blocks must have one list for each of res2 to res5, got {self.gta_blocks}")
        for stage, block in self.attention_seams:
            depth = self.backbone_config.depths[stage - 1]
            if not 0 <= block < depth:
                raise ValueError(f"gta_blocks names block {block} of res{stage + 1}, which has blocks 0..{depth - 1}")
            inner = self.inner_width((stage, block))
            if inner < 1 or self.attention_type == "gta" and inner % self.num_groups:
                raise ValueError(
                    f"inner width {inner} of res{stage + 1} must be positive and divisible by num_groups "
                    f"{self.num_groups}; change inner_ratio or num_groups"
                )


_ALL_CLIPS = {"num_labels": 400}
_SSV2 = {"num_labels": 174}
_EMBEDDED = {
    "gta_blocks": ((), (0,), (0,), ()),
    "classifier_dropout": 0.0,
    "backbone_config": {"arch": "r2d", "embedding_size": 16, "depths": (1, 1, 1, 1), "image_size": 32},
}

GtaConfig.presets = {
    "gta_r2d50_8f_ssv1": _SSV2,
    "gta_r2d50_8f_ssv2": _SSV2,
    "gta_r2d50_16f": {"backbone_config": {"arch": "r2d", "num_frames": 16}, **_SSV2},
    "gta_i3d50_8x8_k400": {"backbone_config": {"arch": "i3d"}, **_ALL_CLIPS},
    "gta_slow50_8x8_k400": {"backbone_config": {"arch": "slow"}, **_ALL_CLIPS},
    "gta_slowfast50_8x8_k400": {"backbone_config": {"arch": "slowfast", "num_frames": 32}, **_ALL_CLIPS},
    "embedded-gta": _EMBEDDED,
    "tiny-gta": {
        "gta_blocks": ((), (0,), (0,), ()),
        "classifier_dropout": 0.0,
        "num_regions": 3,
        "backbone_config": {"arch": "r2d", "num_frames": 4, "embedding_size": 8, "depths": (1, 1, 1, 1)}
        | {"image_size": 32},
    },
}
