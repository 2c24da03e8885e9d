"""Action detection measured for training runs and the evaluate command: frame-mAP and, of known people, video-mAP."""

import argparse
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import AutoVideoProcessor, PreTrainedConfig, PreTrainedModel

from ..data.excluded_rows import without_excluded
from ..data.published.ava_classes import AVA_CLASSES, AVA_GROUPS
from ..metrics.box_table import BoxTable
from ..metrics.detection_result import DetectionResult
from ..metrics.frame_detection import frame_detection_map
from ..metrics.tube_detection import tube_detection_map
from ..metrics.tube_linking import frame_boxes, link_tubelets
from ..processing.decoding import open_video
from ..processing.people_in_videos import Person, find_people
from .answer_forms import prepare_to_answer, refuse_absent_step
from .detected_tubes import annotated_tubes, rules_for, tubelets_of
from .evaluation import Evaluation, rows_of_process
from .scored_corpora import load_scored_corpus, refuse_other_classes

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

TASK = "action-detection"
PRIMARY_METRIC = "mAP@0.5"
TUBE_THRESHOLDS = (0.2, 0.5)
# By the name of the frames' rules, those of tubes: AVA has none of its own.
TUBE_STYLES = {"ava": "multisports", "multisports": "multisports", "act": "act"}
DETECTIONS_IN_FILE = 20
NUM_DRAWN_FRAMES, DRAWN_SCORE = 8, 0.3
READ_COLUMNS = ("timestamp", "boxes", "labels", "actor_ids", "starts", "proposals", "proposal_scores", "fps")


def evaluate_on_corpus(model: PreTrainedModel, arguments: argparse.Namespace, accelerator: Accelerator) -> Evaluation:
    """Detect actions at the key times of a split and score them.

    Args:
        model: a model that can `detect_actions`, in evaluation mode, on its device.
        arguments: those of the evaluate command.
        accelerator: whose processes share the videos.

    Raises:
        ValueError: the model has no such step, the split is missing, has other classes or nothing annotated, or the
            model needs boxes of people that the corpus does not have.
    """
    refuse_absent_step(model, arguments.step)
    prepare_to_answer(model, arguments.mixed_precision)
    dataset = load_scored_corpus(arguments, TASK, accelerator)[arguments.split]
    refuse_other_classes(model.config.id2label, dataset.features["labels"])
    return evaluate_detection(
        model,
        AutoVideoProcessor.from_pretrained(arguments.model),
        dataset,
        split=arguments.split,
        accelerator=accelerator,
        batch_size=arguments.batch_size,
        step=arguments.step,
        rules=arguments.rules or "ava",
        proposal_threshold=arguments.proposal_threshold or 0.0,
    )


def evaluate_detection(
    model: PreTrainedModel,
    processor: Any,
    dataset: "Dataset",
    *,
    split: str,
    accelerator: Accelerator | None = None,
    batch_size: int = 1,
    step: int | None = None,
    rules: str = "ava",
    proposal_threshold: float = 0.0,
) -> Evaluation:
    """Detect actions at every key time of a split as a user would, and score what is found.

    Args:
        model: in evaluation mode, on its device; the whole model on every process.
        processor: of the model.
        dataset: a split with the columns of action detection; its excluded rows are left out.
        split: its name, for the report.
        accelerator: whose processes share the videos; None for this process alone.
        batch_size: key times in one forward pass.
        step: of a model with progressive steps, the one that answers; None for the last.
        rules: a style of `frame_detection.STYLES`. With `"act"` boxes are in pixels, and those of all tubelets that
            cover a frame are scored.
        proposal_threshold: proposals of the corpus with a lower score are left out, for models that need boxes.

    Returns:
        Metrics `mAP@0.5` of frames and, where the rows have `actor_ids`, `video_mAP@0.2` and `video_mAP@0.5`; a table
        of the classes, for AVA's with its three groups; the 20 best detections of every key time as predictions; and a
        sheet of frames.

    Raises:
        ValueError: nothing is annotated, or the model needs boxes of people and the corpus has none.
    """
    accelerator = Accelerator() if accelerator is None else accelerator
    dataset = without_excluded(dataset)
    if not any(labels for of_row in dataset["labels"] for labels in of_row):
        raise ValueError(f"nothing is annotated in the {dataset.num_rows} rows of split {split!r}: none to score on")
    rows_of_videos = _rows_by_video(dataset)
    videos = list(rows_of_videos)
    given = "the true boxes" if _takes_true_boxes(model, dataset) else None
    options = {"batch_size": batch_size} | ({} if step is None else {"step": step})
    found: list[tuple[str, dict[str, Any]]] = []
    mine = rows_of_process(accelerator, len(videos))
    for index in tqdm(mine, desc="detecting", unit="video", disable=not accelerator.is_main_process or len(mine) < 2):
        video = videos[index]
        rows = dataset.select(rows_of_videos[video])
        detections = _detect(model, processor, rows, proposal_threshold, options)
        found.append((video, _scored_parts(detections, rows, rules)))
    by_video = dict(gather_object(found))
    return _score(
        {video: by_video[video] for video in videos}, model.config, split, dataset.num_rows, rules, given, accelerator
    )


