"""What overlapping clips share: the same maps as each clip alone, from fewer feature frames."""

from itertools import pairwise

import pytest
import torch

from hf_vidmodels.configuration.configuration_i3d import I3dConfig
from hf_vidmodels.modeling.backbones.i3d import I3dModel
from hf_vidmodels.modeling.backbones.i3d_overlaps import OverlappingClips

LENGTH = 36


@pytest.fixture(scope="module")
def film():
    # Double precision, in which maps of other lengths are rounded alike.
    return torch.rand(LENGTH + 60, 3, 40, 48, generator=torch.Generator().manual_seed(0)).double() * 2 - 1


@pytest.fixture(scope="module")
def trunk(film):
    torch.manual_seed(0)
    trunk = I3dModel(I3dConfig(width_multiplier=0.125, batch_norm_momentum=1.0)).double()
    with torch.no_grad():
        # Norms that know the film; otherwise next to nothing arrives at the end.
        trunk.train()(film[None, :LENGTH])
    return trunk.eval()


def clips_of(film, starts):
    return torch.stack([film[start : start + LENGTH] for start in starts])


def shared_frames(trunk, film, starts, monkeypatch):
    """The maps of clips that share, and how many feature frames the first convolution gave for them."""
    looked_at = []
    convolve = trunk.stem.conv_1a.convolution.forward

    def counted(maps):
        convolved = convolve(maps)
        looked_at.append(convolved.shape[2])
        return convolved

    monkeypatch.setattr(trunk.stem.conv_1a.convolution, "forward", counted)
    overlaps, shifts = OverlappingClips(trunk), [0, *(after - start for start, after in pairwise(starts))]
    with torch.no_grad():
        found = overlaps(clips_of(film, starts), shifts)
    return found, sum(looked_at)


@pytest.mark.parametrize(
    ("starts", "computed"),
    [
        ([0, 12, 24], 18 + 9 + 9),
        # The same clip; a frame later, which the first layer cannot use; with little, and with nothing, in common.
        ([0, 0], 18 + 3),
        ([0, 1], 18 + 18),
        ([0, 28], 18 + 17),
        ([0, 30], 18 + 18),
        ([0, 40], 18 + 18),
    ],
)
def test_clips_that_overlap_have_the_maps_of_each_clip_alone(trunk, film, starts, computed, monkeypatch):
    with torch.no_grad():
        expected = trunk(clips_of(film, starts)).last_hidden_state
    found, looked_at = shared_frames(trunk, film, starts, monkeypatch)
    assert looked_at == computed
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_frames_that_differ_are_not_shared(trunk, film):
    clips = clips_of(film, [0, 12])
    clips[1, 20] += 0.5
    with torch.no_grad():
        expected = trunk(clips).last_hidden_state
        torch.testing.assert_close(OverlappingClips(trunk)(clips, [0, 12]), expected, atol=1e-10, rtol=0)
