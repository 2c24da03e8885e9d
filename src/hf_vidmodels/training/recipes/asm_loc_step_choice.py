"""Which step of a cascade answers: the one that does best on videos that it was not trained on.

A refinement step can be worse than the one before it, because it learns from the segments that the one before found
and makes its mistakes firmer. The rule: a corpus with a split `validation` that has segments is asked for the average
mAP there. Any other is asked for the class loss of its held-out videos, those of `validation` or else of the
evaluation split, of which only the classes are read. The best step answers; of equal ones the later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ...configuration.configuration_asm_loc import AsmLocConfig
from ...data.features.video_table import VideoTable
from ...evaluation.localization_evaluation import score_localization
from ..corpus_splits import TRAIN_SPLIT

SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class HeldOutVideos:
    """The videos that choose the step.

    Attributes:
        videos: never trained on.
        split: their split.
        has_times: whether their segments may be read, else their classes alone.
    """

    videos: VideoTable
    split: str
    has_times: bool

    @classmethod
    def of_splits(cls, splits: Mapping[str, VideoTable]) -> "HeldOutVideos | None":
        """Take the split `validation`, or the one that is evaluated; None when there is only the training split."""
        others = [name for name in splits if name != TRAIN_SPLIT]
        if not others:
            return None
        split = "validation" if "validation" in others else others[0]
        return cls(splits[split], split, split == "validation" and splits[split].has_segments)

    @property
    def measure(self) -> str:
        """What is measured on them, with their number and split."""
        name = "average mAP" if self.has_times else "class loss"
        return f"{name} of {len(self.videos)} {self.split} videos"

    def measured(self, results: Mapping[str, Mapping[str, Any]], config: AsmLocConfig) -> float:
        """Measure one step.

        Args:
            results: by video what `localize_step` gives.
            config: of the model.
        """
        if self.has_times:
            predictions = {video: result["test"] for video, result in results.items()}
            return score_localization({0: predictions}, self.videos, config, self.split).metrics["average_mAP"]
        losses = [
            -np.log(np.maximum(results[video]["video_scores"][labels], SMALLEST_PROBABILITY)).mean()
            for video, labels in zip(self.videos.video_ids, self.videos.labels, strict=True)
        ]
        return float(np.mean(losses))

    def best_step(self, values: Sequence[float]) -> int:
        """Choose the step that answers from the measured value of each."""
        goodness = np.asarray(values) if self.has_times else -np.asarray(values)
        return len(values) - 1 - int(goodness[::-1].argmax())

    def sentences(self, values: Sequence[float]) -> list[str]:
        """Say which step answers, and every step that is worse than the one before it."""
        worse = [
            f"Step {step} is worse than step {step - 1}: {self.measure} {value:.3f} after {before:.3f}."
            for step, (before, value) in enumerate(pairwise(values), start=1)
            if self.best_step((before, value)) == 0
        ]
        best = self.best_step(values)
        return [*worse, f"Step {best} answers: it has the best {self.measure}, {values[best]:.3f}."]

    def table(self, values: Sequence[float]) -> dict[str, Any]:
        """Give the choice as a table for reports."""
        best = self.best_step(values)
        return {
            "title": f"which step answers: {self.measure}, {'higher' if self.has_times else 'lower'} is better",
            "columns": ["step", self.measure.split(" of ")[0], "answers"],
            "rows": [[str(step), float(value), "yes" if step == best else ""] for step, value in enumerate(values)],
        }
