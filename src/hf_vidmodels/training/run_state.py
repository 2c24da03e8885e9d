"""Where a run stands: the counters that are saved with every checkpoint and read back when it goes on."""

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..atomic_io import write_json

STATE_FILE = "trainer_state.json"


@dataclass
class RunState:
    """Counters of a run; all say what is done.

    Attributes:
        stage: index of the stage in training.
        epoch: epochs of this stage.
        batch: batches of this epoch on each process.
        step: optimiser steps of this stage.
        global_step: optimiser steps of the run.
        epochs_before: epochs of earlier stages.
        log_bytes: length of `training_log.jsonl`.
        best_metric: the best value of the primary metric in the last stage, if one was measured for it.
        best_step: the `global_step` of that evaluation.
        started: when the run began, ISO 8601 in UTC.
        wall_time_s: seconds spent so far, over all restarts, without what a kill threw away.
        stage_wall_time_s: those of them spent in this stage.
        finished_stages: one `{"name", "epochs", "steps", "wall_time_s"}` per finished stage.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    global_step: int = 0
    epochs_before: int = 0
    log_bytes: int = 0
    best_metric: float | None = None
    best_step: int | None = None
    started: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    wall_time_s: float = 0.0
    stage_wall_time_s: float = 0.0
    finished_stages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def global_epoch(self) -> int:
        """The epoch counted over the whole run, which seeds and data sets see."""
        return self.epochs_before + self.epoch

    def finish_epoch(self) -> None:
        """Move to the beginning of the next epoch of the stage."""
        self.epoch += 1
        self.batch = 0

    def finish_stage(self, name: str, num_epochs: int) -> None:
        """Record the stage and move to the beginning of the next."""
        wall_time_s = round(self.stage_wall_time_s, 3)
        self.finished_stages.append(
            {"name": name, "epochs": self.epoch, "steps": self.step, "wall_time_s": wall_time_s}
        )
        self.stage += 1
        self.epochs_before += num_epochs
        self.epoch = self.batch = self.step = 0
        self.stage_wall_time_s = 0.0

    def save(self, folder: Path, fingerprint: dict[str, Any]) -> None:
        """Write `trainer_state.json`, with what a resumed run must have in common with this one."""
        write_json(folder / STATE_FILE, {"state": asdict(self), "fingerprint": fingerprint})


def load_state(checkpoint: Path, fingerprint: dict[str, Any]) -> RunState:
    """Return the state in a checkpoint's folder.

    Args:
        checkpoint: the folder.
        fingerprint: what the run that goes on has: the fields its result depends on, the number of processes.

    Raises:
        ValueError: when the checkpoint's run differs in one of these, naming them all, or its file is damaged.
    """
    try:
        content = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        saved, names = content["fingerprint"], {item.name for item in fields(RunState)}
        state = RunState(**{name: content["state"][name] for name in names})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"The checkpoint {checkpoint} is damaged: its {STATE_FILE} cannot be read ({error!r})."
        ) from error
    current = json.loads(json.dumps(fingerprint))
    differing = [name for name in sorted(saved.keys() | current.keys()) if saved.get(name) != current.get(name)]
    if differing:
        changes = "; ".join(f"{name} was {saved.get(name)!r} and is now {current.get(name)!r}" for name in differing)
        raise ValueError(
            f"The checkpoint {checkpoint} cannot be resumed with settings that change the result: {changes}. "
            "Give the earlier settings, or start afresh in another output_dir."
        )
    return state
