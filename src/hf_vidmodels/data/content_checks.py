"""Checks of what stands in a corpus' columns: ids, classes, times and boxes, vectorised over the Arrow columns.

Every kind of problem becomes one sentence per split that counts the offending rows, names the first few and says what
to do. `contracts.py` checks before that the columns are there and have the right types.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tasks import TASKS, resolve
from .arrow_columns import arrow_column, as_numbers, flatten_lists, is_given, list_lengths, struct_field
from .instances.object_boxes import describe_box_fault, find_box_faults

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

NUM_NAMED = 5
# Published durations are rounded and a last frame lasts a while: ends up to this much later are not worth a word.
DURATION_TOLERANCE = 0.5
TRAIN_SPLIT = "train"
# Checks of files show how far they are only where that takes a while.
SECONDS_BEFORE_A_BAR = 2


@dataclass(frozen=True)
class Problem:
    """One finding about a corpus.

    Attributes:
        severity: `"error"` (the corpus must not be used) or `"warning"`.
        sentence: what was found, where, and the way out.
    """

    severity: str
    sentence: str


def name_some(names: Iterable[Any], limit: int = NUM_NAMED) -> str:
    """Join distinct `names`, those after the first `limit` only counted: `a, b, c and 7 more`."""
    distinct = list(dict.fromkeys(str(name) for name in names))
    shown = ", ".join(distinct[:limit])
    return shown if len(distinct) <= limit else f"{shown} and {len(distinct) - limit} more"


def find_content_problems(
    splits: Mapping[str, "Dataset"], task: str, *, allow_out_of_duration: bool = False
) -> list[Problem]:
    """Check the contents of all splits, whose columns are known to fit `task`.

    Args:
        splits: data sets by split name; the name is empty for a lone data set.
        task: a key of `tasks.TASKS`, whose row names the check.
        allow_out_of_duration: report segments beyond the end of their video as a warning, not as an error.
    """
    check = resolve(TASKS[task].check_contents)
    problems = []
    for name, dataset in splits.items():
        where = f"split {name!r}" if name else "the corpus"
        if dataset.num_rows == 0:
            problems.append(Problem("error", f"{where} is empty; give it at least one example or leave it out"))
            continue
        check(SplitReport(where, name in ("", TRAIN_SPLIT), allow_out_of_duration, dataset, problems))
    return problems


class SplitReport:
    """The columns of one split as Arrow arrays, and the list that its problems go to."""

    def __init__(
        self, where: str, is_train: bool, allow_out_of_duration: bool, dataset: "Dataset", problems: list[Problem]
    ) -> None:
        self.where = where
        self.is_train = is_train
        self.allow_out_of_duration = allow_out_of_duration
        self.features = dataset.features
        self.names_of_rows = _row_names(dataset)
        self._dataset = dataset
        self._problems = problems

    def column(self, name: str) -> "pa.Array":
        """The column as one Arrow array; pictures and videos are never asked for."""
        return arrow_column(self._dataset, name)

    def has(self, name: str) -> bool:
        """Say whether the split has the column."""
        return name in self.features

    def add(self, severity: str, found: str, names: Iterable[Any], way_out: str) -> None:
        """Report what was found, in which rows or objects, and the way out."""
        self.add_sentence(severity, f"{found} ({name_some(names)}); {way_out}")

    def add_sentence(self, severity: str, sentence: str) -> None:
        """Report a whole sentence."""
        self._problems.append(Problem(severity, f"{self.where}: {sentence}"))

    def add_rows(self, severity: str, rows: np.ndarray, what: str, way_out: str) -> None:
        """Report the rows of a boolean mask or of an index array, if any."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if len(rows):
            names = self.names_of_rows[rows]
            self.add(severity, f"{len(set(names))} {what}", names, way_out)


def _row_names(dataset: "Dataset") -> np.ndarray:
    """What a person calls the rows: their id, or `row 3`."""
    # Frames have both; there a video is many rows.
    for name in ("image_id", "video_id"):
        if name in dataset.features:
            ids = arrow_column(dataset, name).to_pylist()
            return np.array(
                [f"row {row}" if id in (None, "") else str(id) for row, id in enumerate(ids)], dtype=object
            )
    return np.array([f"row {row}" for row in range(dataset.num_rows)], dtype=object)


