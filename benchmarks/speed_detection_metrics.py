"""Speed of AVA's frame-mAP against a plain loop over frames and classes, on synthetic detections, in one run.

    python benchmarks/speed_detection_metrics.py [--repeats 3]

10,000 detections in 400 frames and 230,000 in 9,200 of 60 classes, about as a validation run gives them. The plain
loop is what the published evaluator does, in NumPy: for each frame and each class the detections by descending score,
their IoUs with the annotations of frame and class, the best of them taken or not; then one curve for each class. Both
must give the same average precisions to 1e-9. The best of all repeats counts (of the plain loop, one run). The command
fails when the vectorised code is less than 10 times as fast.
"""

import argparse
import sys
import time
from functools import partial
from typing import Any

import numpy as np

from hf_vidmodels.metrics.box_table import BoxTable
from hf_vidmodels.metrics.frame_detection import frame_detection_map

TARGET_RATIO = 10
NUM_CLASSES = 60
DETECTIONS_PER_FRAME = 25
SIZES = (10_000, 230_000)


def make_frames(num_detections: int, seed: int) -> tuple[BoxTable, BoxTable]:
    """Give detections and annotations of a few people in each frame."""
    rng = np.random.default_rng(seed)
    num_frames = num_detections // DETECTIONS_PER_FRAME
    people = rng.integers(1, 4, num_frames)
    corners = rng.uniform(0, 0.6, (people.sum(), 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.4, corners.shape)], axis=1)
    frames = np.repeat(np.arange(num_frames), people)
    # Each person does two things.
    rows = np.repeat(np.arange(len(boxes)), 2)
    labels = rng.integers(0, NUM_CLASSES, len(rows))
    references = BoxTable(range(num_frames), frames[rows], boxes[rows], labels)
    of = rng.integers(0, len(rows), num_detections)
    found = np.clip(references.boxes[of] + rng.normal(0, 0.03, (num_detections, 4)), 0, 1)
    right = rng.random(num_detections) < 0.4
    predictions = BoxTable(
        range(num_frames),
        references.frames[of],
        found,
        np.where(right, labels[of], rng.integers(0, NUM_CLASSES, num_detections)),
        rng.random(num_detections) * (0.5 + right / 2),
    )
    return predictions, references


def plain_map(predictions: BoxTable, references: BoxTable) -> np.ndarray:
    """Average precision of each class, frame by frame and class by class."""
    by_frame = [rows_of_frames(table) for table in (predictions, references)]
    scores: list[list[np.ndarray]] = [[] for _ in range(NUM_CLASSES)]
    hits: list[list[np.ndarray]] = [[] for _ in range(NUM_CLASSES)]
    counts = np.bincount(references.labels, minlength=NUM_CLASSES)
    for ours, theirs in zip(*by_frame, strict=True):
        for label in range(NUM_CLASSES):
            found = ours[predictions.labels[ours] == label]
            found = found[(predictions.boxes[found, 2:] > predictions.boxes[found, :2]).all(axis=1)]
            if not len(found):
                continue
            found = found[np.argsort(-predictions.scores[found], kind="stable")]
            true = references.boxes[theirs[references.labels[theirs] == label]]
            scores[label].append(predictions.scores[found])
            hits[label].append(plain_matches(predictions.boxes[found], true))
    return np.array([plain_precision(*of_class) for of_class in zip(scores, hits, counts, strict=True)])


def rows_of_frames(table: BoxTable) -> list[np.ndarray]:
    order = np.argsort(table.frames, kind="stable")
    return np.split(order, np.searchsorted(table.frames[order], np.arange(1, len(table.frame_ids))))


def plain_matches(boxes: np.ndarray, true: np.ndarray) -> np.ndarray:
    hits = np.zeros(len(boxes), dtype=bool)
    if not len(true):
        return hits
    sides = np.minimum(boxes[:, None, 2:], true[None, :, 2:]) - np.maximum(boxes[:, None, :2], true[None, :, :2])
    intersection = np.maximum(sides, 0).prod(axis=2)
    areas = [(part[:, 2:] - part[:, :2]).prod(axis=1) for part in (boxes, true)]
    ious = intersection / (areas[0][:, None] + areas[1] - intersection)
    taken = np.zeros(len(true), dtype=bool)
    for row, best in enumerate(ious.argmax(axis=1)):
        if ious[row, best] >= 0.5 and not taken[best]:
            hits[row] = taken[best] = True
    return hits


def plain_precision(scores: list[np.ndarray], hits: list[np.ndarray], count: int) -> float:
    if not count:
        return np.nan
    if not scores:
        return 0.0
    order = np.argsort(-np.concatenate(scores), kind="stable")
    true = np.concatenate(hits)[order].cumsum()
    precision = np.maximum.accumulate((true / np.arange(1, len(true) + 1))[::-1])[::-1]
    return float((np.diff(true / count, prepend=0) * precision).sum())


def seconds_of(function: Any, repeats: int) -> tuple[float, Any]:
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    missed = False
    for size in SIZES:
        tables = make_frames(size, seed=0)
        fast, result = seconds_of(partial(frame_detection_map, *tables, class_ids=range(NUM_CLASSES)), args.repeats)
        plain, expected = seconds_of(partial(plain_map, *tables), 1)
        np.testing.assert_allclose(result.ap[:, 0], expected, rtol=0, atol=1e-9)
        ratio = plain / fast
        missed |= ratio < TARGET_RATIO
        print(
            f"{size} detections, {len(tables[1].frame_ids)} frames, mAP {result.mAP[0]:.4f}: vectorised "
            f"{fast:.4f} s, plain loop {plain:.3f} s, {ratio:.0f} times as fast (target {TARGET_RATIO})"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
