"""Global temporal attention: the values of an independent derivation, and what the matrices can and cannot tell."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_vidmodels.modeling.layers.nonlocal_block import NonlocalBlock
from hf_vidmodels.modeling.layers.temporal_attention import (
    CrossChannelTemporalMixing,
    GlobalTemporalAttention,
    RegionMixing,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gta"
IO = load_file(FIXTURES / "io.safetensors")
WEIGHTS = load_file(FIXTURES / "weights.safetensors")
PARTS_OF_NONLOCAL = {"query": "theta", "key": "phi", "value": "g", "output": "out"}
WIDTH, INNER, FRAMES, GROUPS, REGIONS = 8, 4, 4, 2, 3


@pytest.fixture(params=[(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"], autouse=True)
def precision(request):
    with torch.no_grad():
        yield request.param


def fill(module, name):
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        if f"{name}.{leaf}" in WEIGHTS:
            target = getattr(module, leaf)
            target.copy_(WEIGHTS[f"{name}.{leaf}"].reshape(target.shape))
    return module


def nonlocal_block(name, over):
    block = NonlocalBlock(WIDTH, INNER, over=over).double()
    for ours, theirs in PARTS_OF_NONLOCAL.items():
        fill(getattr(block, ours), f"{name}.{theirs}")
    fill(block.normalization, f"{name}.norm")
    return block.eval()


def mixing(name, **options):
    module = CrossChannelTemporalMixing(WIDTH, INNER, FRAMES, GROUPS, **options).double()
    module.attention.copy_(WEIGHTS[f"{name}.attention"])
    fill(module.value, f"{name}.value")
    return module


def attention(normalization="none", region_normalization="mean"):
    regions = RegionMixing(
        WIDTH, REGIONS, region_normalization, mixing("region", normalization=normalization)
    ).double()
    fill(regions.assignment, "assign")
    block = GlobalTemporalAttention(
        nonlocal_block("spatial", "space"), mixing("pixel", normalization=normalization), regions, WIDTH, INNER
    ).double()
    fill(block.output, "out")
    fill(block.normalization, "norm")
    return block.eval()


def test_it_gives_the_reference_values(precision):
    dtype, tolerance = precision

    def near(found, name):
        torch.testing.assert_close(found.double(), IO[name], atol=tolerance, rtol=tolerance)

    maps = IO["input"].to(dtype)
    for normalization in ("none", "softmax"):
        block = attention(normalization).to(dtype)
        seen = block.spatial(maps)
        near(block.pixel(seen), f"{normalization}.pixel")
        near(block(maps), f"{normalization}.output")
    block = attention().to(dtype)
    near(block.spatial(maps), "none.spatial")
    shares = block.region.assign(seen)
    near(shares, "none.assignment")
    near(block.region.gather(seen, shares), "none.region_features")
    near(block.region(seen), "none.region_back")
    near(attention(region_normalization="sum").to(dtype)(maps), "none.output_region_sum")
    for branch, name in (("region", "none.output_pixel_only"), ("pixel", "none.output_region_only")):
        block = attention().to(dtype)
        setattr(block, branch, None)
        near(block(maps), name)


def test_the_baselines_give_the_reference_values(precision):
    dtype, tolerance = precision
    maps = IO["input"].to(dtype)
    space, time = nonlocal_block("spatial", "space").to(dtype), nonlocal_block("temporal", "time").to(dtype)
    for found, name in (
        (nonlocal_block("joint", "all").to(dtype)(maps), "baseline.joint"),
        (time(space(maps)), "baseline.decoupled"),
    ):
        torch.testing.assert_close(found.double(), IO[name], atol=tolerance, rtol=tolerance)


def test_without_exchange_heads_are_ordinary_multi_head_attention():
    module = mixing("pixel", cross_channel=False)
    maps = IO["input"]
    values = module.value(maps).unflatten(1, (GROUPS, -1))
    own = torch.stack([module.attention[group, group] for group in range(GROUPS)])
    expected = torch.einsum("gts,bgcshw->bgcthw", own, values).flatten(1, 2)
    torch.testing.assert_close(module(maps), expected, atol=1e-6, rtol=1e-6)


def test_identity_matrices_give_the_values_themselves():
    module = mixing("pixel", initialization="identity")
    module.start()
    maps = IO["input"]
    torch.testing.assert_close(module(maps), module.value(maps), atol=1e-6, rtol=1e-6)


def test_pixels_may_be_exchanged_but_not_frames():
    module = mixing("pixel")
    maps = IO["input"]
    rows = torch.tensor([2, 0, 1])
    torch.testing.assert_close(module(maps[..., rows, :]), module(maps)[..., rows, :])
    shifted = maps.roll(1, dims=2)
    assert not torch.allclose(module(shifted), module(maps).roll(1, dims=2), atol=1e-2)


def test_another_number_of_frames_is_refused_unless_matrices_may_be_resized():
    maps = IO["input"].repeat(1, 1, 2, 1, 1)
    with pytest.raises(ValueError, match="matrices for 4 frames, got 8; set interpolate_attention=True"):
        mixing("pixel")(maps)
    resized = mixing("pixel", interpolates=True)
    assert resized(maps).shape == (2, INNER, 8, 3, 2)
    rows = resized.matrices(8).sum(-1).mean(), resized.matrices(4).sum(-1).mean()
    torch.testing.assert_close(*rows, atol=1e-5, rtol=1e-5)
