"""How the proposals of one ASM-Loc step guide the next: sampling weights, attention boxes, snippet labels and input.

Proposals of a video are dicts as `segment_proposals.localize_segments` returns them. All functions are NumPy on one
video and need nothing but the previous step's proposals. Facts are those of the official code at commit 4acb3c86c5ec.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...configuration.configuration_asm_loc import AsmLocConfig
from .snippet_sampling import TimeWarp, warp_features

Proposals = Mapping[str, np.ndarray]


class PlacementSettings(Protocol):
    """The fields of `AsmLocConfig` that place proposals on snippets; see there for their meaning."""

    frames_per_second: float
    frames_per_snippet: int
    max_proposals: int
    proposal_extension: float


class GuidanceSettings(PlacementSettings, Protocol):
    """The fields of `AsmLocConfig` that shape the sampling as well."""

    proposal_score_ratio: float
    short_proposal_length: float
    restrict_sampling_to_labels: bool


def guiding_labels(proposals: Proposals, label_ids: Sequence[int] | None) -> list[int]:
    """Give the classes whose proposals count: those of the label of a training video, else all predicted ones.

    Args:
        proposals: of one video.
        label_ids: video-level classes of a training video; `None` for a video whose label is not to be used.
    """
    return np.unique(proposals["labels"] if label_ids is None else np.asarray(label_ids, dtype=np.int64)).tolist()


def sampling_labels(proposals: Proposals, label_ids: Sequence[int] | None, config: GuidanceSettings) -> list[int]:
    """Give the classes that shape the sampling; as `guiding_labels`, but in ActivityNet always the predicted ones."""
    return guiding_labels(proposals, label_ids if config.restrict_sampling_to_labels else None)


def sampling_weights(
    proposals: Proposals, label_ids: Sequence[int], num_features: int, config: GuidanceSettings
) -> np.ndarray:
    """Weigh the rows of a video so that its short proposals are stretched to one common length.

    Of each class the best-scored proposals count, up to the share `proposal_score_ratio` of the cumulated score (the
    proposal that crosses it is left out, so the only proposal of a class never counts).

    Args:
        proposals: of one video.
        label_ids: classes that count, see `sampling_labels`.
        num_features: rows L of the video.
        config: the settings.

    Returns:
        (L,) float64, 1 where time is kept; the sum over each stretched run is whole up to rounding noise.
    """
    chosen = _of_classes(proposals, label_ids)
    labels, scores = proposals["labels"][chosen], proposals["scores"][chosen]
    trusted = [_leading_share(scores[labels == label], config.proposal_score_ratio) for label in np.unique(labels)]
    segments = proposals["segments"][chosen[np.concatenate([np.zeros(0, dtype=bool), *trusted])]]
    first, last = _snippet_ranges(segments, num_features, num_features, config.proposal_extension, config)

    stretched_length = config.short_proposal_length * (2 * config.proposal_extension + 1)
    lengths = last - first + 1
    short = (first < last) & (lengths <= stretched_length)
    covers = _covered(first[short], last[short], num_features)
    wanted = np.where(covers, (stretched_length / lengths[short])[:, None], 1.0)
    return _with_whole_sums(wanted.max(axis=0, initial=1.0))


def proposal_boxes(
    proposals: Proposals,
    label_ids: Sequence[int],
    num_features: int,
    num_snippets: int,
    config: PlacementSettings,
    warp: TimeWarp | None = None,
) -> np.ndarray:
    """Place proposals on the sampled snippets, for the attention inside and between them.

    Proposals that lie in an earlier-starting one are dropped and the others extended by `proposal_extension` of their
    length on each side.

    Args:
        proposals: of one video.
        label_ids: classes that count, see `guiding_labels`.
        num_features: rows L of the video.
        num_snippets: sampled snippets T.
        config: the settings.
        warp: the time warp that the snippets were sampled through, if any.

    Returns:
        (n, 2) int64 inclusive first and last snippet, by ascending start. A first snippet may exceed the last one or
        T - 1; such a box covers nothing but still counts in the attention between proposals. Of more than
        `max_proposals` the best by score are kept, with a warning.
    """
    chosen = _of_classes(proposals, label_ids)
    segments, scores = proposals["segments"][chosen], proposals["scores"][chosen]
    _, unique = np.unique(segments, axis=0, return_index=True)
    unique.sort()
    # Among equal starts the later one of the list comes first.
    by_start = unique[::-1][np.argsort(segments[unique[::-1], 0], kind="stable")]
    segments, scores = segments[by_start], scores[by_start]
    outlasts = np.ones(len(segments), dtype=bool)
    outlasts[1:] = segments[1:, 1] > np.maximum.accumulate(segments[:, 1])[:-1]
    segments, scores = segments[outlasts], scores[outlasts]
    if len(segments) > config.max_proposals:
        warnings.warn(
            f"a video has {len(segments)} proposals; the {config.max_proposals} best by score are kept "
            "(max_proposals in the configuration can be raised freely, no weight depends on it)",
            stacklevel=2,
        )
        segments = segments[np.sort(np.argsort(-scores, kind="stable")[: config.max_proposals])]
    ranges = _snippet_ranges(segments, num_features, num_snippets, config.proposal_extension, config, warp)
    return np.stack(ranges, axis=1)


def pseudo_labels(
    proposals: Proposals,
    label_ids: Sequence[int],
    num_features: int,
    num_snippets: int,
    num_labels: int,
    config: PlacementSettings,
    warp: TimeWarp | None = None,
) -> np.ndarray:
    """Label every sampled snippet with the classes of the proposals that cover it, or as background.

    Args:
        proposals: of one video; all of them count, whatever their score.
        label_ids: the true classes of the video (of test videos too, whose loss is only reported).
        num_features: rows L of the video.
        num_snippets: sampled snippets T.
        num_labels: action classes K; background is class K.
        config: the settings; proposals are not extended here.
        warp: the time warp that the snippets were sampled through, if any.

    Returns:
        (T, K + 1) float32 rows that sum to 1; classes that share a snippet share it equally.
    """
    chosen = _of_classes(proposals, label_ids)
    ranges = _snippet_ranges(proposals["segments"][chosen], num_features, num_snippets, None, config, warp)
    covers = np.zeros((num_labels + 1, num_snippets), dtype=bool)
    np.logical_or.at(covers, proposals["labels"][chosen], _covered(*ranges, num_snippets))
    covers[num_labels] = ~covers.any(axis=0)
    return (covers / covers.sum(axis=0)).T.astype(np.float32)


def _of_classes(proposals: Proposals, label_ids: Sequence[int]) -> np.ndarray:
    """Index the proposals of the given classes, class by class, inside a class by descending score."""
    order = np.lexsort((-proposals["scores"], proposals["labels"]))
    return order[np.isin(proposals["labels"][order], np.asarray(label_ids, dtype=np.int64))]


def _leading_share(scores: np.ndarray, ratio: float) -> np.ndarray:
    """Mark the leading proposals of one class, as many as cumulated scores are up to `ratio` of their maximum."""
    cumulated = np.cumsum(scores)
    return np.arange(len(scores)) < np.count_nonzero(cumulated <= ratio * cumulated.max())


def _snippet_ranges(
    segments: np.ndarray,
    num_features: int,
    num_snippets: int,
    extension: float | None,
    config: PlacementSettings,
    warp: TimeWarp | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the first and last snippet (inclusive) of segments in seconds, extended about their middle.

    The first index is clipped at 0 and the last one at T - 1 only, so ranges past the end come out inverted.
    """
    snippets_per_second = config.frames_per_second / config.frames_per_snippet
    length = num_features
    if warp is not None:
        segments = warp.to_stretched_seconds(segments, snippets_per_second)
        length = warp.num_warped
    scale = snippets_per_second * num_snippets / length
    start, end = segments[:, 0], segments[:, 1]
    if extension is not None:
        middle, reach = (start + end) / 2, (extension + 0.5) * (end - start)
        start, end = middle - reach, middle + reach
    first = np.maximum(np.round(start * scale), 0).astype(np.int64)
    last = np.minimum(np.round(end * scale), num_snippets - 1).astype(np.int64)
    return first, last


