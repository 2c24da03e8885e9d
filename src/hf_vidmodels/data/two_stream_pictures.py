"""A map-style data set of labelled pictures and of pictures without labels, for semi-supervised training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from ..processing.picture_reading import read_picture
from .arrow_columns import arrow_column
from .labelled_pictures import picture_name

if TYPE_CHECKING:
    from datasets import Dataset

View = Callable[[Image.Image, np.random.Generator], torch.Tensor]
LABELLED, UNLABELLED = 0, 1
UNKNOWN = -1


class TwoStreamPictures(TorchDataset):
    """Views of pictures of two streams, each picture read once.

    Items are asked for by `(epoch, stream, place)`, with `LABELLED` or `UNLABELLED` as stream, and follow from these
    alone. A place beyond the number of pictures means one of them again, with other views.

    An item holds `pixel_values` (3, H, W) and `labels`, or `strong_pixel_values`, `weak_pixel_values` and `truth`,
    the class that the corpus has for the picture or -1, which is for reports and never for training.

    Args:
        labelled: data set with the columns `image` and `label`, every row with a class.
        unlabelled: data set with the same columns.
        generator_for: gives the generator of `(epoch, number)`, such as `partial(sample_generator, seed)`.
        labelled_view: makes the view of a labelled picture.
        strong_view: makes the view without label that is learned on.
        weak_view: makes the one that is labelled by the network.
    """

    def __init__(
        self,
        labelled: "Dataset",
        unlabelled: "Dataset",
        generator_for: Callable[[int, int], np.random.Generator],
        labelled_view: View,
        strong_view: View,
        weak_view: View,
    ) -> None:
        self._streams = tuple(stream.select_columns(["image", "label"]) for stream in (labelled, unlabelled))
        self._labels = tuple(arrow_column(stream, "label").to_pylist() for stream in self._streams)
        self.generator_for = generator_for
        self.labelled_view, self.strong_view, self.weak_view = labelled_view, strong_view, weak_view

    def __len__(self) -> int:
        """Return the number of pictures in the stream without labels, which mostly holds the labelled ones too."""
        return len(self._streams[UNLABELLED])

    def __getitem__(self, item: tuple[int, int, int]) -> dict[str, Any]:
        """Read one picture and make its views."""
        epoch, stream, place = item
        index = place % len(self._streams[stream])
        picture = read_picture(self._streams[stream][index]["image"])
        generator = self.generator_for(epoch, 2 * place + stream)
        label = self._labels[stream][index]
        if stream == LABELLED:
            return {"pixel_values": self.labelled_view(picture, generator), "labels": label}
        return {
            "strong_pixel_values": self.strong_view(picture, generator),
            "weak_pixel_values": self.weak_view(picture, generator),
            "truth": UNKNOWN if label is None else label,
        }

    def name(self, stream: int, place: int) -> str:
        """The path of a picture, or its number where it has none."""
        return picture_name(self._streams[stream], place % len(self._streams[stream]))
