"""How the toy method is trained: cross entropy on pictures as they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ...configuration.configuration_mean_color import MeanColorConfig
from ...data.corpora import load_corpus
from ...evaluation.evaluation import Evaluation
from ...evaluation.image_classification_evaluation import evaluate_image_classifier
from ...modeling.modeling_mean_color import MeanColorForImageClassification
from ...processing.processing_mean_color import MeanColorImageProcessor
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..recipe import Progress, Recipe
from ..stage_plan import Stage


class PreparedPictures(Dataset):
    """Pictures with their classes, asked for by `(epoch, index)`."""

    def __init__(self, pictures: Any, processor: MeanColorImageProcessor) -> None:
        self.pictures, self.processor = pictures, processor

    def __len__(self) -> int:
        """Give the number of pictures."""
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Give one picture as `pixel_values` (3, H, W), and its class."""
        example = self.pictures[key[1]]
        return {"pixel_values": self.processor(example["image"])["pixel_values"][0], "labels": example["label"]}


class MeanColorRecipe(Recipe):
    """Trains the toy in one stage."""

    method = "mean_color"
    task = "image-classification"

    def stages(self) -> list[Stage]:
        """One stage."""
        return [Stage("train")]

    def prepare_data(self) -> None:
        """Load the corpus."""
        self.corpus = load_corpus(self.args.dataset_name, data_dir=self.args.data_dir, task=self.task)
        self.eval_split = choose_eval_split(self.args, self.corpus)

    def build_model(self) -> MeanColorForImageClassification:
        """Make a model of the corpus' classes."""
        names = self.corpus[TRAIN_SPLIT].features["label"].names
        config = MeanColorConfig(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
        self.processor = MeanColorImageProcessor.from_config(config)
        return MeanColorForImageClassification(config)

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give the training pictures."""
        return PreparedPictures(self.corpus[TRAIN_SPLIT], self.processor)

    def step(
        self, module: nn.Module, batch: dict[str, torch.Tensor], progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the model's own loss."""
        return module(**batch).loss, {}

    def evaluate(self, model: MeanColorForImageClassification, stage_index: int, *, final: bool) -> Evaluation:
        """Score the evaluation pictures."""
        return evaluate_image_classifier(
            model,
            self.processor,
            self.corpus[self.eval_split],
            split=self.eval_split,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
            is_final=final,
        )
