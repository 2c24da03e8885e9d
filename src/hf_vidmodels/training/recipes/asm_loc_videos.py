"""The training data set of one step of ASM-Loc."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from ...configuration.configuration_asm_loc import AsmLocConfig
from ...data.features.video_table import VideoTable
from ...modeling.ops.proposal_guidance import (
    guiding_labels,
    proposal_boxes,
    pseudo_labels,
    sampling_labels,
    sampling_weights,
)
from ...modeling.ops.snippet_sampling import TimeWarp, sample_random, warp_features
from ..seeding import sample_generator

Proposals = Mapping[str, Mapping[str, np.ndarray]]

# Every map holds a file open, of which a process often may have 1024.
MOST_KEPT_MAPS = 256


@dataclass(frozen=True)
class _Guidance:
    """What the proposals of one video make of it, the same in all epochs of a step.

    Attributes:
        weights: (L,) sampling weights; `None` where time is not stretched.
        boxes: (N, 2) on the sampled snippets.
        classes: class ids of the columns of `labels`; of all others the labels are 0.
        labels: (S, number of `classes`).
    """

    weights: np.ndarray | None
    boxes: np.ndarray
    classes: list[int]
    labels: np.ndarray


class GuidedTrainingVideos(Dataset):
    """Training videos sampled for one step; items are asked for by `(epoch, index)`.

    An item holds `input_features` (S, C) float32 and `labels` (K,) multi-hot, and from the first refinement step on
    `proposal_boxes` (N, 2) and `pseudo_labels` (S, K + 1). Ground-truth segments are never read.

    Args:
        videos: the training split.
        proposals: what the step before found, by video; `None` for the base step.
        config: the cascade's configuration.
        seed: seed of the random snippets.
    """

    def __init__(self, videos: VideoTable, proposals: Proposals | None, config: AsmLocConfig, seed: int) -> None:
        self.videos = videos
        self.proposals = proposals
        self.config = config
        self.seed = seed
        self._guidance: dict[int, _Guidance] = {}
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.videos)

    def __getitem__(self, position: tuple[int, int]) -> dict[str, np.ndarray]:
        """Sample one video for one epoch."""
        epoch, index = position
        config, label_ids = self.config, self.videos.labels[index]
        rows = self._load(index)
        guidance = None if self.proposals is None else self._guide(index, len(rows))
        if guidance is not None and guidance.weights is not None:
            rows = warp_features(rows, guidance.weights)
        snippets = sample_random(rows, config.num_snippets, sample_generator(self.seed, epoch, index))
        labels = np.zeros(config.num_labels, dtype=np.float32)
        labels[label_ids] = 1
        item = {"input_features": snippets.astype(np.float32, copy=False), "labels": labels}
        if guidance is not None:
            item["proposal_boxes"] = guidance.boxes
            item["pseudo_labels"] = np.zeros((config.num_snippets, config.num_labels + 1), dtype=np.float32)
            item["pseudo_labels"][:, guidance.classes] = guidance.labels
        return item

    def _load(self, index: int) -> np.ndarray:
        """Read the features of one video; those that lie in memory maps are opened and checked once, up to a bound."""
        if index in self._maps:
            return self._maps[index]
        rows = self.videos.load(index, self.config.hidden_size)
        if isinstance(rows, np.memmap) and len(self._maps) < MOST_KEPT_MAPS:
            self._maps[index] = np.asarray(rows)
        return rows

    def _guide(self, index: int, num_features: int) -> _Guidance:
        """Place the proposals of one video, once for the whole step."""
        if index not in self._guidance:
            config, label_ids = self.config, self.videos.labels[index]
            proposals = self.proposals[self.videos.video_ids[index]]
            weights, warp = None, None
            if config.use_dynamic_sampling:
                classes = sampling_labels(proposals, label_ids, config)
                weights = sampling_weights(proposals, classes, num_features, config)
                warp = TimeWarp.from_weights(weights, num_features)
            placed = (num_features, config.num_snippets)
            boxes = proposal_boxes(proposals, guiding_labels(proposals, label_ids), *placed, config, warp=warp)
            labels = pseudo_labels(proposals, label_ids, *placed, config.num_labels, config, warp=warp)
            classes = [*label_ids, config.num_labels]
            self._guidance[index] = _Guidance(weights, boxes, classes, labels[:, classes])
        return self._guidance[index]
