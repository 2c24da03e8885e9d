"""The base of all image processors: pictures of any kind to 8-bit RGB by one rule, whatever happens to them then."""

from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, TorchvisionBackend
from transformers.image_utils import ChannelDimension

from .picture_reading import read_picture
from .processing_base import SharedProcessorMixin


class RgbImageProcessor(SharedProcessorMixin, TorchvisionBackend):
    """Reads pictures by the rules of `picture_reading.py`, then resizes and normalises as its attributes say.

    Pictures are never turned by their EXIF data, so boxes and masks refer to the pixels as stored.
    """

    model_input_names = ["pixel_values"]
    image_mean = [0.485, 0.456, 0.406]
    image_std = [0.229, 0.224, 0.225]
    do_convert_rgb = True
    do_rescale = True
    do_normalize = True

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:
        """Prepare pictures.

        Args:
            images: one or a list of what `read_picture` takes, or an array or tensor with four axes, a batch.
            kwargs: what transformers' image processors take, for example `return_tensors` (default `"pt"`). With
                `do_rescale=False` arrays and tensors are taken as they are, of any type, and so not scaled.

        Returns:
            `pixel_values` (B, 3, H, W) float32.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: no pictures, or one that `read_picture` refuses.
        """
        channels = kwargs.pop("input_data_format", None)
        is_scaled = kwargs.get("do_rescale") is False
        pictures = [
            picture if is_scaled and hasattr(picture, "shape") else torch.from_numpy(self.read(picture, channels))
            for picture in split_pictures(images)
        ]
        # The pictures that were read have their colours last, which a side of four pixels or less leaves open.
        if not is_scaled:
            pictures, channels = [picture.permute(2, 0, 1) for picture in pictures], ChannelDimension.FIRST
        kwargs.setdefault("return_tensors", "pt")
        return super().preprocess(pictures, input_data_format=channels, **kwargs)

    def read(self, source: Any, input_data_format: str | ChannelDimension | None = None) -> np.ndarray:
        """Give a picture of any kind that `preprocess` takes as (H, W, 3) uint8.

        Args:
            source: the picture.
            input_data_format: `"channels_first"` or `"channels_last"` of arrays whose shape leaves it open.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: it is no picture, or does not hold 8-bit or 16-bit values.
        """
        order = None if input_data_format is None else ChannelDimension(input_data_format)
        channels = {None: None, ChannelDimension.FIRST: "first", ChannelDimension.LAST: "last"}[order]
        return np.array(read_picture(source, channels))


def split_pictures(images: Any) -> list[Any]:
    """Tell one picture from a batch.

    Args:
        images: one picture, a list of pictures, or an array or tensor with four axes.

    Returns:
        The pictures.

    Raises:
        ValueError: there is none.
    """
    is_batch = isinstance(images, list | tuple) or (hasattr(images, "shape") and len(images.shape) == 4)
    pictures = list(images) if is_batch else [images]
    if not pictures:
        raise ValueError("images must hold at least one picture, got an empty list")
    return pictures