def _check_ids(report: SplitReport, column: str) -> None:
    ids = report.column(column).to_pylist()
    report.add_rows(
        "error",
        np.array([id is None or id == "" for id in ids]),
        f"rows have no {column}",
        f"give every row a {column} of its own",
    )
    _, first, counts = np.unique(report.names_of_rows.astype(str), return_index=True, return_counts=True)
    report.add_rows(
        "error",
        np.sort(first[counts > 1]),
        f"{column}s occur more than once",
        "merge or remove the repeated rows",
    )


def _check_classes(report: SplitReport, ids: "pa.Array", rows: np.ndarray, class_label: Any, column: str) -> None:
    """Report class ids outside the list of classes; a null must have been allowed or dropped by the caller."""
    values = as_numbers(ids)
    outside = ~((values >= 0) & (values < class_label.num_classes))
    if outside.any():
        found = sorted({"null" if np.isnan(value) else f"{value:g}" for value in values[outside]})
        report.add_rows(
            "error",
            rows[outside],
            f"rows have an unknown class in {column!r}: {name_some(found)}",
            f"class ids go from 0 to {class_label.num_classes - 1}",
        )


def _check_positive(report: SplitReport, column: str, *, null_allowed: bool) -> np.ndarray:
    """Report values that are not positive finite numbers; give the values."""
    values = report.column(column)
    numbers = as_numbers(values)
    wrong = ~(np.isfinite(numbers) & (numbers > 0))
    if null_allowed:
        wrong &= is_given(values)
    shown = name_some(f"{number:g}" for number in numbers[wrong])
    report.add_rows(
        "error", wrong, f"rows have no usable {column} (found: {shown})", f"{column} must be a positive number"
    )
    return numbers


def _check_boxes(report: SplitReport, boxes: "pa.Array", rows: np.ndarray, column: str, convention: str) -> None:
    """Check boxes `(N, 4)` given as an Arrow list array; `convention` is `xyxy` or `relative xyxy`."""
    wrong_length = list_lengths(boxes) != 4
    report.add_rows(
        "error",
        rows[wrong_length],
        f"rows have a {column} without exactly 4 numbers",
        f"write {column} as {convention}",
    )
    if wrong_length.any() or len(boxes) == 0:
        return
    corners = as_numbers(flatten_lists(boxes)[0]).reshape(-1, 4)
    not_finite = ~np.isfinite(corners).all(axis=1)
    report.add_rows("error", rows[not_finite], f"rows have NaN or infinite numbers in {column}", "correct the boxes")
    sides = corners[:, 2:] - corners[:, :2]
    report.add_rows(
        "error",
        rows[~not_finite & (sides <= 0).any(axis=1)],
        f"rows have a {column} of no width or height",
        f"boxes are {convention}",
    )
    if convention == "relative xyxy":
        report.add_rows(
            "error",
            rows[~not_finite & ((corners < 0) | (corners > 1)).any(axis=1)],
            f"rows have a {column} outside [0, 1]",
            "divide pixel coordinates by the width and height of the video",
        )


def check_image_classification(report: SplitReport) -> None:
    """Check the classes of pictures; null is unlabelled."""
    labels = report.column("label")
    rows = np.flatnonzero(is_given(labels))
    _check_classes(report, labels.drop_null(), rows, report.features["label"], "label")


def check_video_classification(report: SplitReport) -> None:
    """Check that training videos have known classes."""
    labels, feature = report.column("label"), report.features["label"]
    if hasattr(feature, "num_classes"):
        # Published test lists keep their classes back.
        rows = np.arange(len(labels)) if report.is_train else np.flatnonzero(is_given(labels))
        _check_classes(report, labels if report.is_train else labels.drop_null(), rows, feature, "label")
    else:
        no_label = list_lengths(labels) == 0
        report.add_rows(
            "error",
            no_label if report.is_train else no_label & is_given(labels),
            "rows have no label",
            "name at least one class of each video",
        )
        classes, rows = flatten_lists(labels)
        _check_classes(report, classes, rows, feature.feature, "label")
        pairs, counts = np.unique(np.stack([rows, as_numbers(classes)]), axis=1, return_counts=True)
        report.add_rows(
            "error", pairs[0, counts > 1].astype(int), "rows have a class twice in 'label'", "name each class once"
        )


