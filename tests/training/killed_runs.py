"""What a killed run leaves, made from one that was not."""

import json
import shutil
from pathlib import Path

from hf_vidmodels.training.training_log import LOG_FILE


def leave_as_if_killed_after(checkpoint: Path, finished_run: Path, folder: Path) -> None:
    """Copy a finished run to what was there when it was killed some time after writing `checkpoint`."""
    shutil.copytree(finished_run / "checkpoints" / "work", folder / "checkpoints" / "work")
    if "base" in checkpoint.name:
        (folder / "checkpoints" / "work" / "answers.json").unlink()
    shutil.copytree(checkpoint, folder / "checkpoints" / checkpoint.name)
    for best in (finished_run / "checkpoints").glob("best-*"):
        if int(best.name.removeprefix("best-")) <= int(checkpoint.name.rpartition("-")[2]):
            shutil.copytree(best, folder / "checkpoints" / best.name)
    log = (finished_run / LOG_FILE).read_text()
    state = json.loads((checkpoint / "trainer_state.json").read_text())["state"]
    (folder / LOG_FILE).write_text(log[: state["log_bytes"]] + '{"stage": "half-writ')
