"""The test protocols of residual video networks: those of the zoos for their networks, ours for new ones."""

import pytest

from hf_vidmodels import GtaConfig, GtaVideoProcessor, VideoResNetConfig, VideoResNetVideoProcessor

IMAGENET_MEAN = [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("preset", "fields", "num_frames", "rate", "crop"),
    [
        ("slow_r50_8x8", {"head_pooling": "window"}, 8, 8, 256),
        ("slow_r50_4x16", {"head_pooling": "window"}, 4, 16, 256),
        ("slowfast_r50_8x8", {"head_pooling": "window"}, 32, 2, 256),
        ("slow_r50_8x8", {}, 8, 8, 224),
    ],
)
def test_networks_of_the_zoo_are_tested_on_30_views_of_the_whole_short_side(preset, fields, num_frames, rate, crop):
    processor = VideoResNetVideoProcessor.from_config(VideoResNetConfig.from_preset(preset, **fields))
    assert (processor.num_frames, processor.sampling_rate, processor.sampling_strategy) == (
        num_frames,
        rate,
        "slowfast",
    )
    assert (processor.evaluation_views, processor.evaluation_crops, processor.view_aggregation) == (10, 3, "sum")
    assert processor.size.shortest_edge == 256
    assert processor.picture_size == (crop, crop)
    assert list(processor.image_mean) == [0.45] * 3


@pytest.mark.parametrize("pooling", ["global", "window"])
def test_2d_networks_see_the_middle_of_equal_parts_once(pooling):
    config = GtaConfig(backbone_config={"arch": "r2d", "num_frames": 16, "head_pooling": pooling})
    processor = GtaVideoProcessor.from_config(config)
    assert (processor.num_frames, processor.sampling_strategy) == (16, "segments")
    assert (processor.evaluation_views, processor.evaluation_crops) == (1, 1)
    assert processor.picture_size == (224, 224)
    assert list(processor.image_mean) == IMAGENET_MEAN


def test_single_fields_of_a_protocol_may_be_set():
    config = VideoResNetConfig.from_preset("slow_r50_8x8")
    assert VideoResNetVideoProcessor.from_config(config, evaluation_views=3).evaluation_views == 3
