"""What every evaluation gives, and how the processes of a run share its work."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator
    from matplotlib.figure import Figure


@dataclass
class Evaluation:
    """What an evaluation found; the main process's one is used.

    Attributes:
        metrics: numbers by name (`average_mAP`, `mAP@0.5`, `top1_accuracy`), fractions in [0, 1].
        primary_metric: the name in `metrics` that the best checkpoint is chosen by; more is better.
        split: the part of the corpus that was evaluated.
        num_examples: how many videos or images that were.
        tables: what is printed at the end and shown in the card, each `{"title", "columns", "rows"}` with rows of
            strings and numbers.
        predictions: content of `predictions.json` (for segments: the ActivityNet results format), or None.
        figures: matplotlib figures by file stem, saved as `figures/<stem>.png`.
    """

    metrics: dict[str, float]
    primary_metric: str
    split: str
    num_examples: int
    tables: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[str, Any] | None = None
    figures: dict[str, "Figure"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a primary metric that was not measured, and values that are no numbers."""
        if self.primary_metric not in self.metrics:
            raise ValueError(
                f"primary_metric {self.primary_metric!r} is not among the metrics {sorted(self.metrics)}."
            )
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"The metric {name} is {value}, which is no measurement.")


def rows_of_process(accelerator: "Accelerator", num_rows: int) -> range:
    """Give the rows that this process works on: every row is one process's, however few there are."""
    return range(accelerator.process_index, num_rows, accelerator.num_processes)
