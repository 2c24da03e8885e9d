"""The input of one cascade step: snippets sampled from a video, guided by the previous step's proposals (ASM-Loc)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...configuration.configuration_asm_loc import AsmLocConfig
from .proposal_guidance import guiding_labels, proposal_boxes, sampling_labels, sampling_weights
from .snippet_sampling import TimeWarp, warp_features


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