def check_motion_pretraining(report: SplitReport) -> None:
    """Check the classes of videos that have one; nobody needs them."""
    feature = report.features.get("label")
    if hasattr(feature, "num_classes"):
        labels = report.column("label")
        _check_classes(report, labels.drop_null(), np.flatnonzero(is_given(labels)), feature, "label")


def check_object_localization(report: SplitReport) -> None:
    """Check class and box of each picture."""
    labels, boxes = report.column("label"), report.column("bbox")
    _check_classes(report, labels, np.arange(len(labels)), report.features["label"], "label")
    _check_boxes(report, boxes, np.arange(len(boxes)), "bbox", "xyxy")


def check_mask_labeling(report: SplitReport) -> None:
    """Check ids, classes and boxes of the objects."""
    _check_ids(report, "image_id")
    objects, rows = flatten_lists(report.column("objects"))
    feature = report.features["objects"].feature
    _check_classes(report, struct_field(objects, "category"), rows, feature["category"], "category")
    ids, boxes = as_numbers(struct_field(objects, "id")), struct_field(objects, "bbox")

    def name(index: int) -> str:
        id = ids[index]
        return f"an object of {report.names_of_rows[rows[index]]}" if np.isnan(id) else f"annotation {id:.0f}"

    def add(wrong: np.ndarray, what: str, way_out: str) -> None:
        if len(wrong):
            report.add("error", f"{len(wrong)} {what}", map(name, wrong[:NUM_NAMED]), way_out)

    _, first, counts = np.unique(ids, return_index=True, return_counts=True, equal_nan=False)
    add(first[counts > 1], "ids of objects occur more than once", "give each object its own id")
    wrong_length = np.flatnonzero(list_lengths(boxes) != 4)
    add(wrong_length, "objects have a bbox without exactly 4 numbers", "write bbox as x, y, width, height")
    if len(wrong_length) or not len(boxes):
        return
    numbers = as_numbers(flatten_lists(boxes)[0]).reshape(-1, 4)
    sides = {side: as_numbers(report.column(side))[rows] for side in ("height", "width") if report.has(side)}
    for rule, broken in find_box_faults(numbers, **{f"{side}s": values for side, values in sides.items()}).items():
        if broken.any():
            first = int(np.argmax(broken))
            of_picture = {side: float(values[first]) for side, values in sides.items()}
            report.add_sentence(
                "error",
                describe_box_fault(rule, name(first), numbers[first], num_others=int(broken.sum()) - 1, **of_picture),
            )


def check_action_detection(report: SplitReport) -> None:
    """Check boxes, classes and timestamps."""
    boxes, labels = report.column("boxes"), report.column("labels")
    _check_lengths(report, "labels", boxes, "boxes")
    _check_boxes(report, *flatten_lists(boxes), "boxes", "relative xyxy")
    per_box, rows = flatten_lists(labels)
    classes, boxes_of_classes = flatten_lists(per_box)
    _check_classes(report, classes, rows[boxes_of_classes], report.features["labels"].feature.feature, "labels")
    timestamps = as_numbers(report.column("timestamp"))
    report.add_rows(
        "error",
        ~(np.isfinite(timestamps) & (timestamps >= 0)),
        "rows have no usable timestamp",
        "timestamps are seconds from the start of the video",
    )
    _, first, counts = np.unique(
        [f"{name} at {time:g} s" for name, time in zip(report.names_of_rows, timestamps, strict=True)],
        return_index=True,
        return_counts=True,
    )
    report.add_rows(
        "error", np.sort(first[counts > 1]), "videos have several rows for one timestamp", "put all boxes in one row"
    )

    _check_tubes(report, boxes, timestamps)
    if report.has("proposals"):
        proposals = report.column("proposals")
        _check_boxes(report, *flatten_lists(proposals), "proposals", "relative xyxy")
        if report.has("proposal_scores"):
            _check_lengths(report, "proposal_scores", proposals, "proposals")
            scores, rows = flatten_lists(report.column("proposal_scores"))
            values = as_numbers(scores)
            wrong = ~((values >= 0) & (values <= 1))
            report.add_rows("error", rows[wrong], "rows have proposal_scores outside [0, 1]", "give probabilities")
    if report.has("fps"):
        _check_positive(report, "fps", null_allowed=True)


