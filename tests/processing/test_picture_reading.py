"""The reader of pictures: one rule for files, bytes, PIL images, arrays and tensors."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from hf_vidmodels.processing.base_image_processing import RgbImageProcessor, split_pictures
from hf_vidmodels.processing.picture_reading import picture_header, read_picture

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]


def as_file(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels(source, **options):
    return np.asarray(read_picture(source, **options))


def grey(values):
    return np.repeat(values[..., None], 3, axis=2)


def deep_colour_png(values):
    """Write 16-bit RGB, which Pillow does not."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def test_files_bytes_rows_pil_arrays_and_tensors_are_one_picture(tmp_path):
    picture = Image.fromarray(COLOURS)
    picture.save(tmp_path / "a.png")
    stored = as_file(picture)
    row = {"path": str(tmp_path / "a.png"), "bytes": None}
    tensor = torch.from_numpy(COLOURS).permute(2, 0, 1)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), stored, bytearray(stored), row, {"bytes": stored}, picture]
    for source in [*sources, COLOURS, COLOURS.transpose(2, 0, 1), tensor]:
        np.testing.assert_array_equal(pixels(source), COLOURS)


@pytest.mark.parametrize("values", [GREY.astype(np.uint16) * 257, GREY.astype(np.uint16) * 256 + 255])
def test_of_sixteen_bits_the_higher_eight_count(values):
    picture = Image.fromarray(values)
    for source in (picture, as_file(picture), as_file(picture, "TIFF"), values, torch.from_numpy(values)):
        np.testing.assert_array_equal(pixels(source), grey(GREY))


def test_sixteen_bits_of_colour_follow_the_same_rule():
    values = COLOURS.astype(np.uint16) * 256 + 200
    np.testing.assert_array_equal(pixels(values), COLOURS)
    np.testing.assert_array_equal(pixels(deep_colour_png(values)), COLOURS)


@pytest.mark.parametrize("values", [GREY / np.float32(255), GREY.astype(np.float32), GREY.astype(np.int32)])
def test_numbers_without_a_white_are_refused_from_everywhere(values):
    picture = Image.fromarray(values)
    for source in (
        picture,
        as_file(picture, "TIFF"),
        values,
        torch.from_numpy(values),
        torch.zeros(3, 4, 5).bfloat16(),
    ):
        with pytest.raises(ValueError, match="pictures must hold 8-bit values from 0 to 255, got"):
            read_picture(source)


def test_alpha_is_left_out_and_colours_stay_as_stored():
    alpha = GREY[..., None]
    colours, greys = np.concatenate([COLOURS, alpha], axis=2), np.concatenate([GREY[..., None], alpha], axis=2)
    for values, expected in ((colours, COLOURS), (greys, grey(GREY))):
        picture = Image.fromarray(values)
        for source in (picture, as_file(picture), values):
            np.testing.assert_array_equal(pixels(source), expected)


def test_palettes_give_their_colours_whatever_is_transparent():
    picture = Image.fromarray(COLOURS).quantize(8)
    expected = np.array(picture.getpalette()).reshape(-1, 3)[np.asarray(picture)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for transparency in ({}, {"transparency": 3}, {"transparency": bytes([0, 128, 255])}):
            np.testing.assert_array_equal(pixels(as_file(picture, **transparency)), expected)
        np.testing.assert_array_equal(pixels(picture), expected)


def test_one_bit_gives_black_and_white():
    bits = GREY > 100
    for source in (Image.fromarray(bits), as_file(Image.fromarray(bits)), bits, torch.from_numpy(bits)):
        np.testing.assert_array_equal(pixels(source), grey(bits.astype(np.uint8) * 255))


def test_the_inks_of_cmyk_become_colours_alike_from_file_and_memory():
    picture = Image.fromarray(COLOURS).convert("CMYK")
    np.testing.assert_array_equal(pixels(picture), COLOURS)
    np.testing.assert_array_equal(pixels(as_file(picture, "TIFF")), COLOURS)


def test_exif_turns_nothing_and_is_told():
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = as_file(Image.fromarray(COLOURS), exif=exif)
        np.testing.assert_array_equal(pixels(stored), COLOURS)
        assert picture_header(stored) == (6, 9, orientation)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_in_a_file_the_first_is_taken_and_said(kind, tmp_path):
    first, second = Image.new("RGB", (9, 6), (250, 0, 0)), Image.new("RGB", (9, 6), (0, 0, 250))
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(tmp_path / "many", kind, save_all=True, append_images=[second], **options)
    with pytest.warns(UserWarning, match="many holds 2 pictures; the first is taken"):
        assert pixels(tmp_path / "many")[2, 3].tolist() == [250, 0, 0]


def test_a_picture_with_a_preview_is_one_picture(recwarn):
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (3, 2))])
    assert read_picture(file.getvalue()).size == (9, 6)
    assert not recwarn.list


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    Image.fromarray(COLOURS).save(tmp_path / "long_text.png", pnginfo=text)
    whole = as_file(Image.fromarray(COLOURS))
    (tmp_path / "cut.png").write_bytes(whole[:60])
    (tmp_path / "folder.png").mkdir()
    for name in ("long_text.png", "cut.png", "folder.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a picture"):
            read_picture(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*lost\.png"):
        read_picture(tmp_path / "lost.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "huge.png").write_bytes(whole)
    for read in (read_picture, picture_header):
        with pytest.raises(ValueError, match=r"huge\.png cannot be read as a picture \(Image size"):
            read(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.zeros((3, 5, 3), np.uint8), "may have its colours first or last; say which with input_data_format"),
        (np.zeros((5, 6, 7), np.uint8), r"must have the shape .* got \(5, 6, 7\)"),
        (np.zeros((0, 6, 3), np.uint8), r"must have the shape .* got \(0, 6, 3\)"),
        (7, "must be a path, bytes, a PIL image, an array or a tensor, got int"),
        ({"url": "a"}, "needs 'path' or 'bytes'"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(source, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_picture(source)


def test_the_order_of_colours_can_be_said():
    values = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(pixels(values, channels="last"), values)
    np.testing.assert_array_equal(pixels(values, channels="first"), values.transpose(1, 2, 0))


def test_a_processor_takes_pictures_of_all_kinds_in_one_batch():
    processor = RgbImageProcessor()
    tensor = torch.from_numpy(COLOURS).permute(2, 0, 1)
    found = processor([Image.fromarray(COLOURS), as_file(Image.fromarray(COLOURS)), COLOURS, tensor])["pixel_values"]
    mean, std = torch.tensor(processor.image_mean)[:, None, None], torch.tensor(processor.image_std)[:, None, None]
    torch.testing.assert_close(found, ((tensor / 255 - mean) / std).expand(4, -1, -1, -1))
    assert torch.equal(processor(np.stack([COLOURS, COLOURS]))["pixel_values"], found[:2])
    tiny = np.zeros((3, 3, 3), np.uint8)
    assert processor(tiny, input_data_format="channels_last")["pixel_values"].shape == (1, 3, 3, 3)


def test_scaled_values_are_taken_as_they_are_when_nothing_is_to_be_scaled():
    values = torch.rand(2, 3, 6, 9)
    found = RgbImageProcessor(do_normalize=False)(values, do_rescale=False)["pixel_values"]
    assert torch.equal(found, values)
    with pytest.raises(ValueError, match="pictures must hold 8-bit values"):
        RgbImageProcessor()(values)


def test_no_pictures_are_no_batch():
    with pytest.raises(ValueError, match="at least one picture"):
        split_pictures([])
