"""What a finished run says about itself, read from its folder and checked before a card repeats it."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..atomic_io import read_json_object
from ..text_files import read_text

LOSS_CURVE = "figures/loss_curve.png"


@dataclass(frozen=True)
class RunRecord:
    """Contents of a run's files.

    Args:
        run: `run.json`.
        metrics: `metrics.json`.
        config: `config.json`.
        log: lines of `training_log.jsonl`, empty without that file.
        recipe: text of `recipe.yaml`, `None` without that file.
        settings: what it says.
        pictures: paths of `figures/*.png` relative to the folder, sorted, without the loss curve.
        loss_curve: path of the loss curve, `None` when there is none.
    """

    run: dict[str, Any]
    metrics: dict[str, Any]
    config: dict[str, Any]
    log: list[dict[str, Any]]
    recipe: str | None
    settings: dict[str, Any]
    pictures: list[str]
    loss_curve: str | None


def read_run_record(folder: str | os.PathLike[str]) -> RunRecord:
    """Read the files of a run.

    Raises:
        FileNotFoundError: when `run.json`, `metrics.json` or `config.json` is missing.
        ValueError: when one of them does not hold what runs write.
    """
    folder = Path(folder)
    run = read_json_object(folder / "run.json", "the facts of the finished run that a card is made of")
    for name in ("method", "corpus"):
        if not isinstance(run.get(name), str):
            raise ValueError(f"{folder / 'run.json'} must name the {name} as text, got {run.get(name)!r}")
    metrics = read_json_object(folder / "metrics.json", "the results of the finished run that a card is made of")
    _check_metrics(metrics, folder / "metrics.json")
    recipe_path, log_path = folder / "recipe.yaml", folder / "training_log.jsonl"
    recipe = read_text(recipe_path).rstrip() if recipe_path.is_file() else None
    pictures = sorted(path.relative_to(folder).as_posix() for path in (folder / "figures").glob("*.png"))
    return RunRecord(
        run=run,
        metrics=metrics,
        config=read_json_object(folder / "config.json", "the configuration of the model that a card is made of"),
        log=_read_json_lines(log_path) if log_path.is_file() else [],
        recipe=recipe,
        settings={} if recipe is None else _read_settings(recipe, recipe_path),
        pictures=[picture for picture in pictures if picture != LOSS_CURVE],
        loss_curve=LOSS_CURVE if LOSS_CURVE in pictures else None,
    )


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    lines = read_text(path).splitlines()
    try:
        content = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds a line that is not JSON ({error}); remove it") from error
    if not all(isinstance(line, dict) for line in content):
        raise ValueError(f"{path} holds a line that is no JSON object; remove it")
    return content


def _read_settings(text: str, path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold settings by name, got {type(settings).__name__}")
    return settings


def _check_metrics(content: dict[str, Any], path: Path) -> None:
    for name in ("task", "corpus", "split", "primary_metric"):
        if not isinstance(content.get(name), str):
            raise ValueError(f"{path} must give {name!r} as text, got {content.get(name)!r}")
    if not isinstance(content.get("num_examples"), int) or content["num_examples"] < 1:
        raise ValueError(f"{path} must give 'num_examples' as a positive count, got {content.get('num_examples')!r}")
    measured = content.get("metrics")
    if not isinstance(measured, dict) or content["primary_metric"] not in measured:
        raise ValueError(f"{path} must give 'metrics' by name, {content['primary_metric']!r} among them")
    for name, value in measured.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{path} must give the metric {name!r} as a finite number, got {value!r}")
    for table in content.setdefault("tables", []):
        if any(len(row) != len(table["columns"]) for row in table["rows"]):
            raise ValueError(f"{path} has rows in the table {table['title']!r} that do not fit its columns")
