"""Evaluator fixtures and small corpora of action detection."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

FIXTURES = Path(__file__).parent / "fixtures" / "action_detection"


def official_values():
    return json.loads((FIXTURES / "values.json").read_text())


def video_evaluation():
    """Arrays and parameters of ACT's script: tubelets, linked tubes and frame detections of three videos."""
    return load_file(FIXTURES / "video_eval.safetensors"), official_values()["video_eval"]


def annotated_tubes(arrays, videos):
    """The annotated tubes of the fixture, by video, as `tube_detection_map` takes them."""
    rows = arrays["gt.frames_boxes"]
    tubes = {video: [] for video in videos}
    for number, (video, label) in enumerate(zip(arrays["gt.video"], arrays["gt.label"], strict=True)):
        own = rows[arrays["gt.tube_index"] == number]
        tubes[videos[video]].append({"label": int(label), "frames": own[:, 0].astype(int), "boxes": own[:, 1:]})
    return tubes


def plain_frame_map(predictions, references, threshold=0.5):
    """AVA's rules as loops over classes, frames and boxes: the mean over annotated classes."""
    labels = sorted({label for frame in references.values() for label in frame["labels"]})
    values = []
    for label in labels:
        scored, num_annotations = [], 0
        for frame_id, frame in references.items():
            num_annotations += sum(other == label for other in frame["labels"])
            scored += plain_frame_matches(predictions.get(frame_id), frame, label, threshold)
        for frame_id, found in predictions.items():
            if frame_id not in references:
                scored += plain_frame_matches(found, {"boxes": [], "labels": []}, label, threshold)
        scored.sort(key=lambda pair: -pair[0])
        values.append(plain_average_precision([hit for _, hit in scored], num_annotations))
    return float(np.mean(values))


def plain_frame_matches(found, frame, label, threshold):
    if found is None:
        return []
    own = [row for row, other in enumerate(found["labels"]) if other == label]
    own = [row for row in own if found["boxes"][row][2] > found["boxes"][row][0]]
    own = [row for row in own if found["boxes"][row][3] > found["boxes"][row][1]]
    true = [box for box, other in zip(frame["boxes"], frame["labels"], strict=True) if other == label]
    taken, pairs = set(), []
    for row in sorted(own, key=lambda row: -found["scores"][row]):
        ious = [plain_iou(found["boxes"][row], box) for box in true]
        best = int(np.argmax(ious)) if ious else None
        hit = best is not None and ious[best] >= threshold and best not in taken
        if hit:
            taken.add(best)
        pairs.append((found["scores"][row], hit))
    return pairs


def plain_iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (areas[0] + areas[1] - width * height)


def plain_average_precision(hits, num_annotations):
    precisions, recalls, count = [], [0.0], 0
    for number, hit in enumerate(hits, start=1):
        count += hit
        precisions.append(count / number)
        recalls.append(count / num_annotations)
    for place in range(len(precisions) - 2, -1, -1):
        precisions[place] = max(precisions[place], precisions[place + 1])
    return sum((recalls[place + 1] - recalls[place]) * precision for place, precision in enumerate(precisions))


class KnownActions:
    """A detector that finds what it is told, by video and key time; the rest of the door is that of a model."""

    needs_boxes = False

    def __init__(self, config, answers):
        self.config, self.answers, self.asked = config, answers, []

    def detect_actions(self, video, processor, timestamps=None, proposals=None, batch_size=1, fps=None, step=None):
        self.asked.append((Path(video).stem, list(timestamps), step))
        for time in timestamps:
            yield {"timestamp": time, **self.answers[Path(video).stem][time]}


def perfect_answers(dataset, num_classes):
    """What a perfect detector finds at the key times of a split."""
    answers = {}
    for row in dataset.remove_columns("video").to_list():
        scores = np.zeros((len(row["boxes"]), num_classes), np.float32)
        for place, labels in enumerate(row["labels"]):
            scores[place, labels] = 0.9 - 0.01 * place
        boxes = np.reshape(row["boxes"], (-1, 4)).astype(np.float32)
        answers.setdefault(row["video_id"], {})[row["timestamp"]] = {"boxes": boxes, "scores": scores}
    return answers
