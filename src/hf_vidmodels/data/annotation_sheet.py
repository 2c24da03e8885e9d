"""A sheet that shows what the annotations of a corpus say: time lines, boxes and masks on pictures, their classes.

Drawn as they are, mistakes included: a segment beyond the end of its video is seen there in red.
"""

import textwrap
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..modeling.ops.run_length_masks import decode_rles
from ..tasks import TASKS, resolve
from ..visualization.figures import new_figure
from ..visualization.mask_overlays import paint_masks
from ..visualization.picture_grid import PicturePanel, draw_picture_grid, plain_text
from .contracts import class_names_of

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEGMENT_COLOR = "#0072B2"
WRONG_COLOR = "#D55E00"
PROPOSAL_COLOR = "#999999"
TIMELINE_WIDTH = 11.0
ROW_HEIGHT = 0.3
PANEL_MARGIN = 0.75


def draw_annotations(dataset: "Dataset", task: str, num_examples: int = 8, title: str = "") -> "Figure":
    """Draw examples spread evenly over a split whose columns fit `task`.

    Args:
        dataset: one split, not empty.
        task: a key of `tasks.TASKS`, whose row names the drawing.
        num_examples: how many examples at most.
        title: heading.

    Raises:
        ValueError: the split is empty, or a picture or video of it cannot be decoded.
        FileNotFoundError: a picture or video is missing.
    """
    if dataset.num_rows == 0 or num_examples < 1:
        raise ValueError(
            f"{title or 'the split'} has {dataset.num_rows} examples, {num_examples} asked for: none to draw"
        )
    chosen = np.unique(np.linspace(0, dataset.num_rows - 1, min(num_examples, dataset.num_rows)).round().astype(int))
    examples = [dataset[int(row)] for row in chosen]
    return resolve(TASKS[task].draw_examples)(examples, dataset.features, title)


