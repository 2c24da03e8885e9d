"""Gradients of depthwise convolutions are those of PyTorch, for every kernel and stride that a preset has."""

import pytest
import torch
from torch.nn.functional import conv3d

from hf_vidmodels.configuration.configuration_backbones import MvitConfig
from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.modeling.backbones import mvit
from hf_vidmodels.modeling.backbones.mvit import MvitModel, half_of
from hf_vidmodels.modeling.ops import depthwise_convolution
from hf_vidmodels.modeling.ops.depthwise_convolution import DepthwiseConv3d, depthwise_conv3d

CHANNELS = 5


def poolings_of_presets():
    """Kernels and strides of all poolings, each once."""
    configs = [SttsConfig.from_preset(name).backbone_config for name in SttsConfig.presets]
    plans = [plan for config in configs if isinstance(config, MvitConfig) for plan in config.block_plans()]
    poolings = [pooling for plan in plans for pooling in (plan.query_pooling, plan.key_value_pooling) if pooling]
    return sorted({(tuple(pooling.kernel), tuple(pooling.stride)) for pooling in poolings})


def gradients(convolve, maps, weight, stride, padding):
    maps, weight = maps.clone().requires_grad_(), weight.clone().requires_grad_()
    result = convolve(maps, weight, stride, padding)
    upstream = torch.randn(result.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    return result.detach(), *torch.autograd.grad(result, (maps, weight), upstream.to(result.dtype))


def plain(maps, weight, stride, padding):
    return conv3d(maps, weight, stride=stride, padding=padding, groups=maps.shape[1])


def tensors(kernel, sides, dtype=torch.double):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, CHANNELS, *sides, generator=generator, dtype=dtype)
    weight = torch.randn(CHANNELS, 1, *kernel, generator=generator, dtype=dtype)
    return maps.contiguous(memory_format=torch.channels_last_3d), weight


@pytest.fixture(params=[True, False], ids=["pictures", "products"])
def by_pictures(request, monkeypatch):
    """Let float64, in which values can be compared, take the gradients of weights of float32, or its own."""
    monkeypatch.setattr(depthwise_convolution, "FAST_FOR_PICTURES", (torch.double,) if request.param else ())
    return request.param


def test_presets_pool_with_four_strides():
    assert {stride for _, stride in poolings_of_presets()} == {(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)}


# Sides that a stride divides, that leave a rest, and that the kernel hardly fits in.
@pytest.mark.parametrize("sides", [(4, 16, 16), (3, 13, 11), (1, 9, 2)])
@pytest.mark.parametrize(
    ("kernel", "stride"), [*poolings_of_presets(), ((3, 5, 1), (2, 3, 1)), ((1, 2, 3), (2, 2, 1))]
)
def test_gradients_are_those_of_pytorch(kernel, stride, sides, by_pictures, monkeypatch):
    # Small enough that products of slices are cut into parts.
    monkeypatch.setattr(depthwise_convolution, "MOST_PRODUCTS", 400)
    inputs = *tensors(kernel, sides), stride, half_of(kernel)
    for ours, theirs in zip(gradients(depthwise_conv3d, *inputs), gradients(plain, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 3, 3)])
def test_gradients_are_those_of_finite_differences_and_can_be_differentiated_again(stride, by_pictures):
    maps, weight = tensors((2, 3, 3), (2, 4, 3))
    inputs = maps[:1, :1].clone().requires_grad_(), weight[:1].clone().requires_grad_()

    def convolve(maps, weight):
        return DepthwiseConv3d.apply(maps, weight, stride, (1, 1, 1))

    assert torch.autograd.gradcheck(convolve, inputs)
    assert torch.autograd.gradgradcheck(convolve, inputs)


def test_float32_is_as_exact_as_pytorch():
    stride, padding = (1, 2, 2), (1, 1, 1)
    maps, weight = tensors((3, 3, 3), (8, 56, 56), torch.float32)
    exact = gradients(plain, maps.double(), weight.double(), stride, padding)
    for convolve in (depthwise_conv3d, plain):
        for found, expected in zip(gradients(convolve, maps, weight, stride, padding), exact, strict=True):
            assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_maps_with_channels_before_frames_have_the_same_gradients():
    inputs = tensors((3, 3, 3), (3, 8, 8))
    last = gradients(depthwise_conv3d, *inputs, (1, 2, 2), (1, 1, 1))
    first = gradients(depthwise_conv3d, *(tensor.contiguous() for tensor in inputs), (1, 2, 2), (1, 1, 1))
    for one, other in zip(last, first, strict=True):
        torch.testing.assert_close(one, other)


def test_only_what_is_asked_for_has_a_gradient():
    maps, weight = tensors((3, 3, 3), (2, 6, 6))
    depthwise_conv3d(maps, weight.requires_grad_(), (1, 2, 2), (1, 1, 1)).sum().backward()
    assert maps.grad is None and weight.grad is not None
    maps.requires_grad_()
    depthwise_conv3d(maps, weight.detach(), (1, 2, 2), (1, 1, 1)).sum().backward()
    assert maps.grad is not None


def test_functional_gradients_work_too():
    maps, weight = tensors((3, 3, 3), (2, 6, 6))
    found = torch.func.grad(lambda kernel: depthwise_conv3d(maps, kernel, (1, 2, 2), (1, 1, 1)).square().sum())(weight)
    expected = torch.func.grad(lambda kernel: plain(maps, kernel, (1, 2, 2), (1, 1, 1)).square().sum())(weight)
    torch.testing.assert_close(found, expected)


def test_under_autocast_pytorch_computes_all():
    maps, weight = tensors((3, 3, 3), (2, 8, 8), torch.float32)
    maps.requires_grad_()
    weight.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = depthwise_conv3d(maps, weight, (1, 2, 2), (1, 1, 1))
    assert result.dtype == torch.bfloat16
    assert "DepthwiseConv3d" not in result.grad_fn.name()
    result.float().sum().backward()
    assert maps.grad.dtype == weight.grad.dtype == torch.float32


def test_a_network_has_the_gradients_that_it_has_with_those_of_pytorch(monkeypatch):
    config = MvitConfig.from_preset("mvit-b-16x4", num_frames=4, image_size=32, drop_path_rate=0.0)
    torch.manual_seed(0)
    model, clip = MvitModel(config).double().train(), torch.randn(1, 4, 3, 32, 32, dtype=torch.double)
    found = []
    for convolve in (depthwise_conv3d, plain):
        monkeypatch.setattr(mvit, "depthwise_conv3d", convolve)
        loss = model(clip).pooler_output[:, ::2].sum()
        found.append(torch.autograd.grad(loss, [*model.parameters()], materialize_grads=True))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
