"""`hf-vidmodels predict` for mask labelling: each picture with its masks drawn over it, and masks.json."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image
from transformers import AutoImageProcessor

from ..atomic_io import atomic_write, read_json_object, write_json
from ..data.instances.coco_instances import is_instance_file, read_instance_file
from ..evaluation.answer_forms import prepare_to_answer
from ..modeling.ops.run_length_masks import decode_rles
from ..output_files import output_file
from ..pipelines.mask_labeling import MaskLabelingPipeline
from ..processing.picture_reading import read_picture
from ..text_tables import print_table
from ..visualization.mask_overlays import draw_instances
from .opened_models import open_model
from .prediction_runs import Predicted, TableRows, predict_each, report_failures

BOXES_IN_TABLE = 4


@dataclass(frozen=True)
class PictureBoxes:
    """The boxes of one picture: (n, 4) xyxy in pixels, and a class name each where one is known."""

    boxes: list[list[float]]
    names: list[str | None]


def label_pictures(arguments: argparse.Namespace, sources: Mapping[str, Path], accelerator: Accelerator) -> None:
    """Make the masks of the boxes in every picture, draw, write and print them.

    Args:
        arguments: `model`, `output_dir`, `device` (this process's), `threshold` (probability of a mask's pixels;
            None = as the model says), `no_figures` (write the masks alone), `mixed_precision` and `boxes` (a COCO
            instance file, or JSON with the boxes xyxy of each picture by its name; None = one box around each whole
            picture).
        sources: pictures by name.
        accelerator: whose processes share the pictures.

    Raises:
        FileNotFoundError: the file of boxes is missing.
        ValueError: it does not fit the pictures, or at the end when some could not be labelled.
    """
    boxes = None if arguments.boxes is None else read_boxes(arguments.boxes, sources)
    model = open_model(arguments.model, inference_only=True)
    processor = AutoImageProcessor.from_pretrained(arguments.model)
    label = MaskLabelingPipeline(model, image_processor=processor, device=arguments.device)
    prepare_to_answer(label.model, arguments.mixed_precision)
    options = {"encode_rle": True} | (
        {} if arguments.threshold is None else {"mask_thresholds": [arguments.threshold]}
    )

    def label_one(name: str, path: Path) -> Predicted:
        picture = read_picture(path)
        given = PictureBoxes([[0, 0, *picture.size]], [None]) if boxes is None else boxes[name]
        found = label(picture, boxes=given.boxes, **options)
        answers = [
            {"box": box, "label": label_name, **{key: answer[key] for key in ("score", "area", "segmentation")}}
            for box, label_name, answer in zip(given.boxes, given.names, found, strict=True)
        ]
        draw = None if arguments.no_figures else partial(_draw, arguments.output_dir, name, picture, given, found)
        return Predicted(answers, table_rows(name, answers), draw)

    def write(answers: dict[str, Any]) -> None:
        write_json(arguments.output_dir / "masks.json", answers)

    found = predict_each(sources, label_one, arguments, accelerator, "picture", write)
    if accelerator.is_main_process:
        print_table(("picture", "box", "class", "score", "share of the box"), found.rows)
        report_failures(found.failures, len(sources), "pictures could not be labelled")
        what = "masks.json" if arguments.no_figures else "masks.json and the drawings"
        print(f"\nwrote {what} of {len(found.answers)} pictures to {arguments.output_dir}")


def read_boxes(path: Path, sources: Mapping[str, Path]) -> dict[str, PictureBoxes]:
    """Read the boxes of the pictures in `sources`, in either form.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of neither form, or does not know a picture; names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of boxes {path}")
    known = _boxes_of_instance_file(path) if is_instance_file(path) else _boxes_by_name(path)
    by_last_part = {Path(name.replace("\\", "/")).name: found for name, found in known.items()}
    found = {name: known.get(name, by_last_part.get(Path(name).name)) for name in sources}
    without = [name for name, boxes in found.items() if boxes is None]
    if without:
        raise ValueError(f"{path} has no boxes of {len(without)} pictures, first {without[0]}; it knows {len(known)}")
    return found


def table_rows(name: str, answers: Sequence[Mapping[str, Any]]) -> TableRows:
    """Give the lines of the printed table for one picture: its first boxes, and how many more there are."""
    rows = []
    for number, answer in enumerate(answers[:BOXES_IN_TABLE]):
        x0, y0, x1, y1 = answer["box"]
        share = answer["area"] / ((x1 - x0) * (y1 - y0))
        shown = ", ".join(f"{side:g}" for side in answer["box"])
        cells = (f"[{shown}]", answer["label"] or "", f"{answer['score']:.3f}", f"{share:.0%}")
        rows.append((name if number == 0 else "", *cells))
    more = len(answers) - len(rows)
    return rows + ([("", f"... {more} more", "", "", "")] if more else [])


def _draw(
    folder: Path, name: str, picture: Image.Image, given: PictureBoxes, found: Sequence[Mapping[str, Any]]
) -> None:
    masks = decode_rles([answer["segmentation"] for answer in found]) if found else None
    drawing = draw_instances(picture, given.boxes, masks, given.names, [answer["score"] for answer in found])
    with atomic_write(output_file(folder, name, ".masks.png", nested=True)) as opened:
        drawing.save(opened, format="png")


def _boxes_of_instance_file(path: Path) -> dict[str, PictureBoxes]:
    file = read_instance_file(path, unique_names=False)
    file.refuse_faulty_boxes()
    corners = np.concatenate([file.boxes[:, :2], file.boxes[:, :2] + file.boxes[:, 2:]], axis=1)
    found = {name: PictureBoxes([], []) for name in file.images.file_names}
    for image_row, category_row, box in zip(file.image_rows, file.category_rows, corners.tolist(), strict=True):
        of_picture = found[file.images.file_names[image_row]]
        of_picture.boxes.append(box)
        of_picture.names.append(file.category_names[category_row])
    return found


def _boxes_by_name(path: Path) -> dict[str, PictureBoxes]:
    content = read_json_object(path, "a COCO instance file, or boxes [x0, y0, x1, y1] of each picture by its name")
    found = {}
    for name, boxes in content.items():
        if not isinstance(boxes, list) or any(np.shape(box) != (4,) for box in boxes):
            raise ValueError(f"{path} must give a list of boxes [x0, y0, x1, y1] for {name!r}, got {boxes!r}")
        found[name] = PictureBoxes([list(map(float, box)) for box in boxes], [None] * len(boxes))
    return found
