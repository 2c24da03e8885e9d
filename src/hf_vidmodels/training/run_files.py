"""The files of a run's folder: checked and opened at its beginning, completed at its end."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..atomic_io import atomic_write, write_json
from ..command_line import USAGE_ERROR_STATUS
from ..data.features.feature_extraction import CHECKPOINT_FOLDER as FEATURE_EXTRACTOR_FOLDER
from .arguments import TrainingArguments
from .checkpoints import CHECKPOINTS_FOLDER, WORK_FOLDER, find_checkpoint, one_sentence_when_writing_fails
from .launch import TRACKER_FOLDER
from .training_log import LOG_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..evaluation.evaluation import Evaluation
    from .recipe import Recipe
    from .run_state import RunState

FIGURES_FOLDER = "figures"
RECIPE_FILE = "recipe.yaml"
_NOT_IN_RECIPE = ("output_dir", "overwrite_output_dir", "resume_from_checkpoint")
_REPORTED_PACKAGES = (
    "hf_vidmodels",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "datasets",
    "evaluate",
    "numpy",
)
# Patterns of names; the code files are told by `_exported_code_names`.
_WRITTEN_BY_RUNS = (
    CHECKPOINTS_FOLDER,
    FEATURE_EXTRACTOR_FOLDER,
    FIGURES_FOLDER,
    TRACKER_FOLDER,
    ".eval_results",
    "averaged",
    LOG_FILE,
    RECIPE_FILE,
    "README.md",
    "run.json",
    "metrics.json",
    "predictions.json",
    "unreadable_videos.txt",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)


def check_output_dir(accelerator: Accelerator, args: TrainingArguments) -> Path | None:
    """Check the run's folder, changing nothing; return the checkpoint to go on from, if any.

    Raises:
        ValueError: when no folder is named, or it is not empty and the run neither goes on nor may overwrite it.
        FileNotFoundError: when the checkpoint to go on from does not exist.
        SystemExit: the same on the other processes, so that the sentence is said once.
    """
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            answer[0] = _find_start(args)
        except (ValueError, OSError) as error:
            answer[1] = error
    # One look for all processes: a second process could see what the first has just made.
    checkpoint, error = broadcast_object_list(answer)
    if error is not None:
        if accelerator.is_main_process:
            raise error
        sys.exit(USAGE_ERROR_STATUS)
    return checkpoint


def _find_start(args: TrainingArguments) -> Path | None:
    if not args.output_dir:
        raise ValueError("output_dir is missing: say where the run's files go with --output_dir FOLDER.")
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir {folder} is a file; name a folder.")
    if args.resume_from_checkpoint:
        checkpoint = find_checkpoint(folder, args.resume_from_checkpoint)
        if checkpoint is None:
            print(f"There is no checkpoint in {folder} yet: starting from the beginning.")
        return checkpoint
    if not args.overwrite_output_dir and folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"output_dir {folder} is not empty: go on with its run (--resume_from_checkpoint last), replace it "
            "(--overwrite_output_dir), or name another folder."
        )
    return None


def open_output_dir(args: TrainingArguments, method: str) -> None:
    """Make the run's folder, without what an earlier run left when that is to be overwritten, and name its recipe.

    `recipe.yaml` holds every field with its value and can be given to `--recipe` again.
    """
    folder = Path(args.output_dir)
    if args.overwrite_output_dir:
        for pattern in (*_WRITTEN_BY_RUNS, *_exported_code_names()):
            for path in list(folder.glob(pattern)):
                _delete(path)
    (folder / CHECKPOINTS_FOLDER / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    values = {name: value for name, value in vars(args).items() if name not in _NOT_IN_RECIPE}
    with atomic_write(folder / RECIPE_FILE, "w") as file:
        yaml.safe_dump({"method": method, **values}, file, sort_keys=False, allow_unicode=True)


def _exported_code_names() -> list[str]:
    """Return the names of all files that a run of any method can have written beside its model as code."""
    from ..hub.code_export import EXPORTED_ROOMS

    package = Path(__file__).parents[1]
    modules = (path for room in EXPORTED_ROOMS for path in (package / room).rglob("*.py"))
    return sorted(path.name for path in modules if path.stem != "__init__")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_model(output_dir: Path, model: "PreTrainedModel", weights: dict[str, torch.Tensor], processor: Any) -> None:
    """Write configuration, safetensors weights and processor; each file is complete or that of before."""
    temporary = Path(tempfile.mkdtemp(dir=output_dir, prefix=".model.", suffix=".tmp"))
    try:
        with one_sentence_when_writing_fails(output_dir / "model.safetensors"):
            model.save_pretrained(temporary, state_dict=weights)
            if processor is not None:
                processor.save_pretrained(temporary)
            for path in temporary.iterdir():
                os.replace(path, output_dir / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_results(output_dir: Path, recipe: "Recipe", evaluation: "Evaluation") -> None:
    """Write `metrics.json`, `predictions.json` and the evaluation's figures."""
    record = results_record(recipe.task, recipe.args.dataset_name, evaluation)
    write_json(output_dir / "metrics.json", record)
    if evaluation.predictions is not None:
        write_json(output_dir / "predictions.json", evaluation.predictions)
    for stem, figure in evaluation.figures.items():
        _write_figure(output_dir / FIGURES_FOLDER / f"{stem}.png", figure)


