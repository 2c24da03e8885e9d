"""Configuration of MAL (Lan et al., "Vision Transformers Are Good Mask Auto-Labelers", CVPR 2023, arXiv 2301.03992).

Numbers are those of the official code at commit 0ab9be4, except where a default is named as ours.
"""

import logging
from typing import Any, ClassVar

from .configuration_base import VidModelsConfig, strict_config
from .configuration_vit import VisionTransformerConfig

logger = logging.getLogger(__name__)

NETWORKS = ("student", "teacher", "mixed")
TEACHER_STARTS = ("copy", "independent")
WARMUP_SCOPES = ("first_epoch", "run")
# The official mask head enlarges its map before the fourth of its layers.
UPSAMPLE_BEFORE_LAYER = 3


@strict_config
class MalConfig(VidModelsConfig):
    """Settings of student and teacher, their losses, and how masks are made of their logits.

    Args:
        encoder_config: the vision transformer that encodes crops, a `VisionTransformerConfig` or a dict of its fields;
            `None` for its defaults. `patch_embed_type` `"linear"`, as in public ViT weights, is our default, the
            official code has `"conv_stem"`.
        image_size: side S of the square crops, a multiple of the encoder's `patch_size`.
        mask_head_num_layers: convolutions of the V head, at least 4.
        mask_head_hidden_size: width between them.
        mask_embed_size: width C of instance and pixel vectors.
        mask_upsample_ratio: enlargement inside the V head.
        use_size_buckets: choose the resolution of the V head by the area of the box.
        size_bounds: two box areas in square pixels up to which a box is small, and medium.
        strict_bucket_bounds: let boxes whose area is exactly a bound fall through all buckets (zero logits), as the
            official forward does; otherwise bounds belong to the smaller bucket (ours).
        single_scale_ratio: without buckets, resolution of the map that the V head sees over that of the tokens.
        frozen_stages: [first, last]: with first 0 and last above 0 the patch embedding does not learn, nor do blocks
            max(first, 1) to last, counted from 1. None: all learn.
        use_student: whether the model holds the student, the network that learns.
        use_teacher: whether it holds the teacher, the student's exponential moving average. A checkpoint for inference
            needs one of the two; training with self-training from the average needs both.
        teacher_momentum: share of the teacher that an update keeps.
        teacher_init: `"copy"` of the student (ours) or `"independent"` (official).
        loss_mil_weight: weight of the bag loss.
        loss_crf_weight: weight of the self-training loss.
        loss_mil_warmup_steps: optimiser steps in which the former's weight rises from 0.
        loss_crf_warmup_steps: the same for the latter.
        loss_warmup_scope: `"first_epoch"` counts steps in the first epoch and ends there (official), `"run"` counts
            them over the whole run (ours, for short epochs).
        crf_kernel_size: window of the mean field, odd.
        crf_zeta: width of its colour likeness.
        crf_num_iterations: its updates.
        crf_low: its least probability, in (0, 0.5).
        crf_high: its greatest probability, in (0.5, 1).
        crf_size_ratio: its resolution over that of the logits.
        crf_compat: use the official formula, which only works for windows of 3 x 3, see `mean_field`.
        inference_network: network that answers: `"student"`, `"teacher"` or `"mixed"` (mean of both logits); None =
            the teacher where there is one.
        flip_test: answer with the mean of the logits for a crop and its mirror image.
        mask_thresholds: probability above which a pixel belongs to the mask of a small, medium and large box, or one
            for all; this and the next two are for the processor.
        train_margin_rate: least and greatest total extension of a box in training, in half sides.
        test_margin_rate: total extension at test, in half sides; opposite sides get half of it each.
    """

    model_type = "mask_auto_labeler"
    sub_configs: ClassVar = {"encoder_config": VisionTransformerConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "loss_mil",
        "loss_crf",
        "refined_masks",
        "teacher_logits",
        "hidden_states",
        "attentions",
    ]

    encoder_config: VisionTransformerConfig | dict | None = None
    image_size: int = 512
    mask_head_num_layers: int = 4
    mask_head_hidden_size: int = 256
    mask_embed_size: int = 256
    mask_upsample_ratio: float | int = 2.0
    use_size_buckets: bool = True
    size_bounds: list | tuple = (1024, 9216)
    strict_bucket_bounds: bool = False
    single_scale_ratio: float | int = 1
    frozen_stages: list | tuple | None = None
    use_student: bool = True
    use_teacher: bool = True
    teacher_momentum: float | int = 0.996
    teacher_init: str = "copy"
    loss_mil_weight: float | int = 4.0
    loss_crf_weight: float | int = 0.5
    loss_mil_warmup_steps: int = 1000
    loss_crf_warmup_steps: int = 4000
    loss_warmup_scope: str = "first_epoch"
    crf_kernel_size: int = 3
    crf_zeta: float | int = 0.1
    crf_num_iterations: int = 100
    crf_low: float | int = 0.1
    crf_high: float | int = 0.9
    crf_size_ratio: float | int = 1
    crf_compat: bool = True
    inference_network: str | None = None
    flip_test: bool = False
    mask_thresholds: list | tuple = (0.1, 0.1, 0.1)
    train_margin_rate: list | tuple = (0.0, 1.2)
    test_margin_rate: float | int = 0.6

    def __post_init__(self, **kwargs: Any) -> None:
        """Let the teacher answer where there is one."""
        if self.inference_network is None:
            self.inference_network = "teacher" if self.use_teacher else "student"
        super().__post_init__(**kwargs)

    def validate_encoder(self) -> None:
        """Refuse crops that cannot be cut into tokens, and stages that the encoder does not have."""
        patch, depth = self.encoder_config.patch_size, self.encoder_config.num_hidden_layers
        if self.image_size <= 0 or self.image_size % patch:
            raise ValueError(f"crop size must be square and a multiple of {patch}, got image_size {self.image_size}")
        if self.frozen_stages is not None and (len(self.frozen_stages) != 2 or self.frozen_stages[1] > depth):
            raise ValueError(
                f"frozen_stages must be [first, last] with last at most {depth}, got {self.frozen_stages}"
            )

    def validate_decoder(self) -> None:
        """Refuse a V head that would never enlarge its map, and size bounds that make no three buckets."""
        if self.mask_head_num_layers <= UPSAMPLE_BEFORE_LAYER:
            raise ValueError(
                f"mask_head_num_layers must be at least {UPSAMPLE_BEFORE_LAYER + 1}, because the map is enlarged "
                f"before the fourth layer, got {self.mask_head_num_layers}"
            )
        for name in ("mask_head_hidden_size", "mask_embed_size", "mask_upsample_ratio", "single_scale_ratio"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if len(self.size_bounds) != 2 or not 0 < self.size_bounds[0] < self.size_bounds[1]:
            raise ValueError(f"size_bounds must be two rising areas, got {self.size_bounds}")
        if len(self.mask_thresholds) not in (1, 3) or not all(0 <= value < 1 for value in self.mask_thresholds):
            raise ValueError(
                f"mask_thresholds must be one number or three (small, medium, large boxes) in [0, 1), got "
                f"{self.mask_thresholds}"
            )

    def validate_margins(self) -> None:
        """Refuse margins that would cut boxes smaller."""
        if len(self.train_margin_rate) != 2 or not 0 <= self.train_margin_rate[0] <= self.train_margin_rate[1]:
            raise ValueError(
                f"train_margin_rate must be two margins, not negative and rising, got {self.train_margin_rate}"
            )
        if self.test_margin_rate < 0:
            raise ValueError(f"test_margin_rate must not be negative, got {self.test_margin_rate}")

    def validate_networks(self) -> None:
        """Refuse a model without networks, and an answer from one that it does not hold."""
        if not self.use_student and not self.use_teacher:
            raise ValueError("use_student and use_teacher are both false: the model would hold no network")
        for name, known in (
            ("inference_network", NETWORKS),
            ("teacher_init", TEACHER_STARTS),
            ("loss_warmup_scope", WARMUP_SCOPES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {getattr(self, name)!r}")
        lacking = self.missing_network(self.inference_network)
        if lacking is not None:
            raise ValueError(
                f"inference_network {self.inference_network!r} needs the {lacking}, but use_{lacking} is false"
            )
        if not 0 <= self.teacher_momentum <= 1:
            raise ValueError(f"teacher_momentum must be in [0, 1], got {self.teacher_momentum}")

    def validate_losses(self) -> None:
        """Refuse settings of losses and mean field outside their ranges; warn of windows that the formula breaks."""
        for name in (
            "loss_mil_weight",
            "loss_crf_weight",
            "loss_mil_warmup_steps",
            "loss_crf_warmup_steps",
            "crf_num_iterations",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.crf_kernel_size < 1 or self.crf_kernel_size % 2 == 0:
            raise ValueError(f"crf_kernel_size must be odd and positive, got {self.crf_kernel_size}")
        if not 0 < self.crf_low < 0.5 < self.crf_high < 1:
            raise ValueError(
                f"crf_low and crf_high must be 0 < low < 0.5 < high < 1, got {self.crf_low} and {self.crf_high}"
            )
        if self.crf_zeta <= 0 or self.crf_size_ratio <= 0:
            raise ValueError(
                f"crf_zeta and crf_size_ratio must be positive, got {self.crf_zeta} and {self.crf_size_ratio}"
            )
        if self.crf_compat and self.crf_kernel_size > 3:
            logger.warning(
                "crf_kernel_size %d with crf_compat can turn all of a mask into background; use crf_compat=False",
                self.crf_kernel_size,
            )

    def missing_network(self, network: str) -> str | None:
        """Give the network that `network` ("student", "teacher", "mixed") needs and the model lacks, or None."""
        if network in ("student", "mixed") and not self.use_student:
            return "student"
        return "teacher" if network in ("teacher", "mixed") and not self.use_teacher else None


MalConfig.presets = {
    f"mal-{name}{suffix}": {"encoder_config": size | embedding}
    for suffix, embedding in (("", {}), ("-convstem", {"patch_embed_type": "conv_stem"}))
    for name, size in VisionTransformerConfig.presets.items()
}
