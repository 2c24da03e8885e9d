"""Draw one sheet of all embedded corpora with their annotations, for the documentation.

    python scripts/draw_embedded_corpora.py --output docs/images/embedded_corpora.png

Makes the corpora in the cache first where they are missing (about a minute).
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np

from hf_vidmodels.atomic_io import atomic_write
from hf_vidmodels.command_line import run
from hf_vidmodels.data.embedded.embedded_corpora import compose_embedded_scene, load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_motions import ACTIONS, WAYS
from hf_vidmodels.processing.decoding import decode_frames, probe_video

CLASS_COLOURS = ("#ff5c5c", "#4fd15f", "#6f8dff", "#ffd23f", "#d86bff")
OBJECT_COLOURS = ("#ffd23f", "#4fd1ff", "#ff6b9d", "#8cff66", "#ff9f40")
COLUMNS = 8
STILLS = 12
TITLES = {
    "images": ("image classification", "Which digit is it? Four of five training pictures have no label."),
    "objects": ("object localisation", "Which digit is it, and where? The box is for evaluation only."),
    "boxes": ("mask labelling", "Given the box of every whole digit, find its mask. Halves of digits are clutter."),
    "clips": (
        "video classification",
        "Which action is it? One digit acts and glows, in the framed pictures; the others drift or fidget.",
    ),
    "tubes": ("action detection", "At every half second: who acts, where, and what does each of them do?"),
    "untrimmed": (
        "temporal action localisation",
        "When does which action happen? Training sees only the names on the left.",
    ),
}


def main() -> None:
    """Read the arguments, draw, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/images/embedded_corpora.png"), help="PNG to write")
    parser.add_argument("--cache_dir", type=Path, help="where the corpora are kept (default: $HF_VIDMODELS_CACHE)")
    arguments = parser.parse_args()
    sheet = draw_sheet(arguments.cache_dir)
    with atomic_write(arguments.output) as file:
        # 256 colours keep the textured pictures small and are not told apart at this size.
        sheet.quantize(256).save(file, "PNG", optimize=True)
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size / 1e3:.0f} kB)")