def _covered(first: np.ndarray, last: np.ndarray, length: int) -> np.ndarray:
    """Tell which of `length` positions each of n inclusive ranges covers, (n, length) bool."""
    positions = np.arange(length)
    return (positions >= first[:, None]) & (positions <= last[:, None])


def _with_whole_sums(weights: np.ndarray) -> np.ndarray:
    """Scale each maximal run of weights above 1 so that it sums to the nearest whole number."""
    stretched = np.concatenate([[False], weights > 1, [False]])
    changes = np.flatnonzero(stretched[1:] != stretched[:-1])
    for begin, stop in zip(changes[::2], changes[1::2], strict=True):
        run = weights[begin:stop]
        # Sums like 12.5 lie on the edge of rounding; only this order of summation errs to the official code's side.
        run *= np.round(run.sum()) / run.sum()
    return weights


@dataclass(frozen=True)
class GuidedSnippets:
    """What one video gives to one step.

    Args:
        snippets: (T, C) float32.
        boxes: (N, 2) int64 inclusive snippet indices of the proposals; none for the base step.
        warp: how time was stretched, `None` when it was not.
    """

    snippets: np.ndarray
    boxes: np.ndarray
    warp: TimeWarp | None


def guide_snippets(
    features: np.ndarray,
    proposals: dict[str, np.ndarray] | None,
    label_ids: Sequence[int] | None,
    config: AsmLocConfig,
    sample: Callable[[np.ndarray, int], np.ndarray],
) -> GuidedSnippets:
    """Stretch time inside short proposals, sample snippets and map the proposals onto them.

    Args:
        features: (L, C) snippet features of the whole video.
        proposals: `segments`, `scores` and `labels` from the previous step; `None` for the base step.
        label_ids: classes whose proposals count (training videos: their labels); `None` for all predicted ones.
        config: gives the sampling and proposal settings.
        sample: `sample_uniform`, or `sample_random` bound to its generator.
    """
    if proposals is None:
        snippets = sample(features, config.num_snippets).astype(np.float32, copy=False)
        return GuidedSnippets(snippets, np.zeros((0, 2), dtype=np.int64), None)
    num_features, warp = len(features), None
    if config.use_dynamic_sampling:
        weights = sampling_weights(proposals, sampling_labels(proposals, label_ids, config), num_features, config)
        warp = TimeWarp.from_weights(weights, num_features)
        features = warp_features(features, weights)
    snippets = sample(features, config.num_snippets).astype(np.float32, copy=False)
    boxes = proposal_boxes(
        proposals, guiding_labels(proposals, label_ids), num_features, len(snippets), config, warp=warp
    )
    return GuidedSnippets(snippets, boxes, warp)
