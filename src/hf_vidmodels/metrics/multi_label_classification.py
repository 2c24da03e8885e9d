"""Mean average precision of classifiers whose examples may have several classes, as Charades measures it."""

import numpy as np


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class: the mean, over its examples, of the precision at the example's score.

    Examples of equal score are ranked together, so that their order has no influence; without equal scores these are
    the numbers of Charades's official evaluation.

    Args:
        scores: (N, C), higher is likelier.
        labels: (N, C), 1 where the example has the class and 0 elsewhere.

    Returns:
        float64 (C,) in [0, 1], NaN for a class without examples.

    Raises:
        ValueError: shapes that do not fit, no examples, scores that are no numbers, or labels other than 0 and 1.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape or not len(scores):
        raise ValueError(
            f"scores and labels must both be (examples, classes), got {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite numbers, but {(~np.isfinite(scores)).sum()} are not")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 1 where an example has the class and 0 elsewhere")
    return np.array([_average_precision(*column) for column in zip(scores.T, labels.T == 1, strict=True)])


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of `average_precisions` over the classes that have examples; arguments and errors as there.

    Raises:
        ValueError: also when no example has a class.
    """
    found = average_precisions(scores, labels)
    if np.isnan(found).all():
        raise ValueError("no example has a class, so there is no average precision; name the classes of the examples")
    return float(np.nanmean(found))


def _average_precision(scores: np.ndarray, has_class: np.ndarray) -> float:
    if not has_class.any():
        return float("nan")
    order = np.sort(-scores)
    # For each example of the class, how many examples and how many of the class score at least as high.
    own = -scores[has_class]
    above = np.searchsorted(order, own, side="right")
    hits = np.searchsorted(np.sort(own), own, side="right")
    return float((hits / above).mean())
