"""Training videos of a refinement step: what the step before found decides how they are sampled."""

import numpy as np
import pytest

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.modeling.ops.proposal_guidance import guide_snippets, pseudo_labels
from hf_vidmodels.modeling.ops.snippet_sampling import sample_random
from hf_vidmodels.training.recipes import asm_loc_videos
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


@pytest.fixture
def stored_videos(tmp_path):
    """Three videos in `.npy` files, and the list of those that were opened."""
    files = [str(tmp_path / f"{name}.npy") for name in "abc"]
    for number, file in enumerate(files):
        np.save(file, FEATURES + number)
    opened = []

    class CountingTable(VideoTable):
        def load(self, index, expected_width=None):
            opened.append(index)
            return super().load(index, expected_width)

    return CountingTable(["a", "b", "c"], files, [[1], [0], [2]], {}, [57.6] * 3, [None] * 3), opened


def test_feature_files_are_opened_once_for_all_epochs_up_to_a_bound(stored_videos, monkeypatch):
    table, opened = stored_videos
    config = AsmLocConfig(hidden_size=8, num_attention_heads=2, num_labels=3, num_snippets=40)
    monkeypatch.setattr(asm_loc_videos, "MOST_KEPT_MAPS", 2)
    videos = GuidedTrainingVideos(table, None, config, seed=4)
    for epoch in range(3):
        for index in range(3):
            expected = sample_random(FEATURES + index, 40, sample_generator(4, epoch, index))
            np.testing.assert_array_equal(videos[epoch, index]["input_features"], expected)
    assert opened == [0, 1, 2, 2, 2]


def test_features_that_are_no_memory_maps_are_not_kept(stored_videos, tmp_path):
    table, opened = stored_videos
    np.savez(tmp_path / "a.npz", FEATURES)
    table.feature_files[0] = str(tmp_path / "a.npz")
    videos = GuidedTrainingVideos(table, None, AsmLocConfig(hidden_size=8, num_attention_heads=2), seed=4)
    assert [videos[epoch, 0]["input_features"].shape for epoch in range(2)] == [(750, 8)] * 2
    assert opened == [0, 0]
