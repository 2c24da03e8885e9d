import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_vidmodels.modeling.ops.segment_nms import segment_nms

FIXTURES = Path(__file__).parents[2] / "fixtures" / "asm_loc"
CASES = ("thumos_tiny", "activitynet_tiny")


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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iou_threshold": 0.0}, r"iou_threshold must be in \(0, 1\], got 0.0"),
        ({"iou_threshold": 1.5}, "got 1.5"),
        ({"length_offset": -1.0}, "length_offset must be 0 or more"),
        ({"scores": torch.zeros(3)}, r"scores must have shape \(2,\)"),
        ({"scores": torch.tensor([0.0, float("nan")])}, "scores must be finite"),
        (
            {"labels": torch.zeros(3, dtype=torch.long)},
            r"labels must be .* shape \(2,\).*int64 of shape \(3,",
        ),
        ({"labels": torch.zeros(2)}, "labels must be integers .* got torch.float32"),
        ({"segments": torch.zeros(3)}, r"segments must have shape \(N, 2\).*got \(3,\)"),
        ({"segments": torch.zeros(3, 3)}, r"got \(3, 3\)"),
        ({"segments": torch.tensor([[0.0, 1.0], [3.0, 2.0]])}, r"end >= start, got \[3.0, 2.0\] at row 1"),
        ({"segments": torch.tensor([[0.0, float("nan")], [0.0, 1.0]])}, "finite.*at row 0"),
    ],
)
def test_hard_nms_names_what_is_wrong(changes, sentence):
    arguments = {"segments": torch.tensor([[0.0, 1.0], [1.0, 2.0]]), "scores": torch.ones(2), "iou_threshold": 0.5}
    with pytest.raises(ValueError, match=sentence):
        segment_nms(**(arguments | changes))
