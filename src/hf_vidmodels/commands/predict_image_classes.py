"""`hf-vidmodels predict` for image classification: the best classes of every picture, and a sheet that shows them."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import AutoImageProcessor, AutoModelForImageClassification

from ..atomic_io import write_json
from ..evaluation.answer_forms import prepare_to_answer
from ..evaluation.image_classification_evaluation import classify_pictures
from ..processing.picture_reading import read_picture
from ..text_tables import print_table
from ..visualization.figures import save_figure
from ..visualization.picture_grid import PicturePanel, draw_picture_grid
from .opened_models import open_model
from .prediction_runs import Predicted, class_rows, predict_each, report_failures

SHEET_NAME = "classes.png"
DEFAULT_TOP_K = 5


def predict_image_classes(
    arguments: argparse.Namespace, sources: Mapping[str, Path], accelerator: Accelerator
) -> None:
    """Classify every picture; write predictions.json and sheets of the pictures, and print what is found.

    Args:
        arguments: those of the predict command; `device` is this process's.
        sources: pictures by name.
        accelerator: whose processes share the pictures.

    Raises:
        ValueError: at the end when some pictures could not be read.
    """
    model = open_model(arguments.model, arguments.device, AutoModelForImageClassification)
    prepare_to_answer(model, arguments.mixed_precision)
    processor = AutoImageProcessor.from_pretrained(arguments.model)

    def classify(name: str, path: Path) -> Predicted:
        scores = classify_pictures(model, processor, [read_picture(path)])[0]
        best = np.argsort(-scores, kind="stable")[: arguments.top_k or DEFAULT_TOP_K]
        found = [
            {"label": model.config.id2label[int(label)], "score": float(scores[label])}
            for label in best
            if arguments.threshold is None or scores[label] >= arguments.threshold
        ]
        return Predicted(found, class_rows(name, found))

    def save_sheet(number: int, answers: dict[str, Any]) -> None:
        panels = [
            PicturePanel(np.asarray(read_picture(sources[name])), [], f"{name}\n{_shown(found)}")
            for name, found in answers.items()
        ]
        file = SHEET_NAME if number == 1 else SHEET_NAME.replace(".", f"_{number}.")
        save_figure(draw_picture_grid(panels, arguments.model), arguments.output_dir / file)

    def write(answers: dict[str, Any]) -> None:
        write_json(arguments.output_dir / "predictions.json", answers)

    after_block = None if arguments.no_figures else save_sheet
    found = predict_each(sources, classify, arguments, accelerator, "picture", write, after_block)
    if accelerator.is_main_process:
        print_table(("picture", "class", "score"), found.rows)
        report_failures(found.failures, len(sources), "pictures could not be classified")
        what = "predictions.json" if arguments.no_figures else f"predictions.json and {SHEET_NAME}"
        print(f"\nwrote {what} of {len(found.answers)} pictures to {arguments.output_dir}")


def _shown(found: list[dict[str, Any]]) -> str:
    return f"{found[0]['label']} {found[0]['score']:.2f}" if found else "nothing above the threshold"
