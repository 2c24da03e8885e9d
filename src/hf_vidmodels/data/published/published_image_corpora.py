"""Published corpora of classified pictures: ImageNet, lists of semi-supervised iNaturalist and Places, CIFAR, and
those of `fine_grained_corpora.py`.

All read what their publishers distribute, in the folders that `docs/data.md` shows; nothing is downloaded. CIFAR is
read in its binary version, for the others would run code. Which pictures of ImageNet count as labelled is said by a
list, see `labelled_subsets.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...text_files import read_lines
from ..class_lists import CLASS_FILE, MAX_CLASSES, read_class_names
from ..content_checks import name_some
from ..contracts import features_for
from ..own.class_folders import read_class_folders
from ..split_names import UNLABELLED_SPLIT
from .corpus_folders import corpus_folder
from .fine_grained_corpora import AIRCRAFT_TRAINVAL, IMAGE_TASK, read_aircraft, read_cars, read_dogs, read_nabirds

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features

# Semiformer publishes the classes of ImageNet's validation pictures in this file, counted from 1.
VALIDATION_LIST = "files2labels_valid.txt"
SIDE = 32
PIXELS = 3 * SIDE * SIDE


def read_published_image_corpus(name: str, data_dir: Path | None) -> "DatasetDict":
    """Read one of `PUBLISHED_IMAGE_CORPORA` from its folder.

    Args:
        name: a key of `PUBLISHED_IMAGE_CORPORA`.
        data_dir: the folder, see the reader of the corpus.

    Raises:
        ValueError: without a folder, or for a line or file that is not of the layout.
        FileNotFoundError: the folder, a list or pictures are missing.
    """
    root = corpus_folder(name, data_dir)
    return PUBLISHED_IMAGE_CORPORA[name](root)


def read_imagenet(root: Path) -> "DatasetDict":
    """Read `train/<synset>/*.JPEG`, and `val` with such folders too, or flat beside `files2labels_valid.txt`."""
    from datasets import DatasetDict

    validation = root / "val"
    if not validation.is_dir() or any(entry.is_dir() for entry in validation.iterdir()):
        return read_class_folders(root, IMAGE_TASK)
    train = read_class_folders(root / "train", IMAGE_TASK)["train"]
    names = train.features["label"].names
    listed = next((place for place in (root / VALIDATION_LIST, validation / VALIDATION_LIST) if place.is_file()), None)
    if listed is None:
        raise FileNotFoundError(
            f"{validation} has no folders of classes; sort its pictures into them, or put {VALIDATION_LIST} into "
            f"{root}"
        )
    rows = [(path, label - 1) for path, label in _read_list(listed, validation)]
    _require_known_classes([label for _, label in rows], len(names), listed)
    return DatasetDict(train=train, validation=_dataset(rows, train.features))


@dataclass(frozen=True)
class ListLayout:
    """Where the lists of a corpus lie in its folder, and its pictures.

    Attributes:
        lists: for each split its list, lines `relative/path,class`.
        pictures: folder that the paths are relative to, the first of these that is there.
    """

    lists: dict[str, str]
    pictures: tuple[str, ...]

    def __call__(self, root: Path) -> "DatasetDict":
        """Read the corpus; `classes.txt` names its classes, which else are called by their numbers."""
        from datasets import DatasetDict

        folder = next((root / name for name in self.pictures if (root / name).is_dir()), root)
        rows = {split: list(_read_list(root / name, folder)) for split, name in self.lists.items()}
        highest = max(label for of_split in rows.values() for _, label in of_split)
        names = read_class_names(root) or [str(number) for number in range(highest + 1)]
        for split, of_split in rows.items():
            _require_known_classes([label for _, label in of_split], len(names), root / self.lists[split])
        features = features_for(IMAGE_TASK, ("image", "label"), names)
        return DatasetDict({split: _dataset(of_split, features) for split, of_split in rows.items()})


def _places(prefix: str) -> ListLayout:
    lists = {"train": "ltrain", "validation": "val", UNLABELLED_SPLIT: "utrain"}
    return ListLayout({split: f"{prefix}semi_{stem}.txt" for split, stem in lists.items()}, ("data", "images"))


@dataclass(frozen=True)
class CifarLayout:
    """CIFAR's binary version.

    Attributes:
        files: for each split its files.
        names: file with a class a line.
        num_labels: bytes before the pixels of a picture, of which the last is its class.
        folder: name of the unpacked folder, which may lie in the one that is given.
    """

    files: dict[str, tuple[str, ...]]
    names: str
    num_labels: int
    folder: str

    def __call__(self, root: Path) -> "DatasetDict":
        """Read the corpus; pictures are written once as PNG into the cache of `datasets`."""
        from datasets import Dataset, DatasetDict

        folder = root / self.folder if (root / self.folder).is_dir() else root
        names = [line for _, line in read_lines(folder / self.names)]
        features = features_for(IMAGE_TASK, ("image", "label"), names)
        splits = {}
        for split, files in self.files.items():
            paths = [str(folder / file) for file in files]
            for path in paths:
                self._check(Path(path))
            settings = {"paths": paths, "num_labels": self.num_labels, "num_classes": len(names)}
            splits[split] = Dataset.from_generator(_cifar_rows, features=features, gen_kwargs=settings)
        return DatasetDict(splits)

    def _check(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; unpack the binary version of the corpus ({self.folder})")
        if path.stat().st_size % (self.num_labels + PIXELS):
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes, which are no whole pictures of {self.num_labels + PIXELS}; "
                "copy it again, and take the binary version"
            )


def _cifar_rows(paths: list[str], num_labels: int, num_classes: int) -> Iterator[dict[str, Any]]:
    from PIL import Image

    for path in paths:
        records = np.fromfile(path, np.uint8).reshape(-1, num_labels + PIXELS)
        pictures = records[:, num_labels:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        for number, (label, picture) in enumerate(zip(records[:, num_labels - 1].tolist(), pictures, strict=True)):
            if label >= num_classes:
                raise ValueError(
                    f"{path}, picture {number}: the class {label} is beyond the {num_classes} that are named"
                )
            file = BytesIO()
            Image.fromarray(picture).save(file, "png")
            yield {"image": {"bytes": file.getvalue(), "path": f"{Path(path).stem}_{number:05d}.png"}, "label": label}


def _read_list(path: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the file and the class of each line `relative/path,class`, which each come once and are there."""
    seen: dict[str, int] = {}
    missing = []
    for number, line in read_lines(path):
        name, comma, label = line.rpartition(",")
        if not comma or not name.strip() or not label.strip().isdigit():
            raise ValueError(f"{path}, line {number}: expected 'relative/path,class', got {line!r}")
        name = name.strip()
        if name in seen:
            raise ValueError(f"{path}, line {number}: {name!r} was named in line {seen[name]} already")
        seen[name] = number
        if int(label) > MAX_CLASSES:
            raise ValueError(f"{path}, line {number}: the class id {label} is beyond {MAX_CLASSES}")
        if not (folder / name).is_file():
            missing.append(f"{name} (line {number})")
        yield str(folder / name), int(label)
    if missing:
        raise FileNotFoundError(f"{path} names {len(missing)} pictures that {folder} lacks: {name_some(missing)}")
    if not seen:
        raise ValueError(f"{path} names no picture")


