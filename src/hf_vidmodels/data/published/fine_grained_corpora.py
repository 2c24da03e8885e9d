"""Published corpora of similar classes: NABirds, Stanford Cars, Stanford Dogs and FGVC-Aircraft.

All read what their publishers distribute, in the folders they unpack to; nothing is downloaded. Classes are in the
order of their folders as Cross-X's official code names and sorts them, so that converted heads answer with the right
names. (Luo et al., ICCV 2019, official code 0ed68c1.) CUB-200-2011 is in `published_object_corpora.py`; its columns
serve both tasks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ...optional_packages import require
from ...text_files import read_lines
from ..content_checks import name_some
from ..contracts import features_for

if TYPE_CHECKING:
    from datasets import DatasetDict

IMAGE_TASK = "image-classification"
AIRCRAFT_SPLITS = {"train": "train", "validation": "val", "test": "test"}
# Published results train on both of the first.
AIRCRAFT_TRAINVAL = {"train": "trainval", "test": "test"}
CARS_LIST, CARS_META = "cars_annos.mat", "cars_meta.mat"
CARS_LISTS = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
DOGS_LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


@dataclass(frozen=True)
class Listed:
    """A picture of a list.

    Attributes:
        split: its split.
        image_id: its name in the corpus.
        path: its file.
        folder: folder of its class in the official code, which gives the order of classes.
        name: its class as people call it.
    """

    split: str
    image_id: str
    path: Path
    folder: str
    name: str


def read_nabirds(root: Path) -> "DatasetDict":
    """Read NABirds: `images.txt`, `classes.txt`, `image_class_labels.txt`, `train_test_split.txt`, and `images`.

    Of the nodes in `classes.txt` those are classes that have pictures; they are sorted by their numbers as text. A
    name that two of them share is followed by the number.
    """
    names = _table(root / "classes.txt")
    paths, labels = _table(root / "images.txt"), _table(root / "image_class_labels.txt")
    is_train = _table(root / "train_test_split.txt")
    _require_entries(root, paths, {"image_class_labels.txt": labels, "train_test_split.txt": is_train})
    _require_known(root / "image_class_labels.txt", labels.values(), names)
    shown = {number: names[number] for number in set(labels.values())}
    shared = Counter(shown.values())
    shown = {number: f"{name} ({number})" if shared[name] > 1 else name for number, name in shown.items()}
    rows = [
        Listed(
            "train" if is_train[key] == "1" else "test",
            key,
            root / "images" / path,
            labels[key],
            shown[labels[key]],
        )
        for key, path in paths.items()
    ]
    return _build(rows, root)


def read_aircraft(root: Path, level: str = "variant", lists: Mapping[str, str] = AIRCRAFT_SPLITS) -> "DatasetDict":
    """Read FGVC-Aircraft: `data/images_<level>_<split>.txt` and `data/images`; the folder `data` may be left out.

    Args:
        root: the unpacked archive.
        level: what is a class: `"variant"`, `"family"` or `"manufacturer"`.
        lists: for each split what its list is called.
    """
    folder = root / "data" if (root / "data").is_dir() else root
    rows = []
    for split, name in lists.items():
        path = folder / f"images_{level}_{name}.txt"
        rows += [
            Listed(split, key, folder / "images" / f"{key}.jpg", shown.replace("/", ""), shown)
            for key, shown in _table(path).items()
        ]
    return _build(rows, root)


def read_cars(root: Path) -> "DatasetDict":
    """Read Stanford Cars: `cars_annos.mat` with `car_ims`, or `cars_train_annos.mat` and its fellows.

    The lists of the second form may lie in `devkit`, and the pictures in `cars_train` and `cars_test`.
    """
    if (root / CARS_LIST).is_file():
        content = _read_mat(root / CARS_LIST, ("annotations", "class_names"))
        names = [str(name) for name in content["class_names"]]
        entries = [
            ("test" if int(entry["test"]) else "train", root / str(entry["relative_im_path"]), entry)
            for entry in _entries(content, root / CARS_LIST, ("relative_im_path", "class", "test"))
        ]
    else:
        folder = next((place for place in (root / "devkit", root) if (place / CARS_META).is_file()), root)
        names = [str(name) for name in _read_mat(folder / CARS_META, ("class_names",))["class_names"]]
        entries = []
        for split, name in CARS_LISTS.items():
            path = next((place / name for place in (root, folder) if (place / name).is_file()), folder / name)
            for entry in _entries(_read_mat(path, ("annotations",)), path, ("fname", "class")):
                entries.append((split, root / f"cars_{split}" / str(entry["fname"]), entry))
    rows = []
    for split, path, entry in entries:
        label = int(entry["class"])
        if not 1 <= label <= len(names):
            raise ValueError(
                f"{root}: {path.name} has the class {label}, but classes are counted from 1 to {len(names)}"
            )
        name = names[label - 1]
        rows.append(Listed(split, path.relative_to(root).as_posix(), path, name.replace("/", ""), name))
    return _build(rows, root)


def read_dogs(root: Path) -> "DatasetDict":
    """Read Stanford Dogs: `train_list.mat`, `test_list.mat`, which may lie in `lists`, and `Images`."""
    rows = []
    for split, name in DOGS_LISTS.items():
        path = next((place / name for place in (root, root / "lists") if (place / name).is_file()), root / name)
        for file in _read_mat(path, ("file_list",))["file_list"]:
            image = PurePosixPath(str(file))
            if image.is_absolute() or ".." in image.parts or len(image.parts) != 2:
                raise ValueError(f"{path}: expected class_folder/picture.jpg in file_list, got {str(file)!r}")
            rows.append(Listed(split, str(image), root / "Images" / image, image.parts[0], image.parts[0]))
    return _build(rows, root)


def _build(rows: list[Listed], root: Path) -> "DatasetDict":
    """Make the splits; classes are sorted by their folders."""
    from datasets import Dataset, DatasetDict, Value

    if missing := [row.image_id for row in rows if not row.path.is_file()]:
        raise FileNotFoundError(
            f"{len(missing)} of {len(rows)} pictures are missing in {root}: {name_some(missing)}; unpack the pictures "
            "beside the lists"
        )
    names = dict(sorted({row.folder: row.name for row in rows}.items()))
    ids = {folder: number for number, folder in enumerate(names)}
    features = features_for(IMAGE_TASK, ("image", "label"), list(names.values()))
    features["image_id"] = Value("string")
    splits = {}
    for split in dict.fromkeys(row.split for row in rows):
        mine = [row for row in rows if row.split == split]
        columns = {
            "image": [str(row.path) for row in mine],
            "label": [ids[row.folder] for row in mine],
            "image_id": [row.image_id for row in mine],
        }
        splits[split] = Dataset.from_dict(columns, features=features)
    return DatasetDict(splits)


def _table(path: Path) -> dict[str, str]:
    """Read lines `key rest of the line`; a key comes once."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; unpack the corpus again")
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        key, blank, value = line.partition(" ")
        if not blank or not value.strip():
            raise ValueError(f"{path}, line {number}: expected a name, a blank and a value, got {line!r}")
        if key in table:
            raise ValueError(f"{path}, line {number}: {key!r} was named before")
        table[key] = value.strip()
    if not table:
        raise ValueError(f"{path} names nothing; unpack the corpus again")
    return table


