"""Data sets for mask labelling, one row a picture, built column by column from instance files."""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...processing.picture_reading import picture_header
from ..content_checks import name_some
from ..contracts import features_for
from .coco_instances import InstanceFile
from .object_boxes import BOX_RULES

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

MASK_TASK = "mask-labeling"
COLUMNS = ("image", "image_id", "file_name", "height", "width", "objects")
FRAME_COLUMNS = ("video_id", "frame_index")
# Pictures that are looked for in each folder before it counts as the wrong one.
_TRIED_NAMES = 3


def build_mask_dataset(
    file: InstanceFile, path_of: Callable[[str], Path], further: Mapping[str, Sequence[Any]] | None = None
) -> "Dataset":
    """Build the data set of an instance file; pictures stay in their files.

    Args:
        file: its contents; masks become the field `segmentation` of the objects where they were read.
        path_of: file of a picture by its `file_name`.
        further: columns of `FRAME_COLUMNS` (one value a picture) and the object field `instance_id` (one a box).

    Raises:
        FileNotFoundError: pictures are missing; names the first with its annotation.
        ValueError: the size of a picture is neither in the file nor to be read.
    """
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Value
    from datasets.table import InMemoryTable

    further = further or {}
    paths = [os.fspath(path_of(name)) for name in file.images.file_names]
    require_pictures(paths, file)
    file = with_picture_sizes(file, paths)
    fields = {"category_id": np.asarray(file.category_ids)[file.category_rows]}
    fields |= {name: further[name] for name in ("instance_id",) if name in further}
    if file.rles is not None:
        fields["segmentation"] = file.rles
    frame_columns = [name for name in FRAME_COLUMNS if name in further]
    features = features_for(MASK_TASK, (*COLUMNS, *frame_columns), file.category_names, fields)
    if file.images.ids and isinstance(file.images.ids[0], int):
        features["image_id"] = Value("int64")
    schema = features.arrow_schema
    columns = {
        "image": [{"bytes": None, "path": path} for path in paths],
        "image_id": file.images.ids,
        "file_name": file.images.file_names,
        "height": file.images.heights.astype(np.int64),
        "width": file.images.widths.astype(np.int64),
        **{name: further[name] for name in frame_columns},
    }
    arrays = {name: pa.array(values, type=schema.field(name).type) for name, values in columns.items()}
    arrays["objects"] = _objects(file, fields, schema.field("objects").type)
    table = pa.Table.from_arrays([arrays[name] for name in features], schema=schema)
    return Dataset(InMemoryTable(table), info=DatasetInfo(features=features))


def find_picture_folder(folders: Sequence[Path], names: Sequence[str]) -> Callable[[str], Path]:
    r"""Find where pictures lie, from the first few of them.

    Args:
        folders: where they may lie; the first counts when none is found, so that missing pictures are reported in it.
        names: their names in an instance file, perhaps with folders that are not on this disk and the separators of
            Windows: of `C:\shop\images\a.png` the last parts count that are found in one of the folders.

    Returns:
        Gives the file of a picture by its name.

    Raises:
        ValueError: the parts of two names that are on the disk name one file.
    """
    tried = names[:_TRIED_NAMES]
    depth = max((len(_parts_of(name)) for name in tried), default=0)
    for kept in (None, *range(depth, 0, -1)):
        for folder in folders:
            if any(_path_in(folder, name, kept).is_file() for name in tried):
                if kept is not None:
                    _refuse_shared_files(folder, names, kept)
                return lambda name, folder=folder, kept=kept: _path_in(folder, name, kept)
    return lambda name: folders[0] / name


def without_faulty_boxes(file: InstanceFile) -> InstanceFile:
    """Leave out the boxes of a published file that cannot be right, with a warning that names them."""
    faults = file.box_faults()
    for rule, broken in faults.items():
        if broken.any():
            what = BOX_RULES[rule][0].partition(" of {width")[0]
            ids = name_some(file.ids[broken].tolist())
            warnings.warn(
                f"{file.path}: {int(broken.sum())} annotations are left out, because their bbox {what} ({ids})",
                stacklevel=4,
            )
    return file.select(~np.logical_or.reduce(list(faults.values())))


