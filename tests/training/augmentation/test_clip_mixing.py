import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hf_vidmodels.training.augmentation.clip_mixing import (
    ClipMixing,
    blend_with_partner,
    cut_and_paste,
    draw_box,
    share_outside,
    smooth_targets,
)

FIXTURE = Path(__file__).parents[2] / "fixtures/stts/training"


@pytest.fixture(scope="module")
def official():
    settings = json.loads((FIXTURE / "config.json").read_text(encoding="utf-8"))["operators"]["mixup"]
    tensors = load_file(FIXTURE / "io.safetensors")
    return {name.removeprefix("mixup."): value for name, value in tensors.items()}, settings


def test_mixup_equals_the_official_values(official):
    tensors, settings = official
    smoothed = smooth_targets(tensors["labels"], settings["num_classes"], settings["label_smoothing"])
    targets = blend_with_partner(smoothed, settings["lam"])
    torch.testing.assert_close(targets, tensors["targets"], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        blend_with_partner(tensors["video_in"], settings["lam"]), tensors["video_mixup"], atol=1e-6, rtol=0
    )
    loss = nn.functional.cross_entropy(tensors["logits"], targets)
    torch.testing.assert_close(loss, tensors["soft_cross_entropy"], atol=1e-6, rtol=1e-6)


def test_cutmix_equals_the_official_values(official):
    tensors, settings = official
    box = tuple(settings["cutmix_box_y0y1x0x1"])
    assert torch.equal(cut_and_paste(tensors["video_in"], box), tensors["video_cutmix"])
    share = share_outside(box, *tensors["video_in"].shape[-2:])
    assert share == settings["cutmix_lam_corrected"]
    smoothed = smooth_targets(tensors["labels"], settings["num_classes"], settings["label_smoothing"])
    torch.testing.assert_close(blend_with_partner(smoothed, share), tensors["cutmix_targets"], atol=1e-6, rtol=0)


def test_boxes_lie_inside_the_frame_and_take_their_share_of_the_area_on_the_average():
    generator = np.random.default_rng(0)
    for _ in range(100):
        top, bottom, left, right = draw_box(20, 30, 0.5, generator)
        assert 0 <= top <= bottom <= 20 and 0 <= left <= right <= 30
        assert (bottom - top) * (right - left) <= 0.5 * 20 * 30


def test_a_batch_is_mixed_by_one_of_both_ways_and_targets_follow_the_pixels():
    labels = torch.arange(4)
    clips = labels.float().view(4, 1, 1, 1, 1).expand(4, 2, 3, 16, 16)
    mixing = ClipMixing(mixup_alpha=0.8, cutmix_alpha=1.0)
    ways = set()
    for seed in range(20):
        mixed, targets = mixing(clips, labels, 4, np.random.default_rng(seed))
        torch.testing.assert_close(targets.sum(1), torch.ones(4))
        # Pixels hold the class number, so their mean is that of the targets.
        torch.testing.assert_close(mixed.mean((1, 2, 3, 4)), targets @ torch.arange(4.0), atol=1e-5, rtol=0)
        ways.add(len(mixed[0].unique()))
    assert ways == {1, 2}


def test_without_mixing_only_targets_are_smoothed():
    clips, labels = torch.rand(2, 1, 3, 4, 4), torch.tensor([1, 0])
    mixed, targets = ClipMixing(label_smoothing=0.1)(clips, labels, 2, np.random.default_rng(0))
    assert mixed is clips
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.95], [0.95, 0.05]]))
    assert not ClipMixing().is_active and ClipMixing(label_smoothing=0.1).is_active
