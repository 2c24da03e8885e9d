from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.training.augmentation.clip_augmentation import ClipAugmentation, draw_crop, draw_erased_box
from hf_vidmodels.training.augmentation.video_rand_augment import OPERATIONS, VideoRandAugment

PLAIN = ClipAugmentation(size=(16, 16), mean=(0.45,) * 3, std=(0.225,) * 3, flip_probability=0.0)
EVERYTHING = replace(
    PLAIN, rand_augment=VideoRandAugment(), crop_scale=(0.08, 1.0), flip_probability=0.5, erase_probability=1.0
)


@pytest.fixture(scope="module")
def frames():
    return torch.randint(0, 256, (4, 3, 20, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_clip_follows_from_its_generator_alone(frames):
    first, second, other = (EVERYTHING(frames, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (1, 4, 3, 16, 16) and first.dtype == torch.float32
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_torchs_own_generator_is_left_alone(frames):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    EVERYTHING(frames, np.random.default_rng(0))
    assert torch.equal(torch.rand(1), expected)


def test_all_frames_of_a_clip_are_treated_alike(frames):
    still = frames[:1].expand(4, -1, -1, -1)
    augmentation = replace(EVERYTHING, erase_probability=0.0)
    for seed in range(10):
        clip = augmentation(still, np.random.default_rng(seed))[0]
        assert torch.equal(clip, clip[:1].expand_as(clip))


def test_repeats_are_different_copies_of_one_clip(frames):
    clips = replace(EVERYTHING, repeats=2)(frames, np.random.default_rng(0))
    assert clips.shape == (2, 4, 3, 16, 16) and not torch.equal(clips[0], clips[1])


def test_without_augmentation_it_is_the_test_crop(frames):
    clip = replace(PLAIN, short_side=20)(frames, np.random.default_rng(0))[0]
    assert torch.allclose(clip, (frames[:, :, 2:18, 7:23] / 255 - 0.45) / 0.225, atol=1e-6)


def test_flips_mirror_the_width(frames):
    square = frames[..., :16, :16]
    straight = PLAIN(square, np.random.default_rng(0))
    flipped = replace(PLAIN, flip_probability=1.0)(square, np.random.default_rng(0))
    assert torch.equal(flipped, straight.flip(-1))


def test_erasing_writes_noise_of_unit_variance_into_one_box_of_all_frames():
    grey = torch.full((8, 3, 64, 64), 115, dtype=torch.uint8)
    augmentation = replace(PLAIN, size=(64, 64), erase_probability=1.0)
    clip = augmentation(grey, np.random.default_rng(0))[0]
    changed = (clip - (115 / 255 - 0.45) / 0.225).abs() > 1e-4
    rows, columns = (changed.any(0).any(0).any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = changed[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.float().mean() > 0.999
    assert changed.sum() == box.sum()
    assert 0.02 < changed.float().mean() < 1 / 3
    assert clip[changed].std() == pytest.approx(1, abs=0.05)


@settings(max_examples=200, deadline=None)
@given(st.integers(4, 300), st.integers(4, 300), st.integers(0, 2**32))
def test_crops_and_boxes_lie_inside_the_frame_with_the_area_and_shape_asked_for(height, width, seed):
    generator = np.random.default_rng(seed)
    top, left, crop_height, crop_width = draw_crop(height, width, (0.08, 1.0), (0.75, 4 / 3), generator)
    assert 0 <= top <= height - crop_height and 0 <= left <= width - crop_width
    slack = 1 / min(crop_height, crop_width)
    assert 0.75 - slack <= crop_width / crop_height <= 4 / 3 + slack * 4 / 3
    box = draw_erased_box(height, width, (0.02, 1 / 3), (0.3, 10 / 3), generator)
    if box is not None:
        top, left, box_height, box_width = box
        assert 0 <= top <= height - box_height and 0 <= left <= width - box_width
        assert box_height * box_width <= height * width / 3 + (box_height + box_width) / 2 + 1


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_every_operation_of_rand_augment_works_at_every_strength(frames, number):
    for magnitude in (0.0, 0.04, 5.5, 10.0):
        for sign in (-1, 1):
            changed = OPERATIONS[number](frames, magnitude, sign)
            assert changed.shape == frames.shape and changed.dtype == torch.uint8


def test_rand_augment_moves_turns_and_shades_by_what_the_recipe_says(frames):
    wide = torch.zeros(1, 3, 20, 200, dtype=torch.uint8)
    wide[..., 100] = 255
    # 0.045 of the width for each unit of magnitude.
    assert OPERATIONS[13](wide, 2.0, 1)[0, 0, 10].argmax() == 118
    assert OPERATIONS[13](wide, 2.0, -1)[0, 0, 10].argmax() == 82
    assert torch.equal(OPERATIONS[4](frames, 5.0, 1), frames & 0b11000000)
    solarized = OPERATIONS[5](frames, 5.0, 1)
    assert torch.equal(solarized, torch.where(frames >= 128, 255 - frames, frames))
    added = OPERATIONS[6](frames, 5.0, 1)
    assert torch.equal(added, torch.where(frames < 128, (frames.int() + 55).to(torch.uint8), frames))
    brighter = OPERATIONS[9](frames, 5.0, 1).int() - (frames * 1.45).clamp(max=255).int()
    assert brighter.abs().max() <= 1


def test_rand_augment_draws_as_often_as_its_probability_says(frames):
    never = VideoRandAugment(probability=0.0)
    assert torch.equal(never(frames, np.random.default_rng(0)), frames)
