"""What a method must say so that the one training loop can train it.

A recipe is asked, in this order (`loop.py` reads as the same list):

    stages -> attach -> prepare_data -> build_model
    for every stage:
        start_stage -> train_dataloader -> parameter_groups -> make_optimizer -> make_scheduler
        -> load_state_dict (only when resuming)
        for every epoch:
            on_epoch_start
            for every batch:          step
            for every optimiser step: after_step
            now and then:             before_evaluation -> evaluate(final=False)
        finish_stage
    before_evaluation -> evaluate(final=True) -> save_extra

Of a stage that continues the one before it only `start_stage` is asked when it begins: its loader was asked for with
those of the stages that it continues, and the rest is theirs. Everything happens on every process, unless a hook says
otherwise.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, default_collate

from ..evaluation.evaluation import Evaluation
from .arguments import TrainingArguments
from .schedules import build_optimizer, build_scheduler
from .seeding import EpochSampler
from .stage_plan import Stage, plan_stages

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Progress:
    """Where in the run a batch stands. All counts start at 0 and speak of what is already done.

    Attributes:
        stage: index of the stage.
        epoch: epochs of this stage.
        global_epoch: epochs of the whole run, the one that data sets and seeds see.
        batch: batches of this epoch on this process.
        step: optimiser steps of this stage.
        global_step: optimiser steps of the whole run.
        steps_per_epoch: optimiser steps in this epoch.
        total_steps: optimiser steps that this stage will make, `max_steps` taken into account.
        schedule_step: optimiser steps since the schedule began: with this stage, or with the first of those that it
            continues.
        schedule_total_steps: optimiser steps of the whole schedule, over all stages that go on with it.
    """

    stage: int
    epoch: int
    global_epoch: int
    batch: int
    step: int
    global_step: int
    steps_per_epoch: int
    total_steps: int
    schedule_step: int
    schedule_total_steps: int


class Recipe(ABC):
    """How one method is trained.

    Subclass it, set `method`, `task` and `arguments_class`, write the six abstract methods, and override what the
    method does differently. A recipe is a plain object: what it learns during a stage belongs in `state_dict`, what a
    stage leaves to the next belongs in files under `work_dir`.

    Attributes:
        method: the method's name, as in the recipe file.
        task: one of the package's task names, such as `temporal-action-localization`.
        arguments_class: the arguments it takes, a dataclass derived from `TrainingArguments`.
        args: the arguments of the run, and while a stage trains those of the stage, which may have its own values.
        plan: the stages that are trained, each with its arguments.
        accelerator: set by `attach`.
        work_dir: a folder of the run that survives a restart and is never shared; set by `attach`, made before the
            first stage.
        processor: saved beside the model when not None; set it in `__init__`, `prepare_data` or `build_model`.
    """

    method: str
    task: str
    arguments_class: type[TrainingArguments] = TrainingArguments

    def __init__(self, args: TrainingArguments) -> None:
        """Plan the stages.

        Raises:
            ValueError: when the argument `stages` does not fit the method's stages.
        """
        self.args = args
        self.plan = plan_stages(self.stages(), args)
        self.processor: Any = None

    def attach(self, accelerator: "Accelerator", work_dir: Path) -> None:
        """Take the accelerator and the working folder; called once, before anything else."""
        self.accelerator = accelerator
        self.work_dir = work_dir

    # -- before training

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Return all stages that the method has, in their order; called once, and only `args` are there."""

    def use_stage(self, stage_index: int) -> None:
        """Let `args` be the arguments of a stage; the loop calls it before the stage's hooks."""
        self.args = self.plan[stage_index].args

    @abstractmethod
    def prepare_data(self) -> None:
        """Load (on first use: make, download, convert) the corpus and check it.

        Called on the main process first and on the others when it is done, so that they find the caches filled.
        """

    @abstractmethod
    def build_model(self) -> "PreTrainedModel":
        """Return the model that the run saves, complete: networks that later stages train are in it from the start.

        The libraries are seeded before, equally on all processes.
        """

    # -- one stage

    def start_stage(self, model: "PreTrainedModel", stage_index: int) -> nn.Module:
        """Return the module to train: `model`, a part of it, or a module around parts of it.

        Freeze here what must not learn (`requires_grad_(False)`). Parameters of the returned module that require
        gradients must take part in every step. Called with freshly seeded libraries, and when a run resumes inside
        the stage also: the weights are restored afterwards, so read what earlier stages found from `work_dir`.
        A stage that continues must return the same module with the same parameters to train.
        """
        return model

    @abstractmethod
    def train_dataset(self, stage_index: int) -> Dataset:
        """Return a map-style data set whose items are asked for by `(epoch, index)`, see `EpochSampler`."""

    def collate(self, samples: list[Any]) -> Any:
        """Make a batch of samples; the default stacks tensors, arrays and numbers."""
        return default_collate(samples)

    def train_dataloader(self, stage_index: int) -> DataLoader:
        """Return the stage's loader, before Accelerate shards it.

        Override it to mix streams in a batch or to visit a video in several batches: give a `batch_sampler` with
        `set_epoch(epoch)` and `batch_size` whose order follows from the seed and the epoch alone. Epochs may differ in
        length when its `len` says for the epoch that was set how many batches follow. Of P processes, number p gets
        the batches p, p + P, p + 2 P and so on.
        """
        dataset = self.train_dataset(stage_index)
        workers = self.args.dataloader_num_workers
        return DataLoader(
            dataset,
            batch_size=self.args.per_device_train_batch_size,
            sampler=EpochSampler(len(dataset), self.args.seed),
            collate_fn=self.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            drop_last=self.args.dataloader_drop_last,
        )

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Return optimizer groups of what requires gradients.

        A group may set its own `lr` and `weight_decay`, and a `name` under which its rate is logged.
        """
        return [{"params": [parameter for parameter in module.parameters() if parameter.requires_grad]}]

    def make_optimizer(self, groups: list[dict[str, Any]], stage_index: int) -> Optimizer:
        """Return the stage's optimizer; the default follows `optim`, `learning_rate`, `weight_decay` and so on."""
        return build_optimizer(groups, self.args)

    def make_scheduler(
        self, optimizer: Optimizer, stage_index: int, total_steps: int, steps_per_epoch: float
    ) -> LRScheduler:
        """Return the learning-rate schedule, stepped once after every optimiser step.

        The default follows `lr_scheduler_type`, `warmup_steps` and `warmup_ratio`.

        Args:
            optimizer: what `make_optimizer` returned.
            stage_index: the stage, the first of those that share the schedule.
            total_steps: optimiser steps of all of these.
            steps_per_epoch: optimiser steps of an epoch, a mean where epochs differ.
        """
        return build_scheduler(optimizer, self.args, total_steps)

    def on_epoch_start(self, module: nn.Module, progress: Progress) -> None:  # noqa: B027
        """Prepare for an epoch (also for the rest of one that a resumed run goes on with).

        The module was just put into training mode; this is where some of its parts are put back.
        """

    @abstractmethod
    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the loss of one batch and detached scalars to log.

        `module` is what `start_stage` returned as Accelerate prepared it; call its forward with gradients once.
        The loss is a mean over the batch: accumulation over batches averages it. Read no value of a tensor here
        (`.item()`, printing), it would stall the device. The libraries were seeded for this batch.
        """

    def after_step(self, module: nn.Module, progress: Progress) -> None:  # noqa: B027
        """Follow an optimiser step, which `progress` already counts: move a teacher, anneal a temperature."""

    def finish_stage(self, model: "PreTrainedModel", stage_index: int) -> None:  # noqa: B027
        """Leave to later stages what they need, in files under `work_dir` (atomically, main process only).

        The model is in evaluation mode without gradients, with averaged weights when `ema_decay` is set. A run that
        was killed may call it again for the same stage: the result must be the same.
        """

    # -- results

    def before_evaluation(self, model: "PreTrainedModel", stage_index: int) -> None:  # noqa: B027
        """Prepare the model for an evaluation, or for being saved at the end: measure batch statistics anew.

        Arguments and the model's state are those of `evaluate`, the libraries are freshly seeded. What it changes in
        the model must be equal on all processes and follow from the weights alone, for a resumed run repeats it.
        """

    @abstractmethod
    def evaluate(self, model: "PreTrainedModel", stage_index: int, *, final: bool) -> Evaluation:
        """Measure the model, which is in evaluation mode without gradients, on the evaluation data.

        Share the work with `accelerator.split_between_processes` or a prepared loader, and gather.

        Args:
            model: the whole model, with averaged weights when `ema_decay` is set.
            stage_index: the stage in training; the last one when `final`.
            final: whether this is the end of the run, when tables, predictions and figures are wanted too.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what `step` and its fellows have learned besides the module's weights (a teacher, a memory bank).

        Each process saves its own. Tensors, numbers, strings, lists and dicts only: it is read back without pickle.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take back what `state_dict` returned at the same point of the run."""

    def save_extra(self, output_dir: Path) -> None:  # noqa: B027
        """Write further files beside the saved model (main process only)."""

    def sample_names(self, stage_index: int, items: Sequence[Any]) -> list[str]:
        """Return names by which a user recognises training samples; used in errors.

        `items` is what the data set is asked for: `(epoch, index)`, unless `train_dataloader` is overridden.
        """
        return [f"sample {item[-1]}" for item in items]
