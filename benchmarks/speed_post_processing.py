"""Speed of ASM-Loc's post-processing against a plain loop, on one synthetic video, in one run.

    python benchmarks/speed_post_processing.py [--snippets 750] [--classes 2] [--repeats 15]

The video has `--classes` classes above the class threshold, its curves are smoothed noise around plateaus, and the
stages are those of the THUMOS-14 test. The plain loop follows the description of the method: stages, thresholds,
classes and runs one by one, a thresholded copy of the curve each time, means of slices, NMS one survivor at a time;
NumPy does the arithmetic on whole curves. Both must give the same segments, scores and labels to 1e-9. They are timed
in turn and the best of all repeats counts. The command fails when the vectorised code is less than 6 times as fast.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hf_vidmodels.configuration.configuration_asm_loc import AsmLocConfig
from hf_vidmodels.modeling.ops.segment_proposals import localize_segments

TARGET_RATIO = 6
NUM_CLASSES = 20


def make_video(num_snippets: int, num_chosen: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give class scores (K + 1,), CAS (T, K + 1) and attention (T,) with actions every now and then."""
    rng = np.random.default_rng(seed)
    active = np.zeros(num_snippets)
    for start in rng.integers(0, num_snippets, num_snippets // 25):
        active[start : start + rng.integers(2, 12)] = 1
    smooth = np.ones(3) / 3
    attention = 1 / (1 + np.exp(-(6 * np.convolve(active, smooth, "same") - 3 + rng.normal(0, 1, num_snippets))))
    logits = rng.normal(0, 0.6, (num_snippets, NUM_CLASSES + 1))
    logits[:, -1] += 2
    for label in range(num_chosen):
        logits[:, label] += 5 * np.convolve(active * rng.uniform(0.3, 1, num_snippets), smooth, "same")
    cas = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    class_scores = np.full(NUM_CLASSES + 1, 0.01)
    class_scores[:num_chosen] = 0.3
    return class_scores.astype(np.float32), cas.astype(np.float32), attention.astype(np.float32)


def plain_localize(
    class_scores: np.ndarray, cas: np.ndarray, attention: np.ndarray, num_features: int, config: AsmLocConfig
) -> dict[str, np.ndarray]:
    scale = config.upsample_scale
    classes = [label for label in range(len(class_scores) - 1) if class_scores[label] > config.class_threshold]
    attention_curve = plain_upsample(attention, scale)
    cas_curves = {label: plain_upsample(cas[:, label], scale) for label in classes}
    length = len(attention_curve)
    seconds = config.frames_per_snippet * num_features / (config.frames_per_second * length)
    candidates: dict[int, list[tuple[float, float, float]]] = {}
    for stage in config.test_stages:
        for threshold in stage["thresholds"]:
            for label in classes:
                cas_curve, attention_part = cas_curves[label].copy(), attention_curve.copy()
                source = cas_curve if stage["source"] == "cas" else attention_part
                inside = np.flatnonzero(source >= threshold)
                source[source < threshold] = 0
                curve = stage["cas_weight"] * cas_curve + stage["attention_weight"] * attention_part
                for run in np.split(inside, np.flatnonzero(np.diff(inside) != 1) + 1):
                    if len(run) < 2:
                        continue
                    begin, end = int(run[0]), int(run[-1])
                    reach = stage["outer_ratio"] * len(run)
                    outer_begin = max(0, int(begin - reach))
                    outer_end = min(length - 1, int(end + reach))
                    outer = np.concatenate([curve[outer_begin:begin], curve[end + 1 : outer_end + 1]])
                    score = np.mean(curve[begin : end + 1]) - (np.mean(outer) if len(outer) else 0.0)
                    score += stage["class_score_weight"] * float(class_scores[label])
                    candidates.setdefault(label, []).append((score, begin * seconds, (end + 1) * seconds))
    kept = [(label, *row) for label, rows in candidates.items() for row in plain_nms(rows, config.nms_threshold)]
    return {
        "segments": np.array([row[2:] for row in kept]),
        "scores": np.array([row[1] for row in kept]),
        "labels": np.array([row[0] for row in kept]),
    }


def plain_upsample(curve: np.ndarray, scale: int) -> np.ndarray:
    positions = np.arange(scale * len(curve)) * (1 / scale)
    right = np.clip(np.searchsorted(np.arange(len(curve)), positions), 1, len(curve) - 1)
    slope = (curve[right] - curve[right - 1]).astype(np.float64)
    return slope * (positions - (right - 1)) + curve[right - 1]


def plain_nms(rows: list[tuple[float, float, float]], threshold: float) -> list[tuple[float, float, float]]:
    scores, starts, ends = (np.array(column) for column in zip(*rows, strict=True))
    order, kept = scores.argsort()[::-1], []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(rows[best])
        overlap = np.maximum(0, np.minimum(ends[best], ends[rest]) - np.maximum(starts[best], starts[rest]) + 1)
        lengths = ends - starts + 1
        order = rest[overlap / (lengths[best] + lengths[rest] - overlap) < threshold]
    return kept


def best_seconds(functions: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Time the functions in turn, so that other load on the machine meets all of them alike."""
    seconds = []
    for _ in range(repeats):
        row = []
        for function in functions:
            start = time.perf_counter()
            function()
            row.append(time.perf_counter() - start)
        seconds.append(row)
    return np.min(seconds, axis=0).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=750)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(1)
    config = AsmLocConfig()
    outputs = make_video(args.snippets, args.classes, args.seed)
    settings = {
        name: getattr(config, name)
        for name in ("class_threshold", "upsample_scale", "nms_threshold", "frames_per_second", "frames_per_snippet")
    }

    def vectorised() -> dict[str, np.ndarray]:
        return localize_segments(*outputs, args.snippets, stages=config.test_stages, **settings)

    def plain() -> dict[str, np.ndarray]:
        return plain_localize(*outputs, args.snippets, config)

    result, expected = vectorised(), plain()
    np.testing.assert_array_equal(result["labels"], expected["labels"])
    np.testing.assert_allclose(result["segments"], expected["segments"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(result["scores"], expected["scores"], rtol=0, atol=1e-9)
    vectorised_seconds, plain_seconds = best_seconds((vectorised, plain), args.repeats)
    ratio = plain_seconds / vectorised_seconds
    print(
        f"{args.snippets} snippets, {args.classes} classes, {len(expected['scores'])} segments kept: vectorised "
        f"{1000 * vectorised_seconds:.1f} ms, plain loop {1000 * plain_seconds:.1f} ms, {ratio:.1f} times as fast "
        f"(target {TARGET_RATIO})"
    )
    return int(ratio < TARGET_RATIO)


if __name__ == "__main__":
    sys.exit(main())
