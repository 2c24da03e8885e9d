"""The base of recipes that train an image classifier: augmented pictures of a corpus, and its accuracies."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.utils.data import Dataset, default_collate
from transformers import PreTrainedModel

from ...data.labelled_pictures import LabelledPictures
from ...evaluation.evaluation import Evaluation
from ...evaluation.image_classification_evaluation import evaluate_image_classifier
from ..seeding import sample_generator
from .classification import ClassificationRecipe, join_copies


class ImageClassificationRecipe(ClassificationRecipe):
    """Trains a classifier of pictures (B, 3, H, W) with one class for each.

    The processor is an image processor that makes pictures of one size.
    """

    task = "image-classification"

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give augmented training pictures."""
        generator_for = partial(sample_generator, self.args.seed)
        return LabelledPictures(self.train, generator_for, self.args.augmentation(self.processor))

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        """Stack pictures; the copies of one picture stand side by side."""
        return join_copies(default_collate(samples))

    def evaluate(self, model: PreTrainedModel, stage_index: int, *, final: bool) -> Evaluation:
        """Classify the evaluation pictures."""
        return evaluate_image_classifier(
            model,
            self.processor,
            self.evaluation,
            split=self.eval_split,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
            is_final=final,
        )

    def sample_names(self, stage_index: int, items: Sequence[Any]) -> list[str]:
        """Name training pictures by their files."""
        pictures = self.train_dataset(stage_index)
        return [pictures.name(index) for _, index in items]
