import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.modeling.ops.segment_nms import segment_nms, soft_segment_nms

FIXTURES = Path(__file__).parents[2] / "fixtures" / "asm_loc"
CASES = ("thumos_tiny", "activitynet_tiny")
OPENTAD_METHODS = {0: "suppress", 1: "linear", 2: "gaussian", 3: "length_gaussian"}


def read(case, name):
    return json.loads((FIXTURES / case / name).read_text())


def official_lists(case):
    """Candidates and survivors as [score, start, end], and the threshold, of all lists in the reference values."""
    for entry in read(case, "metrics.json")["nms"]:
        yield np.array(entry["proposals"])[:, 1:], np.array(entry["kept"])[:, 1:], entry["iou_threshold"]
    pipeline, curves = read(case, "pipeline.json"), read(case, "postprocess.json")["videos"]
    lists = [
        entry
        for name in ("pre_nms_step0", "pre_nms_step1", "pre_nms_pseudo")
        for video in pipeline[name].values()
        for entry in video
    ]
    lists += [entry for video in curves.values() for name in ("test", "pseudo") for entry in video[name]]
    for entry in lists:
        yield np.array(entry["pre_nms"]), np.array(entry["kept"]), entry["nms_thresh"]


def greedy_nms(segments, scores, threshold, labels, offset):
    """Follow the definition: take segments by score, the later of equal ones first, drop what overlaps."""
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], -row))
    kept = []
    for row in order:
        for other in kept:
            shared = min(segments[row][1], segments[other][1]) - max(segments[row][0], segments[other][0]) + offset
            shared = max(shared, 0.0)
            total = sum(segments[index][1] - segments[index][0] + offset for index in (row, other)) - shared
            if labels[row] == labels[other] and total > 0 and shared / total >= threshold:
                break
        else:
            kept.append(row)
    return kept


def greedy_soft_nms(segments, scores, factor, min_score):
    remaining = {row: np.float32(score) for row, score in enumerate(scores)}
    selected = []
    while remaining:
        best = max(remaining, key=lambda row: (remaining[row], -row))
        selected.append((best, remaining.pop(best)))
        lowered = {row: score * factor(segments[best], segments[row]) for row, score in remaining.items()}
        remaining = {row: score for row, score in lowered.items() if score >= min_score}
    return selected


# Quarters are exact in binary, so that thresholds are met exactly, empty segments occur and scores tie.
quarters = st.integers(0, 40).map(lambda value: value / 4)
scored_segments = st.lists(
    st.tuples(quarters, quarters, st.integers(-3, 6), st.integers(0, 2)), min_size=0, max_size=14
).map(
    lambda rows: (
        [sorted(row[:2]) for row in rows],
        [row[2] / 4 for row in rows],
        [row[3] for row in rows],
    )
)


def tensors(segments, scores, labels):
    return (
        torch.tensor(segments, dtype=torch.float64).reshape(-1, 2),
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(labels, dtype=torch.int64),
    )


def random_segments(count, num_labels, seed):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, generator=generator) * 50
    segments = torch.stack([start, start + 0.5 + torch.rand(count, generator=generator) * 15], dim=1)
    return (
        segments,
        torch.rand(count, generator=generator),
        torch.randint(num_labels, (count,), generator=generator),
    )


@pytest.mark.parametrize("case", CASES)
def test_hard_nms_keeps_what_the_official_code_keeps_in_its_order(case):
    count = 0
    for candidates, kept, threshold in official_lists(case):
        rows = segment_nms(
            torch.from_numpy(candidates[:, 1:]), torch.from_numpy(candidates[:, 0]), threshold, length_offset=1.0
        )
        np.testing.assert_array_equal(candidates[rows.numpy()], kept)
        count += 1
    assert count > 20


@given(scored_segments, st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.sampled_from([0.0, 1.0]))
def test_hard_nms_is_greedy_and_drops_from_the_threshold_on(lists, threshold, offset):
    segments, scores, labels = tensors(*lists)
    kept = segment_nms(segments, scores, threshold, labels=labels, length_offset=offset)
    assert kept.tolist() == greedy_nms(*lists[:2], threshold, lists[2], offset)


