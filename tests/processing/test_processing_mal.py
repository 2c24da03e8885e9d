"""MAL's processor: what it takes, what it gives, and how masks come back into pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from hf_vidmodels import MalImageProcessor
from method_examples import mal_config

BOX = [10.0, 5.0, 40.0, 35.0]


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def make_processor(**settings):
    return MalImageProcessor(**({"crop_size": 32} | settings))


def test_pictures_of_every_kind_give_the_same_crops(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "picture.png")
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    path, kinds = (
        tmp_path / "picture.png",
        [picture, Image.fromarray(picture), torch.from_numpy(picture).permute(2, 0, 1)],
    )
    processor = make_processor()
    expected = processor(picture, [BOX])["pixel_values"]
    for kind in (*kinds, path, str(path), file.getvalue()):
        assert torch.equal(processor(kind, [BOX])["pixel_values"], expected)


def test_grey_pictures_become_coloured_and_turned_ones_stay_as_stored(picture, tmp_path):
    processor = make_processor()
    grey = processor(picture[..., 0], [BOX])["pixel_values"] * torch.tensor(processor.image_std)[:, None, None]
    grey = grey + torch.tensor(processor.image_mean)[:, None, None]
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=1e-6, rtol=1e-5)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    turned = processor(tmp_path / "turned.png", [BOX])
    assert turned["image_sizes"].tolist() == [[48, 64]]
    assert torch.equal(turned["pixel_values"], processor(picture, [BOX])["pixel_values"])


def test_crops_of_several_pictures_come_in_order_with_what_they_cover(picture):
    other = picture[:20, :30]
    crops = make_processor()([picture, other], [[BOX, [0, 0, 64, 48]], [[1, 1, 12, 9]]])
    assert crops["pixel_values"].shape == (3, 3, 32, 32)
    assert crops["box_mask"].shape == (3, 1, 32, 32)
    assert crops["image_indices"].tolist() == [0, 0, 1]
    assert crops["image_sizes"].tolist() == [[48, 64], [20, 30]]
    assert crops["crop_boxes"].tolist()[0] == [5, 0, 46, 41]
    alone = make_processor()(other, [[1, 1, 12, 9]])
    assert torch.equal(crops["pixel_values"][2:], alone["pixel_values"])


def test_without_boxes_the_whole_picture_is_one(picture):
    crops = make_processor()(picture)
    assert crops["boxes"].tolist() == [[0, 0, 64, 48]]


def test_boxes_over_the_edge_are_cut_there(picture):
    crops = make_processor()(picture, [[-10, -5, 30, 30], [50, 40, 80, 60]])
    assert crops["boxes"].tolist() == [[0, 0, 30, 30], [50, 40, 64, 48]]


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ([40, 5, 10, 35], r"box 1 of picture 0 \(40, 5, 10, 35\) must be \(x0, y0, x1, y1\) with x0 < x1 and y0 < y1"),
        ([10, 5, 10, 35], "box 1 of picture 0 .* must be .* with x0 < x1"),
        ([10, float("nan"), 20, 35], "box 1 of picture 0 .*nan.* must hold finite numbers"),
        ([64, 5, 70, 35], "box 1 of picture 0 .* lies outside the picture, which is 64 x 48 pixels"),
        ([-9, -9, 0, 0], "box 1 of picture 0 .* lies outside the picture"),
    ],
)
def test_boxes_that_are_none_are_named_with_their_values(picture, box, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_processor()(picture, [BOX, box])


@pytest.mark.parametrize(
    ("images", "boxes", "sentence"),
    [
        ([], [], "images must hold at least one picture"),
        (
            [np.zeros((8, 8, 3), np.uint8)] * 2,
            [[BOX]],
            "boxes must be a list with the .* of each of 2 pictures, got 1",
        ),
        (np.zeros((8, 8, 3), np.uint8), [[1, 2, 3]], r"boxes of picture 0 must have shape \(n, 4\), got \(1, 3\)"),
        (
            np.zeros((8, 8, 3), np.uint8),
            [[[1, 2, 3, 4], [1, 2, 5, 6]], [[1, 2, 3, 4]]],
            r"boxes of picture 0 must be rows of four numbers .* of this picture alone, got \[\[\[1, 2, 3, 4\]",
        ),
        (np.zeros((8, 8, 3), np.float32), [[1, 2, 3, 4]], "pictures must hold 8-bit values from 0 to 255, got"),
        (b"no picture", [[1, 2, 3, 4]], "the bytes cannot be read as a picture"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(images, boxes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_processor()(images, boxes)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no picture .*lost.png"):
        make_processor()(tmp_path / "lost.png", [BOX])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"crop_size": {"height": 32, "width": 48}}, "crop size must be square and a multiple of 16, got 32 x 48"),
        ({"crop_size": 40}, "crop size must be square and a multiple of 16, got 40 x 40"),
        ({"train_margin_rate": [-0.1, 1.0]}, "train_margin_rate must be two margins"),
        ({"test_margin_rate": -1.0}, "test_margin_rate must not be negative, got -1.0"),
        ({"pad_mode": "black"}, "pad_mode must be one of 'wrap', 'edge', got 'black'"),
        ({"mask_thresholds": [0.1, 0.2]}, "mask_thresholds must be one number or three"),
    ],
)
def test_contradictory_settings_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_processor(**settings)


def test_the_processor_of_a_model_has_its_numbers_and_keeps_them(tmp_path):
    config = mal_config(mask_thresholds=[0.2], test_margin_rate=0.4, train_margin_rate=[0.1, 0.3], size_bounds=[9, 99])
    MalImageProcessor.from_config(config).save_pretrained(tmp_path)
    loaded = MalImageProcessor.from_pretrained(tmp_path)
    assert loaded.side == 64
    assert (loaded.mask_thresholds, loaded.test_margin_rate) == ([0.2], 0.4)
    assert (loaded.train_margin_rate, loaded.size_bounds) == ([0.1, 0.3], [9, 99])


def test_a_sure_mask_comes_back_where_its_crop_was(picture):
    processor = make_processor()
    crops = processor(picture, [BOX])
    answer = processor.post_process_masks(crops["box_mask"][:, 0], crops, mask_thresholds=[0.5])[0]
    mask = answer["masks"][0].numpy()
    rows, columns = mask.nonzero()
    assert abs(np.array([columns.min(), rows.min(), columns.max(), rows.max()]) - BOX).max() <= 1
    assert mask[8:32, 13:37].all()
    assert answer["scores"][0] > 0.95
    assert answer["areas"].tolist() == [int(mask.sum())]
    assert answer["box_areas"].tolist() == [900.0]


def test_the_score_is_the_mean_probability_inside_the_mask_and_zero_without_one(picture):
    processor = make_processor(mask_thresholds=[0.5])
    crops = processor(picture, [BOX, BOX])
    probabilities = torch.stack([torch.full((32, 32), 0.75), torch.full((32, 32), 0.25)])
    answer = processor.post_process_masks(probabilities, crops)[0]
    torch.testing.assert_close(answer["scores"], torch.tensor([0.75, 0.0]))
    assert answer["areas"][1] == 0


def test_thresholds_follow_the_size_of_the_box(picture):
    processor = make_processor(size_bounds=[100, 900], mask_thresholds=[0.2, 0.4, 0.6])
    boxes = [[0, 0, 10, 10], [0, 0, 30, 30], [0, 0, 31, 30]]
    crops = processor(picture, boxes)
    for probability, expected in ((0.3, [True, False, False]), (0.5, [True, True, False]), (0.7, [True] * 3)):
        masks = processor.post_process_masks(torch.full((3, 32, 32), probability), crops)[0]["masks"]
        assert masks.flatten(1).any(1).tolist() == expected


def test_clipping_cuts_a_mask_to_the_pixels_of_its_box(picture):
    processor = make_processor()
    crops = processor(picture, [BOX])
    everything = torch.ones(1, 32, 32)
    wide = processor.post_process_masks(everything, crops)[0]["masks"][0]
    cut = processor.post_process_masks(everything, crops, clip_to_box=True)[0]["masks"][0]
    assert wide[:, :10].any()
    expected = torch.zeros(48, 64, dtype=torch.bool)
    expected[5:36, 10:41] = True
    assert torch.equal(cut, expected)


def test_run_lengths_decode_to_the_masks(picture):
    processor = make_processor()
    crops = processor([picture, picture[:40]], [[BOX, [0, 0, 64, 48]], [[3, 3, 30, 30]]])
    probabilities = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = processor.post_process_masks(probabilities, crops, mask_thresholds=[0.5])
    encoded = processor.post_process_masks(probabilities, crops, mask_thresholds=[0.5], encode_rle=True)
    for plain, rle in zip(masks, encoded, strict=True):
        assert "masks" not in rle
        for mask, segmentation in zip(plain["masks"], rle["segmentation"], strict=True):
            assert isinstance(segmentation["counts"], str)
            np.testing.assert_array_equal(coco_mask.decode(segmentation), mask.numpy())
        assert torch.equal(plain["scores"], rle["scores"])


def test_probabilities_of_another_number_of_crops_are_refused(picture):
    processor = make_processor()
    with pytest.raises(ValueError, match="probabilities must hold one map for each of 1 crops, got 2"):
        processor.post_process_masks(torch.zeros(2, 32, 32), processor(picture, [BOX]))
