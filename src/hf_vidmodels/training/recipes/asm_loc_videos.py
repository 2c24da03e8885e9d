"""The training data set of one step of ASM-Loc."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from torch.utils.data import Dataset

from ...configuration.configuration_asm_loc import AsmLocConfig
from ...data.features.video_table import VideoTable
from ...modeling.ops.proposal_guidance import guide_snippets, pseudo_labels
from ...modeling.ops.snippet_sampling import sample_random
from ..seeding import sample_generator

Proposals = Mapping[str, Mapping[str, np.ndarray]]


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

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.videos)

    def __getitem__(self, position: tuple[int, int]) -> dict[str, np.ndarray]:
        """Sample one video for one epoch."""
        epoch, index = position
        config, label_ids = self.config, self.videos.labels[index]
        features = self.videos.load(index, config.hidden_size)
        proposals = None if self.proposals is None else self.proposals[self.videos.video_ids[index]]
        sample = partial(sample_random, generator=sample_generator(self.seed, epoch, index))
        guided = guide_snippets(features, proposals, label_ids, config, sample)
        labels = np.zeros(config.num_labels, dtype=np.float32)
        labels[label_ids] = 1
        item = {"input_features": guided.snippets, "labels": labels}
        if proposals is not None:
            item["proposal_boxes"] = guided.boxes
            item["pseudo_labels"] = pseudo_labels(
                proposals,
                label_ids,
                len(features),
                len(guided.snippets),
                config.num_labels,
                config,
                warp=guided.warp,
            )
        return item