def results_record(task: str, corpus: str, evaluation: "Evaluation") -> dict[str, Any]:
    """Return the content of `metrics.json`: what was measured, and on what.

    Args:
        task: what the model is for, such as `"temporal-action-localization"`.
        corpus: name or path of the corpus, as in `dataset_name`.
        evaluation: what the evaluation found.
    """
    return {
        "task": task,
        "corpus": corpus,
        "split": evaluation.split,
        "num_examples": evaluation.num_examples,
        "primary_metric": evaluation.primary_metric,
        "metrics": evaluation.metrics,
        "tables": evaluation.tables,
    }


def write_loss_curve(output_dir: Path, primary_metric: str | None) -> None:
    """Draw `figures/loss_curve.png` from the training log, with the metric where it was evaluated more than once."""
    from ..visualization.loss_curve import draw_loss_curve

    rows = [json.loads(line) for line in (output_dir / LOG_FILE).read_text(encoding="utf-8").splitlines()]
    if sum(f"eval_{primary_metric}" in row for row in rows) < 2:
        rows, primary_metric = [row for row in rows if "loss" in row], None
    _write_figure(output_dir / FIGURES_FOLDER / "loss_curve.png", draw_loss_curve(rows, metric=primary_metric))


def _write_figure(path: Path, figure: Any) -> None:
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    with atomic_write(path) as file:
        file.write(picture.getvalue())


def write_run_facts(
    output_dir: Path,
    recipe: "Recipe",
    accelerator: Accelerator,
    state: "RunState",
    num_parameters: int,
    num_train_examples: int,
) -> None:
    """Write `run.json`: what was run, on what, and how long it took."""
    args = recipe.args
    write_json(
        output_dir / "run.json",
        {
            "method": recipe.method,
            "recipe": args.recipe,
            "command": shown_command(sys.argv),
            "seed": args.seed,
            "world_size": accelerator.num_processes,
            "gradient_accumulation_steps": args.gradient_accumulation_steps,
            "mixed_precision": accelerator.mixed_precision,
            "git_commit": _git_commit(),
            "versions": _versions(),
            "hardware": _hardware(),
            "started": state.started,
            "wall_time_s": round(state.wall_time_s, 3),
            "num_parameters": num_parameters,
            "corpus": args.dataset_name,
            "num_train_examples": num_train_examples,
            "stages": state.finished_stages,
        },
    )


def shown_command(words: list[str]) -> str:
    """Return a command line as it may be written down and copied.

    Left out are what looks like a token, and `--overwrite_output_dir`: who repeats the command from a card may have
    another run in the folder of that name.
    """
    shown, hide_next, drop_value = [], False, False
    for word in words:
        if drop_value and not word.startswith("-"):
            drop_value = False
            continue
        drop_value = False
        if hide_next:
            word, hide_next = "...", False
        name, equals, _ = word.partition("=")
        if name in ("--overwrite_output_dir", "--overwrite-output-dir"):
            drop_value = not equals
            continue
        if name.startswith("-") and re.search(r"token|password|secret|api[-_]?key", name, re.IGNORECASE):
            word, hide_next = f"{name}=..." if equals else name, not equals
        shown.append(re.sub(r"hf_[A-Za-z0-9]{6,}", "...", word))
    return shlex.join(shown)


def _git_commit() -> str | None:
    """Return the commit of the checkout that this file is tracked in; None for an installed package."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    cpu_facts = Path("/proc/cpuinfo")
    if cpu_facts.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpu_facts.read_text(encoding="utf-8"), re.MULTILINE)
        name = found[1] if found else name
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": name, "cores": os.cpu_count(), "gpu": gpu}