def test_an_overlap_equal_to_the_threshold_is_dropped():
    segments = torch.tensor([[0.0, 10.0], [0.0, 9.0], [0.0, 8.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert segment_nms(segments, scores, 0.9).tolist() == [0, 2]
    assert segment_nms(segments, scores, np.nextafter(0.9, 1)).tolist() == [0, 1, 2]


def test_in_the_pixel_convention_segments_one_unit_apart_overlap():
    segments = torch.tensor([[0.0, 1.0], [1.5, 2.5]])
    scores = torch.tensor([0.9, 0.8])
    assert segment_nms(segments, scores, 0.1).tolist() == [0, 1]
    assert segment_nms(segments, scores, 0.1, length_offset=1.0).tolist() == [0]


def test_all_labels_in_one_call_equal_each_label_alone():
    segments, scores, labels = random_segments(200, 7, seed=1)
    kept = segment_nms(segments, scores, 0.3, labels=labels - 3)
    for label in range(7):
        rows = torch.where(labels == label)[0]
        alone = rows[segment_nms(segments[rows], scores[rows], 0.3)]
        assert torch.equal(kept[labels[kept] == label], alone)
    assert (scores[kept].diff() <= 0).all()


def test_hard_nms_of_shuffled_segments_keeps_the_same_ones():
    segments, scores, labels = random_segments(100, 3, seed=2)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    shuffled = segment_nms(segments[order], scores[order], 0.4, labels=labels[order])
    assert torch.equal(order[shuffled], segment_nms(segments, scores, 0.4, labels=labels))


def test_nms_of_nothing_is_nothing():
    assert segment_nms(torch.zeros(0, 2), torch.zeros(0), 0.5, labels=torch.zeros(0, dtype=torch.long)).shape == (0,)
    result = soft_segment_nms(torch.zeros(0, 2), torch.zeros(0))
    assert [tuple(column.shape) for column in result] == [(0,), (0, 2), (0,)]


@pytest.mark.parametrize("case", read("thumos_tiny", "soft_nms.json")["cases"], ids=lambda case: case["name"])
def test_soft_nms_equals_opentad(case):
    options = case["args"]
    labels = torch.tensor(case["labels"])
    result = soft_segment_nms(
        torch.tensor(case["segments"]),
        torch.tensor(case["scores"]),
        method=OPENTAD_METHODS[options["method"]] if options["use_soft_nms"] else "hard",
        iou_threshold=options["iou_threshold"],
        sigma=options["sigma"],
        min_overlap=options["t1"],
        min_overlap_per_length=options["t2"],
        min_score=options["min_score"],
        max_segments=options["max_seg_num"],
        labels=labels if options["multiclass"] else None,
        voting_threshold=options["voting_thresh"],
    )
    torch.testing.assert_close(result.segments, torch.tensor(case["out_segments"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(result.scores, torch.tensor(case["out_scores"]), rtol=0, atol=1e-5)
    assert labels[result.indices].tolist() == case["out_labels"]


@settings(max_examples=60)
@given(
    scored_segments, st.sampled_from(["suppress", "linear", "gaussian", "length_gaussian"]), st.sampled_from([0, 0.1])
)
def test_soft_nms_is_greedy(lists, method, min_score):
    segments, scores, _ = tensors(lists[0], np.abs(lists[1]), lists[2])

    def factor(chosen, other):
        lengths = [np.float32(end - start) + np.float32(1e-6) for start, end in (chosen, other)]
        shared = np.float32(max(min(chosen[1], other[1]) - max(chosen[0], other[0]), 0))
        overlap = shared / (lengths[0] + lengths[1] - shared)
        gaussian = np.exp(-(overlap**2) / np.float32(0.5))
        if method == "gaussian":
            return gaussian
        if method == "length_gaussian":
            return gaussian if overlap >= 0.2 + 0.03 * lengths[0] else np.float32(1)
        lowered = 1 - overlap if method == "linear" else np.float32(0)
        return lowered if overlap >= 0.4 else np.float32(1)

    result = soft_segment_nms(
        segments,
        scores,
        method=method,
        iou_threshold=0.4,
        min_overlap=0.2,
        min_overlap_per_length=0.03,
        min_score=min_score,
    )
    expected = greedy_soft_nms(lists[0], np.abs(lists[1]), factor, min_score)
    np.testing.assert_allclose(result.scores, [score for _, score in expected], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["hard", "linear", "gaussian"])
def test_many_videos_and_classes_in_one_call_equal_each_alone(method):
    segments, scores, labels = random_segments(300, 4, seed=4)
    videos = torch.randint(5, (300,), generator=torch.Generator().manual_seed(5))
    options = {"method": method, "iou_threshold": 0.3, "min_score": 0.2, "max_segments": 20}
    together = soft_segment_nms(segments, scores, labels=labels, batch_index=videos, **options)
    rows = [torch.where(videos == video)[0] for video in range(5)]
    alone = [soft_segment_nms(segments[row], scores[row], labels=labels[row], **options) for row in rows]
    assert torch.equal(together.indices, torch.cat([row[part.indices] for row, part in zip(rows, alone, strict=True)]))
    torch.testing.assert_close(together.scores, torch.cat([part.scores for part in alone]))


def test_hard_soft_nms_without_offset_equals_hard_nms():
    segments, scores, labels = random_segments(150, 3, seed=6)
    result = soft_segment_nms(
        segments, scores, method="hard", iou_threshold=0.45, min_score=0.0, max_segments=150, labels=labels
    )
    assert torch.equal(result.indices, segment_nms(segments, scores, 0.45, labels=labels))


def test_the_hard_variant_may_keep_nothing_and_soft_ones_keep_the_first():
    segments, scores = torch.tensor([[0.0, 2.0], [5.0, 6.0]]), torch.tensor([0.1, 0.2])
    hard = soft_segment_nms(segments, scores, method="hard", iou_threshold=0.5, min_score=0.3)
    assert [tuple(column.shape) for column in hard] == [(0,), (0, 2), (0,)]
    assert soft_segment_nms(segments, scores, min_score=0.3).indices.tolist() == [1]


def test_voting_leaves_a_lone_segment_and_an_empty_one_where_they_are():
    segments = torch.tensor([[0.0, 2.0], [5.0, 5.0]])
    result = soft_segment_nms(segments, torch.tensor([0.9, 0.8]), voting_threshold=0.5)
    assert torch.equal(result.segments, segments)


def test_voting_does_not_reach_into_another_video():
    segments = torch.tensor([[0.0, 10.0], [0.0, 9.0]])
    scores = torch.tensor([0.9, 0.8])
    result = soft_segment_nms(segments, scores, voting_threshold=0.5, batch_index=torch.tensor([3, 1]))
    assert result.indices.tolist() == [1, 0]
    torch.testing.assert_close(result.segments, segments[[1, 0]])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iou_threshold": 0.0}, r"iou_threshold must be in \(0, 1\], got 0.0"),
        ({"iou_threshold": 1.5}, "got 1.5"),
        ({"length_offset": -1.0}, "length_offset must be 0 or more"),
        ({"scores": torch.zeros(3)}, r"scores must have shape \(2,\)"),
        ({"scores": torch.tensor([0.0, float("nan")])}, "scores must be finite"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels must have shape \(2,\)"),
        ({"labels": torch.zeros(2)}, "labels must be integers"),
        ({"segments": torch.tensor([[0.0, 1.0], [3.0, 2.0]])}, "at row 1"),
    ],
)
def test_hard_nms_names_what_is_wrong(changes, sentence):
    arguments = {"segments": torch.tensor([[0.0, 1.0], [1.0, 2.0]]), "scores": torch.ones(2), "iou_threshold": 0.5}
    with pytest.raises(ValueError, match=sentence):
        segment_nms(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "soft"}, "method must be one of hard, suppress.*got 'soft'"),
        ({"method": "linear"}, "'linear' needs an iou_threshold"),
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"max_segments": 0}, "max_segments must be at least 1"),
        ({"scores": torch.tensor([0.5, -0.5])}, "scores must not be negative"),
        ({"voting_threshold": 0.5, "labels": torch.zeros(2, dtype=torch.long)}, "voting_threshold needs one class"),
        ({"batch_index": torch.zeros(1, dtype=torch.long)}, "batch_index must have shape"),
    ],
)
def test_soft_nms_names_what_is_wrong(changes, sentence):
    arguments = {"segments": torch.tensor([[0.0, 1.0], [1.0, 2.0]]), "scores": torch.ones(2)}
    with pytest.raises(ValueError, match=sentence):
        soft_segment_nms(**(arguments | changes))
