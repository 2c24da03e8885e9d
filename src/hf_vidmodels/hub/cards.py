"""Model cards made from what a run measured: `README.md`, and `.eval_results/` for the Hub's leaderboards.

Every number in a card comes from a file of the run's folder, see `run_record.RunRecord`. What cannot be measured
(paper, licence, intended use, limits) comes from `card_facts.CardFacts`.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..atomic_io import atomic_write
from ..auto import METHODS
from .card_facts import CardFacts, CorpusFacts, load_card_facts
from .run_record import RunRecord, read_run_record

TEMPLATES_FOLDER = Path(__file__).parent / "templates"
MODEL_ID_COMMENT = "  # this repository, or a folder with its files"
MODEL_ID_LINE = re.compile(rf'^model_id = ".*"(?={re.escape(MODEL_ID_COMMENT)}$)', flags=re.MULTILINE)
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")

Table = dict[str, Any]


def render_card(folder: str | os.PathLike[str]) -> str:
    """Make the card of a finished run.

    The loading examples name the folder; `set_model_id` makes them name a repository.

    Args:
        folder: the run's `output_dir`.

    Returns:
        Markdown with the Hub's metadata in front.

    Raises:
        FileNotFoundError: when `run.json`, `metrics.json` or `config.json` is missing.
        ValueError: when one of them is not what a run writes, or there are no facts about the method.
    """
    record = read_run_record(folder)
    return _render(Path(folder), record, load_card_facts(record.run["method"]))


def write_card(folder: str | os.PathLike[str]) -> Path:
    """Write the card of a finished run as `README.md`, and its results as `.eval_results/<corpus>.yaml`.

    Returns:
        Path of the card.

    Raises:
        FileNotFoundError, ValueError: as `render_card`.
    """
    folder = Path(folder)
    record = read_run_record(folder)
    facts = load_card_facts(record.run["method"])
    card, corpus = _render(folder, record, facts), facts.corpus(record.run["corpus"])
    entries = eval_result_entries_to_yaml(_eval_result_entries(record, corpus))
    with atomic_write(folder / ".eval_results" / f"{_file_stem(corpus.id)}.yaml", "w") as file:
        yaml.safe_dump(entries, file, sort_keys=False, allow_unicode=True)
    with atomic_write(folder / "README.md", "w") as file:
        file.write(card)
    return folder / "README.md"


def set_model_id(card: str, model_id: str) -> str:
    """Let the loading examples of a rendered card name `model_id`; other text stays as it is."""
    return MODEL_ID_LINE.sub(lambda _: f'model_id = "{model_id}"', card)


def format_value(value: Any) -> str:
    """Write a value of a file: fractions with four digits after the point, nothing for `None`, others as they are."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def format_markdown_table(table: Table) -> str:
    """Write a table of `columns` and `rows` in Markdown, values by `format_value`."""
    rows = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def _render(folder: Path, record: RunRecord, facts: CardFacts) -> str:
    corpus = facts.corpus(record.run["corpus"])
    return (
        _environment()
        .get_template("card.md")
        .render(
            metadata=_metadata(record, facts, corpus).to_yaml().strip(),
            facts=facts,
            corpus=corpus,
            metrics=record.metrics,
            averaged_tious=_averaged_tious(record),
            metrics_table=_metrics_table(record.metrics["metrics"]),
            training_facts=_training_facts(record.run),
            stages=_stages_table(record),
            command=record.run.get("command"),
            recipe_name=record.run.get("recipe"),
            recipe=record.recipe,
            pictures=record.pictures,
            loss_curve=record.loss_curve,
            processor_auto_class=_processor_auto_class(record.run["method"]),
            model_id_line=f'model_id = "{folder.resolve().name}"{MODEL_ID_COMMENT}',
            takes_video=bool(facts.video_usage and record.config.get("feature_extractor")),
        )
    )


