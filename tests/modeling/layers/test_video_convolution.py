"""Convolutions over frames in their faster forms: PyTorch's values, gradients and layout."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from hf_vidmodels.modeling.layers import video_convolution
from hf_vidmodels.modeling.layers.video_convolution import VideoConvolution, convolve, has_innermost_channels

INNERMOST = torch.channels_last_3d
# Name -> kernel, stride, padding, dilation, the function that takes the place of PyTorch's, clips.
FORMS = {
    "point": ((1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), "linear", 2),
    "point with a stride": ((1, 1, 1), (1, 2, 2), (0, 0, 0), (1, 1, 1), "conv3d", 2),
    "frames": ((3, 1, 1), (1, 1, 1), (1, 0, 0), (1, 1, 1), "conv2d", 2),
    "frames with a stride": ((7, 1, 1), (4, 1, 1), (3, 0, 0), (1, 1, 1), "conv2d", 1),
    "every second frame": ((1, 1, 1), (2, 1, 1), (0, 0, 0), (1, 1, 1), "conv2d", 2),
    "dilated frames": ((3, 1, 1), (1, 1, 1), (2, 0, 0), (2, 1, 1), "conv2d", 1),
    "space": ((1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1), "conv3d", 2),
    "space of one small clip": ((1, 3, 3), (1, 2, 1), (0, 1, 1), (1, 1, 1), "conv2d", 1),
    "dilated space of one small clip": ((1, 3, 3), (1, 1, 1), (0, 2, 2), (1, 2, 2), "conv2d", 1),
    "space and frames": ((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), "conv3d", 1),
    "padded point": ((1, 1, 1), (1, 1, 1), (0, 1, 0), (1, 1, 1), "conv3d", 2),
}


@pytest.fixture
def calls(monkeypatch):
    """Which operations were called."""
    names = []

    def noted(name, operation, *args, **options):
        names.append(name)
        return operation(*args, **options)

    for name in ("linear", "conv2d", "conv3d"):
        monkeypatch.setattr(functional, name, partial(noted, name, getattr(functional, name)))
    return names


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(form, has_bias, calls):
    kernel, stride, padding, dilation, operation, clips = FORMS[form]
    torch.manual_seed(0)
    ours = VideoConvolution(6, 5, kernel, stride, padding, dilation, bias=has_bias).double()
    theirs = nn.Conv3d(6, 5, kernel, stride, padding, dilation, bias=has_bias).double()
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(clips, 6, 9, 8, 7, dtype=torch.float64)
    results = []
    for module, layout in ((ours, INNERMOST), (theirs, torch.contiguous_format)):
        given = maps.clone(memory_format=layout).requires_grad_()
        found = module(given)
        found.square().sum().backward()
        results.append([found, given.grad, *(parameter.grad for parameter in module.parameters())])
    assert calls[0] == operation
    assert operation == "conv3d" or has_innermost_channels(results[0][0])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_a_single_clip_has_the_strides_of_its_layout():
    maps = torch.randn(1, 6, 4, 5, 3).contiguous(memory_format=INNERMOST)
    for form in ("frames", "space of one small clip", "point"):
        kernel, stride, padding, dilation, *_ = FORMS[form]
        found = convolve(maps, torch.randn(6, 6, *kernel), None, stride, padding, dilation)
        assert found.stride() == found.contiguous().contiguous(memory_format=INNERMOST).stride()
        # Joined with others, and passed on, they keep it.
        assert has_innermost_channels(torch.cat((found, found.relu()), dim=1))


@pytest.mark.parametrize(
    "maps",
    [
        torch.randn(2, 6, 4, 5, 3),
        torch.randn(2, 1, 4, 5, 3),
        torch.randn(2, 6, 1, 1, 1),
        torch.randn(2, 6, 4, 5, 3, device="meta").contiguous(memory_format=INNERMOST),
    ],
    ids=["positions innermost", "one channel", "one position", "other device"],
)
def test_everything_else_is_pytorchs_convolution(maps, calls):
    weight = torch.randn(4, maps.shape[1], 1, 1, 1, device=maps.device)
    assert convolve(maps, weight, None).shape == (2, 4, *maps.shape[2:])
    assert calls == ["conv3d"]


def test_groups_of_channels_are_pytorchs_convolution(calls):
    maps = torch.randn(2, 6, 4, 5, 3).contiguous(memory_format=INNERMOST)
    convolve(maps, torch.randn(6, 2, 3, 1, 1), None, groups=3)
    assert calls == ["conv3d"]


def test_large_single_clips_keep_pytorchs_kernel(monkeypatch, calls):
    maps = torch.randn(1, 6, 4, 5, 3).contiguous(memory_format=INNERMOST)
    monkeypatch.setattr(video_convolution, "SMALL_CLIP", 6 * 4 * 5 - 1)
    convolve(maps, torch.randn(6, 6, 1, 3, 3), None, padding=(0, 1, 1))
    assert calls == ["conv3d"]


@pytest.mark.parametrize("casts", [True, False])
def test_in_bfloat16_only_points_become_products(casts, calls):
    maps = torch.randn(2, 6, 4, 5, 3).contiguous(memory_format=INNERMOST)
    kernels = torch.randn(6, 6, 3, 1, 1), torch.randn(6, 6, 1, 1, 1)
    if not casts:
        maps, kernels = maps.bfloat16(), [kernel.bfloat16() for kernel in kernels]
    with torch.autocast("cpu", torch.bfloat16, enabled=casts):
        found = [convolve(maps, kernel, None) for kernel in kernels]
    assert calls == ["conv3d", "linear"]
    assert {maps.dtype for maps in found} == {torch.bfloat16}
