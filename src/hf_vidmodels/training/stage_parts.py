"""What a stage trains with: module, optimizer, schedule, average and batches; prepared and, when resuming, restored.

Stages that continue one another share all but the batches.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler
from accelerate.utils import broadcast
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from .checkpoints import read_parts, restore_prepared, restore_rest
from .recipe import Progress, Recipe
from .run_state import RunState
from .seeding import seed_stage
from .stage_plan import PlannedStage
from .stop_request import shield_workers
from .training_log import LossMeter
from .weight_average import averaged_weights, start_average


@dataclass
class StageBatches:
    """The batches of one stage.

    Attributes:
        stage: the stage.
        own_loader: the recipe's loader, whose sampler is told the epoch.
        loader: the same, prepared: this process's share of the batches.
        first_epoch: its first epoch, counted over the whole run.
        lengths: batches of each epoch on this process, as the loader announces them.
        steps_of_epochs: optimiser steps of each epoch, where `max_steps` does not cut it.
        total_steps: optimiser steps of the stage.
    """

    stage: PlannedStage
    own_loader: DataLoader
    loader: DataLoader
    first_epoch: int
    lengths: list[int] = field(init=False)
    steps_of_epochs: list[int] = field(init=False)
    total_steps: int = field(init=False)

    def __post_init__(self) -> None:
        """Ask for the length of every epoch.

        Raises:
            ValueError: when an epoch has no batch.
        """
        args = self.stage.args
        self.lengths = []
        for epoch in range(args.num_train_epochs):
            self.set_epoch(epoch)
            self.lengths.append(len(self.loader))
        if 0 in self.lengths:
            where = "" if not any(self.lengths) else f" in epoch {self.lengths.index(0)}"
            raise ValueError(
                f"Stage {self.stage.name} has no training batch{where}: {len(self.own_loader.dataset)} samples, "
                f"batches of {args.per_device_train_batch_size}, dataloader_drop_last {args.dataloader_drop_last}."
            )
        self.steps_of_epochs = [math.ceil(length / args.gradient_accumulation_steps) for length in self.lengths]
        self.total_steps = sum(self.steps_of_epochs)
        if args.max_steps != -1:
            self.total_steps = min(self.total_steps, args.max_steps)

    def set_epoch(self, epoch: int) -> None:
        """Tell the samplers which epoch of the stage comes next, counted over the whole run, wherever they sit."""
        # The prepared loader repeats its own count at each pass, and does not reach a batch sampler inside a shard.
        self.loader.set_epoch(self.first_epoch + epoch)
        batch_sampler = self.own_loader.batch_sampler
        for sampler in (batch_sampler, getattr(batch_sampler, "sampler", None)):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(self.first_epoch + epoch)

    def items_of_batch(self, epoch: int, batch: int) -> list[Any]:
        """Return what the data set was asked for in one batch of this process; the order is drawn again."""
        self.set_epoch(epoch)
        return next(islice(iter(self.loader.batch_sampler), batch, None))

    def accumulation_weight(self, state: RunState) -> float:
        """Return the factor for a batch's loss that makes the last, shorter group of an epoch a mean as well.

        Accelerate divides each loss by the full number of accumulated batches.
        """
        length, accumulation = self.lengths[state.epoch], self.stage.args.gradient_accumulation_steps
        last_group = length % accumulation
        return accumulation / last_group if state.batch >= length - last_group else 1.0

    def check_length(self, state: RunState, ended: bool) -> None:
        """Compare what the loader gave in this epoch with what it announced.

        Raises:
            ValueError: when it `ended` before, or gives a batch more.
        """
        announced = self.lengths[state.epoch]
        if state.batch < announced and ended:
            found = f"gave {state.batch} of the"
        elif state.batch >= announced and not ended:
            found = "gives more than the"
        else:
            return
        raise ValueError(
            f"The training data of stage {self.stage.name}, epoch {state.epoch}, {found} {announced} batches that "
            "their loader announced: its len must be right for each epoch, which it is told by set_epoch."
        )


@dataclass
class StageParts:
    """What a stage, and those that continue it, train with.

    Attributes:
        module: what is trained, as the recipe gave it.
        prepared: the same, as Accelerate prepared it.
        learning: names of its parameters that learn.
        average: averaged weights of the module, or None.
        optimizer: prepared.
        scheduler: prepared; advances once per optimiser step.
        meter: losses since the last log line.
        first: index of the first stage.
        all_batches: the batches of each stage.
        learning_rates: of the parameter groups in the latest step, by the name under which they are logged.
        index: the stage in training.
    """

    module: nn.Module
    prepared: nn.Module
    learning: set[str]
    average: AveragedModel | None
    optimizer: AcceleratedOptimizer
    scheduler: AcceleratedScheduler
    meter: LossMeter
    first: int
    all_batches: list[StageBatches]
    index: int
    learning_rates: dict[str, float] = field(default_factory=dict)

    @property
    def batches(self) -> StageBatches:
        """The batches of the stage in training."""
        return self.all_batches[self.index - self.first]

    @property
    def stage(self) -> PlannedStage:
        """The stage in training."""
        return self.batches.stage

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the stage in training."""
        return self.batches.total_steps

    @property
    def goes_on(self) -> bool:
        """Whether the next stage continues the one in training."""
        return self.batches is not self.all_batches[-1]

    def progress(self, state: RunState) -> Progress:
        """Return what the recipe is told about where the run stands."""
        before = self.all_batches[: self.index - self.first]
        return Progress(
            stage=state.stage,
            epoch=state.epoch,
            global_epoch=state.global_epoch,
            batch=state.batch,
            step=state.step,
            global_step=state.global_step,
            steps_per_epoch=self.batches.steps_of_epochs[state.epoch],
            total_steps=self.total_steps,
            schedule_step=state.step + sum(batches.total_steps for batches in before),
            schedule_total_steps=sum(batches.total_steps for batches in self.all_batches),
        )

    def share_buffers(self) -> None:
        """Give every process the main process's buffers, so that all evaluate the weights that are saved.

        Parameters stay equal by themselves; running statistics are those of each process's own last batch until the
        next forward pass in training.
        """
        for module in (self.module, self.average):
            for buffer in () if module is None else module.buffers():
                broadcast(buffer)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Let the module have inside the block what is evaluated and saved: averaged weights, equal buffers.

        Afterwards its parts are in training or evaluation mode again as they were.
        """
        modes = [(part, part.training) for part in self.prepared.modules()]
        self.share_buffers()
        with averaged_weights(self.module, self.average):
            yield
        for part, mode in modes:
            part.training = mode

    def step_schedule(self, optimizer_step_was_skipped: bool) -> None:
        """Move the learning rate on, unless mixed precision dropped the step."""
        names = rate_names(self.optimizer.param_groups)
        self.learning_rates = dict(zip(names, self.scheduler.get_last_lr(), strict=True))
        if not optimizer_step_was_skipped:
            self.scheduler.step()

    def go_on(self, recipe: Recipe, model: PreTrainedModel) -> None:
        """Begin the next stage, which continues.

        Raises:
            ValueError: when the recipe's `start_stage` gives another module, or other parameters to train.
        """
        self.index += 1
        if _start(recipe, model, self.index) is not self.module or _learning(self.module) != self.learning:
            raise ValueError(
                f"Stage {self.stage.name} continues the stage before it, but trains another module or other "
                "parameters than that one: give it continues: false."
            )


def rate_names(groups: list[dict[str, Any]]) -> list[str]:
    """Return the names under which the rates of optimizer groups are logged.

    They are `learning_rate_<name>`, with the group's number where it has no name, and `learning_rate` for a lone group
    without name.
    """
    if len(groups) == 1 and "name" not in groups[0]:
        return ["learning_rate"]
    return [f"learning_rate_{group.get('name', number)}" for number, group in enumerate(groups)]


def start_stage(recipe: Recipe, model: PreTrainedModel, state: RunState, checkpoint: Path | None) -> StageParts:
    """Build and prepare the stage that `state` stands in, and restore it from `checkpoint` when that is given.

    A stage that continues others is begun with the first of them.

    Raises:
        ValueError: when the training data make no batch, nothing is trainable, or the checkpoint does not fit.
    """
    accelerator, index = recipe.accelerator, state.stage
    first = index
    while recipe.plan[first].continues:
        first -= 1
    saved = read_parts(checkpoint, accelerator.process_index) if checkpoint is not None else None
    module = _start(recipe, model, first)
    args = recipe.args
    average = start_average(module, args.ema_decay) if args.ema_decay is not None else None
    own_loaders = list(_own_loaders(recipe, first))
    recipe.use_stage(first)
    own_optimizer = recipe.make_optimizer(recipe.parameter_groups(module, first), first)
    prepared, optimizer, *loaders = accelerator.prepare(module, own_optimizer, *own_loaders)
    all_batches = []
    for number, (own_loader, loader) in enumerate(zip(own_loaders, loaders, strict=True), start=first):
        first_epoch = sum(stage.args.num_train_epochs for stage in recipe.plan[:number])
        all_batches.append(StageBatches(recipe.plan[number], own_loader, loader, first_epoch))
    steps_of_epochs = [steps for batches in all_batches for steps in batches.steps_of_epochs]
    own_scheduler = recipe.make_scheduler(
        own_optimizer,
        first,
        sum(batches.total_steps for batches in all_batches),
        sum(steps_of_epochs) / len(steps_of_epochs),
    )
    parts = StageParts(
        module=module,
        prepared=prepared,
        learning=_learning(module),
        average=average,
        optimizer=optimizer,
        scheduler=accelerator.prepare(own_scheduler),
        meter=LossMeter(accelerator.device),
        first=first,
        all_batches=all_batches,
        index=first,
    )
    while parts.index < index:
        parts.go_on(recipe, model)
    if saved is not None:
        recipe.load_state_dict(saved.process["recipe"])
        restore_prepared(accelerator, checkpoint)
        restore_rest(saved.run, model, average)
        parts.meter.load_state_dict(saved.process["meter"])
    return parts


def _start(recipe: Recipe, model: PreTrainedModel, index: int) -> nn.Module:
    recipe.use_stage(index)
    # Batches before the end of a stage that `max_steps` cut must not count for the first step of the next.
    recipe.accelerator.step = 0
    recipe.accelerator.gradient_accumulation_steps = recipe.args.gradient_accumulation_steps
    seed_stage(recipe.args.seed, index)
    return recipe.start_stage(model, index)


def _own_loaders(recipe: Recipe, first: int) -> Iterator[DataLoader]:
    """Ask for the loader of a stage and of those that continue it."""
    for index in range(first, len(recipe.plan)):
        if index > first and not recipe.plan[index].continues:
            return
        recipe.use_stage(index)
        loader = recipe.train_dataloader(index)
        shield_workers(loader)
        yield loader


def _learning(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}
