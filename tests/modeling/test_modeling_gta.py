"""The whole GTA network: who can see the order of frames, and what it says of its matrices and regions."""

import pytest
import torch

from hf_vidmodels import GtaConfig, GtaForVideoClassification


def model(**fields):
    torch.manual_seed(0)
    made = GtaForVideoClassification(GtaConfig.from_preset("tiny-gta", num_labels=5, **fields)).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.ones_(module.weight)
    return made


def clips(frames=4):
    return torch.randn(2, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("fields", "sees_order"),
    [
        ({}, True),
        ({"cross_channel": False}, True),
        ({"use_region_branch": False}, True),
        ({"use_pixel_branch": False}, True),
        ({"attention_type": "none"}, False),
        ({"attention_type": "joint"}, False),
        ({"attention_type": "decoupled"}, False),
    ],
)
@torch.no_grad()
def test_matrices_see_the_order_of_frames_and_attention_without_positions_does_not(fields, sees_order):
    network, given = model(**fields), clips()
    backwards = network(given.flip(1)).logits
    assert torch.allclose(network(given).logits, backwards, atol=1e-5) != sees_order


@torch.no_grad()
def test_regions_share_every_pixel_and_are_given_on_request_alone():
    network, given = model(), clips()
    output = network(given, output_regions=True)
    assert [tuple(shares.shape) for shares in output.region_shares] == [(2, 3, 4, 4, 4), (2, 3, 4, 2, 2)]
    for shares in output.region_shares:
        torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    assert network(given).region_shares is None


@torch.no_grad()
def test_clips_of_another_length_are_refused_unless_matrices_may_be_resized():
    with pytest.raises(ValueError, match="matrices for 4 frames, got 6; set interpolate_attention=True"):
        model()(clips(6))
    assert model(interpolate_attention=True)(clips(6)).logits.shape == (2, 5)


def test_matrices_that_a_model_does_not_have_are_refused():
    with pytest.raises(ValueError, match="attention_type 'joint' has no matrices of branch 'pixel'"):
        model(attention_type="joint").temporal_matrices()
    with pytest.raises(ValueError, match="no matrices of branch 'region'"):
        model(use_region_branch=False).temporal_matrices("region")
