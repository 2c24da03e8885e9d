"""Do the pictures of a corpus fit its annotations: can they be opened, and have they the size that is said?

Only headers are read. Turning by EXIF is seen here, because the rest of the package takes pixels as stored.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from ..processing.picture_reading import QUARTER_TURNS, picture_header
from .content_checks import SECONDS_BEFORE_A_BAR, Problem, name_some
from .instances.object_boxes import EDGE_PIXELS, EDGE_SHARE, find_box_faults

if TYPE_CHECKING:
    from datasets import Dataset


def find_picture_problems(dataset: "Dataset", split: str) -> list[Problem]:
    """Compare the header of every picture of a split with what its row says.

    Args:
        dataset: with the columns of its task; without a column `image` there is nothing to find.
        split: its name, for messages.

    Returns:
        Errors for pictures that cannot be opened, that have another size than said, or whose boxes fit only after a
        turn by EXIF; warnings for others that EXIF turns although boxes count their stored pixels.
    """
    from datasets import Image

    if not isinstance(dataset.features.get("image"), Image):
        return []
    found: dict[str, list[str]] = {"broken": [], "only turned": [], "size": [], "turned": []}
    pictures = dataset.cast_column("image", Image(decode=False))
    for row in tqdm(pictures, f"pictures of {split!r}", unit="picture", leave=False, delay=SECONDS_BEFORE_A_BAR):
        name = _name_of(row)
        try:
            header = picture_header(row["image"]["path"] if row["image"]["bytes"] is None else row["image"]["bytes"])
        except (OSError, ValueError) as error:
            found["broken"].append(str(error) if name in str(error) else f"{name}: {error}")
            continue
        fault = _fault(row, *header)
        if fault:
            height, width, _ = header
            said = f", said {row['height']} x {row['width']}" if row.get("height") and row.get("width") else ""
            found[fault].append(f"{name} has {height} x {width} pixels (height x width){said}")
    sentences = {
        "broken": ("error", "pictures cannot be opened", "mend them or leave their rows out"),
        "only turned": (
            "error",
            "pictures ask by EXIF to be turned, and their annotations fit only the turned picture",
            "annotations count pixels as stored: save the pictures turned, without the tag",
        ),
        "size": (
            "error",
            "pictures have another size than their annotations say or reach to",
            "correct height and width (perhaps swapped) or take the pictures that were annotated",
        ),
        "turned": (
            "warning",
            "pictures ask by EXIF to be turned, but annotations count pixels as stored",
            "look whether boxes lie where they should, or save the pictures turned, without the tag",
        ),
    }
    return [
        Problem(sentences[kind][0], f"split {split!r}: {len(names)} {what} ({name_some(names, 3)}); {way_out}")
        for kind, names in found.items()
        if names
        for _, what, way_out in [sentences[kind]]
    ]


def _name_of(row: dict[str, Any]) -> str:
    path = row["image"]["path"]
    return row.get("file_name") or path or str(row.get("image_id", "a picture"))


def _fault(row: dict[str, Any], height: int, width: int, orientation: int) -> str | None:
    """Give which kind of problem a picture has, if any."""
    boxes = _boxes_of(row)
    said = row.get("height"), row.get("width")
    fits = _fits(said, boxes, height, width)
    if boxes is None or orientation == 1:
        return None if fits else "size"
    if fits:
        return "turned"
    return "only turned" if orientation in QUARTER_TURNS and _fits(said, boxes, width, height) else "size"


def _boxes_of(row: dict[str, Any]) -> np.ndarray | None:
    """Give the boxes of a row (N, 4) as x, y, width, height; None where the task has none."""
    if "objects" in row:
        return np.array([item["bbox"] for item in row["objects"]], dtype=np.float64).reshape(-1, 4)
    if row.get("bbox") is not None:
        left, top, right, bottom = row["bbox"]
        return np.array([[left, top, right - left, bottom - top]])
    return None


def _fits(said: tuple[int | None, int | None], boxes: np.ndarray | None, height: int, width: int) -> bool:
    if None not in said:
        return said == (height, width)
    if boxes is None:
        return True
    faults = find_box_faults(boxes, np.full(len(boxes), float(height)), np.full(len(boxes), float(width)))
    tolerance = EDGE_PIXELS + EDGE_SHARE * boxes[:, 2:]
    beyond = boxes[:, :2] + boxes[:, 2:] > np.array([width, height]) + tolerance
    return not (beyond.any() or faults["outside"].any() or faults["xyxy"].any())
