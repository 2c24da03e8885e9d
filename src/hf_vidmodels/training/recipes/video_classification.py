"""The base of recipes that train a video classifier: random clips of a corpus's videos, and all views of a video at
evaluation. STTS is an example of a method on it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from ...atomic_io import atomic_write
from ...data.content_checks import name_some
from ...data.contracts import class_names_of
from ...data.mirrored_classes import mirrored_classes
from ...data.unreadable_videos import DEFAULT_SHARE, UnreadableVideos, short_names
from ...data.video_clips import VideoClips, collate_clips
from ...evaluation.evaluation import Evaluation
from ...evaluation.video_classification_evaluation import evaluate_video_classifier
from ..arguments import argument
from ..recipe import Progress
from ..seeding import sample_generator
from .classification import ClassificationArguments, ClassificationRecipe, join_copies

UNREADABLE_FILE = "unreadable_videos.txt"


@dataclass
class VideoClassificationArguments(ClassificationArguments):
    """Arguments of all video classifiers."""

    media_dir: str | None = argument(
        None, "Folder of the videos of a published list; by default found under data_dir.", changes_result=False
    )
    skip_missing_files: bool = argument(False, "Leave out videos of a published list that are not there.")
    flip_swaps_sides: bool = argument(
        False,
        "A flipped clip takes the class in whose name left and right, or clockwise and anticlockwise, are exchanged; "
        "clips of classes that name a side without such a partner are not flipped.",
    )
    max_unreadable_share: float = argument(
        DEFAULT_SHARE, "Share of the videos that may be unreadable before the run stops.", changes_result=False
    )

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        self.require(0 <= self.max_unreadable_share <= 1, "max_unreadable_share", "must be in [0, 1]")


class VideoClassificationRecipe(ClassificationRecipe):
    """Trains a classifier of clips (B, T, 3, H, W) with one class, or several, for each video.

    The processor is a `VideoViewsProcessor`, whose rule chooses the frames. Videos that cannot be read are replaced,
    counted, and listed beside the model.

    Attributes:
        evaluation_options: further arguments of the model's forward pass in evaluations.
    """

    task = "video-classification"
    arguments_class = VideoClassificationArguments
    args: VideoClassificationArguments
    evaluation_options: Mapping[str, Any] = MappingProxyType({})

    def corpus_options(self) -> dict[str, Any]:
        """Say where the videos of a published list are."""
        return {"media_dir": self.args.media_dir, "skip_missing_files": self.args.skip_missing_files}

    def prepare_data(self) -> None:
        """Load the corpus, see `ClassificationRecipe`, and see to classes that a mirror changes.

        Raises:
            ValueError: classes are to be exchanged in videos of several classes.
        """
        super().prepare_data()
        if self.args.flip_swaps_sides and self.multi_label:
            raise ValueError(
                f"flip_swaps_sides is for videos of one class, but those of {self.args.dataset_name} have several; "
                "set it to false, and flip_probability to 0 where classes name a side"
            )
        names = class_names_of(self.train.features["label"])
        self.mirrored = mirrored_classes(names)
        changed = [name for number, name in enumerate(names) if self.mirrored[number] != number]
        if changed and self.args.flip_probability and not self.args.flip_swaps_sides:
            warnings.warn(
                f"{len(changed)} classes name a side ({name_some(changed)}), but clips are flipped and keep their "
                "class: set flip_probability to 0, or flip_swaps_sides to true",
                stacklevel=2,
            )

    def start_stage(self, model: PreTrainedModel, stage_index: int) -> nn.Module:
        """Begin to count videos that cannot be read."""
        self.unreadable = UnreadableVideos(len(self.train), self.args.max_unreadable_share)
        return super().start_stage(model, stage_index)

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give random clips of the training videos."""
        augmentation = self.args.augmentation(self.processor)
        mirroring = {}
        if self.args.flip_swaps_sides:
            mirroring = {"mirrored": self.mirrored, "mirror_probability": augmentation.flip_probability}
            augmentation = replace(augmentation, flip_probability=0.0)
        return VideoClips(
            self.train,
            self.processor.frame_sampling,
            partial(sample_generator, self.args.seed),
            augmentation,
            num_clips=self.clips_per_video(stage_index),
            **mirroring,
        )

    def clips_per_video(self, stage_index: int) -> int | None:
        """Return how many clips of each video an example has; None for one clip without an axis of clips."""
        return None

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        """Stack clips; the copies of one clip stand side by side."""
        return join_copies(collate_clips(samples))

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the model's loss of one batch of clips."""
        self.unreadable.add(batch["unreadable"])
        return super().step(module, batch, progress)

    def finish_stage(self, model: PreTrainedModel, stage_index: int) -> None:
        """Say which videos could not be read."""
        self.unreadable.add(gather_object(self.unreadable.names))
        if self.unreadable.names:
            self.accelerator.print(self.unreadable.summary())

    def evaluate(self, model: PreTrainedModel, stage_index: int, *, final: bool) -> Evaluation:
        """Score all views of the evaluation videos."""
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
            forward_options=self.evaluation_options,
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
