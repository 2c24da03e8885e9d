"""How the detector of Collaborative Memory is trained: what people in given boxes do at a key time, which is seen
together with clips from all around it.

That the framework is trained end to end on AVA is the paper's (Yang et al., CVPR 2021); everything here is our
reconstruction, after the recipes of SlowFast's zoo.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import Dataset

from ...configuration.configuration_collaborative_memory import CollaborativeMemoryConfig
from ...configuration.configuration_video_resnet import MULTI_LABEL, VideoResNetConfig
from ...data.contracts import class_names_of
from ...evaluation.evaluation import Evaluation
from ...modeling.modeling_collaborative_memory import CollaborativeMemoryForActionDetection
from ...modeling.modeling_video_resnet import VideoResNetForVideoClassification
from ...processing.processing_collaborative_memory import CollaborativeMemoryVideoProcessor
from ..arguments import TrainingArguments, argument
from ..initial_weights import take_weights
from ..recipe import Progress
from ..sections import MODEL, PROCESSOR
from ..stage_plan import Stage
from .action_detectors import ActionDetectionRecipe
from .key_time_clips import KeyTimeClips, collate_boxes
from .recipe_collaborative_memory import BACKBONE
from .residual_video import decay_groups, part_by_rate


@dataclass
class MemoryDetectionArguments(TrainingArguments):
    """Arguments of the recipe."""

    sections: ClassVar = {MODEL: CollaborativeMemoryConfig, PROCESSOR: CollaborativeMemoryVideoProcessor}
    default_preset: ClassVar = "ava_slowfast_r50"

    model_name_or_path: str | None = argument(
        None,
        "Start from the weights of this model of the method, or of a plain residual network (folder or Hub id). The "
        "classifier starts afresh when the classes differ. What is new is printed.",
    )
    backbone_lr_multiplier: float = argument(
        0.1, "Learning rate of the network, which knows videos, as a multiple of learning_rate."
    )
    resize_scale: list[float] = argument(
        [8 / 7, 10 / 7],
        "Least and greatest short side of training frames, as a multiple of the square that is cropped from them.",
    )
    flip_probability: float = argument(0.5, "Chance of a mirror.")
    proposal_threshold: float = argument(0.8, "Evaluate on those boxes of people whose detector was so sure.")
    gradient_checkpointing: bool = argument(
        False, "Compute blocks again in the backward pass instead of keeping them.", changes_result=False
    )

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        for name in ("flip_probability", "proposal_threshold"):
            self.require(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
        self.require(self.backbone_lr_multiplier > 0, "backbone_lr_multiplier", "must be positive")
        scale = self.resize_scale
        self.require(
            len(scale) == 2 and 1 <= scale[0] <= scale[1], "resize_scale", "must be two ascending numbers >= 1"
        )


class CollaborativeMemoryDetectionRecipe(ActionDetectionRecipe):
    """Trains a detector that is given the boxes of people."""

    method = "collaborative_memory_detection"
    arguments_class = MemoryDetectionArguments
    args: MemoryDetectionArguments

    def build_model(self) -> CollaborativeMemoryForActionDetection:
        """Make the model for the corpus's classes, and fill it from other weights where these are given.

        Raises:
            ValueError: clips would be trained one after the other, which a detector cannot.
        """
        args = self.args
        self.config = args.model_config(class_names_of(self.train.features["labels"]), problem_type=MULTI_LABEL)
        if self.config.training_mode == "multi_iteration":
            raise ValueError(
                "training_mode 'multi_iteration' trains clip by clip, but only the middle clip of a key time has "
                "boxes; use 'two_pass' or 'batch_reduction'"
            )
        self.processor = CollaborativeMemoryVideoProcessor.from_config(self.config, **args.processor)
        model = CollaborativeMemoryForActionDetection(self.config)
        if args.model_name_or_path is not None:
            plain = {VideoResNetConfig.model_type: VideoResNetForVideoClassification}
            self.accelerator.print(take_weights(model, args.model_name_or_path, ("memory",), plain).sentence())
        if args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def stages(self) -> list[Stage]:
        """One stage."""
        return [Stage("detection")]

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give the clips around annotated key times."""
        args = self.args
        return KeyTimeClips(
            self.train, self.processor, self.config, args.seed, tuple(args.resize_scale), args.flip_probability
        )

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Stack clips and join boxes."""
        return collate_boxes(samples)

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Part what decays from what does not, and the network, which learns slowly, from the rest."""
        args = self.args
        return part_by_rate(decay_groups(module), module, (BACKBONE,), args.learning_rate, args.backbone_lr_multiplier)

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the mean loss over boxes and classes."""
        return module(**batch).loss, {}

    def evaluate(self, model: CollaborativeMemoryForActionDetection, stage_index: int, *, final: bool) -> Evaluation:
        """Score what is said of the corpus's proposals, or of the true boxes where it has none."""
        return self.score(model, proposal_threshold=self.args.proposal_threshold)
