"""The output of `hf-vidmodels label`: the annotation file with masks in it, written from the journal item by item."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...atomic_io import atomic_write
from ...data.instances.object_boxes import BOX_RULES
from ...data.json_streams import stream_json_list, stream_json_object
from .labelling_journal import JournalReader
from .labelling_plan import DROP_RULES, LabellingPlan

# A mask that fills so much of its box says no more than the box.
FULL_BOX = 0.98


class LabelledFile:
    """Writes the output and counts what is in it.

    Args:
        plan: what was to be labelled.
        journal: what was found.
        source: the annotation file.
        detections: the result list whose boxes were labelled, or None for the annotations themselves.
        area: `"mask"` (pixels) or `"box"` (as the official code writes it).
        dropped: one of `label_command.DROPPED_CHOICES`.

    Attributes:
        counts: after writing, boxes by rule of `DROP_RULES`, and `labelled`.
        dropped_ids: after writing, ids of the boxes without a mask by rule.
        mask_pixels: after writing, pixels of all masks.
        box_pixels: after writing, area of the boxes of these masks.
        full_boxes: after writing, how many masks fill their box, see `FULL_BOX`.
    """

    def __init__(
        self,
        plan: LabellingPlan,
        journal: JournalReader,
        source: Path,
        detections: Path | None = None,
        *,
        area: str = "mask",
        dropped: str = "leave_out",
    ) -> None:
        self._plan, self._journal = plan, journal
        self._source, self._detections = source, detections
        self._area, self._dropped = area, dropped
        self._reset()

    def _reset(self) -> None:
        self.counts = {"labelled": 0} | dict.fromkeys(DROP_RULES, 0)
        self.dropped_ids: dict[str, list[int]] = {rule: [] for rule in DROP_RULES}
        self.mask_pixels, self.box_pixels, self.full_boxes = 0, 0.0, 0

    def write(self, path: Path) -> None:
        """Write the file; it is there whole or not at all.

        Members other than `annotations` are copied. Each annotation keeps its fields and gets `segmentation`, `score`
        and `area`; a detection keeps its own score and gets that of its mask as `mask_score`; an annotation of a video
        gets lists `segmentations`, `scores` and `areas` with a place for each frame.

        Raises:
            OSError: it cannot be written.
        """
        self._reset()
        with atomic_write(path, "w") as file:
            file.write("{")
            separator = ""
            for key, value in stream_json_object(self._source, ("images", "annotations")):
                file.write(f"{separator}\n{_dump(key)}: ")
                separator = ","
                if key == "annotations":
                    _write_list(file, self._annotations(value))
                elif key == "images":
                    _write_list(file, value)
                else:
                    file.write(_dump(value))
            file.write("\n}\n")

    def write_results(self, path: Path) -> None:
        """Write the labelled detections alone, as a list of COCO results."""
        self._reset()
        with atomic_write(path, "w") as file:
            _write_list(file, self._annotations(iter(())))
            file.write("\n")

    def _annotations(self, items: Iterator[Any]) -> Iterator[dict[str, Any]]:
        """Give the annotations of the output in the order of the input."""
        if self._plan.is_video:
            yield from self._annotations_of_videos(items)
            return
        if self._detections is not None:
            items = (
                {"iscrowd": 0, **item, "id": number}
                for number, item in enumerate(stream_json_list(self._detections), start=1)
            )
        for row, item in enumerate(items):
            finished = self._finish(row, item)
            if finished is not None:
                yield finished

    def _annotations_of_videos(self, items: Iterator[Any]) -> Iterator[dict[str, Any]]:
        """Give annotations with mask, area and score for each frame; None where there is no box or it was dropped."""
        row = 0
        for item in items:
            frames: dict[str, list[Any]] = {"segmentations": [], "areas": [], "scores": []}
            for box in item["bboxes"]:
                found = None if box is None else self._mask(row, item)
                for key, of_frames in frames.items():
                    of_frames.append(None if found is None else found[key.removesuffix("s")])
                row += box is not None
            yield {**item, **frames}

    def _finish(self, row: int, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give the annotation of a box as it comes into the output, or None."""
        found = self._mask(row, item)
        rule, answer = self._outcome(row)
        if found is None and self._dropped == "empty" and rule == "empty_mask":
            found = {**answer, "area": self._area_of(row, answer)}
        if found is not None:
            score = {"mask_score" if self._detections is not None else "score": found["score"]}
            return {**item, "segmentation": found["segmentation"], **score, "area": found["area"]}
        if self._dropped in ("leave_out", "empty") or rule in BOX_RULES:
            # A box that cannot be right has no outline either.
            return None
        x, y, width, height = self._plan.file.boxes[row].tolist()
        outline = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        kept = {**item, "segmentation": outline, "area": width * height}
        return kept | {"ignore": 1, "iscrowd": 1} if self._dropped == "ignore" else kept

    def _mask(self, row: int, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give `segmentation`, `score` and `area` of a box, or None when it was dropped; count it."""
        rule, found = self._outcome(row)
        if rule is not None:
            self.counts[rule] += 1
            self.dropped_ids[rule].append(int(item["id"]))
            return None
        box_area = self._box_area(row)
        self.counts["labelled"] += 1
        self.mask_pixels += found["area"]
        self.box_pixels += box_area
        self.full_boxes += found["area"] >= FULL_BOX * box_area
        return {**found, "area": self._area_of(row, found)}

    def _area_of(self, row: int, found: Mapping[str, Any]) -> float:
        return found["area"] if self._area == "mask" else self._box_area(row)

    def _box_area(self, row: int) -> float:
        return float(np.prod(self._plan.file.boxes[row, 2:]))

    def _outcome(self, row: int) -> tuple[str | None, Mapping[str, Any]]:
        """Give the rule that dropped a box, or None with its mask."""
        rule = next((rule for rule, broken in self._plan.dropped.items() if broken[row]), None)
        if rule is not None:
            return rule, {}
        found = self._journal.result(row)
        if "unreadable" in found:
            return "unreadable", found
        return (None, found) if found["area"] else ("empty_mask", found)


def _write_list(file: IO[str], items: Iterator[Any]) -> None:
    """Write a list with one item a line."""
    file.write("[")
    separator = "\n"
    for item in items:
        file.write(separator + _dump(item))
        separator = ",\n"
    file.write("\n]")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
