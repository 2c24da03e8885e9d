"""Semiformer's configuration: what fits together, what is refused, and which sides of pictures both streams share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_vidmodels import SemiformerConfig, SemiformerForImageClassification
from hf_vidmodels.configuration.configuration_semiformer import OFFICIAL_SOURCES, PSEUDO_LABEL_SOURCES


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_hidden_layers": 10}, "num_hidden_layers must be divisible by 3, got 10"),
        ({"patch_size": 24, "image_size": 48}, "patch_size must be a multiple of 16, got 24"),
        ({"patch_size": 0}, "patch_size must be positive"),
        ({"hidden_size": 50}, "hidden_size 50 must be divisible by num_attention_heads 6"),
        ({"conv_channel_ratio": 0.04}, "leave 2 channels, but a bottleneck needs at least 4"),
        ({"num_channels": 4}, "num_channels must be 3"),
        ({"num_med_blocks": -1}, "num_med_blocks must not be negative"),
        ({"conv_stream": "convmixer", "num_hidden_layers": 9}, "num_hidden_layers must be at least 12"),
        ({"conv_stream": "convmixer", "patch_size": 32}, "patch_size must be 16 with conv_stream 'convmixer'"),
        ({"conv_stream": "convmixer", "convmixer_patch_size": 4}, "convmixer_patch_size must be 8"),
        ({"conv_stream": "convmixer", "convmixer_kernel_size": 8}, "convmixer_kernel_size must be odd"),
        ({"conv_stream": "resnet"}, "conv_stream must be one of 'bottleneck', 'convmixer', got 'resnet'"),
        ({"image_size": 100}, "a height of 100 pixels, .* nearest are 96 or 109"),
        ({"image_size": [96, 100]}, "a width of 100 pixels"),
        ({"image_size": [96, 96, 3]}, r"one number or \(height, width\)"),
        ({"pseudo_label_threshold": 1.5}, r"pseudo_label_threshold must be in \[0, 1\], got 1.5"),
        ({"pseudo_label_temperature": 0.0}, "pseudo_label_temperature must be positive"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
        ({"unlabeled_loss_weight": -1.0}, "unlabeled_loss_weight must not be negative"),
        ({"head_loss_weights": [1.0]}, "head_loss_weights must be two numbers"),
        ({"unlabeled_head_loss_weights": [1.0, -1.0]}, "must be two numbers, not negative"),
        ({"pseudo_label_source": "votes"}, "pseudo_label_source must be one of 'conv', 'transformer', 'mean_logits'"),
        ({"prediction_head": "mean"}, "prediction_head must be one of 'sum', 'conv', 'transformer', 'softmax_sum'"),
        ({"streams": "conv", "prediction_head": "transformer"}, "prediction_head is 'transformer', but streams is"),
        ({"streams": "transformer", "pseudo_label_source": "conv"}, "pseudo_label_source is 'conv', but streams is"),
        ({"streams": "transformer", "conv_stream": "convmixer"}, "conv_stream says what the convolution stream is"),
        ({"consistency_loss": "cosine"}, "consistency_loss must be one of None, 'triplet', 'infonce'"),
        ({"problem_type": "multi_label_classification"}, "a pseudo-label is one class"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1"),
    ],
)
def test_what_makes_no_network_or_no_loss_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        SemiformerConfig(**fields)


def test_official_names_of_rules_become_ours():
    assert sorted(OFFICIAL_SOURCES.values()) == sorted(PSEUDO_LABEL_SOURCES) and len(OFFICIAL_SOURCES) == 15
    for official, ours in OFFICIAL_SOURCES.items():
        assert SemiformerConfig(pseudo_label_source=official).pseudo_label_source == ours


def test_the_only_stream_labels_where_there_is_one():
    sources = {streams: SemiformerConfig(streams=streams).pseudo_label_source for streams in ("conv", "transformer")}
    assert sources == {"conv": "conv", "transformer": "transformer"}
    assert SemiformerConfig().pseudo_label_source == "conv"


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("semiformer-small-patch16", 41_670_288),
        ("semiformer-small-patch16-pe", 41_745_552),
        ("semiformer-convmixer-12", 40_949_392),
    ],
)
def test_published_networks_have_their_number_of_parameters(preset, count):
    with torch.device("meta"):
        model = SemiformerForImageClassification(SemiformerConfig.from_preset(preset))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_blocks_of_the_small_model_have_the_widths_and_ratios_of_the_paper():
    plans = SemiformerConfig().block_plans()
    assert [plan.width for plan in plans] == [256] * 3 + [512] * 4 + [1024] * 4
    assert [plan.ratio for plan in plans] == [4] * 3 + [2] * 4 + [1] * 4
    assert [plan.stride for plan in plans] == [1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1]
    assert plans[-1].last_stride == 2 and plans[-1].drop_path_rate == pytest.approx(0.1)
    mixer = SemiformerConfig(conv_stream="convmixer").block_plans()
    assert len(mixer) == 10 and mixer[-1].drop_path_rate == pytest.approx(0.1 * 10 / 11)


@given(st.integers(1, 300), st.sampled_from([16, 32]))
def test_the_nearest_sides_are_legal_and_nothing_legal_lies_between(side, patch_size):
    config = SemiformerConfig(patch_size=patch_size)
    near = config.nearest_sides(side)
    assert all(config.takes_side(one) for one in near)
    between = range(min(near) + 1, max(near))
    assert not any(config.takes_side(one) for one in between)


def test_sides_that_the_official_code_takes_are_taken():
    config, mixer = SemiformerConfig(), SemiformerConfig(conv_stream="convmixer")
    assert [side for side in range(33, 65) if config.takes_side(side)] == [*range(45, 49), *range(61, 65)]
    assert [side for side in range(33, 65) if mixer.takes_side(side)] == [48, 64]
