"""Configuration of Collaborative Memory (Yang et al., "Beyond Short Clips: End-to-End Video-Level Learning with
Collaborative Memories", CVPR 2021, arXiv 2104.01198).

No code and no weights of the paper are public. Its abstract and figure state the chain: clips of one video push what
they saw into one associative memory, each takes back what concerns it, and a gate on its features uses it. All sizes,
the other memories and infusions, losses and initial values are our reconstruction. They are fields here.
"""

from typing import ClassVar

from transformers import PreTrainedConfig

from .configuration_backbones import MvitConfig, VideoSwinConfig
from .configuration_base import VidModelsConfig, strict_config
from .configuration_video_resnet import PROBLEM_TYPES, VideoResNetConfig

MEMORY_TYPES = ("associative", "associative_softmax", "average", "self_attention", "none")
INFUSION_TYPES = ("gating", "gating_residual", "residual")
STOP_GRADIENTS = ("none", "other_clips", "all")
TRAINING_MODES = ("batch_reduction", "multi_iteration", "two_pass")
CLIP_AGGREGATIONS = ("mean", "max")
# Key and value channels where nothing says otherwise, as a share of the features.
DEFAULT_SHARE = 4


@strict_config
class CollaborativeMemoryConfig(VidModelsConfig):
    """A network for clips, a memory that the clips of a video share, and a classifier.

    Args:
        backbone_config: the network, a `VideoResNetConfig`, `MvitConfig` or `VideoSwinConfig`; its own classifier is
            not used.
        num_clips: clips of a video in training, N.
        num_test_clips: clips of a video in the test protocol.
        memory_type: `"associative"` (a matrix, the mean of key times value over all positions),
            `"associative_softmax"` (keys are soft-maxed over all positions, queries over their channels),
            `"average"` (the mean value), `"self_attention"` (all keys and values are kept) or `"none"`, what the
            others are compared with: clips only vote together.
        memory_key_dim: channels of keys and queries; None = a quarter of the features'.
        memory_value_dim: channels of values; None = a quarter of the features'.
        infusion_type: `"gating"` (features times a gate in (0, 1)), `"gating_residual"` (times 1 + gate) or
            `"residual"` (plus a projection of what the memory gives).
        gate_bias_init: initial bias of the gate; 0 halves features at first, 2 keeps 88 % of them.
        memory_stop_gradient: pushes that carry no gradient: `"none"` of them, those of `"other_clips"`, or `"all"`.
        training_mode: `"batch_reduction"` (all clips of a video in one step), `"multi_iteration"` (one clip a step,
            the memory of those before it is a constant) or `"two_pass"` (all clips in one step, computed a second time
            one by one in the backward pass, so that memory holds one clip's activations).
        video_loss_weight: of the loss of a video's logits.
        clip_loss_weight: of the mean loss of its clips' logits.
        clip_aggregation: a video's logits are the `"mean"` or the `"max"` over its clips.
        classifier_dropout: dropout before the classifier.
        center_clip: of detection, the clip with the key frame; None = the middle one.
        context_seconds: of detection, length in s of the window around the key frame from which clips are taken.
        roi_aligned: of detection, half-pixel shift of RoI-align.
        problem_type: `"single_label_classification"` (None too) or `"multi_label_classification"`.
        initializer_range: deviation of the classifier's and the gate's initial weights.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "collaborative_memory"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["clip_logits", "plain_clip_logits", "gates", "memory"]
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"backbone_config": VideoResNetConfig}

    backbone_config: VideoResNetConfig | MvitConfig | VideoSwinConfig | dict | None = None
    num_clips: int = 5
    num_test_clips: int = 10
    memory_type: str = "associative"
    memory_key_dim: int | None = None
    memory_value_dim: int | None = None
    infusion_type: str = "gating"
    gate_bias_init: float | int = 0.0
    memory_stop_gradient: str = "none"
    training_mode: str = "batch_reduction"
    video_loss_weight: float | int = 1.0
    clip_loss_weight: float | int = 0.5
    clip_aggregation: str = "mean"
    classifier_dropout: float | int = 0.5
    center_clip: int | None = None
    context_seconds: float | int = 60.0
    roi_aligned: bool = True
    initializer_range: float | int = 0.01

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames of training in pixels."""
        return self.backbone_config.frame_size

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return self.backbone_config.num_frames

    @property
    def num_channels(self) -> int:
        """Channels of a frame."""
        return self.backbone_config.num_channels

    @property
    def feature_width(self) -> int:
        """Channels of the features that clips push."""
        backbone = self.backbone_config
        if isinstance(backbone, MvitConfig):
            return backbone.block_plans()[-1].output_width
        return backbone.stage_widths[-1] if isinstance(backbone, VideoSwinConfig) else backbone.feature_width

    @property
    def spatial_stride(self) -> int:
        """Pixels of a frame from one cell of the features to the next."""
        backbone = self.backbone_config
        if isinstance(backbone, VideoResNetConfig):
            return backbone.spatial_stride
        if isinstance(backbone, VideoSwinConfig):
            return backbone.patch_size[1] * 2 ** (len(backbone.depths) - 1)
        grid = backbone.patch_grid
        for plan in backbone.block_plans():
            grid = plan.output_grid(grid)
        return backbone.image_size // grid[1]

    @property
    def key_width(self) -> int:
        """Channels of keys and queries."""
        return self.feature_width // DEFAULT_SHARE if self.memory_key_dim is None else self.memory_key_dim

    @property
    def value_width(self) -> int:
        """Channels of values."""
        return self.feature_width // DEFAULT_SHARE if self.memory_value_dim is None else self.memory_value_dim

    @property
    def center(self) -> int:
        """The clip with the key frame, of detection."""
        return self.num_clips // 2 if self.center_clip is None else self.center_clip

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        for name, allowed in (
            ("memory_type", MEMORY_TYPES),
            ("infusion_type", INFUSION_TYPES),
            ("memory_stop_gradient", STOP_GRADIENTS),
            ("training_mode", TRAINING_MODES),
            ("clip_aggregation", CLIP_AGGREGATIONS),
            ("problem_type", PROBLEM_TYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")
        if self.training_mode == "multi_iteration" and self.memory_type in ("self_attention", "none"):
            raise ValueError(
                "training_mode 'multi_iteration' hands a memory of fixed size from clip to clip, which memory_type "
                f"{self.memory_type!r} does not have; use 'two_pass', or another memory_type"
            )

    def validate_numbers(self) -> None:
        """Refuse numbers outside their ranges."""
        for name in ("num_clips", "num_test_clips", "key_width", "value_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("video_loss_weight", "clip_loss_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.classifier_dropout < 1:
            raise ValueError(f"classifier_dropout must be in [0, 1), got {self.classifier_dropout}")
        if not 0 <= self.center < self.num_clips:
            raise ValueError(f"center_clip must be one of the clips 0..{self.num_clips - 1}, got {self.center_clip}")
        if not self.context_seconds > 0:
            raise ValueError(f"context_seconds must be positive, got {self.context_seconds}")


_KINETICS = {"num_labels": 400}
_TINY_NETWORK = {"arch": "r2d", "num_frames": 4, "embedding_size": 8, "depths": (1, 1, 1, 1), "image_size": 32}

CollaborativeMemoryConfig.presets = {
    "slow_r50_8x8": {"backbone_config": {"arch": "slow"}, **_KINETICS},
    "i3d_r50_8x8": {"backbone_config": {"arch": "i3d"}, **_KINETICS},
    "r2plus1d_r50_16x4": {"backbone_config": {"arch": "r2plus1d", "num_frames": 16}, **_KINETICS},
    "slowfast_r50_8x8": {"backbone_config": {"arch": "slowfast", "num_frames": 32}, **_KINETICS},
    "charades_slowfast_r50_16x8": {
        "backbone_config": {"arch": "slowfast", "num_frames": 64},
        "num_clips": 8,
        "num_labels": 157,
        "problem_type": "multi_label_classification",
    },
    "ssv1_slow_r50": {"backbone_config": {"arch": "slow"}, "num_clips": 2, "num_test_clips": 2, "num_labels": 174},
    "ava_slowfast_r50": {
        "backbone_config": {
            "arch": "slowfast",
            "num_frames": 32,
            "spatial_strides": (1, 2, 2, 1),
            "spatial_dilations": (1, 1, 1, 2),
        },
        "num_labels": 80,
        "problem_type": "multi_label_classification",
    },
    "embedded-memory": {
        "backbone_config": {**_TINY_NETWORK, "embedding_size": 16},
        "num_clips": 6,
        "num_test_clips": 6,
        "classifier_dropout": 0.0,
    },
    "tiny-memory": {
        "backbone_config": _TINY_NETWORK,
        "num_clips": 3,
        "num_test_clips": 4,
        "classifier_dropout": 0.0,
    },
}
