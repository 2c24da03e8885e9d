"""What one stage trains with: module, optimizer, schedule, loader, average; prepared and, when resuming, restored."""

import math
from dataclasses import dataclass
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
from .recipe import Progress, Recipe, Stage
from .run_state import RunState
from .seeding import seed_stage
from .training_log import LossMeter
from .weight_average import start_average


@dataclass
class StageParts:
    """Everything of one stage; lives only as long as the stage.

    Attributes:
        name: of the stage.
        num_epochs: of the stage.
        module: what is trained, as the recipe gave it.
        prepared: the same, as Accelerate prepared it.
        average: averaged weights of the module, or None.
        optimizer: prepared.
        scheduler: prepared; advances once per optimiser step.
        loader: prepared: this process's share of the batches.
        own_loader: the recipe's loader, whose sampler is told the epoch.
        meter: losses since the last log line.
        num_batches: batches of an epoch on this process.
        accumulation: batches per optimiser step.
        steps_per_epoch: optimiser steps of an epoch.
        total_steps: optimiser steps of the stage.
        learning_rate: of the first parameter group in the latest step.
    """

    name: str
    num_epochs: int
    module: nn.Module
    prepared: nn.Module
    average: AveragedModel | None
    optimizer: AcceleratedOptimizer
    scheduler: AcceleratedScheduler
    loader: DataLoader
    own_loader: DataLoader
    meter: LossMeter
    num_batches: int
    accumulation: int
    steps_per_epoch: int
    total_steps: int
    learning_rate: float = 0.0

    def progress(self, state: RunState) -> Progress:
        """Return what the recipe is told about where the run stands."""
        return Progress(
            stage=state.stage,
            epoch=state.epoch,
            global_epoch=state.global_epoch,
            batch=state.batch,
            step=state.step,
            global_step=state.global_step,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
        )

    def set_epoch(self, epoch: int) -> None:
        """Tell the samplers which epoch (of the whole run) comes next, wherever they sit."""
        # The prepared loader repeats its own count at each pass, and does not reach a batch sampler inside a shard.
        self.loader.set_epoch(epoch)
        batch_sampler = self.own_loader.batch_sampler
        for sampler in (batch_sampler, getattr(batch_sampler, "sampler", None)):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def share_buffers(self) -> None:
        """Give every process the main process's buffers, so that all evaluate the weights that are saved.

        Parameters stay equal by themselves; running statistics are those of each process's own last batch until the
        next forward pass in training.
        """
        for module in (self.module, self.average):
            for buffer in () if module is None else module.buffers():
                broadcast(buffer)

    def items_of_batch(self, epoch: int, batch: int) -> list[Any]:
        """Return what the data set was asked for in one batch of this process; the order is drawn again."""
        self.set_epoch(epoch)
        return next(islice(iter(self.loader.batch_sampler), batch, None))

    def accumulation_weight(self, batch: int) -> float:
        """Return the factor for a batch's loss that makes the last, shorter group of an epoch a mean as well.

        Accelerate divides each loss by the full number of accumulated batches.
        """
        last_group = self.num_batches % self.accumulation
        return self.accumulation / last_group if batch >= self.num_batches - last_group else 1.0

    def step_schedule(self, optimizer_step_was_skipped: bool) -> None:
        """Move the learning rate on, unless mixed precision dropped the step."""
        self.learning_rate = self.scheduler.get_last_lr()[0]
        if not optimizer_step_was_skipped:
            self.scheduler.step()


def start_stage(
    recipe: Recipe, model: PreTrainedModel, stages: list[Stage], state: RunState, checkpoint: Path | None
) -> StageParts:
    """Build and prepare the stage that `state` stands in, and restore it from `checkpoint` when that is given.

    Raises:
        ValueError: when the training data make no batch, nothing is trainable, or the checkpoint does not fit.
    """
    args, accelerator, index = recipe.args, recipe.accelerator, state.stage
    seed_stage(args.seed, index)
    module = recipe.start_stage(model, index)
    saved = read_parts(checkpoint, accelerator.process_index) if checkpoint is not None else None
    if saved is not None:
        recipe.load_state_dict(saved.process["recipe"])
    average = start_average(module, args.ema_decay) if args.ema_decay is not None else None
    own_loader = recipe.train_dataloader(index)
    own_optimizer = recipe.make_optimizer(recipe.parameter_groups(module, index), index)
    prepared, optimizer, loader = accelerator.prepare(module, own_optimizer, own_loader)
    if len(loader) == 0:
        raise ValueError(
            f"Stage {stages[index].name} has no training batch: {len(own_loader.dataset)} samples, batches of "
            f"{args.per_device_train_batch_size}, dataloader_drop_last {args.dataloader_drop_last}."
        )
    steps_per_epoch = math.ceil(len(loader) / args.gradient_accumulation_steps)
    total_steps = stages[index].num_epochs * steps_per_epoch
    if args.max_steps != -1:
        total_steps = min(total_steps, args.max_steps)
    scheduler = accelerator.prepare(recipe.make_scheduler(own_optimizer, index, total_steps, steps_per_epoch))
    meter = LossMeter(accelerator.device)
    if saved is not None:
        restore_prepared(accelerator, checkpoint)
        restore_rest(saved.run, model, average)
        meter.load_state_dict(saved.process["meter"])
    return StageParts(
        name=stages[index].name,
        num_epochs=stages[index].num_epochs,
        module=module,
        prepared=prepared,
        average=average,
        optimizer=optimizer,
        scheduler=scheduler,
        loader=loader,
        own_loader=own_loader,
        meter=meter,
        num_batches=len(loader),
        accumulation=args.gradient_accumulation_steps,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
