"""Shapes of residual video networks and of GTA on them, and what contradicts itself."""

import pytest
import torch

from hf_vidmodels.configuration.configuration_gta import GtaConfig
from hf_vidmodels.configuration.configuration_video_resnet import VideoResNetConfig
from hf_vidmodels.modeling.backbones.video_resnet import VideoResNetModel, slow_frame_index
from hf_vidmodels.modeling.modeling_gta import GtaForVideoClassification
from hf_vidmodels.modeling.modeling_video_resnet import (
    VideoResNetForActionDetection,
    VideoResNetForVideoClassification,
)

# Millions of parameters of the zoos' models.
PARAMETERS = {
    "slow_r50_8x8": 32.454,
    "i3d_r50_8x8": 28.043,
    "c2d_r50_8x8": 24.328,
    "slowfast_r50_8x8": 34.566,
    "slowfast_r101_8x8": 62.827,
    "r2plus1d_r50_16x4": 28.108,
    "slow_r50_ava": 31.798,
    "slowfast_r50_ava": 33.829,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_the_published_numbers_of_parameters(name):
    model_class = VideoResNetForActionDetection if name.endswith("ava") else VideoResNetForVideoClassification
    with torch.device("meta"):
        model = model_class(VideoResNetConfig.from_preset(name))
    assert round(model.num_parameters() / 1e6, 3) == PARAMETERS[name]


@pytest.mark.parametrize(("num_frames", "alpha"), [(32, 4), (32, 8), (64, 4), (16, 4)])
def test_slow_frames_reach_from_the_first_to_the_last(num_frames, alpha):
    published = {
        (32, 4): [0, 4, 8, 13, 17, 22, 26, 31],
        (32, 8): [0, 10, 20, 31],
        (64, 4): [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63],
        (16, 4): [0, 5, 10, 15],
    }
    assert slow_frame_index(num_frames, alpha).tolist() == published[num_frames, alpha]


@pytest.mark.parametrize("preset", ["tiny-slow", "tiny-slowfast", "tiny-i3d-nonlocal", "tiny-r2plus1d"])
def test_maps_have_the_shapes_that_the_configuration_says(preset):
    config = VideoResNetConfig.from_preset(preset)
    seen = {}
    filters = {seam: lambda maps, seam=seam: seen.setdefault(seam, maps) for seam in config.seams}
    model = VideoResNetModel(config).eval()
    clips = torch.randn(1, config.num_frames, 3, config.image_size, config.image_size)
    with torch.no_grad():
        output = model(clips, map_filters=filters, output_hidden_states=True)
    for seam, maps in seen.items():
        assert tuple(maps.shape[1:3]) == config.seam_shape(seam)
        assert maps.shape[-1] == config.pathway_plans()[0].sides[seam[0]]
    assert list(seen) == list(config.seams)
    assert output.pooler_output.shape == (1, config.feature_width)
    assert len(output.hidden_states) == 5


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"arch": "slowest"}, "arch must be one of 'c2d', .*got 'slowest'"),
        ({"depth": 34}, "depth must be one of 50, 101, 152, got 34; other numbers of blocks are given as depths"),
        ({"arch": "slowfast", "num_frames": 30}, "num_frames must be a multiple of alpha 4"),
        ({"arch": "i3d", "num_frames": 1}, "num_frames 1 is too few for i3d"),
        ({"nonlocal_blocks": ((), (4,), (), ())}, "nonlocal_blocks names block 4 of res3, which has blocks 0..3"),
        ({"nonlocal_blocks": ((), (1,), (), ()), "nonlocal_groups": 3}, "nonlocal_groups 3 does not divide the 8 fra"),
        ({"head_pooling": "max"}, "head_pooling must be one of 'global', 'window', got 'max'"),
        ({"spatial_strides": (1, 2)}, "spatial_strides must have one entry for each of res2 to res5"),
    ],
)
def test_contradictions_of_a_network_are_errors(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        VideoResNetConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_groups": 3}, "inner width 256 of res3 must be positive and divisible by num_groups 3"),
        ({"gta_blocks": ((), (9,), (), ())}, "gta_blocks names block 9 of res3, which has blocks 0..3"),
        ({"use_pixel_branch": False, "use_region_branch": False}, "both false: nothing would be mixed over time"),
        ({"attention_type": "global"}, "attention_type must be one of 'gta', 'joint', 'decoupled', 'none'"),
        ({"attention_init": "ones"}, "attention_init must be one of 'uniform', 'normal', 'identity'"),
    ],
)
def test_contradictions_of_gta_are_errors(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        GtaConfig(**fields)


@pytest.mark.parametrize("arch", ["r2d", "i3d", "slow", "slowfast"])
def test_matrices_have_the_frames_of_their_place_and_a_new_model_is_its_backbone(arch):
    backbone = {"arch": arch, "num_frames": 8, "embedding_size": 8, "depths": (1, 1, 1, 1), "image_size": 32}
    config = GtaConfig(
        backbone_config=backbone | {"beta_inv": 4},
        gta_blocks=((), (0,), (0,), ()),
        classifier_dropout=0.0,
        num_labels=5,
    )
    model = GtaForVideoClassification(config).eval()
    frames = {"i3d": 4, "slowfast": 2}.get(arch, 8)
    assert {matrices.shape[-1] for matrices in model.temporal_matrices().values()} == {frames}
    plain = GtaForVideoClassification(GtaConfig.from_dict(config.to_dict() | {"attention_type": "none"})).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "attentions" not in name})
    clips = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(clips).logits, plain(clips).logits)


