"""Configuration of hierarchical contrastive motion learning (Yang et al., "Hierarchical Contrastive Motion Learning
for Video Action Recognition", BMVC 2021, arXiv 2007.10321).

No code and no weights of the paper are public. Its abstracts and the abstract and claims of the patent on the same
work (US 11,594,006 B2) state the idea: motion features of the lowest level come from the reconstruction of frames,
those of each level above predict the future features of the level below under a contrastive loss, levels are learned
one after the other from the lowest up, and all are fused with the features of the network. Layers, sizes, weights of
losses, the form of the gate and the schedule are our reconstruction. They are fields here.
"""

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .configuration_base import VidModelsConfig, strict_config
from .configuration_video_resnet import PROBLEM_TYPES, STAGE_NAMES, Seam, VideoResNetConfig

SIMILARITIES = ("dot", "cosine")
MOTION_BLOCKS = ("conv", "cost_volume", "difference")
FUSION_TYPES = ("gated", "sum", "none")
SPATIAL, TEMPORAL, SPATIOTEMPORAL, BATCH = "spatial", "temporal", "spatiotemporal", "batch"
NEGATIVE_KINDS = (SPATIAL, TEMPORAL, SPATIOTEMPORAL, BATCH)
JOINT, FINETUNE = "joint", "finetune"
# Mean and deviation of the frames that a network is shown, on the scale 0 to 1: of SlowFast's zoo, and of 2D networks.
ZOO_PIXELS = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
IMAGENET_PIXELS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@strict_config
class HierarchicalMotionConfig(VidModelsConfig):
    """A residual video network with motion features at some of its stages.

    Args:
        backbone_config: the network; its own classifier is not used.
        motion_stages: names of the stages, ascending, whose maps the levels of motion read: the first the prime level.
        motion_hidden_sizes: channels of the motion features of each level.
        reduction_ratio: channels of the prime level's map over those that are compared between frames.
        max_displacement: greatest offset, in cells of the map, at which two frames are compared, d.
        displacement_stride: step from one offset to the next, s; divides d.
        cost_volume_similarity: `"dot"` (divided by the number of channels) or `"cosine"`.
        motion_block: what makes features of the levels above the prime: `"conv"`, `"cost_volume"` (as the prime level)
            or `"difference"` of neighbouring frames.
        prediction_offset: frames of the map between a feature and what it predicts.
        contrastive_similarity: `"cosine"` or `"dot"`, of a prediction and a feature.
        temperature: that scores are divided by.
        negatives: what a prediction must tell its feature from: `"spatial"` (other places at its time), `"temporal"`
            (other times at its place), `"spatiotemporal"` (other times at other places), all of the same clip, and
            `"batch"` (other clips).
        max_negatives: features that are drawn as negatives for all predictions of a batch; None for all.
        contrast_pool_size: rows and columns that maps are averaged to before they are contrasted; None for all.
        target_stop_gradient: whether predicted features are constants.
        smoothness_weight: of the smoothness of the displacement beside the reconstruction.
        edge_weight: how fast that fades with differences of neighbouring pixels.
        charbonnier_eps: below which a difference of pixels counts as its square.
        ssim_weight: share of structural similarity in the reconstruction's loss, in [0, 1).
        reconstruction_downscale: frames are made smaller by this factor before they are reconstructed.
        fusion_type: how motion joins the network's map: `"gated"`, `"sum"`, or `"none"` for a network without motion.
        motion_loss_weight: of the losses of all levels beside the classification loss, in phase `"joint"`.
        training_phase: what learns. Of the model for pre-training the number of a level, those below it frozen, or
            `"joint"`, all at once. Of the classifier `"joint"` (classes and motion) or `"finetune"` (classes alone);
            the number of a level, from a pre-trained model, means the latter.
        pixel_mean: by channel, what frames were normalised with, on the scale 0 to 1; None = as the network's.
        pixel_std: likewise.
        classifier_dropout: dropout before the classifier.
        problem_type: `"single_label_classification"` (None too) or `"multi_label_classification"`.
        initializer_range: deviation of the classifier's and the gates' initial weights.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "hierarchical_motion"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["level_losses", "motion_features"]
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"backbone_config": VideoResNetConfig}

    backbone_config: VideoResNetConfig | dict | None = None
    motion_stages: list | tuple = ("res2", "res3", "res4")
    motion_hidden_sizes: list | tuple = (64, 128, 256)
    reduction_ratio: int = 4
    max_displacement: int = 6
    displacement_stride: int = 1
    cost_volume_similarity: str = "dot"
    motion_block: str = "conv"
    prediction_offset: int = 1
    contrastive_similarity: str = "cosine"
    temperature: float | int = 0.07
    negatives: list | tuple = NEGATIVE_KINDS
    max_negatives: int | None = None
    contrast_pool_size: int | None = 7
    target_stop_gradient: bool = True
    smoothness_weight: float | int = 0.1
    edge_weight: float | int = 10.0
    charbonnier_eps: float | int = 1e-3
    ssim_weight: float | int = 0.0
    reconstruction_downscale: int = 1
    fusion_type: str = "gated"
    motion_loss_weight: float | int = 0.1
    training_phase: int | str = JOINT
    pixel_mean: list | tuple | None = None
    pixel_std: list | tuple | None = None
    classifier_dropout: float | int = 0.5
    initializer_range: float | int = 0.01

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what frames were normalised with."""
        super().__post_init__(**kwargs)
        mean, std = IMAGENET_PIXELS if self.backbone_config.arch == "r2d" else ZOO_PIXELS
        self.pixel_mean = list(mean) if self.pixel_mean is None else self.pixel_mean
        self.pixel_std = list(std) if self.pixel_std is None else self.pixel_std

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames of training in pixels."""
        return self.backbone_config.frame_size

    @property
    def num_levels(self) -> int:
        """Levels of motion, the prime one included."""
        return len(self.motion_stages)

    @property
    def level_stages(self) -> list[int]:
        """Number of the stage (1 to 4 = res2 to res5) that each level reads."""
        return [STAGE_NAMES.index(name) for name in self.motion_stages]

    @property
    def level_seams(self) -> list[Seam]:
        """The position in the backbone behind which each level stands."""
        return [(stage, self.backbone_config.depths[stage - 1] - 1) for stage in self.level_stages]

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        for name, allowed in (
            ("cost_volume_similarity", SIMILARITIES),
            ("contrastive_similarity", SIMILARITIES),
            ("motion_block", MOTION_BLOCKS),
            ("fusion_type", FUSION_TYPES),
            ("problem_type", PROBLEM_TYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")
        unknown = [kind for kind in self.negatives if kind not in NEGATIVE_KINDS]
        if unknown or not self.negatives:
            raise ValueError(f"negatives must be some of {', '.join(map(repr, NEGATIVE_KINDS))}, got {self.negatives}")
        phases = (*range(self.num_levels), JOINT, FINETUNE)
        if self.training_phase not in phases:
            raise ValueError(
                f"training_phase must be one of {', '.join(map(repr, phases))} for {self.num_levels} levels, got "
                f"{self.training_phase!r}"
            )

    def validate_levels(self) -> None:
        """Refuse levels at stages that do not exist or do not ascend, and lists of different lengths."""
        stages = STAGE_NAMES[1:]
        if not self.motion_stages or any(name not in stages for name in self.motion_stages):
            raise ValueError(f"motion_stages must name some of {', '.join(stages)}, got {self.motion_stages}")
        if self.level_stages != sorted(set(self.level_stages)):
            raise ValueError(
                f"motion_stages must ascend, because each level predicts the one below, got {self.motion_stages}"
            )
        if len(self.motion_hidden_sizes) != self.num_levels:
            raise ValueError(
                f"motion_hidden_sizes must have a number for each of the {self.num_levels} motion_stages, got "
                f"{self.motion_hidden_sizes}"
            )
        if min(self.motion_hidden_sizes) < 1:
            raise ValueError(f"motion_hidden_sizes must be positive, got {self.motion_hidden_sizes}")
        self._refuse_short_clips()

    def validate_numbers(self) -> None:
        """Refuse numbers outside their ranges."""
        for name in ("reduction_ratio", "displacement_stride", "prediction_offset", "reconstruction_downscale"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("max_negatives", "contrast_pool_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive or None, got {getattr(self, name)}")
        for name in ("max_displacement", "smoothness_weight", "edge_weight", "motion_loss_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("temperature", "charbonnier_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("ssim_weight", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.max_displacement % self.displacement_stride:
            raise ValueError(
                f"displacement_stride {self.displacement_stride} must divide max_displacement "
                f"{self.max_displacement}, so that 0 is among the offsets"
            )
        for name in ("pixel_mean", "pixel_std"):
            if len(getattr(self, name)) != self.backbone_config.num_channels:
                raise ValueError(
                    f"{name} must have a number for each of the {self.backbone_config.num_channels} channels, got "
                    f"{getattr(self, name)}"
                )
        if not min(self.pixel_std) > 0:
            raise ValueError(f"pixel_std must be positive, got {self.pixel_std}")

    def _refuse_short_clips(self) -> None:
        """Refuse clips that leave nothing to compare or to predict."""
        backbone = self.backbone_config
        frames = [backbone.seam_shape(seam)[1] for seam in self.level_seams]
        if frames[0] < 2:
            raise ValueError(
                f"num_frames {backbone.num_frames} leaves {frames[0]} frames at {self.motion_stages[0]}, but motion "
                "needs 2 or more"
            )
        for name, count in zip(self.motion_stages[1:], frames[1:], strict=True):
            if count <= self.prediction_offset:
                raise ValueError(
                    f"prediction_offset {self.prediction_offset} must be below the frames at {name}, which are "
                    f"{count} with num_frames {backbone.num_frames}"
                )
        for seam, name in zip(self.level_seams, self.motion_stages, strict=True):
            if backbone.seam_shape(seam)[0] < self.reduction_ratio:
                raise ValueError(f"reduction_ratio {self.reduction_ratio} leaves no channel of {name}")


_KINETICS = {"num_labels": 400}
_TINY_NETWORK = {"arch": "slow", "num_frames": 4, "embedding_size": 8, "depths": (1, 1, 1, 1), "image_size": 32}

HierarchicalMotionConfig.presets = {
    "slow_r50_8x8": {"backbone_config": {"arch": "slow"}, **_KINETICS},
    "r2d_r50_8f": {"backbone_config": {"arch": "r2d"}, "num_labels": 174},
    "slow_i3d_r50": {"backbone_config": {"arch": "slow_i3d"}, **_KINETICS},
    "r2plus1d_r50": {"backbone_config": {"arch": "r2plus1d", "num_frames": 16}, **_KINETICS},
    # For the embedded corpora: learned from scratch in minutes on a CPU.
    "embedded-motion": {
        "backbone_config": {**_TINY_NETWORK, "num_frames": 8, "embedding_size": 16, "spatial_strides": (1, 2, 2, 1)},
        "motion_stages": ("res2", "res3", "res5"),
        "motion_hidden_sizes": (32, 48, 64),
        "max_displacement": 3,
        "smoothness_weight": 0.005,
        "classifier_dropout": 0.0,
    },
    "tiny-motion": {
        "backbone_config": _TINY_NETWORK,
        "motion_hidden_sizes": (6, 8, 10),
        "max_displacement": 2,
        "classifier_dropout": 0.0,
    },
}
