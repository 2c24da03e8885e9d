"""JSON of other labelling tools that lies where annotations are looked for, told by what its writers always put in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# For each tool sets of names; an object that has all names of one set is the tool's.
_MARKS = {
    "VGG Image Annotator (VIA)": ({"_via_img_metadata"}, {"_via_settings"}, {"filename", "regions"}),
    "VGG Image Annotator (VIA), version 3": ({"project", "config", "attribute", "file", "metadata"},),
    "labelme": ({"shapes", "imagePath"},),
    "Label Studio": ({"data", "annotations", "id"}, {"data", "completions"}),
    "Supervisely": ({"size", "objects", "tags"}, {"size", "objects", "description"}),
    "Labelbox": ({"data_row", "projects"}, {"Labeled Data", "Label"}),
    "Datumaro (CVAT)": ({"categories", "items", "info"},),
    "COCO results": ({"image_id", "category_id", "score"},),
}
# Columns of our own tables, whose rows may have any further ones.
_OWN_COLUMNS = {"image", "video", "video_id", "file_name"}


def refuse_foreign_json(content: Any, path: Path) -> None:
    """Refuse the file of another labelling tool.

    Args:
        content: what the JSON file holds.
        path: the file.

    Raises:
        ValueError: it is of a tool that is known but not read; names it.
    """
    items = [content]
    if isinstance(content, list) and content:
        items.append(content[0])
    elif isinstance(content, Mapping) and content:
        items.append(next(iter(content.values())))
    for item in items:
        if not isinstance(item, Mapping) or _OWN_COLUMNS & item.keys():
            continue
        for tool, marks in _MARKS.items():
            if any(mark <= item.keys() for mark in marks):
                raise ValueError(
                    f"{path} is a file of {tool}, which is not read; export or convert it to COCO's instance format, "
                    "or write a table (docs/data.md shows both)"
                )
