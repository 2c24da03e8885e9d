"""The W-TALC layout of THUMOS-14: parallel `.npy` arrays, some of them pickled Python objects.

Files with pickles can run code when they are opened. They are therefore read only here, in a conversion that a user
starts on purpose, and by an unpickler that makes nothing but NumPy arrays and plain values. The result is the layout
that `published_temporal_corpora.py` reads.

Layout (one row a video): `videoname`, `subset` (`validation` = training, `test`), `labels` (class of each instance),
`labels_all` (classes of the video), `segments` (`[start, end]` in seconds of each instance), `duration` in seconds,
and `classlist`. `extracted_fps` is not the frame rate of the I3D features and is not read.
"""

import os
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_io import atomic_write
from ...output_files import output_file, refuse_inputs_as_outputs
from ..content_checks import name_some
from ..contracts import nearest_hint
from ..own.temporal_annotations import VideoAnnotation, write_annotation_json

VIDEO_LABEL_SOURCES = ("instances", "labels_all")
OFFICIAL_SPLITS = {"validation": "train", "test": "test"}
# NumPy 1 and 2 name the same two functions differently.
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
# Stands for the class numpy.ndarray, which a pickle needs to name but not to call.
_ARRAY_TYPE = object()


class RestrictedUnpickler(pickle.Unpickler):
    """Make NumPy arrays, NumPy scalars and plain Python values, and refuse everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the few callables that pickled object arrays need.

        Raises:
            ValueError: the pickle wants another one; names it.
        """
        if (module, name) == ("numpy", "ndarray"):
            return _ARRAY_TYPE
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in _MULTIARRAY and name == "_reconstruct":
            return _empty_array
        if module in _MULTIARRAY and name == "scalar":
            return _plain_scalar
        raise ValueError(f"it wants to call {module}.{name}, which no array of annotations needs")


