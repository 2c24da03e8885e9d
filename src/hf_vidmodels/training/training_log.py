"""What a run says while it goes: means of the loss in `training_log.jsonl` and trackers, and a progress bar.

Nothing here reads a tensor during a step: losses are summed up on the device and read every `logging_steps`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from .checkpoints import one_sentence_when_writing_fails

LOG_FILE = "training_log.jsonl"


@dataclass(frozen=True)
class BadBatch:
    """A batch whose loss was no number.

    Attributes:
        epoch: its epoch in the stage.
        number: its position in the epoch.
        parts: what the recipe logged of it, parts of the loss among it, by name.
    """

    epoch: int
    number: int
    parts: Mapping[str, float]


class LossMeter:
    """Sums scalars on the device, and remembers there which batch's loss was the first not to be a number.

    Args:
        device: where the losses are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.batches: list[tuple[int, int]] = []
        self.reset()

    def reset(self) -> None:
        """Forget the sums."""
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = defaultdict(int)
        self._reset_finiteness()

    def _reset_finiteness(self) -> None:
        self.batches.clear()
        self.bad_parts: dict[str, torch.Tensor] = {}
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=self.device)

    def add(self, loss: torch.Tensor, logs: Mapping[str, torch.Tensor], epoch: int, batch: int) -> None:
        """Count the scalars of one batch.

        Args:
            loss: the loss, shape `()`.
            logs: further detached scalars by name.
            epoch: the batch's epoch, for the error about it.
            batch: its position in that epoch.
        """
        for name, value in {"loss": loss, **logs}.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] += 1
        unnoticed = (self.first_bad < 0) & ~torch.isfinite(loss.detach())
        self.first_bad = torch.where(unnoticed, len(self.batches), self.first_bad)
        for name, value in logs.items():
            value = value.detach().float()
            self.bad_parts[name] = torch.where(unnoticed, value, self.bad_parts.get(name, value))
        self.batches.append((epoch, batch))

    def take_bad_batch(self, accelerator: Accelerator) -> tuple[bool, BadBatch | None]:
        """Return whether any process met a loss that is no number, and the batch where this one first did.

        Waits for the device; looks at the batches since it was last called.
        """
        first = int(self.first_bad)
        anywhere = bool((accelerator.gather(self.first_bad.reshape(1)) >= 0).any())
        here = None
        if first >= 0:
            here = BadBatch(*self.batches[first], {name: float(value) for name, value in self.bad_parts.items()})
        self._reset_finiteness()
        return anywhere, here

    def take_means(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the means since the last call over all processes, and start anew; waits for the device."""
        names = sorted(self.sums)
        means = torch.stack([self.sums[name] / self.counts[name] for name in names])
        values = accelerator.reduce(means, reduction="mean").tolist()
        self.sums, self.counts = {}, defaultdict(int)
        return dict(zip(names, values, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, so that a resumed run logs what an uninterrupted one does."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take sums back."""
        self.reset()
        self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.counts.update(state["counts"])


class TrainingLog:
    """Lines of `training_log.jsonl`, the trackers and the progress bar of the main process.

    Args:
        accelerator: knows the main process and the trackers.
        output_dir: folder of the run.
        log_bytes: length at which to cut an earlier log: what a killed run wrote after its last checkpoint is
            written again.
        show_progress: whether there is a progress bar.
    """

    def __init__(self, accelerator: Accelerator, output_dir: Path, log_bytes: int, show_progress: bool) -> None:
        self.accelerator = accelerator
        self.show_progress = show_progress and accelerator.is_main_process
        self.path = output_dir / LOG_FILE
        self.bar = tqdm(disable=True)
        if accelerator.is_main_process:
            with open(self.path, "ab") as file:
                file.truncate(min(log_bytes, file.tell()))

    def start_stage(self, name: str, done: int, total: int) -> None:
        """Open the progress bar of a stage with `done` of its `total` optimiser steps."""
        self.bar = tqdm(total=total, initial=done, desc=name, unit="step", disable=not self.show_progress)

    def advance(self) -> None:
        """Count one optimiser step."""
        self.bar.update()

    def finish_stage(self) -> None:
        """Close the stage's progress bar."""
        self.bar.close()

    def write(self, stage: str, epoch: int, global_step: int, values: Mapping[str, float]) -> int:
        """Append one line and send it to the trackers; return the length of the log in bytes.

        Args:
            stage: name of the stage.
            epoch: finished epochs of it.
            global_step: finished optimiser steps of the run.
            values: numbers by name.
        """
        self.accelerator.log(dict(values), step=global_step)
        if not self.accelerator.is_main_process:
            return 0
        if "loss" in values:
            self.bar.set_postfix(loss=f"{values['loss']:.4g}")
        with one_sentence_when_writing_fails(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "epoch": epoch, "step": global_step, **values}) + "\n")
            file.flush()
            return file.tell()


def non_finite_sentence(
    where: BadBatch | None, stage: str, step: int, names: Sequence[str], rates: Mapping[str, float]
) -> str:
    """Say where the loss stopped being a number.

    Args:
        where: the batch of it on this process; None when another process met it.
        stage: name of the stage.
        step: optimiser steps of the run by now.
        names: the samples of that batch.
        rates: learning rates of the latest step by name; may be empty.
    """
    if where is None:
        return f"The loss is not finite in stage {stage}, before step {step}: another process met it and says where."
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in {**where.parts, **rates}.items())
    return (
        f"The loss is not finite in stage {stage}, epoch {where.epoch}, batch {where.number} of the epoch, before "
        f"step {step} of the run, with the samples {', '.join(names)}{f' ({numbers})' if numbers else ''}. Look at "
        "these samples, or try a lower learning_rate or a max_grad_norm; earlier checkpoints are intact."
    )
