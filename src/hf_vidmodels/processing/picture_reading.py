"""Reading of pictures, from files and bytes, for all image processors."""

import os
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError


def read_picture(source: Any) -> Any:
    """Open paths and bytes as RGB pictures; leave PIL images, arrays and tensors as they are.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no picture.
    """
    if not isinstance(source, str | os.PathLike | bytes):
        return source
    name = "the bytes" if isinstance(source, bytes) else os.fspath(source)
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return picture.convert("RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no picture {name}; check the path") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{name} cannot be read as a picture; give a complete JPEG, PNG or similar file") from error
