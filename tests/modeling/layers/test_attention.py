import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from hf_vidmodels.configuration.configuration_backbones import MvitConfig, VideoSwinConfig
from hf_vidmodels.configuration.configuration_vit import VisionTransformerConfig
from hf_vidmodels.modeling.backbones.mvit import MvitModel
from hf_vidmodels.modeling.backbones.video_swin import VideoSwinModel
from hf_vidmodels.modeling.backbones.vit import VisionTransformer
from hf_vidmodels.modeling.layers.attention import attend

FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"
UNFUSED = "aten::_scaled_dot_product_attention_math"


def kernels_of(run):
    """Names of the attention kernels that a call takes, forward and backward."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    return {event.name for event in profiler.events() if event.name.startswith("aten::_scaled_dot_product")}


def parts(batch_size, heads, length, size, seed=0):
    """Query, key, value as attention layers have them (heads cut from one tensor), and a bias."""
    generator = torch.Generator().manual_seed(seed)
    joint = torch.randn(batch_size, length, 3, heads, size, generator=generator)
    return *joint.permute(2, 0, 3, 1, 4).unbind(0), torch.randn(heads, length, length, generator=generator)


# Windows of the presets: 8 x 7 x 7 and 2 x 7 x 7 tokens of 32 numbers.
@pytest.mark.parametrize("length", [392, 98])
def test_a_learned_bias_has_the_gradients_of_the_plain_form(length):
    tensors = parts(3, 2, length, 32)
    gradients = []
    for use in (attend, lambda q, k, v, bias: (scaled_dot_product_attention(q, k, v, attn_mask=bias), None)):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        mixed, _ = use(*leaves[:3], bias=leaves[3])
        mixed.square().sum().backward()
        gradients.append([mixed.detach(), *(leaf.grad for leaf in leaves)])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=2e-6 * float(plain.abs().max()))


def test_gradients_of_a_learned_bias_are_those_of_finite_differences():
    tensors = [tensor.double().requires_grad_() for tensor in parts(2, 2, 4, 3)]
    assert torch.autograd.gradcheck(lambda q, k, v, bias: attend(q, k, v, bias=bias)[0], tensors)


def test_fused_attention_is_that_with_weights():
    *tensors, bias = parts(2, 3, 98, 32)
    fused, none = attend(*tensors, bias=bias)
    mixed, weights = attend(*tensors, bias=bias, need_weights=True)
    assert none is None and weights.shape == (2, 3, 98, 98)
    torch.testing.assert_close(fused, mixed, rtol=0, atol=2e-6)


def backbone_of(name):
    """A backbone with the attention of a preset, which decides the kernel, and few blocks; and the shape of a clip."""
    if name == "vit":
        config = VisionTransformerConfig(image_size=64, patch_size=16, num_hidden_layers=1)
        return VisionTransformer(config), (1, 3, 64, 64)
    if name == "mvit":
        config = MvitConfig.from_preset("mvit-b-16x4", num_frames=4, image_size=64)
        return MvitModel(config), (1, 4, 3, 64, 64)
    # 16 x 14 x 14 tokens and windows of 8 x 7 x 7: the second block shifts them, so that some are masked.
    config = VideoSwinConfig.from_preset("video-swin-t", depths=(2,), num_attention_heads=(3,))
    return VideoSwinModel(config), (1, 32, 3, 56, 56)


@pytest.mark.parametrize("is_training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", ["vit", "mvit", "video_swin"])
def test_backbones_take_the_fused_kernel(name, is_training):
    model, shape = backbone_of(name)
    model.train(is_training)
    clips = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def run():
        with torch.set_grad_enabled(is_training):
            output = model(clips).last_hidden_state
        if is_training:
            output.sum().backward()

    kernels = kernels_of(run)
    assert FUSED in kernels and UNFUSED not in kernels
