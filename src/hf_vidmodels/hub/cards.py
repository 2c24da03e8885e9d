"""Model cards made from what a run measured: the `README.md` of a run.

Every number in a card comes from a file of the run's folder, see `run_record.RunRecord`. What cannot be measured
(paper, licence, intended use, limits) comes from `card_facts.CardFacts`.
"""

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..atomic_io import atomic_write
from ..auto import METHODS
from ..printable_text import printable
from ..text_tables import format_value
from .card_facts import CardFacts, CorpusFacts, load_card_facts
from .run_record import RunRecord, read_run_record

TEMPLATES_FOLDER = Path(__file__).parent / "templates"
MODEL_ID_COMMENT = "  # this repository, or a folder with its files"
MODEL_ID_LINE = re.compile(rf'^model_id = ".*"(?={re.escape(MODEL_ID_COMMENT)}$)', flags=re.MULTILINE)
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Settings of a recipe that name what its networks start from.
START_WEIGHTS = ("model_name_or_path", "encoder_weights")
# What would begin a link, code, HTML or a table's cell. Spaces and ends of lines become single spaces.
_MARKDOWN = re.compile(r"[\\`\[\]|]")

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
    """Write the card of a finished run as `README.md`.

    Returns:
        Path of the card.

    Raises:
        FileNotFoundError, ValueError: as `render_card`.
    """
    folder = Path(folder)
    card = render_card(folder)
    with atomic_write(folder / "README.md", "w") as file:
        file.write(card)
    return folder / "README.md"


def set_model_id(card: str, model_id: str) -> str:
    """Let the loading examples of a rendered card name `model_id`; other text stays as it is."""
    return MODEL_ID_LINE.sub(lambda _: f"model_id = {json.dumps(model_id)}", card)


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
            processor_auto_class=_processor_auto_class(record.config["architectures"][0]),
            model_id_line=f"model_id = {json.dumps(_path_to(folder))}{MODEL_ID_COMMENT}",
            takes_video=bool(facts.video_usage and record.config.get("feature_extractor")),
        )
    )


def plain_text(value: Any) -> str:
    """Write text so that Markdown shows it as it is, on one line."""
    text = _MARKDOWN.sub(lambda found: f"\\{found[0]}", printable(" ".join(str(value).split())))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code_span(value: Any) -> str:
    """Write text as code within a line."""
    text = printable(" ".join(str(value).split()))
    marks = _marks_around(text, 1)
    gap = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{gap}{text}{gap}{marks}"


def code_block(text: str, language: str) -> str:
    """Write text as a block of code that nothing in it can end."""
    marks = _marks_around(text, 3)
    return f"{marks}{language}\n{printable(text)}\n{marks}"


def _marks_around(text: str, least: int) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


def _path_to(folder: Path) -> str:
    """Give a path that opens the folder: from here where it lies below, from anywhere otherwise."""
    folder = folder.resolve()
    return folder.relative_to(Path.cwd()).as_posix() if folder.is_relative_to(Path.cwd()) else str(folder)


def _cell(value: Any) -> str:
    return plain_text(format_value(value))


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
    environment.filters |= {
        "value": format_value,
        "markdown_table": format_markdown_table,
        "plain": plain_text,
        "code": code_span,
        "block": code_block,
        "address": quote,
    }
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
        # Another model of the method, for another task, does not run in that pipeline.
        pipeline_tag=facts.pipeline_tag if facts.pipeline_tag == measured["task"] else None,
        license=corpus.license,
        license_name=corpus.license_name,
        license_link=corpus.license_link,
        tags=["hf_vidmodels", "custom_code", method, *facts.tags],
        datasets=_hub_ids(record.run["corpus"]),
        base_model=(base := _hub_ids(*(record.settings.get(name) for name in START_WEIGHTS))),
        base_model_relation="finetune" if base else None,
        eval_results=results,
    )


def _hub_ids(*names: Any) -> list[str] | None:
    """Give the names that are repositories of the Hub: not what is generated, and no folders of this machine."""
    found = [name for name in names if isinstance(name, str) and HUB_ID.fullmatch(name)]
    return [name for name in found if not name.startswith("embedded/") and not Path(name).exists()] or None


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


def _processor_auto_class(model_class: str) -> str:
    return next(row.processor_auto_class.__name__ for row in METHODS if model_class in row.models.values())
