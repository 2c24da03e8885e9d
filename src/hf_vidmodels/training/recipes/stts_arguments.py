"""The arguments of the STTS recipe."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...configuration.configuration_stts import SttsConfig
from ...processing.processing_stts import SttsVideoProcessor
from ..arguments import CommonSchedule, argument
from ..sections import MODEL, PROCESSOR
from .video_classification import VideoClassificationArguments

SCORERS_FIRST, STEPPED_COSINE = "scorers_first", "stepped_cosine"
FULL_STAGE, SELECTION_STAGE = "full", "selection"


@dataclass
class SttsArguments(VideoClassificationArguments):
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

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        self.require(self.learning_rate > 0, "learning_rate", "must be positive")
        self.require(self.scorer_lr_multiplier > 0, "scorer_lr_multiplier", "must be positive")
        self.require(self.backbone_lr_multiplier > 0, "backbone_lr_multiplier", "must be positive")
        for name in ("following_learning_rate", "following_start_epoch", "final_learning_rate", "warmup_epochs"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")
        self.require(0 <= self.warmup_start <= 1, "warmup_start", "must be in [0, 1]")

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