def _cell(value: Any) -> str:
    return " ".join(format_value(value).replace("|", "\\|").split())


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The result is Markdown, not HTML.
        autoescape=False,
    )
    environment.filters |= {"value": format_value, "markdown_table": format_markdown_table}
    return environment


def _metadata(record: RunRecord, facts: CardFacts, corpus: CorpusFacts) -> ModelCardData:
    method, measured = record.run["method"], record.metrics
    results = [
        EvalResult(
            task_type=measured["task"],
            dataset_type=corpus.id,
            dataset_name=corpus.name,
            dataset_split=measured["split"],
            metric_type=name,
            metric_name=name,
            metric_value=value,
        )
        for name, value in measured["metrics"].items()
    ]
    return ModelCardData(
        model_name=f"{facts.name} on {corpus.name}",
        library_name="transformers",
        pipeline_tag=facts.pipeline_tag,
        license=corpus.license,
        tags=["hf_vidmodels", "custom_code", method, *facts.tags],
        datasets=_dataset_ids(record.run["corpus"]),
        eval_results=results,
    )


def _dataset_ids(corpus: str) -> list[str] | None:
    """Give the Hub's name of a corpus, as far as there can be one: not of generated ones and not of folders."""
    if corpus.startswith("embedded/") or Path(corpus).exists() or not HUB_ID.fullmatch(corpus):
        return None
    return [corpus]


def _eval_result_entries(record: RunRecord, corpus: CorpusFacts) -> list[EvalResultEntry]:
    measured = record.metrics
    notes = f"split {measured['split']}, {measured['num_examples']} examples, fraction"
    return [
        EvalResultEntry(dataset_id=corpus.id, task_id=name, value=value, notes=notes)
        for name, value in measured["metrics"].items()
    ]


def _file_stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")


def _averaged_tious(record: RunRecord) -> list[str]:
    if record.metrics["primary_metric"] != "average_mAP":
        return []
    return [f"{threshold:g}" for threshold in record.config.get("average_tiou_thresholds", [])]


def _metrics_table(metrics: dict[str, float]) -> Table:
    return {"columns": ["metric", "value"], "rows": [list(item) for item in metrics.items()]}


def _training_facts(run: dict[str, Any]) -> Table:
    parameters = run.get("num_parameters")
    hardware = run.get("hardware") or {}
    versions = run.get("versions") or {}
    rows = [
        ["training examples", run.get("num_train_examples")],
        ["parameters", None if parameters is None else f"{parameters:,}"],
        ["seed", run.get("seed")],
        ["processes", run.get("world_size")],
        ["gradient accumulation steps", run.get("gradient_accumulation_steps")],
        ["mixed precision", run.get("mixed_precision")],
        ["processor", hardware.get("cpu")],
        ["processor cores", hardware.get("cores")],
        ["GPU", hardware.get("gpu") if hardware.get("gpu") or "gpu" not in hardware else "none"],
        ["started", run.get("started")],
        ["wall time in seconds", _seconds(run.get("wall_time_s"))],
        ["commit of hf_vidmodels", run.get("git_commit")],
        ["versions", ", ".join(f"{package} {version}" for package, version in versions.items()) or None],
    ]
    return {"columns": ["", "this run"], "rows": [row for row in rows if row[1] is not None]}


def _stages_table(record: RunRecord) -> Table:
    rows = []
    for stage in record.run.get("stages") or []:
        losses = [line["loss"] for line in record.log if line.get("stage") == stage["name"] and "loss" in line]
        first, last = (losses[0], losses[-1]) if losses else (None, None)
        rows.append(
            [stage["name"], stage.get("epochs"), stage.get("steps"), _seconds(stage.get("wall_time_s")), first, last]
        )
    columns = ["stage", "epochs", "optimiser steps", "wall time in seconds", "first logged loss", "last logged loss"]
    return {"columns": columns, "rows": rows}


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def _processor_auto_class(method: str) -> str:
    return next(row.processor_auto_class.__name__ for row in METHODS if row.stem == method)
