"""Non-local blocks: which positions see each other, by PyTorch's fused kernel, and the linear form."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from hf_vidmodels import GtaConfig, GtaForVideoClassification, VideoResNetConfig, VideoResNetForVideoClassification
from hf_vidmodels.modeling.layers.nonlocal_block import NonlocalBlock
from model_checks import assert_checkpointing_changes_no_gradient

WIDTH = 16


def block(**options):
    torch.manual_seed(0)
    made = NonlocalBlock(WIDTH, WIDTH // 2, **options).eval()
    torch.nn.init.ones_(made.normalization.weight)
    return made


def maps(frames=4):
    return torch.randn(2, WIDTH, frames, 6, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("over", ["all", "space", "time"])
def test_softmax_attention_takes_the_fused_kernel_forward_and_backward(over):
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        block(over=over)(maps()).sum().backward()


@pytest.mark.parametrize(
    ("over", "unseen"),
    [("space", (slice(2, None), slice(None), slice(None))), ("time", (slice(None), slice(3, None), slice(None)))],
)
def test_positions_see_their_own_frame_or_their_own_place_alone(over, unseen):
    made, before = block(over=over), maps()
    after = before.clone()
    after[(slice(None), slice(None), *unseen)] = 0
    with torch.no_grad():
        changed = (made(before) - made(after)).abs().amax((0, 1)) > 0
    expected = torch.zeros_like(changed)
    expected[unseen] = True
    assert torch.equal(changed, expected)


def test_the_dot_product_form_is_that_of_all_pairs():
    made, given = block(form="dot_product", pool_size=(1, 2, 2)), maps()
    with torch.no_grad():
        pooled = torch.nn.functional.max_pool3d(given, (1, 2, 2))
        query, key, value = made.query(given), made.key(pooled), made.value(pooled)
        pairs = query.flatten(2).transpose(1, 2) @ key.flatten(2)
        mixed = (pairs / pairs.shape[-1]) @ value.flatten(2).transpose(1, 2)
        expected = given + made.normalization(made.output(mixed.transpose(1, 2).view_as(query)))
        torch.testing.assert_close(made(given), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["video_resnet", "gta"])
def test_gradient_checkpointing_changes_no_gradient(method):
    def make():
        torch.manual_seed(0)
        if method == "gta":
            return GtaForVideoClassification(GtaConfig.from_preset("tiny-gta", num_labels=5))
        return VideoResNetForVideoClassification(VideoResNetConfig.from_preset("tiny-slow"))

    clips = torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 1])
    assert_checkpointing_changes_no_gradient(make, lambda model: model(clips, labels=labels).loss)
