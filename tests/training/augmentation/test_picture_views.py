"""Views of training pictures, against the values of the official Semiformer code and by what they promise."""

import numpy as np
import pytest
import torch
from PIL import Image

from hf_vidmodels import SemiformerConfig, SemiformerImageProcessor
from hf_vidmodels.training.augmentation.picture_rand_augment import (
    MAGNITUDE_OPERATIONS,
    RANGE_OPERATIONS,
    FixMatchAugment,
    PictureRandAugment,
    augment_by_magnitude,
    augment_in_range,
    cut_out,
)
from hf_vidmodels.training.augmentation.picture_views import PictureViews
from semiformer_cases import load_case

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# One grey level, which other versions of Pillow may interpolate otherwise, after normalisation.
ONE_LEVEL = 1 / 255 / 0.224 + 1e-4


class GivenDraws:
    """A generator that draws what it was told."""

    def __init__(self, uniform, integers):
        self.uniform, self.integer_draws = uniform, list(integers)

    def random(self):
        return self.uniform

    def integers(self, high, endpoint=True):
        return self.integer_draws.pop(0)


@pytest.fixture(scope="module")
def case():
    return load_case("data_pipeline")


def picture_of(case, name="image"):
    return Image.fromarray(case.io[name].numpy())


@pytest.mark.parametrize("number", range(3))
def test_a_weak_view_is_the_official_one(case, number):
    expected = case.expected["weak_views"][number]
    views = PictureViews((64, 64), **IMAGENET, short_side=73)
    corner = expected["crop_top_left_height_width"][:2]
    found = views.weak(picture_of(case), GivenDraws(expected["flip_uniform_draw"], corner))
    torch.testing.assert_close(found, case.io[f"weak.view{number}.pixel_values"], atol=ONE_LEVEL, rtol=0)


def test_the_evaluation_is_the_official_one_up_to_one_grey_level(case):
    config = SemiformerConfig.from_preset("tiny-semiformer")
    found = SemiformerImageProcessor.from_config(config)(picture_of(case))["pixel_values"][0]
    torch.testing.assert_close(found, case.io["eval.pixel_values"], atol=ONE_LEVEL, rtol=0)


@pytest.mark.parametrize("row", load_case("data_pipeline").expected["aug_ops"], ids=lambda row: row["tensor"])
def test_operations_by_magnitude_are_the_official_ones(case, row):
    if row["tensor"] not in case.io:
        case = load_case("data_pipeline", whole=True)
    name = row["op"].removesuffix("Increasing").removesuffix("Rel")
    found = augment_by_magnitude(picture_of(case, "aug.image"), name, row["magnitude"], row["sign"])
    assert np.abs(np.asarray(found).astype(int) - case.io[row["tensor"]].numpy()).max() <= 1


@pytest.mark.parametrize("row", load_case("data_pipeline").expected["fixmatch_ops"], ids=lambda row: row["tensor"])
def test_operations_of_fixmatch_are_the_official_ones(case, row):
    picture = picture_of(case, "fixmatch.image")
    if row["op"] == "Cutout":
        found = cut_out(picture, row["value"], (row["center_x"], row["center_y"]))
    else:
        found = augment_in_range(picture, row["op"], row["uniform_draw"])
    assert np.abs(np.asarray(found).astype(int) - case.io[row["tensor"]].numpy()).max() <= 1


def test_there_are_as_many_operations_as_in_the_official_code():
    assert (len(MAGNITUDE_OPERATIONS), len(RANGE_OPERATIONS)) == (15, 14)


@pytest.mark.parametrize("is_small", [False, True])
def test_views_follow_from_the_generator_alone_and_have_the_size_of_the_network(case, is_small):
    views = PictureViews(
        (48, 64),
        **IMAGENET,
        short_side=73,
        is_small=is_small,
        rand_augment=FixMatchAugment() if is_small else PictureRandAugment(),
    )
    picture = picture_of(case)
    for name in ("labelled", "weak", "strong"):
        first, again, other = (getattr(views, name)(picture, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert first.shape == (3, 48, 64) and first.dtype == torch.float32
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_labelled_pictures_are_seen_strongly_unless_they_are_small(case):
    picture = picture_of(case)
    for is_small, alike in ((False, "strong"), (True, "weak")):
        views = PictureViews((64, 64), **IMAGENET, short_side=73, is_small=is_small, rand_augment=PictureRandAugment())
        labelled, other = (getattr(views, name)(picture, np.random.default_rng(3)) for name in ("labelled", alike))
        assert torch.equal(labelled, other)


def test_a_weak_view_of_a_small_picture_has_black_edges():
    white = Image.new("RGB", (32, 32), "white")
    views = PictureViews((32, 32), (0.0,) * 3, (1.0,) * 3, short_side=32, is_small=True)
    view = views.weak(white, GivenDraws(0.9, (0, 8)))
    assert view[:, 4:, :28].min() == 1 and view[:, :4].max() == 0 and view[:, :, 28:].max() == 0


def test_erased_boxes_are_noise_of_the_normalised_picture():
    grey = Image.new("RGB", (64, 64), (124, 116, 104))
    views = PictureViews((64, 64), **IMAGENET, short_side=73, erase_probability=1.0)
    view = views.strong(grey, np.random.default_rng(0))
    erased = view.abs().amax(0) > 0.02
    assert 0.02 * 64 * 64 * 0.8 < erased.sum() < 64 * 64 * 0.4
    assert view[:, erased].std() == pytest.approx(1.0, abs=0.1)
