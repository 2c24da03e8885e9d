"""The type of picture columns: as `datasets.Image`, but read by the package's one rule for pictures.

`datasets` turns a picture by its EXIF orientation while it decodes a row. Boxes and masks count stored pixels, and
processors read files as stored, so the same picture would be seen in two ways.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Image

from ..processing.picture_reading import read_picture

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass
class StoredImage(Image):
    """`datasets.Image` that gives 8-bit RGB as `read_picture` does; saved, it is a `datasets.Image` again."""

    def decode_example(self, value: Any, token_per_repo_id: dict[str, Any] | None = None) -> Any:
        """Read the picture of a row.

        Raises:
            FileNotFoundError: its file is missing.
            ValueError: it is no picture; names it.
        """
        return read_picture(value) if isinstance(value, dict) else value


def with_stored_pictures(splits: "DatasetDict") -> "DatasetDict":
    """Let the picture columns of all splits be read as stored; in place, and given back."""
    for dataset in splits.values():
        for name, feature in dataset.features.items():
            if type(feature) is Image and feature.decode:
                dataset.info.features[name] = StoredImage()
    return splits
