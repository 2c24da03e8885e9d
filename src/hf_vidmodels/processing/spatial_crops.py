"""How large crops are and where test crops lie in a frame, in whole pixels: as SlowFast, MViT and Video Swin do."""

from typing import Any

CROP_COUNTS = (1, 3)


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Give (height, width) with a short side of `short_side` and the same aspect, the long side rounded down."""
    if height < width:
        return short_side, short_side * width // height
    return short_side * height // width, short_side


def output_size(processor: Any) -> tuple[int, int]:
    """Give the height and width of the pictures that an image or video processor makes.

    Raises:
        ValueError: they depend on the input, as without `do_center_crop` and with a short side only.
    """
    size = processor.crop_size if processor.do_center_crop else processor.size
    if not (processor.do_center_crop or processor.do_resize) or not (size.height and size.width):
        raise ValueError("this processor gives pictures of no fixed size; set do_center_crop=True and crop_size")
    return size.height, size.width


def crop_offsets(height: int, width: int, crop_height: int, crop_width: int, num_crops: int) -> list[tuple[int, int]]:
    """Give the upper left corners (y, x) of the crops of a frame.

    One crop is the middle, rounded up; three are the two ends of the long side (of the width in a square) and the
    middle between them.

    Args:
        height: pixels of the frame.
        width: pixels of the frame.
        crop_height: pixels of the crop.
        crop_width: pixels of the crop.
        num_crops: 1 or 3.

    Raises:
        ValueError: the crop is larger than the frame, or another number of crops.
    """
    if num_crops not in CROP_COUNTS:
        raise ValueError(f"num_crops must be 1 (the middle) or 3 (along the long side), got {num_crops}")
    if crop_height > height or crop_width > width:
        raise ValueError(
            f"a crop of {crop_height}x{crop_width} (height x width) does not fit into frames of {height}x{width}; "
            "resize them to a larger size or choose a smaller crop_size"
        )
    middle_y, middle_x = _rounded_up_half(height - crop_height), _rounded_up_half(width - crop_width)
    if num_crops == 1:
        return [(middle_y, middle_x)]
    if height > width:
        return [(y, middle_x) for y in (0, middle_y, height - crop_height)]
    return [(middle_y, x) for x in (0, middle_x, width - crop_width)]


def _rounded_up_half(length: int) -> int:
    return (length + 1) // 2
