"""Speed of the temporal detection mAP against a plain per-video loop, on one synthetic data set, in one run.

    python benchmarks/speed_temporal_map.py [--videos 200] [--predictions 200] [--classes 20]

Half of the predictions of a video are shifted copies of its annotations, the others lie anywhere. All evaluators get
the same arrays and their tables of average precision must agree to 1e-12. The plain loop goes through classes, videos
and predictions. It is timed as it is commonly called, once per threshold, and for comparison with all thresholds in
one pass, which computes each tIoU once. The command fails when a target is missed: under 0.6 s, and at least 50 times
the speed of the loop that is called per threshold.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hf_vidmodels.metrics.temporal_detection import THUMOS_TIOU_THRESHOLDS, temporal_detection_map

TARGET_SECONDS = 0.6
TARGET_RATIO = 50

VideoSegments = dict[str, dict[str, np.ndarray]]


def make_videos(
    num_videos: int, num_predictions: int, num_classes: int, num_annotations: int, seed: int
) -> tuple[VideoSegments, VideoSegments]:
    rng = np.random.default_rng(seed)
    predictions, references = {}, {}
    for index in range(num_videos):
        starts = rng.uniform(0, 190, num_annotations)
        annotated = np.stack([starts, starts + rng.uniform(1, 20, num_annotations)], axis=1)
        annotated_labels = rng.choice(rng.choice(num_classes, 3, replace=False), num_annotations)

        copied = rng.integers(num_annotations, size=num_predictions)
        lengths = annotated[copied, 1] - annotated[copied, 0]
        moved = annotated[copied] + rng.normal(0, 0.25, (num_predictions, 2)) * lengths[:, None]
        anywhere = rng.uniform(0, 190, num_predictions)
        anywhere = np.stack([anywhere, anywhere + rng.uniform(1, 20, num_predictions)], axis=1)
        is_copy = rng.random(num_predictions) < 0.5
        segments = np.where(is_copy[:, None], np.sort(moved, axis=1), anywhere)
        labels = np.where(is_copy, annotated_labels[copied], rng.integers(num_classes, size=num_predictions))

        video_id = f"video_{index:04d}"
        predictions[video_id] = {"segments": segments, "scores": rng.random(num_predictions), "labels": labels}
        references[video_id] = {"segments": annotated, "labels": annotated_labels}
    return predictions, references


def plain_average_precision(
    predictions: VideoSegments, references: VideoSegments, thresholds: tuple[float, ...]
) -> np.ndarray:
    """Loop over classes, videos, predictions and thresholds; the tIoUs of one prediction are one numpy expression."""
    classes = sorted({int(label) for video in references.values() for label in video["labels"]})
    table = np.zeros((len(classes), len(thresholds)))
    for class_index, label in enumerate(classes):
        scores, hits, num_annotations = [], [], 0
        for video_id, video in predictions.items():
            truth = references[video_id]["segments"][references[video_id]["labels"] == label]
            num_annotations += len(truth)
            chosen = np.flatnonzero(video["labels"] == label)
            taken = np.zeros((len(thresholds), len(truth)), bool)
            for row in chosen[np.argsort(-video["scores"][chosen])]:
                scores.append(video["scores"][row])
                hits.append([False] * len(thresholds))
                if len(truth) == 0:
                    continue
                start, end = video["segments"][row]
                intersection = (np.minimum(end, truth[:, 1]) - np.maximum(start, truth[:, 0])).clip(0)
                tious = intersection / ((end - start) + (truth[:, 1] - truth[:, 0]) - intersection)
                order = tious.argsort()[::-1]
                for column, threshold in enumerate(thresholds):
                    for place in order:
                        if tious[place] < threshold:
                            break
                        if not taken[column, place]:
                            taken[column, place] = hits[-1][column] = True
                            break
        ranked = np.array(hits)[np.argsort(-np.array(scores))]
        for column in range(len(thresholds)):
            table[class_index, column] = plain_area(ranked[:, column], num_annotations)
    return table


def plain_area(hits: np.ndarray, num_annotations: int) -> float:
    found = hits.cumsum()
    precision = np.concatenate([[0], found / np.arange(1, len(found) + 1), [0]])
    recall = np.concatenate([[0], found / num_annotations, [1]])
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())


def best_of(runs: int, evaluator: Callable[[], Any]) -> tuple[float, Any]:
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        result = evaluator()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=200, help="per video")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--annotations", type=int, default=12, help="per video, of up to three classes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    predictions, references = make_videos(
        arguments.videos, arguments.predictions, arguments.classes, arguments.annotations, arguments.seed
    )
    thresholds = THUMOS_TIOU_THRESHOLDS
    ours, result = best_of(7, lambda: temporal_detection_map(predictions, references, thresholds))
    shared, shared_table = best_of(2, lambda: plain_average_precision(predictions, references, thresholds))
    plain, columns = best_of(2, lambda: [plain_average_precision(predictions, references, (t,)) for t in thresholds])
    np.testing.assert_allclose(result.ap, shared_table, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.ap, np.hstack(columns), rtol=0, atol=1e-12)

    print(
        f"{arguments.videos} videos x {arguments.predictions} predictions x {len(result.class_ids)} classes x "
        f"{len(thresholds)} thresholds, mAP {result.mAP.mean():.4f}, tables equal to 1e-12"
    )
    print(f"vectorised                           {ours:8.4f} s")
    print(f"plain loop, threshold by threshold   {plain:8.4f} s  {plain / ours:5.0f} x")
    print(f"plain loop, tIoUs shared by all      {shared:8.4f} s  {shared / ours:5.0f} x")
    if ours >= TARGET_SECONDS or plain / ours < TARGET_RATIO:
        sys.exit(f"target missed: under {TARGET_SECONDS} s and at least {TARGET_RATIO} times faster")


if __name__ == "__main__":
    main()