def _require_known_classes(labels: list[int], num_classes: int, path: Path) -> None:
    lowest, highest = min(labels), max(labels)
    if lowest == 1 and highest == num_classes:
        raise ValueError(
            f"{path} counts its classes from 1 to {num_classes}, but ids count from 0: subtract 1 from each class"
        )
    if lowest < 0 or highest >= num_classes:
        raise ValueError(
            f"{path} has the class ids {lowest} to {highest}, but there are {num_classes} classes, from 0 to "
            f"{num_classes - 1}; name them in {CLASS_FILE}"
        )


def _dataset(rows: list[tuple[str, int]], features: "Features") -> "Dataset":
    from datasets import Dataset

    columns = {"image": [path for path, _ in rows], "label": [label for _, label in rows]}
    return Dataset.from_dict(columns, features=features)


PUBLISHED_IMAGE_CORPORA: dict[str, Callable[[Path], "DatasetDict"]] = {
    "imagenet": read_imagenet,
    "inaturalist2019_semi": ListLayout(
        {
            "train": "semi_list/semi-train.txt",
            "validation": "semi_list/semi-val.txt",
            UNLABELLED_SPLIT: "semi_list/semi-unlabel.txt",
        },
        ("data",),
    ),
    "places205_semi": _places(""),
    "places205_semi_5per": _places("5per_"),
    "places205_semi_1per": _places("1per_"),
    "nabirds": read_nabirds,
    "stanford_cars": read_cars,
    "stanford_dogs": read_dogs,
    "fgvc_aircraft": read_aircraft,
    "fgvc_aircraft_trainval": partial(read_aircraft, lists=AIRCRAFT_TRAINVAL),
    "fgvc_aircraft_family": partial(read_aircraft, level="family"),
    "fgvc_aircraft_manufacturer": partial(read_aircraft, level="manufacturer"),
    "cifar10": CifarLayout(
        {
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        "batches.meta.txt",
        1,
        "cifar-10-batches-bin",
    ),
    "cifar100": CifarLayout(
        {"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", 2, "cifar-100-binary"
    ),
}
