"""How Collaborative Memory is trained: the network on single clips where that is asked for, then network and memory
together on several clips of every video.

That supervision is of whole videos and end to end is the paper's (Yang et al., CVPR 2021); stages, rates and the three
ways to compute a step are our reconstruction.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from ...configuration.configuration_collaborative_memory import CollaborativeMemoryConfig
from ...evaluation.evaluation import Evaluation
from ...modeling.modeling_collaborative_memory import CollaborativeMemoryForVideoClassification
from ...processing.processing_collaborative_memory import CollaborativeMemoryVideoProcessor
from ..arguments import argument
from ..recipe import Progress
from ..sections import MODEL, PROCESSOR
from ..seeding import epoch_order
from ..stage_plan import Stage
from .residual_video import ResidualVideoArguments, ResidualVideoRecipe, part_by_rate

CLIPS_STAGE, MEMORY_STAGE = "clips", "memory"
BACKBONE = "backbone"


@dataclass
class CollaborativeMemoryArguments(ResidualVideoArguments):
    """Arguments of the recipe."""

    sections: ClassVar = {MODEL: CollaborativeMemoryConfig, PROCESSOR: CollaborativeMemoryVideoProcessor}
    default_preset: ClassVar = "slow_r50_8x8"

    backbone_lr_multiplier: float = argument(
        0.1, "Learning rate of the network in stage memory, as a multiple of learning_rate."
    )

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        self.require(self.backbone_lr_multiplier > 0, "backbone_lr_multiplier", "must be positive")


class CollaborativeMemoryRecipe(ResidualVideoRecipe):
    """Trains a classifier of videos whose clips share a memory."""

    method = "collaborative_memory"
    arguments_class = CollaborativeMemoryArguments
    model_class = CollaborativeMemoryForVideoClassification
    new_modules = ("memory",)
    args: CollaborativeMemoryArguments
    past_memory: tuple[torch.Tensor, ...] | None = None

    def stages(self) -> list[Stage]:
        """The network on single clips, where the recipe lists it, and then network and memory."""
        return [Stage(CLIPS_STAGE, optional=True), Stage(MEMORY_STAGE)]

    def build_model(self) -> CollaborativeMemoryForVideoClassification:
        """Make the model.

        Raises:
            ValueError: examples would be mixed anew for every clip of a video.
        """
        model = super().build_model()
        if self.config.training_mode == "multi_iteration" and self.mixing.is_active:
            raise ValueError(
                "training_mode 'multi_iteration' trains the clips of a video one after the other, but mixup_alpha, "
                "cutmix_alpha and label_smoothing_factor mix every batch anew: set them to 0, or use 'two_pass'"
            )
        return model

    def start_stage(self, model: CollaborativeMemoryForVideoClassification, stage_index: int) -> nn.Module:
        """Leave the memory alone while the network learns single clips."""
        if model.memory is not None:
            model.memory.requires_grad_(not self._is_single(stage_index))
        return super().start_stage(model, stage_index)

    def clips_per_video(self, stage_index: int) -> int:
        """Return the clips that share a memory, or 1 while single clips train."""
        return 1 if self._is_single(stage_index) else self.config.num_clips

    def train_dataloader(self, stage_index: int) -> DataLoader:
        """Give whole videos, or with `multi_iteration` one clip after the other of the same ones."""
        loader = super().train_dataloader(stage_index)
        if not self._goes_clip_by_clip(stage_index):
            return loader
        sampler = ClipByClip(
            len(loader.dataset),
            self.config.num_clips,
            self.args.per_device_train_batch_size,
            self.accelerator.num_processes,
            self.args.seed,
        )
        return DataLoader(
            loader.dataset,
            batch_sampler=sampler,
            collate_fn=self.collate,
            num_workers=loader.num_workers,
            persistent_workers=loader.persistent_workers,
            pin_memory=loader.pin_memory,
        )

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Part what decays from what does not, and in stage memory the network, which learns slowly, from the rest."""
        groups = super().parameter_groups(module, stage_index)
        if self._is_single(stage_index):
            return groups
        return part_by_rate(groups, module, (BACKBONE,), self.args.learning_rate, self.args.backbone_lr_multiplier)

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the model's loss of whole videos, or of one clip of each that sees those before it."""
        if not self._goes_clip_by_clip(progress.stage):
            return super().step(module, batch, progress)
        self.unreadable.add(batch["unreadable"])
        # All items of a batch are of one clip number, known on the host.
        past = None if int(batch["clip"][0]) == 0 else self.past_memory
        output = module(pixel_values=batch["pixel_values"], labels=batch["labels"], past_memory=past)
        self.past_memory = tuple(part.detach() for part in output.memory)
        return output.loss, {}

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        """Stack clips; the number of the clip stays a plain number, which no device need be asked for."""
        batch = super().collate(samples)
        return {**batch, "clip": batch["clip"].tolist()} if "clip" in batch else batch

    def forward_options(self, progress: Progress) -> dict[str, Any]:
        """Let single clips speak for themselves."""
        return {"use_memory": not self._is_single(progress.stage)}

    def evaluate(
        self, model: CollaborativeMemoryForVideoClassification, stage_index: int, *, final: bool
    ) -> Evaluation:
        """Score the evaluation videos, while single clips train without memory."""
        self.evaluation_options = {"use_memory": not self._is_single(stage_index)}
        return super().evaluate(model, stage_index, final=final)

    def state_dict(self) -> dict[str, Any]:
        """Return also what the clips so far have pushed."""
        past = {} if self.past_memory is None else {"past_memory": list(self.past_memory)}
        return super().state_dict() | past

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        super().load_state_dict(state)
        past = state.get("past_memory")
        self.past_memory = None if past is None else tuple(part.to(self.accelerator.device) for part in past)

    def _is_single(self, stage_index: int) -> bool:
        return self.plan[stage_index].name == CLIPS_STAGE

    def _goes_clip_by_clip(self, stage_index: int) -> bool:
        return self.config.training_mode == "multi_iteration" and not self._is_single(stage_index)


class ClipByClip:
    """Batches of one clip of each of some videos; the batches that follow have their other clips.

    Of P processes each sees the clips of its own videos in order, since batch number b goes to process b mod P.

    Args:
        num_videos: of the data set.
        num_clips: of each.
        batch_size: videos in a batch. Those that fill no batch of all processes are left out of an epoch.
        num_processes: P.
        seed: of the order of the videos.

    Raises:
        ValueError: there are too few videos for one batch on every process.
    """

    def __init__(self, num_videos: int, num_clips: int, batch_size: int, num_processes: int, seed: int) -> None:
        self.num_videos, self.num_clips, self.batch_size = num_videos, num_clips, batch_size
        self.num_processes, self.seed, self.epoch = num_processes, seed, 0
        self.num_groups = num_videos // (batch_size * num_processes)
        if not self.num_groups:
            raise ValueError(
                f"training_mode 'multi_iteration' needs per_device_train_batch_size x processes = "
                f"{batch_size * num_processes} videos or more, got {num_videos}; choose a smaller batch"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the following pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches in a pass, over all processes."""
        return self.num_groups * self.num_processes * self.num_clips

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        """Yield lists of (epoch, video, clip)."""
        order = epoch_order(self.seed, self.epoch, self.num_videos)
        used = order[: self.num_groups * self.num_processes * self.batch_size]
        for group in used.reshape(self.num_groups, self.num_processes, self.batch_size):
            for clip in range(self.num_clips):
                for videos in group:
                    yield [(self.epoch, int(video), clip) for video in videos]