def draw_sheet(cache_dir: Path | None) -> Any:
    """All corpora below each other, as a PIL picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(13, 16.6), dpi=96, facecolor="white")
    heights = {"images": 1.0, "objects": 1.0, "boxes": 1.0, "clips": 1.95, "tubes": 1.95, "untrimmed": 2.55}
    rows = figure.subfigures(len(heights), 1, height_ratios=list(heights.values()), hspace=0.02)
    draw = {
        "images": draw_images,
        "objects": draw_objects,
        "boxes": draw_boxes,
        "clips": draw_clips,
        "tubes": draw_tubes,
        "untrimmed": draw_untrimmed,
    }
    for row, name in zip(rows, heights, strict=True):
        task, question = TITLES[name]
        row.text(0.012, 0.985, f"embedded/{name}: {task}", va="top", fontsize=12, fontweight="bold")
        row.text(0.988, 0.985, question, va="top", ha="right", fontsize=11, color="#444444")
        draw[name](row, load_embedded_corpus(name, cache_dir=cache_dir, split="train"))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def draw_images(figure: Any, dataset: Any) -> None:
    """Pictures with their class, or as unlabelled."""
    for axis, example in zip(_grid(figure, 1), dataset.select(range(COLUMNS)), strict=True):
        axis.imshow(example["image"])
        label = example["label"]
        axis.set_xlabel("no label" if label is None else f"digit {label}", fontsize=10)


def draw_objects(figure: Any, dataset: Any) -> None:
    """Pictures with the box of their object."""
    for axis, example in zip(_grid(figure, 1), dataset.select(range(COLUMNS)), strict=True):
        axis.imshow(example["image"])
        _box(axis, example["bbox"], OBJECT_COLOURS[0])
        axis.set_xlabel(f"digit {example['label']}", fontsize=10)


def draw_boxes(figure: Any, dataset: Any) -> None:
    """Four pictures, each beside its boxes and masks."""
    from pycocotools import mask as coco_mask

    examples = [example for example in dataset.select(range(40)) if len(example["objects"]) >= 3][: COLUMNS // 2]
    axes = _grid(figure, 1)
    for number, example in enumerate(examples):
        plain, annotated = axes[2 * number : 2 * number + 2]
        picture = np.asarray(example["image"])
        plain.imshow(picture)
        plain.set_xlabel("picture", fontsize=10)
        shown = picture * 0.45
        for item, colour in zip(example["objects"], OBJECT_COLOURS, strict=False):
            mask = coco_mask.decode({**item["segmentation"], "counts": item["segmentation"]["counts"].encode()}) > 0
            shown[mask] = 0.3 * picture[mask] + 0.7 * 255 * _rgb(colour)
            x, y, width, height = item["bbox"]
            _box(annotated, (x, y, x + width, y + height), colour, str(item["category"]))
        annotated.imshow(shown.astype(np.uint8))
        annotated.set_xlabel("boxes and masks", fontsize=10)


def draw_clips(figure: Any, dataset: Any) -> None:
    """Two clips as strips, no close-ups; pictures in which the action happens are framed."""
    axes = _grid(figure, 2).reshape(2, COLUMNS)
    labels = list(dataset["label"])
    for strip, label in zip(axes, (2, 1), strict=True):
        candidates = (index for index in range(len(labels)) if labels[index] == label)
        scenes = ((index, compose_embedded_scene("clips", "train", index)) for index in candidates)
        index, scene = next((index, scene) for index, scene in scenes if len(scene.sprites) > 1)
        example, action = dataset[index], scene.actions[0]
        count = probe_video(example["video"]).num_frames
        numbers = np.linspace(0, count - 1, COLUMNS).round().astype(int)
        for axis, number, frame in zip(strip, numbers, decode_frames(example["video"], numbers), strict=True):
            axis.imshow(frame)
            axis.set_xlabel(f"{number / 25:.1f} s", fontsize=9)
            if action.start <= number < action.end:
                _frame(axis, CLASS_COLOURS[action.label])
        _row_label(strip[0], ACTIONS[example["label"]], CLASS_COLOURS[example["label"]])


def draw_tubes(figure: Any, dataset: Any) -> None:
    """Key frames of two videos with a box and the actions of every acting digit."""
    axes = _grid(figure, 2).reshape(2, COLUMNS)
    names = list(dataset["video_id"])
    chosen = sorted(dict.fromkeys(names), key=lambda video: -names.count(video))[:2]
    for strip, video in zip(axes, chosen, strict=True):
        rows = dataset.select([number for number, name in enumerate(names) if name == video])
        for axis in strip[len(rows) :]:
            axis.set_visible(False)
        for axis, row in zip(strip, rows, strict=False):
            frame = decode_frames(row["video"], [row["keyframe"]])[0]
            axis.imshow(frame)
            axis.set_xlabel(f"{row['timestamp']:g} s", fontsize=9)
            for box, labels in zip(row["boxes"], row["labels"], strict=True):
                text = " + ".join(ACTIONS[label] for label in labels)
                _box(axis, np.array(box) * len(frame), CLASS_COLOURS[labels[0]], text)
        _row_label(strip[0], video.replace("_", " "), "#333333")


def draw_untrimmed(figure: Any, dataset: Any) -> None:
    """Three videos as strips above their time lines."""
    two_classes = [number for number, labels in enumerate(dataset["labels"]) if len(labels) == 2]
    one_class = [number for number, labels in enumerate(dataset["labels"]) if len(labels) == 1]
    chosen = [two_classes[0], one_class[0], two_classes[1]]
    grid = figure.add_gridspec(len(chosen), 1, left=0.075, right=0.995, top=0.92, bottom=0.05, hspace=0.28)
    for number, cell in zip(chosen, grid, strict=True):
        example = dataset[number]
        pair = cell.subgridspec(2, 1, height_ratios=[1, 0.3], hspace=0.0)
        strip = pair[0].subgridspec(1, STILLS, wspace=0.08)
        times = (np.arange(STILLS) + 0.5) * example["duration"] / STILLS
        stills = decode_frames(example["video"], (times * example["fps"]).astype(int))
        for column, still in enumerate(stills):
            _clean(figure.add_subplot(strip[column])).imshow(still)
        line = figure.add_subplot(pair[1])
        for segment in example["segments"]:
            start, length = segment["start"], segment["end"] - segment["start"]
            line.barh(0, length, left=start, height=1, color=CLASS_COLOURS[segment["label"]])
            line.text(start + length / 2, 0, WAYS[segment["label"]], ha="center", va="center", fontsize=9)
        line.set(xlim=(0, example["duration"]), ylim=(-0.5, 0.5), yticks=[], facecolor="#f2f2f2")
        line.set_xticks(times, [f"{time:.0f} s" for time in times], fontsize=9)
        names = "\n".join(WAYS[label] for label in example["labels"])
        line.set_ylabel(names, rotation=0, ha="right", va="center", fontsize=11, fontweight="bold")


def _grid(figure: Any, rows: int) -> np.ndarray:
    axes = figure.subplots(rows, COLUMNS, gridspec_kw={"wspace": 0.06, "hspace": 0.17})
    figure.subplots_adjust(left=0.05, right=0.995, top=1 - 0.15 / rows, bottom=0.13 / rows)
    return np.array([_clean(axis) for axis in np.ravel(axes)])


def _clean(axis: Any) -> Any:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return axis


def _frame(axis: Any, colour: str) -> None:
    for spine in axis.spines.values():
        spine.set(visible=True, color=colour, linewidth=4)


def _row_label(axis: Any, text: str, colour: str) -> None:
    axis.set_ylabel(text, fontsize=11, fontweight="bold", color="black")
    axis.yaxis.label.set_bbox({"facecolor": colour, "alpha": 0.35, "edgecolor": "none", "pad": 2})


def _box(axis: Any, box: Any, colour: str, text: str = "") -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    axis.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, ec=colour, lw=1.8))
    if text:
        axis.text(left, top - 1.5, text, fontsize=7.5, color="black", va="bottom", clip_on=True).set_bbox(
            {"facecolor": colour, "edgecolor": "none", "pad": 0.8}
        )


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255


if __name__ == "__main__":
    run(main)
