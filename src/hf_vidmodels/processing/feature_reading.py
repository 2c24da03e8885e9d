"""Snippet features of one video, from whatever file or array holds them, as float32 rows `(L, C)`.

A row describes one snippet (for the published two-stream I3D features: 16 frames at 25 frames per second, 1024 numbers
from RGB followed by 1024 from optical flow). Files are `.npy` (memory-mapped), `.npz` and `.h5`; pickled object
arrays are refused, because reading them runs code.
"""

import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..optional_packages import require

# An hour of video has some ten megabytes.
MAX_BYTES = 2**32
FEATURE_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
KEY_SEPARATOR = "::"
_NPY_MARK, _PICKLE_MARK = b"\x93NUMPY", b"\x80"
I3D_STREAM_WIDTH = 1024
# Two exports of one video may disagree about its last, incomplete snippet; more means that they are of different rate.
MAX_STREAM_LENGTH_DIFFERENCE = 1
RATE_TOLERANCE = 0.05
RATE_TOLERANCE_SNIPPETS = 2


def read_features(source: Any, expected_width: int | None = None, *, check_values: bool = True) -> np.ndarray:
    """Give the snippet features of one video as a float32 array `(L, C)`.

    A float32 `.npy` file stays on disk (a copy-on-write memory map); everything else is read into memory.

    Args:
        source: a path to `.npy`, `.npz` or `.h5`; `"file.npz::key"` or `"file.h5::group/key"` where the file holds
            several arrays; a 2-D array, tensor or list of rows; or a pair `(rgb, flow)` of any of these, joined along
            the width. The streams of a pair may differ by one row (the longer one is cut, with a warning).
        expected_width: C that the model wants; not checked when None.
        check_values: whether to read all values and refuse NaN and infinity.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: unreadable or pickled file, unknown or ambiguous key, not 2-D, no rows, not numbers, another width
            than `expected_width`, NaN or infinite values, streams of different length.
    """
    if _is_pair(source):
        features, name = _join_streams(source)
    else:
        features, name = _as_float_rows(source)
    if expected_width is not None and features.shape[1] != expected_width:
        raise ValueError(_width_error(name, features.shape, expected_width))
    if check_values:
        _refuse_non_finite(features, name)
    return features


def feature_shape(source: Any) -> tuple[int, int]:
    """Give `(L, C)` of what `read_features` would return; of `.npy` and `.h5` files only the header is read.

    Raises:
        FileNotFoundError, ValueError: as `read_features`, values unseen.
    """
    if _is_pair(source):
        lengths, widths = zip(*(feature_shape(stream) for stream in source), strict=True)
        _check_stream_lengths(lengths, source)
        return min(lengths), sum(widths)
    with _opened(source) as (array, name):
        _check_rows(array.shape, array.dtype, name)
        return int(array.shape[0]), int(array.shape[1])


def feature_file(source: str) -> Path:
    """Give the file part of `"file.h5::key"` (or of a plain path)."""
    return Path(source.partition(KEY_SEPARATOR)[0])


def describe_rate_mismatch(
    num_snippets: int, duration: float, fps: float, frames_per_snippet: int, name: str
) -> str | None:
    """Say how the time that `num_snippets` features span contradicts the duration of the video, or give None.

    Features of another frame rate or stride than the model assumes give the right classes at wrong times, without any
    error. A difference of 5 % or of two snippets, whichever is more, is taken for rounding at the end of the video.

    Args:
        num_snippets: rows of the feature array, L.
        duration: length of the video in seconds.
        fps: frames per second at which the features were extracted.
        frames_per_snippet: frames from one row to the next.
        name: the video, for the sentence.
    """
    span = num_snippets * frames_per_snippet / fps
    tolerance = max(RATE_TOLERANCE * duration, RATE_TOLERANCE_SNIPPETS * frames_per_snippet / fps)
    if abs(span - duration) <= tolerance:
        return None
    return (
        f"the features of {name} span {span:.1f} s ({num_snippets} snippets of {frames_per_snippet} frames at {fps:g} "
        f"fps) but the video lasts {duration:.1f} s; {num_snippets * frames_per_snippet / duration:.1f} fps or "
        f"{duration * fps / num_snippets:.1f} frames per snippet would fit, otherwise segments come out at wrong times"
    )