def _rows_by_video(dataset: "Dataset") -> dict[str, list[int]]:
    """Row numbers of each video, by time."""
    rows: dict[str, list[int]] = {}
    times = dataset["timestamp"]
    for number, video in enumerate(dataset["video_id"]):
        rows.setdefault(video, []).append(number)
    return {video: sorted(numbers, key=lambda number: times[number]) for video, numbers in rows.items()}


def _takes_true_boxes(model: PreTrainedModel, dataset: "Dataset") -> bool:
    if not model.needs_boxes or "proposals" in dataset.column_names:
        return False
    warnings.warn(
        f"{type(model).__name__} says what people in given boxes do, and the corpus has no column 'proposals': it is "
        "given the true boxes, so that only classes are measured",
        stacklevel=3,
    )
    return True


def _detect(
    model: PreTrainedModel, processor: Any, rows: "Dataset", proposal_threshold: float, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run the detector over the key times of one video."""
    proposals = None
    if model.needs_boxes:
        proposals = [_boxes_for(row, proposal_threshold) for row in rows.select_columns(_present(rows))]
    rate = rows["fps"][0] if "fps" in rows.column_names else None
    return list(
        model.detect_actions(
            rows[0]["video"], processor, timestamps=rows["timestamp"][:], proposals=proposals, fps=rate, **options
        )
    )


def _present(rows: "Dataset") -> list[str]:
    return [name for name in READ_COLUMNS if name in rows.column_names]


def _boxes_for(row: Mapping[str, Any], threshold: float) -> np.ndarray:
    boxes = np.reshape(row.get("proposals") or [] if "proposals" in row else row["boxes"], (-1, 4))
    scores = row.get("proposal_scores")
    return boxes if scores is None else boxes[np.asarray(scores, dtype=np.float64) >= threshold]


def _scored_parts(detections: Sequence[Mapping[str, Any]], rows: "Dataset", rules: str) -> dict[str, Any]:
    """Reduce what was found in one video, and what is true of it, to what is scored."""
    annotated = list(rows.select_columns(_present(rows)))
    timestamps = np.array([row["timestamp"] for row in annotated])
    in_pixels = rules == "act"
    scale = _pixels_of(rows[0]["video"]) if in_pixels else np.ones(4)
    tubelets = tubelets_of(detections, timestamps)
    tubelets = (tubelets[0] * scale, *tubelets[1:])
    parts = {
        "timestamps": timestamps,
        "found": _frames_of_tubelets(tubelets, len(rows)) if in_pixels else _frames_of(detections),
        "true": [
            {
                "boxes": np.repeat(np.reshape(row["boxes"], (-1, 4)), [len(one) for one in row["labels"]], axis=0)
                * scale,
                "labels": np.array([label for labels in row["labels"] for label in labels], dtype=np.int64),
            }
            for row in annotated
        ],
        "best": [_best_of(found) for found in detections],
        "true_boxes": [np.reshape(row["boxes"], (-1, 4)) for row in annotated],
        "source": rows[0]["video"],
        "fps": annotated[0].get("fps"),
    }
    if "actor_ids" in rows.column_names and all(row["actor_ids"] is not None for row in annotated):
        parts["tubes"] = link_tubelets(*tubelets, rules_for(timestamps, inclusive=in_pixels))
        truth = annotated_tubes(annotated, timestamps)
        parts["true_tubes"] = [tube | {"boxes": tube["boxes"] * scale} for tube in truth]
    return parts


def _pixels_of(video: Any) -> np.ndarray:
    metadata = open_video(video).metadata()
    return np.array([metadata.width, metadata.height] * 2, dtype=np.float64)


def _frames_of(detections: Sequence[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
    """One row for each box and class that was found there."""
    frames = []
    for found in detections:
        boxes, labels = np.nonzero(np.asarray(found["scores"]) > 0)
        scores = np.asarray(found["scores"])[boxes, labels]
        frames.append({"boxes": np.asarray(found["boxes"])[boxes], "labels": labels, "scores": scores})
    return frames


def _frames_of_tubelets(tubelets: tuple[np.ndarray, ...], num_frames: int) -> list[dict[str, np.ndarray]]:
    found = frame_boxes(*tubelets)
    of_frame = [np.flatnonzero(found["frames"] == number) for number in range(num_frames)]
    return [{name: found[name][rows] for name in ("boxes", "labels", "scores")} for rows in of_frame]


def _best_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The best detections of a key time, in relative boxes, as plain values."""
    scores = np.asarray(found["scores"], dtype=np.float64)
    boxes, labels = np.nonzero(scores > 0)
    best = np.argsort(-scores[boxes, labels], kind="stable")[:DETECTIONS_IN_FILE]
    return {
        "timestamp": float(found["timestamp"]),
        "boxes": np.round(np.asarray(found["boxes"], dtype=np.float64)[boxes[best]], 6).tolist(),
        "labels": labels[best].tolist(),
        "scores": np.round(scores[boxes[best], labels[best]], 6).tolist(),
    }


def _score(
    by_video: Mapping[str, Mapping[str, Any]],
    config: PreTrainedConfig,
    split: str,
    num_examples: int,
    rules: str,
    given: str | None,
    accelerator: Accelerator,
) -> Evaluation:
    names = {index: config.id2label[index] for index in range(config.num_labels)}
    frames = {
        kind: BoxTable.from_mapping(
            {
                (video, time): frame
                for video, parts in by_video.items()
                for time, frame in zip(parts["timestamps"].tolist(), parts[kind], strict=True)
            },
            with_scores=kind == "found",
        )
        for kind in ("found", "true")
    }
    result = frame_detection_map(frames["found"], frames["true"], style=rules, class_ids=names, label_names=names)
    metrics = result.to_metrics()
    if all("tubes" in parts for parts in by_video.values()):
        tubes = tube_detection_map(
            {video: parts["tubes"] for video, parts in by_video.items()},
            {video: parts["true_tubes"] for video, parts in by_video.items()},
            TUBE_THRESHOLDS,
            style=TUBE_STYLES[rules],
            class_ids=names,
        )
        metrics |= tubes.to_metrics("video_")
    title = f"Frame-mAP@0.5 by the rules of {rules}, {num_examples} key times of {len(by_video)} {split} videos"
    evaluation = Evaluation(
        metrics=metrics,
        primary_metric=PRIMARY_METRIC,
        split=split,
        num_examples=num_examples,
        tables=[_table_of_metrics(metrics, f"{title}, on {given}" if given else title), _table_of_classes(result)],
        predictions={video: [_named(best, names) for best in parts["best"]] for video, parts in by_video.items()},
    )
    if accelerator.is_main_process:
        evaluation.figures = {"detections": draw_detections(by_video, names)}
    return evaluation


def _named(best: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    return {**best, "labels": [names[label] for label in best["labels"]]}


def _table_of_metrics(metrics: Mapping[str, float], title: str) -> dict[str, Any]:
    return {"title": title, "columns": ["metric", "value"], "rows": [list(row) for row in metrics.items()]}


def _table_of_classes(result: DetectionResult) -> dict[str, Any]:
    """One row for each annotated class, and for AVA's classes one for each of its groups."""
    annotated = np.flatnonzero(result.num_annotations)
    rows: list[list[Any]] = [
        [result.class_names[place], int(result.num_annotations[place]), float(result.ap[place, 0])]
        for place in annotated
    ]
    ids = {name: class_id for class_id, name in AVA_CLASSES.items()}
    if set(result.class_names) == set(ids):
        for group, members in AVA_GROUPS.items():
            places = [place for place, name in enumerate(result.class_names) if ids[name] in members]
            counts, mean = result.num_annotations[places].sum(), result.mean_over(result.class_ids[places])[0]
            rows += [[f"all of {group}", int(counts), float(mean)]] if counts else []
    return {"title": "Classes", "columns": ["class", "annotations", "AP@0.5"], "rows": rows}


def draw_detections(by_video: Mapping[str, Mapping[str, Any]], names: Mapping[int, str]) -> "Figure":
    """Draw key frames of the split, spread evenly, with the people who were found in them and those who are there."""
    from ..visualization.action_frames import draw_action_frames

    places = [(video, place) for video, parts in by_video.items() for place in range(len(parts["best"]))]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(NUM_DRAWN_FRAMES, len(places))).astype(int))
    stills = []
    for video, place in (places[index] for index in chosen):
        parts = by_video[video]
        best, labels = parts["best"][place], np.unique(parts["true"][place]["labels"]).tolist()
        truth = ", ".join(names[label] for label in labels) or "nobody"
        stills.append(
            {
                "video": parts["source"],
                "fps": parts["fps"],
                "timestamp": best["timestamp"],
                "title": f"{video} at {best['timestamp']:g} s\n{truth}",
                "true_boxes": parts["true_boxes"][place],
                "people": named_people(_people_of(best, len(names)), names),
            }
        )
    return draw_action_frames(stills, f"What was found, scores from {DRAWN_SCORE:g} on, and in white the truth")


def _people_of(best: Mapping[str, Any], num_classes: int) -> list[Person]:
    scores = np.zeros((len(best["labels"]), num_classes))
    scores[np.arange(len(scores)), best["labels"]] = best["scores"]
    return find_people({"boxes": best["boxes"], "scores": scores}, threshold=DRAWN_SCORE)


def named_people(people: Sequence[Person], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Give people as they are drawn: `person` (number), `box` and `actions` with names."""
    return [
        {"person": number, "box": person.box, "actions": [(names[label], score) for label, score in person.actions]}
        for number, person in enumerate(people)
    ]
