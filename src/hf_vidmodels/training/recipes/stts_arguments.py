"""The arguments of the STTS recipe, and what of the run they describe: model, processor, augmentation."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...configuration.configuration_stts import SttsConfig
from ...data.unreadable_videos import DEFAULT_SHARE
from ...processing.processing_stts import SttsVideoProcessor
from ..arguments import CommonSchedule, TrainingArguments, argument
from ..augmentation.clip_augmentation import ClipAugmentation
from ..augmentation.clip_mixing import ClipMixing
from ..augmentation.video_rand_augment import GREATEST_MAGNITUDE, VideoRandAugment
from ..sections import MODEL, PROCESSOR

SCORERS_FIRST, STEPPED_COSINE = "scorers_first", "stepped_cosine"
FULL_STAGE, SELECTION_STAGE = "full", "selection"


@dataclass
class SttsArguments(TrainingArguments):
    """Arguments of the STTS recipe."""

    sections: ClassVar = {MODEL: SttsConfig, PROCESSOR: SttsVideoProcessor}
    default_preset: ClassVar = "mvit-b-16x4-t0.9-s0.9"

    lr_scheduler_type: Literal["scorers_first", "stepped_cosine", CommonSchedule] = argument(
        SCORERS_FIRST,
        "Course of the learning rate. scorers_first (MViT's recipe): scorers fall by a half cosine from their peak to "
        "final_learning_rate; all else rests until following_start_epoch and then has the same rate, but at most "
        "following_learning_rate. stepped_cosine (Video Swin's): a half cosine to 0 that changes every epoch, after "
        "warmup_epochs. The others are those of all recipes.",
        group="optimisation",
    )
    model_name_or_path: str | None = argument(
        None,
        "Start from the weights of this STTS model (folder or Hub id), such as the full network; scorers may be new, "
        "and the classifier when the classes differ. What is new is printed.",
    )
    media_dir: str | None = argument(
        None, "Folder of the videos of a published list; by default found under data_dir.", changes_result=False
    )
    skip_missing_files: bool = argument(False, "Leave out videos of a published list that are not there.")
    max_unreadable_share: float = argument(
        DEFAULT_SHARE, "Share of the videos that may be unreadable before the run stops.", changes_result=False
    )

    gradient_checkpointing: bool = argument(
        False, "Compute blocks again in the backward pass instead of keeping them.", changes_result=False
    )

    scorer_lr_multiplier: float = argument(1.0, "Learning rate of the scorers, as a multiple of learning_rate.")
    backbone_lr_multiplier: float = argument(
        1.0, "The same for all but scorers and classifier; not with scorers_first."
    )
    following_learning_rate: float = argument(1e-5, "scorers_first: greatest rate of all but the scorers.")
    following_start_epoch: float = argument(3.0, "scorers_first: epochs in which only the scorers learn.")
    final_learning_rate: float = argument(1e-6, "scorers_first: rate that the scorers end with.")
    warmup_epochs: float = argument(0.8, "stepped_cosine: epochs in which the rate rises.")
    warmup_start: float = argument(0.1, "stepped_cosine: share of the rate that the rise begins with.")

    training_temporal_keep_ratios: list[float] | None = argument(
        None,
        "Share of the frames that is kept in training, by default what the model keeps afterwards. With a smaller one "
        "more depends on each choice, so that scorers learn more from a clip. For learned selection; the other modes "
        "have no scorers.",
    )
    training_spatial_keep_ratios: list[float] | None = argument(None, "The same for a frame's tokens.")
    rand_augment_operations: int = argument(0, "Operations of RandAugment on a clip; 0: none.")
    rand_augment_magnitude: float = argument(7.0, "Mean strength of these, 0 to 10.")
    rand_augment_std: float = argument(0.5, "Deviation of the strength.")
    rand_augment_probability: float = argument(0.5, "Chance that a drawn operation is applied.")
    crop_scale: list[float] | None = argument(
        None, "Least and greatest share of the picture in a random crop; none: the middle crop."
    )
    flip_probability: float = argument(0.5, "Chance of a horizontal flip.")
    erase_probability: float = argument(0.0, "Chance that a box of the clip is overwritten by noise.")
    repeated_augmentation: int = argument(1, "Augmented copies of each clip in a batch.")
    mixup_alpha: float = argument(0.0, "Parameter of MixUp's Beta distribution; 0: no MixUp.")
    cutmix_alpha: float = argument(0.0, "The same of CutMix; with both each batch takes one of them.")
    label_smoothing_factor: float = argument(0.0, "Share of a target that is spread over all classes.")

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        self.require(self.learning_rate > 0, "learning_rate", "must be positive")
        self.require(self.scorer_lr_multiplier > 0, "scorer_lr_multiplier", "must be positive")
        self.require(self.backbone_lr_multiplier > 0, "backbone_lr_multiplier", "must be positive")
        for name in ("following_learning_rate", "following_start_epoch", "final_learning_rate", "warmup_epochs"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")
        for name in ("mixup_alpha", "cutmix_alpha", "rand_augment_operations", "rand_augment_std"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")
        for name in ("flip_probability", "erase_probability", "rand_augment_probability", "max_unreadable_share"):
            self.require(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
        self.require(0 <= self.warmup_start <= 1, "warmup_start", "must be in [0, 1]")
        self.require(0 <= self.label_smoothing_factor < 1, "label_smoothing_factor", "must be at least 0 and below 1")
        self.require(self.repeated_augmentation >= 1, "repeated_augmentation", "must be at least 1")
        self.require(
            0 <= self.rand_augment_magnitude <= GREATEST_MAGNITUDE, "rand_augment_magnitude", "must be from 0 to 10"
        )
        scale = self.crop_scale
        self.require(
            scale is None or (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1),
            "crop_scale",
            "must be two ascending shares in (0, 1]",
        )

    def check_contradictions(self) -> None:
        """Refuse fields without effect."""
        super().check_contradictions()
        trains_full = any(stage.get("name") == FULL_STAGE for stage in self.stages or [])
        is_own = self.lr_scheduler_type in (SCORERS_FIRST, STEPPED_COSINE)
        for wrong, sentence in (
            (
                is_own and (self.warmup_steps or self.warmup_ratio),
                f"lr_scheduler_type {self.lr_scheduler_type} takes no warmup_steps and no warmup_ratio.",
            ),
            (
                self.lr_scheduler_type == SCORERS_FIRST and self.backbone_lr_multiplier != 1,
                "backbone_lr_multiplier has no effect with scorers_first: give following_learning_rate.",
            ),
            (
                trains_full and self.model.get("selection_mode") == "none",
                f"model.selection_mode none always trains the full network, and stages lists {FULL_STAGE} as well: "
                "give --stages none.",
            ),
            (
                trains_full and self.model_name_or_path,
                f"model_name_or_path gives a full network, and stages trains one ({FULL_STAGE}): give --stages none.",
            ),
        ):
            if wrong:
                raise ValueError(sentence)

    def training_config(self, config: SttsConfig) -> SttsConfig:
        """Give the configuration with which a model of `config` learns to select: itself, or one that keeps less.

        Raises:
            ValueError: for shares of training that do not fit the model, or keep more than it does.
        """
        if config.selection_mode != "learned":
            return config
        changes = {}
        for name in ("temporal_keep_ratios", "spatial_keep_ratios"):
            if (ratios := getattr(self, f"training_{name}")) is not None:
                kept = list(getattr(config, name))
                fits = len(ratios) == len(kept) and all(
                    0 < less <= more for less, more in zip(ratios, kept, strict=True)
                )
                self.require(fits, f"training_{name}", f"must be positive and at most {kept}, which the model keeps")
                changes[name] = ratios
        return SttsConfig.from_dict(config.to_dict() | changes) if changes else config

    def augmentation(self, processor: SttsVideoProcessor) -> ClipAugmentation:
        """Say how training clips are made for a processor's model."""
        rand_augment = None
        if self.rand_augment_operations:
            rand_augment = VideoRandAugment(
                self.rand_augment_operations,
                self.rand_augment_magnitude,
                self.rand_augment_std,
                self.rand_augment_probability,
            )
        return ClipAugmentation(
            size=processor.picture_size,
            mean=tuple(processor.image_mean),
            std=tuple(processor.image_std),
            rand_augment=rand_augment,
            crop_scale=None if self.crop_scale is None else tuple(self.crop_scale),
            short_side=processor.size["shortest_edge"],
            flip_probability=self.flip_probability,
            erase_probability=self.erase_probability,
            repeats=self.repeated_augmentation,
        )

    def mixing(self) -> ClipMixing:
        """Say how the clips of a batch are mixed."""
        return ClipMixing(self.mixup_alpha, self.cutmix_alpha, self.label_smoothing_factor)
