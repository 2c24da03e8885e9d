"""The image processor of L2-CAF: pictures in, pixel values out, and attention back to heat maps and boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.image_utils import PILImageResampling

from ..configuration.configuration_l2_caf import BOX_METHODS, L2CafConfig
from ..modeling.ops.heatmaps import (
    distance_transform_boxes,
    evaluation_map,
    fixed_threshold_box,
    make_heatmaps,
    normalize_map,
    threshold_boxes,
)
from .base_image_processing import RgbImageProcessor


class L2CafImageProcessor(RgbImageProcessor):
    """Resizes pictures to one size without keeping their aspect, as the paper's release does, and normalises them.

    Since the whole picture is seen, maps and boxes go back to original pixels by scaling.

    Example:
        >>> processor = AutoImageProcessor.from_pretrained("org/l2-caf-resnet")
        >>> explanation = model.explain(processor(["a.jpg", "b.png"])["pixel_values"])
        >>> processor.post_process_boxes(explanation, target_sizes=[(375, 500), (500, 333)])
    """

    resample = PILImageResampling.BICUBIC
    size = {"height": 224, "width": 224}
    do_resize = True

    @classmethod
    def from_config(cls, config: L2CafConfig) -> "L2CafImageProcessor":
        """Make the processor that fits a model's configuration."""
        height, width = config.image_size
        return cls(
            size={"height": height, "width": width},
            image_mean=list(config.image_mean),
            image_std=list(config.image_std),
        )

    def post_process_heatmaps(
        self, explanation: Any, target_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[torch.Tensor]:
        """Enlarge attention to the original pictures.

        Args:
            explanation: what `L2CafForObjectLocalization.explain` gave.
            target_sizes: (height, width) of each picture; `None` for the size of the pixel values.

        Returns:
            Per picture (Q, H, W) float32 in [0, 1], one map for each explained class; of videos (1, T, H, W).

        Raises:
            ValueError: when the sizes are not one for each picture.
        """
        sizes = _sizes(explanation, target_sizes)
        return [
            make_heatmaps(attention, size).cpu() for attention, size in zip(explanation.attention, sizes, strict=True)
        ]

    def post_process_boxes(
        self,
        explanation: Any,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        method: str = "threshold",
        multi_contour: bool = False,
        dt_thresholds: Sequence[int] = (20, 100, 110),
    ) -> list[dict[str, torch.Tensor]]:
        """Box the object of every explained class.

        Args:
            explanation: what `L2CafForObjectLocalization.explain` gave for images.
            target_sizes: (height, width) of each picture; `None` for the size of the pixel values.
            thresholds: shares of the maximum, in [0, 1); by default those of the explanation.
            method: `"threshold"` (localisation evaluator), `"fixed"` (paper's Table 2) or `"dt_box"` (Tables 1, 3).
            multi_contour: boxes of all regions instead of the largest; for `"threshold"`.
            dt_thresholds: grey levels of `"dt_box"`, which has no other thresholds.

        Returns:
            Per picture a dict of `boxes` (N, 4) float32 (x0, y0, x1, y1) in original pixels, `labels` (N,) int64 (-1
            for class-oblivious), `scores` (N,) float32 (the network's probability of the class, 1 for class-oblivious)
            and `thresholds` (N,) float32 (NaN for `"dt_box"`), class by class and threshold by threshold.

        Raises:
            ValueError: for videos, an unknown method, or sizes that are not one for each picture.
        """
        if method not in BOX_METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, BOX_METHODS))}, got {method!r}")
        if explanation.attention.dim() != 4:
            raise ValueError("boxes are for images; use post_process_heatmaps for the frames of videos")
        thresholds = explanation.thresholds if thresholds is None else tuple(thresholds)
        results = []
        for index, size in enumerate(_sizes(explanation, target_sizes)):
            labels, scores = _labels_and_scores(explanation, index)
            found: dict[str, list[Any]] = {"boxes": [], "labels": [], "scores": [], "thresholds": []}
            for attention, label, score in zip(explanation.attention[index], labels, scores, strict=True):
                by_threshold = _boxes(attention.cpu().numpy(), size, method, thresholds, multi_contour, dt_thresholds)
                for threshold, boxes in by_threshold:
                    found["boxes"] += [box.tolist() for box in boxes]
                    for name, value in (("labels", label), ("scores", score), ("thresholds", threshold)):
                        found[name] += [value] * len(boxes)
            results.append(
                {
                    "boxes": torch.tensor(found["boxes"], dtype=torch.float32).view(-1, 4),
                    "labels": torch.tensor(found["labels"], dtype=torch.int64),
                    "scores": torch.tensor(found["scores"], dtype=torch.float32),
                    "thresholds": torch.tensor(found["thresholds"], dtype=torch.float32),
                }
            )
        return results


def _sizes(explanation: Any, target_sizes: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
    num_images = len(explanation.attention)
    if target_sizes is None:
        return [tuple(explanation.heatmaps.shape[-2:])] * num_images
    if len(target_sizes) != num_images:
        raise ValueError(
            f"target_sizes must hold (height, width) of each of {num_images} pictures, got {target_sizes}"
        )
    return [(int(height), int(width)) for height, width in target_sizes]


def _labels_and_scores(explanation: Any, index: int) -> tuple[list[int], list[float]]:
    if explanation.class_ids is None:
        return [-1], [1.0]
    classes = explanation.class_ids[index]
    return classes.tolist(), explanation.logits[index].float().softmax(-1)[classes].tolist()


def _boxes(
    attention: np.ndarray,
    size: tuple[int, int],
    method: str,
    thresholds: Sequence[float],
    multi_contour: bool,
    dt_thresholds: Sequence[int],
) -> list[tuple[float, np.ndarray]]:
    """Give the (N, 4) boxes of one map for each threshold, in pixels of a picture of `size`."""
    if method == "threshold":
        boxes = threshold_boxes(evaluation_map(normalize_map(attention), size), thresholds, multi_contour)
        return list(zip(thresholds, boxes, strict=True))
    if method == "fixed":
        # This protocol boxes at 224 x 224; its boxes are scaled to the picture.
        scale = np.array([size[1], size[0]] * 2) / 224
        return [(threshold, fixed_threshold_box(attention, threshold)[None] * scale) for threshold in thresholds]
    heatmap = evaluation_map(attention, size)
    grey = (heatmap / max(float(heatmap.max()), 1e-12) * 255).astype(np.uint8)
    return [(float("nan"), distance_transform_boxes(grey, dt_thresholds))]
