"""Masks and COCO files for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_vidmodels.modeling.ops.run_length_masks import encode_masks


def boxes(*corners: tuple[int, int, int, int], size: tuple[int, int] = (40, 60)) -> list[dict[str, Any]]:
    """RLEs of filled boxes x0, y0, x1, y1."""
    masks = np.zeros((len(corners), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return encode_masks(masks)


def random_pictures(seed: int, num_pictures: int = 12) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Predictions and a COCO file, with crowds, several classes, equal scores and pictures without either."""
    rng = np.random.default_rng(seed)
    images = [{"id": 7 * number, "height": 120, "width": 150} for number in range(num_pictures)]
    annotations, predictions = [], []
    for image in images:
        for _ in range(rng.integers(0, 5)):
            x0, y0 = rng.integers(0, 100), rng.integers(0, 80)
            x1, y1 = x0 + rng.integers(4, 150 - x0), y0 + rng.integers(4, 120 - y0)
            row = {"image_id": image["id"], "category_id": int(rng.integers(1, 4))}
            moved = np.clip([x0, y0, x1, y1] + rng.integers(-6, 7, 4), 0, 150)
            moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
            true, found = boxes((x0, y0, x1, y1), moved, size=(120, 150))
            area = int((x1 - x0) * (y1 - y0))
            annotations.append(
                {**row, "id": len(annotations), "segmentation": true, "area": area, "iscrowd": int(rng.random() < 0.1)}
            )
            predictions.append({**row, "segmentation": found, "score": float(rng.integers(0, 6) / 5)})
    categories = [{"id": number, "name": f"class {number}"} for number in (1, 2, 3)]
    return predictions, {"images": images, "annotations": annotations, "categories": categories}


def small_coco_file() -> dict[str, Any]:
    """A COCO file of two pictures of 60 x 40 pixels, with polygons, both kinds of RLE, a crowd and gaps in its ids."""
    (mask,) = boxes((10, 5, 30, 25))
    return {
        "info": {"year": 2017, "note": 'brackets []{} and "quotes"'},
        "licenses": [],
        "images": [
            {"id": 20, "file_name": "b.png", "height": 40, "width": 60},
            {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
        ],
        "annotations": [
            {
                "id": 5,
                "image_id": 7,
                "category_id": 90,
                "bbox": [10.5, 5.25, 20, 20],
                "area": 300.5,
                "iscrowd": 0,
                "segmentation": [[10, 5, 30, 5, 30, 25, 10, 25]],
                "own_field": {"kept": [1, 2]},
            },
            {
                "id": 3,
                "image_id": 20,
                "category_id": 2,
                "bbox": [0, 0, 60, 40],
                "area": 2400,
                "iscrowd": 1,
                "segmentation": {"size": [40, 60], "counts": [0, 2400]},
            },
            {
                "id": 9,
                "image_id": 7,
                "category_id": 2,
                "bbox": [10, 5, 20, 20],
                "area": 400,
                "iscrowd": 0,
                "segmentation": mask,
            },
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 90, "name": "toothbrush", "supercategory": "indoor"}],
    }


def write_pictures(folder: Path, *names: str, size: tuple[int, int] = (60, 40)) -> None:
    """Write pictures of noise, `size` = (width, height), below a folder."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def write_json_file(path: Path, content: Any) -> Path:
    """Write JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
