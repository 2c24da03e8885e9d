"""The one reader of pictures: files, bytes, PIL images, arrays and tensors to 8-bit RGB, by one rule for all.

* **Turning**: pixels are taken as stored. An EXIF orientation turns nothing, because boxes and masks count stored
  pixels; `picture_header` tells pictures that ask to be turned.
* **16 bits** (integer): the higher eight count, so 65535 becomes 255.
* **Floating point and 32-bit integers**: are refused, as nothing says which value is white.
* **Grey, palettes, 1 bit, CMYK**: become RGB; 1 bit gives 0 and 255.
* **Alpha**: is left out, colours stay as stored.
* **Several pictures in a file** (animations, pages): the first one is taken, with a warning that says so.

Broken files and files too large to be pictures are refused in a sentence with their name.
"""

import os
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

# Orientations of EXIF that swap height and width; 1 leaves the picture as it is, the others mirror or turn it over.
QUARTER_TURNS = (5, 6, 7, 8)
_CHANNELS = (1, 2, 3, 4)
# Cameras store previews behind the picture in this format; nothing is lost without them.
_WITH_PREVIEWS = ("MPO",)


def read_picture(source: Any, channels: str | None = None) -> Image.Image:
    """Give a picture as 8-bit RGB, by the rules above.

    Args:
        source: a path, bytes, the `{"path", "bytes"}` of `datasets.Image(decode=False)`, a PIL image, or an array or
            tensor (H, W), (H, W, c) or (c, H, W) with c = 1 (grey), 2 (with alpha), 3 (RGB) or 4 (with alpha) and
            integers of 8 or 16 bits or booleans.
        channels: where the colours of an array are, `"first"` or `"last"`; `None` to tell by its shape.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, broken, larger than Pillow's limit, or has values outside their range.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source, "the picture")
    if isinstance(source, Mapping):
        if source.get("bytes") is None and source.get("path") is None:
            raise ValueError(f"a picture given as a dict needs 'path' or 'bytes', got the keys {sorted(source)}")
        source = source["path"] if source.get("bytes") is None else source["bytes"]
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        return _from_array(source, channels)
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the bytes"
    with _opened(source, name) as picture:
        if getattr(picture, "n_frames", 1) > 1 and picture.format not in _WITH_PREVIEWS:
            warnings.warn(
                f"{name} holds {picture.n_frames} pictures; the first is taken, the others are left out", stacklevel=2
            )
            picture.seek(0)
        return _to_rgb(picture, name)


def picture_header(source: str | os.PathLike[str] | bytes) -> tuple[int, int, int]:
    """Give stored height and width of a file or of bytes and the EXIF orientation, 1 to 8, without decoding pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the bytes"
    with _opened(source, name) as picture:
        try:
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:
            # What cannot be understood turns nothing.
            orientation = 1
        return picture.height, picture.width, orientation if orientation in range(1, 9) else 1


def _opened(source: Any, name: str) -> Image.Image:
    content = Path(source) if isinstance(source, str | os.PathLike) else BytesIO(source)
    try:
        return Image.open(content)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no picture {name}; check the path") from error
    except Exception as error:
        raise _unreadable(name, error) from error


def _to_rgb(picture: Image.Image, name: str) -> Image.Image:
    try:
        if picture.mode.startswith("I;16"):
            return _from_values(np.asarray(picture).astype(np.uint16), name)
        if picture.mode in ("I", "F"):
            return _from_values(np.asarray(picture), name)
        if "transparency" in picture.info and picture.mode != "RGBA":
            # Pillow leaves out the transparency of palettes only on the way over RGBA without a warning.
            picture = picture.convert("RGBA")
        return picture.convert("RGB")
    except _ValuesError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ValueError:
    """Pillow's decoders raise whatever their parsing runs into; all of it means the same."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{name} cannot be read as a picture ({reason}); give a complete JPEG, PNG or similar file")


class _ValuesError(ValueError):
    """Numbers that no rule makes a brightness of."""


def _from_values(values: np.ndarray, name: str) -> Image.Image:
    """Make an RGB picture of (H, W) or (H, W, c) numbers."""
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    elif values.dtype == bool:
        values = values.astype(np.uint8) * 255
    elif values.dtype != np.uint8:
        raise _ValuesError(
            f"pictures must hold 8-bit values from 0 to 255, got {values.dtype} in {name}; 16-bit integers are taken "
            "too, scale other numbers first"
        )
    if values.ndim == 3 and values.shape[2] in (2, 4):
        values = values[..., :-1]
    if values.ndim == 2 or values.shape[2] == 1:
        values = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(values))


def _from_array(picture: Any, channels: str | None) -> Image.Image:
    if not hasattr(picture, "shape"):
        raise ValueError(
            f"a picture must be a path, bytes, a PIL image, an array or a tensor, got {type(picture).__name__}"
        )
    if hasattr(picture, "detach"):
        picture = picture.detach().cpu()
        # NumPy has no bfloat16.
        picture = picture.float() if picture.is_floating_point() else picture
    values = np.asarray(picture)
    shape = values.shape
    if values.ndim == 3:
        first, last = shape[0] in _CHANNELS and channels != "last", shape[2] in _CHANNELS and channels != "first"
        if first and last:
            raise ValueError(
                f"a picture of shape {shape} may have its colours first or last; say which with "
                "input_data_format='channels_first' or 'channels_last'"
            )
        if first:
            values = values.transpose(1, 2, 0)
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in _CHANNELS) or 0 in shape:
        raise ValueError(
            f"a picture must have the shape (H, W), (H, W, c) or (c, H, W) with 1 to 4 colours, got {tuple(shape)}"
        )
    return _from_values(values, "the picture")
