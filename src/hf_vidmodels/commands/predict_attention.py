"""`hf-vidmodels predict` for object localisation: a sheet of heat maps and boxes, and attention.json."""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import AutoImageProcessor, PreTrainedConfig

from ..atomic_io import write_json
from ..configuration.configuration_l2_caf import L2CafConfig
from ..modeling.modeling_l2_caf import L2CafForObjectLocalization
from ..pipelines.object_localization_pipeline import ObjectLocalizationPipeline
from ..processing.picture_reading import read_picture
from ..processing.processing_l2_caf import L2CafImageProcessor
from ..text_tables import print_table
from ..visualization.contact_sheet import draw_contact_sheet
from ..visualization.figures import save_figure
from .opened_models import open_model
from .prediction_runs import Predicted, TableRows, predict_each, report_failures
from .task_options import read_config

SHEET_NAME = "contact_sheet.png"


def explain_pictures(arguments: argparse.Namespace, sources: Mapping[str, Path], accelerator: Accelerator) -> None:
    """Show where a network looks in every picture, write and print what is found.

    Args:
        arguments: those of the predict command; `device` is this process's.
        sources: pictures by name.
        accelerator: whose processes share the pictures.

    Raises:
        ValueError: when the checkpoint cannot take the inputs, or at the end when some could not be read.
    """
    explain = attention_pipeline(arguments)
    config = explain.model.config
    if arguments.top_k is not None:
        config.top_k = arguments.top_k
    class_ids = None if arguments.classes is None else [class_id_of(name, config) for name in arguments.classes]
    settings = {"class_ids": class_ids, "objective": arguments.objective or "class_specific"}

    def explain_one(name: str, path: Path) -> Predicted:
        found = explain(read_picture(path), threshold=arguments.threshold, **settings)
        rows = table_rows(name, found)
        return Predicted([without_heatmap(answer) for answer in found] if arguments.no_figures else found, rows)

    def save_sheet(number: int, answers: dict[str, Any]) -> None:
        rows = [
            {"image": read_picture(sources[name]), "title": name, "explanations": found}
            for name, found in answers.items()
        ]
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        file = SHEET_NAME if number == 1 else SHEET_NAME.replace(".", f"_{number}.")
        save_figure(draw_contact_sheet(rows, f"L2-CAF, {settings['objective']}"), arguments.output_dir / file)
        for answer in (answer for found in answers.values() for answer in found):
            del answer["heatmap"]

    def write(answers: dict[str, Any]) -> None:
        kept = {name: [without_heatmap(answer) for answer in found] for name, found in answers.items()}
        write_json(arguments.output_dir / "attention.json", kept)

    after_block = None if arguments.no_figures else save_sheet
    found = predict_each(sources, explain_one, arguments, accelerator, "picture", write, after_block)
    if accelerator.is_main_process:
        print_table(("picture", "class", "score", "solver", "box"), found.rows)
        report_failures(found.failures, len(sources), "pictures could not be read")
        what = "attention.json" if arguments.no_figures else f"{SHEET_NAME} and attention.json"
        print(f"\nwrote {what} of {len(found.answers)} pictures to {arguments.output_dir}")


def without_heatmap(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give an answer as attention.json has it."""
    return {key: value for key, value in answer.items() if key != "heatmap"}


def table_rows(name: str, found: Sequence[Mapping[str, Any]]) -> TableRows:
    """Give the lines of the printed table for one picture: its classes."""
    return [
        (
            name if place == 0 else "",
            answer["label"],
            f"{answer['score']:.3f}",
            answer["solver"],
            str(list(answer["box"].values())),
        )
        for place, answer in enumerate(found)
    ]


def attention_pipeline(arguments: argparse.Namespace) -> ObjectLocalizationPipeline:
    """Load a checkpoint of L2-CAF, or wrap an image classifier."""
    if read_config(arguments.model).model_type == L2CafConfig.model_type:
        model = open_model(arguments.model)
        processor = AutoImageProcessor.from_pretrained(arguments.model)
    else:
        model = L2CafForObjectLocalization.from_network(arguments.model)
        processor = L2CafImageProcessor.from_config(model.config)
    return ObjectLocalizationPipeline(model.eval(), image_processor=processor, device=arguments.device)


def class_id_of(name: str, config: PreTrainedConfig) -> int:
    """Find a class by its id or name.

    Raises:
        ValueError: when the network has no such class; names the nearest.
    """
    if name.isdecimal():
        if int(name) >= config.num_labels:
            raise ValueError(f"the network has no class {name}; its classes are 0 to {config.num_labels - 1}")
        return int(name)
    ids = {label: index for index, label in config.id2label.items()}
    if name not in ids:
        near = ", ".join(difflib.get_close_matches(name, ids, n=3)) or "none"
        raise ValueError(f"the network has no class {name!r}; nearest names: {near}")
    return ids[name]
