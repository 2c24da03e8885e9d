"""Key times that are annotated in part, which neither training nor evaluation may use."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

EXCLUDED = "excluded"


def without_excluded(dataset: "Dataset") -> "Dataset":
    """Give the rows of a split of action detection that its column `excluded`, where there is one, does not name."""
    if EXCLUDED not in dataset.column_names:
        return dataset
    return dataset.select(np.flatnonzero([not excluded for excluded in dataset[EXCLUDED]]))
