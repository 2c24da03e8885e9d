"""A sheet of labelled pictures, so that one sees at once whether the masks are right."""

from pathlib import Path

import numpy as np

from ...atomic_io import atomic_write
from ...modeling.ops.run_length_masks import decode_rles
from ...processing.picture_reading import read_picture
from ...visualization.mask_overlays import draw_instances, tile_drawings
from .labelling_journal import JournalReader
from .labelling_plan import LabellingPlan

COLUMNS = 3


def draw_labelled_pictures(plan: LabellingPlan, journal: JournalReader, path: Path, num_pictures: int) -> int:
    """Draw pictures spread evenly over the labelled ones: mask, box, class and score of each instance.

    Args:
        plan: what was labelled.
        journal: what was found.
        path: the sheet.
        num_pictures: how many at most.

    Returns:
        How many were drawn; without any no sheet is written.
    """
    by_picture: dict[int, list[int]] = {}
    pictures = np.unique(plan.file.image_rows[plan.order])
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(num_pictures, len(pictures))).round().astype(int))
    for row in plan.order[np.isin(plan.file.image_rows[plan.order], pictures[chosen])]:
        by_picture.setdefault(int(plan.file.image_rows[row]), []).append(int(row))
    drawings = []
    for picture, rows in by_picture.items():
        results = [journal.result(row) for row in rows]
        kept = [number for number, result in enumerate(results) if "segmentation" in result]
        if not kept:
            continue
        drawings.append(
            draw_instances(
                read_picture(plan.paths[picture]),
                plan.corners(np.array([rows[number] for number in kept])),
                decode_rles([results[number]["segmentation"] for number in kept]),
                [plan.file.category_names[plan.file.category_rows[rows[number]]] for number in kept],
                [results[number]["score"] for number in kept],
                title=plan.file.images.file_names[picture],
            )
        )
    if drawings:
        with atomic_write(path) as file:
            tile_drawings(drawings, COLUMNS).save(file, format="jpeg")
    return len(drawings)
