"""What recipes of classifiers share, of videos and of pictures: the arguments of start, augmentation and mixing, and a
recipe that loads a corpus, makes the model for its classes and trains it by the model's own loss.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ...data.contracts import class_names_of
from ...data.corpora import load_corpus
from ...evaluation.class_scores import require_labels
from ...processing.spatial_crops import output_size
from ..arguments import TrainingArguments, argument
from ..augmentation.clip_augmentation import ClipAugmentation
from ..augmentation.clip_mixing import ClipMixing
from ..augmentation.video_rand_augment import GREATEST_MAGNITUDE, VideoRandAugment
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..initial_weights import take_weights
from ..recipe import Progress, Recipe
from ..sections import PROCESSOR
from ..stage_plan import Stage

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass
class ClassificationArguments(TrainingArguments):
    """Arguments of all classifiers; an example is a clip or a picture."""

    model_name_or_path: str | None = argument(
        None,
        "Start from the weights of this model of the same method, or of a plain network that is its backbone "
        "(folder or Hub id). The classifier starts afresh when the classes differ. What is new is printed.",
    )
    gradient_checkpointing: bool = argument(
        False, "Compute blocks again in the backward pass instead of keeping them.", changes_result=False
    )
    rand_augment_operations: int = argument(0, "Operations of RandAugment on an example; 0: none.")
    rand_augment_magnitude: float = argument(7.0, "Mean strength of these, 0 to 10.")
    rand_augment_std: float = argument(0.5, "Deviation of the strength.")
    rand_augment_probability: float = argument(0.5, "Chance that a drawn operation is applied.")
    crop_scale: list[float] | None = argument(
        None, "Least and greatest share of the picture in a random crop; none: the middle crop."
    )
    flip_probability: float = argument(0.5, "Chance of a horizontal flip.")
    erase_probability: float = argument(0.0, "Chance that a box of the example is overwritten by noise.")
    repeated_augmentation: int = argument(1, "Augmented copies of each example in a batch.")
    mixup_alpha: float = argument(0.0, "Parameter of MixUp's Beta distribution; 0: no MixUp.")
    cutmix_alpha: float = argument(0.0, "The same of CutMix; with both each batch takes one of them.")
    label_smoothing_factor: float = argument(0.0, "Share of a target that is spread over all classes.")

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        for name in ("mixup_alpha", "cutmix_alpha", "rand_augment_operations", "rand_augment_std"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")
        for name in ("flip_probability", "erase_probability", "rand_augment_probability"):
            self.require(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
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

    def augmentation(self, processor: Any) -> ClipAugmentation:
        """Say how training examples are made for a processor's model.

        Raises:
            ValueError: the processor makes pictures of no fixed size.
        """
        rand_augment = None
        if self.rand_augment_operations:
            rand_augment = VideoRandAugment(
                self.rand_augment_operations,
                self.rand_augment_magnitude,
                self.rand_augment_std,
                self.rand_augment_probability,
            )
        return ClipAugmentation(
            size=output_size(processor),
            mean=tuple(processor.image_mean),
            std=tuple(processor.image_std),
            rand_augment=rand_augment,
            crop_scale=None if self.crop_scale is None else tuple(self.crop_scale),
            short_side=processor.size.shortest_edge,
            flip_probability=self.flip_probability,
            erase_probability=self.erase_probability,
            repeats=self.repeated_augmentation,
        )

    def mixing(self) -> ClipMixing:
        """Say how the examples of a batch are mixed."""
        return ClipMixing(self.mixup_alpha, self.cutmix_alpha, self.label_smoothing_factor)


class ClassificationRecipe(Recipe):
    """Trains a classifier in one stage.

    A subclass sets `method`, `task`, `arguments_class` with both sections, and `model_class`; its processor has
    `from_config(config, **overrides)`. The model takes `pixel_values` and `labels` and answers with its loss, as
    `ops.classification_loss` gives it: of class ids, of target probabilities (B, C) where examples are mixed or labels
    smoothed, or of several classes (B, C) where its `problem_type` says so. The corpus decides that, by its labels.

    Attributes:
        model_class: made from the configuration that the section `model` gives.
        new_modules: first parts of the names of weights that the model at `model_name_or_path` may lack.
        backbone_classes: classes of other methods by `model_type` whose backbone may be started from.
        config: of the model; set by `build_model`.
        train: the training split; set by `prepare_data`.
        evaluation: the split that is evaluated, or None.
        eval_split: its name.
        multi_label: whether examples have several classes.
    """

    arguments_class = ClassificationArguments
    args: ClassificationArguments
    model_class: ClassVar[type[PreTrainedModel]]
    new_modules: ClassVar[tuple[str, ...]] = ()
    backbone_classes: ClassVar[Mapping[str, type[PreTrainedModel]]] = {}

    def prepare_data(self) -> None:
        """Load the corpus and check that every example has its classes.

        Raises:
            ValueError: for missing splits or labels, and for mixing or smoothing of examples with several classes.
        """
        args = self.args
        corpus = self.read_corpus()
        self.eval_split = choose_eval_split(args, corpus)
        self.train = corpus[TRAIN_SPLIT]
        self.evaluation = None if self.eval_split is None else corpus[self.eval_split]
        self.mixing = args.mixing()
        self.multi_label = not hasattr(self.train.features["label"], "num_classes")
        if self.multi_label and self.mixing.is_active:
            raise ValueError(
                f"{args.dataset_name} has examples of several classes, but mixup_alpha, cutmix_alpha and "
                "label_smoothing_factor need one class for each: set them to 0."
            )
        require_labels(self.train, TRAIN_SPLIT, multi_label=self.multi_label)
        if args.eval_strategy != "no":
            require_labels(self.evaluation, self.eval_split, multi_label=self.multi_label)

    def read_corpus(self) -> "DatasetDict":
        """Return the splits to train and to evaluate on."""
        args = self.args
        return load_corpus(args.dataset_name, data_dir=args.data_dir, task=self.task, **self.corpus_options())

    def corpus_options(self) -> dict[str, Any]:
        """Return further arguments of `load_corpus`."""
        return {}

    def build_model(self) -> PreTrainedModel:
        """Make the model from the preset, and fill it from a trained one where that is given."""
        decided = {"problem_type": "multi_label_classification"} if self.multi_label else {}
        self.config = self.args.model_config(class_names_of(self.train.features.get("label")), **decided)
        self.processor = self.args.sections[PROCESSOR].from_config(self.config, **self.args.processor)
        model = self.model_class(self.config)
        if self.args.model_name_or_path is not None:
            taken = take_weights(
                model,
                self.args.model_name_or_path,
                self.new_modules,
                self.backbone_classes,
                self.renamed_weights(),
            )
            self.accelerator.print(taken.sentence())
        if self.args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def renamed_weights(self) -> dict[str, str]:
        """Return beginnings of names of weights in a plain network, and what they are in this method's model."""
        return {}

    def stages(self) -> list[Stage]:
        """One stage."""
        return [Stage("train")]

    @abstractmethod
    def collate(self, samples: list[Any]) -> dict[str, Any]:
        """Make a batch of samples, whose first axis counts augmented copies."""

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the model's loss of one batch, mixed where that is asked for."""
        examples, labels = self.mixed(batch)
        return module(pixel_values=examples, labels=labels, **self.forward_options(progress)).loss, {}

    def mixed(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the examples and labels of a batch, mixed where that is asked for."""
        examples, labels = batch["pixel_values"], batch["labels"]
        if not self.mixing.is_active:
            return examples, labels
        # The library's generator was seeded for this batch.
        generator = np.random.default_rng(np.random.randint(2**31))
        return self.mixing(examples, labels, self.config.num_labels, generator)

    def forward_options(self, progress: Progress) -> dict[str, Any]:
        """Return further arguments of the model's forward pass, such as what follows from the share of training."""
        return {}


def join_copies(batch: dict[str, Any]) -> dict[str, Any]:
    """Put the augmented copies of examples side by side: `pixel_values` (B, R, ...) and `labels` (B, ...) to B * R."""
    repeats = batch["pixel_values"].shape[1]
    joined = {**batch, "pixel_values": batch["pixel_values"].flatten(0, 1)}
    if "labels" in batch:
        joined["labels"] = batch["labels"].repeat_interleave(repeats, dim=0)
    return joined
