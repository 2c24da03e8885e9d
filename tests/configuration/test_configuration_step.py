"""STEP's configuration: what follows from its fields, and what it refuses."""

import pytest

from hf_vidmodels import StepConfig
from hf_vidmodels.configuration.configuration_i3d import I3dConfig
from hf_vidmodels.configuration.configuration_step import proposal_grid


def cuboids(config):
    return proposal_grid(config.proposal_scales, config.proposal_overlaps) + config.extra_proposals


def test_the_defaults_are_those_of_the_ava_model():
    config = StepConfig()
    assert (config.num_labels, config.num_frames, config.num_feature_frames) == (60, 36, 9)
    assert len(cuboids(config)) == 34
    assert [config.frames_of_step(step) for step in range(3)] == [slice(3, 6), slice(3, 6), slice(0, 9)]
    assert [config.extends_after(step) for step in range(3)] == [False, True, False]


def test_the_preset_for_ucf24_has_eleven_cuboids_inside_the_frame():
    boxes = cuboids(StepConfig.from_preset("step-i3d-ucf24"))
    assert len(boxes) == 11
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in boxes)


def test_fields_of_the_trunk_work_flat_and_widths_are_scaled():
    config = StepConfig(width_multiplier=0.125)
    assert config.backbone_config.stem_widths == (8, 8, 24)
    assert config.local_widths == (128, 32)
    assert (config.backbone_config.feature_width, config.backbone_config.tail_width) == (104, 128)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"chunk_length": 4}, "chunk_length must be odd, so that it has a middle, got 4"),
        ({"chunk_length": 1, "temporal_mode": "extrapolate"}, "needs a chunk_length of at least 3"),
        ({"chunks_per_step": [1, 2, 3]}, "must be odd and positive, got 2 at step 2"),
        ({"chunks_per_step": [3, 1, 1]}, "must rise by 0 or 2 from one step to the next, got 3 and 1 at step 2"),
        ({"chunks_per_step": [1, 1, 5]}, "got 1 and 5 at step 3"),
        ({"chunks_per_step": [1, 3]}, "must have one entry for each of the 3 steps"),
        ({"temporal_mode": "guess"}, "temporal_mode must be one of 'predict', 'extrapolate', 'mean', got 'guess'"),
        ({"roi_pool_mode": "mean"}, "roi_pool_mode must be one of 'align', 'pool'"),
        ({"negative_sampling": "hard"}, "negative_sampling must be one of 'softmax', 'uniform', 'random'"),
        ({"image_size": [400, 16]}, "must have sides of 32 pixels or more"),
        ({"image_size": [400]}, r"must be \(height, width\) in whole pixels"),
        ({"nms_threshold": 1.5}, r"nms_threshold must be in \[0, 1\], got 1.5"),
        ({"score_threshold": -0.1}, r"score_threshold must be in \[0, 1\]"),
        ({"cls_iou_thresholds": []}, "must be one or more overlaps"),
        ({"cls_iou_thresholds": [0.2, 1.2]}, r"must be one or more overlaps in \[0, 1\]"),
        ({"proposal_scales": [0, 2]}, "proposal_scales must be 1 or more, so that cuboids fit the frame, got 0"),
        ({"proposal_overlaps": [1.0, 0.5]}, r"proposal_overlaps must be in \[0, 1\).* got 1.0"),
        ({"proposal_scales": [2]}, "must have an entry for each of the 1 proposal_scales"),
        ({"proposal_scales": [], "proposal_overlaps": []}, "there would be no tube"),
        ({"extra_proposals": [[0, 0, 400, 400]]}, r"extra_proposals must be x0, y0, x1, y1 inside \[0, 1\]"),
        ({"num_steps": 1, "chunks_per_step": [1], "num_frames": 36}, "num_frames follows from chunk_length 3"),
        ({"use_local_branch": False}, "num_steps above 1 needs use_local_branch"),
        ({"width_multiplier": 0.1}, "width_multiplier 0.1 makes 6.4 of width 64 in stem"),
        ({"width_multiplier": 0.125, "local_hidden_size": 100}, "makes 12.5 of local_hidden_size"),
        ({"frame_rate": 0}, "frame_rate must be positive"),
    ],
)
def test_contradictions_are_told_in_one_sentence(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        StepConfig(**fields)


def test_a_trunk_needs_its_own_blocks():
    with pytest.raises(ValueError, match="mixed_channels must have the blocks 3b, 3c"):
        I3dConfig(mixed_channels={"3b": [1, 1, 1, 1, 1, 1]})
    blocks = dict(I3dConfig().mixed_channels)
    with pytest.raises(ValueError, match="4c must have 6 widths"):
        I3dConfig(mixed_channels={**blocks, "4c": [1, 2]})
