"""What lasts over all stages of a run: recipe, model, folder, counters and log, and the checkpoint to go on from."""

import time
from pathlib import Path

from .arguments import TrainingArguments
from .checkpoints import CHECKPOINTS_FOLDER, WORK_FOLDER
from .launch import start_accelerator, start_trackers
from .recipe import Recipe
from .run_files import check_output_dir, open_output_dir
from .run_state import RunState, load_state
from .seeding import seed_stage
from .stop_request import StopRequest
from .training_log import TrainingLog


class Training:
    """A run between its stages.

    Attributes:
        recipe: the method, with the arguments.
        accelerator: of this process.
        output_dir: folder of the run.
        model: the whole model; what is prepared for training is it or a part of it.
        state: the counters.
        stop_request: whether somebody wants the run to stop.
        checkpoint: what the first stage to run goes on from, or None.
        log: the training log.
        fingerprint: what a run must have in common with the checkpoint that it goes on from.
        num_train_examples: size of the training data of the latest stage.
    """

    def __init__(self, recipe: Recipe, args: TrainingArguments) -> None:
        self.recipe = recipe
        self.accelerator = start_accelerator(args, any(stage.args.ema_decay is not None for stage in recipe.plan))
        self.checkpoint = check_output_dir(self.accelerator, args)
        self.output_dir = Path(args.output_dir)
        self.fingerprint = {
            **args.result_fields(),
            **{name: value for stage in recipe.plan for name, value in stage.result_fields().items()},
            "method": recipe.method,
            "world_size": self.accelerator.num_processes,
            "mixed_precision": self.accelerator.mixed_precision,
        }
        self.state = load_state(self.checkpoint, self.fingerprint) if self.checkpoint else RunState()
        self._clock = time.monotonic()
        recipe.attach(self.accelerator, self.output_dir / CHECKPOINTS_FOLDER / WORK_FOLDER)
        with self.accelerator.main_process_first():
            recipe.prepare_data()
        seed_stage(args.seed, -1)
        self.model = recipe.build_model().to(self.accelerator.device)
        if self.checkpoint:
            self.accelerator.print(f"Going on from {self.checkpoint}.")
        # Only now is anything written (or deleted), when the data have proved good.
        if self.accelerator.is_main_process:
            open_output_dir(args, recipe.method)
        self.accelerator.wait_for_everyone()
        start_trackers(self.accelerator, args)
        self.log = TrainingLog(self.accelerator, self.output_dir, self.state.log_bytes, not args.disable_tqdm)
        self.stop_request = StopRequest()
        self.num_train_examples = 0

    @property
    def args(self) -> TrainingArguments:
        """The arguments of the stage in training."""
        return self.recipe.args

    @property
    def in_last_stage(self) -> bool:
        """Whether no stage follows the one in training."""
        return self.state.stage == len(self.recipe.plan) - 1

    def count_time(self, in_stage: bool = True) -> None:
        """Add the time since the last call to the run's wall time, and to the stage's if it was spent there."""
        now = time.monotonic()
        spent, self._clock = now - self._clock, now
        self.state.wall_time_s += spent
        if in_stage:
            self.state.stage_wall_time_s += spent
