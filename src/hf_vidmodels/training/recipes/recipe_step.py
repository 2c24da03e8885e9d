"""How STEP is trained: first its trunk and one head classify boxes near people, then all heads detect (Yang et al.,
CVPR 2019; official code 59da38a).

The first stage trains a view of the model: its trunk, its context network and the global branch of its first head on
one long chunk. The second begins with copies of that head in every step; classifiers and local branches start anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset

from ...configuration.configuration_step import CLASSIFICATION, StepConfig
from ...conversion.i3d_weights import load_i3d_weights
from ...data.contracts import class_names_of
from ...evaluation.evaluation import Evaluation
from ...modeling.modeling_step import StepForActionDetection
from ...processing.processing_step import StepVideoProcessor
from ..arguments import CommonSchedule, TrainingArguments, argument
from ..initial_weights import take_weights
from ..recipe import Progress
from ..sections import MODEL, PROCESSOR
from ..stage_plan import Stage
from .action_detectors import ActionDetectionRecipe
from .step_augmentation import TubeAugmentation
from .step_clips import StepTrainingClips, collate_clips_with_people
from .step_schedules import cosine_share, stepped_share

CLASSIFICATION_STAGE, DETECTION_STAGE = "classification", "detection"
COSINES, FALLS = "warm_cosines", "warm_steps"
# How far down the trunk a part lies: so often its rate is halved in the official training.
TRUNK_DEPTHS = {"conv_1a": 3, "conv_2b": 2, "conv_2c": 2, "3b": 1, "3c": 1}
BIAS_FACTOR = 2.0


@dataclass
class StepArguments(TrainingArguments):
    """Arguments of the STEP recipe."""

    sections: ClassVar = {MODEL: StepConfig, PROCESSOR: StepVideoProcessor}
    default_preset: ClassVar = "step-i3d-ava"

    lr_scheduler_type: Literal["warm_cosines", "warm_steps", CommonSchedule] = argument(
        COSINES,
        "Course of the learning rate. warm_cosines rises from a tenth of the peak over warmup_steps and then falls as "
        "a cosine, or as several (lr_cycle_ends); warm_steps falls by lr_decay_factor at the shares lr_decay_at "
        "instead; the others are those of all recipes.",
        group="optimisation",
    )
    lr_cycle_ends: list[float] = argument(
        [1.0], "With warm_cosines: shares of a stage's steps, ascending, at which a cosine ends and the next begins."
    )
    lr_cycle_decay: float = argument(1.0, "With warm_cosines: what each cosine begins at, of the one before.")
    model_name_or_path: str | None = argument(
        None,
        "Start from the weights of this STEP model of the same classes (folder or Hub id).",
    )
    i3d_weights: str | None = argument(
        None, "Start trunk, context network and the I3D blocks of all heads from this file of a Kinetics network."
    )
    trunk_lr_multiplier: float = argument(0.1, "Learning rate of the trunk's last blocks, of that of new layers.")
    blocks_lr_multiplier: float = argument(0.2, "The same of the I3D blocks in heads and context network.")
    trunk_lr_decay: float = argument(
        0.5, "What the trunk's rate is multiplied by from one group of layers to the lower."
    )
    train_batch_norms: bool = argument(
        False,
        "Let batch norms learn in the stage classification, for networks from scratch. Later they are fixed.",
    )
    color_probability: float = argument(0.5, "Chance of each change of colours.")
    random_crops: bool = argument(True, "Train on random parts of the frames.")
    flip_probability: float = argument(0.5, "Chance of a mirror.")
    erase_probability: float = argument(0.5, "Chance of patches of noise inside the boxes of people.")
    gradient_checkpointing: bool = argument(
        False, "Compute blocks again in the backward pass instead of keeping them.", changes_result=False
    )

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        for name in ("color_probability", "flip_probability", "erase_probability"):
            self.require(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
        for name in ("trunk_lr_multiplier", "blocks_lr_multiplier", "trunk_lr_decay", "lr_cycle_decay"):
            self.require(getattr(self, name) > 0, name, "must be positive")
        ends = self.lr_cycle_ends
        self.require(
            bool(ends) and ends == sorted(ends) and ends[0] > 0 and ends[-1] <= 1,
            "lr_cycle_ends",
            "must be ascending shares in (0, 1]",
        )

    def check_contradictions(self) -> None:
        """Refuse two starts, and a rise given as a share where steps are counted."""
        super().check_contradictions()
        if self.model_name_or_path is not None and self.i3d_weights is not None:
            raise ValueError("model_name_or_path and i3d_weights exclude each other: the model has a trunk.")


class StepRecipe(ActionDetectionRecipe):
    """Trains a detector in two stages, the first of which a recipe file may leave out."""

    method = "step"
    arguments_class = StepArguments
    args: StepArguments

    def stages(self) -> list[Stage]:
        """Classification where the recipe lists it, then detection."""
        return [Stage(CLASSIFICATION_STAGE, optional=True), Stage(DETECTION_STAGE)]

    def build_model(self) -> StepForActionDetection:
        """Make the model for the corpus's classes, and fill it from other weights where these are given."""
        self.config = self.args.model_config(class_names_of(self.train.features["labels"]))
        self.processor = StepVideoProcessor.from_config(self.config, **self.args.processor)
        model = StepForActionDetection(self.config)
        if self.args.model_name_or_path is not None:
            self.accelerator.print(take_weights(model, self.args.model_name_or_path, ()).sentence())
        if self.args.i3d_weights is not None:
            left = load_i3d_weights(model, self.args.i3d_weights)
            self.accelerator.print(f"Took an I3D network from {self.args.i3d_weights}, without {', '.join(left)}.")
        if self.args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def start_stage(self, model: StepForActionDetection, stage_index: int) -> nn.Module:
        """Give the view that classifies boxes, or the whole model with copies of its head in all steps."""
        model.requires_grad_(False)
        if self._classifies(stage_index):
            module = classifying_view(model, train_batch_norms=self.args.train_batch_norms)
        else:
            module = model
            if stage_index:
                spread_first_head(model)
        module.requires_grad_(True)
        module.freeze_fixed_weights()
        return module

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give the clips around annotated key times."""
        args, classifies = self.args, self._classifies(stage_index)
        return StepTrainingClips(
            self.train,
            self.processor,
            classification_config(self.config, args.train_batch_norms) if classifies else self.config,
            args.seed,
            TubeAugmentation(args.color_probability, args.random_crops, args.flip_probability, args.erase_probability),
            draws_proposals=classifies,
        )

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Stack clips and fill up people."""
        return collate_clips_with_people(samples)

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Give parts of the trunk, I3D blocks and new layers their rates; biases learn faster and do not decay."""
        groups: dict[str, dict[str, Any]] = {}
        norms = {id(part.weight) for part in module.modules() if isinstance(part, nn.BatchNorm3d)}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            part, rate = self._part_and_rate(name)
            if name.endswith(".bias"):
                part, rate = f"{part}_biases", rate * BIAS_FACTOR
            elif id(parameter) in norms:
                part = f"{part}_norms"
            group = groups.setdefault(part, {"params": [], "name": part, "lr": rate})
            group["params"].append(parameter)
            if part.endswith(("_biases", "_norms")):
                group["weight_decay"] = 0.0
        return list(groups.values())

    def _part_and_rate(self, name: str) -> tuple[str, float]:
        args, parts = self.args, name.split(".")
        if parts[0] == "backbone":
            depth = TRUNK_DEPTHS.get(parts[2], 0)
            return f"trunk{depth}", args.learning_rate * args.trunk_lr_multiplier * args.trunk_lr_decay**depth
        if "blocks" in parts and "local" not in parts:
            return "blocks", args.learning_rate * args.blocks_lr_multiplier
        return "heads", args.learning_rate

    def make_scheduler(
        self, optimizer: Optimizer, stage_index: int, total_steps: int, steps_per_epoch: float
    ) -> LRScheduler:
        """Return the official course of the learning rate, unless another one is asked for."""
        args = self.args
        warmup = args.warmup_steps or round(args.warmup_ratio * total_steps)
        if args.lr_scheduler_type not in (COSINES, FALLS):
            return super().make_scheduler(optimizer, stage_index, total_steps, steps_per_epoch)
        if warmup >= total_steps:
            raise ValueError(
                f"warmup_steps {warmup} leave nothing of the {total_steps} steps of stage "
                f"{self.plan[stage_index].name}; train longer or warm up for less"
            )
        if args.lr_scheduler_type == COSINES:
            ends = [round(share * total_steps) for share in args.lr_cycle_ends]
            return LambdaLR(
                optimizer,
                lambda step: cosine_share(step + 1, ends, warmup, args.min_lr_rate, args.lr_cycle_decay),
            )
        ends = [round(share * total_steps) for share in args.lr_decay_at]
        return LambdaLR(optimizer, lambda step: stepped_share(step + 1, ends, warmup, args.lr_decay_factor))

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the loss of the tubes that every step draws, and its parts."""
        output = module(**batch)
        return output.loss, {name: output[name] for name in ("cls_loss", "reg_loss", "neighbor_loss")}

    def evaluate(self, model: StepForActionDetection, stage_index: int, *, final: bool) -> Evaluation:
        """Score the detections of the last step; in the first stage the classes of true boxes."""
        if self._classifies(stage_index) and not final:
            model = classifying_view(model, train_batch_norms=False).eval()
        return self.score(model)

    def _classifies(self, stage_index: int) -> bool:
        return self.plan[stage_index].name == CLASSIFICATION_STAGE


