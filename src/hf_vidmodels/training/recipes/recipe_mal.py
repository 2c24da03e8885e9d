"""How MAL is trained: student and teacher in one model, one crop per annotated box and epoch.

Lan et al., CVPR 2023; schedule and constants of the official code (commit 0ab9be4). True masks are read by evaluation
alone. The teacher is part of the module in training, so that checkpoints hold it; the finished run keeps the network
that answers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset, default_collate

from ...configuration.configuration_mal import NETWORKS, MalConfig
from ...conversion.vit_weights import load_encoder_weights
from ...data.corpora import load_corpus
from ...data.instances.mask_corpora import MASK_TASK
from ...evaluation.evaluation import Evaluation
from ...evaluation.mask_evaluation import evaluate_masks, require_true_masks
from ...modeling.modeling_base import refuse_random_weights
from ...modeling.modeling_mal import MalForMaskLabeling
from ...processing.processing_mal import MalImageProcessor
from ..arguments import CommonSchedule, TrainingArguments, argument
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..recipe import Progress, Recipe
from ..sections import MODEL
from ..stage_plan import Stage
from .mal_crops import MalTrainingCrops, select_boxes

OWN_SCHEDULE = "warmup_cosine_waves"


@dataclass
class MalArguments(TrainingArguments):
    """Arguments of the MAL recipe."""

    sections: ClassVar = {MODEL: MalConfig}
    default_preset: ClassVar = "mal-vit-mae-base"

    lr_scheduler_type: Literal["warmup_cosine_waves", CommonSchedule] = argument(
        OWN_SCHEDULE,
        "Course of the learning rate. warmup_cosine_waves rises over warmup_epochs from 0 to the peak, then follows "
        "num_lr_waves half waves of a cosine down to min_lr_share of it; the others are those of all recipes.",
        group="optimisation",
    )
    warmup_epochs: float = argument(1.0, "Epochs in which warmup_cosine_waves rises.")
    min_lr_share: float = argument(0.2, "Lowest rate of warmup_cosine_waves after its rise, as a share of the peak.")
    num_lr_waves: float = argument(1.0, "Half waves of warmup_cosine_waves.")
    model_name_or_path: str | None = argument(
        None, "Go on from a MAL checkpoint (folder or Hub id) instead of a preset; a network it lacks is copied."
    )
    encoder_weights: str | None = argument(
        None,
        "Published ViT weights to start the encoder from: a weight file, or a folder or Hub id of transformers. none: "
        "it starts at random.",
    )
    kept_networks: Literal["inference", "both"] = argument(
        "inference", "Networks that the finished run holds: the one that answers, or student and teacher."
    )
    min_train_area: float = argument(2048.0, "Boxes up to this many square pixels are not trained on.")
    skip_crowds: bool = argument(False, "Leave out annotations of groups (iscrowd) in training.")
    augment: bool = argument(True, "Change colour and sharpness of what the student sees.")
    gradient_checkpointing: bool = argument(
        False, "Compute blocks again in the backward pass instead of keeping them.", changes_result=False
    )

    def check_ranges(self) -> None:
        """Refuse rates outside their ranges."""
        super().check_ranges()
        self.require(0 <= self.min_lr_share <= 1, "min_lr_share", "must be in [0, 1]")
        for name in ("warmup_epochs", "num_lr_waves", "min_train_area"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")

    def check_contradictions(self) -> None:
        """Refuse what the method has an answer of its own for."""
        super().check_contradictions()
        if self.ema_decay is not None:
            raise ValueError("ema_decay has no use here: the teacher is the average (teacher_momentum).")
        if self.model_name_or_path is not None and self.encoder_weights is not None:
            raise ValueError("model_name_or_path and encoder_weights exclude each other: the model has an encoder.")
        if self.lr_scheduler_type == OWN_SCHEDULE and (self.warmup_steps or self.warmup_ratio):
            raise ValueError(f"lr_scheduler_type {OWN_SCHEDULE} warms up by warmup_epochs, not by steps or a ratio.")


class MalRecipe(Recipe):
    """Trains the student by gradients and moves the teacher after it."""

    method = "mal"
    task = MASK_TASK
    arguments_class = MalArguments
    args: MalArguments

    def prepare_data(self) -> None:
        """Load the corpus and choose the boxes to train on.

        Raises:
            ValueError: for missing splits, no box to train on, or no true masks to evaluate with.
        """
        corpus = load_corpus(self.args.dataset_name, data_dir=self.args.data_dir, task=self.task)
        self.eval_split = choose_eval_split(self.args, corpus)
        self.train, self.evaluation = corpus[TRAIN_SPLIT], None
        if self.args.eval_strategy != "no":
            self.evaluation = corpus[self.eval_split]
            require_true_masks(self.evaluation, self.eval_split)

    def build_model(self) -> MalForMaskLabeling:
        """Make student and teacher: from a preset, with a published encoder, or from a checkpoint of MAL."""
        if self.args.model_name_or_path is not None:
            model = MalForMaskLabeling.from_pretrained(
                self.args.model_name_or_path, use_student=True, use_teacher=True, **self.args.model_settings
            )
            refuse_random_weights(model.random_weights, self.args.model_name_or_path)
        else:
            model = MalForMaskLabeling(self.args.model_config())
        if self.args.encoder_weights is not None:
            self.accelerator.print(f"{load_encoder_weights(model, self.args.encoder_weights)}.")
        if self.args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        self.processor = MalImageProcessor.from_config(model.config)
        self.processor.min_train_area = self.args.min_train_area
        self.table = select_boxes(
            self.train,
            min_area=self.args.min_train_area,
            min_side=self.processor.min_side,
            skip_crowds=self.args.skip_crowds,
        )
        for rule, count in self.table.dropped.items():
            self.accelerator.print(f"{count} boxes are not trained on: they have {rule}.")
        return model

    def stages(self) -> list[Stage]:
        """One stage; student and teacher go together."""
        return [Stage("self_training")]

    def start_stage(self, model: MalForMaskLabeling, stage_index: int) -> nn.Module:
        """Train the whole model, of which only the student has gradients."""
        self.model = model
        return model

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give one crop per box."""
        return MalTrainingCrops(self.train, self.table, self.processor, self.args.seed, self.args.augment)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Stack crops; boxes stay numbers on the host, where the model sorts them into size buckets."""
        batch = default_collate([{key: value for key, value in one.items() if key != "box"} for one in samples])
        return {**batch, "boxes": [one["box"].tolist() for one in samples]}

    def make_scheduler(
        self, optimizer: Optimizer, stage_index: int, total_steps: int, steps_per_epoch: float
    ) -> LRScheduler:
        """Return the official course of the learning rate, unless another one is asked for.

        As in the official code a step has the rate that was due one step before it; unlike there, the first has rate 0
        instead of the peak (its losses are switched off by their warm-up).
        """
        if self.args.lr_scheduler_type != OWN_SCHEDULE:
            return super().make_scheduler(optimizer, stage_index, total_steps, steps_per_epoch)
        return LambdaLR(
            optimizer,
            lambda step: learning_rate_share(
                max(step - 1, 0) / steps_per_epoch,
                num_epochs=total_steps / steps_per_epoch,
                warmup_epochs=self.args.warmup_epochs,
                min_share=self.args.min_lr_share,
                num_waves=self.args.num_lr_waves,
            ),
        )

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the weighted loss of the student, its terms and the share of pixels in the refined masks."""
        output = module(
            pixel_values=self.processor.normalize_crops(batch["student_crop"]),
            teacher_pixel_values=self.processor.normalize_crops(batch["teacher_crop"]),
            box_mask=batch["box_mask"],
            boxes=batch["boxes"],
            loss_step=progress.step,
            epoch=progress.epoch,
        )
        terms = {
            "loss_mil": output["loss_mil"].detach(),
            "loss_crf": output["loss_crf"].detach(),
            "refined_share": output["refined_masks"].mean(),
        }
        return output["loss"], terms

    def after_step(self, module: nn.Module, progress: Progress) -> None:
        """Move the teacher."""
        self.model.update_teacher()

    def finish_stage(self, model: MalForMaskLabeling, stage_index: int) -> None:
        """Keep the network that answers."""
        answering = model.config.inference_network
        if self.args.kept_networks == "inference" and answering in NETWORKS[:2]:
            model.drop_network("student" if answering == "teacher" else "teacher")

    def evaluate(self, model: MalForMaskLabeling, stage_index: int, *, final: bool) -> Evaluation:
        """Label the evaluation pictures from their boxes and compare with the true masks."""
        return evaluate_masks(
            model,
            self.processor,
            self.evaluation,
            split=self.eval_split,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
            is_final=final,
        )

    def sample_names(self, stage_index: int, items: Sequence[Any]) -> list[str]:
        """Name samples by their annotation ids."""
        return [f"annotation {self.table.ids[index]}" for _, index in items]


def learning_rate_share(
    epoch: float, *, num_epochs: float, warmup_epochs: float, min_share: float, num_waves: float
) -> float:
    """Give the learning rate over its peak: a linear rise, then cosine waves between the peak and `min_share` of it.

    Args:
        epoch: epochs done, with their fraction.
        num_epochs: of the whole run.
        warmup_epochs: of the rise.
        min_share: lowest share after it.
        num_waves: half waves until the end.
    """
    if epoch < warmup_epochs:
        return epoch / warmup_epochs
    length = max(num_epochs - warmup_epochs, 1e-9)
    return min_share + (1 - min_share) * 0.5 * (1 + math.cos(math.pi * num_waves * (epoch - warmup_epochs) / length))
