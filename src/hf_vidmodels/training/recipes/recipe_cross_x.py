"""How Cross-X is trained: by the sum of its heads' logits and its two regularisers, in one stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ...configuration.configuration_cross_x import CrossXConfig
from ...data.arrow_columns import arrow_column
from ...evaluation.evaluation import Evaluation
from ...evaluation.part_figures import PARTS_STEM, draw_parts_of
from ...modeling.modeling_cross_x import CrossXForImageClassification, CrossXOutput
from ...processing.processing_cross_x import CrossXImageProcessor
from ..arguments import argument
from ..augmentation.resized_crops import ResizedCropAugmentation
from ..recipe import Progress
from ..sections import MODEL, PROCESSOR
from .class_balance import BalancedSampler
from .classification import ClassificationArguments
from .image_classification import ImageClassificationRecipe

LOSS_PARTS = ("ce", "c3s_ultimate", "c3s_penultimate", "c3s_merged", "cross_layer")


@dataclass
class CrossXArguments(ClassificationArguments):
    """Arguments of the Cross-X recipe."""

    sections: ClassVar = {MODEL: CrossXConfig, PROCESSOR: CrossXImageProcessor}
    default_preset: ClassVar = "cross_x_resnet50_cub"

    class_balanced: bool = argument(
        False,
        "Show the pictures of all classes equally often. An epoch has as many pictures as before; of a small class "
        "they come again.",
    )

    def augmentation(self, processor: CrossXImageProcessor) -> ResizedCropAugmentation:
        """Say how training pictures are made: where no `crop_scale` is given, by random crops at the processor's size.

        Raises:
            ValueError: the processor does not resize both sides to one size that holds its crop.
        """
        size = processor.size
        if not (size.height and size.width):
            raise ValueError(f"size of the processor must be a height and a width, got {dict(size)}")
        resized = (size.height, size.width)
        plain = super().augmentation(processor)
        if resized[0] < plain.size[0] or resized[1] < plain.size[1]:
            raise ValueError(f"size {resized} of the processor is below its crop_size {plain.size}; give a larger one")
        settings = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
        return ResizedCropAugmentation(**settings, resized=resized)


class CrossXRecipe(ImageClassificationRecipe):
    """Trains a Cross-X network, or a plain trunk where it has one part."""

    method = "cross_x"
    arguments_class = CrossXArguments
    model_class = CrossXForImageClassification
    args: CrossXArguments

    def train_dataloader(self, stage_index: int) -> DataLoader:
        """Give the pictures in random order, or those of all classes in turn."""
        loader = super().train_dataloader(stage_index)
        if not self.args.class_balanced:
            return loader
        sampler = BalancedSampler(arrow_column(self.train, "label").to_pylist(), self.args.seed)
        return DataLoader(
            loader.dataset,
            batch_size=loader.batch_size,
            sampler=sampler,
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
            persistent_workers=loader.persistent_workers,
            pin_memory=loader.pin_memory,
            drop_last=loader.drop_last,
        )

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the loss of one batch, and its parts to log."""
        pictures, labels = self.mixed(batch)
        output: CrossXOutput = module(pixel_values=pictures, labels=labels)
        return output.loss, {name: output[name].detach() for name in LOSS_PARTS if name in output}

    def evaluate(self, model: PreTrainedModel, stage_index: int, *, final: bool) -> Evaluation:
        """Classify the evaluation pictures; at the end also draw what the parts see."""
        evaluation = super().evaluate(model, stage_index, final=final)
        if final and self.accelerator.is_main_process and model.config.has_parts:
            title = f"{self.eval_split} pictures and what their {model.config.num_parts} parts see"
            evaluation.figures[PARTS_STEM] = draw_parts_of(model, self.processor, self.evaluation, self.train, title)
        return evaluation
