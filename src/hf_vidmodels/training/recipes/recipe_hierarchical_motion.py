"""How hierarchical contrastive motion learning is trained: motion level by level on videos without labels, from the
lowest up, and then a classifier on labelled ones.

That levels are learned one after the other is the paper's (Yang et al., BMVC 2021); optimizers, rates and lengths are
our reconstruction.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from accelerate.utils import reduce
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from ...configuration.configuration_hierarchical_motion import JOINT, HierarchicalMotionConfig
from ...configuration.configuration_video_resnet import NUM_STAGES
from ...data.arrow_columns import arrow_column
from ...data.labelled_subsets import stratified_rows
from ...data.split_names import UNLABELLED_SPLIT
from ...data.unreadable_videos import UnreadableVideos
from ...data.video_clips import VideoClips
from ...evaluation.evaluation import Evaluation
from ...evaluation.motion_evaluation import MOTION_TASK, evaluate_motion
from ...modeling.modeling_hierarchical_motion import (
    HierarchicalMotionForPreTraining,
    HierarchicalMotionForVideoClassification,
    pretraining_view,
)
from ...processing.processing_hierarchical_motion import HierarchicalMotionVideoProcessor
from ..arguments import argument
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..recipe import Progress
from ..sections import MODEL, PROCESSOR
from ..seeding import sample_generator
from ..stage_plan import NAME, Stage
from .residual_video import ResidualVideoArguments, ResidualVideoRecipe, part_by_rate

BACKBONE, MOTION_BLOCKS = "backbone", "motion_blocks"
PRETRAINING, FINETUNING, BOTH = "pretraining", "finetuning", "both"
JOINT_STAGE, FINETUNE_STAGE = "joint", "finetune"
# Of a channel whose features are the same everywhere. A level with more such channels than others has collapsed.
LEAST_VARIANCE = 1e-4


@dataclass
class HierarchicalMotionArguments(ResidualVideoArguments):
    """Arguments of the recipe."""

    sections: ClassVar = {MODEL: HierarchicalMotionConfig, PROCESSOR: HierarchicalMotionVideoProcessor}
    default_preset: ClassVar = "slow_r50_8x8"

    phases: Literal["both", "pretraining", "finetuning"] = argument(
        BOTH,
        "What is trained: motion on all videos, with labels or without, then a classifier on those with labels "
        "(both), or one of the two. pretraining needs no labels and leaves a model for pre-training, from which "
        "finetuning starts by model_name_or_path.",
    )
    progressive: bool = argument(
        True,
        "Learn the levels of motion one after the other (stages prime, level1, level2, ...), and not all at once "
        "(stage joint).",
    )
    first_level: int = argument(
        0,
        "With progressive: the first level that is learned, 0 for all; model_name_or_path has those below it.",
    )
    pretrained_lr_multiplier: float = argument(
        1.0,
        "Learning rate of network and motion blocks in stage finetune, as a multiple of learning_rate, which fusions "
        "and classifier have. With few labels a small one keeps the motion that was learned without.",
    )
    labelled_share: float | None = argument(
        None, "Train the classifier on this share of the videos of every class alone, at least one of each."
    )
    label_seed: int = argument(0, "Seed that chooses these videos.")

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        share = self.labelled_share
        self.require(share is None or 0 < share <= 1, "labelled_share", "must be in (0, 1]")
        self.require(self.pretrained_lr_multiplier > 0, "pretrained_lr_multiplier", "must be positive")
        for name in ("label_seed", "first_level"):
            self.require(getattr(self, name) >= 0, name, "must not be negative")

    def check_contradictions(self) -> None:
        """Refuse levels below the first one that are neither learned nor given."""
        super().check_contradictions()
        if self.first_level and self.model_name_or_path is None:
            raise ValueError(
                f"first_level {self.first_level} leaves out the levels below it: give a model that has learned them "
                "as model_name_or_path."
            )


class HierarchicalMotionRecipe(ResidualVideoRecipe):
    """Trains motion features, and a classifier with them.

    Attributes:
        videos: what motion is learned from; set by `prepare_data`.
        learner: of the stage in training, what learns motion.
        static_clips: clips so far of a single picture, a count on the device.
        variances: of the level that learns, by channel in the latest step.
    """

    method = "hierarchical_motion"
    arguments_class = HierarchicalMotionArguments
    model_class = HierarchicalMotionForVideoClassification
    new_modules = (MOTION_BLOCKS, "fusions", "displacement_head", "predictors", "classifier")
    args: HierarchicalMotionArguments

    def __init__(self, args: HierarchicalMotionArguments) -> None:
        """Plan the stages; entries of `stages` for such as do not take place are passed over."""
        if args.phases == PRETRAINING:
            self.task = MOTION_TASK
            self.model_class = HierarchicalMotionForPreTraining
        self.args = args
        there = {stage.name for stage in self.stages()}
        passed_over = {*(level_name(level) for level in range(NUM_STAGES)), JOINT_STAGE, FINETUNE_STAGE} - there
        entries = [entry for entry in args.stages or [] if entry.get(NAME) not in passed_over]
        super().__init__(replace(args, stages=entries or None))

    def stages(self) -> list[Stage]:
        """One for each level of motion, or one for all, and one for the classifier.

        Raises:
            ValueError: `first_level` is above all levels.
        """
        names = []
        if self.args.phases != FINETUNING:
            count = self.args.model_config().num_levels
            if self.args.first_level >= count:
                raise ValueError(
                    f"first_level must be below the {count} levels of the model, got {self.args.first_level}"
                )
            levels = range(self.args.first_level, count)
            names = [level_name(level) for level in levels] if self.args.progressive else [JOINT_STAGE]
        return [Stage(name) for name in (*names, *([FINETUNE_STAGE] if self.args.phases != PRETRAINING else []))]

    def prepare_data(self) -> None:
        """Load the corpus, see `VideoClassificationRecipe`; of videos for motion alone labels are not asked for."""
        if self.args.phases != PRETRAINING:
            super().prepare_data()
            return
        corpus = self.read_corpus()
        self.eval_split = choose_eval_split(self.args, corpus)
        self.train = corpus[TRAIN_SPLIT]
        self.evaluation = None if self.eval_split is None else corpus[self.eval_split]
        self.multi_label = False

    def read_corpus(self) -> Any:
        """Return the splits with labels, and keep what motion is learned from.

        Raises:
            ValueError: a share of the labels is asked for of videos that have several.
        """
        from datasets import concatenate_datasets

        corpus = super().read_corpus()
        further = corpus.pop(UNLABELLED_SPLIT, None)
        train = corpus.get(TRAIN_SPLIT)
        sources = [split.select_columns(["video"]) for split in (train, further) if split is not None]
        self.videos = concatenate_datasets(sources) if sources else None
        if self.args.labelled_share is not None and train is not None and self.args.phases != PRETRAINING:
            if not hasattr(train.features["label"], "num_classes"):
                raise ValueError(
                    f"labelled_share takes a share of every class, but the videos of {self.args.dataset_name} have "
                    "several classes each; leave it out"
                )
            labels = arrow_column(train, "label").to_pylist()
            corpus[TRAIN_SPLIT] = train.select(stratified_rows(labels, self.args.labelled_share, self.args.label_seed))
        return corpus

    def start_stage(self, model: PreTrainedModel, stage_index: int) -> nn.Module:
        """Give what learns motion in this stage, or the whole classifier."""
        module = super().start_stage(model, stage_index)
        if not self._learns_motion(stage_index):
            model.requires_grad_(True)
            return module
        self.unreadable = UnreadableVideos(len(self.videos), self.args.max_unreadable_share)
        self.static_clips = torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        self.variances: torch.Tensor | None = None
        is_classifier = isinstance(model, HierarchicalMotionForVideoClassification)
        self.learner = pretraining_view(model) if is_classifier else model
        name = self.plan[stage_index].name
        levels = {level_name(level): level for level in range(model.config.num_levels)}
        self.learner.start_phase(levels.get(name, JOINT))
        return self.learner

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Part what decays from what does not, and in stage finetune what has learned motion from what is new."""
        groups = super().parameter_groups(module, stage_index)
        if self._learns_motion(stage_index):
            return groups
        args = self.args
        parts = (BACKBONE, MOTION_BLOCKS)
        return part_by_rate(groups, module, parts, args.learning_rate, args.pretrained_lr_multiplier)

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give random clips of all videos, or of those with labels."""
        if not self._learns_motion(stage_index):
            return super().train_dataset(stage_index)
        return VideoClips(
            self.videos,
            self.processor.frame_sampling,
            partial(sample_generator, self.args.seed),
            self.args.augmentation(self.processor),
            with_labels=False,
        )

    def on_epoch_start(self, module: nn.Module, progress: Progress) -> None:
        """Look after every epoch whether a level has collapsed."""
        if progress.epoch and self._learns_motion(progress.stage):
            self._warn_of_collapse()

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the loss of motion of one batch of clips with what each level did, or the classifier's loss."""
        if not self._learns_motion(progress.stage):
            return super().step(module, batch, progress)
        self.unreadable.add(batch["unreadable"])
        clips = batch["pixel_values"]
        self.static_clips += (clips[:, 1:] == clips[:, :1]).flatten(1).all(1).sum()
        output = module(pixel_values=clips)
        levels = self.learner.learning_levels
        variances = [output.motion_features[level].detach().var((0, 2, 3, 4)) for level in levels]
        self.variances = torch.stack([(found < LEAST_VARIANCE).float().mean() for found in variances])
        logs = {}
        accuracies = iter(output.contrastive_accuracies)
        for level, loss, found in zip(levels, output.level_losses, variances, strict=True):
            name = level_name(level)
            logs |= {f"{name}_loss": loss, f"{name}_variance": found.mean(), f"{name}_least_variance": found.min()}
            if level:
                logs[f"{name}_accuracy"] = next(accuracies)
        return output.loss, logs

    def finish_stage(self, model: PreTrainedModel, stage_index: int) -> None:
        """Say which videos could not be read, which showed no motion, and whether a level has collapsed."""
        super().finish_stage(model, stage_index)
        if not self._learns_motion(stage_index):
            return
        self._warn_of_collapse()
        static = int(reduce(self.static_clips, reduction="sum"))
        if static:
            warnings.warn(
                f"stage {self.plan[stage_index].name}: {static} of the clips that were learned from show one picture "
                "all the time, from which no motion can be learned; leave out stills and videos of one frame",
                stacklevel=2,
            )

    def _warn_of_collapse(self) -> None:
        """Name the levels whose features are nearly constant."""
        if self.variances is None:
            return
        for level, share in zip(self.learner.learning_levels, self.variances.tolist(), strict=True):
            if share > 1 / 2:
                warnings.warn(
                    f"{level_name(level)} collapses: {100 * share:.0f} % of its channels are the same everywhere "
                    f"(variance below {LEAST_VARIANCE:g}); a lower learning_rate, more kinds of negatives, or "
                    "progressive true may help",
                    stacklevel=2,
                )

    def before_evaluation(self, model: PreTrainedModel, stage_index: int) -> None:
        """Measure the statistics of the classifier's batch norms anew, where that is asked for."""
        if not self._learns_motion(stage_index):
            super().before_evaluation(model, stage_index)

    def evaluate(self, model: PreTrainedModel, stage_index: int, *, final: bool) -> Evaluation:
        """Score the classifier, or how well motion is learned."""
        if not self._learns_motion(stage_index):
            return super().evaluate(model, stage_index, final=final)
        self.learner.eval()
        return evaluate_motion(
            self.learner,
            self.processor,
            self.evaluation,
            split=self.eval_split,
            train=self.train,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
            num_workers=self.args.dataloader_num_workers,
            max_unreadable_share=self.args.max_unreadable_share,
            is_final=final,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return also how many clips showed no motion."""
        static = {"static_clips": self.static_clips} if hasattr(self, "static_clips") else {}
        return super().state_dict() | static

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        super().load_state_dict(state)
        if "static_clips" in state:
            self.static_clips = state["static_clips"].to(self.accelerator.device)

    def _learns_motion(self, stage_index: int) -> bool:
        return self.plan[stage_index].name != FINETUNE_STAGE


def level_name(level: int) -> str:
    """Give the name of the stage that trains a level, which its values are logged under."""
    return f"level{level}" if level else "prime"