def check_feature_rate(
    num_snippets: int, duration: float, fps: float = 25.0, frames_per_snippet: int = 16, name: str = "the video"
) -> bool:
    """Warn when the number of features does not fit the duration; arguments as `describe_rate_mismatch`.

    Returns:
        Whether it fits.
    """
    mismatch = describe_rate_mismatch(num_snippets, duration, fps, frames_per_snippet, name)
    if mismatch:
        warnings.warn(mismatch, stacklevel=2)
    return mismatch is None


def _is_pair(source: Any) -> bool:
    """Tell `(rgb, flow)` from a plain list of rows."""
    if not isinstance(source, (tuple, list)) or len(source) != 2:
        return False
    return all(isinstance(stream, (str, os.PathLike)) or np.ndim(stream) == 2 for stream in source)


def _join_streams(streams: Sequence[Any]) -> tuple[np.ndarray, str]:
    parts, names = zip(*(_as_float_rows(stream) for stream in streams), strict=True)
    lengths = [len(part) for part in parts]
    _check_stream_lengths(lengths, names)
    shortest = min(lengths)
    if shortest != max(lengths):
        warnings.warn(
            f"{names[0]} has {lengths[0]} rows and {names[1]} has {lengths[1]}: the longer one is cut to {shortest}",
            stacklevel=4,
        )
    return np.concatenate([part[:shortest] for part in parts], axis=1), " + ".join(names)


def _check_stream_lengths(lengths: Sequence[int], sources: Sequence[Any]) -> None:
    if max(lengths) - min(lengths) > MAX_STREAM_LENGTH_DIFFERENCE:
        names = [_name(source) for source in sources]
        raise ValueError(
            f"{names[0]} has {lengths[0]} rows but {names[1]} has {lengths[1]}: the two streams of a video may differ "
            f"by {MAX_STREAM_LENGTH_DIFFERENCE} row; extract both at the same frame rate and stride"
        )


def _as_float_rows(source: Any) -> tuple[np.ndarray, str]:
    with _opened(source) as (array, name):
        _check_rows(array.shape, array.dtype, name)
        if isinstance(array, np.memmap) and array.dtype == np.float32:
            return array, name
        return np.asarray(array[:], dtype=np.float32), name


def _check_rows(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    if not (np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)):
        raise ValueError(f"{name} holds values of type {dtype}; features must be floating-point or integer numbers")
    if len(shape) != 2:
        hint = "; take away the leading axis of length 1" if len(shape) == 3 and shape[0] == 1 else ""
        raise ValueError(f"{name} has shape {tuple(shape)}; features must be 2-D (snippets, feature size){hint}")
    if shape[0] == 0:
        raise ValueError(f"{name} has no rows (shape {tuple(shape)}); a video needs at least one snippet")
    if shape[1] == 0:
        raise ValueError(f"{name} has rows of width 0 (shape {tuple(shape)})")


def _width_error(name: str, shape: tuple[int, ...], expected: int) -> str:
    sentence = f"{name} has features of size {shape[1]} where {expected} are expected"
    if shape[0] == expected:
        return f"{sentence}; its shape {tuple(shape)} looks transposed: rows must be snippets"
    if expected == 2 * shape[1]:
        streams = "RGB-only (or flow-only) I3D" if shape[1] == I3D_STREAM_WIDTH else "one stream of two"
        return f"{sentence}; it looks like {streams}: give both streams as a pair (rgb, flow)"
    return f"{sentence}; extract them with the model that this checkpoint or configuration was made for"