def _empty_array(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Make the array that the pickle fills next; stands in for NumPy's own function of this purpose."""
    if subtype is not _ARRAY_TYPE or shape != (0,):
        raise ValueError(f"it wants to make {subtype} of shape {shape}, which no array of annotations needs")
    return np.ndarray(shape, np.dtype(dtype))


def _plain_scalar(dtype: np.dtype, content: bytes) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(content, bytes):
        raise ValueError("it wants to make a scalar of Python objects, which no array of annotations needs")
    return np.frombuffer(content, dtype)[0]


def load_object_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a `.npy` file, pickled object arrays included, without running code from it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a `.npy` file, or its pickle asks for anything but arrays and plain values; names that.
    """
    path = Path(path)
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
        except (ValueError, EOFError, KeyError) as error:
            raise ValueError(f"{path} is not a .npy file of version 1 or 2 ({error})") from error
        if dtype.hasobject:
            return _unpickle(file, path, shape)
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a complete .npy file ({error}); copy it again") from error


def _unpickle(file: Any, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        # W-TALC's files were written by Python 2, whose strings are bytes.
        array = RestrictedUnpickler(file, encoding="bytes").load()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"the pickle in {path} is refused: {error}; do not use this file") from error
    if not isinstance(array, np.ndarray) or array.size != int(np.prod(shape)):
        raise ValueError(f"the pickle in {path} is refused: it is not the array of shape {shape} that its header says")
    return array.reshape(shape)


def read_wtalc(
    folder: str | os.PathLike[str], *, video_labels: str = "instances", exclude: Collection[str] = ()
) -> dict[str, VideoAnnotation]:
    """Read W-TALC annotations.

    Args:
        folder: folder with the `.npy` files.
        video_labels: where the classes of a video come from: `"instances"` = those of its instances, as ASM-Loc reads
            them; `"labels_all"` = the file of that name, as loaders of the W-TALC family read them (fewer classes for
            some videos).
        exclude: ids of videos to leave out.

    Returns:
        Annotations by video id, in the order of the files; `subset` is `validation` or `test`.

    Raises:
        FileNotFoundError: a file is missing; names all.
        ValueError: a refused pickle, files of different length, a video twice, an unknown class, subset or id.
    """
    if video_labels not in VIDEO_LABEL_SOURCES:
        raise ValueError(
            f"video_labels must be one of {', '.join(VIDEO_LABEL_SOURCES)}, got {video_labels!r}"
            f"{nearest_hint(video_labels, VIDEO_LABEL_SOURCES)}"
        )
    folder = Path(folder)
    arrays = _load_arrays(folder)
    names = [_text(name) for name in arrays["videoname"]]
    if len(set(names)) != len(names):
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise ValueError(f"{folder / 'videoname.npy'} names videos more than once: {name_some(repeated)}")
    unknown = [name for name in exclude if name not in names]
    if unknown:
        raise ValueError(f"cannot exclude {name_some(unknown)}: not in {folder / 'videoname.npy'}")
    classes = {_text(name) for name in arrays["classlist"]}

    annotations = {}
    for row, name in enumerate(names):
        if name in exclude:
            continue
        instance_labels = [_text(label) for label in arrays["labels"][row]]
        all_labels = [_text(label) for label in arrays["labels_all"][row]]
        segments = arrays["segments"][row]
        subset = _text(arrays["subset"][row])
        if subset not in OFFICIAL_SPLITS:
            raise ValueError(
                f"{folder / 'subset.npy'}: video {name!r} has the subset {subset!r}, not validation or test"
            )
        if len(segments) != len(instance_labels) or any(len(segment) != 2 for segment in segments):
            raise ValueError(
                f"{folder}: video {name!r} has {len(segments)} segments and {len(instance_labels)} labels of "
                "instances; each needs [start, end] and one label"
            )
        strange = sorted({*instance_labels, *all_labels} - classes)
        if strange:
            raise ValueError(
                f"{folder}: video {name!r} has the unknown class {strange[0]!r}{nearest_hint(strange[0], classes)}; "
                f"classlist.npy names {len(classes)} classes"
            )
        annotations[name] = VideoAnnotation(
            name,
            segments=[
                (float(start), float(end), label)
                for (start, end), label in zip(segments, instance_labels, strict=True)
            ],
            labels=sorted(set(all_labels)) if video_labels == "labels_all" else None,
            subset=subset,
            duration=float(np.ravel(arrays["duration"][row])[0]),
        )
    return annotations


def convert_wtalc_annotations(
    folder: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    video_labels: str = "instances",
    exclude: Collection[str] = (),
    features: str | os.PathLike[str] | None = None,
) -> dict[str, int]:
    """Write `gt.json`, `split_train.txt` and `split_test.txt` from W-TALC files, and optionally the feature files.

    Args:
        folder: see `read_wtalc`.
        output_dir: made when missing; existing files of these names are replaced.
        video_labels: see `read_wtalc`.
        exclude: see `read_wtalc`.
        features: the object array of all videos' features `(L, C)`, in the order of `videoname`; each becomes
            `train/ID.npy` or `test/ID.npy`. The whole array is in memory while it is split.

    Returns:
        Number of videos by split file.

    Raises:
        FileNotFoundError, ValueError: as `read_wtalc`.
        OSError: the output cannot be written.
    """
    refuse_inputs_as_outputs([output_dir], [folder])
    annotations = read_wtalc(folder, video_labels=video_labels, exclude=exclude)
    output_dir = Path(output_dir)
    if features is not None:
        _split_features(Path(folder), Path(features), annotations, output_dir)
    write_annotation_json(output_dir / "gt.json", annotations)
    counts = {}
    for subset, split in OFFICIAL_SPLITS.items():
        ids = [name for name, annotation in annotations.items() if annotation.subset == subset]
        with atomic_write(output_dir / f"split_{split}.txt", "w") as file:
            file.writelines(f"{video_id}\n" for video_id in ids)
        counts[split] = len(ids)
    return counts


def _load_arrays(folder: Path) -> dict[str, np.ndarray]:
    names = ("videoname", "subset", "labels", "labels_all", "segments", "duration", "classlist")
    missing = [f"{name}.npy" for name in names if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} does not hold W-TALC annotations: {', '.join(missing)} missing")
    arrays = {name: load_object_array(folder / f"{name}.npy") for name in names}
    lengths = {name: len(array) for name, array in arrays.items() if name != "classlist"}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the files in {folder} have different numbers of videos: {lengths}")
    return arrays


def _split_features(folder: Path, path: Path, annotations: dict[str, VideoAnnotation], output_dir: Path) -> None:
    names = [_text(name) for name in load_object_array(folder / "videoname.npy")]
    arrays = load_object_array(path)
    if len(arrays) != len(names):
        raise ValueError(f"{path} holds features of {len(arrays)} videos but videoname.npy names {len(names)}")
    for name, array in zip(names, arrays, strict=True):
        if name not in annotations:
            continue
        array = np.asarray(array)
        if array.ndim != 2 or array.dtype.hasobject:
            raise ValueError(
                f"{path}: the features of video {name!r} are not a 2-D array but {array.dtype} {array.shape}"
            )
        subset = OFFICIAL_SPLITS[annotations[name].subset]
        with atomic_write(output_file(output_file(output_dir, subset), name, ".npy")) as file:
            np.save(file, array.astype(np.float32), allow_pickle=False)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
