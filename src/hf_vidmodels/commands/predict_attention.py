"""`hf-vidmodels predict` for attention localisation: a sheet of heat maps and boxes, and attention.json."""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoImageProcessor, PreTrainedConfig

from ..atomic_io import write_json
from ..configuration.configuration_l2_caf import L2CafConfig
from ..modeling.modeling_l2_caf import L2CafForObjectLocalization
from ..optional_packages import require
from ..pipelines.attention_localization import AttentionLocalizationPipeline
from ..processing.picture_reading import read_picture
from ..processing.processing_l2_caf import L2CafImageProcessor
from ..visualization.contact_sheet import draw_contact_sheet
from ..visualization.figures import save_figure
from .model_tasks import read_config
from .opened_models import open_model
from .text_tables import one_line, print_table, report_failures

SHEET_NAME = "contact_sheet.png"
ROWS_IN_SHEET = 20


def explain_pictures(arguments: argparse.Namespace, sources: Mapping[str, Path]) -> None:
    """Show where a network looks in every picture, write and print what is found.

    Raises:
        ValueError: when the checkpoint cannot take the inputs, or at the end when some could not be read.
    """
    require("matplotlib", "drawing predictions")
    explain = attention_pipeline(arguments)
    config = explain.model.config
    if arguments.top_k is not None:
        config.top_k = arguments.top_k
    class_ids = None if arguments.classes is None else [class_id_of(name, config) for name in arguments.classes]
    settings = {"class_ids": class_ids, "objective": arguments.objective or "class_specific"}
    failures, sheet, answers = {}, [], {}
    for name, path in tqdm(sources.items(), unit="picture", disable=len(sources) == 1):
        try:
            picture = read_picture(path)
        except (ValueError, OSError) as error:
            failures[name] = one_line(error)
            continue
        found = explain(picture, threshold=arguments.threshold, **settings)
        sheet.append({"image": picture, "title": name, "explanations": found})
        answers[name] = [{key: value for key, value in answer.items() if key != "heatmap"} for answer in found]
        if len(sheet) == ROWS_IN_SHEET:
            save_sheet(sheet, arguments.output_dir, len(answers), settings["objective"])
            sheet = []
    if sheet:
        save_sheet(sheet, arguments.output_dir, len(answers), settings["objective"])
    if answers:
        write_json(arguments.output_dir / "attention.json", answers)
    rows = [
        (
            name if index == 0 else "",
            answer["label"],
            f"{answer['score']:.3f}",
            answer["solver"],
            str(list(answer["box"].values())),
        )
        for name, found in answers.items()
        for index, answer in enumerate(found)
    ]
    print_table(("picture", "class", "score", "solver", "box"), rows)
    report_failures(failures, len(sources), "pictures could not be read")
    print(f"\nwrote {SHEET_NAME} and attention.json of {len(answers)} pictures to {arguments.output_dir}")


def save_sheet(sheet: Sequence[Mapping[str, Any]], folder: Path, num_pictures: int, objective: str) -> None:
    """Write the sheet that ends with picture number `num_pictures`: contact_sheet.png, contact_sheet_2.png, ..."""
    number = -(-num_pictures // ROWS_IN_SHEET)
    folder.mkdir(parents=True, exist_ok=True)
    name = SHEET_NAME if number == 1 else SHEET_NAME.replace(".", f"_{number}.")
    save_figure(draw_contact_sheet(sheet, f"L2-CAF, {objective}"), folder / name)


def attention_pipeline(arguments: argparse.Namespace) -> AttentionLocalizationPipeline:
    """Load a checkpoint of L2-CAF, or wrap an image classifier."""
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if read_config(arguments.model).model_type == L2CafConfig.model_type:
        model = open_model(arguments.model)
        processor = AutoImageProcessor.from_pretrained(arguments.model)
    else:
        model = L2CafForObjectLocalization.from_network(arguments.model)
        processor = L2CafImageProcessor.from_config(model.config)
    return AttentionLocalizationPipeline(model.eval(), image_processor=processor, device=device)


def class_id_of(name: str, config: PreTrainedConfig) -> int:
    """Find a class by its id or name.

    Raises:
        ValueError: when the network has no such class; names the nearest.
    """
    if name.isdigit():
        return int(name)
    ids = {label: index for index, label in config.id2label.items()}
    if name not in ids:
        near = ", ".join(difflib.get_close_matches(name, ids, n=3)) or "none"
        raise ValueError(f"the network has no class {name!r}; nearest names: {near}")
    return ids[name]
