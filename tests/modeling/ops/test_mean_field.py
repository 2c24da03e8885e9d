"""Mean field against its literal form, and where the two of its formulas part."""

import pytest
import torch
from torch import nn

from hf_vidmodels.modeling.ops.mean_field import colour_affinity, mean_field, refine_masks


def literal_mean_field(image, start, box_mask, kernel_size, zeta, num_iterations, low, high):
    """The formula as it stands, with every window copied out."""
    batch, _, height, width = image.shape
    radius, middle = kernel_size // 2, kernel_size**2 // 2

    def windows(maps):
        cut = nn.functional.unfold(maps, kernel_size, padding=radius)
        return cut.view(batch, maps.shape[1], kernel_size**2, height * width)

    colours = windows(image + 10)
    affinity = (-(colours - colours[:, :, middle : middle + 1]).square().sum(1) / (2 * zeta**2)).exp()
    x = (start * box_mask).clamp(low, high)
    for _ in range(num_iterations):
        foreground, background = (
            (windows(log[:, None])[:, 0] * affinity).sum(1).exp().view(batch, height, width)
            for log in (x.log(), (1 - x).log())
        )
        foreground = foreground * box_mask
        x = (foreground / (1e-6 + foreground + background)).clamp(low, high)
    return x


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 3, 12, 15, generator=generator)
    start = torch.rand(3, 12, 15, generator=generator)
    box_mask = torch.zeros(3, 12, 15)
    box_mask[:, 2:10, 3:12] = 1
    box_mask[:, 2] = box_mask[:, 2] * 0.5
    return image, start, box_mask


@pytest.mark.parametrize(("kernel_size", "num_iterations"), [(3, 1), (3, 40), (5, 7)])
def test_shifted_slices_give_what_windows_give(scene, kernel_size, num_iterations):
    settings = {"kernel_size": kernel_size, "zeta": 0.3, "num_iterations": num_iterations, "low": 0.1, "high": 0.9}
    expected = literal_mean_field(*scene, **settings)
    ours = mean_field(*scene, **settings)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(ours > 0.5, expected > 0.5)


@pytest.mark.parametrize("compat", [True, False])
def test_stopping_early_changes_nothing(scene, compat):
    once = mean_field(*scene, zeta=0.3, num_iterations=200, compat=compat)
    settled = mean_field(scene[0], once, scene[2], zeta=0.3, num_iterations=1, compat=compat)
    assert torch.equal(once, mean_field(*scene, zeta=0.3, num_iterations=1000, compat=compat))
    torch.testing.assert_close(settled, once, atol=1e-5, rtol=1e-5)


def test_the_log_odds_form_is_the_official_one_without_its_guard(scene):
    official = mean_field(*scene, zeta=0.05, num_iterations=20)
    stable = mean_field(*scene, zeta=0.05, num_iterations=20, compat=False)
    torch.testing.assert_close(stable, official, atol=1e-3, rtol=1e-3)


def test_wide_windows_collapse_in_the_official_form_only(scene):
    image = torch.zeros_like(scene[0])
    sure = torch.full_like(scene[1], 0.9)
    settings = {"kernel_size": 5, "zeta": 0.5, "num_iterations": 15}
    ambiguous = torch.where(torch.arange(15) % 2 == 0, sure, 0.2)
    assert not refine_masks(image, ambiguous, **settings).any()
    assert refine_masks(image, ambiguous, **settings, compat=False).any()


def test_windows_end_at_the_edge_of_the_picture():
    affinity = colour_affinity(torch.zeros(1, 3, 4, 5), compat=False)
    assert affinity.shape == (1, 9, 4, 5)
    assert affinity[0, 4].eq(1).all()
    assert not affinity[0, 0, 0].any()
    assert not affinity[0, 0, :, 0].any()
    assert affinity[0, 0, 1:, 1:].eq(1).all()


def test_outside_the_box_everything_is_background(scene):
    image, start, box_mask = scene
    refined = refine_masks(image, start, box_mask, zeta=1.0)
    assert not refined[box_mask == 0].any()
    assert set(refined.unique().tolist()) <= {0.0, 1.0}
