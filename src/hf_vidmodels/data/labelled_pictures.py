"""A map-style data set of training pictures over a corpus of task image-classification."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from ..processing.picture_reading import read_picture
from .arrow_columns import arrow_column

if TYPE_CHECKING:
    from datasets import Dataset

PictureTransform = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]


class LabelledPictures(TorchDataset):
    """Pictures for training; items are asked for by `(epoch, index)` and follow from them alone.

    An item holds `pixel_values` (R, 3, height, width), R augmented copies, and `labels` (int64 class id).

    Args:
        dataset: a split with the columns `image` and `label`, every row with a class.
        generator_for: gives the generator of `(epoch, index)`, such as `partial(sample_generator, seed)`.
        transform: augmentation of clips: takes one of a single frame, uint8 (1, 3, H, W), and the item's generator;
            gives float32 (R, 1, 3, height, width).
    """

    def __init__(
        self,
        dataset: "Dataset",
        generator_for: Callable[[int, int], np.random.Generator],
        transform: PictureTransform,
    ) -> None:
        self._dataset = dataset.select_columns(["image", "label"])
        self._labels = arrow_column(self._dataset, "label").to_pylist()
        self.generator_for = generator_for
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._dataset)

    def __getitem__(self, position: tuple[int, int]) -> dict[str, Any]:
        """Read and augment one picture."""
        epoch, index = position
        picture = torch.from_numpy(np.array(read_picture(self._dataset[index]["image"]))).permute(2, 0, 1)
        copies = self.transform(picture[None], self.generator_for(epoch, index))
        return {"pixel_values": copies[:, 0], "labels": self._labels[index]}

    def name(self, index: int) -> str:
        """The path of a picture, or its number where it has none."""
        return picture_name(self._dataset, index)


def picture_name(dataset: "Dataset", index: int) -> str:
    """Give the path of the picture of a row, or its number where it has none."""
    from datasets import Image

    stored = dataset.select([index]).cast_column("image", Image(decode=False))[0]["image"]
    return stored["path"] or f"picture {index}"
