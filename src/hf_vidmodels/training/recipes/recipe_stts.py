"""How STTS is trained: a full network first where none is given, then network and scorers together by the
classification loss alone.

Wang et al., ECCV 2022; schedules and constants of the official code (commit 6ae3404). The noise of the relaxed
selection follows from the step alone, so a resumed run anneals on.
"""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ...configuration.configuration_stts import SttsConfig
from ...evaluation.evaluation import Evaluation
from ...modeling.modeling_stts import SttsForVideoClassification
from ..recipe import Progress
from ..stage_plan import Stage
from .stts_arguments import FULL_STAGE, SCORERS_FIRST, SELECTION_STAGE, STEPPED_COSINE, SttsArguments
from .stts_schedules import (
    BACKBONE,
    CLASSIFIER,
    SCORERS,
    SELECTOR_MODULES,
    following_rate,
    is_decayed,
    schedule_groups,
    scorer_rate,
    split_parameters,
    stepped_cosine_rate,
)
from .video_classification import VideoClassificationRecipe


class SttsRecipe(VideoClassificationRecipe):
    """Trains a video classifier with token selection, or one of its baselines."""

    method = "stts"
    arguments_class = SttsArguments
    model_class = SttsForVideoClassification
    new_modules = SELECTOR_MODULES
    args: SttsArguments

    def __init__(self, args: SttsArguments) -> None:
        """Plan the stages, of which the full network has no scorers.

        Raises:
            ValueError: when its learning rate would follow theirs.
        """
        super().__init__(args)
        schedule = self.plan[0].args.lr_scheduler_type
        if self._is_full(0) and schedule in (SCORERS_FIRST, STEPPED_COSINE):
            raise ValueError(
                f"Stage {FULL_STAGE} cannot have lr_scheduler_type {schedule}, for it has no scorers: give it one "
                "that all recipes know, such as cosine."
            )

    def build_model(self) -> SttsForVideoClassification:
        """Make the model, and the configuration with which it learns to select."""
        model = super().build_model()
        self.training_config = self.args.training_config(self.config)
        return model

    def stages(self) -> list[Stage]:
        """The full network, where the recipe lists it, and then the network with selection."""
        return [Stage(FULL_STAGE, optional=True), Stage(SELECTION_STAGE)]

    def start_stage(self, model: SttsForVideoClassification, stage_index: int) -> nn.Module:
        """Give the model, or a view of it that keeps less while scorers learn, or everything in the first stage."""
        super().start_stage(model, stage_index)
        if self._is_full(stage_index):
            return full_network_of(model)
        return model if self.training_config is self.config else network_sharing_weights(model, self.training_config)

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Part the weights by their learning rate and whether they decay."""
        args = self.args
        multipliers = {SCORERS: args.scorer_lr_multiplier, BACKBONE: args.backbone_lr_multiplier, CLASSIFIER: 1.0}
        groups = []
        for part, parameters in split_parameters(module).items():
            rate = args.learning_rate * (1.0 if self._is_full(stage_index) else multipliers[part])
            for decays in (True, False):
                chosen = [
                    parameter
                    for name, parameter in parameters.items()
                    if is_decayed(name, parameter, part, self.config.backbone_type) == decays
                ]
                if chosen:
                    decay = {} if decays else {"weight_decay": 0.0}
                    groups.append({"params": chosen, "lr": rate, "name": part, **decay})
        return groups

    def make_scheduler(
        self, optimizer: Optimizer, stage_index: int, total_steps: int, steps_per_epoch: float
    ) -> LRScheduler:
        """Return the course of the learning rates."""
        args = self.args
        if args.lr_scheduler_type not in (SCORERS_FIRST, STEPPED_COSINE):
            return super().make_scheduler(optimizer, stage_index, total_steps, steps_per_epoch)
        num_epochs = total_steps / steps_per_epoch
        peaks = {group["name"]: group["lr"] for group in optimizer.param_groups}

        def rate_of(part: str, epoch: float) -> float:
            if args.lr_scheduler_type == STEPPED_COSINE:
                return stepped_cosine_rate(epoch, num_epochs, peaks[part], args.warmup_epochs, args.warmup_start)
            peak = args.learning_rate * args.scorer_lr_multiplier
            scorers = scorer_rate(epoch, num_epochs, peak, args.final_learning_rate)
            if part == SCORERS:
                return scorers
            return following_rate(epoch, scorers, args.following_start_epoch, args.following_learning_rate)

        return schedule_groups(optimizer, rate_of, steps_per_epoch)

    def forward_options(self, progress: Progress) -> dict[str, Any]:
        """Let the noise of the relaxed choice follow the share of training."""
        return {"sigma": self.config.sigma_at(progress.step / progress.total_steps)}

    def evaluate(self, model: SttsForVideoClassification, stage_index: int, *, final: bool) -> Evaluation:
        """Score all views of the evaluation videos; while the full network trains, without selection."""
        if self._is_full(stage_index):
            model = full_network_of(model).eval()
        return super().evaluate(model, stage_index, final=final)

    def _is_full(self, stage_index: int) -> bool:
        return self.plan[stage_index].name == FULL_STAGE


def full_network_of(model: SttsForVideoClassification) -> SttsForVideoClassification:
    """Give a model that selects nothing and shares backbone and classifier with `model`."""
    return network_sharing_weights(model, SttsConfig.from_dict(model.config.to_dict() | {"selection_mode": "none"}))


def network_sharing_weights(model: SttsForVideoClassification, config: SttsConfig) -> SttsForVideoClassification:
    """Give a model that has the weights of `model`, the very same tensors, but keeps other tokens or all.

    Args:
        model: whose weights are shared.
        config: its configuration with another mode or other ratios; selectors are those of `model`, or none.
    """
    with torch.device("meta"):
        network = SttsForVideoClassification(config)
    network.backbone, network.classifier = model.backbone, model.classifier
    for name in SELECTOR_MODULES:
        for selector, source in zip(getattr(network, name), getattr(model, name), strict=False):
            selector.scorer = source.scorer
    return network
