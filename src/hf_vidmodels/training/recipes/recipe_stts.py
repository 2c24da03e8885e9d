"""How STTS is trained: a full network first where none is given, then network and scorers together by the
classification loss alone.

Wang et al., ECCV 2022; schedules and constants of the official code (commit 6ae3404). The noise of the relaxed
selection follows from the step alone, so a resumed run anneals on.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

from ...atomic_io import atomic_write
from ...configuration.configuration_stts import SttsConfig
from ...data.contracts import class_names_of
from ...data.corpora import load_corpus
from ...data.unreadable_videos import UnreadableVideos, short_names
from ...data.video_clips import VideoClips, collate_clips
from ...evaluation.class_scores import require_labels
from ...evaluation.evaluation import Evaluation
from ...evaluation.video_classification_evaluation import evaluate_video_classifier
from ...modeling.modeling_stts import SttsForVideoClassification
from ...processing.processing_stts import SttsVideoProcessor
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..initial_weights import take_weights
from ..recipe import Progress, Recipe
from ..seeding import sample_generator
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

UNREADABLE_FILE = "unreadable_videos.txt"


class SttsRecipe(Recipe):
    """Trains a video classifier with token selection, or one of its baselines."""

    method = "stts"
    task = "video-classification"
    arguments_class = SttsArguments
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

    def prepare_data(self) -> None:
        """Load the corpus and check that every video has one class."""
        args = self.args
        corpus = load_corpus(
            args.dataset_name,
            data_dir=args.data_dir,
            task=self.task,
            media_dir=args.media_dir,
            skip_missing_files=args.skip_missing_files,
        )
        self.eval_split = choose_eval_split(args, corpus)
        self.train = corpus[TRAIN_SPLIT]
        self.evaluation = None if self.eval_split is None else corpus[self.eval_split]
        require_labels(self.train, TRAIN_SPLIT)
        if args.eval_strategy != "no":
            require_labels(self.evaluation, self.eval_split)

    def build_model(self) -> SttsForVideoClassification:
        """Make the model from the preset, and fill it from a trained one where that is given."""
        self.config = self.args.model_config(class_names_of(self.train.features["label"]))
        self.training_config = self.args.training_config(self.config)
        self.processor = SttsVideoProcessor.from_config(self.config, **self.args.processor)
        model = SttsForVideoClassification(self.config)
        if self.args.model_name_or_path is not None:
            taken = take_weights(model, self.args.model_name_or_path, SELECTOR_MODULES)
            self.accelerator.print(taken.sentence())
        if self.args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def stages(self) -> list[Stage]:
        """The full network, where the recipe lists it, and then the network with selection."""
        return [Stage(FULL_STAGE, optional=True), Stage(SELECTION_STAGE)]

    def start_stage(self, model: SttsForVideoClassification, stage_index: int) -> nn.Module:
        """Give the model, or a view of it that keeps less while scorers learn, or everything in the first stage."""
        self.unreadable = UnreadableVideos(len(self.train), self.args.max_unreadable_share)
        self.mixing = self.args.mixing()
        if self._is_full(stage_index):
            return full_network_of(model)
        return model if self.training_config is self.config else network_sharing_weights(model, self.training_config)

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give random clips of the training videos."""
        return VideoClips(
            self.train,
            self.processor.frame_sampling,
            partial(sample_generator, self.args.seed),
            self.args.augmentation(self.processor),
        )

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        """Stack clips; the copies of one clip stand side by side."""
        batch = collate_clips(samples)
        repeats = batch["pixel_values"].shape[1]
        return {
            **batch,
            "pixel_values": batch["pixel_values"].flatten(0, 1),
            "labels": batch["labels"].repeat_interleave(repeats),
        }

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

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the cross entropy of one batch of clips."""
        self.unreadable.add(batch["unreadable"])
        clips, labels = batch["pixel_values"], batch["labels"]
        if self.mixing.is_active:
            # The library's generator was seeded for this batch.
            generator = np.random.default_rng(np.random.randint(2**31))
            clips, labels = self.mixing(clips, labels, self.config.num_labels, generator)
        sigma = self.config.sigma_at(progress.step / progress.total_steps)
        return module(pixel_values=clips, labels=labels, sigma=sigma, return_dict=True).loss, {}

    def finish_stage(self, model: SttsForVideoClassification, stage_index: int) -> None:
        """Say which videos could not be read."""
        self.unreadable.add(gather_object(self.unreadable.names))
        if self.unreadable.names:
            self.accelerator.print(self.unreadable.summary())

    def evaluate(self, model: SttsForVideoClassification, stage_index: int, *, final: bool) -> Evaluation:
        """Score all views of the evaluation videos; while the full network trains, without selection."""
        if self._is_full(stage_index):
            model = full_network_of(model).eval()
        return evaluate_video_classifier(
            model,
            self.processor,
            self.evaluation,
            split=self.eval_split,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
            num_workers=self.args.dataloader_num_workers,
            max_unreadable_share=self.args.max_unreadable_share,
            is_final=final,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the videos that could not be read so far."""
        return {"unreadable": self.unreadable.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.unreadable.load_state_dict(state["unreadable"])

    def save_extra(self, output_dir: Path) -> None:
        """List the training videos that could not be read, where there are any."""
        if self.unreadable.names:
            clips = self.train_dataset(0)
            names = short_names(self.unreadable.names, [clips.name(index) for index in range(len(clips))])
            with atomic_write(output_dir / UNREADABLE_FILE, "w") as file:
                file.writelines(f"{name}\n" for name in names)

    def sample_names(self, stage_index: int, items: Sequence[Any]) -> list[str]:
        """Name training videos by their files."""
        clips = self.train_dataset(stage_index)
        return [clips.name(index) for _, index in items]

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
