"""The real handwriting that all embedded corpora show: the 8 x 8 digits that come with scikit-learn.

They are the test part of the UCI "Optical Recognition of Handwritten Digits" data (Alpaydin and Kaynak), written by
13 people; see `sklearn.datasets.load_digits`.
"""

from functools import lru_cache

import numpy as np

from ...optional_packages import require

NUM_DIGITS = 1797
# Every fifth sample belongs to the test split, so that no test digit is seen in training.
_TEST_STRIDE = 5
_NUM_TEST = -(-NUM_DIGITS // _TEST_STRIDE)


@lru_cache(maxsize=1)
def load_handwriting() -> tuple[np.ndarray, np.ndarray]:
    """All samples: ink (1797, 8, 8) int64, 0 to 16, and the digit that each of them says (1797,) int64."""
    digits = require("sklearn.datasets", "the handwriting of the embedded corpora").load_digits()
    return digits.images.astype(np.int64), digits.target.astype(np.int64)


def draw_handwriting(rng: np.random.Generator, split: str) -> int:
    """A random sample's number, from the fifth of the samples kept for `"test"` or from the others."""
    if split == "test":
        return int(rng.integers(_NUM_TEST)) * _TEST_STRIDE
    number = int(rng.integers(NUM_DIGITS - _NUM_TEST))
    return number + number // (_TEST_STRIDE - 1) + 1