def _refuse_non_finite(features: np.ndarray, name: str) -> None:
    bad_rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad_rows) == 0:
        return
    first = features[bad_rows[0]]
    column = int(np.flatnonzero(~np.isfinite(first))[0])
    others = f" (and {len(bad_rows) - 1} more rows)" if len(bad_rows) > 1 else ""
    raise ValueError(
        f"{name} has the value {first[column]} in row {bad_rows[0]}, column {column}{others}; features must be "
        "finite: extract this video again"
    )


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Any, str]]:
    """Yield an array (or open HDF5 data set) and its name for error messages."""
    if not isinstance(source, (str, os.PathLike)):
        yield _from_memory(source), _name(source)
        return
    name = _name(source)
    file, _, key = os.fspath(source).partition(KEY_SEPARATOR)
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"the feature file {name} does not exist")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield _open_npy(path), name
    elif suffix == ".npz":
        yield _read_npz(path, key), name
    elif suffix in (".h5", ".hdf5"):
        with _open_hdf5(path, key) as array:
            yield array, name
    else:
        raise ValueError(f"{name} is not a feature file; use one of {', '.join(FEATURE_SUFFIXES)}")


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the given feature array"


def _from_memory(source: Any) -> np.ndarray:
    if hasattr(source, "detach"):
        # NumPy has no bfloat16, so tensors become float32 on their own side.
        return source.detach().cpu().float().numpy()
    try:
        return np.asarray(source)
    except ValueError as error:
        raise ValueError("the given feature array is ragged; features must be 2-D (snippets, feature size)") from error


def _open_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        start = file.read(len(_NPY_MARK))
    # NumPy takes whatever begins otherwise for pickled objects: an HTML page of a failed download, CSV.
    if start and not start.startswith((_NPY_MARK, _PICKLE_MARK)):
        raise ValueError(f"{path} is not a complete .npy file (it begins with {start!r}); copy or extract it again")
    with _reading(path):
        # Copy-on-write: torch wants writable memory, and the file must not change.
        return np.load(path, mmap_mode="c", allow_pickle=False)


def _read_npz(path: Path, key: str) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a complete .npz file; copy or extract it again")
    with _reading(path):
        archive = np.load(path, allow_pickle=False)
    with archive:
        chosen = _choose_key(path, key, archive.files)
        # A key without its suffix names the member too.
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.zip.infolist()}
        _refuse_huge(path, sizes.get(chosen.removesuffix(".npy"), 0))
        with _reading(path):
            return archive[chosen]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what NumPy says about damaged and pickled files into one sentence."""
    try:
        yield
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if "Python objects" in str(error) or "pickled" in str(error) or "Object arrays" in str(error):
            raise ValueError(
                f"{path} holds pickled Python objects, which are not read because that can run any code; save the "
                "features as a plain float32 array (for W-TALC files: scripts/convert_wtalc_annotations.py)"
            ) from error
        raise ValueError(f"{path} is not a complete {path.suffix} file ({error}); copy or extract it again") from error


@contextmanager
def _open_hdf5(path: Path, key: str) -> Iterator[Any]:
    h5py = require("h5py", f"reading {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}); copy or extract it again") from error
    with file, _reading_hdf5(path):
        # A file of a whole corpus holds thousands of arrays: list them only where the key does not settle it.
        if not (key and isinstance(file.get(key), h5py.Dataset)):
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            key = _choose_key(path, key, names)
        array = file[key]
        _refuse_huge(path, array.nbytes)
        yield array


@contextmanager
def _reading_hdf5(path: Path) -> Iterator[None]:
    """Turn what HDF5 says about damage inside a file into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}); copy or extract it again") from error


def _refuse_huge(path: Path, num_bytes: int) -> None:
    """Refuse an array that a compressed file announces before memory is taken for it."""
    if num_bytes > MAX_BYTES:
        raise ValueError(
            f"{path} announces an array of {num_bytes:,} bytes; features of one video have at most {MAX_BYTES:,}"
        )


def _choose_key(path: Path, key: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    if key:
        if key not in names:
            raise ValueError(f"{path}{KEY_SEPARATOR}{key} does not exist; the file holds: {shown or 'nothing'}")
        return key
    if len(names) != 1:
        raise ValueError(
            f"{path} holds {len(names)} arrays ({shown or 'none'}); name one as '{path.name}{KEY_SEPARATOR}key'"
        )
    return names[0]