@pytest.mark.parametrize(
    ("clips", "sentence"),
    [
        ((1, 8, 4, 32, 32), "expected 3 channels, got 4 channels in shape"),
        ((1, 6, 3, 32, 32), "takes clips of a multiple of 4 frames, got 6"),
        ((8, 3, 32, 32), r"pixel_values must be \(batch, frames, channels, height, width\)"),
    ],
)
def test_clips_that_do_not_fit_are_errors(clips, sentence):
    model = VideoResNetModel(VideoResNetConfig.from_preset("tiny-slowfast")).eval()
    with pytest.raises(ValueError, match=sentence):
        model(torch.zeros(clips))


def test_boxes_and_windows_that_do_not_fit_are_errors():
    detector = VideoResNetForActionDetection(VideoResNetConfig.from_preset("tiny-slow")).eval()
    clips = torch.zeros(2, 4, 3, 32, 32)
    with pytest.raises(ValueError, match=r"boxes must be \(N, 5\)"):
        detector(clips, torch.zeros(3, 4))
    with pytest.raises(ValueError, match="boxes name clips 0 to 2, but the batch has 2"):
        detector(clips, torch.tensor([[0, 1, 1, 9, 9], [2, 1, 1, 9, 9]]).float())
    classifier = VideoResNetForVideoClassification(
        VideoResNetConfig.from_preset("tiny-slow", head_pooling="window", image_size=64)
    ).eval()
    with pytest.raises(ValueError, match="has a window of .*but the last map has only"):
        classifier(clips)


def test_a_group_of_frames_does_not_see_the_others():
    config = VideoResNetConfig.from_preset("tiny-i3d-nonlocal", arch="r2d", nonlocal_groups=2)
    torch.manual_seed(0)
    model = VideoResNetModel(config).eval()
    for block in model.pathways[0].nonlocal_blocks.values():
        torch.nn.init.ones_(block.normalization.weight)
    clips = torch.randn(1, 8, 3, 32, 32)
    changed = torch.cat((clips[:, :4], torch.randn(1, 4, 3, 32, 32)), dim=1)
    with torch.no_grad():
        ours, theirs = model(clips).last_hidden_state, model(changed).last_hidden_state
    torch.testing.assert_close(ours[:, :, :4], theirs[:, :, :4])
    assert not torch.allclose(ours[:, :, 4:], theirs[:, :, 4:])