def classification_config(config: StepConfig, train_batch_norms: bool) -> StepConfig:
    """Give the configuration of a model that classifies boxes on one chunk as long as the clips of `config`."""
    changes = CLASSIFICATION | {"chunk_length": config.num_feature_frames}
    if train_batch_norms:
        changes |= {"freeze_batch_norm_stats": False, "freeze_batch_norm_affine": False}
    return StepConfig.from_dict(config.to_dict() | changes)


def classifying_view(model: StepForActionDetection, *, train_batch_norms: bool) -> StepForActionDetection:
    """Give a model that classifies boxes with the weights of `model`, the very same tensors.

    Args:
        model: whose trunk, context network and first head are shared.
        train_batch_norms: whether its norms learn.
    """
    with torch.device("meta"):
        view = StepForActionDetection(classification_config(model.config, train_batch_norms))
    view.backbone, view.context, view.cuboids = model.backbone, model.context, model.cuboids
    for name in ("blocks", "projection", "classifier"):
        setattr(view.heads[0], name, getattr(model.heads[0], name))
    return view


@torch.no_grad()
def spread_first_head(model: StepForActionDetection) -> None:
    """Copy what the first head has learned to all others, but for the classifier, which starts anew in all."""
    first = model.heads[0]
    for head in model.heads:
        if head is not first:
            head.blocks.load_state_dict(first.blocks.state_dict())
            head.projection.load_state_dict(first.projection.state_dict())
        nn.init.xavier_normal_(head.classifier.weight)
        nn.init.zeros_(head.classifier.bias)
