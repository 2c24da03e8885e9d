"""What the metrics of boxes and of tubes give: average precision per class and threshold, with its means."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from .label_names import LabelNames, names_by_id


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """Average precision per class and threshold.

    Attributes:
        thresholds: `(T,)` thresholds of overlap.
        class_ids: `(C,)` evaluated classes, ascending.
        class_names: `(C,)` their names; the ids as text where none were given.
        num_annotations: `(C,)` annotations per class.
        ap: `(C, T)` average precision in [0, 1]; NaN for a class without annotations.
    """

    thresholds: tuple[float, ...]
    class_ids: np.ndarray
    class_names: tuple[str, ...]
    num_annotations: np.ndarray
    ap: np.ndarray

    @property
    def mAP(self) -> np.ndarray:
        """`(T,)` mean of `ap` over the classes that have annotations; NaN when none has."""
        return self.mean_over(self.class_ids.tolist())

    def mean_over(self, class_ids: Collection[int]) -> np.ndarray:
        """`(T,)` mean of `ap` over some of the classes, such as AVA's interactions; those without annotations not."""
        chosen = np.isin(self.class_ids, list(class_ids)) & (self.num_annotations > 0)
        return self.ap[chosen].mean(axis=0) if chosen.any() else np.full(len(self.thresholds), np.nan)

    def to_metrics(self, prefix: str = "") -> dict[str, float]:
        """Give `{"mAP@0.5": ...}`, fractions in [0, 1], with `prefix` before each name."""
        return {f"{prefix}mAP@{t:g}": float(value) for t, value in zip(self.thresholds, self.mAP, strict=True)}


def checked_thresholds(thresholds: Collection[float]) -> tuple[float, ...]:
    """Refuse thresholds of overlap that are none.

    Raises:
        ValueError: an empty list, or one with a value outside (0, 1].
    """
    values = tuple(float(value) for value in thresholds)
    if not values or not all(0 < value <= 1 for value in values):
        raise ValueError(f"thresholds of overlap must be one or more values in (0, 1], got {list(values)}")
    return values


def class_table(
    labels: np.ndarray, class_ids: Collection[int] | None, label_names: LabelNames | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give the evaluated classes, ascending, and their names.

    Args:
        labels: those of the annotations, which are the classes where `class_ids` says none.
        class_ids: the classes that count.
        label_names: names by class id.
    """
    ids = np.unique(labels) if class_ids is None else np.unique(np.asarray(list(class_ids), dtype=np.int64))
    names = {} if label_names is None else names_by_id(label_names)
    return ids, tuple(str(names.get(class_id, class_id)) for class_id in ids.tolist())


def warn_of_nothing(num_annotations: int, num_detections: int) -> None:
    """Warn where there is nothing to find, so that the mean is undefined, or nothing found, so that it is 0."""
    if not num_annotations:
        warnings.warn("there are no annotations to find: the mean average precision is undefined (NaN)", stacklevel=3)
    elif not num_detections:
        warnings.warn("there are no detections: the mean average precision is 0", stacklevel=3)