def draw_segments(examples: list[dict[str, Any]], features: Any, title: str) -> "Figure":
    """Draw one time line for each video, with a bar for each segment."""
    classes = [_classes_of_video(example) for example in examples]
    heights = [ROW_HEIGHT * max(1, len(shown)) + PANEL_MARGIN for shown in classes]
    figure = new_figure(figsize=(TIMELINE_WIDTH, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=12)
    panels = figure.subplots(len(examples), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, example, shown in zip(panels, examples, classes, strict=True):
        _draw_timeline(axes, example, shown, features["labels"])
    panels[-1].set_xlabel("time in seconds", fontsize=8)
    return figure


def _classes_of_video(example: dict[str, Any]) -> list[int]:
    return sorted({*example["labels"], *(segment["label"] for segment in example.get("segments") or ())})


def _draw_timeline(axes: "Axes", example: dict[str, Any], classes: list[int], label_feature: Any) -> None:
    duration, segments = example["duration"], example.get("segments") or []
    axes.axvspan(0, duration, color="0.93", zorder=0)
    for segment in segments:
        fits = 0 <= segment["start"] <= segment["end"] <= duration
        axes.barh(
            classes.index(segment["label"]),
            segment["end"] - segment["start"],
            left=segment["start"],
            height=0.6,
            color=SEGMENT_COLOR if fits else WRONG_COLOR,
            edgecolor="white",
            linewidth=0.5,
        )
    class_names = [plain_text(textwrap.shorten(_class_text(label, label_feature), 32)) for label in classes]
    axes.set_yticks(range(len(classes)), class_names, fontsize=8)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(0, np.nanmax([duration, *(segment["end"] for segment in segments)]))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    count = f"{len(segments)} segment{'s' * (len(segments) > 1)}" if segments else "no segments, classes only"
    axes.set_title(plain_text(f"{example['video_id']}: {duration:.4g} s, {count}"), loc="left", fontsize=8.5)


def _draw_pictures(
    read: Callable[[dict[str, Any], Any], PicturePanel], examples: list[dict[str, Any]], features: Any, title: str
) -> "Figure":
    """Draw one picture for each example, as `read(example, features)` gives it."""
    return draw_picture_grid([read(example, features) for example in examples], title)


def _read_classified_image(example: dict[str, Any], features: Any) -> PicturePanel:
    return PicturePanel(_pixels(example["image"]), [], _class_text(example["label"], features["label"]))


def _read_classified_video(example: dict[str, Any], features: Any) -> PicturePanel:
    from ..processing.decoding import decode_frames, probe_video

    middle = probe_video(example["video"]).num_frames // 2
    (frame,) = decode_frames(example["video"], [middle])
    # What is learned from without labels has no such column.
    return PicturePanel(frame, [], _class_text(example.get("label"), features.get("label")))


def _read_located_object(example: dict[str, Any], features: Any) -> PicturePanel:
    name = _class_text(example["label"], features["label"])
    return PicturePanel(_pixels(example["image"]), [(example["bbox"], name)], name)


def _read_objects(example: dict[str, Any], features: Any) -> PicturePanel:
    category = features["objects"].feature["category"]
    boxes = [
        ((left, top, left + width, top + height), _class_text(item["category"], category))
        for item in example["objects"]
        for left, top, width, height in [item["bbox"]]
    ]
    picture = _pixels(example["image"])
    rles = [rle for item in example["objects"] if (rle := item.get("segmentation")) is not None]
    caption = f"{example['image_id']}: {len(boxes)} objects"
    if not rles:
        return PicturePanel(picture, boxes, caption)
    masks = decode_rles(rles)
    if masks.shape[1:] != picture.shape[:2]:
        raise ValueError(
            f"the masks of {example['image_id']} have {masks.shape[1:]} rows and columns, its picture "
            f"{picture.shape[:2]}"
        )
    return PicturePanel(paint_masks(picture, list(masks)), boxes, f"{caption}, {len(rles)} masks")


def _read_actions(example: dict[str, Any], features: Any) -> PicturePanel:
    """Show people in the colour of who they are, with when what they do begins and ends, and proposals in grey."""
    from ..visualization.action_frames import frame_shown_at, person_colour

    frame = frame_shown_at(example["video"], example["timestamp"], example.get("fps"))
    scale = np.array([frame.shape[1], frame.shape[0]] * 2)
    boxes = [(np.asarray(box) * scale, name) for box, name in _named_people(example, features["labels"].feature)]
    people = example.get("actor_ids") or range(len(boxes))
    colours = [person_colour(place if person is None else person) for place, person in enumerate(people)]
    proposals = [(np.asarray(box) * scale, "") for box in example.get("proposals") or ()]
    left_out = ", left out" if example.get("excluded") else ""
    caption = f"{example['video_id']} at {example['timestamp']:g} s{left_out}"
    return PicturePanel(frame, proposals + boxes, caption, [PROPOSAL_COLOR] * len(proposals) + colours)


def _named_people(example: dict[str, Any], label_feature: Any) -> list[tuple[Any, str]]:
    starts, ends = (example.get(name) or [None] * len(example["boxes"]) for name in ("starts", "ends"))
    return [
        (box, _class_text(labels, label_feature) + ("" if None in (start, end) else f", {start:.4g} to {end:.4g} s"))
        for box, labels, start, end in zip(example["boxes"], example["labels"], starts, ends, strict=True)
    ]


# What the rows of `tasks.TASKS` name: (examples, features, title) -> Figure.
draw_classified_images = partial(_draw_pictures, _read_classified_image)
draw_classified_videos = partial(_draw_pictures, _read_classified_video)
draw_located_objects = partial(_draw_pictures, _read_located_object)
draw_labelled_objects = partial(_draw_pictures, _read_objects)
draw_actions = partial(_draw_pictures, _read_actions)


def _class_text(label: int | list[int] | None, feature: Any) -> str:
    if label is None:
        return "unlabelled"
    if isinstance(label, list):
        return ", ".join(_class_text(item, feature) for item in label)
    names = class_names_of(feature)
    return names[label] if 0 <= label < len(names) else f"class {label}, unknown"


def _pixels(image: Any) -> np.ndarray:
    return np.asarray(image.convert("RGB"))
