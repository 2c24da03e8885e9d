"""Masks and COCO files for tests."""

from typing import Any

import numpy as np

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