def require_pictures(paths: Sequence[str], file: InstanceFile) -> None:
    """Raise FileNotFoundError when pictures are missing, naming the first and an annotation of it.

    Each folder is listed once: on a network file system a question for each of a million files takes minutes.
    """
    present = {folder: _names_in(folder) for folder in {os.path.dirname(path) for path in paths}}
    missing = [row for row, path in enumerate(paths) if os.path.basename(path) not in present[os.path.dirname(path)]]
    if missing:
        annotations = file.ids[file.image_rows == missing[0]].tolist()
        whose = f"the picture of annotation {name_some(annotations, 3)}" if annotations else "a picture"
        raise FileNotFoundError(
            f"{file.path}: {whose} is missing: {paths[missing[0]]}"
            f"{f' (and {len(missing) - 1} other pictures)' if len(missing) > 1 else ''}; give the folder of the "
            "pictures as data_dir, or complete it"
        )


def with_picture_sizes(file: InstanceFile, paths: Sequence[str]) -> InstanceFile:
    """Complete the sizes of pictures that the file does not give, from the headers of the pictures.

    Raises:
        ValueError: one cannot be read; names it and an annotation of it.
    """
    unknown = np.flatnonzero(np.isnan(file.images.heights) | np.isnan(file.images.widths))
    if not len(unknown):
        return file
    heights, widths = file.images.heights.copy(), file.images.widths.copy()
    for row in unknown:
        try:
            heights[row], widths[row], _ = picture_header(paths[row])
        except (OSError, ValueError) as error:
            annotations = file.ids[file.image_rows == row].tolist()
            whose = f" of annotation {name_some(annotations, 3)}" if annotations else ""
            raise ValueError(f"{file.path}: the picture{whose} cannot be read: {paths[row]}") from error
    return replace(file, images=replace(file.images, heights=heights, widths=widths))


def _objects(file: InstanceFile, fields: Mapping[str, Any], type_: "pa.DataType") -> "pa.Array":
    """Group the annotations by picture: one list of objects a row."""
    import pyarrow as pa

    order = np.argsort(file.image_rows, kind="stable")
    ends = np.cumsum(np.bincount(file.image_rows, minlength=len(file.images.ids)))
    columns: dict[str, Any] = {
        "id": file.ids,
        "category": file.category_rows,
        "area": file.areas,
        "iscrowd": file.crowds.astype(np.int64),
        **fields,
    }
    structs = type_.value_type
    arrays = []
    for field in structs:
        if field.name == "bbox":
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(file.boxes[order].ravel()), 4))
        elif isinstance(columns[field.name], list):
            arrays.append(pa.array([columns[field.name][row] for row in order], type=field.type))
        else:
            arrays.append(pa.array(np.asarray(columns[field.name])[order], type=field.type))
    objects = pa.StructArray.from_arrays(
        [array.cast(f.type) for array, f in zip(arrays, structs, strict=True)], fields=list(structs)
    )
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), type=pa.int32()), objects)


def _path_in(folder: Path, name: str, kept: int | None) -> Path:
    """Put a name, or the last `kept` parts of it, into a folder."""
    return folder / name if kept is None else folder.joinpath(*_parts_of(name)[-kept:])


def _parts_of(name: str) -> list[str]:
    """Give the folders and the file of a path of any system, without what leads out of a folder."""
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..") and not part.endswith(":")]


def _refuse_shared_files(folder: Path, names: Sequence[str], kept: int) -> None:
    taken: dict[Path, str] = {}
    for name in names:
        path = _path_in(folder, name, kept)
        if taken.setdefault(path, name) != name:
            raise ValueError(
                f"the pictures {taken[path]!r} and {name!r} would both be {path}; keep them in folders named as "
                "in the annotation file"
            )


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
