"""Training videos of a refinement step: what the step before found decides how they are sampled."""

import numpy as np
import pytest

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.modeling.ops.proposal_guidance import guide_snippets, pseudo_labels
from hf_vidmodels.modeling.ops.snippet_sampling import sample_random
from hf_vidmodels.training.recipes.asm_loc_videos import GuidedTrainingVideos
from hf_vidmodels.training.seeding import sample_generator

FEATURES = np.random.default_rng(0).standard_normal((90, 8), dtype=np.float32)
VIDEOS = VideoTable(["a"], [FEATURES], [[1]], {}, [57.6], [None])
PROPOSALS = {
    "segments": np.array([[5.0, 6.5], [30.0, 31.0], [40.0, 55.0], [12.0, 13.0]]),
    "scores": np.array([0.9, 0.8, 0.7, 0.6]),
    "labels": np.array([1, 1, 1, 0]),
}


@pytest.mark.parametrize("stretches", [True, False])
def test_an_item_of_any_epoch_is_what_the_method_makes_of_the_video(stretches):
    config = AsmLocConfig(
        hidden_size=8, num_attention_heads=2, num_labels=3, num_snippets=40, use_dynamic_sampling=stretches
    )
    videos = GuidedTrainingVideos(VIDEOS, {"a": PROPOSALS}, config, seed=4)
    for epoch in (0, 3):
        item = videos[epoch, 0]

        def sample(rows, count, epoch=epoch):
            return sample_random(rows, count, sample_generator(4, epoch, 0))

        guided = guide_snippets(FEATURES, PROPOSALS, [1], config, sample)
        labels = pseudo_labels(PROPOSALS, [1], 90, 40, 3, config, warp=guided.warp)
        np.testing.assert_array_equal(item["input_features"], guided.snippets)
        np.testing.assert_array_equal(item["proposal_boxes"], guided.boxes)
        np.testing.assert_array_equal(item["pseudo_labels"], labels)
