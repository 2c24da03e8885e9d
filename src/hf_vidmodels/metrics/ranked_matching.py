"""Predictions matched to annotations by score, and average precision from the ranks of the matches.

What the detection metrics share, whatever a prediction is (a segment, a box, a tube): everything is computed at once
over classes, videos and thresholds. Predictions are compared with the annotations of their group (class and video, or
class and frame) alone.
"""

from collections.abc import Callable

import numpy as np

# Bounds the memory of the (prediction, annotation) pairs that are compared together.
PAIRS_AT_ONCE = 2**21

# Numbers of predictions and of annotations, both (P,) -> overlap of each pair, (P,) in [0, 1].
Overlap = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ranks_by_score(scores: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Rank of each prediction in its class by descending score, from 1 on; the later of equal scores first."""
    # An ascending stable sort read backwards, then a stable one by class, which is linear for small integers.
    order = np.argsort(scores)
    if (np.diff(scores[order]) == 0).any():  # the fast sort is not stable
        order = np.argsort(scores, kind="stable")
    order = order[::-1]
    order = order[np.argsort(classes[order].astype(np.min_scalar_type(num_classes)), kind="stable")]
    counts = np.bincount(classes, minlength=num_classes)
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order] = np.arange(1, len(scores) + 1) - np.repeat(counts.cumsum() - counts, counts)
    return ranks


def overlapping_pairs(
    groups: np.ndarray,
    reference_groups: np.ndarray,
    overlap: Overlap,
    lowest_threshold: float,
    *,
    later_first: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of one group that overlap by at least `lowest_threshold`.

    Args:
        groups: `(N,)` group of each prediction.
        reference_groups: `(M,)` group of each annotation; M > 0.
        overlap: compares pairs.
        lowest_threshold: in (0, 1].
        later_first: whether the later of annotations that a prediction overlaps equally comes first.

    Returns:
        Prediction, annotation and overlap of each pair, `(P,)`; by prediction, by descending overlap.
    """
    if later_first:
        by_group = len(reference_groups) - 1 - np.argsort(reference_groups[::-1], kind="stable")
    else:
        by_group = np.argsort(reference_groups, kind="stable")
    known_groups, group_starts, group_sizes = np.unique(
        reference_groups[by_group], return_index=True, return_counts=True
    )
    place = np.minimum(np.searchsorted(known_groups, groups), len(known_groups) - 1)
    sizes = np.where(known_groups[place] == groups, group_sizes[place], 0)
    comparable = np.flatnonzero(sizes)
    chunk_ends = np.flatnonzero(np.diff(sizes[comparable].cumsum() // PAIRS_AT_ONCE)) + 1
    chunks = []
    for chunk in np.split(comparable, chunk_ends):
        counts = sizes[chunk]
        candidates = np.repeat(chunk, counts)
        first_places = group_starts[place[chunk]] - (counts.cumsum() - counts)
        annotations = by_group[np.repeat(first_places, counts) + np.arange(len(candidates))]
        overlaps = overlap(candidates, annotations)
        enough = overlaps >= lowest_threshold
        chunks.append((candidates[enough], annotations[enough], overlaps[enough]))
    candidates, annotations, overlaps = (np.concatenate(column) for column in zip(*chunks, strict=True))

    same = candidates[1:] == candidates[:-1]
    unsorted = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    order = unsorted[np.lexsort((-overlaps[unsorted], candidates[unsorted]))]
    annotations[unsorted], overlaps[unsorted] = annotations[order], overlaps[order]
    return candidates, annotations, overlaps


def match_remaining(
    candidates: np.ndarray,
    annotations: np.ndarray,
    overlaps: np.ndarray,
    ranks: np.ndarray,
    num_annotations: int,
    thresholds: np.ndarray,
) -> np.ndarray:
    """Let each prediction, best rank first, take what it overlaps most among the annotations that are left.

    Solved as deferred acceptance (Gale and Shapley, 1962): all annotations prefer predictions by the same order, the
    rank, so the one stable matching is what going through the predictions by rank would give. In each round the
    predictions without an annotation propose to the best one left on their list, and every annotation keeps the
    best-ranked of its proposers and its holder; whoever it turns away moves down the list.

    Args:
        candidates, annotations, overlaps: `(P,)`, the pairs that `overlapping_pairs` gives.
        ranks: rank of every prediction.
        num_annotations: M.
        thresholds: `(T,)`, each matched for itself.

    Returns:
        `(M, T)` rank of the prediction that each annotation ends with; infinite where none.
    """
    pair_ranks = ranks[candidates].astype(np.float64)
    # An end of all lists, which nobody is willing to propose to.
    candidates, overlaps = np.append(candidates, -1), np.append(overlaps, -np.inf)
    held_ranks = np.full(num_annotations * len(thresholds), np.inf)
    held_pairs = np.full(num_annotations * len(thresholds), -1)

    list_starts = np.flatnonzero(np.diff(candidates[:-1], prepend=-1))
    first, column = np.nonzero(overlaps[list_starts, None] >= thresholds)
    pairs = list_starts[first]
    while len(pairs):
        places = annotations[pairs] * len(thresholds) + column
        np.minimum.at(held_ranks, places, pair_ranks[pairs])
        accepted = held_ranks[places] == pair_ranks[pairs]
        released = held_pairs[places[accepted]]
        held_pairs[places[accepted]] = pairs[accepted]
        # Those turned away: proposers that were refused and holders that were replaced.
        pairs = np.concatenate([pairs[~accepted], released[released >= 0]])
        column = np.concatenate([column[~accepted], column[accepted][released >= 0]])
        willing = (candidates[pairs + 1] == candidates[pairs]) & (overlaps[pairs + 1] >= thresholds[column])
        pairs, column = pairs[willing] + 1, column[willing]
    return held_ranks.reshape(num_annotations, len(thresholds))


def match_best_only(
    candidates: np.ndarray,
    annotations: np.ndarray,
    overlaps: np.ndarray,
    ranks: np.ndarray,
    num_annotations: int,
    thresholds: np.ndarray,
    turns: np.ndarray | None = None,
) -> np.ndarray:
    """Let each prediction, in turn, take the annotation that it overlaps most, or nothing when that one is taken.

    Args:
        candidates, annotations, overlaps: `(P,)`, the pairs that `overlapping_pairs` gives.
        ranks: rank of every prediction.
        num_annotations: M.
        thresholds: `(T,)`, each matched for itself.
        turns: distinct numbers, the order in which the predictions of one group come; None = by rank.

    Returns:
        `(M, T)` rank of the prediction that takes each annotation; infinite where none does.
    """
    turns = ranks if turns is None else turns
    best = np.flatnonzero(np.diff(candidates, prepend=-1))
    pair, column = np.nonzero(overlaps[best, None] >= thresholds)
    pair = best[pair]
    places = annotations[pair] * len(thresholds) + column
    first_turns = np.full(num_annotations * len(thresholds), np.iinfo(np.int64).max)
    np.minimum.at(first_turns, places, turns[candidates[pair]])
    taking = first_turns[places] == turns[candidates[pair]]
    taken = np.full(num_annotations * len(thresholds), np.inf)
    taken[places[taking]] = ranks[candidates[pair[taking]]]
    return taken.reshape(num_annotations, len(thresholds))


def interpolated_average_precision(ranks: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Area under the precision envelope over recall, per class and threshold, as VOC 2010 has it.

    The k-th match of a class, at rank r, has recall k / M_c and precision k / r. Precision only falls between matches,
    so the envelope over all predictions is the one over matches.

    Args:
        ranks: `(M, T)` ranks of the matched predictions, infinite where none.
        classes: `(M,)` class of each annotation, from 0.
        num_classes: C; a class without annotations has NaN.

    Returns:
        `(C, T)` in [0, 1].
    """
    by_class, counts = _ranks_of_classes(ranks, classes, num_classes)
    matches = np.arange(1, by_class.shape[1] + 1)
    precision = matches[:, None] / by_class
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return _area(envelope, counts)


def polyline_average_precision(ranks: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Area under the straight lines between the points of precision over recall, which begin at (0, 1).

    Recall only grows with a match: at the k-th one, at rank r, from precision (k - 1) / (r - 1) to k / r.
    Arguments and result as `interpolated_average_precision`.
    """
    by_class, counts = _ranks_of_classes(ranks, classes, num_classes)
    matches = np.arange(1, by_class.shape[1] + 1)[:, None]
    before = np.where(by_class > 1, (matches - 1) / np.maximum(by_class - 1, 1), 1.0)
    heights = np.where(np.isfinite(by_class), (before + matches / by_class) / 2, 0.0)
    return _area(heights, counts)


def _ranks_of_classes(ranks: np.ndarray, classes: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of each class in ascending order, (C, most annotations of a class, T), and its number of annotations."""
    counts = np.bincount(classes, minlength=num_classes)
    order = np.argsort(classes, kind="stable")
    place = np.arange(len(classes)) - np.repeat(counts.cumsum() - counts, counts)
    by_class = np.full((num_classes, counts.max(initial=0), ranks.shape[1]), np.inf)
    by_class[classes[order], place] = ranks[order]
    by_class.sort(axis=1)
    return by_class, counts


def _area(heights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum heights (C, K, T) over the K steps of recall, each 1 / count wide; NaN for a class without annotations."""
    steps = np.arange(1, heights.shape[1] + 1) / np.maximum(counts, 1)[:, None]
    area = (heights * np.diff(steps, prepend=0)[:, :, None]).sum(axis=1)
    area[counts == 0] = np.nan
    return area