def _check_lengths(report: SplitReport, column: str, boxes: "pa.Array", name_of_boxes: str) -> None:
    """Check that a column has an entry for each box, in the rows where it is given."""
    values = report.column(column)
    report.add_rows(
        "error",
        (list_lengths(values) != list_lengths(boxes)) & (is_given(values) | (column == "labels")),
        f"rows have not as many entries in {column} as {name_of_boxes}",
        f"give every one of {name_of_boxes} its entry in {column}",
    )


def _check_tubes(report: SplitReport, boxes: "pa.Array", timestamps: np.ndarray) -> None:
    """Check who the people of each row are, and when what they do begins and ends."""
    if report.has("actor_ids"):
        _check_lengths(report, "actor_ids", boxes, "boxes")
        actors, rows = flatten_lists(report.column("actor_ids"))
        known = is_given(actors)
        pairs, counts = np.unique(np.stack([rows, as_numbers(actors)])[:, known], axis=1, return_counts=True)
        report.add_rows(
            "error", pairs[0, counts > 1].astype(int), "rows have one actor twice", "give each box an actor of its own"
        )
    for column, sign in (("starts", 1), ("ends", -1)):
        if report.has(column):
            _check_lengths(report, column, boxes, "boxes")
            times, rows = flatten_lists(report.column(column))
            wrong = is_given(times) & ~(sign * as_numbers(times) <= sign * timestamps[rows])
            report.add_rows(
                "error",
                rows[wrong],
                f"rows have {column} {'after' if sign > 0 else 'before'} their own time",
                "a tube begins at or before each of its rows and ends at or after it, in seconds",
            )


def check_temporal_localization(report: SplitReport) -> None:
    """Check ids, times and classes of videos and their segments."""
    _check_ids(report, "video_id")
    durations = _check_positive(report, "duration", null_allowed=False)
    for column in ("fps", "frames_per_snippet"):
        if report.has(column):
            _check_positive(report, column, null_allowed=True)
    labels = report.column("labels")
    report.add_rows(
        "error" if report.is_train else "warning",
        list_lengths(labels) == 0,
        "videos have no labels",
        "training needs at least one class for each video" if report.is_train else "they count as free of actions",
    )
    _check_classes(report, *flatten_lists(labels), report.features["labels"].feature, "labels")
    if report.has("segments"):
        segments, rows = flatten_lists(report.column("segments"))
        _check_classes(
            report, struct_field(segments, "label"), rows, report.features["segments"].feature["label"], "segments"
        )
        starts, ends = as_numbers(struct_field(segments, "start")), as_numbers(struct_field(segments, "end"))
        _check_segment_times(report, rows, starts, ends)
        _check_against_duration(report, rows, ends, durations[rows])


def _check_segment_times(report: SplitReport, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    def add(severity: str, wrong: np.ndarray, what: str, way_out: str) -> None:
        if wrong.any():
            names = [
                f"{report.names_of_rows[row]} [{start:g}, {end:g}]"
                for row, start, end in zip(rows[wrong], starts[wrong], ends[wrong], strict=True)
            ]
            report.add(severity, f"{wrong.sum()} segments {what}", names, way_out)

    finite = np.isfinite(starts) & np.isfinite(ends)
    add("error", ~finite, "have a start or end that is not a number", "give both in seconds")
    add("error", finite & (ends < starts), "end before they start", "swap or remove these annotations")
    add("error", finite & (starts < 0), "start before the video", "times are seconds from its first frame")
    add("warning", finite & (ends == starts), "have no length", "no prediction can match them")


def _check_against_duration(report: SplitReport, rows: np.ndarray, ends: np.ndarray, durations: np.ndarray) -> None:
    beyond = ends > durations + DURATION_TOLERANCE
    if not beyond.any():
        return
    names = {}
    for row, end, duration in zip(rows[beyond], ends[beyond], durations[beyond], strict=True):
        video = report.names_of_rows[row]
        names[video] = max(names.get(video, (0.0, 0.0)), (end, duration))
    report.add(
        "warning" if report.allow_out_of_duration else "error",
        f"{beyond.sum()} segments in {len(names)} videos reach beyond the end of their video",
        [f"{video} ends at {duration:g} s, its last segment at {end:g} s" for video, (end, duration) in names.items()],
        "the features may end before them too"
        if report.allow_out_of_duration
        else "correct them or set allow_out_of_duration",
    )