def _require_entries(root: Path, keys: Iterable[str], tables: Mapping[str, Mapping[str, str]]) -> None:
    for name, table in tables.items():
        if lacking := [key for key in keys if key not in table]:
            raise ValueError(f"{root / name} has no line for {len(lacking)} pictures: {name_some(lacking)}")


def _require_known(path: Path, labels: Iterable[str], names: Mapping[str, str]) -> None:
    if unknown := sorted(set(labels) - names.keys()):
        raise ValueError(f"{path} has classes that classes.txt does not name: {name_some(unknown)}")


def _read_mat(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Read arrays of a MATLAB file; nothing in it is run.

    Raises:
        MissingPackageError: SciPy is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it is none, or lacks one of them.
    """
    reader = require("scipy.io", "reading lists in MATLAB files")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; unpack the lists of the corpus")
    try:
        content = reader.loadmat(path, variable_names=names, simplify_cells=True)
    except Exception as error:
        # Damage shows as whatever the parsing of the file runs into.
        raise ValueError(f"{path} is no MATLAB file up to version 7 ({error}); copy it again") from error
    if lacking := [name for name in names if name not in content]:
        raise ValueError(f"{path} has no {', '.join(lacking)}; give the list that the publishers distribute")
    return {name: _as_list(content[name]) for name in names}


def _as_list(value: Any) -> list[Any]:
    """Give a list also of an array with one entry, which SciPy takes out of it."""
    return [value] if isinstance(value, str | dict) else list(value)


def _entries(content: Mapping[str, list[Any]], path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Give the annotations of a list, each with the fields that are read."""
    entries = content["annotations"]
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or (lacking := [name for name in fields if name not in entry]):
            what = "no fields" if not isinstance(entry, dict) else f"no {', '.join(lacking)}"
            hint = "; the test list without labels cannot be scored" if "class" in fields else ""
            raise ValueError(f"{path}, annotation {number} has {what}{hint}")
    return entries
