"""The arguments of Semiformer's recipe. Defaults are those of the official scripts (commit 0e3b5be), where they have
one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ...configuration.configuration_semiformer import SemiformerConfig
from ...processing.processing_semiformer import RESIZE_RATIO, SemiformerImageProcessor
from ...processing.spatial_crops import output_size
from ..arguments import CommonSchedule, argument
from ..augmentation.picture_rand_augment import FixMatchAugment, PictureRandAugment
from ..augmentation.picture_views import PictureViews
from ..sections import MODEL, PROCESSOR
from .classification import ClassificationArguments

SUPERVISED, SEMI_SUPERVISED = "supervised", "semi_supervised"
BY_EPOCH, BY_STEP = "cosine_by_epoch", "cosine_by_step"
_CHOICES = ("labelled_list", "labels_per_class", "labelled_share")


@dataclass
class SemiformerArguments(ClassificationArguments):
    """Arguments of the Semiformer recipe."""

    sections: ClassVar = {MODEL: SemiformerConfig, PROCESSOR: SemiformerImageProcessor}
    default_preset: ClassVar = "semiformer-small-patch16"

    phases: Literal["both", "supervised", "semi_supervised"] = argument(
        "both", "Learn from labelled pictures first and then from all, or do only one of the two."
    )
    labelled_fraction: float = argument(
        0.125,
        "Share of a semi-supervised batch that is labelled, rounded down; the supervised phase has labelled pictures "
        "alone.",
    )
    labelled_list: str | None = argument(
        None,
        "File that names the labelled pictures of the split train, one a line, as Semiformer publishes for ImageNet. "
        "Not given: those that have a label.",
    )
    labels_per_class: int | None = argument(
        None, "Take the first so many pictures of each class as labelled (400: CIFAR-10 with 4000 labels)."
    )
    labelled_share: float | None = argument(
        None, "Draw this share of every class as labelled; which ones follows from label_seed."
    )
    labelled_draw: Literal["stratified", "official"] = argument(
        "stratified",
        "How labelled_share is drawn. official: of all pictures in the natural order of their names, from the "
        "official code's one seed, whatever their classes.",
    )
    label_seed: int = argument(0, "Seed of that draw, apart from the run's, so that runs can share their labels.")
    exclude_labelled: bool = argument(
        False, "Leave labelled pictures out of those that are learned from without labels."
    )
    sampler: Literal["chained", "official", "official_repeated"] = argument(
        "chained",
        "Order of the pictures. chained: of either kind all come once before any comes again, over the whole stage. "
        "official: permutations that the epoch seeds, begun anew in every epoch, as published. official_repeated: the "
        "same, with labelled pictures three times in a row.",
    )
    steps_per_epoch: int | None = argument(
        None, "With sampler chained: steps in an epoch. Not given: an epoch is one pass through the labelled pictures."
    )
    views: Literal["imagenet", "small"] = argument(
        "imagenet",
        "imagenet: strong and labelled views are crops, changed by RandAugment and erased boxes. small: as for CIFAR; "
        "strong views are changed by FixMatch's operations before they are enlarged, labelled ones are shifted only.",
    )
    rand_augment_operations: int = argument(2, "Operations of RandAugment on a strong view; 0: none.")
    rand_augment_magnitude: float = argument(9.0, "With views imagenet: mean strength of these, 0 to 10.")
    crop_scale: list[float] | None = argument(
        [0.08, 1.0], "With views imagenet: least and greatest share of the picture in a strong view."
    )
    erase_probability: float = argument(0.25, "With views imagenet: chance that a box of a strong view is noise.")
    per_device_train_batch_size: int = argument(
        108, "Pictures in a training batch of one process, of both kinds together.", group="data"
    )
    learning_rate: float = argument(1e-3, "Peak learning rate.", group="optimisation")
    weight_decay: float = argument(
        0.05,
        "Weight decay of matrices and kernels; norms, biases and the class token have none.",
        group="optimisation",
    )
    lr_scheduler_type: Literal["cosine_by_epoch", "cosine_by_step", CommonSchedule] = argument(
        BY_EPOCH,
        "Course of the learning rate. cosine_by_epoch: a rise and a half cosine over all epochs of both phases, which "
        "moves once an epoch and one epoch late, as published. cosine_by_step: the same at every step. The others are "
        "those of all recipes.",
        group="optimisation",
    )
    warmup_epochs: float = argument(5.0, "Epochs of the rise of both cosines.")
    warmup_learning_rate: float = argument(1e-6, "Rate at the beginning of that rise.")
    final_learning_rate: float = argument(1e-5, "Rate at the end of both cosines.")
    average_decay: float | None = argument(
        None,
        "Also keep the published moving average (0.99996), of weights and running statistics, which is saved in "
        "averaged/ beside the weights. It labels nothing. Not given: none.",
    )
    evaluate_average: bool = argument(False, "Measure that average too, as average_top1_accuracy and so on.")
    consistency_start_epoch: int = argument(
        0, "Epochs of the semi-supervised phase before the model's consistency_loss, if it has one, begins."
    )

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        self.require(0 < self.labelled_fraction < 1, "labelled_fraction", "must be between 0 and 1")
        self.require(self.learning_rate > 0, "learning_rate", "must be positive")
        share = self.labelled_share
        self.require(share is None or 0 < share <= 1, "labelled_share", "must be above 0 and at most 1")
        for name in ("labels_per_class", "steps_per_epoch"):
            self.require(getattr(self, name) is None or getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("label_seed", "warmup_epochs", "warmup_learning_rate", "final_learning_rate"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")
        self.require(self.consistency_start_epoch >= 0, "consistency_start_epoch", "must not be negative")
        decay = self.average_decay
        self.require(decay is None or 0 < decay < 1, "average_decay", "must be between 0 and 1")

    def check_contradictions(self) -> None:
        """Refuse fields that exclude or need each other."""
        super().check_contradictions()
        chosen = [name for name in _CHOICES if getattr(self, name) is not None]
        for wrong, sentence in (
            (len(chosen) > 1, f"{' and '.join(chosen)} exclude each other: give one."),
            (
                self.ema_decay is not None and self.average_decay is not None,
                "ema_decay and average_decay are two averages: give one.",
            ),
            (
                self.evaluate_average and self.average_decay is None,
                "evaluate_average needs average_decay, or there is no average.",
            ),
            (
                self.label_smoothing_factor > 0,
                "label_smoothing_factor has no use here: the model smooths its labels (model.label_smoothing).",
            ),
            (
                self.repeated_augmentation > 1,
                "repeated_augmentation has no use here: choose sampler official_repeated.",
            ),
            (
                self.steps_per_epoch is not None and self.sampler != "chained",
                f"steps_per_epoch needs sampler chained, not {self.sampler}.",
            ),
            (
                self.lr_scheduler_type in (BY_EPOCH, BY_STEP) and (self.warmup_steps or self.warmup_ratio),
                f"lr_scheduler_type {self.lr_scheduler_type} warms up by warmup_epochs, not by steps or a ratio.",
            ),
            (self.views == "imagenet" and self.crop_scale is None, "views imagenet needs crop_scale."),
        ):
            if wrong:
                raise ValueError(sentence)

    def labelled_count(self) -> tuple[int, int]:
        """Give the labelled pictures and those without labels in a semi-supervised batch of one process.

        Raises:
            ValueError: when one of the two is 0.
        """
        size = self.per_device_train_batch_size
        labelled = int(size * self.labelled_fraction)
        if not 0 < labelled < size:
            raise ValueError(
                f"per_device_train_batch_size {size} with labelled_fraction {self.labelled_fraction} gives {labelled} "
                f"labelled pictures and {size - labelled} without labels a step; both must be at least 1."
            )
        return labelled, size - labelled

    def picture_views(self, processor: Any) -> PictureViews:
        """Say how training pictures are seen by a processor's model.

        Raises:
            ValueError: the processor makes pictures of no fixed size.
        """
        is_small, rand_augment = self.views == "small", None
        if self.rand_augment_operations and is_small:
            rand_augment = FixMatchAugment(self.rand_augment_operations)
        elif self.rand_augment_operations:
            rand_augment = PictureRandAugment(
                self.rand_augment_operations,
                self.rand_augment_magnitude,
                self.rand_augment_std,
                self.rand_augment_probability,
            )
        size = output_size(processor)
        return PictureViews(
            size=size,
            mean=tuple(processor.image_mean),
            std=tuple(processor.image_std),
            # A processor of small pictures, which enlarges them to the network's size, crops nothing itself.
            short_side=processor.size.shortest_edge or int(RESIZE_RATIO * max(size)),
            is_small=is_small,
            rand_augment=rand_augment,
            crop_scale=tuple(self.crop_scale or (1.0, 1.0)),
            flip_probability=self.flip_probability,
            erase_probability=self.erase_probability,
        )
