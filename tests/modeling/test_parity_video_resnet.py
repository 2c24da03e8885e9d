"""Values of pytorchvideo, SlowFast and torchvision: one case always, all where ../shared is there."""

import pytest
import torch

from hf_vidmodels.conversion.convert_video_resnet import convert_video_resnet
from video_resnet_cases import FIXTURES, STAGES, folder_of, load_case

SLOW = FIXTURES / "slow_r50"
SLOWFAST_OPTIONS = {"MODEL.ARCH": "slow", "DATA.NUM_FRAMES": 4, "DATA.TRAIN_CROP_SIZE": 64}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def case_or_skip(name):
    if folder_of(name) is None:
        pytest.skip(f"the parity case {name} is not here")
    return load_case(name)


def assert_near(found, expected):
    torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-5, rtol=1e-5)


def test_slow_gives_the_values_of_pytorchvideo():
    case = load_case("slow_r50", SLOW)
    output = case.model()(case.clips(), output_hidden_states=True)
    assert_near(output.logits, case.io["logits"])
    for name, maps in zip(STAGES, output.hidden_states, strict=True):
        if f"feature.{name}" in case.io:
            assert_near(maps[:1], case.io[f"feature.{name}"])


def test_larger_frames_average_logits_as_pytorchvideo_and_probabilities_as_slowfast():
    case = load_case("slow_r50", SLOW)
    clips = case.clips("pixel_values_large")
    assert_near(case.model()(clips).logits, case.io["logits_large"])
    model = convert_video_resnet(case.slowfast_weights(), SLOWFAST_OPTIONS)
    assert_near(model(clips).logits.softmax(-1), case.io["probabilities_large_slowfast_eval"])
    assert_near(model(case.clips()).logits.softmax(-1), case.io["probabilities_slowfast_eval"])


def test_slowfast_gives_the_values_of_both_projects():
    case = case_or_skip("slowfast_r50")
    output = case.model()(case.clips("frames"), output_hidden_states=True)
    assert_near(output.logits, case.io["logits"])
    for number, name in enumerate(STAGES):
        slow, fast = output.hidden_states[number][:1], output.fast_hidden_states[number][:1]
        assert_near(slow, case.io[f"feature.{name}.pathway0"])
        assert_near(fast, case.io.get(f"feature.{name}.pathway1", fast))
    renamed = convert_video_resnet(case.slowfast_weights(), case.options["slowfast_repository_options"])
    assert_near(renamed(case.clips("frames")).logits.softmax(-1), case.io["logits"].softmax(-1))


def test_slow_frames_may_be_given_apart():
    case = case_or_skip("slowfast_r50")
    clips = case.clips("frames")
    slow = clips[:, case.io["slow_frame_index"]]
    assert_near(case.model()(clips, pixel_values_slow=slow).logits, case.io["logits"])


@pytest.mark.parametrize(("aligned", "name"), [(True, "logits"), (False, "logits_roi_align_not_aligned")])
def test_the_detector_gives_the_values_of_slowfast(aligned, name):
    case = case_or_skip("slowfast_r50_detection")
    output = case.model(roi_aligned=aligned)(case.clips("frames"), case.io["boxes"])
    assert_near(output.logits, case.io[name])
    if aligned:
        assert_near(output.roi_features, case.io["roi_feature"])


def test_nonlocal_blocks_give_the_values_of_slowfast():
    case = case_or_skip("i3d_nonlocal_r50")
    model = case.model()
    output = model(case.clips(), output_hidden_states=True)
    assert_near(output.logits.softmax(-1), case.io["probabilities"])
    for name, maps in zip(STAGES, output.hidden_states, strict=True):
        assert_near(maps[:1], case.io[f"feature.{name}"])
    block = model.backbone.pathways[0].nonlocal_blocks["2_1"]
    expected = case.io["nonlocal.s3.pathway0_nonlocal1"]
    assert_near(block(case.io["nonlocal_input.s3.pathway0_nonlocal1"].float()), expected)


def test_r2plus1d_gives_the_values_of_pytorchvideo():
    case = case_or_skip("r2plus1d_r50")
    output = case.model()(case.clips(), output_hidden_states=True)
    assert_near(output.logits, case.io["logits"])
    for name, maps in zip(STAGES, output.hidden_states, strict=True):
        assert_near(maps[:1], case.io[f"feature.{name}"])


def test_a_2d_network_gives_the_mean_of_its_frames():
    case = case_or_skip("tsn_r50")
    output = case.model()(case.io["frames"], output_hidden_states=True)
    assert_near(output.logits, case.io["logits"])
    for name, maps in zip(STAGES, output.hidden_states, strict=True):
        assert_near(maps[:1, :, 0], case.io[f"feature.{name}"])


def test_an_inflated_network_sees_still_pictures_as_the_2d_network_does():
    case = case_or_skip("tsn_r50")
    still = case.io["frames"][:, :1].expand(-1, 15, -1, -1, -1)
    flat, inflated = case.model(), case.model(arch="slow_i3d", num_frames=15)
    kernel = inflated.backbone.pathways[0].stages[3][1].reduce.convolution.weight
    assert kernel.shape[2] == 3
    ours, theirs = (model(still, output_hidden_states=True).hidden_states for model in (inflated, flat))
    # The middle frame of the first stages is far from the zeros at the ends.
    for number in (0, 1):
        assert_near(ours[number][:, :, 7], theirs[number][:, :, 7])
