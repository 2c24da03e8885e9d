"""Published corpora of boxes and instance masks: COCO 2017, LVIS v1, VOC 2012, Objects365, YouTube-VIS 2019.

All read what their publishers distribute, in the folders that `docs/data.md` shows; nothing is downloaded. Of the
split `train` only boxes are read, because MAL uses no more and masks take a while; of the others masks too.
Boxes that cannot be right, of which published files have a few, are left out with a warning.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..instances.coco_instances import read_instance_file
from ..instances.mask_corpora import build_mask_dataset, find_picture_folder, without_faulty_boxes
from ..instances.voc_instances import find_voc_folder, read_voc_split
from ..instances.youtube_vis import YOUTUBE_VIS_FILES, find_frame_folder, read_youtube_vis
from .corpus_folders import corpus_folder

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class CocoLayout:
    """Where the files of a corpus in COCO's format lie in its folder.

    Attributes:
        files: for each split its instance file, the first of these patterns that is there.
        folders: for each split the folder of its pictures, likewise.
    """

    files: dict[str, tuple[str, ...]]
    folders: dict[str, tuple[str, ...]] = field(default_factory=dict)


LAYOUTS = {
    "coco": CocoLayout(
        files={
            "train": ("annotations/boxes_train2017.json", "annotations/instances_train2017.json"),
            "validation": ("annotations/instances_val2017.json",),
        },
        folders={"train": ("train2017", "images/train2017"), "validation": ("val2017", "images/val2017")},
    ),
    # File names of LVIS begin with COCO's folder.
    "lvis": CocoLayout(
        files={
            "train": ("annotations/lvis_v1_train.json", "lvis_v1_train.json"),
            "validation": ("annotations/lvis_v1_val.json", "lvis_v1_val.json"),
        },
        folders=dict.fromkeys(("train", "validation"), (".", "images", "coco")),
    ),
    "voc2012": CocoLayout(
        files={
            "train": ("annotations/*train*.json", "*train*.json"),
            "validation": ("annotations/*val*.json", "*val*.json"),
        },
        folders=dict.fromkeys(("train", "validation"), ("JPEGImages", "VOC2012/JPEGImages", "images")),
    ),
    "objects365": CocoLayout(
        files={
            "train": ("annotations/zhiyuan_objv2_train.json", "annotations/*train*.json", "*train*.json"),
            "validation": ("annotations/zhiyuan_objv2_val.json", "annotations/*val*.json", "*val*.json"),
        },
        folders={split: (part, f"images/{part}", ".") for split, part in (("train", "train"), ("validation", "val"))},
    ),
}
PUBLISHED_MASK_CORPORA = (*LAYOUTS, "youtube_vis")


def read_published_mask_corpus(name: str, data_dir: Path | None) -> "DatasetDict":
    """Read one of `PUBLISHED_MASK_CORPORA` from its folder.

    Args:
        name: `"coco"`, `"lvis"`, `"voc2012"`, `"objects365"` or `"youtube_vis"`.
        data_dir: the folder.

    Returns:
        Per split that is there the columns of "mask-labeling".

    Raises:
        ValueError: without a folder, or for an annotation that is not of the format; names it.
        FileNotFoundError: the folder, all instance files, or pictures are missing.
    """
    from datasets import DatasetDict

    root = corpus_folder(name, data_dir)
    if name == "youtube_vis":
        return DatasetDict(_read_youtube_vis(root))
    layout = LAYOUTS[name]
    files = {split: _first_file(root, patterns) for split, patterns in layout.files.items()}
    splits = {
        split: _read_coco(root, path, layout.folders[split], with_masks=split != "train")
        for split, path in files.items()
        if path is not None
    }
    if not splits and name == "voc2012":
        splits = _read_voc(find_voc_folder(root))
    if not splits:
        looked_for = ", ".join(pattern for patterns in layout.files.values() for pattern in patterns)
        raise FileNotFoundError(f"{root} has no instance file of {name}; looked for {looked_for}")
    return DatasetDict(splits)


def _first_file(root: Path, patterns: tuple[str, ...]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(root.glob(pattern))), None)


def _read_coco(root: Path, path: Path, folders: tuple[str, ...], *, with_masks: bool) -> "Dataset":
    file = without_faulty_boxes(read_instance_file(path, with_masks=with_masks))
    return build_mask_dataset(file, find_picture_folder([root / folder for folder in folders], file.images.file_names))


def _read_voc(folder: Path | None) -> "dict[str, Dataset]":
    if folder is None:
        return {}
    found = {"train": read_voc_split(folder, "train"), "validation": read_voc_split(folder, "val")}
    return {
        split: build_mask_dataset(without_faulty_boxes(file), lambda name: folder / "JPEGImages" / name)
        for split, file in found.items()
        if file is not None
    }


def _read_youtube_vis(root: Path) -> "dict[str, Dataset]":
    splits = {}
    for split, patterns in YOUTUBE_VIS_FILES.items():
        path = _first_file(root, patterns)
        if path is not None:
            file, further = read_youtube_vis(path, split, with_masks=split != "train")
            splits[split] = build_mask_dataset(file, find_frame_folder(root, split, file.images.file_names), further)
    if not splits:
        raise FileNotFoundError(
            f"{root} has no annotations of youtube_vis; looked for "
            f"{', '.join(pattern for patterns in YOUTUBE_VIS_FILES.values() for pattern in patterns)}"
        )
    return splits
