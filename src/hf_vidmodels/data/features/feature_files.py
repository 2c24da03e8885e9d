"""Feature files of a corpus: names, suffixes and reading.

Reading is the processors' own (`processing/feature_reading.py`), which travels with a checkpoint to the Hub; corpora
read by the same functions, so that a file means the same in training and in prediction.
"""

from ...processing.feature_reading import (
    FEATURE_SUFFIXES,
    KEY_SEPARATOR,
    check_feature_rate,
    describe_rate_mismatch,
    feature_file,
    feature_shape,
)
from ...processing.feature_reading import read_features as load_features

__all__ = [
    "FEATURE_SUFFIXES",
    "KEY_SEPARATOR",
    "check_feature_rate",
    "describe_rate_mismatch",
    "feature_file",
    "feature_shape",
    "load_features",
]
