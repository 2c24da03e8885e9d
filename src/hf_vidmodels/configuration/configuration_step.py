"""Configuration of STEP (Yang et al., "STEP: Spatio-Temporal Progressive Learning for Video Action Detection", CVPR
2019, arXiv 1904.09288).

Numbers are those of the official code (NVlabs/STEP, commit 59da38a), which holds the AVA model alone. The preset for
UCF101-24 is ours: neither its eleven cuboids nor its training are public.
"""

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .configuration_base import VidModelsConfig, strict_config
from .configuration_i3d import SPATIAL_STRIDE, TEMPORAL_STRIDE, I3dConfig

TEMPORAL_MODES = ("predict", "extrapolate", "mean")
ROI_POOL_MODES = ("align", "pool")
NEGATIVE_SAMPLINGS = ("softmax", "uniform", "random")
SMALLEST_SIDE = 32
# Sums of strides miss 1 by so much in float64; far below any real step.
GRID_TOLERANCE = 1e-9


@strict_config
class StepConfig(VidModelsConfig):
    """Settings of network, proposals, selection, losses and detections.

    A *tube* has a box for every feature frame of a *chunk* or of several; a feature frame stands for four frames.

    Args:
        backbone_config: the I3D trunk; its `width_multiplier` scales the local branch too.
        image_size: (height, width) of the frames in pixels.
        num_steps: heads that refine tubes one after another.
        chunk_length: feature frames of a chunk, odd.
        chunks_per_step: chunks that the tubes of each step span, odd, rising by 0 or 2.
        temporal_mode: how tubes become longer: `"predict"` (boxes of the neighbouring chunks are learned),
            `"extrapolate"` (linearly) or `"mean"` (the mean box is repeated).
        use_context: let the classifiers see the whole frames as well.
        use_local_branch: let heads move boxes; without it the model classifies the boxes that it is given.
        roi_pool_mode: `"align"` or `"pool"` (maximum).
        roi_pool_size: cells along each side of what is cut out of a feature frame.
        hidden_size: channels of the heads' global features.
        local_hidden_size: channels between the blocks of the local branch.
        local_bottleneck_size: channels inside them.
        classifier_dropout: dropout before classifiers and regressors.
        proposal_scales: a cuboid of scale s has sides of 1 / s of the frame.
        proposal_overlaps: for each scale the share of a side that neighbours have in common.
        extra_proposals: further cuboids, boxes x0, y0, x1, y1 relative to the frame.
        cls_iou_thresholds: overlap from which a tube is a positive example, by step; the last one repeats.
        reg_iou_thresholds: overlap from which a negative example moves its box all the same, by step.
        max_positives: positive tubes of a clip in a step.
        negative_ratio: negative tubes for each positive one.
        negative_sampling: how these are drawn: `"softmax"` of scores, `"uniform"` (by the scores themselves) or
            `"random"`. The first step has no scores and takes overlaps.
        train_topk: tubes of a clip that a later step may choose from.
        loss_reg_weight: weight of the boxes' loss.
        loss_neighbor_weight: weight of the loss of boxes in neighbouring chunks.
        score_threshold: a detection's score is above it.
        nms_threshold: overlap from which the worse of two detections of a class goes.
        detections_per_clip: most detections of a clip; 0 or less keeps all of them, unsorted.
        frame_rate: frames in a second of a clip.
        freeze_batch_norm_stats: keep the running statistics of all norms in training.
        freeze_batch_norm_affine: keep their weights too.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "step_action_detector"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"backbone_config": I3dConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "pred_boxes",
        "tubes",
        "step_logits",
        "step_boxes",
        "first_boxes",
        "last_boxes",
        "proposal_mask",
        "cls_loss",
        "reg_loss",
        "neighbor_loss",
    ]

    backbone_config: I3dConfig | dict | None = None
    image_size: list | tuple = (400, 400)
    num_steps: int = 3
    chunk_length: int = 3
    chunks_per_step: list | tuple = (1, 1, 3)
    temporal_mode: str = "predict"
    use_context: bool = True
    use_local_branch: bool = True
    roi_pool_mode: str = "align"
    roi_pool_size: int = 7
    hidden_size: int = 256
    local_hidden_size: int = 1024
    local_bottleneck_size: int = 256
    classifier_dropout: float | int = 0.3
    proposal_scales: list | tuple = (4 / 3, 2)
    proposal_overlaps: list | tuple = (5 / 6, 3 / 4)
    extra_proposals: list | tuple = ()
    cls_iou_thresholds: list | tuple = (0.2, 0.35, 0.5)
    reg_iou_thresholds: list | tuple = (0.2, 0.35, 0.5)
    max_positives: int = 5
    negative_ratio: int = 2
    negative_sampling: str = "softmax"
    train_topk: int = 300
    loss_reg_weight: float | int = 5.0
    loss_neighbor_weight: float | int = 1.0
    score_threshold: float | int = 0.01
    nms_threshold: float | int = 0.4
    detections_per_clip: int = 300
    frame_rate: float | int = 12
    freeze_batch_norm_stats: bool = True
    freeze_batch_norm_affine: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in AVA's sixty classes when neither `num_labels` nor `id2label` is given.

        Raises:
            ValueError: for a `num_frames` that the chunks do not make.
        """
        if self.id2label is None and kwargs.get("num_labels") is None:
            kwargs["num_labels"] = 60
        asked = kwargs.pop("num_frames", None)
        super().__post_init__(**kwargs)
        if asked is not None and asked != self.num_frames:
            raise ValueError(
                f"num_frames follows from chunk_length {self.chunk_length} and chunks_per_step "
                f"{self.chunks_per_step}: {self.num_frames}, got {asked}; change those"
            )

    @property
    def num_chunks(self) -> int:
        """Chunks of a clip."""
        return self.chunks_per_step[-1]

    @property
    def num_feature_frames(self) -> int:
        """Feature frames of a clip."""
        return self.chunk_length * self.num_chunks

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return TEMPORAL_STRIDE * self.num_feature_frames

    @property
    def temporal_stride(self) -> int:
        """Frames from one feature frame to the next."""
        return TEMPORAL_STRIDE

    @property
    def spatial_stride(self) -> int:
        """Pixels from one cell of a feature frame to the next."""
        return SPATIAL_STRIDE

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""
        return tuple(self.image_size)

    @property
    def local_widths(self) -> tuple[int, int]:
        """Channels between and inside the blocks of the local branch, scaled."""
        trunk = self.backbone_config
        return trunk.scaled(self.local_hidden_size), trunk.scaled(self.local_bottleneck_size)

    def extends_after(self, step: int) -> bool:
        """Whether tubes become longer between step `step`, counted from 0, and the next."""
        return step + 1 < self.num_steps and self.chunks_per_step[step + 1] > self.chunks_per_step[step]

    def learns_neighbors(self, step: int) -> bool:
        """Whether a step learns where people are in the chunks before and after its tubes."""
        return self.extends_after(step) and self.temporal_mode == "predict"

    def frames_of_step(self, step: int) -> slice:
        """Give the feature frames that a step sees: the middle ones."""
        first = (self.num_chunks - self.chunks_per_step[step]) // 2 * self.chunk_length
        return slice(first, first + self.chunks_per_step[step] * self.chunk_length)

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        for name, allowed in (
            ("temporal_mode", TEMPORAL_MODES),
            ("roi_pool_mode", ROI_POOL_MODES),
            ("negative_sampling", NEGATIVE_SAMPLINGS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")

    def validate_chunks(self) -> None:
        """Refuse chunks without a middle frame, and steps that do not widen by whole chunks on both sides."""
        if self.chunk_length < 1 or self.chunk_length % 2 == 0:
            raise ValueError(f"chunk_length must be odd, so that it has a middle, got {self.chunk_length}")
        if self.temporal_mode == "extrapolate" and self.chunk_length < 2:
            raise ValueError(
                f"temporal_mode 'extrapolate' needs a chunk_length of at least 3, to see motion, got "
                f"{self.chunk_length}"
            )
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")
        if len(self.chunks_per_step) != self.num_steps:
            raise ValueError(
                f"chunks_per_step must have one entry for each of the {self.num_steps} steps, got "
                f"{self.chunks_per_step}"
            )
        for step, chunks in enumerate(self.chunks_per_step):
            if not isinstance(chunks, int) or chunks < 1 or chunks % 2 == 0:
                raise ValueError(f"chunks_per_step must be odd and positive, got {chunks} at step {step + 1}")
            rise = chunks - self.chunks_per_step[step - 1] if step else 0
            if rise not in (0, 2):
                raise ValueError(
                    f"chunks_per_step must rise by 0 or 2 from one step to the next, got "
                    f"{self.chunks_per_step[step - 1]} and {chunks} at step {step + 1}"
                )
        if self.num_steps > 1 and not self.use_local_branch:
            raise ValueError("num_steps above 1 needs use_local_branch, without which no box is refined")

    def validate_sizes(self) -> None:
        """Refuse frames that the trunk cannot see, and widths that are no positive whole numbers."""
        if len(self.image_size) != 2 or not all(isinstance(side, int) for side in self.image_size):
            raise ValueError(f"image_size must be (height, width) in whole pixels, got {self.image_size}")
        if min(self.image_size) < SMALLEST_SIDE:
            raise ValueError(f"image_size must have sides of {SMALLEST_SIDE} pixels or more, got {self.image_size}")
        for name in ("roi_pool_size", "hidden_size", "max_positives", "negative_ratio", "train_topk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("local_hidden_size", "local_bottleneck_size"):
            width = getattr(self, name) * self.backbone_config.width_multiplier
            if width < 1 or width != int(width):
                raise ValueError(
                    f"width_multiplier {self.backbone_config.width_multiplier} makes {width:g} of {name}, which must "
                    "be a positive whole number"
                )
        if self.frame_rate <= 0:
            raise ValueError(f"frame_rate must be positive, got {self.frame_rate}")

    def validate_proposals(self) -> None:
        """Refuse cuboids that lie outside the frame, and grids without end."""
        if len(self.proposal_scales) != len(self.proposal_overlaps):
            raise ValueError(
                f"proposal_overlaps must have an entry for each of the {len(self.proposal_scales)} proposal_scales, "
                f"got {len(self.proposal_overlaps)}"
            )
        for scale, overlap in zip(self.proposal_scales, self.proposal_overlaps, strict=True):
            if scale < 1:
                raise ValueError(f"proposal_scales must be 1 or more, so that cuboids fit the frame, got {scale}")
            if not 0 <= overlap < 1:
                raise ValueError(
                    f"proposal_overlaps must be in [0, 1), for cuboids that do not move on have no end, got {overlap}"
                )
        if not self.proposal_scales and not self.extra_proposals:
            raise ValueError("proposal_scales and extra_proposals are both empty: there would be no tube")
        for box in self.extra_proposals:
            if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError(f"extra_proposals must be x0, y0, x1, y1 inside [0, 1] and not empty, got {box}")

    def validate_thresholds(self) -> None:
        """Refuse shares outside [0, 1]."""
        for name in ("cls_iou_thresholds", "reg_iou_thresholds"):
            values = getattr(self, name)
            if not values or not all(0 <= value <= 1 for value in values):
                raise ValueError(f"{name} must be one or more overlaps in [0, 1], got {values}")
        for name in ("score_threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.classifier_dropout < 1:
            raise ValueError(f"classifier_dropout must be in [0, 1), got {self.classifier_dropout}")
        for name in ("loss_reg_weight", "loss_neighbor_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


def proposal_grid(scales: list[float], overlaps: list[float]) -> list[list[float]]:
    """Give the boxes x0, y0, x1, y1 of cuboids in [0, 1], column by column, scale by scale.

    Args:
        scales: a box of scale s has sides 1 / s.
        overlaps: share of a side that neighbours have in common, below 1.
    """
    boxes = []
    for scale, overlap in zip(scales, overlaps, strict=True):
        side = 1 / scale
        count = int((1 - side) / (side * (1 - overlap)) + GRID_TOLERANCE) + 1
        starts = [index * side * (1 - overlap) for index in range(count)]
        boxes += [[x, y, min(x + side, 1.0), min(y + side, 1.0)] for x in starts for y in starts]
    return boxes


# For classifying boxes before anything is detected: one chunk over all frames, and no box moves.
CLASSIFICATION = {
    "num_steps": 1,
    "chunk_length": 9,
    "chunks_per_step": [1],
    "use_local_branch": False,
    "negative_ratio": 3,
    "negative_sampling": "uniform",
    "cls_iou_thresholds": [0.75],
    "reg_iou_thresholds": [0.75],
}
# The whole frame and its middle; with the grid of scale 2 and overlap 1/2 eleven cuboids.
UCF24_EXTRA_PROPOSALS = [[0.0, 0.0, 1.0, 1.0], [0.125, 0.125, 0.875, 0.875]]
UCF24_PROPOSALS = {"proposal_scales": [2], "proposal_overlaps": [0.5], "extra_proposals": UCF24_EXTRA_PROPOSALS}

StepConfig.presets = {
    "step-i3d-ava": {},
    "step-i3d-ava-cls": CLASSIFICATION,
    "step-i3d-ucf24": {"num_labels": 24, **UCF24_PROPOSALS},
    "step-tiny": {"backbone_config": {"width_multiplier": 0.125}, "hidden_size": 8, "image_size": [80, 80]},
}
